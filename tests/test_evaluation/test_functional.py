import re

import numpy as np
import pytest
import torch
from PIL import Image

from mmseg_ext.evaluation.functional import (
    class_scores,
    confusion_matrix,
    frequency_weighted_iou,
    pixel_accuracy,
    resize_nearest,
    silent_classes,
    single_map,
    whole_numbers,
)
from references import confusion


def random_maps(
    num_classes, shape=(23, 31), ignore_index=255, seed=0, dtype=torch.int64
):
    rng = np.random.default_rng(seed)
    prediction = rng.integers(0, num_classes, shape)
    label = rng.integers(0, num_classes, shape)
    label[rng.random(shape) < 0.2] = ignore_index
    return (
        torch.from_numpy(prediction).to(dtype),
        torch.from_numpy(label).to(dtype),
    )


@pytest.mark.parametrize(
    ('num_classes', 'ignore_index', 'dtype'),
    [
        pytest.param(11, 255, torch.int64, id='int64'),
        pytest.param(11, 255, torch.uint8, id='uint8'),
        pytest.param(1, 255, torch.int64, id='one class'),
        pytest.param(11, 3, torch.int64, id='a class is ignored'),
        pytest.param(255, 255, torch.int64, id='255 classes'),
        pytest.param(256, 17, torch.int64, id='256 classes'),
        pytest.param(400, 999, torch.int64, id='more than bytes hold'),
        pytest.param(11, -100, torch.int64, id='negative ignore index'),
        pytest.param(11, 255, torch.int32, id='int32'),
        pytest.param(11, 255, torch.float32, id='float32'),
        pytest.param(2, 255, torch.float16, id='float16'),
        pytest.param(11, 255, torch.bfloat16, id='bfloat16'),
        pytest.param(400, 999, torch.float32, id='float32 beyond bytes'),
        pytest.param(11, -100, torch.float64, id='float64 below bytes'),
    ],
)
def test_confusion_matrix_equals_reference(num_classes, ignore_index, dtype):
    prediction, label = random_maps(
        num_classes, ignore_index=ignore_index, dtype=dtype
    )
    expected = confusion.count(
        prediction.long().tolist(),
        label.long().tolist(),
        num_classes,
        ignore_index,
    )

    matrix = confusion_matrix(prediction, label, num_classes, ignore_index)

    assert matrix.dtype == torch.int64
    assert matrix.tolist() == expected


@pytest.mark.parametrize('num_classes', [5, 256, 400])
@pytest.mark.parametrize('ignore_index', [256, 512, -256, 300, -1, 1000])
@pytest.mark.parametrize(
    'dtype', [torch.uint8, torch.int16, torch.int64, torch.float32]
)
def test_ignore_index_that_the_type_does_not_hold(
    dtype, ignore_index, num_classes
):
    """Torch and NumPy take it for a class, modulo 256."""
    label = torch.arange(min(num_classes, 256)).to(dtype)[None]
    matrix = confusion_matrix(label, label, num_classes, ignore_index)
    kept = torch.arange(num_classes) < 256
    assert torch.equal(matrix, kept.long().diag())


def test_float_prediction_that_such_an_index_does_not_excuse():
    label = torch.tensor([[0, 1]], dtype=torch.uint8)
    prediction = torch.tensor([[0.5, 1]])
    with pytest.raises(ValueError, match=r'prediction value 0\.5 '):
        confusion_matrix(prediction, label, 2, ignore_index=256)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'num_classes': 0}, 'num_classes=0: expected 1 or more'),
        ({'num_classes': 2.5}, r'num_classes=2\.5: expected'),
        ({'ignore_index': 'a'}, "ignore_index='a': expected an integer"),
        ({'ignore_index': 2.5}, r'ignore_index=2\.5: expected'),
        ({'label': np.zeros((2, 2))}, r'label is of type ndarray; .*from_nu'),
        ({'prediction': [[0]]}, 'prediction is of type list; expected a ten'),
    ],
)
def test_wrong_arguments(options, said):
    zeros = torch.zeros(2, 2, dtype=torch.uint8)
    arguments = {'prediction': zeros, 'label': zeros, 'num_classes': 2}
    with pytest.raises(ValueError, match=said):
        confusion_matrix(**arguments | options)


def test_rows_are_labels():
    prediction = torch.tensor([[1, 1, 2]])
    label = torch.tensor([[0, 1, 255]])
    matrix = confusion_matrix(prediction, label, 3)
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize('fill', [255, 0], ids=['all ignored', 'one class'])
def test_constant_label(fill):
    prediction = torch.zeros(4, 5, dtype=torch.int64)
    label = torch.full((4, 5), fill)
    assert confusion_matrix(prediction, label, 2).tolist() == [
        [20 if fill == 0 else 0, 0],
        [0, 0],
    ]


def test_empty_image():
    empty = torch.zeros(0, 5, dtype=torch.int64)
    assert confusion_matrix(empty, empty, 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64])
def test_not_contiguous(dtype):
    prediction, label = random_maps(7, dtype=dtype)
    expected = confusion_matrix(prediction, label, 7)
    assert torch.equal(confusion_matrix(prediction.T, label.T, 7), expected)
    cropped = [values[2:-3, 1:-4] for values in (prediction, label)]
    copied = [values.clone() for values in cropped]
    assert torch.equal(
        confusion_matrix(*cropped, 7), confusion_matrix(*copied, 7)
    )


@pytest.mark.parametrize('value', [-1, 256, 10**12])
def test_not_contiguous_and_outside(value):
    prediction, label = random_maps(7)
    prediction[label != 255] = value
    with pytest.raises(ValueError, match=f'prediction value {value} .*0 to 6'):
        confusion_matrix(prediction.T, label.T, 7)


@pytest.mark.parametrize('lead', [(1,), (2, 1)])
def test_leading_axes(lead):
    prediction, label = random_maps(7, shape=(*lead, 5, 9))
    expected = confusion_matrix(
        prediction.flatten(0, -2), label.flatten(0, -2), 7
    )
    assert torch.equal(confusion_matrix(prediction, label, 7), expected)


@pytest.fixture
def small_parts(monkeypatch):
    """Count in parts of 100 pixels, the last one smaller, at any size."""
    module = 'mmseg_ext.evaluation.functional.'
    monkeypatch.setattr(module + '_PART', 100)
    monkeypatch.setattr(module + '_PIXELS_A_PAIR', 0)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64])
@pytest.mark.parametrize('num_classes', [1, 5, 84, 85, 127, 128, 255, 256])
@pytest.mark.parametrize('ignore_index', [255, 0])
def test_parts(num_classes, ignore_index, dtype, small_parts):
    """Pairs have three bins up to 84 classes; what is ignored may be all."""
    prediction, label = random_maps(num_classes, ignore_index=ignore_index)
    ignored = label == ignore_index
    prediction[ignored] = torch.arange(256).repeat(3)[: ignored.sum()]
    expected = confusion.count(
        prediction.where(~ignored, 0).tolist(),
        label.tolist(),
        num_classes,
        ignore_index,
    )
    counted = confusion_matrix(
        prediction.to(dtype), label.to(dtype), num_classes, ignore_index
    )
    assert counted.dtype == torch.int64
    assert counted.tolist() == expected


@pytest.mark.parametrize('num_classes', [11, 84, 85, 256])
@pytest.mark.parametrize('types', [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_large_maps_equal_bincount(num_classes, types):
    """Several parts of the real size, one of them of long runs."""
    num = (24 * 256**2 if num_classes == 256 else 192 << 10) * 2 + 7
    rng = np.random.default_rng(num_classes)
    label = rng.integers(0, num_classes, num)
    label[: num // 2] //= num_classes  # All 0.
    prediction = label.copy()
    wrong = rng.random(num) < 0.1
    prediction[wrong] = rng.integers(0, num_classes, wrong.sum())
    counted = confusion_matrix(
        *(
            torch.from_numpy(values.astype((np.uint8, np.int64)[wide]))
            for values, wide in zip((prediction, label), types, strict=True)
        ),
        num_classes,
        ignore_index=7,
    )
    kept = label != 7
    expected = np.bincount(
        label[kept] * num_classes + prediction[kept],
        minlength=num_classes**2,
    )
    assert counted.flatten().tolist() == expected.tolist()


@pytest.mark.parametrize('num_classes', [1, 85])
def test_exact_above_2_to_24(num_classes):
    """Float32, in which parts are counted, would not be."""
    size = (1 << 24) + 3
    zeros = torch.zeros(1, size, dtype=torch.uint8)
    assert confusion_matrix(zeros, zeros, num_classes)[0, 0] == size


@pytest.mark.parametrize('value', [11, 254, 256, 267, -1, 10**12])
@pytest.mark.parametrize('wrong', ['label', 'prediction'])
def test_value_outside_class_list(value, wrong):
    """256 + 11 and others that wrap around in 8 bits are caught as well."""
    maps = dict(zip(('prediction', 'label'), random_maps(11), strict=True))
    maps['label'][1, 2] = 0
    maps[wrong][1, 2] = value
    with pytest.raises(ValueError, match=f'{wrong} value {value} .*0 to 10'):
        confusion_matrix(**maps, num_classes=11)


@pytest.mark.parametrize('num_classes', [11, 84, 85, 254])
@pytest.mark.parametrize('wrong', ['label', 'prediction'])
@pytest.mark.parametrize('above', [0, 1, 170])
def test_byte_outside_class_list(num_classes, wrong, above, small_parts):
    """In the last of several parts, of three bins for a pair and of one."""
    value = min(num_classes + above, 254)
    shape = (1, 701)
    maps = random_maps(num_classes, shape=shape, dtype=torch.uint8)
    maps = dict(zip(('prediction', 'label'), maps, strict=True))
    maps['label'][0, -2:] = 0
    maps[wrong][0, -2:] = value
    message = (
        rf'{wrong} value {value} \(2 pixels with values outside the list\) '
        f'with {num_classes} classes; expected 0 to {num_classes - 1}'
    )
    with pytest.raises(ValueError, match=message):
        confusion_matrix(**maps, num_classes=num_classes)


def test_wrong_label_is_told_before_wrong_prediction(small_parts):
    """Even where the prediction comes first, in an earlier part."""
    prediction, label = random_maps(11, dtype=torch.uint8)
    label[0, 0] = 0
    prediction[0, 0] = 12
    label[-1, -1] = 13
    with pytest.raises(ValueError, match='label value 13'):
        confusion_matrix(prediction, label, 11)


@pytest.mark.parametrize('value', [77, -1, 0.5, float('nan'), float('inf')])
def test_prediction_under_ignored_label_does_not_count(value):
    prediction = torch.tensor([[value, 1]])
    label = torch.tensor([[255, 1]])
    assert confusion_matrix(prediction, label, 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ('value', 'said'),
    [
        pytest.param(2.5, '2.5', id='fraction'),
        pytest.param(-0.5, '-0.5', id='below 0'),
        pytest.param(255.5, '255.5', id='near the ignored'),
        pytest.param(float('nan'), 'NaN', id='NaN'),
        pytest.param(float('inf'), 'inf', id='infinite'),
    ],
)
@pytest.mark.parametrize('wrong', ['label', 'prediction'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_float_that_is_no_class_index(value, said, wrong, dtype):
    maps = random_maps(11)
    maps = dict(zip(('prediction', 'label'), maps, strict=True))
    maps['label'][1, 2:4] = 0
    maps[wrong] = maps[wrong].to(dtype)
    maps[wrong][1, 2:4] = value
    message = rf'{wrong} value {said} \(2 pixels .*whole numbers'
    with pytest.raises(ValueError, match=message):
        confusion_matrix(**maps, num_classes=11)


@pytest.mark.parametrize('value', [11.0, 256.0, -1.0, 2.0**40])
@pytest.mark.parametrize('wrong', ['label', 'prediction'])
def test_whole_float_outside_class_list(value, wrong):
    maps = random_maps(11, dtype=torch.float32)
    maps = dict(zip(('prediction', 'label'), maps, strict=True))
    maps['label'][1, 2] = 0
    maps[wrong][1, 2] = value
    with pytest.raises(ValueError, match=f'{wrong} value {int(value)} .*list'):
        confusion_matrix(**maps, num_classes=11)


def test_whole_numbers_keep_their_values():
    integers = torch.tensor([[0, 1000]], dtype=torch.int16)
    assert whole_numbers('x', integers) is integers
    for values in ([0, 255], [0, 256], [-3, 2**40], [-0.0, 1]):
        floats = torch.tensor([values], dtype=torch.float64)
        whole = whole_numbers('x', floats)
        assert not whole.is_floating_point()
        assert whole.tolist() == [[int(value) for value in values]]


@pytest.mark.parametrize('lead', [(), (1,), (1, 1)])
def test_single_map(lead):
    values = torch.arange(6).reshape(*lead, 2, 3)
    assert single_map(values).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize('shape', [(3, 4, 5), (4, 5, 3), (4, 5, 1), (5,)])
def test_no_single_map(shape):
    message = f'{len(shape)} axes, shape {shape}; expected class indices, '
    with pytest.raises(ValueError, match=re.escape(message)):
        single_map(torch.zeros(shape))


def test_shapes_differ():
    with pytest.raises(ValueError, match=r'\(2, 3\) .* \(3, 2\)'):
        confusion_matrix(
            torch.zeros(2, 3, dtype=int), torch.zeros(3, 2, dtype=int), 2
        )


def test_scores_by_hand():
    # Class 0: 6 of 8 found, 1 wrongly predicted. Class 1: 1 of 2. Class 2 is
    # only predicted, class 3 nowhere.
    matrix = np.array([[6, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    scores = class_scores(matrix, beta=2)
    nan = np.nan
    expected = {
        'IoU': [6 / 9, 1 / 3, 0, nan],
        'Acc': [6 / 8, 1 / 2, nan, nan],
        'Dice': [12 / 15, 2 / 4, 0, nan],
        'Precision': [6 / 7, 1 / 2, 0, nan],
        'Recall': [6 / 8, 1 / 2, nan, nan],
        'Fscore': [
            5 * (6 / 7) * (6 / 8) / (4 * 6 / 7 + 6 / 8),
            1 / 2,
            nan,
            nan,
        ],
    }
    assert scores.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(scores[name], values, err_msg=name)
    assert pixel_accuracy(matrix) == 7 / 10
    every = np.ones(4, bool)
    assert frequency_weighted_iou(matrix, every) == pytest.approx(
        0.8 * 6 / 9 + 0.2 * 1 / 3
    )
    assert frequency_weighted_iou(
        matrix, np.array([False, True, True, True])
    ) == pytest.approx(1 / 3)


def test_scores_of_nothing_are_nan():
    matrix = np.zeros((3, 3), np.int64)
    assert all(np.isnan(v).all() for v in class_scores(matrix).values())
    assert np.isnan(pixel_accuracy(matrix))
    assert np.isnan(frequency_weighted_iou(matrix, np.ones(3, bool)))


@pytest.mark.parametrize(
    ('matrix', 'included', 'silent'),
    [
        pytest.param([[9, 0], [0, 0]], [1, 1], [0, 1], id='labeled nowhere'),
        pytest.param([[9, 0], [4, 0]], [1, 1], [0, 1], id='labeled'),
        pytest.param([[8, 1], [0, 0]], [1, 1], [0, 0], id='once predicted'),
        pytest.param([[9, 0], [0, 4]], [1, 1], [0, 0], id='perfect'),
        pytest.param([[0, 9], [0, 0]], [1, 1], [0, 0], id='all wrong'),
        pytest.param([[0, 0], [0, 0]], [1, 1], [0, 0], id='nothing labeled'),
        pytest.param([[9, 0], [0, 0]], [1, 0], [0, 0], id='excluded'),
        pytest.param(
            [[9, 0, 0], [0, 5, 0], [1, 2, 0]], [1, 1, 1], [0, 0, 1], id='three'
        ),
        pytest.param(
            [[9, 0, 0], [1, 5, 0], [0, 0, 0]],
            [1, 1, 1],
            [0, 0, 0],
            id='a miss',
        ),
        pytest.param(
            [[9, 0, 0], [1, 5, 0], [0, 0, 0]],
            [1, 0, 1],
            [0, 0, 1],
            id='a miss of an excluded class',
        ),
    ],
)
def test_silent_classes(matrix, included, silent):
    found = silent_classes(np.array(matrix), np.array(included, bool))
    assert found.tolist() == [bool(value) for value in silent]


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        pytest.param((1920, 1080), (1280, 720), id='two thirds'),
        pytest.param((2048, 1152), (1280, 720), id='ties'),
        pytest.param((320, 241), (1280, 720), id='enlarged'),
        pytest.param((1, 7), (3, 1), id='one pixel'),
    ],
)
def test_resize_equals_pillow(old, new):
    pixels = np.random.default_rng(0).integers(0, 256, old[::-1], np.uint8)
    expected = Image.fromarray(pixels).resize(new, Image.Resampling.NEAREST)
    label_map = torch.from_numpy(pixels)
    for dtype in (torch.uint8, torch.int64, torch.float32):
        resized = resize_nearest(label_map.to(dtype), new)
        assert resized.dtype == dtype
        assert (resized.numpy() == np.asarray(expected)).all()


def test_resize_keeps_fractions():
    """They are for the counting to refuse."""
    label_map = torch.tensor([[2.5, -0.5, float('nan')]])
    resized = resize_nearest(label_map, (6, 1))
    assert resized.tolist()[0][:4] == [2.5, 2.5, -0.5, -0.5]
    assert resized.isnan().tolist() == [[False] * 4 + [True] * 2]
