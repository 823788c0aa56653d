"""Renumbering of classes."""

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets import MapLabels


def renumbered(label, label_map):
    """Return the same, pixel by pixel."""
    result = label.copy()
    for place in np.ndindex(*label.shape):
        value = int(label[place])
        result[place] = label_map.get(value, value)
    return result


@pytest.mark.parametrize('dtype', [np.uint8, np.int64, np.uint16])
@pytest.mark.parametrize('shape', [(7, 9), (5,)])
@pytest.mark.parametrize(
    'label_map', [{255: 1}, {0: 1, 1: 0}, {3: 4, 4: 5, 5: 255, 255: 3}]
)
def test_it_equals_a_loop(dtype, shape, label_map):
    values = [0, 1, 2, 3, 4, 5, 254, 255]
    label = np.random.default_rng(0).choice(values, shape).astype(dtype)
    before = label.copy()
    results = MapLabels(label_map)({'gt_seg_map': label, 'img': None})
    np.testing.assert_array_equal(
        results['gt_seg_map'], renumbered(before, label_map)
    )
    assert results['gt_seg_map'].dtype == dtype
    assert results['gt_seg_map'].shape == shape
    # What loaded it may keep it.
    np.testing.assert_array_equal(label, before)


def test_a_sample_without_label_passes_through():
    assert MapLabels({255: 1})({'img': 3}) == {'img': 3}


def test_a_config_keeps_it(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("steps = [dict(type='MapLabels', label_map={255: 1})]")
    Config.fromfile(path).dump(tmp_path / 'dumped.py')
    cfg = Config.fromfile(tmp_path / 'dumped.py')
    step = TRANSFORMS.build(cfg.steps[0])
    assert isinstance(step, MapLabels)
    assert step.label_map == {255: 1}
    assert repr(step) == 'MapLabels(label_map={255: 1})'


@pytest.mark.parametrize(
    'label_map',
    [None, {}, [(0, 1)], {'0': 1}, {0: -1}, {256: 0}, {0: 1.0}, {0: True}],
)
def test_wrong_maps_are_refused(label_map):
    with pytest.raises(ValueError, match=r'label_map=.*such as \{255: 1\}'):
        MapLabels(label_map)


@pytest.mark.parametrize('value', [-1, 256])
def test_values_that_no_label_has_are_refused(value):
    label = np.full((2, 2), value, np.int64)
    with pytest.raises(ValueError, match=f'from {value} to {value}'):
        MapLabels({255: 1})({'gt_seg_map': label})
