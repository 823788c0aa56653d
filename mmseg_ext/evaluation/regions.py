"""Connected regions of equal values among some pixels of an image.

Pixels side by side in a row that have equal values are a run. Runs are joined
to regions, so that all values of an image take one pass. Shapes: (M,) the
pixels, (R,) runs, (P,) pairs of runs that touch.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['Runs', 'find_runs', 'join_runs']


@dataclass(frozen=True)
class Runs:
    """Runs of pixels.

    Attributes:
        starts: int64 (R,), the first pixel of each, as a position in (M,).
        sizes: int64 (R,), pixels of each.
        first: int64 (P,), a run of each pair that touches, by a side or by a
            corner.
        second: int64 (P,), the other.
    """

    starts: np.ndarray
    sizes: np.ndarray
    first: np.ndarray
    second: np.ndarray


def find_runs(pixels: np.ndarray, width: int, *values: np.ndarray) -> Runs:
    """Find the runs of pixels.

    Args:
        pixels: int64 (M,), where they are in the flat image, in ascending
            order.
        width: Pixels of a row of the image, W.
        *values: (M,) each; pixels of a run are equal in all of them.
    """
    new = np.ones(len(pixels), np.bool_)
    row = pixels // width
    new[1:] = (np.diff(pixels) != 1) | (np.diff(row) != 0)
    for each in values:
        new[1:] |= each[1:] != each[:-1]
    starts = np.flatnonzero(new)
    sizes = np.diff(starts, append=len(pixels))
    begin, row = pixels[starts], row[starts]
    end = begin + sizes - 1
    # What touches a run from below: from the pixel below on the left of it
    # to that on the right, but within the row.
    left = np.maximum(begin + width - 1, (row + 1) * width)
    right = np.minimum(end + width + 1, (row + 2) * width - 1)
    lowest = np.searchsorted(end, left)
    touched = np.searchsorted(begin, right, 'right') - lowest
    above = np.repeat(np.arange(len(starts)), touched)
    nth = np.arange(len(above)) - np.repeat(
        np.cumsum(touched) - touched, touched
    )
    beside = np.flatnonzero(
        (begin[1:] == end[:-1] + 1) & (row[1:] == row[:-1])
    )
    return Runs(
        starts,
        sizes,
        np.concatenate([above, beside]),
        np.concatenate([lowest[above] + nth, beside + 1]),
    )


def join_runs(runs: Runs, values: np.ndarray) -> np.ndarray:
    """Join runs of equal values that touch.

    Args:
        runs: Runs.
        values: (R,).

    Returns:
        int64 (R,), the first run of the region of each.
    """
    root = np.arange(len(runs.starts))
    equal = values[runs.first] == values[runs.second]
    first, second = runs.first[equal], runs.second[equal]
    while len(first):
        one, other = root[first], root[second]
        apart = one != other
        first, second = first[apart], second[apart]
        one, other = one[apart], other[apart]
        # Of several that a region could join, the last in the list stays; the
        # others come in the next turn.
        root[np.maximum(one, other)] = np.minimum(one, other)
        while (root[root] != root).any():
            root = root[root]
    return root
