import math

import numpy as np
import pytest

from mmseg_ext.utils.arguments import is_integer, is_number, require


@pytest.mark.parametrize(
    ('value', 'number', 'integer'),
    [
        (2, True, True),
        (np.int64(2), True, True),
        (2.0, True, False),
        (np.float32(2.5), True, False),
        (math.inf, True, False),
        (-math.inf, True, False),
        (math.nan, False, False),
        (True, False, False),
        (np.bool_(True), False, False),
        ('2', False, False),
        (None, False, False),
        (2j, False, False),
    ],
    ids=repr,
)
def test_numbers(value, number, integer):
    assert is_number(value) is number
    assert is_integer(value) is integer


def test_ranges():
    values = [-1, 0, 0.5, 1, 2]
    assert [v for v in values if is_number(v, 0, 1)] == [0, 0.5, 1]
    assert [v for v in values if is_integer(v, 0)] == [0, 1, 2]


def test_what_does_not_fit_is_named():
    require('size', 3, True, 'an even number')
    with pytest.raises(ValueError, match=r"^size='3': expected an even"):
        require('size', '3', False, 'an even number')
