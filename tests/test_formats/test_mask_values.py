import numpy as np
import pytest

from mmseg_ext.formats.mask_values import tally

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    'pixels',
    [
        np.zeros((3, 2), np.uint8),
        RNG.integers(0, 256, (900, 700), np.uint8),
        RNG.integers(0, 4, (900, 700, 3), np.uint8),
        RNG.integers(-5, 9, (30, 20)),
        RNG.integers(0, 70, (30, 20)).astype(np.uint16) * 900,
        np.zeros((0, 4), np.uint8),
    ],
)
def test_tally(pixels):
    found = tally(pixels)
    values = pixels.astype(np.int64)
    if pixels.ndim == 3:
        values = values @ [1, 1 << 8, 1 << 16]
    values, counts = np.unique(values, return_counts=True)
    assert found.values.tolist() == values.tolist()
    assert found.counts.tolist() == counts.tolist()
