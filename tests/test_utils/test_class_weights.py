"""Weights against hand computation, as the papers define them."""

import numpy as np
import pytest

from mmseg_ext.utils.class_weights import (
    RULES,
    class_frequencies,
    class_weights,
    rule_bounds,
)

#: Three images of 100, 200 and 100 labeled pixels.
COUNTS = np.array([[90, 10, 0, 0], [120, 0, 80, 0], [60, 40, 0, 0]])

#: Class 0: 270 of 400. Class 1: 50 of the 200 of images 0 and 2. Class 2: 80
#: of the 200 of image 1. Class 3 is nowhere.
FREQUENCIES = [270 / 400, 50 / 200, 80 / 200]

MEDIAN = 0.4


def test_frequencies():
    found = class_frequencies(COUNTS)
    assert found[:3].tolist() == FREQUENCIES
    assert np.isnan(found[3])


def test_median_frequency():
    expected = [0.4 / 0.675, 0.4 / 0.25, 1, 1]
    found = class_weights(COUNTS, 'median_frequency')
    assert found == pytest.approx(expected, rel=1e-12)


def test_square_root():
    expected = [(0.4 / 0.675) ** 0.5, 1.6**0.5, 1, 1]
    found = class_weights(COUNTS, 'sqrt_median_frequency')
    assert found == pytest.approx(expected, rel=1e-12)
    assert class_weights(COUNTS).tolist() == found.tolist()


def test_median_of_an_even_number():
    """Half of the way between the two in the middle: 0.325 and 0.675."""
    found = class_weights(np.array([[27, 13]]), 'median_frequency')
    assert found == pytest.approx([0.5 / 0.675, 0.5 / 0.325])


def test_bounds():
    counts = np.array([[980_000, 19_990, 10]])
    ratios = [0.01999 / 0.98, 1, 1999]
    plain = class_weights(counts, 'median_frequency')
    assert plain == pytest.approx(ratios)
    assert class_weights(counts).tolist() == [0.5, 1, 6]
    found = class_weights(counts, 'median_frequency', (0.1, 10))
    assert found.tolist() == [0.1, 1, 10]
    assert class_weights(counts, bounds=(2, 3)).tolist() == [2, 2, 3]


def test_class_without_pixels_weighs_1_whatever_the_bounds():
    assert class_weights(COUNTS, bounds=(2, 3))[3] == 1


def test_many_pixels():
    """The products are beyond 32 bits."""
    counts = np.array([[2**31 - 1, 2**31 - 1]] * 4, np.int64)
    assert class_weights(counts).tolist() == [1, 1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(rule='median'), "rule='median': expected one of 'median_fre"),
        (dict(bounds=(6, 0.5)), r'weight_bounds=\(6, 0.5\): exp'),
        (dict(bounds=(-1, 1)), 'weight_bounds'),
        (dict(bounds=(0, 0)), 'weight_bounds'),
        (dict(bounds=(1, 2, 3)), 'weight_bounds'),
        (dict(bounds=(float('nan'), 1)), 'weight_bounds'),
        (dict(bounds=(float('inf'),) * 2), 'weight_bounds'),
        (dict(bounds=6), 'weight_bounds=6: expected the least and'),
        (dict(bounds=('0.5', '6')), 'weight_bounds'),
        (dict(counts=np.zeros(3, int)), r'\(images, classes\)'),
        (dict(counts=[[1, -1]]), r'\(images, classes\)'),
        (dict(counts=np.zeros((4, 3), int)), 'no pixel of 3 classes .* 4 ima'),
    ],
)
def test_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        class_weights(**{'counts': COUNTS, **options})


def test_bounds_of_rules():
    assert list(RULES) == ['median_frequency', 'sqrt_median_frequency']
    assert rule_bounds('median_frequency') == (0, float('inf'))
    assert rule_bounds('sqrt_median_frequency') == (0.5, 6)
