import numpy as np
import pytest

from mmseg_ext.evaluation.errors import count_errors
from references import errors as naive


def blobs(rng, shape, num_classes, size):
    """Make a map of rectangles of up to some pixels."""
    classes = np.zeros(shape, np.uint8)
    for _ in range(shape[0] * shape[1] // size):
        top, left = rng.integers(0, shape)
        height, width = rng.integers(1, size + 1, 2)
        classes[top : top + height, left : left + width] = rng.integers(
            num_classes
        )
    return classes


@pytest.mark.parametrize('share', [0.02, 0.08, 0.5])
@pytest.mark.parametrize('seed', range(8))
def test_counts_equal_a_naive_count(seed, share):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 34, 2)
    num_classes = int(rng.integers(1, 12))
    label = blobs(rng, shape, num_classes, 7)
    prediction = np.roll(label, rng.integers(-2, 3, 2), (0, 1))
    noisy = rng.random(shape) < 0.2 * rng.random()
    prediction[noisy] = rng.integers(num_classes, size=noisy.sum())
    label[blobs(rng, shape, 3, 5) == 2] = 255
    prediction[label == 255] = rng.integers(256, size=(label == 255).sum())
    classes, boundary, errors = count_errors(
        prediction, label, num_classes, 255, share
    )
    expected = naive.count_errors(
        prediction.tolist(), label.tolist(), num_classes, 255, share
    )
    assert classes.tolist() == expected[0]
    assert boundary.tolist() == expected[1]
    assert errors.reshape(-1, 6).tolist() == expected[2]
