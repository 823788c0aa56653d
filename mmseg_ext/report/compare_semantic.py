"""Whether one run of semantic segmentation is better than another."""

from pathlib import Path

import numpy as np

from mmseg_ext.evaluation.errors import kind_shares
from mmseg_ext.formats.run_records import Counts, Meta, read_counts
from mmseg_ext.report.bootstrap import compare_runs, holm, score_run
from mmseg_ext.report.comparison import (
    Comparison,
    Draws,
    Run,
    differ,
    find_images,
    notes_of,
)
from mmseg_ext.report.scores import (
    Pixels,
    count_pixels,
    image_iou,
    sum_by_class,
)
from mmseg_ext.report.sequences import find_sequences

__all__ = ['compare_semantic']


def compare_semantic(
    folders: tuple[Path, Path],
    metas: tuple[Meta, Meta],
    included: np.ndarray,
    draws: Draws,
) -> Comparison:
    """Compare two runs of semantic segmentation.

    Args:
        folders: Run directories of A and B.
        metas: Of both, of the same classes.
        included: bool (C,), the classes that the means go over.
        draws: For the intervals.

    Raises:
        ValueError: The images or labels differ, or a file is broken.
        OSError: A file cannot be read.
    """
    counts = (
        read_counts(folders[0], metas[0]),
        read_counts(folders[1], metas[1]),
    )
    names = counts[0].names.tolist()
    order = find_images(folders, names, counts[1].names.tolist())
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
        image_score='mIoU',
        image_scores=np.stack(
            [image_iou(each, included) for each in (first, second)]
        ),
        kinds=np.stack(
            [
                kind_shares(pixels.hit.sum(0), sum_by_class(each, classes)[1])
                for pixels, each in zip((first, second), counts, strict=True)
            ]
        ),
        notes=notes_of(folders, metas, sequences),
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
        raise differ(folders, what, (sizes[0], sizes[1]))
    for index, label, kind in np.argwhere(one != other[order])[:1]:
        name, near = counts[0].names[index], ('', ' near its boundary')[kind]
        what = f'the number of pixels{near} of class {label} in the label of '
        values = one[index, label, kind], other[order[index], label, kind]
        raise differ(folders, what + name, (int(values[0]), int(values[1])))


def _label_pixels(counts: Counts, classes: int) -> np.ndarray:
    """Return pixels of each class, and near its boundary, int64 (N, C, 2)."""
    table = np.zeros((len(counts.names), classes, 2), np.int64)
    image = np.repeat(np.arange(len(table)), np.diff(counts.pair_ptr))
    np.add.at(table[..., 0], (image, counts.pairs[:, 0]), counts.pairs[:, 2])
    image = np.repeat(np.arange(len(table)), np.diff(counts.class_ptr))
    table[image, counts.class_index, 1] = counts.boundary[:, 1]
    return table
