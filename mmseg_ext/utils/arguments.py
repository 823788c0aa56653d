"""Checks of what users write into configs."""

import math
from numbers import Integral, Real
from typing import cast

__all__ = ['is_integer', 'is_number', 'require']


def require(name: str, value: object, fits: bool, expected: str) -> None:
    """Refuse an argument that does not fit.

    Args:
        name: The argument.
        value: What came.
        fits: Whether it is what is expected.
        expected: That, in words.

    Raises:
        ValueError: It is not.
    """
    if not fits:
        raise ValueError(f'{name}={value!r}: expected {expected}')


def is_number(
    value: object, least: float = -math.inf, largest: float = math.inf
) -> bool:
    """Return whether a value is a number, NumPy's too; True and NaN are none.

    Args:
        value: Anything.
        least: The smallest number that counts.
        largest: The largest one; infinity is a number, too.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return bool(least <= cast(float, value) <= largest)


def is_integer(value: object, least: float = -math.inf) -> bool:
    """Return whether a value is of an integer type, NumPy's too.

    Args:
        value: Anything; True is no integer.
        least: The smallest number that counts.
    """
    return isinstance(value, Integral) and is_number(value, least)
