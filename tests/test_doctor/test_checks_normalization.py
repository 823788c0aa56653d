"""Numbers of normalization, and the order of channels."""

import cv2
import numpy as np
import pytest

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.findings import Level

_MEAN = 'mean = [123.675, 116.28, 103.53]\nstd = [58.395, 57.12, 57.375]\n'
_TURNED = 'mean = [103.53, 116.28, 123.675]\nstd = [57.375, 57.12, 58.395]\n'
_CAFFE = 'mean = [103.53, 116.28, 123.675]\nstd = [1.0, 1.0, 1.0]\n'
_LOAD = "    dict(type='LoadImageFromFile'),\n"
_PACK = "    dict(type='PackSegInputs'),\n]\ntest"


def _worst(patient) -> list[str]:
    """Return the findings above a note."""
    found = patient.examine().findings
    return [f'{f.code}: {f.text}' for f in found if f.level > Level.NOTE]


def _paint(patient, color, folders=('train', 'val')) -> None:
    """Move the colors of images by red, green and blue."""
    for folder in folders:
        for path in patient.files(folder):
            image = cv2.imread(str(path)).astype(int)
            image = (image - image.mean((0, 1))) / 4 + color[::-1]
            cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))


@plants('normalization')
@pytest.mark.parametrize(
    'numbers',
    [
        'mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n',
        'mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n',
        'mean = None\nstd = None\n',
        'mean = [10.0, 10.0, 10.0]\nstd = [5.0, 5.0, 5.0]\n',
    ],
    ids=['0-1', 'none', 'missing', 'far'],
)
def test_numbers_that_do_not_fit(street, numbers):
    street.change(_MEAN, numbers)
    [found] = assert_only(street.examine(), 'normalization', split='train')
    assert found.level == Level.WARNING
    images = [cv2.imread(str(path)) for path in street.files('train')]
    mean = np.mean([image.mean((0, 1)) for image in images], axis=0)
    assert np.abs(np.array(found.value[0]) - mean[::-1]).max() < 3
    assert found.change == {
        'model.data_preprocessor.mean': [123.675, 116.28, 103.53],
        'model.data_preprocessor.std': [58.395, 57.12, 57.375],
        'model.data_preprocessor.bgr_to_rgb': True,
    }


def test_normalized_twice(street):
    step = "    dict(type='Normalize', mean=mean, std=std, to_rgb=True),\n"
    street.change(_PACK, step + _PACK)
    [found] = assert_only(street.examine(), 'normalization', split='train')
    assert 'the pipeline has scaled images' in found.text


@pytest.mark.parametrize(
    ('numbers', 'color'),
    [
        (_MEAN, None),
        (_MEAN, (60, 80, 110)),
        (_CAFFE, (25, 20, 15)),
        (_TURNED, (60, 80, 110)),
        ('mean = [0, 0, 0]\nstd = [255, 255, 255]\n', (25, 20, 15)),
        ('mean = [123.675, 116.28, 103.53]\nstd = [1, 1, 1]\n', None),
        # CGNet's, whose red and blue are nearly equal.
        ('mean = [72.39, 82.909, 73.158]\nstd = [1, 1, 1]\n', None),
    ],
    ids=['photo', 'sky', 'caffe-night', 'turned', 'yolo', 'ssd', 'cgnet'],
)
def test_usual_numbers_are_fine(street, numbers, color):
    blue_first = numbers in (_CAFFE, _TURNED)
    street.change(_MEAN, numbers)
    street.change('bgr_to_rgb=True', f'bgr_to_rgb={not blue_first}')
    if color:
        _paint(street, color)
    assert _worst(street) == []


@plants('channels-swapped')
@pytest.mark.parametrize(
    ('name', 'numbers', 'to_rgb'),
    [
        ('street', _MEAN, False),
        ('street', _TURNED, True),
        ('shapes', _CAFFE, True),
    ],
    ids=['red-first', 'blue-first', 'caffe'],
)
def test_known_means_in_another_order(name, numbers, to_rgb, request):
    patient = request.getfixturevalue(name)
    patient.change(_MEAN, numbers)
    patient.change('bgr_to_rgb=True', f'bgr_to_rgb={to_rgb}')
    [found] = assert_only(patient.examine(), 'channels-swapped')
    assert (found.level, found.split) == (Level.WARNING, 'train')
    there = 'RGB' if to_rgb else 'BGR'
    assert f'the channels are {there} there' in found.text


def test_measured_mean_in_another_order(street):
    _paint(street, (120, 90, 60))
    street.change(_MEAN, 'mean = [120, 90, 60]\nstd = [30, 30, 30]\n')
    assert _worst(street) == []
    street.change('mean = [120, 90, 60]', 'mean = [60, 90, 120]')
    [found] = assert_only(street.examine(), 'channels-swapped')
    assert found.value == [60, 90, 120]


@pytest.mark.parametrize('to_rgb', [True, False])
def test_step_normalizes_in_another_order(street, to_rgb):
    step = f"    dict(type='Normalize', mean=mean, std=std, to_rgb={to_rgb}),"
    street.change(_PACK, f'{step}\n{_PACK}')
    street.change('mean=mean, std=std, bgr', 'mean=None, std=None, bgr')
    found = [f for f in _worst(street) if 'channels-swapped' in f]
    assert len(found) == (not to_rgb)
    assert _worst(street) == found


def test_images_of_one_split_are_swapped(street):
    _paint(street, (120, 90, 60))
    assert _worst(street) == []
    _paint(street, (60, 90, 120), ['val'])
    found = assert_only(street.examine(), 'channels-swapped')
    assert [f.split for f in found] == ['val', 'test']
    assert np.allclose(found[0].value, (60, 90, 120), atol=3)


def test_loader_that_turns_channels(street):
    _paint(street, (120, 90, 60))
    street.change(_LOAD, _LOAD + "    dict(type='Turned'),\n")
    street.change(
        "default_scope = 'mmseg'\n",
        "default_scope = 'mmseg'\n"
        "custom_imports = dict(imports=['helpers.turned'])\n",
    )
    [found] = assert_only(street.examine(), 'channels-swapped', split='train')
    assert 'the channels are BGR there' in found.text
