"""Scores of images, classes and runs, from the counts of a run directory.

Shapes: N images, C classes. A leading ``...`` is any number of axes, as of
resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmseg_ext.formats.run_records import KINDS, Counts

__all__ = [
    'Pixels',
    'class_iou',
    'count_pixels',
    'image_iou',
    'included_classes',
    'mean_iou',
    'sum_by_class',
]


class Pixels(NamedTuple):
    """Pixels of each class in each image, ignored ones left out.

    Attributes:
        hit: int64 (N, C), pixels of the class that were predicted so.
        labeled: int64 (N, C), pixels of the class in the label.
        predicted: int64 (N, C), pixels of the class in the prediction.
    """

    hit: np.ndarray
    labeled: np.ndarray
    predicted: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """int64 (N, C), pixels of the class in label or prediction."""
        return self.labeled + self.predicted - self.hit


def count_pixels(counts: Counts, num_classes: int) -> Pixels:
    """Return the pixels of each class in each image.

    Args:
        counts: Those of a run.
        num_classes: C.
    """
    number = len(counts.names)
    image = np.repeat(np.arange(number), np.diff(counts.pair_ptr))
    label, prediction, pixels = counts.pairs.T
    hit, labeled, predicted = np.zeros((3, number, num_classes), np.int64)
    right = label == prediction
    np.add.at(hit, (image[right], label[right]), pixels[right])
    np.add.at(labeled, (image, label), pixels)
    np.add.at(predicted, (image, prediction), pixels)
    return Pixels(hit, labeled, predicted)


def sum_by_class(
    counts: Counts, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Add up the counts at boundaries, and those of errors, over all images.

    Args:
        counts: Those of a run.
        num_classes: C.

    Returns:
        int64 (C, 3) and (C, 2, 3): ``boundary`` and ``errors`` of
        :class:`Counts`.
    """
    boundary = np.zeros((num_classes, 3), np.int64)
    errors = np.zeros((num_classes, 2, len(KINDS)), np.int64)
    np.add.at(boundary, counts.class_index, counts.boundary)
    np.add.at(errors, counts.class_index, counts.errors)
    return boundary, errors


def class_iou(hit: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Return the IoU of classes.

    Args:
        hit: (..., C).
        union: (..., C).

    Returns:
        float64 (..., C), 0 to 1; NaN for a class that is neither in a label
        nor predicted.
    """
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(union > 0, hit / union, np.nan)


def mean_iou(
    hit: np.ndarray, union: np.ndarray, included: np.ndarray | None = None
) -> np.ndarray:
    """Average the IoU of classes, as the metric ``IoU`` does.

    The mean goes over the classes whose IoU is defined. So a class that is
    neither in a label nor predicted is left out, and one that is only
    predicted counts as 0.

    Args:
        hit: (..., C).
        union: (..., C).
        included: bool (C,), the classes to average over; all by default.

    Returns:
        float64 (...), 0 to 1; NaN where no class has an IoU.
    """
    if included is not None:
        hit, union = hit[..., included], union[..., included]
    defined = union > 0
    ratio = np.divide(hit, union, where=defined, out=np.zeros(hit.shape))
    with np.errstate(invalid='ignore'):
        return ratio.sum(-1) / defined.sum(-1)


def image_iou(
    pixels: Pixels, included: np.ndarray | None = None
) -> np.ndarray:
    """Return the mean IoU of each image by itself.

    Args:
        pixels: Of each image.
        included: See :func:`mean_iou`.

    Returns:
        float64 (N,), 0 to 1; NaN for an image that has no class, as one that
        is ignored everywhere.
    """
    return mean_iou(pixels.hit, pixels.union, included)


def included_classes(
    classes: Sequence[str], exclude: Sequence[str] = ()
) -> np.ndarray:
    """Return the classes that a mean goes over.

    Args:
        classes: Their names.
        exclude: Names of those that it leaves out.

    Returns:
        bool (C,).

    Raises:
        ValueError: A name is that of no class, or no class is left.
    """
    unknown = [name for name in exclude if name not in classes]
    if unknown:
        raise ValueError(
            f'exclude={list(exclude)}: {unknown} not among the classes '
            f'{list(classes)}'
        )
    included = np.array([name not in exclude for name in classes])
    if not included.any():
        raise ValueError(
            f'exclude={list(exclude)}: no class is left to average over'
        )
    return included
