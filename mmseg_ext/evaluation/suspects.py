"""Labels that may be wrong: large areas where a prediction disagrees.

An area is a connected region of wrong pixels of one class that were all
predicted to be one other class. Pixels near an edge are left out, that is,
those that are boundary errors of either class, and so are ignored ones.
"""

import numpy as np

from mmseg_ext.evaluation.errors import ImageErrors
from mmseg_ext.evaluation.regions import find_runs, join_runs
from mmseg_ext.formats.run_records import KINDS

__all__ = ['find_suspects']

_BOUNDARY = KINDS.index('boundary')


def find_suspects(
    errors: ImageErrors,
    confidence: np.ndarray | None = None,
    min_share: float = 0.002,
    min_confidence: float = 0.9,
    limit: int = 10,
) -> np.ndarray:
    """Find the areas of an image where the label may be wrong.

    Args:
        errors: Its wrong pixels.
        confidence: Floats (H, W), the probability of what was predicted.
        min_share: An area has at least this share of the image's pixels.
        min_confidence: The mean of its confidence is at least this, where it
            is known.
        limit: The largest so many are returned.

    Returns:
        int64 (S, 8), the largest first: left, top, width, height, class of
        the label, predicted class, pixels, and confidence in thousandths or
        -1 where it is not known. They are the columns of ``suspects`` in
        :class:`Counts`, beside the image.
    """
    height, width = errors.shape
    inner = (errors.missed != _BOUNDARY) & (errors.invented != _BOUNDARY)
    pixels = errors.pixels[inner]
    classes = errors.labels[inner].astype(np.int64) << 16
    classes |= errors.predictions[inner]
    runs = find_runs(pixels, width, classes)
    classes = classes[runs.starts]
    root = join_runs(runs, classes)
    number = len(root)
    sizes = np.bincount(root, runs.sizes, number).astype(np.int64)
    large = sizes >= max(1, min_share * height * width)
    sure = np.full(number, -1, np.int64)
    if confidence is not None and number:
        values = confidence.reshape(-1)[pixels].astype(np.float64)
        sums = np.add.reduceat(values, runs.starts)
        means = np.bincount(root, sums, number) / np.maximum(sizes, 1)
        large &= means >= min_confidence
        sure[large] = np.rint(means[large] * 1000)
    found = np.flatnonzero(large)
    # Of equal size, the upper comes first.
    found = found[np.argsort(-sizes[found], kind='stable')][:limit]
    rows = [
        [
            *_box(runs.begin[root == each], runs.end[root == each], width),
            *divmod(int(classes[each]), 1 << 16),
            sizes[each],
            sure[each],
        ]
        for each in found
    ]
    return np.array(rows, np.int64).reshape(-1, 8)


def _box(
    begin: np.ndarray, end: np.ndarray, width: int
) -> tuple[int, int, int, int]:
    """Return left, top, width and height of runs, from top to bottom.

    Args:
        begin: Where the runs begin in the flat image.
        end: Where they end.
        width: That of the image.
    """
    left, right = (begin % width).min(), (end % width).max()
    top, bottom = begin[0] // width, begin[-1] // width
    return int(left), int(top), int(right - left + 1), int(bottom - top + 1)
