import math

import cv2
import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.fast_random_crop import FastRandomCrop


def sparse(shape, rng):
    """A road, a bonnet and some objects; all else is not labeled."""
    label = np.full(shape, 255, np.uint8)
    height, width = shape
    label[height // 2 :] = 23
    label[-height // 8 :, width // 4 : -width // 4] = 24
    for _ in range(8):
        y, x = rng.integers(0, height), rng.integers(0, width)
        label[y : y + height // 9, x : x + width // 9] = rng.integers(0, 23)
    return label


def blocks(shape, rng):
    small = rng.integers(0, 12, (9, 16)).astype(np.uint8)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_NEAREST)


LABELS = {
    'all ignored': lambda shape, rng: np.full(shape, 255, np.uint8),
    'one class': lambda shape, rng: np.full(shape, 4, np.uint8),
    'sparse': sparse,
    'blocks': blocks,
    'noise': lambda shape, rng: rng.integers(0, 30, shape).astype(np.uint8),
    'all values': lambda shape, rng: rng.integers(0, 256, shape).astype('u1'),
    'int64': lambda shape, rng: rng.integers(-2, 400, shape),
    # Exactly three quarters: the ratio that is no longer allowed.
    'stripes': lambda shape, rng: np.tile(
        (np.arange(shape[1]) % 4 == 0).astype(np.uint8), (shape[0], 1)
    ),
}
SIZES = [
    pytest.param((97, 131), (64, 96), id='odd'),
    pytest.param((60, 200), (64, 96), id='lower than the crop'),
    pytest.param((48, 64), (64, 96), id='smaller than the crop'),
    pytest.param((64, 96), (64, 96), id='as large as the crop'),
]


def sample(label):
    pixels = np.arange(label.size * 3, dtype=np.uint32).astype(np.uint8)
    return {
        'img': pixels.reshape(*label.shape, 3),
        'gt_seg_map': label.copy(),
        'gt_edge_map': label[::-1],
        'seg_fields': ['gt_seg_map', 'gt_edge_map'],
    }


def check_same(label, seed, *args, **kwargs):
    """Crop with both and compare all."""
    outcomes = []
    for cls in (FastRandomCrop, RandomCrop):
        np.random.seed(seed)
        results = cls(*args, **kwargs)(sample(label))
        outcomes.append((results, np.random.random()))
    (ours, our_next), (theirs, their_next) = outcomes
    assert our_next == their_next
    assert ours.keys() == theirs.keys()
    for key in ('img', 'gt_seg_map', 'gt_edge_map'):
        assert ours[key].dtype == theirs[key].dtype
        np.testing.assert_array_equal(ours[key], theirs[key])
    assert ours['img_shape'] == theirs['img_shape']
    assert ours['seg_fields'] == theirs['seg_fields']


@pytest.mark.parametrize('ratio', [1.0, 0.75, 0.2])
@pytest.mark.parametrize(('shape', 'crop_size'), SIZES)
@pytest.mark.parametrize('kind', LABELS)
def test_same_as_upstream(kind, shape, crop_size, ratio):
    for seed in range(12):
        label = LABELS[kind](shape, np.random.default_rng(seed))
        check_same(label, seed, crop_size, cat_max_ratio=ratio)


@pytest.mark.parametrize('kind', ['sparse', 'blocks', 'all ignored'])
def test_nuimages_size(kind):
    for seed in range(3):
        label = LABELS[kind]((900, 1600), np.random.default_rng(seed))
        check_same(label, seed, (512, 1024), cat_max_ratio=0.75)


@pytest.mark.parametrize('ignore_index', [0, 23, 255, -1, 300, None])
def test_ignore_index(ignore_index):
    for seed in range(12):
        label = sparse((97, 131), np.random.default_rng(seed))
        check_same(label, seed, 64, 0.75, ignore_index)


def test_flipped_label():
    for seed in range(12):
        label = sparse((97, 131), np.random.default_rng(seed))
        check_same(np.flip(label, (0, 1)), seed, 64, 0.75)


def boxes_of(results, *args):
    """Draw a crop with both, and say what comes next."""
    outcomes = []
    for cls in (FastRandomCrop, RandomCrop):
        np.random.seed(0)
        transform = cls(*args)
        outcomes.append((transform.crop_bbox(results), np.random.random()))
    return outcomes


def test_label_smaller_than_the_image():
    """Upstream does not mind, even where nothing of it is in the crop."""
    results = {
        'img': np.zeros((200, 200, 3), np.uint8),
        'gt_seg_map': np.zeros((1, 1), np.uint8),
    }
    ours, theirs = boxes_of(results, 64, 0.75)
    assert ours == theirs


def test_label_of_several_channels():
    """Upstream counts the values of all channels."""
    label = np.zeros((200, 200, 3), np.uint8)
    label[..., 1:] = 1
    results = {'img': label, 'gt_seg_map': label}
    ours, theirs = boxes_of(results, 64, 0.75)
    assert ours == theirs


def test_ratio_that_float32_rounds():
    """Seven tenths are less than the next float64 only."""
    label = np.tile(np.arange(40) % 10 < 7, (30, 1)).astype(np.uint8)
    results = {'img': label, 'gt_seg_map': label}
    ours, theirs = boxes_of(results, (10, 40), math.nextafter(0.7, 1))
    assert ours == theirs


def test_more_pixels_than_float32_counts():
    """One class has 2**24 + 1 of them, which float32 would round down."""
    label = np.zeros((2, 2**24 + 2), np.uint8)
    label[:, 0] = 1
    results = {'img': label[..., None], 'gt_seg_map': label}
    share = 1 - label[0].mean()
    ours, theirs = boxes_of(results, (1, label.shape[1]), share)
    assert ours == theirs


@pytest.mark.parametrize('cls', [FastRandomCrop, RandomCrop])
def test_shared_draws(cls):
    """MMCV's ``ApplyToMultiple`` draws once for several images."""
    transform = cls(64, 0.75)
    label = blocks((200, 300), np.random.default_rng(0))
    np.random.seed(0)
    with cache_random_params(transform):
        first, second = [transform(sample(label)) for _ in range(2)]
    np.testing.assert_array_equal(first['img'], second['img'])
    third = transform(sample(label))
    assert not np.array_equal(first['img'], third['img'])


def test_built_by_name():
    transform = TRANSFORMS.build(
        {'type': 'FastRandomCrop', 'crop_size': 7, 'cat_max_ratio': 0.5}
    )
    assert (transform.crop_size, transform.cat_max_ratio) == ((7, 7), 0.5)
