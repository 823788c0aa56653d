"""Whether one run of a detector is better than another.

Matches are made once, image by image; a resample weighs the images anew.
"""

import hashlib
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np

from mmseg_ext.formats.instance_records import Instances, read_instances
from mmseg_ext.formats.run_records import Meta
from mmseg_ext.report.bootstrap import (
    count_any,
    count_clusters,
    gains,
    holm,
    resample_weights,
    score_intervals,
)
from mmseg_ext.report.comparison import (
    Comparison,
    Detected,
    Draws,
    Run,
    differ,
    find_images,
    notes_of,
)
from mmseg_ext.report.instance_scores import (
    mean_where_known,
    resample_scores,
    score,
    score_shown,
)
from mmseg_ext.report.sequences import find_sequences

__all__ = ['compare_instances']

#: What is compared, by the names of COCO.
_SCORES = {'bbox': 'box AP', 'segm': 'mask AP'}


def compare_instances(
    folders: tuple[Path, Path],
    metas: tuple[Meta, Meta],
    included: np.ndarray,
    draws: Draws,
) -> Comparison:
    """Compare two runs of a detector, by masks where both have them.

    Args:
        folders: Run directories of A and B.
        metas: Of both, of the same classes.
        included: bool (C,), the classes that the means go over.
        draws: For the intervals.

    Raises:
        ValueError: The images or labels differ, or a file is broken.
        OSError: A file cannot be read.
    """
    both = [
        read_instances(folder, meta)
        for folder, meta in zip(folders, metas, strict=True)
    ]
    names = [image.file_name for image in both[0].images]
    order = find_images(
        folders, names, [image.file_name for image in both[1].images]
    )
    _check_labels(folders, (both[0], both[1]), order)
    kind = 'segm' if all(each.has_masks for each in both) else 'bbox'
    classes = len(metas[0].classes)
    scores = [score(each, classes, kind) for each in both]
    sequences = find_sequences(names, metas[0].dataset, draws.cluster)
    weights = resample_weights(sequences.clusters, draws.resamples, draws.seed)
    places = np.arange(len(names)), order
    values, drawn = [], []
    for each, place in zip(scores, places, strict=True):
        values.append(each.class_ap[:, 0])
        own = weights[:, np.argsort(place)]
        drawn.append(resample_scores(each.matches, own)[..., 0])
    means = [mean_where_known(each[included]) for each in values]
    mean_draws = [
        mean_where_known(each[:, included], axis=1) for each in drawn
    ]
    number = count_any(scores[0].objects, sequences.clusters, included)
    having = count_clusters(scores[0].objects, sequences.clusters)
    class_gains = gains(values[1] - values[0], drawn[1] - drawn[0], having)
    estimates = [
        [
            score_intervals(np.asarray(value), each, count)
            for value, each in zip(first, second, strict=True)
        ]
        for first, second, count in (
            (means, mean_draws, number),
            (values, drawn, having),
        )
    ]
    detected = [
        Detected(
            each,
            score_shown(each, classes, kind, result.least_shown),
            result.errors,
        )
        for each, result in zip(both, scores, strict=True)
    ]
    return Comparison(
        runs=(
            Run(folders[0], metas[0], places[0]),
            Run(folders[1], metas[1], places[1]),
        ),
        score=_SCORES[kind],
        mean_score=f'mean {_SCORES[kind]}',
        sequences=sequences,
        resamples=draws.resamples,
        included=included,
        means=(estimates[0][0], estimates[0][1]),
        classes=(estimates[1][0], estimates[1][1]),
        mean_gain=gains(
            means[1] - means[0], mean_draws[1] - mean_draws[0], number
        ),
        class_gains=class_gains,
        corrected=holm(class_gains.p_value),
        names=names,
        image_score='F1 at IoU 0.5',
        image_scores=np.stack(
            [
                each.shown.f1[place]
                for each, place in zip(detected, places, strict=True)
            ]
        ),
        detected=(detected[0], detected[1]),
        notes=[
            *notes_of(folders, metas, sequences),
            *filter(None, (each.maskless for each in both)),
            'F1 and pictures have the detections with a score of at least '
            f'{scores[0].least_shown:.2f} in A and '
            f'{scores[1].least_shown:.2f} in B.',
        ],
    )


def _check_labels(
    folders: tuple[Path, Path],
    both: tuple[Instances, Instances],
    order: np.ndarray,
) -> None:
    """Refuse labels that differ: sizes of images, and all that scores need."""
    tables = [_labels(each) for each in both]
    for index, image in enumerate(both[0].images):
        other = both[1].images[order[index]]
        sizes = (
            f'{image.width}x{image.height}',
            f'{other.width}x{other.height}',
        )
        if sizes[0] != sizes[1]:
            raise differ(folders, f'the size of {image.file_name}', sizes)
        first, second = tables[0][index], tables[1][order[index]]
        if first != second:
            lost, new = first - second, second - first
            keys = [next(iter(each), None) for each in (lost, new)]
            what = f'a label of {image.file_name} (class, box, area, crowd)'
            values = [key and key[:-1] for key in keys]
            if values[0] == values[1]:
                what = f'the mask of a label of {image.file_name}'
                values = [key and key[-1] for key in keys]
            raise differ(folders, what, (values[0], values[1]))


def _labels(instances: Instances) -> list[Counter[tuple[object, ...]]]:
    """Return what tells the labels of each image apart."""
    tables: list[Counter[tuple[object, ...]]] = [
        Counter() for _ in instances.images
    ]
    for label in instances.labels:
        mask = msgspec.json.encode(label.segmentation)
        digest = f'SHA-256 {hashlib.sha256(mask).hexdigest()[:12]}'
        key = label.category_id, *label.bbox, label.area, label.iscrowd
        tables[label.image_id][(*key, digest)] += 1
    return tables
