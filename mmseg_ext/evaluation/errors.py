"""What kind of error a wrong pixel is, and how good boundaries are.

Each wrong pixel counts twice: it is missed of the class of its label, and
invented of the class that was predicted. For either class it is of one kind:

- segment: the object is missed or invented as a whole. The pixel's connected
  region of the class, in the label where it is missed and in the prediction
  where it is invented, has no pixel that is right;
- boundary: of the others, those near the edge: at most d pixels from the
  label's edge and from a pixel of the class that is right;
- extent: the rest. The object is found, its shape is not.

After Bernhard et al., "What's Outside the Intersection? Fine-grained Error
Analysis for Semantic Segmentation Beyond IoU" (WACV 2024). Whether the object
is found comes first here, so that one that is missed beside one that is found
is no boundary.

Boundaries, and d, are those of Cheng et al., "Boundary IoU: Improving
Object-Centric Image Segmentation Evaluation" (CVPR 2021): a pixel is near the
boundary of its class where the square of 2 * d + 1 pixels around it holds
another class or passes the image's border.

Pixels whose label is ignored belong to no class, whatever was predicted there:
they are never wrong, and classes have an edge toward them, in the label and in
the prediction, as toward the image's border.

Shapes: (H, W) an image, C the number of classes, M those that an image has, E
its wrong pixels, K the kinds.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from mmseg_ext.evaluation.regions import find_runs, join_runs
from mmseg_ext.formats.run_records import KINDS

__all__ = [
    'ImageErrors',
    'boundary_iou',
    'boundary_width',
    'count_errors',
    'find_errors',
    'kind_shares',
    'mended_iou',
]

_BOUNDARY, _EXTENT, _SEGMENT = range(len(KINDS))


@dataclass(frozen=True)
class ImageErrors:
    """The wrong pixels of an image, and what is counted of it.

    Attributes:
        shape: Height and width.
        pixels: int64 (E,), where the wrong pixels are in the flat image, in
            ascending order.
        labels: uint8 or uint16 (E,), the class of their labels.
        predictions: The same type (E,), the classes that were predicted.
        missed: uint8 (E,), their kinds for the class of the label, as indices
            of :data:`KINDS`.
        invented: uint8 (E,), their kinds for the predicted class.
        class_index: int64 (M,), the classes in label or prediction.
        boundary: int64 (M, 3): pixels of the class near its boundary in the
            label and in the prediction, in both being of the class; in the
            label; in the prediction.
        errors: int64 (M, 2, K): wrong pixels of the class, missed and
            invented, by :data:`KINDS`.
    """

    shape: tuple[int, int]
    pixels: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    missed: np.ndarray
    invented: np.ndarray
    class_index: np.ndarray
    boundary: np.ndarray
    errors: np.ndarray


def boundary_width(shape: tuple[int, int], share: float = 0.02) -> int:
    """Return d, how many pixels from an edge are near it.

    Args:
        shape: Height and width of the image.
        share: Of the image's diagonal.

    Returns:
        1 or more.
    """
    return max(1, round(share * math.hypot(*shape)))


def count_errors(
    prediction: np.ndarray,
    label: np.ndarray,
    num_classes: int,
    ignore_index: int = 255,
    share: float = 0.02,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count an image, for a :class:`Counts` of a run directory.

    Args:
        prediction: As in :func:`find_errors`.
        label: As in :func:`find_errors`.
        num_classes: C.
        ignore_index: Pixels with this label are left out.
        share: Width of a boundary, as a share of the diagonal.

    Returns:
        ``class_index``, ``boundary`` and ``errors`` of :class:`ImageErrors`.
    """
    found = find_errors(prediction, label, num_classes, ignore_index, share)
    return found.class_index, found.boundary, found.errors


def find_errors(
    prediction: np.ndarray,
    label: np.ndarray,
    num_classes: int,
    ignore_index: int = 255,
    share: float = 0.02,
) -> ImageErrors:
    """Find the wrong pixels of an image, and the kind of each.

    Args:
        prediction: Integers (H, W), 0 to C - 1 where the label is not
            ignored, as :func:`confusion_matrix` checks them.
        label: Integers (H, W), 0 to C - 1 or ignored.
        num_classes: C.
        ignore_index: Pixels with this label are left out.
        share: Width of a boundary, as a share of the diagonal.
    """
    height, width = label.shape
    distance = boundary_width((height, width), share)
    label, prediction = _without_ignored(
        label, prediction, num_classes, ignore_index
    )
    near_label = _near_edge(label, distance, num_classes)
    near_prediction = _near_edge(prediction, distance, num_classes)
    wrong = label != prediction
    right = np.where(wrong, label.dtype.type(num_classes), label)

    def count(
        values: np.ndarray, mask: np.ndarray | None = None
    ) -> np.ndarray:
        return _count(values, num_classes, mask)

    boundary = np.stack(
        [
            count(right, near_label & near_prediction),
            count(label, near_label),
            count(prediction, near_prediction),
        ],
        1,
    )
    pixels = np.flatnonzero(wrong)
    labels = label.reshape(-1)[pixels]
    predictions = prediction.reshape(-1)[pixels]
    hit = count(right)
    errors, kinds = _kinds(
        pixels,
        (labels, predictions),
        near_label.reshape(-1)[pixels],
        right,
        hit,
        distance,
    )
    present = hit + errors.sum((1, 2)) > 0
    index = np.flatnonzero(present)
    return ImageErrors(
        (height, width),
        pixels,
        labels,
        predictions,
        *kinds,
        index,
        boundary[index],
        errors[index],
    )


def _without_ignored(
    label: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    ignore_index: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return both with C where the label is ignored, of the smallest type."""
    kind = np.uint8 if num_classes < 256 else np.uint16
    ignored = label == ignore_index
    label, prediction = label.astype(kind), prediction.astype(kind)
    label[ignored] = num_classes
    prediction[ignored] = num_classes
    return label, prediction


def _near_edge(
    classes: np.ndarray, distance: int, num_classes: int
) -> np.ndarray:
    """Return bool (H, W), which pixels are near an edge of their class.

    The least and the largest value of a square differ where not all are equal,
    for all classes at once. Beyond the border is what is no class.
    """
    if not classes.size:
        return np.zeros(classes.shape, np.bool_)
    square = np.ones((2 * distance + 1,) * 2, np.uint8)
    beyond = dict(borderType=cv2.BORDER_CONSTANT, borderValue=num_classes)
    least = cv2.erode(classes, square, **beyond)
    return least != cv2.dilate(classes, square, **beyond)


def _count(
    values: np.ndarray, num_classes: int, mask: np.ndarray | None
) -> np.ndarray:
    """Count the pixels of each class, int64 (C,)."""
    counts = np.zeros(num_classes, np.int64)
    # calcHist is exact up to 2^24, since it gives float32.
    rows = max(1, (1 << 24) // max(1, values.shape[1]))
    for start in range(0, values.shape[0] if values.size else 0, rows):
        part = slice(start, start + rows)
        counts += (
            cv2.calcHist(
                [values[part]],
                channels=[0],
                mask=None if mask is None else mask[part].view(np.uint8),
                histSize=[num_classes],
                ranges=[0, num_classes],
            )
            .reshape(-1)
            .astype(np.int64)
        )
    return counts


def _kinds(
    pixels: np.ndarray,
    classes: tuple[np.ndarray, np.ndarray],
    near_edge: np.ndarray,
    right: np.ndarray,
    hit: np.ndarray,
    distance: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Sort wrong pixels into kinds.

    Args:
        pixels: int64 (E,), where they are.
        classes: (E,) each, of the label and of the prediction.
        near_edge: bool (E,), whether the label's edge is near.
        right: (H, W), the class of pixels that are right, C elsewhere.
        hit: int64 (C,), how many pixels of each class are right.
        distance: d.

    Returns:
        int64 (C, 2, K), the counts, and uint8 (E,) for missed and invented.
    """
    runs = find_runs(pixels, right.shape[1], *classes)
    touching, near = _near_right(pixels, classes, right, hit, distance)
    errors = np.zeros((len(hit), 2, len(KINDS)), np.int64)
    kinds = []
    for side, of in enumerate(classes):
        # What is invented within d of a right pixel is so of its label.
        close = near[side] & near_edge if side == 0 else near[side]
        kind = np.where(close, _BOUNDARY, _EXTENT).astype(np.uint8)
        root = join_runs(runs, of[runs.starts])
        touched = np.zeros(len(root), np.bool_)
        if len(root):
            touched[
                root[np.logical_or.reduceat(touching[side], runs.starts)]
            ] = True
        kind[np.repeat(~touched[root], runs.sizes)] = _SEGMENT
        errors[:, side] = np.bincount(
            of.astype(np.int64) * len(KINDS) + kind,
            minlength=errors[:, side].size,
        ).reshape(-1, len(KINDS))
        kinds.append(kind)
    return errors, kinds


def _near_right(
    pixels: np.ndarray,
    classes: tuple[np.ndarray, np.ndarray],
    right: np.ndarray,
    hit: np.ndarray,
    distance: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Find which wrong pixels have a right one of their class around them.

    Eight classes at a time are the bits of a byte, and go through the image
    together.

    Args:
        pixels: int64 (E,).
        classes: (E,) each, of the label and of the prediction.
        right: (H, W), the class of pixels that are right, C elsewhere.
        hit: int64 (C,), how many pixels of each class are right.
        distance: d.

    Returns:
        bool (E,) for either: whether one touches, and whether one is at most
        d pixels away, along rows and columns.
    """
    touching = [np.zeros(len(pixels), np.bool_) for _ in classes]
    near = [np.zeros(len(pixels), np.bool_) for _ in classes]
    wrong = np.zeros(len(hit), np.bool_)
    for of in classes:
        wrong[of] = True
    sought = np.flatnonzero(wrong & (hit > 0))
    for start in range(0, len(sought), 8):
        group = sought[start : start + 8]
        bits = np.zeros(max(256, len(hit) + 1), np.uint8)
        bits[group] = 1 << np.arange(len(group))
        plane = cv2.LUT(right, bits) if right.itemsize == 1 else bits[right]
        beside = _spread(plane, 1)
        around = _spread(beside, distance - 1)
        at_beside = beside.reshape(-1)[pixels]
        at_around = around.reshape(-1)[pixels]
        for side, of in enumerate(classes):
            own = bits[of]
            touching[side] |= (own & at_beside) != 0
            near[side] |= (own & at_around) != 0
    return touching, near


def _spread(plane: np.ndarray, distance: int) -> np.ndarray:
    """Return the bits that are set within squares around each pixel.

    Args:
        plane: uint8 (H, W).
        distance: From the pixel to the sides of its square.
    """
    height, width = plane.shape
    side = 2 * distance + 1
    spread = np.pad(plane, distance)
    # The width of what is looked at doubles from step to step.
    for axis in (0, 1):
        done = 1
        while done < side:
            step = min(done, side - done)
            spread = (
                spread[:-step] | spread[step:]
                if axis == 0
                else spread[:, :-step] | spread[:, step:]
            )
            done += step
    return spread.reshape(height, width)


def boundary_iou(boundary: np.ndarray) -> np.ndarray:
    """Score how well the boundaries of each class overlap.

    Args:
        boundary: int64 (..., 3), sums of the counts of :class:`ImageErrors`.

    Returns:
        float64 (...), 0 to 1; NaN where no pixel is near a boundary.
    """
    both, label, prediction = np.moveaxis(boundary.astype(np.float64), -1, 0)
    return _ratio(both, label + prediction - both)


def kind_shares(hit: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return how much of each class's IoU is missing by each kind of error.

    Args:
        hit: int64 (...), right pixels of each class.
        errors: int64 (..., 2, K), sums of the counts of :class:`ImageErrors`.

    Returns:
        float64 (..., 2, K), missed and invented; together with the IoU they
        add up to 1. NaN where the class is neither labeled nor predicted.
    """
    union = hit + errors.sum((-2, -1))
    return _ratio(errors, union[..., None, None])


def mended_iou(hit: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return what the IoU of each class would be without a kind of error.

    What was missed is then found, and what was invented is not there.

    Args:
        hit: int64 (...), right pixels of each class.
        errors: int64 (..., 2, K), sums of the counts of :class:`ImageErrors`.

    Returns:
        float64 (..., K), 0 to 1; NaN where nothing of the class would be left.
    """
    union = hit + errors.sum((-2, -1))
    missed, invented = np.moveaxis(errors, -2, 0)
    return _ratio(hit[..., None] + missed, union[..., None] - invented)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; NaN where the whole is 0."""
    with np.errstate(invalid='ignore', divide='ignore'):
        return part / whole
