import zlib

import cv2
import numpy as np
import pytest

from helpers.mask_files import chunk, exif_chunk, png_file
from mmseg_ext.formats.mask_values import tally, tally_png
from mmseg_ext.utils.images import encode_labels

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    'pixels',
    [
        np.zeros((3, 2), np.uint8),
        RNG.integers(0, 256, (900, 700), np.uint8),
        RNG.integers(0, 4, (900, 700, 3), np.uint8),
        RNG.integers(-5, 9, (30, 20)),
        RNG.integers(0, 70, (30, 20)).astype(np.uint16) * 900,
        np.zeros((0, 4), np.uint8),
    ],
)
def test_tally(pixels):
    found = tally(pixels)
    values = pixels.astype(np.int64)
    if pixels.ndim == 3:
        values = values @ [1, 1 << 8, 1 << 16]
    values, counts = np.unique(values, return_counts=True)
    assert found.values.tolist() == values.tolist()
    assert found.counts.tolist() == counts.tolist()


def flat(*shape):
    """Return labels of few runs, many of which cross rows."""
    count = int(np.prod(shape[:2]))
    starts = np.sort(RNG.choice(count, count // 30, replace=False))
    values = RNG.integers(0, 256, (len(starts) + 1, *shape[2:]), np.uint8)
    lengths = np.diff(starts, prepend=0, append=count)
    return np.repeat(values, lengths, axis=0).reshape(shape)


def counted(pixels):
    """Count the values of a gray, or of BGR, one by one."""
    keys = pixels.astype(np.int64)
    if pixels.ndim == 3:
        keys = keys @ [1, 1 << 8, 1 << 16]
    values, counts = np.unique(keys, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def with_filter(pixels, kind):
    options = [cv2.IMWRITE_PNG_FILTER, kind]
    return cv2.imencode('.png', pixels, options)[1].tobytes()


@pytest.mark.parametrize(
    'pixels',
    [
        flat(40, 33),
        flat(40, 33, 3),
        flat(900, 700),
        flat(900, 700, 3),
        flat(1, 1),
        RNG.integers(0, 256, (40, 1, 3), np.uint8),
        RNG.integers(0, 256, (30, 40, 3), np.uint8),
        np.zeros((5, 300_000), np.uint8),
    ],
)
@pytest.mark.parametrize(
    'kind', [cv2.IMWRITE_PNG_FILTER_SUB, cv2.IMWRITE_PNG_FILTER_NONE]
)
def test_tally_png(pixels, kind):
    found = tally_png(with_filter(pixels, kind))
    assert found.size == pixels.shape[1::-1]
    assert found.counts == counted(pixels)
    assert found.channels == (3 if pixels.ndim == 3 else 1)


def test_filters_of_each_row():
    pixels = flat(40, 33)
    rows = np.zeros((40, 34), np.uint8)
    rows[:, 1:] = pixels
    rows[::3, 2:] -= pixels[::3, :-1]
    rows[::3, 0] = 1
    head = encode_labels(pixels).partition(b'IDAT')[0][:-4]
    body = chunk(b'IDAT', zlib.compress(rows.tobytes()))
    assert tally_png(head + body + chunk(b'IEND', b'')).counts == counted(
        pixels
    )


def test_files_that_have_to_be_decoded():
    gray, color = flat(20, 30), flat(20, 30, 3)
    data = encode_labels(gray)
    damaged = bytearray(data)
    damaged[-20] ^= 1
    for other in (
        with_filter(color, cv2.IMWRITE_PNG_FILTER_UP),
        with_filter(gray, cv2.IMWRITE_PNG_FILTER_PAETH),
        png_file(gray, 8, 0, interlaced=True),
        png_file(gray, 8, 0, before=chunk(b'tRNS', b'\0\1')),
        png_file(gray, 8, 0, before=exif_chunk(6)),
        png_file(gray & 15, 4, 0),
        png_file(gray, 16, 0),
        data[:-12],
        bytes(damaged),
        cv2.imencode('.jpg', gray)[1].tobytes(),
        b'',
    ):
        assert tally_png(other) is None


def test_grays_and_colors():
    gray = flat(20, 30)
    one, three = (
        tally_png(with_filter(pixels, cv2.IMWRITE_PNG_FILTER_SUB))
        for pixels in (gray, np.dstack([gray] * 3))
    )
    expected = counted(gray)
    assert one.as_grays() == three.as_grays() == expected
    colors = {key * 0x010101: count for key, count in expected.items()}
    assert one.as_colors() == three.as_colors() == colors
    color = tally_png(with_filter(flat(9, 9, 3), cv2.IMWRITE_PNG_FILTER_SUB))
    assert color.as_grays() is None
    dark = np.zeros((4, 4, 3), np.uint8)
    dark[0, 0, 0] = 7  # blue: as a number like a gray
    blue = tally_png(with_filter(dark, cv2.IMWRITE_PNG_FILTER_SUB))
    assert blue.as_grays() is None
    assert blue.counts == {0: 15, 7: 1}
