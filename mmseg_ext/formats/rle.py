"""COCO's compressed run-length code: encoded, checked, painted run by run.

A mask is cut into runs of zeros and ones in turn, starting with zeros, down
its columns. The code writes each length as base-32 digits, lowest first, in
the characters from ``'0'``, the fourth and later ones as the difference from
the length two before (pycocotools ``maskApi.c``).
"""

from collections.abc import Iterator, Sequence
from typing import TypedDict

import cv2
import numpy as np
from pycocotools import mask as coco_mask

__all__ = [
    'Rle',
    'decode_runs',
    'encode_runs',
    'paint_runs',
    'runs_of_box',
    'runs_of_values',
]

_FIRST = ord('0')
_MORE, _DIGIT, _SIGN = 0x20, 0x1F, 0x10

#: Digits of the longest number: enough for lengths of 34 bits.
_MAX_DIGITS = 7

#: With more runs, expanding the mask is cheaper than painting each.
_MANY_RUNS = 10_000


def decode_runs(
    codes: Sequence[bytes], size: tuple[int, int]
) -> list[np.ndarray]:
    """Decode compressed codes and check them.

    pycocotools does not check: where the runs do not fit the size, it reads
    and writes beyond its memory.

    Args:
        codes: Codes of masks; many at once are faster, since most of the
            time goes into calling NumPy.
        size: Height and width of the masks.

    Returns:
        For each mask int64 (R,): lengths of the runs, zeros first, which sum
        to the number of pixels.

    Raises:
        ValueError: A code is broken or of another size.
    """
    if not codes:
        return []
    text = np.frombuffer(b''.join(codes), np.uint8) - np.uint8(_FIRST)
    borders = np.cumsum([len(code) for code in codes])
    if (
        not all(codes)
        or (text >= 2 * _MORE).any()
        or (text[borders - 1] >= _MORE).any()
    ):
        raise ValueError('broken RLE: not COCO digits, or cut off')
    numbers, ends = _decode_numbers(text)
    result = np.split(numbers, np.searchsorted(ends, borders[:-1], 'right'))
    for runs in result:
        np.cumsum(runs[1::2], out=runs[1::2])
        np.cumsum(runs[2::2], out=runs[2::2])
        if runs.sum() != size[0] * size[1]:
            raise ValueError(
                f'broken RLE: its runs cover {runs.sum()} pixels, expected '
                f'{size[0] * size[1]} for height x width {size[0]}x{size[1]}'
            )
    if (numbers < 0).any():
        raise ValueError('broken RLE: a run of negative length')
    return result


def _decode_numbers(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode base-32 digits, lowest first.

    Returns:
        int64 (N,): the numbers, and where the digits of each end.
    """
    ends = np.flatnonzero(text < _MORE) + 1
    starts = np.empty_like(ends)
    starts[0], starts[1:] = 0, ends[:-1]
    digits = ends - starts
    longest = digits.max()
    if longest > _MAX_DIGITS:
        raise ValueError(f'broken RLE: a number of {longest} digits')
    values = (text & _DIGIT).astype(np.int64)
    numbers = values[starts]
    for place in range(1, longest):
        at = np.flatnonzero(digits > place)
        numbers[at] += values[starts[at] + place] << 5 * place
    negative = np.flatnonzero(text[ends - 1] & _SIGN)
    numbers[negative] -= 1 << 5 * digits[negative]
    return numbers, ends


def paint_runs(canvas: np.ndarray, runs: np.ndarray, value: int) -> None:
    """Set the pixels of a mask to one value.

    Args:
        canvas: uint8 (width * height,), column after column; changed in
            place.
        runs: As from :func:`decode_runs`.
        value: What the pixels become, 0 to 255.
    """
    if len(runs) > _MANY_RUNS:
        ones = np.arange(len(runs)) % 2 == 1
        canvas[np.repeat(ones, runs)] = value
        return
    # Copying bytes costs less than NumPy's slices, of which there are many.
    pixels = canvas.data
    paint = bytes([value]) * int(runs[1::2].max(initial=0))
    bounds = np.cumsum(runs).tolist()
    for start, stop in zip(bounds[0::2], bounds[1::2], strict=False):
        pixels[start:stop] = paint[: stop - start]


class Rle(TypedDict):
    """A mask in compressed code, as pycocotools takes and returns it.

    Attributes:
        size: Height and width.
        counts: The code.
    """

    size: list[int]
    counts: bytes


def encode_runs(runs: np.ndarray, size: tuple[int, int]) -> Rle:
    """Encode the runs of a mask.

    Args:
        runs: As from :func:`decode_runs`.
        size: Height and width of the mask.
    """
    height, width = size
    code = {'size': [height, width], 'counts': runs}
    return coco_mask.frPyObjects(code, height, width)


def runs_of_box(
    box: np.ndarray, left: int, top: int, size: tuple[int, int]
) -> np.ndarray:
    """Cut a mask that lies in a box of an image into runs.

    Args:
        box: uint8 (h, w), 0 or 1.
        left: Column of the image that the box begins in.
        top: Row of the image that the box begins in.
        size: Height and width of the image.

    Returns:
        As from :func:`decode_runs`.
    """
    height, width = size
    rows, columns = box.shape
    # With a zero above and below, each run begins and ends in its column.
    framed = np.zeros((columns, rows + 2), np.uint8)
    framed[:, 1:-1] = box.T
    pixels = framed.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    column, row = np.divmod(changes, rows + 2)
    bounds = (left + column) * height + top + row
    if rows == height:  # runs may go on in the next column
        bounds, counts = np.unique(bounds, return_counts=True)
        bounds = bounds[counts == 1]
    bounds = np.concatenate(([0], bounds, [width * height]))
    runs = bounds[1:] - bounds[:-1]
    return runs if runs[-1] else runs[:-1]


def runs_of_values(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Cut an image into the runs of each value, in one pass over the pixels.

    Args:
        values: uint8 or uint16 (H, W).

    Yields:
        A value, and the runs of its mask as from :func:`decode_runs`; in
        ascending order of the values.
    """
    columns = cv2.transpose(values).ravel()
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    bounds = np.concatenate(([0], changes, [columns.size]))
    starts = columns[bounds[:-1]]
    order = np.argsort(starts, kind='stable')
    found, first = np.unique(starts[order], return_index=True)
    for value, runs in zip(
        found.tolist(), np.split(order, first[1:]), strict=True
    ):
        ends = np.stack((bounds[runs], bounds[runs + 1]), axis=1)
        counts = np.diff(ends.ravel(), prepend=0, append=columns.size)
        yield value, counts if counts[-1] else counts[:-1]
