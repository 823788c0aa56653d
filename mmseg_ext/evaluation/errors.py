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
import numpy.typing as npt
import torch

from mmseg_ext.evaluation.functional import confusion_matrix
from mmseg_ext.evaluation.regions import Runs, find_runs, reach_runs
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

#: Marks of a pixel, which are added up: an edge of the label is near, one of
#: the prediction is, the pixel is right.
_LABEL_EDGE, _PREDICTION_EDGE, _RIGHT = 1, 2, 4

#: How many sums of marks there are.
_MARKS = 8


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
    wrong = label != prediction
    right = _masked(label, wrong)
    pixels = np.flatnonzero(wrong)
    classes = (label.reshape(-1)[pixels], prediction.reshape(-1)[pixels])
    edges = [_edges(each) for each in (label, prediction)]
    near_edges, touching, near = _surroundings(
        right, edges, pixels, classes, num_classes, distance
    )
    # What is invented and near a right pixel is near the label's edge, too.
    near[0] &= (near_edges.reshape(-1)[pixels] & _LABEL_EDGE) != 0
    runs = find_runs(pixels, width, *classes)
    kinds = [
        _kinds(runs, *each)
        for each in zip(classes, touching, near, strict=True)
    ]
    errors = np.stack(
        [
            _count(of, kind, num_classes)[:, : len(KINDS)]
            for of, kind in zip(classes, kinds, strict=True)
        ],
        1,
    )
    marks = near_edges | (~wrong).astype(np.uint8) * _RIGHT
    labeled = _count(label, marks, num_classes)
    predicted = _count(prediction, marks, num_classes)
    sums = np.arange(_MARKS)
    boundary = np.stack(
        [
            labeled[:, -1],
            labeled[:, sums & _LABEL_EDGE != 0].sum(1),
            predicted[:, sums & _PREDICTION_EDGE != 0].sum(1),
        ],
        1,
    )
    index = np.flatnonzero((labeled + predicted).any(1))
    return ImageErrors(
        shape=(height, width),
        pixels=pixels,
        labels=classes[0],
        predictions=classes[1],
        missed=kinds[0],
        invented=kinds[1],
        class_index=index,
        boundary=boundary[index],
        errors=errors[index],
    )


def _without_ignored(
    label: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    ignore_index: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return both with no class where the label is ignored.

    They are of the smallest type that holds all classes and that is left.
    """
    kind = np.uint8 if num_classes <= _none(np.uint8) else np.uint16
    ignored = label == ignore_index
    return (
        _masked(label.astype(kind), ignored),
        _masked(prediction.astype(kind), ignored),
    )


def _none(kind: npt.DTypeLike) -> int:
    """Return what stands for no class: all bits are set."""
    return int(np.iinfo(kind).max)


def _masked(classes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the classes with none where a mask is true."""
    # Where it is true, 0 - 1 sets all bits. That is far quicker than a choice.
    return classes | -mask.astype(classes.dtype)


def _edges(classes: np.ndarray) -> np.ndarray:
    """Return bool (H, W), which pixels touch another value or the border."""
    if not classes.size:
        return np.zeros(classes.shape, np.bool_)
    beyond = dict(
        borderType=cv2.BORDER_CONSTANT, borderValue=_none(classes.dtype)
    )
    least = cv2.erode(classes, None, **beyond)
    return least != cv2.dilate(classes, None, **beyond)


def _count(
    classes: np.ndarray, marks: np.ndarray, num_classes: int
) -> np.ndarray:
    """Count the pixels of each class by their marks, int64 (C, 8)."""
    matrix = confusion_matrix(
        torch.from_numpy(marks),
        torch.from_numpy(classes),
        max(num_classes, _MARKS),
        ignore_index=_none(classes.dtype),
    )
    return matrix.numpy()[:num_classes, :_MARKS]


def _surroundings(
    right: np.ndarray,
    edges: list[np.ndarray],
    pixels: np.ndarray,
    classes: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    distance: int,
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Find edges near all pixels, and right pixels near those that are wrong.

    The two kinds of edges, and classes, are bits of a byte, of which eight go
    through the image together.

    Args:
        right: (H, W), the class of pixels that are right, none elsewhere.
        edges: bool (H, W), what touches an edge, in label and prediction.
        pixels: int64 (E,), where wrong pixels are.
        classes: (E,) each, of the label and of the prediction.
        num_classes: C.
        distance: d.

    Returns:
        uint8 (H, W), the marks of edges of label and prediction that are at
        most d pixels away, along rows and columns; bool (E,) of label and
        prediction, whether a right pixel of the class touches; and whether
        one is at most d pixels away.
    """
    wrong = np.zeros(num_classes, np.bool_)
    for of in classes:
        wrong[of] = True
    sought = np.flatnonzero(wrong)
    touching = [np.zeros(len(pixels), np.bool_) for _ in classes]
    near = [np.zeros(len(pixels), np.bool_) for _ in classes]
    near_edges = None
    while near_edges is None or len(sought):
        first = len(edges) if near_edges is None else 0
        group, sought = sought[: 8 - first], sought[8 - first :]
        bits = np.zeros(_none(right.dtype) + 1, np.uint8)
        bits[group] = 1 << np.arange(first, first + len(group))
        beside = _spread(_look_up(bits, right), 1)
        at_beside = beside.reshape(-1)[pixels]
        if near_edges is None:
            beside |= _LABEL_EDGE * edges[0].view(np.uint8)
            beside |= _PREDICTION_EDGE * edges[1].view(np.uint8)
        around = _spread(beside, distance - 1)
        at_around = around.reshape(-1)[pixels]
        if near_edges is None:
            near_edges = around & (_LABEL_EDGE | _PREDICTION_EDGE)
        for side, of in enumerate(classes):
            own = _look_up(bits, of)
            touching[side] |= (own & at_beside) != 0
            near[side] |= (own & at_around) != 0
    return near_edges, touching, near


def _look_up(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the entries of a table for values of any shape."""
    if values.dtype != np.uint8 or not values.size:
        return table[values]
    return cv2.LUT(values, table).reshape(values.shape)


def _spread(plane: np.ndarray, distance: int) -> np.ndarray:
    """Return the bits that are set within squares around each pixel.

    Args:
        plane: uint8 (H, W).
        distance: From the pixel to the sides of its square.
    """
    if not distance or not plane.size:
        return plane
    height, width = plane.shape
    row = width + 2 * distance
    padded = np.zeros((height + 2 * distance, row), np.uint8)
    padded[distance:-distance, distance:-distance] = plane
    # Rows follow one another, so that a step to the side or down is a shift.
    # What a shift takes from the next row stays in the padding.
    spread = padded.reshape(-1)
    spare = np.empty_like(spread)
    size = len(spread)
    for unit in (row, 1):
        done = 1
        # The width of what is looked at doubles from shift to shift.
        while done <= 2 * distance:
            shift = min(done, 2 * distance + 1 - done)
            size -= shift * unit
            np.bitwise_or(
                spread[:size],
                spread[shift * unit :][:size],
                out=spare[:size],
            )
            spread, spare = spare, spread
            done += shift
    return spread[: height * row].reshape(height, row)[:, :width]


def _kinds(
    runs: Runs, classes: np.ndarray, touching: np.ndarray, near: np.ndarray
) -> np.ndarray:
    """Sort wrong pixels into kinds, for one of the classes of each.

    Args:
        runs: Runs of the wrong pixels.
        classes: (E,).
        touching: bool (E,), whether a right pixel of the class touches.
        near: bool (E,), whether the edge and such a pixel are near.

    Returns:
        uint8 (E,), indices of :data:`KINDS`.
    """
    kinds = np.where(near, np.uint8(_BOUNDARY), np.uint8(_EXTENT))
    if len(kinds):
        touched = np.logical_or.reduceat(touching, runs.starts)
        found = reach_runs(runs, classes[runs.starts], touched)
        kinds[np.repeat(~found, runs.sizes)] = _SEGMENT
    return kinds


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
