"""Counting and scoring as pure functions.

Shapes: (H, W) an image, C the number of classes. A confusion matrix has a row
for each label class and a column for each predicted class.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from PIL import Image

__all__ = [
    'class_scores',
    'confusion_matrix',
    'frequency_weighted_iou',
    'pixel_accuracy',
    'resize_nearest',
    'silent_classes',
    'single_map',
    'whole_numbers',
]

#: Pixels that are counted at a time at least: they stay in the processor's
#: cache from step to step.
_PART = 192 << 10

#: Pixels of a part for each pair of classes at least, so that adding up the
#: counts of the parts takes little time. That is 1.5 * 2^20 for 256 classes,
#: far from 2^24, up to where ``cv2.calcHist`` is exact: it counts in float32.
_PIXELS_A_PAIR = 24

#: Bins that the pixels of a pair of classes take in turn. More are not
#: quicker: it was measured.
_TURNS = 3


def confusion_matrix(
    prediction: torch.Tensor,
    label: torch.Tensor,
    num_classes: int,
    ignore_index: int = 255,
) -> torch.Tensor:
    """Count the pixels of each pair of label class and predicted class.

    Args:
        prediction: (H, W) class indices of any type; MMSeg's models with one
            output channel give them as floats, which have to be whole.
        label: (H, W) class indices of any type, floats as well.
        num_classes: C.
        ignore_index: Pixels with this label are left out, whatever was
            predicted there.

    Returns:
        int64 (C, C) on the device of ``prediction``; row label, column
        prediction.

    Raises:
        ValueError: The shapes differ, a label or prediction is outside 0 to
            C - 1, NaN, or has a fraction, or an argument is none of these.
    """
    for name, values in (('prediction', prediction), ('label', label)):
        if not isinstance(values, torch.Tensor):
            raise ValueError(
                f'{name} is of type {type(values).__name__}; expected a '
                'tensor: torch.from_numpy(array) makes one of an array'
            )
    if not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise ValueError(f'num_classes={num_classes!r}: expected 1 or more')
    if not isinstance(ignore_index, int | np.integer):
        raise ValueError(
            f'ignore_index={ignore_index!r}: expected an integer, such as 255'
        )
    if prediction.shape != label.shape:
        raise ValueError(
            f'prediction of shape {tuple(prediction.shape)} against label of '
            f'shape {tuple(label.shape)}; expected equal shapes (was the '
            'label resized with the image?)'
        )
    label = label.to(prediction.device)
    label = whole_numbers('label', label)
    prediction = whole_numbers('prediction', prediction, label, ignore_index)
    if prediction.device.type == 'cpu' and num_classes <= 256:
        # NumPy and OpenCV: torch's threads wait for one another, which takes
        # longer than the work where data loaders use the cores too.
        matrix = _count_bytes(
            label.numpy(), prediction.numpy(), num_classes, ignore_index
        )
        if matrix is not None:
            return torch.from_numpy(matrix)
    label = label.long()
    kept = label != ignore_index
    label = label[kept]
    prediction = prediction[kept].long()
    _check_range('label', label, num_classes, ignore_index)
    _check_range('prediction', prediction, num_classes, ignore_index)
    counts = torch.bincount(
        label * num_classes + prediction, minlength=num_classes**2
    )
    return counts.view(num_classes, num_classes)


def whole_numbers(
    name: str,
    values: torch.Tensor,
    label: torch.Tensor | None = None,
    ignore_index: int = 255,
) -> torch.Tensor:
    """Return class indices as integers.

    Args:
        name: What they are, for messages.
        values: Any shape; integers of any type are returned as they are.
        label: The same shape; where it is ``ignore_index`` any value will do.
        ignore_index: A label.

    Returns:
        Integers of the same shape, of 8 bits where all floats are 0 to 255.

    Raises:
        ValueError: A float is NaN or infinite, or has a fraction, or values
            are complex.
    """
    if values.is_complex():
        raise ValueError(
            f'{name} values are {values.dtype}; expected class indices, which '
            'are whole numbers such as 2 or 2.0'
        )
    if not values.is_floating_point():
        return values
    # Where bytes hold them, the check is quick, and so is counting.
    small = values.to(torch.uint8)
    if torch.equal(small.to(values.dtype), values):
        return small
    whole = values.long()
    different = whole != values
    if label is not None:
        # As int64: torch wraps the number to the type that it compares with.
        different &= label.long() != ignore_index
    wrong = values[different]
    if wrong.numel():
        value = wrong[0].item()
        raise ValueError(
            f'{name} value {"NaN" if math.isnan(value) else value} '
            f'({wrong.numel()} pixels with such values); expected class '
            'indices, which are whole numbers such as 2 or 2.0'
        )
    return whole


def single_map(values: torch.Tensor) -> torch.Tensor:
    """Return the only map of a tensor.

    Args:
        values: (H, W), or with axes of length 1 before it, as (1, H, W).

    Returns:
        (H, W).

    Raises:
        ValueError: It has another shape, as with several channels.
    """
    if values.ndim < 2 or values.shape[:-2].numel() != 1:
        raise ValueError(
            f'{values.ndim} axes, shape {tuple(values.shape)}; expected class '
            'indices, (1, H, W) or (H, W)'
        )
    return values.reshape(values.shape[-2:])


def _count_bytes(
    label: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    ignore_index: int,
) -> np.ndarray | None:
    """Count with OpenCV's two-dimensional histogram of 8-bit images.

    Pixels side by side mostly are of one pair of classes, and to add 1 to a
    bin has to wait for the addition before. So each pair has several bins,
    which its pixels take in turn, where 8 bits hold the numbers of all.

    Args:
        label: Integers of any type.
        prediction: Integers of any type, of the same shape.
        num_classes: C, at most 256.
        ignore_index: Any integer.

    Returns:
        int64 (C, C); None where a value is outside 0 to 255 or, in a pixel
        that is not ignored, no class.
    """
    # One more column for predictions that are no class.
    columns = num_classes + 1
    turns = _TURNS if _TURNS * columns <= 256 else 1
    bins = np.zeros((num_classes, turns * columns))
    part = max(_PART, _PIXELS_A_PAIR * num_classes**2)
    # Made once: fresh memory takes longer than what is done with it.
    memory = np.empty((3, min(part, label.size)), np.uint8)
    label, prediction = _flat(label), _flat(prediction)
    kept = 0
    for start in range(0, label.size, part):
        pixels = slice(start, start + part)
        into, also_into, spare = memory[:, : label[pixels].size]
        labeled = _as_bytes(label[pixels], into)
        predicted = _as_bytes(prediction[pixels], also_into)
        if labeled is None or predicted is None:
            return None
        np.not_equal(labeled, ignore_index, out=spare.view(np.bool_))
        kept += cv2.countNonZero(spare)
        if turns > 1:
            limits, offsets = _limits_and_offsets(columns, part)
            np.minimum(predicted, limits[: spare.size], out=spare)
            spare += offsets[: spare.size]
            predicted = spare
        bins += cv2.calcHist(
            [labeled[None], predicted[None]],
            channels=[0, 1],
            mask=None,
            histSize=bins.shape,
            ranges=[0, bins.shape[0], 0, bins.shape[1]],
        )
    counts = bins.reshape(num_classes, turns, columns).sum(1)
    matrix = counts[:, :num_classes].astype(np.int64)
    if 0 <= ignore_index < num_classes:
        matrix[ignore_index] = 0
    return matrix if matrix.sum() == kept else None


@lru_cache(maxsize=8)
def _limits_and_offsets(
    columns: int, part: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pixel the last column, and the first one of its turn.

    Both are uint8 (part,): the minimum of two arrays takes NumPy a tenth of
    the time that it takes with one number.
    """
    limits = np.full(part, columns - 1, np.uint8)
    offsets = np.arange(0, _TURNS * columns, columns).astype(np.uint8)
    return limits, np.tile(offsets, part // _TURNS + 1)[:part]


def _flat(values: np.ndarray) -> np.ndarray:
    """Return (pixels,); of what has to be copied for it bytes if they fit."""
    if not values.flags.c_contiguous:
        as_bytes = _as_bytes(values, np.empty_like(values, np.uint8))
        values = values if as_bytes is None else as_bytes
    return values.reshape(-1)


def _as_bytes(values: np.ndarray, out: np.ndarray) -> np.ndarray | None:
    """Cast integers to 8 bits; None where values would wrap around.

    Args:
        values: Integers of any type.
        out: uint8 of the same shape, to cast into where that is needed.
    """
    if values.dtype == np.uint8:
        return values
    # The bits of all values together: one above 255 or below 0 shows.
    if not 0 <= np.bitwise_or.reduce(values, axis=None) <= 255:
        return None
    np.copyto(out, values, casting='unsafe')
    return out


def _check_range(
    name: str, values: torch.Tensor, num_classes: int, ignore_index: int
) -> None:
    """Refuse values that are no class."""
    wrong = values[(values < 0) | (values >= num_classes)]
    if wrong.numel():
        raise ValueError(
            f'{name} value {int(wrong[0])} ({wrong.numel()} pixels with '
            f'values outside the list) with {num_classes} classes; expected '
            f'0 to {num_classes - 1}'
            + f', or {ignore_index} to ignore'
            * (name == 'label')
        )


def resize_nearest(
    label_map: torch.Tensor, size: Sequence[int]
) -> torch.Tensor:
    """Resize a label map as Pillow does, nearest neighbor.

    OpenCV's ``INTER_NEAREST`` takes other pixels: it goes by their corners,
    Pillow by their centers.

    Args:
        label_map: (H, W) of any type.
        size: Width and height to resize to, in pixels.

    Returns:
        (height, width) of the same type on the same device.
    """
    columns, rows = (
        torch.from_numpy(_nearest(old, new)).to(label_map.device)
        for old, new in zip(label_map.shape[::-1], size, strict=True)
    )
    return label_map[rows[:, None], columns]


def _nearest(old: int, new: int) -> np.ndarray:
    """Return int64 (new,), which pixels of a row of ``old`` Pillow takes."""
    row = Image.fromarray(np.arange(old, dtype=np.int32)[None])
    resized = row.resize((new, 1), Image.Resampling.NEAREST)
    return np.asarray(resized)[0].astype(np.int64)


def class_scores(
    matrix: np.ndarray, beta: float = 1.0
) -> dict[str, np.ndarray]:
    """Score each class.

    Args:
        matrix: int64 (C, C).
        beta: Weight of recall against precision in the F score.

    Returns:
        float64 (C,) each, 0 to 1: ``IoU``, ``Acc`` (pixels of the class that
        were found, which is recall), ``Dice``, ``Fscore``, ``Precision`` and
        ``Recall``. NaN where the score is not defined: IoU and Dice of a
        class that is neither in the labels nor predicted, accuracy and recall
        of one that is not in the labels, precision of one that was never
        predicted, and the F score where precision or recall is not defined or
        both are 0.
    """
    hit = np.diagonal(matrix).astype(np.float64)
    labeled = matrix.sum(1).astype(np.float64)
    predicted = matrix.sum(0).astype(np.float64)
    with np.errstate(invalid='ignore', divide='ignore'):
        recall = hit / labeled
        precision = hit / predicted
        fscore = (
            (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
        )
        return {
            'IoU': hit / (labeled + predicted - hit),
            'Acc': recall,
            'Dice': 2 * hit / (labeled + predicted),
            'Fscore': fscore,
            'Precision': precision,
            'Recall': recall,
        }


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Return the share of labeled pixels that were predicted right (aAcc).

    It is 0 to 1, and NaN where no pixel of the int64 (C, C) matrix is labeled.
    """
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float('nan')


def silent_classes(matrix: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Find classes that were never predicted beside others without a fault.

    That is what a model does that knows one class only, and what masks of 0
    and 255 look like, of which 255 is ignored: the scores of the others are
    perfect, and the class itself has none, or 0.

    Args:
        matrix: int64 (C, C).
        included: bool (C,), the classes to look at.

    Returns:
        bool (C,), the included classes that were predicted for no pixel. None
        where another included class has a labeled pixel that was predicted
        wrong, or where all others together have no labeled pixel.
    """
    predicted = matrix.sum(0) > 0
    others = included & predicted
    labeled = matrix[others].sum()
    if not labeled or np.diagonal(matrix)[others].sum() < labeled:
        return np.zeros(len(matrix), bool)
    return included & ~predicted


def frequency_weighted_iou(matrix: np.ndarray, included: np.ndarray) -> float:
    """Average the IoU of classes, weighted by their share of labeled pixels.

    Long et al., "Fully Convolutional Networks for Semantic Segmentation"
    (arXiv:1411.4038), section 5.

    Args:
        matrix: int64 (C, C).
        included: bool (C,), the classes to average over.

    Returns:
        0 to 1; NaN where no pixel of these classes is labeled.
    """
    labeled = matrix.sum(1)
    used = included & (labeled > 0)
    if not used.any():
        return float('nan')
    iou = class_scores(matrix)['IoU'][used]
    return float(np.average(iou, weights=labeled[used]))
