"""How sure a score is: the cluster bootstrap, and what follows from it.

Images of one drive resemble one another, so whole sequences are drawn, with
replacement, and each time a score is computed from the sums of their counts.
The intervals are percentiles of these scores, moved outwards where sequences
are few: Hesterberg, "What Teachers Should Know About the Bootstrap" (The
American Statistician 69, 2015), section 4.3, the expanded percentile interval.

Shapes: N images, K sequences, R resamples, C classes.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from mmseg_ext.report.scores import Pixels, class_iou, mean_iou

__all__ = [
    'LEVEL',
    'RESAMPLES',
    'Estimates',
    'Gains',
    'compare_runs',
    'fewest_resamples',
    'gains',
    'holm',
    'intervals',
    'p_values',
    'probability_above',
    'resample_sums',
    'score_run',
    'stars',
]

#: How often an interval holds the true value.
LEVEL = 0.95

#: How many resamples are drawn where nothing else is asked for.
RESAMPLES = 2000

#: Weights that are held at a time at most: 32 MB.
_WEIGHTS = 4 << 20

_NORMAL = NormalDist()


class Estimates(NamedTuple):
    """Scores, and the ends of their intervals.

    Attributes:
        value: float64, any shape.
        low: The same.
        high: The same.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Gains(NamedTuple):
    """What a run B is better by than a run A on the same images.

    Attributes:
        difference: B minus A, with its interval.
        better: float64 of the same shape, the share of resamples in which B
            is better; a draw counts half.
        p_value: float64 of the same shape, two-sided, of the hypothesis that
            there is no difference.
    """

    difference: Estimates
    better: np.ndarray
    p_value: np.ndarray


def score_run(
    pixels: Pixels,
    clusters: np.ndarray,
    included: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Estimates, Estimates]:
    """Score a run, with intervals.

    Args:
        pixels: Of each image.
        clusters: int (N,), the sequence of each image.
        included: bool (C,), the classes that the mean goes over; all by
            default.
        resamples: R.
        seed: Of the draws.

    Returns:
        mIoU, a number each, and IoU of the classes, (C,) each: 0 to 1, NaN
        where a score is not defined, or its interval for want of a second
        sequence.
    """
    values = np.hstack([pixels.hit, pixels.union])
    sums = resample_sums(values, clusters, resamples, seed)
    number = len(np.unique(clusters))
    hit, union = pixels.hit.sum(0), pixels.union.sum(0)
    hits, unions = np.split(sums, 2, axis=1)
    drawn = mean_iou(hits, unions, included), class_iou(hits, unions)
    return (
        Estimates(
            mean_iou(hit, union, included), *intervals(drawn[0], number)
        ),
        Estimates(class_iou(hit, union), *intervals(drawn[1], number)),
    )


def compare_runs(
    before: Pixels,
    after: Pixels,
    clusters: np.ndarray,
    included: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Gains, Gains]:
    """Compare two runs on the same images, the same draws for both.

    Args:
        before: Pixels of run A.
        after: Those of run B.
        clusters: int (N,), the sequence of each image.
        included: bool (C,), the classes that the mean goes over; all by
            default.
        resamples: R.
        seed: Of the draws.

    Returns:
        Gains in mIoU, a number each, and in IoU of the classes, (C,) each:
        -1 to 1, NaN where a score of either run is not defined.
    """
    arrays = (before.hit, before.union, after.hit, after.union)
    sums = resample_sums(np.hstack(arrays), clusters, resamples, seed)
    number = len(np.unique(clusters))
    total = [array.sum(0) for array in arrays]
    drawn = np.split(sums, 4, axis=1)
    mean = [
        mean_iou(b_hit, b_union, included) - mean_iou(a_hit, a_union, included)
        for a_hit, a_union, b_hit, b_union in (total, drawn)
    ]
    classes = [
        class_iou(b_hit, b_union) - class_iou(a_hit, a_union)
        for a_hit, a_union, b_hit, b_union in (total, drawn)
    ]
    return (
        gains(mean[0], mean[1], number),
        gains(classes[0], classes[1], number),
    )


def gains(value: np.ndarray, drawn: np.ndarray, number: int) -> Gains:
    """Return differences with what the resamples say of them.

    Args:
        value: float64 (...), B minus A.
        drawn: float64 (R, ...), the same of each resample.
        number: K.
    """
    low, high = intervals(drawn, number)
    return Gains(
        Estimates(value, low, high),
        np.where(np.isnan(low), np.nan, probability_above(drawn)),
        p_values(drawn, number),
    )


def resample_sums(
    values: np.ndarray, clusters: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """Draw as many sequences as there are, and add up their counts.

    Args:
        values: (N, V), counts of each image; sums stay below 2^53.
        clusters: int (N,), the sequence of each image.
        resamples: R.
        seed: Of the draws: the same number draws the same.

    Returns:
        float64 (R, V), whole numbers.
    """
    names, index = np.unique(clusters, return_inverse=True)
    number = len(names)
    by_cluster = np.zeros((number, values.shape[1]))
    np.add.at(by_cluster, index, values)
    rng = np.random.default_rng(seed)
    sums = np.empty((resamples, values.shape[1]))
    part = max(1, _WEIGHTS // max(number, 1))
    for start in range(0, resamples, part):
        rows = sums[start : start + part]
        sums[start : start + part] = _draw(rng, len(rows), number) @ by_cluster
    return sums


def _draw(rng: np.random.Generator, resamples: int, number: int) -> np.ndarray:
    """Return how often each sequence is drawn, float64 (R, K)."""
    if not number:
        return np.zeros((resamples, 0))
    drawn = rng.integers(number, size=(resamples, number))
    drawn += number * np.arange(resamples)[:, None]
    weights = np.bincount(drawn.ravel(), minlength=resamples * number)
    return weights.reshape(resamples, number).astype(np.float64)


def intervals(
    drawn: np.ndarray, number: int, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals.

    Args:
        drawn: float64 (R, ...), a score of each resample; those that are NaN
            are left out.
        number: K.
        level: How often an interval holds the true value.

    Returns:
        Two of shape (...); NaN where no resample has a score, or there are
        fewer than two sequences.
    """
    shape = drawn.shape[1:]
    if number < 2 or not len(drawn):
        return np.full(shape, np.nan), np.full(shape, np.nan)
    outside = _NORMAL.inv_cdf((1 - level) / 2)
    spread = math.sqrt(number / (number - 1))
    share = _NORMAL.cdf(spread * _t_of_normal(outside, number - 1))
    columns = drawn.reshape(len(drawn), -1).T
    ends = np.full((len(columns), 2), np.nan)
    for column, end in zip(columns, ends, strict=True):
        defined = column[~np.isnan(column)]
        if defined.size:
            end[:] = np.quantile(defined, (share, 1 - share))
    return ends[:, 0].reshape(shape), ends[:, 1].reshape(shape)


def probability_above(drawn: np.ndarray) -> np.ndarray:
    """Return the share of resamples above 0; a draw counts half.

    Args:
        drawn: float64 (R, ...); NaN is left out.

    Returns:
        float64 (...), 0 to 1, NaN where all are NaN.
    """
    with np.errstate(invalid='ignore'):
        defined = (~np.isnan(drawn)).sum(0)
        return ((drawn > 0).sum(0) + (drawn == 0).sum(0) / 2) / defined


def p_values(drawn: np.ndarray, number: int) -> np.ndarray:
    """Return the two-sided p-values that go with :func:`intervals`.

    Args:
        drawn: float64 (R, ...), differences; NaN is left out.
        number: K.

    Returns:
        float64 (...), above 0, at most 1; NaN where there is no interval.
    """
    defined = (~np.isnan(drawn)).sum(0)
    # One more than there are: of so many draws none says that p is 0.
    beyond = np.minimum((drawn <= 0).sum(0), (drawn >= 0).sum(0)) + 1
    shares = np.minimum(beyond / (defined + 1), 0.5)
    values = [
        _p_value(share, number) if count else math.nan
        for share, count in zip(shares.flat, defined.flat, strict=True)
    ]
    return np.array(values, np.float64).reshape(shares.shape)


def _p_value(share: float, number: int) -> float:
    """Return the p-value of a share of resamples beyond 0, at most 0.5."""
    if number < 2:
        return math.nan
    spread = math.sqrt(number / (number - 1))
    t_value = _NORMAL.inv_cdf(share) / spread
    return 2 * _NORMAL.cdf(_normal_of_t(t_value, number - 1))


def _t_of_normal(value: float, freedom: int) -> float:
    """Return the quantile of Student's t beside one of the normal.

    Wallace, "Bounds on normal approximations to Student's and the chi-square
    distributions" (Annals of Mathematical Statistics 30, 1959): within 1 %
    from 4 degrees of freedom on.
    """
    scaled = value * (8 * freedom + 3) / (8 * freedom + 1)
    root = math.sqrt(freedom * math.expm1(scaled**2 / freedom))
    return math.copysign(root, value)


def _normal_of_t(value: float, freedom: int) -> float:
    """Return the inverse of :func:`_t_of_normal`."""
    root = math.sqrt(freedom * math.log1p(value**2 / freedom))
    scaled = root * (8 * freedom + 1) / (8 * freedom + 3)
    return math.copysign(scaled, value)


def holm(p_value: np.ndarray) -> np.ndarray:
    """Correct p-values for being many.

    Holm, "A simple sequentially rejective multiple test procedure"
    (Scandinavian Journal of Statistics 6, 1979).

    Args:
        p_value: float64 (C,); those that are NaN are no tests.

    Returns:
        float64 (C,), at most 1: below 0.05 where a difference stands, so that
        with a chance of 95 % none of them is there by accident.
    """
    corrected = np.full(p_value.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p_value))
    order = tests[np.argsort(p_value[tests], kind='stable')]
    times = np.arange(len(order), 0, -1)
    corrected[order] = np.maximum.accumulate(times * p_value[order])
    return np.minimum(corrected, 1)


def stars(p_value: float) -> str:
    """Return how sure a difference is, as a sign.

    Args:
        p_value: Corrected by :func:`holm`.

    Returns:
        Three stars below 0.001, two below 0.01, one below 0.05, else none.
    """
    return '*' * sum(p_value < limit for limit in (0.05, 0.01, 0.001))


def fewest_resamples(tests: int, number: int) -> int | None:
    """Return the resamples without which no difference can have a star.

    Args:
        tests: How many there are.
        number: K.

    Returns:
        At least 1; None where no number is enough.
    """
    if number < 2:
        return None
    spread = math.sqrt(number / (number - 1))
    outside = _NORMAL.inv_cdf(0.05 / max(tests, 1) / 2)
    share = _NORMAL.cdf(spread * _t_of_normal(outside, number - 1))
    return math.ceil(1 / share) if share else None
