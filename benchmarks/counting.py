"""Matrix, boundaries and kinds of errors of an image, for evaluation reports.

Against the usual way with OpenCV: a mask of each class that label or
prediction has, eroded by a square of 3 pixels as often as the boundary is
wide, and its connected regions.
"""

import cv2
import numpy as np
import torch

from mmseg_ext.evaluation.errors import boundary_width, count_errors
from mmseg_ext.evaluation.functional import confusion_matrix
from timing import Row, interleaved

#: Height, width and classes.
CASES = ((900, 1600, 25), (360, 480, 11))

#: What both ways return: matrix, classes, boundary, errors.
Counts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def make_maps(
    height: int, width: int, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make a prediction and a label, of which an eighth disagrees.

    Areas are a tenth of the image high, and half of all classes have none but
    small objects.
    """
    rng = np.random.default_rng(0)
    large = num_classes // 2
    scores = _hills(rng, (large, height, width), height // 9)
    noisy = scores + 0.12 * _hills(rng, scores.shape, height // 45)
    label, prediction = (
        each.argmax(0).astype(np.uint8) for each in (scores, noisy)
    )
    for index in range(large, num_classes):
        for _ in range(6):
            top, left = rng.integers(0, (height, width))
            tall, wide = rng.integers(height // 90, height // 9, 2)
            label[top : top + tall, left : left + wide] = index
            if rng.random() < 0.8:
                top, left = np.abs(rng.integers(-3, 4, 2) + (top, left))
                prediction[top : top + tall, left : left + wide] = index
    label[-height // 20 :] = 255
    return prediction, label


def _hills(
    rng: np.random.Generator, shape: tuple[int, ...], scale: int
) -> np.ndarray:
    """Make smooth random maps, float32 (C, H, W)."""
    count, height, width = shape
    coarse = rng.normal(size=(count, height // scale, width // scale))
    return np.stack(
        [
            cv2.resize(
                each, (width, height), interpolation=cv2.INTER_CUBIC
            ).astype(np.float32)
            for each in coarse
        ]
    )


def ours(
    prediction: np.ndarray, label: np.ndarray, num_classes: int
) -> Counts:
    """Count with the package."""
    matrix = confusion_matrix(
        torch.from_numpy(prediction), torch.from_numpy(label), num_classes
    )
    return matrix.numpy(), *count_errors(prediction, label, num_classes)


def class_by_class(
    prediction: np.ndarray, label: np.ndarray, num_classes: int
) -> Counts:
    """Count with masks."""
    distance = boundary_width(label.shape)
    kept = label != 255
    keys = label[kept].astype(np.int64) * num_classes + prediction[kept]
    matrix = np.bincount(keys, minlength=num_classes**2)
    matrix = matrix.reshape(num_classes, num_classes)
    present = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    boundary, errors = [], []
    for index in present:
        labeled = (label == index).astype(np.uint8)
        predicted = ((prediction == index) & kept).astype(np.uint8)
        near = [_band(mask, distance) for mask in (labeled, predicted)]
        boundary.append([(near[0] & near[1]).sum(), *(n.sum() for n in near)])
        right = labeled & predicted
        square = np.ones((2 * distance + 1,) * 2, np.uint8)
        around = cv2.dilate(right, square)
        errors.append(
            [
                _kinds(labeled, right, around & near[0]),
                _kinds(predicted, right, around),
            ]
        )
    return matrix, present, np.array(boundary), np.array(errors)


def _band(mask: np.ndarray, distance: int) -> np.ndarray:
    """Return uint8 (H, W), what erosion takes from a mask."""
    square = np.ones((3, 3), np.uint8)
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, square, iterations=distance)
    return mask - eroded[1:-1, 1:-1]


def _kinds(
    mask: np.ndarray, right: np.ndarray, close: np.ndarray
) -> list[int]:
    """Count the pixels of a mask that are wrong: boundary, extent, segment."""
    number, regions = cv2.connectedComponents(mask)
    found = np.zeros(number, np.bool_)
    found[regions[right > 0]] = True
    wrong = mask > right
    segment = wrong & ~found[regions]
    boundary = wrong & ~segment & (close > 0)
    counts = [boundary.sum(), wrong.sum(), segment.sum()]
    counts[1] -= counts[0] + counts[2]
    return counts


def run() -> list[Row]:
    """Time one image of each size, after a check that both count the same."""
    rows = []
    for height, width, num_classes in CASES:
        args = (*make_maps(height, width, num_classes), num_classes)
        for one, other in zip(ours(*args), class_by_class(*args), strict=True):
            if not np.array_equal(one, other):
                raise AssertionError(f'{one} is not {other}')
        times = interleaved(
            {
                'ours': lambda args=args: ours(*args),
                'theirs': lambda args=args: class_by_class(*args),
            },
            rounds=7,
        )
        what = f'counts for a report, {width}x{height}, {num_classes} classes'
        rows.append(Row(what, 'OpenCV, class by class', *times.values()))
    return rows
