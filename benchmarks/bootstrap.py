"""Comparison of two runs of 500 images with 25 classes, by 2,000 resamples.

The baseline draws images, adds up their counts and scores them in a loop, as
it is written down first. Both have the same draws, which is checked.

Run by itself it prints seconds, also for 10,000 images.
"""

from functools import partial

import numpy as np

from mmseg_ext.report.bootstrap import RESAMPLES, compare_runs, resample_sums
from mmseg_ext.report.scores import Pixels
from timing import Row, interleaved, timed

IMAGES, CLASSES = 500, 25
MANY = 10_000

#: Draws of the baseline: with all of them a round takes minutes.
DRAWN = RESAMPLES // 20
ROUNDS = 7


def run() -> list[Row]:
    """Time both, after a check that they find the same sums."""
    first, second = make_run(IMAGES, 1), make_run(IMAGES, 2)
    counts = np.hstack([first.hit, first.union, second.hit, second.union])
    ours = resample_sums(counts, np.arange(IMAGES), DRAWN, 0)
    if (ours != in_a_loop(counts)[0]).any():
        raise AssertionError('ours and the loop find other sums')
    compare = partial(compare_runs, first, second, np.arange(IMAGES))
    seconds = interleaved(
        {'ours': compare, 'loop': partial(in_a_loop, counts)}, ROUNDS
    )
    return [
        Row(
            f'comparison, {RESAMPLES:,} resamples of {IMAGES} images',
            'a loop over resamples',
            seconds['ours'],
            seconds['loop'] * RESAMPLES / DRAWN,
        )
    ]


def make_run(images: int, seed: int) -> Pixels:
    """Return pixels of a run; half of the classes are in an image."""
    rng = np.random.default_rng(seed)
    labeled = rng.integers(0, 100_000, (images, CLASSES))
    labeled *= rng.random(labeled.shape) < 0.5
    hit = rng.binomial(labeled, 0.8)
    return Pixels(hit, labeled, hit + rng.integers(0, 9000, labeled.shape))


def in_a_loop(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw images one resample after the other, and score both runs.

    Args:
        counts: int64 (N, 4 * C), hits and unions of A and of B.

    Returns:
        The sums, (R, 4 * C), and what B is better by, (R,).
    """
    rng = np.random.default_rng(0)
    sums, gains = [], []
    for _ in range(DRAWN):
        drawn = rng.integers(len(counts), size=len(counts))
        total = counts[drawn].sum(0)
        hit_a, union_a, hit_b, union_b = np.split(total, 4)
        ious = [
            np.nanmean(np.where(union > 0, hit / np.maximum(union, 1), np.nan))
            for hit, union in ((hit_a, union_a), (hit_b, union_b))
        ]
        sums.append(total)
        gains.append(ious[1] - ious[0])
    return np.array(sums), np.array(gains)


def main() -> None:
    """Print seconds."""
    for images in (IMAGES, MANY):
        pair = make_run(images, 1), make_run(images, 2)
        seconds = timed(compare_runs, *pair, np.arange(images))
        print(f'{images:,} images, {RESAMPLES:,} resamples: {seconds:.2f} s')


if __name__ == '__main__':
    main()
