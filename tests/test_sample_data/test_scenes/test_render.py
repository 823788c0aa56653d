import os
import subprocess
import sys

import numpy as np
import pytest

from mmseg_ext.sample_data import KINDS, render_scene

INDICES = {kind: index for index, kind in enumerate(KINDS)}


def test_scenes_hold_all_kinds(scenes):
    more = [render_scene((240, 180), 0, index) for index in range(12, 60)]
    seen = set()
    for scene in (*scenes, *more):
        seen |= {scene.objects[i].kind for i in np.unique(scene.object_map)}
    assert seen == set(KINDS)


def test_picture_shows_the_objects(scenes):
    """Sharp edges of the picture lie on edges of the label map."""
    for scene in scenes:
        image = scene.image.astype(float).mean(2)
        step = np.abs(np.diff(image, axis=1))
        border = np.diff(scene.object_map, axis=1) != 0
        assert step[border].mean() > 1.5 * step[~border].mean()


def test_farther_things_are_smaller():
    heights = {'near': [], 'far': []}
    for index in range(20):
        scene = render_scene((240, 180), 1, index)
        for item in scene.objects:
            top, bottom = item.polygon[:, 1].min(), item.polygon[:, 1].max()
            if item.kind == 'person' and top > 0 and bottom < 179:
                near = item.distance < 15
                heights['near' if near else 'far'].append(bottom + 1 - top)
    assert min(map(len, heights.values())) >= 5
    assert np.mean(heights['near']) > 1.5 * np.mean(heights['far'])


@pytest.mark.parametrize(
    'size',
    [
        pytest.param((33, 47), id='odd-and-small'),
        pytest.param((321, 181), id='odd'),
        pytest.param((90, 240), id='upright'),
        pytest.param((640, 130), id='panorama'),
        pytest.param((1600, 900), id='nuimages'),
        pytest.param((2048, 1024), id='cityscapes'),
    ],
)
def test_any_size(size):
    scene = render_scene(size, seed=2, index=5)
    width, height = size
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.size == size
    assert scene.object_map.min() >= 0
    assert scene.image.std() > 10


def test_size_only_changes_the_resolution():
    small, large = (
        render_scene(size, 4, 2).label_map(INDICES)
        for size in ((240, 180), (960, 720))
    )
    # Pixel centers lie on whole numbers.
    assert (small == large[::4, ::4]).mean() > 0.97


def test_same_seed_same_scene():
    first, second = (render_scene((160, 120), 3, 7) for _ in range(2))
    assert (first.image == second.image).all()
    for one, other in zip(first.objects, second.objects, strict=True):
        assert one.kind == other.kind
        assert (one.polygon == other.polygon).all()


@pytest.mark.parametrize(
    ('seed', 'index'),
    [
        pytest.param(4, 7, id='other-seed'),
        pytest.param(3, 8, id='other-index'),
    ],
)
def test_other_seed_or_index_other_scene(seed, index):
    scene = render_scene((160, 120), 3, 7)
    other = render_scene((160, 120), seed, index)
    assert (scene.object_map != other.object_map).mean() > 0.2


def test_global_random_state_is_left_alone():
    images = []
    for seed in (0, 1):
        np.random.seed(seed)
        before = np.random.get_state()[1].copy()
        images.append(render_scene((64, 48)).image)
        assert (np.random.get_state()[1] == before).all()
    assert (images[0] == images[1]).all()


def test_same_scene_in_another_process():
    code = (
        'import sys; from mmseg_ext.sample_data import render_scene; '
        'sys.stdout.buffer.write(render_scene((96, 72), 1, 2).image.tobytes())'
    )
    # Strings hash differently there: no order may come from a set.
    done = subprocess.run(
        [sys.executable, '-c', code],
        check=True,
        capture_output=True,
        env={**os.environ, 'PYTHONHASHSEED': '12'},
    )
    expected = render_scene((96, 72), 1, 2).image.tobytes()
    assert done.stdout.endswith(expected)


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        pytest.param({'size': (16, 360)}, 'size', id='too-small'),
        pytest.param({'size': (480, 10000)}, 'size', id='too-large'),
        pytest.param({'size': (480.0, 360)}, 'size', id='float'),
        pytest.param({'size': 480}, 'size', id='one-number'),
        pytest.param({'size': (480, 360, 3)}, 'size', id='three-numbers'),
        pytest.param({'seed': -1}, 'seed', id='negative-seed'),
        pytest.param({'seed': 'a'}, 'seed', id='text-seed'),
        pytest.param({'index': 1.5}, 'index', id='float-index'),
    ],
)
def test_bad_argument(arguments, name):
    with pytest.raises(ValueError, match=f'^{name}=.*: expected'):
        render_scene(**arguments)
