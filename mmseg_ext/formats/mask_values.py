"""Which values or colors a label map holds, counted at speed."""

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

from mmseg_ext.utils.images import png_rows

__all__ = [
    'COLOR_BITS',
    'PngTally',
    'ValueCounts',
    'color_keys',
    'sum_counts',
    'tally',
    'tally_png',
]

#: Pixels that are counted at a time, so that large files take no more memory.
_BLOCK = 1 << 19

#: Those of the color in what :func:`color_keys` gives.
COLOR_BITS = 0xFFFFFF

#: The same, where PNGs are not decoded.
_STRIP = 1 << 18

#: PNG's filters that leave flat rows flat: none, and differences from the
#: pixel before. Source: W3C PNG, third edition.
_NO_FILTER, _SUB = 0, 1

#: Of fewer runs nothing can be said.
_RUNS = 50

#: A run of this length or less, between two others, may be a blended edge.
_SHORT = 2


class ValueCounts(NamedTuple):
    """The values of an array, and how often each is there.

    Attributes:
        values: int64 (N,), ascending; of colors ``red << 16 | green << 8 |
            blue``.
        counts: int64 (N,).
        digest: Equal for arrays of equal shape and values.
        blended: Of the runs of equal values, the share of those that are one
            or two pixels long and have a value between their neighbors': many
            where edges were blended; 0 of colors.
    """

    values: np.ndarray
    counts: np.ndarray
    digest: bytes
    blended: float = 0.0

    def as_dict(self) -> dict[int, int]:
        """Return the counts by value."""
        pairs = zip(self.values.tolist(), self.counts.tolist(), strict=True)
        return dict(pairs)


def tally(pixels: np.ndarray) -> ValueCounts:
    """Count the values of a label map, or the colors of one.

    Labels are flat: to count the ends of runs of equal pixels takes a part of
    the time that each pixel takes.

    Args:
        pixels: Integers (H, W), or uint8 (H, W, 3), BGR.
    """
    colors = pixels.ndim == 3
    flat = pixels.reshape(-1, 3) if colors else pixels.reshape(-1)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    values, counts, blended = [], [], [0.0]
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        block = color_keys(block) if colors else block
        ends = _places_of(block[1:] != block[:-1]) + 1
        starts = np.concatenate([[0], ends]).astype(np.int32)
        firsts = block[starts]
        if colors:
            firsts &= COLOR_BITS
        digest.update(starts.tobytes())
        digest.update(firsts.astype(np.int32).tobytes())
        lengths = np.diff(starts, append=len(block))
        found, total = sum_counts(firsts, lengths)
        values.append(found)
        counts.append(total)
        blended.append(0.0 if colors else _blended(firsts, lengths))
    if not values:
        none = np.zeros(0, np.int64)
        return ValueCounts(none, none, digest.digest())
    found, total = values[0], counts[0]
    if len(values) > 1:
        found, total = sum_counts(
            np.concatenate(values), np.concatenate(counts)
        )
    return ValueCounts(found, total, digest.digest(), max(blended))


class PngTally(NamedTuple):
    """What a PNG holds.

    Attributes:
        size: Width and height.
        channels: 1 of grays, 3 of RGB.
        counts: Pixels by gray, or by color as ``red << 16 | green << 8 |
            blue``.
    """

    size: tuple[int, int]
    channels: int
    counts: dict[int, int]

    def as_grays(self) -> dict[int, int] | None:
        """Return the pixels by gray; None if there are other colors."""
        if self.channels == 1:
            return self.counts
        grays = {key & 255: count for key, count in self.counts.items()}
        if any(_of_gray(key & 255) != key for key in self.counts):
            return None
        return grays

    def as_colors(self) -> dict[int, int]:
        """Return the pixels by color."""
        if self.channels != 1:
            return self.counts
        return {_of_gray(key): count for key, count in self.counts.items()}


def _of_gray(value: int) -> int:
    return value << 16 | value << 8 | value


def tally_png(data: bytes) -> PngTally | None:
    """Count the values or colors of a PNG without decoding it.

    Of files whose rows are differences, as OpenCV writes them, the pixels
    that differ from the one before are added up: a quarter of the time that
    decoding and counting takes.

    Args:
        data: Content of the file.

    Returns:
        None if it is of another form, or not whole.

    Raises:
        MemoryError: There is no memory for it.
    """
    rows = png_rows(data)
    if rows is None or rows[:, 0].max() > _SUB:
        return None
    width = int.from_bytes(data[16:20], 'big')
    values, counts = [], []
    # A strip stays in the cache; the temporaries of a whole image cost
    # thousands of page faults.
    step = max(1, _STRIP // width)
    for top in range(0, len(rows), step):
        found, total = _tally_rows(rows[top : top + step], width)
        values.append(found)
        counts.append(total)
    found, total = sum_counts(np.concatenate(values), np.concatenate(counts))
    pairs = zip(found.tolist(), total.tolist(), strict=True)
    channels = (rows.shape[1] - 1) // width
    return PngTally((width, len(rows)), channels, dict(pairs))


def _tally_rows(rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the values in some rows, as :func:`tally_png` has them."""
    height, channels = len(rows), (rows.shape[1] - 1) // width
    steps = rows[:, 1:].copy().reshape(height, width, channels)
    plain = rows[:, 0] == _NO_FILTER
    if plain.any():
        steps[plain, 1:] -= steps[plain, :-1].copy()
    flat = steps.reshape(-1, channels)
    if channels == 1:
        changes = flat.ravel() != 0
    else:
        changes = color_keys(flat) & COLOR_BITS != 0
    changes[::width] = True
    places = _places_of(changes)
    # Each row begins anew, and all sums are those of bytes.
    sums = np.cumsum(flat[places], axis=0, dtype=np.int64)
    firsts = np.flatnonzero(places % width == 0)
    before = np.zeros((height, channels), np.int64)
    before[1:] = sums[firsts[1:] - 1]
    lengths = np.diff(firsts, append=len(places))
    pixels = sums - np.repeat(before, lengths, axis=0) & 255
    keys = pixels[:, 0]
    for channel in range(1, channels):
        keys = keys << 8 | pixels[:, channel]
    return sum_counts(keys, np.diff(places, append=changes.size))


def _blended(firsts: np.ndarray, lengths: np.ndarray) -> float:
    """Return the share of runs whose values lie between their neighbors'.

    Args:
        firsts: The values of the runs.
        lengths: Their lengths; long ones do not count.
    """
    if len(firsts) < _RUNS:
        return 0.0
    rises = firsts[1:] > firsts[:-1]
    # Neighbors differ, so what does not rise falls.
    between = rises[1:] == rises[:-1]
    return float((between & (lengths[1:-1] <= _SHORT)).mean())


def _places_of(flags: np.ndarray) -> np.ndarray:
    """Return where flags, bool (N,), are set, in half of NumPy's time.

    Few are: most words of eight of them have none.
    """
    whole = len(flags) // 8 * 8
    words = flags[:whole].view(np.uint64)
    some = np.flatnonzero(words != 0)
    within = np.flatnonzero(words[some].view(bool))
    places = some[within >> 3] * 8 + (within & 7)
    rest = np.flatnonzero(flags[whole:]) + whole
    return np.concatenate([places, rest])


def color_keys(colors: np.ndarray) -> np.ndarray:
    """Return each color of uint8 (N, 3), BGR, as a number, uint32 (N,).

    That of the color is in the lower 24 bits; the others are the same.
    """
    bgra = cv2.cvtColor(colors[None], cv2.COLOR_BGR2BGRA)
    return bgra.view('<u4').ravel()


def sum_counts(
    values: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the counts of equal values, int64 each, by ascending value."""
    if values.dtype == np.uint8:
        total = np.bincount(values, counts).astype(np.int64)
        found = np.flatnonzero(total)
        return found, total[found]
    order = np.argsort(values)
    values = values[order]
    starts = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], starts])
    total = np.add.reduceat(counts[order], starts, dtype=np.int64)
    return values[starts].astype(np.int64), total
