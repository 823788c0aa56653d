import numpy as np
import pytest
from mmseg.datasets.transforms import PhotoMetricDistortion
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.fast_photo_metric_distortion import (
    FastPhotoMetricDistortion,
)

OPTIONS = [
    pytest.param({}, id='defaults'),
    pytest.param(
        {
            'brightness_delta': 250,
            'contrast_range': (0, 9),
            'saturation_range': (0.0, 20.5),
            'hue_delta': 400,
        },
        id='extreme',
    ),
    pytest.param({'contrast_range': (-3, 1)}, id='negative'),
    # Contrast and brightness as they are: only the round trips remain.
    pytest.param(
        {
            'brightness_delta': 0,
            'contrast_range': (1, 1),
            'saturation_range': (1, 1),
            'hue_delta': 1,
        },
        id='next to nothing',
    ),
]

#: An image from one of twice its height and width.
VIEWS = {
    'contiguous': lambda image: image[::2, ::2].copy(),
    'cropped': lambda image: image[5:-9, 3:-8],
    'flipped': lambda image: image[:, ::-1],
    'upside down': lambda image: image[::-1],
    'crop turned': lambda image: image[5:-9, 3:-8][::-1, ::-1],
    'one pixel': lambda image: image[:1, :1],
    'float32': lambda image: image.astype(np.float32) / 255,
}


def noise(shape=(39, 58), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3)).astype(np.uint8)


def check_same(image, seed, **options):
    outcomes = []
    for cls in (FastPhotoMetricDistortion, PhotoMetricDistortion):
        np.random.seed(seed)
        results = cls(**options)({'img': image, 'other': 1})
        outcomes.append((results, np.random.random()))
    (ours, our_next), (theirs, their_next) = outcomes
    assert our_next == their_next
    assert ours.keys() == theirs.keys()
    assert ours['img'].dtype == theirs['img'].dtype
    np.testing.assert_array_equal(ours['img'], theirs['img'])


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('view', VIEWS)
def test_same_as_upstream(view, options):
    image = noise()
    for seed in range(60):
        check_same(VIEWS[view](image), seed, **options)


def test_every_color_of_a_coarse_cube():
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    image = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(52, -1, 3)
    for seed in range(20):
        check_same(image, seed)


def test_nuimages_size():
    image = noise((900, 1600))
    for seed in range(4):
        check_same(image[100:612, 200:1224][:, ::-1], seed)


@pytest.mark.parametrize('shape', [(5,), (4, 5), (4, 5, 1), (4, 5, 4)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, int])
def test_convert(shape, dtype):
    values = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    for alpha, beta in ((1, 0), (0.37, 0), (1, -31.7), (1.5, 200), (-1, 9)):
        ours, theirs = (
            cls().convert(values, alpha, beta)
            for cls in (FastPhotoMetricDistortion, PhotoMetricDistortion)
        )
        assert ours.dtype == theirs.dtype == np.uint8
        np.testing.assert_array_equal(ours, theirs)


def test_image_of_the_caller_stays():
    image = noise()
    before = image.copy()
    for seed in range(20):
        np.random.seed(seed)
        FastPhotoMetricDistortion()({'img': image})
    np.testing.assert_array_equal(image, before)


def test_built_by_name():
    transform = TRANSFORMS.build(
        {'type': 'FastPhotoMetricDistortion', 'hue_delta': 7}
    )
    assert transform.hue_delta == 7
