import math

import numpy as np
import pytest

from mmseg_ext.evaluation.calibration import (
    count_confidence,
    expected_calibration_error,
)
from mmseg_ext.formats.run_records import BINS


def naive_counts(prediction, label, confidence):
    """Count one pixel at a time, from flat lists."""
    counts = [[0, 0.0, 0] for _ in range(BINS)]
    for predicted, labeled, value in zip(
        prediction, label, confidence, strict=True
    ):
        if labeled == 255 or math.isnan(value):
            continue
        row = counts[min(math.floor(value * BINS), BINS - 1)]
        row[0] += 1
        row[1] += value
        row[2] += predicted == labeled
    return counts


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_counts_equal_a_naive_count(dtype):
    rng = np.random.default_rng(0)
    prediction, label = rng.integers(0, 4, (2, 31, 23)).astype(np.uint8)
    label[rng.random(label.shape) < 0.3] = 255
    # No value within the rounding of float32 of the end of a range.
    confidence = (rng.integers(0, 1025, label.shape) / 1024).astype(dtype)
    confidence[0, :5] = np.nan
    found = count_confidence(prediction, label, confidence)
    expected = naive_counts(
        prediction.ravel().tolist(),
        label.ravel().tolist(),
        confidence.ravel().tolist(),
    )
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found[:, 0].sum() < label.size


def test_the_ends_belong_to_the_first_and_last_range():
    confidence = np.array([[0, 1, 1 + 1e-6, -1e-6, 0.05]])
    label = np.zeros((1, 5), np.uint8)
    found = count_confidence(label, label, confidence)
    assert found[:, 0].tolist() == [2, 1] + [0] * 17 + [2]


def test_error_by_hand():
    counts = np.zeros((BINS, 3))
    counts[10] = [10, 5.2, 6]  # confident of 0.52, right in 0.6
    counts[19] = [30, 29.4, 24]  # of 0.98, in 0.8
    expected = (10 * 0.08 + 30 * 0.18) / 40
    assert expected_calibration_error(counts) == pytest.approx(expected)


@pytest.mark.parametrize('value', [np.nan, 0.5])
def test_no_pixels(value):
    """All are NaN, or ignored."""
    label = np.full((4, 5), 255 if value == 0.5 else 1, np.uint8)
    counts = count_confidence(
        np.ones_like(label), label, np.full((4, 5), value)
    )
    assert not counts.any()
    assert math.isnan(expected_calibration_error(counts))
