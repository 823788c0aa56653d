"""How sure a score is: the cluster bootstrap, and what follows from it.

Images of one drive resemble one another, so whole sequences are drawn, with
replacement, and each time a score is computed from the sums of their counts.
How these scores scatter is the standard error of intervals by Student's t,
wider where sequences are few, as are the p-values: Hesterberg, "What Teachers
Should Know About the Bootstrap" (The American Statistician 69, 2015), section
4.4, t with bootstrap standard error.

Shapes: N images, K sequences, R resamples, C classes.
"""

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from mmseg_ext.report.scores import Pixels, class_iou, mean_iou

__all__ = [
    'FEWEST',
    'LEVEL',
    'RESAMPLES',
    'Estimates',
    'Gains',
    'compare_runs',
    'count_any',
    'count_clusters',
    'gains',
    'holm',
    'intervals',
    'p_values',
    'resample_sums',
    'resample_weights',
    'score_intervals',
    'score_run',
    'stars',
]

#: How often an interval holds the true value.
LEVEL = 0.95

#: How many resamples are drawn where nothing else is asked for.
RESAMPLES = 2000

#: How many say how scores scatter, at least.
FEWEST = 100

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
        better: float64 of the same shape, the probability that B is better.
        p_value: float64 of the same shape, two-sided, of the hypothesis that
            there is no difference: half of it is the chance that the other
            run is better.
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
    number = count_any(pixels.union, clusters, included)
    having = count_clusters(pixels.union, clusters)
    hit, union = pixels.hit.sum(0), pixels.union.sum(0)
    hits, unions = np.split(sums, 2, axis=1)
    drawn = mean_iou(hits, unions, included), class_iou(hits, unions)
    return (
        score_intervals(
            np.asarray(mean_iou(hit, union, included)), drawn[0], number
        ),
        score_intervals(class_iou(hit, union), drawn[1], having),
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
    union = before.union + after.union
    number = count_any(union, clusters, included)
    having = count_clusters(union, clusters)
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
        gains(classes[0], classes[1], having),
    )


def gains(
    value: np.ndarray, drawn: np.ndarray, number: int | np.ndarray
) -> Gains:
    """Return differences with what the resamples say of them.

    Args:
        value: float64 (...), B minus A, -1 to 1.
        drawn: float64 (R, ...), the same of each resample.
        number: See :func:`intervals`.
    """
    low, high = (
        np.clip(end, -1, 1) for end in intervals(value, drawn, number)
    )
    p_value = p_values(value, drawn, number)
    return Gains(
        Estimates(value, low, high),
        np.where(np.asarray(value) > 0, 1 - p_value / 2, p_value / 2),
        p_value,
    )


def count_clusters(counts: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the sequences that have something of each class.

    Args:
        counts: (N, C), 0 where an image has nothing of a class.
        clusters: int (N,), the sequence of each image.

    Returns:
        int64 (C,).
    """
    names, index = np.unique(clusters, return_inverse=True)
    present = np.zeros((len(names), counts.shape[1]), bool)
    np.logical_or.at(present, index, counts > 0)
    return present.sum(0)


def count_any(
    counts: np.ndarray,
    clusters: np.ndarray,
    included: np.ndarray | None = None,
) -> int:
    """Return the sequences that a mean over classes is made from.

    Args:
        counts: See :func:`count_clusters`.
        clusters: The same.
        included: bool (C,), the classes of the mean; all by default.
    """
    chosen = counts if included is None else counts[:, included]
    return int(count_clusters(chosen.sum(1, keepdims=True), clusters)[0])


def resample_weights(
    clusters: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """Draw as many sequences as there are, and count their images.

    Args:
        clusters: int (N,), the sequence of each image.
        resamples: R.
        seed: Of the draws: the same number draws the same, here and in
            :func:`resample_sums`.

    Returns:
        float32 (R, N), how often each image is there: whole numbers.
    """
    names, index = np.unique(clusters, return_inverse=True)
    weights = np.empty((resamples, len(index)), np.float32)
    for rows, drawn in _draws(resamples, len(names), seed):
        weights[rows] = drawn[:, index]
    return weights


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
    sums = np.empty((resamples, values.shape[1]))
    for rows, drawn in _draws(resamples, number, seed):
        sums[rows] = drawn @ by_cluster
    return sums


def _draws(
    resamples: int, number: int, seed: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield some resamples at a time, and how often they draw a sequence.

    Args:
        resamples: R.
        number: Of sequences, K.
        seed: Of the draws.

    Yields:
        Which resamples they are, r in all, and float64 (r, K).
    """
    rng = np.random.default_rng(seed)
    part = max(1, _WEIGHTS // max(number, 1))
    for start in range(0, resamples, part):
        rows = slice(start, min(start + part, resamples))
        size = rows.stop - start, number
        if not number:
            yield rows, np.zeros(size)
            continue
        drawn = rng.integers(number, size=size)
        drawn += number * np.arange(size[0])[:, None]
        weights = np.bincount(drawn.ravel(), minlength=drawn.size)
        yield rows, weights.reshape(size).astype(np.float64)


def intervals(
    value: np.ndarray,
    drawn: np.ndarray,
    number: int | np.ndarray,
    level: float = LEVEL,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals.

    Args:
        value: float64 (...), scores or differences.
        drawn: float64 (R, ...), the same of each resample; those that are NaN
            are left out.
        number: Sequences that a score is made from, int, or (...).
        level: How often an interval holds the true value.

    Returns:
        Two of shape (...); NaN where no resample has a score, or it is made
        from fewer than two sequences.
    """
    error, freedom = _errors(drawn, number)
    half = _t_of_normal(_NORMAL.inv_cdf((1 + level) / 2), freedom) * error
    return value - half, value + half


def score_intervals(
    value: np.ndarray, drawn: np.ndarray, number: int | np.ndarray
) -> Estimates:
    """Return scores with intervals that stay within 0 and 1.

    Args:
        value: float64 (...), 0 to 1.
        drawn: See :func:`intervals`.
        number: See :func:`intervals`.
    """
    ends = intervals(value, drawn, number)
    return Estimates(value, *(np.clip(end, 0, 1) for end in ends))


def _errors(
    drawn: np.ndarray, number: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors, and their degrees of freedom, (...) each.

    Of K sequences resamples scatter as K - 1 do.
    """
    known = ~np.isnan(drawn)
    many = known.sum(0)
    counts = np.broadcast_to(number, many.shape).astype(np.float64)
    counts = np.where((counts > 1) & (many > 0), counts, np.nan)
    with np.errstate(invalid='ignore'):
        mean = np.where(known, drawn, 0).sum(0) / many
        variance = (np.where(known, drawn - mean, 0) ** 2).sum(0) / many
    return np.sqrt(variance * counts / (counts - 1)), counts - 1


def p_values(
    value: np.ndarray, drawn: np.ndarray, number: int | np.ndarray
) -> np.ndarray:
    """Return two-sided p-values of differences, by Student's t.

    Args:
        value: float64 (...), differences.
        drawn: float64 (R, ...), the same of each resample; NaN is left out.
        number: See :func:`intervals`.

    Returns:
        float64 (...), 0 to 1; below 0.05 where 0 is outside of the interval
        of 95 %, NaN where there is none.
    """
    error, freedom = _errors(drawn, number)
    with np.errstate(invalid='ignore', divide='ignore'):
        away = np.where(value == 0, error * 0, np.abs(value) / error)
        normal = _normal_of_t(away, freedom)
    found = [math.erfc(each / math.sqrt(2)) for each in np.ravel(normal)]
    return np.array(found, np.float64).reshape(np.shape(value))


def _t_of_normal(value: float, freedom: np.ndarray) -> np.ndarray:
    """Return quantiles of Student's t beside one of the normal, above 0.

    Wallace, "Bounds on normal approximations to Student's and the chi-square
    distributions" (Annals of Mathematical Statistics 30, 1959): within 1 %
    from 4 degrees of freedom on.
    """
    scaled = value * (8 * freedom + 3) / (8 * freedom + 1)
    return np.sqrt(freedom * np.expm1(scaled**2 / freedom))


def _normal_of_t(value: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Return the inverse of :func:`_t_of_normal`."""
    root = np.sqrt(freedom * np.log1p(value**2 / freedom))
    return root * (8 * freedom + 1) / (8 * freedom + 3)


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
