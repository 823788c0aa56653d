"""How label scans tell edges that were blended."""

import cv2
import numpy as np
import pytest

from helpers.doctor import STREET
from mmseg_ext.doctor.checks.labels import BLENDED
from mmseg_ext.formats.mask_values import tally
from mmseg_ext.sample_data.scenes.render import render_scene

INDICES = {
    kind: number
    for number, kinds in enumerate(STREET.values())
    for kind in kinds
} | {'unlabeled': 255}


def blended(label):
    """Return the share of short runs between others, run by run."""
    runs = []
    for value in map(int, label.ravel()):
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    between = 0
    for (before, _), (value, length), (after, _) in zip(
        runs, runs[1:], runs[2:], strict=False
    ):
        low, high = sorted((before, after))
        between += low < value < high and length <= 2
    return between / (len(runs) - 2)


@pytest.fixture(scope='module')
def label():
    scene = render_scene((96, 72), 3, 1)
    return scene.label_map(INDICES, fill=255).astype(np.uint8)


def resized(label, scale, how):
    return cv2.resize(label, None, fx=scale, fy=scale, interpolation=how)


@pytest.mark.parametrize('scale', [0.5, 0.7, 1.5, 3])
def test_edges_by_a_loop_and_by_the_threshold(label, scale):
    for how in (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC):
        new = resized(label, scale, how)
        found = tally(new).blended
        assert found == pytest.approx(blended(new))
        assert (found >= BLENDED) == (how != cv2.INTER_NEAREST)


@pytest.mark.parametrize('dtype', [np.uint16, np.int64])
def test_other_types(label, dtype):
    new = resized(label, 2, cv2.INTER_LINEAR)
    assert tally(new.astype(dtype)).blended == tally(new).blended


def test_of_few_runs_nothing_is_said():
    assert tally(np.arange(40, dtype=np.uint8)[None]).blended == 0
    assert tally(np.zeros((9, 9), np.uint8)).blended == 0
