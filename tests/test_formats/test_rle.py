import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmseg_ext.formats.rle import (
    decode_runs,
    encode_runs,
    paint_runs,
    runs_of_box,
    runs_of_values,
)

SHAPE = (37, 53)


def random_mask(seed, share, shape=SHAPE):
    return np.random.default_rng(seed).random(shape) < share


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))['counts']


@pytest.mark.parametrize(
    'masks',
    [
        pytest.param([np.zeros(SHAPE, bool)], id='empty'),
        pytest.param([np.ones(SHAPE, bool)], id='full'),
        pytest.param([np.indices(SHAPE).sum(0) % 2 == 0], id='checkered'),
        pytest.param([random_mask(0, 0.5)], id='noise'),
        pytest.param(
            [random_mask(seed, seed / 20) for seed in range(21)], id='many'
        ),
        # Long runs have numbers of several digits.
        pytest.param(
            [np.indices((900, 1600))[1] // step % 2 for step in (1, 70, 801)],
            id='large',
        ),
        # More runs than are painted one by one.
        pytest.param([random_mask(1, 0.5, (300, 400))], id='many-runs'),
    ],
)
def test_masks_are_those_of_pycocotools(masks):
    shape = masks[0].shape
    decoded = decode_runs([encode(mask) for mask in masks], shape)
    assert len(decoded) == len(masks)
    for mask, runs in zip(masks, decoded, strict=True):
        assert runs[1::2].sum() == mask.sum()
        canvas = np.full(mask.size, 9, np.uint8)
        paint_runs(canvas, runs, 4)
        painted = canvas.reshape(shape[::-1]).T
        assert (painted == np.where(mask, 4, 9)).all()


def test_by_hand():
    # '2' is 2, 'O' is -1 with the sign bit: counts 2 3 2, and 3 - 1 = 2.
    (runs,) = decode_runs([b'232O'], (3, 3))
    assert runs.tolist() == [2, 3, 2, 2]


def test_no_masks():
    assert decode_runs([], SHAPE) == []


@pytest.mark.parametrize(
    ('code', 'reason'),
    [
        pytest.param(b'', 'cut off', id='nothing'),
        pytest.param(b'23t', 'not COCO digits', id='letter-beyond'),
        pytest.param(b'2 5', 'not COCO digits', id='blank'),
        pytest.param(b'\xff', 'not COCO digits', id='no-ascii'),
        pytest.param(b'23P', 'cut off', id='number-goes-on'),
        pytest.param(b'o' * 12 + b'0', '13 digits', id='long-number'),
        pytest.param(b'234', 'cover 9 pixels, expected 12', id='too-few'),
    ],
)
def test_broken_codes(code, reason):
    good = encode(np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match=reason):
        decode_runs([good, code, good], (3, 4))


def test_negative_run_of_the_right_sum():
    # 2, -1, 5, 6: 12 pixels in all.
    with pytest.raises(ValueError, match='negative length'):
        decode_runs([b'2O57'], (3, 4))


# Encoding.


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize(
    'place',
    [
        pytest.param((0, 0, 37, 53), id='whole'),
        pytest.param((5, 7, 21, 30), id='inside'),
        pytest.param((0, 7, 37, 30), id='full-height'),
        pytest.param((36, 52, 37, 53), id='corner'),
    ],
)
def test_runs_of_a_box(seed, place):
    top, left, bottom, right = place
    mask = np.zeros(SHAPE, bool)
    box = random_mask(seed, seed / 5, (bottom - top, right - left))
    mask[top:bottom, left:right] = box
    runs = runs_of_box(box.astype(np.uint8), left, top, SHAPE)
    code = encode_runs(runs, SHAPE)
    assert code == {'size': list(SHAPE), 'counts': encode(mask)}
    [decoded] = decode_runs([code['counts']], SHAPE)
    assert (decoded == runs).all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_runs_of_each_value(dtype):
    rng = np.random.default_rng(3)
    values = rng.choice([0, 3, 200, 7], SHAPE, p=[0.4, 0.3, 0.2, 0.1])
    values = np.sort(values.astype(dtype), axis=0)
    values[0, 0] = 255
    found = dict(runs_of_values(values))
    assert list(found) == [0, 3, 7, 200, 255]
    for value, runs in found.items():
        code = encode_runs(runs, SHAPE)
        assert code['counts'] == encode(values == value)


def test_one_value_only():
    [(value, runs)] = runs_of_values(np.full((3, 4), 9, np.uint8))
    assert value == 9
    assert runs.tolist() == [0, 12]
