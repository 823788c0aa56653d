"""How far a model's confidence can be trusted.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017): of the
pixels with a confidence of 0.8, 80 % should be right.
"""

import numpy as np
import torch

from mmseg_ext.evaluation.functional import confusion_matrix
from mmseg_ext.formats.run_records import BINS

__all__ = ['count_confidence', 'expected_calibration_error']

#: What stands for the range of a pixel that is left out.
_LEFT_OUT = 255


def count_confidence(
    prediction: np.ndarray,
    label: np.ndarray,
    confidence: np.ndarray,
    ignore_index: int = 255,
) -> np.ndarray:
    """Count the pixels of an image by the confidence of their prediction.

    Args:
        prediction: Integers (H, W), class indices.
        label: Integers (H, W), class indices or ignored.
        confidence: Floats (H, W), the probability of what was predicted. A
            pixel where it is NaN is left out; below 0 and above 1 it belongs
            to the first and last range.
        ignore_index: Pixels with this label are left out.

    Returns:
        float64 (BINS, 3): pixels, the sum of their confidence, and how many
        are right, in equal ranges of confidence from 0 to 1.
    """
    values = np.asarray(confidence, np.float32)
    left_out = (label == ignore_index) | np.isnan(values)
    with np.errstate(invalid='ignore'):  # NaN is no integer.
        ranges = np.clip(values * BINS, 0, BINS - 1).astype(np.uint8)
    ranges[left_out] = _LEFT_OUT
    matrix = confusion_matrix(
        torch.from_numpy((prediction == label).view(np.uint8)),
        torch.from_numpy(ranges),
        BINS,
        ignore_index=_LEFT_OUT,
    ).numpy()
    sums = np.bincount(ranges.reshape(-1), values.reshape(-1), _LEFT_OUT + 1)
    return np.stack([matrix.sum(1), sums[:BINS], matrix[:, 1]], 1)


def expected_calibration_error(counts: np.ndarray) -> float:
    """Return by how much confidence is off, on average over all pixels.

    Args:
        counts: float64 (BINS, 3), as :func:`count_confidence` returns.

    Returns:
        0 to 1; NaN where no pixel was counted.
    """
    pixels, confidence, right = counts.T
    total = pixels.sum()
    if not total:
        return float('nan')
    return float(np.abs(confidence - right).sum() / total)
