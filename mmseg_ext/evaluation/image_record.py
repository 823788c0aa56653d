"""What is kept of an image of semantic segmentation, for a run directory.

Shapes: (H, W) an image, C the number of classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmseg_ext.evaluation.calibration import count_confidence
from mmseg_ext.evaluation.errors import find_errors
from mmseg_ext.evaluation.functional import whole_numbers
from mmseg_ext.evaluation.suspects import find_suspects
from mmseg_ext.formats.run_records import BINS, Counts

__all__ = [
    'ImageRecord',
    'confidence_of',
    'count_image',
    'ignored_value',
    'join_records',
    'small_maps',
]


@dataclass(frozen=True)
class ImageRecord:
    """The counts of one image; see :class:`Counts`.

    Attributes:
        size: Height and width of the label.
        pairs: int64 (P, 3).
        class_index: int64 (M,).
        boundary: int64 (M, 3).
        errors: int64 (M, 2, 3).
        confidence: float64 (BINS, 3), or None where it was not counted.
        suspects: int64 (S, 8).
    """

    size: tuple[int, int]
    pairs: np.ndarray
    class_index: np.ndarray
    boundary: np.ndarray
    errors: np.ndarray
    confidence: np.ndarray | None
    suspects: np.ndarray


def ignored_value(num_classes: int, ignore_index: int) -> int:
    """Return the label that does not count in the maps of a directory.

    Args:
        num_classes: C.
        ignore_index: That of the data set, any integer.

    Returns:
        The same, or the largest value of a map where it does not fit in.
    """
    largest = int(np.iinfo(_map_type(num_classes)).max)
    return ignore_index if 0 <= ignore_index <= largest else largest


def small_maps(
    prediction: torch.Tensor,
    label: torch.Tensor,
    num_classes: int,
    ignore_index: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Make maps small that :func:`confusion_matrix` has counted.

    Args:
        prediction: (H, W), class indices of any type on any device.
        label: The same of the label.
        num_classes: C.
        ignore_index: Label of the pixels that do not count, any integer.

    Returns:
        Prediction and label, (H, W), uint8, or uint16 with more than 255
        classes. The label has :func:`ignored_value`, and the prediction is a
        class there, too.
    """
    kind = _map_type(num_classes)
    prediction = whole_numbers('prediction', prediction, label, ignore_index)
    labels = label.cpu().numpy()
    ignored = ignored_value(num_classes, ignore_index)
    if ignored != ignore_index:
        labels = np.where(labels == ignore_index, ignored, labels)
    predictions = prediction.cpu().numpy().astype(kind, copy=False)
    if predictions.max(initial=0) >= num_classes:
        predictions = np.minimum(predictions, kind(num_classes - 1))
    return predictions, labels.astype(kind, copy=False)


def _map_type(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if num_classes <= np.iinfo(np.uint8).max else np.uint16


def confidence_of(
    logits: torch.Tensor, prediction: torch.Tensor
) -> torch.Tensor:
    """Return how sure a model is of what it predicts.

    Args:
        logits: (C, H, W) logits of the classes; or (1, H, W), how probable
            class 1 is, as MMSeg's models with one channel give it, or its
            logit.
        prediction: (H, W), class indices.

    Returns:
        float (H, W), 0 to 1.

    Raises:
        ValueError: The shapes do not fit.
    """
    if logits.ndim != 3 or logits.shape[1:] != prediction.shape:
        raise ValueError(
            f'logits of shape {tuple(logits.shape)} with a prediction of '
            f'shape {tuple(prediction.shape)}; expected (classes, H, W) of '
            'its height and width'
        )
    logits = logits.float()
    if len(logits) == 1:
        second = logits[0]
        if second.min() < 0 or second.max() > 1:
            second = second.sigmoid()
        return torch.where(prediction > 0, second, 1 - second)
    chosen = logits.gather(0, prediction.long()[None])[0]
    return (chosen - logits.logsumexp(0)).exp()


def count_image(
    matrix: np.ndarray,
    prediction: np.ndarray,
    label: np.ndarray,
    ignore_index: int,
    share: float,
    confidence: np.ndarray | None = None,
) -> ImageRecord:
    """Count an image.

    Args:
        matrix: int64 (C, C), its confusion matrix.
        prediction: As from :func:`small_maps`.
        label: As from :func:`small_maps`.
        ignore_index: The label that does not count in it.
        share: Width of a boundary, as a share of the diagonal.
        confidence: float (H, W), 0 to 1, or None where it is not known.
    """
    rows, columns = np.nonzero(matrix)
    found = find_errors(prediction, label, len(matrix), ignore_index, share)
    return ImageRecord(
        size=(label.shape[0], label.shape[1]),
        pairs=np.stack([rows, columns, matrix[rows, columns]], 1),
        class_index=found.class_index,
        boundary=found.boundary,
        errors=found.errors,
        confidence=(
            None
            if confidence is None
            else count_confidence(prediction, label, confidence, ignore_index)
        ),
        suspects=find_suspects(found, confidence),
    )


def join_records(
    records: Sequence[ImageRecord],
    names: Sequence[str],
    paths: Sequence[str],
    brightness: Sequence[float],
) -> Counts:
    """Make the counts of a directory of those of its images.

    Args:
        records: One for each image, at least one.
        names: The names of the images.
        paths: Their files.
        brightness: 0 to 255, or NaN.
    """

    def pointers(rows: list[np.ndarray]) -> np.ndarray:
        return np.cumsum([0, *map(len, rows)], dtype=np.int64)

    pairs = [each.pairs for each in records]
    classes = [each.class_index for each in records]
    confidence = np.zeros((BINS, 3))
    for each in records:
        if each.confidence is not None:
            confidence += each.confidence
    suspects = [
        np.insert(each.suspects, 0, index, axis=1)
        for index, each in enumerate(records)
    ]
    return Counts(
        names=np.array(names, np.str_),
        paths=np.array(paths, np.str_),
        sizes=np.array([each.size for each in records], np.int64),
        brightness=np.array(brightness, np.float64),
        pair_ptr=pointers(pairs),
        pairs=np.concatenate(pairs),
        class_ptr=pointers(classes),
        class_index=np.concatenate(classes),
        boundary=np.concatenate([each.boundary for each in records]),
        errors=np.concatenate([each.errors for each in records]),
        confidence=confidence,
        suspects=np.concatenate(suspects),
    )
