"""Intervals hold the truth as often as they say, and p-values are right."""

import math

import numpy as np
import pytest

from mmseg_ext.report import bootstrap
from mmseg_ext.report.bootstrap import (
    compare_runs,
    count_clusters,
    gains,
    holm,
    intervals,
    p_values,
    resample_sums,
    resample_weights,
    score_run,
    stars,
)
from mmseg_ext.report.scores import Pixels

#: Quantiles of Student's t, two-sided 95 %, as tables have them.
STUDENT = {4: 2.776, 9: 2.262, 29: 2.045, 99: 1.984}

#: Expected IoU of the classes, and what B gains in them.
IOU, GAIN = np.array([0.8, 0.5, 0.3]), np.array([0.01, 0.03, -0.02])


def as_pixels(hit, union):
    """Return pixels with a union, half of what is wrong missed."""
    missed = (union - hit) // 2
    return Pixels(hit, hit + missed, union - missed)


def simulate(rng, sequences, images):
    """Return two runs; images of a sequence are alike, so are both runs."""
    shape = sequences, len(IOU)
    hard = rng.normal(0, 0.08, shape)
    change = GAIN + rng.normal(0, 0.04, shape)
    union = rng.integers(2000, 4000, (sequences, images, len(IOU)))
    noise = rng.normal(0, 0.05, (2, *union.shape))
    runs = []
    for score, each in (
        (IOU + hard, noise[0]),
        (IOU + hard + change, noise[1]),
    ):
        share = score[:, None] + each
        hit = np.rint(union * share).astype(np.int64)
        runs.append(as_pixels(*(a.reshape(-1, 3) for a in (hit, union))))
    return *runs, np.repeat(np.arange(sequences), images)


@pytest.mark.parametrize('sequences', [10, 60])
def test_intervals_cover_the_true_difference(sequences):
    rng = np.random.default_rng(5)
    held = np.zeros(4)
    for number in range(400):
        before, after, clusters = simulate(rng, sequences, 4)
        gains = compare_runs(before, after, clusters, None, 1000, number)
        truth = (GAIN.mean(), *GAIN)
        low, high = (
            np.append(mean, classes)
            for mean, classes in zip(
                *(each.difference[1:] for each in gains), strict=True
            )
        )
        held += (low <= truth) & (truth <= high)
    assert 0.93 <= held[0] / 400 <= 0.97
    assert 0.93 <= held[1:].mean() / 400 <= 0.97


def test_images_of_one_sequence_are_not_independent():
    """Taken one by one, they make intervals that are too narrow."""
    rng = np.random.default_rng(0)
    before, _, clusters = simulate(rng, 20, 8)
    widths = [
        float(np.subtract(*score_run(before, each)[0][:0:-1]))
        for each in (clusters, np.arange(len(clusters)))
    ]
    assert widths[0] > 1.5 * widths[1]


def test_sums_are_those_of_drawn_sequences():
    """Each row is a whole number of each sequence, K in all."""
    values = np.array([[1, 0], [1, 0], [0, 1], [1000, 5], [100, 0]])
    clusters = np.array([7, 7, 3, 5, 7])
    sums = resample_sums(values, clusters, 500, 0)
    found = set()
    for row in sums.tolist():
        times = [
            (a, b, 3 - a - b)
            for a in range(4)
            for b in range(4 - a)
            if row == [a * 102 + b * 1000, b * 5 + (3 - a - b)]
        ]
        found.add(times[0])
    assert len(found) == 10
    assert sums.mean(0) == pytest.approx(values.sum(0), rel=0.05)
    again = resample_sums(values, clusters, 500, 0)
    assert (again == sums).all()
    assert (resample_sums(values, clusters, 500, 1) != sums).any()


def test_parts_of_the_draws_do_not_show(monkeypatch):
    values = np.arange(40).reshape(20, 2)
    whole = resample_sums(values, np.arange(20), 50, 3)
    monkeypatch.setattr(bootstrap, '_WEIGHTS', 140)
    assert (resample_sums(values, np.arange(20), 50, 3) == whole).all()


def test_weights_are_how_often_the_sums_have_an_image():
    values = np.array([[1, 0], [1, 0], [0, 1], [1000, 5], [100, 0]])
    clusters = np.array([7, 7, 3, 5, 7])
    weights = resample_weights(clusters, 500, 0)
    assert weights.dtype == np.float32
    sums = resample_sums(values, clusters, 500, 0)
    np.testing.assert_array_equal(weights @ values, sums)
    # An image is there as often as the others of its sequence.
    np.testing.assert_array_equal(weights[:, 0], weights[:, 4])


def test_the_same_run_twice():
    rng = np.random.default_rng(0)
    before, _, clusters = simulate(rng, 12, 2)
    mean, classes = compare_runs(before, before, clusters)
    assert mean.difference == (0, 0, 0)
    assert mean.better == 0.5
    assert mean.p_value == 1
    assert classes.better.tolist() == [0.5] * 3


def test_a_run_that_is_better_everywhere():
    rng = np.random.default_rng(0)
    before, _, clusters = simulate(rng, 40, 2)
    more = before.hit + (before.union - before.hit) // 2
    mean, classes = compare_runs(
        before, as_pixels(more, before.union), clusters
    )
    assert mean.better > 0.999
    assert mean.difference.low > 0
    assert (holm(classes.p_value) < 0.05).all()


def test_classes_that_are_rare_or_absent():
    """What a draw does not have is left out of it, as by the rule of mIoU."""
    hit = np.array([[50, 0, 0, 2], [60, 0, 0, 0], [70, 5, 0, 2]])
    union = np.array([[100, 0, 0, 4], [100, 0, 0, 0], [100, 10, 0, 4]])
    mean, classes = score_run(as_pixels(hit, union), np.arange(3))
    assert mean.value == pytest.approx((0.6 + 0.5 + 0.5) / 3)
    np.testing.assert_array_equal(classes.value, [0.6, 0.5, np.nan, 0.5])
    # One sequence says nothing about others.
    assert np.isnan(classes.low[1])
    assert (classes.low[3], classes.high[3]) == (0.5, 0.5)
    assert count_clusters(union, np.arange(3)).tolist() == [3, 1, 0, 2]
    assert count_clusters(union, [0, 0, 1]).tolist() == [2, 1, 0, 2]
    for each in classes:
        assert np.isnan(each[2])
    only = np.array([True, False, False, False])
    assert score_run(as_pixels(hit, union), np.arange(3), only)[
        0
    ].value == pytest.approx(0.6)


def test_one_sequence_has_no_interval():
    pixels = as_pixels(np.array([[5], [6]]), np.array([[10], [10]]))
    clusters = np.zeros(2, int)
    mean, _ = score_run(pixels, clusters)
    assert mean.value == 0.55
    assert np.isnan(mean.low)
    assert np.isnan(mean.high)
    gain, _ = compare_runs(pixels, pixels, clusters)
    assert np.isnan(gain.better)
    assert np.isnan(gain.p_value)


def test_no_images():
    empty = as_pixels(*np.zeros((2, 0, 3), np.int64))
    mean, classes = score_run(empty, np.zeros(0, int))
    assert np.isnan(mean).all()
    assert np.isnan(classes).all()


@pytest.mark.parametrize('freedom', STUDENT)
def test_few_sequences_move_the_ends_as_students_t_does(freedom):
    """Of normal draws the ends are then those of the t interval."""
    number = freedom + 1
    drawn = np.random.default_rng(0).normal(0, 1, 400_000)
    low, high = intervals(np.zeros(()), drawn, number)
    end = STUDENT[freedom] * math.sqrt(number / freedom)
    assert (high - low) / 2 == pytest.approx(end, rel=0.02)


def test_p_values_go_with_the_intervals():
    """Below 0.05 where the interval leaves 0 out."""
    rng = np.random.default_rng(0)
    value = rng.uniform(-4, 4, 200)
    drawn = rng.normal(value, 1, (20_000, 200))
    for number in (5, 12, 500):
        low, high = intervals(value, drawn, number)
        p_value = p_values(value, drawn, number)
        sure = (low > 0) | (high < 0)
        assert ((p_value < 0.05) == sure).all()
        assert 10 < sure.sum() < 190


@pytest.mark.parametrize('freedom', STUDENT)
def test_p_values_are_those_of_students_t(freedom):
    number = freedom + 1
    drawn = np.array([[-1.0], [1.0]])
    value = np.array([STUDENT[freedom] * math.sqrt(number / freedom)])
    p_value = p_values(value, drawn, number)
    assert p_value == pytest.approx(0.05, rel=0.03)


def test_chance_has_a_star_as_seldom_as_it_should():
    """Of pairs of runs without a difference one in twenty at most."""
    rng = np.random.default_rng(3)
    held = []
    for number in range(200):
        sequences = 12
        before, _, clusters = simulate(rng, sequences, 3)
        swap = (rng.random(sequences) < 0.5)[clusters, None]
        noise = before.hit - rng.integers(0, 100, before.hit.shape)
        first, second = (
            as_pixels(np.where(side, before.hit, noise), before.union)
            for side in (swap, ~swap)
        )
        _, classes = compare_runs(first, second, clusters, None, 300, number)
        held.append((holm(classes.p_value) < 0.05).any())
    assert np.mean(held) <= 0.08


@pytest.mark.parametrize('freedom', STUDENT)
def test_probability_that_b_is_better(freedom):
    """It is the area of Student's t on the side of the difference."""
    number = freedom + 1
    end = STUDENT[freedom] * math.sqrt(number / freedom)
    drawn = np.tile([[-1.0], [1.0]], 3)
    found = gains(np.array([end, 0, -end]) / 10, drawn / 10, number)
    assert found.better == pytest.approx([0.975, 0.5, 0.025], abs=0.001)


def test_images_without_any_class_do_not_make_a_mean_surer():
    """Of one class the mean is as sure as the class."""
    rng = np.random.default_rng(0)
    union = rng.integers(50, 90, (30, 1)) * (np.arange(30) % 3 > 0)[:, None]
    pixels = as_pixels((union * 0.7).astype(np.int64), union)
    mean, classes = score_run(pixels, np.arange(30))
    assert (mean.low, mean.high) == (classes.low[0], classes.high[0])


@pytest.mark.parametrize(
    ('p_value', 'expected'),
    [
        # 4 * 0.005, 3 * 0.01, 2 * 0.03, 0.04 raised to that before.
        pytest.param(
            [0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02], id='four'
        ),
        pytest.param([0.4, 0.3, 0.9], [0.9, 0.9, 0.9], id='capped'),
        pytest.param([0.9, 0.6], [1.0, 1.0], id='at most 1'),
        pytest.param([math.nan, 0.02, 0.03], [math.nan, 0.04, 0.04], id='nan'),
        pytest.param([0.04], [0.04], id='one'),
        pytest.param([], [], id='none'),
    ],
)
def test_holm(p_value, expected):
    corrected = holm(np.array(p_value, float))
    np.testing.assert_allclose(corrected, expected, rtol=1e-12)


def test_stars():
    values = (0.0005, 0.005, 0.02, 0.05, 0.7, math.nan)
    assert [stars(value) for value in values] == ['***', '**', '*'] + [''] * 3
