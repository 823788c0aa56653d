"""Weights of classes from how many pixels they have.

Sources: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic
Labels", arXiv:1411.4734, section 6.3.2; Badrinarayanan et al., "SegNet",
arXiv:1511.00561, section 4.
"""

import math
from collections.abc import Sequence

import numpy as np

from mmseg_ext.utils.arguments import is_number, require

__all__ = ['RULES', 'class_frequencies', 'class_weights', 'rule_bounds']

#: Rules by which weights are made of pixels, with the least and the largest
#: weight of each. The papers bound nothing; with the square root a real data
#: set of 41 images learned best within these.
RULES = {
    'median_frequency': (0.0, math.inf),
    'sqrt_median_frequency': (0.5, 6.0),
}


def rule_bounds(
    rule: str, bounds: Sequence[float] | None = None
) -> tuple[float, float]:
    """Check a rule and return the bounds of its weights.

    Args:
        rule: One of :data:`RULES`.
        bounds: The least and the largest weight; None for those of the rule.

    Raises:
        ValueError: There is no such rule, or the bounds are not two numbers
            of 0 or above in ascending order, of which only the second may be
            infinite.
    """
    if rule not in RULES:
        raise ValueError(
            f'rule={rule!r}: expected one of {", ".join(map(repr, RULES))}'
        )
    pair = RULES[rule] if bounds is None else bounds
    require(
        'weight_bounds',
        bounds,
        isinstance(pair, Sequence)
        and len(pair) == 2
        and is_number(pair[0], 0)
        and is_number(pair[1], pair[0])
        and pair[0] < math.inf
        and pair[1] > 0,
        'the least and the largest weight, such as (0.5, 6)',
    )
    return float(pair[0]), float(pair[1])


def class_frequencies(counts: np.ndarray) -> np.ndarray:
    """Return how frequent classes are in the images that have them.

    Args:
        counts: Integers, (images, classes): pixels of each class in each
            image. Ignored pixels are in no column, and count for nothing.

    Returns:
        Floats, (classes,), from 0 to 1: pixels of a class in all images, by
        the pixels of all classes in those images that have at least one of
        it; NaN for a class without pixels.
    """
    counts = np.asarray(counts, np.int64)
    pixels = counts.sum(axis=0)
    around = (counts > 0).T.astype(np.int64) @ counts.sum(axis=1)
    return np.divide(
        pixels, around, out=np.full(len(pixels), np.nan), where=around > 0
    )


def class_weights(
    counts: np.ndarray,
    rule: str = 'sqrt_median_frequency',
    bounds: Sequence[float] | None = None,
) -> np.ndarray:
    """Return weights of classes: the rarer a class is, the larger.

    ``median_frequency``: the median of the frequencies of all classes that
    are there (see :func:`class_frequencies`), by the frequency of the class.
    ``sqrt_median_frequency``: its square root, so that rare classes count for
    more, but not as much as all others together.

    Args:
        counts: Integers, (images, classes): pixels of each class in each
            image.
        rule: One of :data:`RULES`.
        bounds: The least and the largest weight; None for those of the rule.

    Returns:
        Floats, (classes,); 1 for a class without pixels.

    Raises:
        ValueError: There is no such rule, the bounds are wrong, the counts
            are not of this form, or there is no pixel of any class.
    """
    least, largest = rule_bounds(rule, bounds)
    counts = np.asarray(counts)
    if counts.ndim != 2 or (counts < 0).any():
        raise ValueError(
            'counts must be numbers of pixels, (images, classes), got an '
            f'array of shape {counts.shape}'
        )
    frequencies = class_frequencies(counts)
    present = np.isfinite(frequencies)
    if not present.any():
        raise ValueError(
            f'no pixel of {counts.shape[1]} classes is labeled in '
            f'{counts.shape[0]} image(s): there is nothing to weigh'
        )
    ratios = np.median(frequencies[present]) / frequencies
    if rule == 'sqrt_median_frequency':
        ratios = np.sqrt(ratios)
    return np.where(present, np.clip(ratios, least, largest), 1.0)
