"""Whether one run is better than another on the same images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmseg_ext.evaluation.errors import kind_shares
from mmseg_ext.formats.run_records import (
    Counts,
    Meta,
    read_counts,
    read_meta,
)
from mmseg_ext.report.bootstrap import (
    RESAMPLES,
    Estimates,
    Gains,
    compare_runs,
    fewest_resamples,
    holm,
    score_run,
)
from mmseg_ext.report.scores import (
    Pixels,
    count_pixels,
    image_iou,
    included_classes,
    sum_by_class,
)
from mmseg_ext.report.sequences import Sequences, find_sequences

__all__ = ['Comparison', 'Run', 'compare']

#: More resamples than these are not proposed: they take minutes.
_MOST_RESAMPLES = 100_000

#: What has to be the same in two runs, and what it is.
_SAME = {
    'task': 'the task',
    'classes': 'the number of classes',
    'ignore_index': 'the label that is ignored',
    'boundary_share': 'the width of boundaries',
    'images': 'the number of images',
}


class _Draws(NamedTuple):
    """What is drawn: see :func:`compare`."""

    cluster: str | None
    resamples: int
    seed: int


class Run(NamedTuple):
    """One of the two runs.

    Attributes:
        folder: Its directory.
        meta: What it says of itself.
        order: int64 (N,), the number of each image in it, in the order of
            run A.
    """

    folder: Path
    meta: Meta
    order: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """What a run B is better by than a run A.

    Attributes:
        runs: A and B.
        score: Name of the score of a class.
        mean_score: That of the mean over the classes.
        sequences: Of the images.
        resamples: How many there were.
        included: bool (C,), the classes that the means go over.
        means: Of A and B.
        classes: (C,) of A and B.
        mean_gain: B minus A.
        class_gains: The same (C,).
        corrected: float64 (C,), p-values of the classes after Holm's
            correction.
        names: Of the images.
        image_scores: float64 (2, N), of each image by itself; NaN where it is
            not defined.
        kinds: float64 (2, C, 2, K), the parts of the IoU that are missing by
            missed and invented pixels of each kind; None for instances.
        notes: What whoever reads the numbers should know.
    """

    runs: tuple[Run, Run]
    score: str
    mean_score: str
    sequences: Sequences
    resamples: int
    included: np.ndarray
    means: tuple[Estimates, Estimates]
    classes: tuple[Estimates, Estimates]
    mean_gain: Gains
    class_gains: Gains
    corrected: np.ndarray
    names: Sequence[str]
    image_scores: np.ndarray
    kinds: np.ndarray | None = None
    notes: Sequence[str] = ()


def compare(
    run_a: str | os.PathLike[str],
    run_b: str | os.PathLike[str],
    cluster: str | None = None,
    bootstrap: int = RESAMPLES,
    seed: int = 0,
    exclude: Sequence[str] = (),
) -> Comparison:
    """Compare two runs.

    Args:
        run_a: Run directory of A.
        run_b: That of B, on the same images.
        cluster: How names tell sequences; see :func:`find_sequences`.
        bootstrap: How many resamples are drawn, 1 or more.
        seed: Of the draws, 0 or more.
        exclude: Classes that the means leave out.

    Raises:
        ValueError: The runs are not of the same images, labels or classes, a
            directory is none or broken, or an argument does not fit.
        OSError: A file cannot be read.
    """
    for name, value, least in (('bootstrap', bootstrap, 1), ('seed', seed, 0)):
        if value < least:
            raise ValueError(f'{name}={value}: expected {least} or more')
    folders = Path(run_a), Path(run_b)
    metas = read_meta(folders[0]), read_meta(folders[1])
    _check_metas(folders, metas)
    included = included_classes(metas[0].classes, exclude)
    draws = _Draws(cluster, bootstrap, seed)
    return _compare_semantic(folders, metas, included, draws)


def _check_metas(folders: tuple[Path, Path], metas: tuple[Meta, Meta]) -> None:
    """Refuse runs that cannot be compared, as far as their metas tell."""
    one, other = metas
    for index, (first, second) in enumerate(
        zip(one.classes, other.classes, strict=False)
    ):
        if first != second:
            raise _differ(folders, f'class {index}', (first, second))
    for name, what in _SAME.items():
        values = getattr(one, name), getattr(other, name)
        if name == 'classes':
            values = len(values[0]), len(values[1])
        if values[0] != values[1]:
            raise _differ(folders, what, values)
    if not one.images:
        raise ValueError(f'{folders[0]} has no images, so nothing to compare')


def _differ(
    folders: tuple[Path, Path], what: str, values: tuple[object, object]
) -> ValueError:
    """Return the error of two runs that differ."""
    return ValueError(
        f'{folders[0]} and {folders[1]} are not of the same images, labels '
        f'and classes: {what} is {values[0]!r} in the first and '
        f'{values[1]!r} in the second; expected two runs on one data set'
    )


def _order(
    folders: tuple[Path, Path], first: Sequence[str], second: Sequence[str]
) -> np.ndarray:
    """Return where the images of A are in B, int64 (N,)."""
    places = {name: index for index, name in enumerate(second)}
    for index, name in enumerate(first):
        if name not in places:
            raise _differ(folders, f'image {index}', (name, second[index]))
    return np.array([places[name] for name in first], np.int64)


def _compare_semantic(
    folders: tuple[Path, Path],
    metas: tuple[Meta, Meta],
    included: np.ndarray,
    draws: _Draws,
) -> Comparison:
    """Compare two runs of semantic segmentation."""
    counts = (
        read_counts(folders[0], metas[0]),
        read_counts(folders[1], metas[1]),
    )
    names = counts[0].names.tolist()
    order = _order(folders, names, counts[1].names.tolist())
    classes = len(metas[0].classes)
    _check_labels(folders, counts, order, classes)
    first, second = (count_pixels(each, classes) for each in counts)
    second = Pixels(*(array[order] for array in second))
    sequences = find_sequences(names, metas[0].dataset, draws.cluster)
    scored = [
        score_run(
            each, sequences.clusters, included, draws.resamples, draws.seed
        )
        for each in (first, second)
    ]
    mean_gain, class_gains = compare_runs(
        first,
        second,
        sequences.clusters,
        included,
        draws.resamples,
        draws.seed,
    )
    return Comparison(
        runs=(
            Run(folders[0], metas[0], np.arange(len(names))),
            Run(folders[1], metas[1], order),
        ),
        score='IoU',
        mean_score='mIoU',
        sequences=sequences,
        resamples=draws.resamples,
        included=included,
        means=(scored[0][0], scored[1][0]),
        classes=(scored[0][1], scored[1][1]),
        mean_gain=mean_gain,
        class_gains=class_gains,
        corrected=holm(class_gains.p_value),
        names=names,
        image_scores=np.stack(
            [image_iou(each, included) for each in (first, second)]
        ),
        kinds=np.stack(
            [
                kind_shares(pixels.hit.sum(0), sum_by_class(each, classes)[1])
                for pixels, each in zip((first, second), counts, strict=True)
            ]
        ),
        notes=_notes(metas, sequences, class_gains, draws),
    )


def _check_labels(
    folders: tuple[Path, Path],
    counts: tuple[Counts, Counts],
    order: np.ndarray,
    classes: int,
) -> None:
    """Refuse labels that differ, as far as their pixels tell.

    Compared are sizes and, of each class, the pixels of the label, and those
    near its boundary.
    """
    one, other = (_label_pixels(each, classes) for each in counts)
    different = (counts[0].sizes != counts[1].sizes[order]).any(1)
    for index in np.flatnonzero(different)[:1]:
        sizes = [
            '{1}x{0}'.format(*each.sizes[place])
            for each, place in zip(counts, (index, order[index]), strict=True)
        ]
        what = f'the size of the label of {counts[0].names[index]}'
        raise _differ(folders, what, (sizes[0], sizes[1]))
    for index, label, kind in np.argwhere(one != other[order])[:1]:
        name, near = counts[0].names[index], ('', ' near its boundary')[kind]
        what = f'the number of pixels{near} of class {label} in the label of '
        values = one[index, label, kind], other[order[index], label, kind]
        raise _differ(folders, what + name, (int(values[0]), int(values[1])))


def _label_pixels(counts: Counts, classes: int) -> np.ndarray:
    """Return pixels of each class, and near its boundary, int64 (N, C, 2)."""
    table = np.zeros((len(counts.names), classes, 2), np.int64)
    image = np.repeat(np.arange(len(table)), np.diff(counts.pair_ptr))
    np.add.at(table[..., 0], (image, counts.pairs[:, 0]), counts.pairs[:, 2])
    image = np.repeat(np.arange(len(table)), np.diff(counts.class_ptr))
    table[image, counts.class_index, 1] = counts.boundary[:, 1]
    return table


def _notes(
    metas: tuple[Meta, Meta],
    sequences: Sequences,
    classes: Gains,
    draws: _Draws,
) -> list[str]:
    """Return what whoever reads the numbers should know."""
    notes = [sequences.text]
    checkpoints = {meta.checkpoint_hash for meta in metas}
    if len(checkpoints) == 1 and checkpoints != {''}:
        notes.append('Both runs are of the same checkpoint.')
    if sequences.number < 2:
        notes.append(
            'One sequence alone says nothing about others, so there are no '
            'intervals: compare on more sequences, or name shorter ones by '
            '--cluster.'
        )
        return notes
    tests = int((~np.isnan(classes.p_value)).sum())
    needed = fewest_resamples(tests, sequences.number)
    if tests and (needed is None or needed > draws.resamples):
        notes.append(
            f'No class can have a star, however large its difference: '
            f'{sequences.number} sequences and {draws.resamples} resamples '
            f'cannot tell that much of {tests} classes.'
            + (
                f' With --bootstrap {needed} they can.'
                if needed and needed <= _MOST_RESAMPLES
                else ''
            )
        )
    return notes
