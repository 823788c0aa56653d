"""Connected regions of equal values among some pixels of an image.

Pixels side by side in a row that have equal values are a run, and runs of
equal values that touch, by a side or a corner, are a region. So the regions of
all values are found in one go.

Shapes: (E,) the pixels, (R,) their runs.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['Runs', 'find_runs', 'join_runs', 'reach_runs']


@dataclass(frozen=True)
class Runs:
    """Runs of pixels, from the top left to the bottom right.

    Attributes:
        width: Pixels of a row of the image.
        starts: int64 (R,), the first pixel of each, as a position in (E,).
        begin: int64 (R,), where that is in the flat image.
        end: int64 (R,), where the last pixel is.
    """

    width: int
    starts: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Return int64 (R,), the pixels of each."""
        return self.end - self.begin + 1


def find_runs(pixels: np.ndarray, width: int, *values: np.ndarray) -> Runs:
    """Find the runs of pixels.

    Args:
        pixels: int64 (E,), where they are in the flat image, in ascending
            order.
        width: Pixels of a row of the image.
        *values: (E,) each; the pixels of a run are equal in all of them.
    """
    if not len(pixels):
        return Runs(width, pixels, pixels, pixels)
    new = np.ones(len(pixels), np.bool_)
    np.not_equal(pixels[1:], pixels[:-1] + 1, out=new[1:])
    for each in values:
        new[1:] |= each[1:] != each[:-1]
    rows = np.arange(pixels[0] // width + 1, pixels[-1] // width + 1)
    new[np.searchsorted(pixels, rows * width)] = True
    starts = np.flatnonzero(new)
    last = np.append(starts[1:], len(pixels)) - 1
    return Runs(width, starts, pixels[starts], pixels[last])


def join_runs(runs: Runs, values: np.ndarray) -> np.ndarray:
    """Join runs of equal values that touch.

    Args:
        runs: Runs.
        values: (R,).

    Returns:
        int64 (R,), the first run of the region of each.
    """
    return _join(runs, values, np.arange(len(values)))


def reach_runs(
    runs: Runs, values: np.ndarray, reached: np.ndarray
) -> np.ndarray:
    """Find the runs of regions of which some runs are reached.

    Args:
        runs: Runs.
        values: (R,), equal within a region.
        reached: bool (R,).

    Returns:
        bool (R,), the reached runs and all others of their regions.
    """
    # What joins two that are reached need not be known.
    root = _join(runs, values, np.flatnonzero(~reached))
    found = np.zeros(len(values), np.bool_)
    found[root[reached]] = True
    return found[root]


def _join(runs: Runs, values: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Join some runs with those of equal values that they touch.

    Returns:
        int64 (R,), the first run that each is joined with, itself otherwise.
    """
    first, second = _touching(runs, some)
    equal = values[first] == values[second]
    first, second = first[equal], second[equal]
    root = np.arange(len(values))
    while True:
        one, other = root[first], root[second]
        apart = one != other
        if not apart.any():
            return root
        first, second = first[apart], second[apart]
        one, other = one[apart], other[apart]
        # Of several that a root could join, the last in the list stays; the
        # others come in the next turn.
        root[np.maximum(one, other)] = np.minimum(one, other)
        while not np.array_equal(above := root[root], root):
            root = above


def _touching(runs: Runs, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair runs with those that they touch, and with themselves.

    Args:
        runs: Runs.
        some: int64 (S,), those to pair.

    Returns:
        int64 (P,) twice: a run of `some`, and one that it touches.
    """
    width = runs.width
    begin, end = runs.begin[some], runs.end[some]
    row = begin // width * width
    # From the pixel on the left to that on the right, but within the row.
    left = np.maximum(begin - 1, row)
    right = np.minimum(end + 1, row + width - 1)
    first, second = [], []
    for shift in (-width, 0, width):
        lowest = np.searchsorted(runs.end, left + shift)
        number = np.searchsorted(runs.begin, right + shift, 'right') - lowest
        # Of each its number, one after the other: 0 1 2, 0 1, 0 1 2 3 ...
        before = np.cumsum(number) - number
        nth = np.arange(number.sum()) - np.repeat(before, number)
        first.append(np.repeat(some, number))
        second.append(np.repeat(lowest, number) + nth)
    return np.concatenate(first), np.concatenate(second)
