import numpy as np
import pytest
import torch

from mmseg_ext.evaluation.errors import (
    boundary_iou,
    boundary_width,
    count_errors,
    find_errors,
    kind_shares,
    mended_iou,
)
from mmseg_ext.evaluation.functional import class_scores, confusion_matrix
from mmseg_ext.formats.run_records import KINDS
from references import errors as naive


def blobs(rng, shape, num_classes, size):
    """Make a map of rectangles with sides of up to some pixels."""
    classes = np.zeros(shape, np.uint8)
    for _ in range(shape[0] * shape[1] // size):
        top, left = rng.integers(0, shape)
        height, width = rng.integers(1, size + 1, 2)
        classes[top : top + height, left : left + width] = rng.integers(
            num_classes
        )
    return classes


def pair(seed):
    """Make prediction, label with ignored pixels, and number of classes."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 34, 2)
    num_classes = int(rng.integers(1, 12))
    label = blobs(rng, shape, num_classes, 7)
    prediction = np.roll(label, rng.integers(-2, 3, 2), (0, 1))
    noisy = rng.random(shape) < 0.2 * rng.random()
    prediction[noisy] = rng.integers(num_classes, size=noisy.sum())
    ignored = blobs(rng, shape, 3, 5) == 2
    label[ignored] = 255
    prediction[ignored] = rng.integers(256, size=ignored.sum())
    return prediction, label, num_classes


def sums(prediction, label, num_classes=2, share=0.02):
    """Return {class: {kind: [missed, invented]}}, without zeros."""
    index, _, errors = count_errors(
        prediction, label, num_classes, share=share
    )
    return {
        int(each): {
            kind: counts[:, k].tolist()
            for k, kind in enumerate(KINDS)
            if counts[:, k].any()
        }
        for each, counts in zip(index, errors, strict=True)
    }


@pytest.fixture
def objects():
    """Return a label with two objects of class 1, side by side."""
    label = np.zeros((200, 300), np.uint8)  # d is 7.
    label[50:110, 40:100] = 1
    label[50:110, 104:160] = 1
    return label


@pytest.mark.parametrize('share', [0.02, 0.08, 0.5])
@pytest.mark.parametrize('seed', range(12))
def test_counts_equal_a_naive_count(seed, share):
    prediction, label, num_classes = pair(seed)
    classes, boundary, errors = count_errors(
        prediction, label, num_classes, 255, share
    )
    expected = naive.count_errors(
        prediction.tolist(), label.tolist(), num_classes, 255, share
    )
    assert classes.tolist() == expected[0]
    assert boundary.tolist() == expected[1]
    assert errors.reshape(-1, 6).tolist() == expected[2]
    assert {classes.dtype, boundary.dtype, errors.dtype} == {np.dtype('i8')}


@pytest.mark.parametrize('seed', range(12))
def test_errors_are_what_iou_is_missing(seed):
    prediction, label, num_classes = pair(seed)
    matrix = confusion_matrix(
        torch.from_numpy(prediction), torch.from_numpy(label), num_classes
    ).numpy()
    index, _, errors = count_errors(prediction, label, num_classes)
    present = matrix.sum(0) + matrix.sum(1) > 0
    assert index.tolist() == np.flatnonzero(present).tolist()
    hit = matrix.diagonal()[index]
    np.testing.assert_array_equal(
        errors.sum(2).T, [matrix.sum(k)[index] - hit for k in (1, 0)]
    )
    iou = class_scores(matrix)['IoU'][index]
    shares = kind_shares(hit, errors)
    np.testing.assert_allclose(shares.sum((1, 2)), 1 - iou, atol=1e-12)
    gains = mended_iou(hit, errors) - iou[:, None]
    assert gains.min() >= -1e-12


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize('num_classes', [255, 256, 300])
def test_many_classes_count_as_few_do(num_classes, dtype):
    prediction, label, few = pair(4)
    expected = count_errors(prediction, label, few)
    ignored = 0 if dtype == np.uint8 else 999  # 255 may be a class.
    table = np.full(256, ignored, dtype)
    # The last classes of the many, which are beyond bytes where there are 300.
    last = min(num_classes, 256 if dtype == np.uint8 else num_classes)
    table[:few] = np.arange(last - few, last)
    classes, *counts = count_errors(
        table[prediction], table[label], num_classes, ignored
    )
    np.testing.assert_array_equal(classes, expected[0] + last - few)
    for ours, theirs in zip(counts, expected[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_class_can_be_ignored():
    prediction, label, num_classes = pair(4)
    assert num_classes > 3
    expected = count_errors(
        prediction, np.where(label == 2, 255, label), num_classes
    )
    label[label == 255] = 2
    found = count_errors(prediction, label, num_classes, ignore_index=2)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize('steps', [(0, 1), (1, 0), (-1, 1), (0, -1)])
def test_a_shift_is_boundary_alone(objects, steps):
    found = sums(np.roll(objects, steps, (0, 1)), objects)
    assert {*found[0], *found[1]} == {'boundary'}
    # What one class misses, the other has too much of.
    assert found[0]['boundary'] == found[1]['boundary'][::-1]


def test_growth_beyond_the_boundary_is_extent(objects):
    prediction = objects.copy()
    prediction[110:130, 40:100] = 1  # 20 rows of 60 below, d is 7.
    assert sums(prediction, objects) == {
        # The background is right at the sides of what is missed, 7 columns
        # of each row, and below: but it is far from the label's edge there.
        0: {
            'boundary': [7 * 60 - 7 * 46, 0],
            'extent': [20 * 60 - (7 * 60 - 7 * 46), 0],
        },
        1: {'boundary': [0, 7 * 60], 'extent': [0, 13 * 60]},
    }


def test_dropped_and_invented_objects_are_segments(objects):
    dropped = objects.copy()
    dropped[:, 102:] = 0  # beside one that is found, 4 pixels away
    found = sums(dropped, objects)
    assert found[1] == {'segment': [60 * 56, 0]}
    found = sums(objects, dropped)
    assert found[1] == {'segment': [0, 60 * 56]}


def test_an_object_of_another_class_is_a_segment_of_both(objects):
    prediction = objects.copy()
    prediction[:, 102:] *= 2
    assert sums(prediction, objects, 3) == {
        0: {},
        1: {'segment': [60 * 56, 0]},
        2: {'segment': [0, 60 * 56]},
    }


def test_a_hole_is_missed_in_its_extent_and_invented_as_a_segment():
    label = np.ones((120, 160), np.uint8)  # d is 4.
    prediction = label.copy()
    prediction[40:60, 40:60] = 0
    assert sums(prediction, label) == {
        0: {'segment': [0, 400]},
        1: {'extent': [400, 0]},
    }


def test_ignored_pixels_cut_objects_apart_and_are_never_wrong():
    label = np.ones((20, 60), np.uint8)
    label[:, 20:30] = 255
    prediction = label.copy()
    prediction[:, :20] = 0  # one part is missed
    prediction[:, 20:30] = 7  # no class
    assert sums(prediction, label) == {
        0: {'segment': [0, 400]},
        1: {'segment': [400, 0]},
    }


@pytest.mark.parametrize(
    'label',
    [
        pytest.param(np.zeros((0, 0), np.uint8), id='no rows and columns'),
        pytest.param(np.zeros((0, 5), np.uint8), id='no rows'),
        pytest.param(np.full((9, 7), 255, np.uint8), id='all ignored'),
    ],
)
def test_nothing_to_count(label):
    found = find_errors(np.zeros_like(label), label, 4)
    assert len(found.pixels) == len(found.class_index) == 0
    assert found.boundary.shape == (0, 3)
    assert found.errors.shape == (0, 2, 3)


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (9, 1), (40, 30)])
def test_one_class_without_a_fault(shape):
    label = np.zeros(shape, np.uint8)
    index, boundary, errors = count_errors(label, label, 1)
    assert index.tolist() == [0]
    # The image's border is a boundary.
    inner = max(0, shape[0] - 2) * max(0, shape[1] - 2)
    assert boundary.tolist() == [[label.size - inner] * 3]
    assert not errors.any()
    assert boundary_iou(boundary).tolist() == [1]


def test_pixels_have_their_kinds(objects):
    prediction = objects.copy()
    prediction[:, 102:] *= 2
    prediction[50, 40:100] = 0
    found = find_errors(prediction, objects, 3)
    rows, columns = np.divmod(found.pixels, 300)
    np.testing.assert_array_equal(
        np.stack([rows, columns], 1), np.argwhere(prediction != objects)
    )
    np.testing.assert_array_equal(found.labels, objects[rows, columns])
    np.testing.assert_array_equal(found.predictions, prediction[rows, columns])
    other = columns >= 102
    for kinds in (found.missed, found.invented):
        names = np.array(KINDS)[kinds]
        assert set(names[other]) == {'segment'}
        assert set(names[~other]) == {'boundary'}


@pytest.mark.parametrize(
    ('shape', 'share', 'expected'),
    [((900, 1600), 0.02, 37), ((3, 4), 0.02, 1), ((30, 40), 0.1, 5)],
)
def test_width_of_the_boundary(shape, share, expected):
    assert boundary_width(shape, share) == expected


def test_scores_by_hand():
    hit = np.array([50, 0, 0, 0])
    errors = np.zeros((4, 2, 3), np.int64)
    errors[0] = [[10, 5, 5], [20, 0, 10]]  # of a union of 100
    errors[1] = [[0, 0, 8], [0, 0, 0]]  # never predicted
    errors[2] = [[0, 0, 0], [0, 0, 8]]  # never labeled
    shares = kind_shares(hit, errors)
    assert shares[0].tolist() == [[0.1, 0.05, 0.05], [0.2, 0, 0.1]]
    assert np.isnan(shares[3]).all()
    np.testing.assert_array_equal(
        mended_iou(hit, errors),
        [
            [60 / 80, 55 / 100, 55 / 90],
            [0, 0, 1],
            [0, 0, np.nan],
            [np.nan, np.nan, np.nan],
        ],
    )
    found = boundary_iou(np.array([[30, 50, 40], [0, 0, 7], [0, 0, 0]]))
    np.testing.assert_array_equal(found, [0.5, 0, np.nan])
