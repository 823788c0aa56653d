"""The page of a detector's run: one HTML file, to be opened and sent on."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_ext.formats.instance_records import Instances, read_instances
from mmseg_ext.formats.run_records import Meta, read_meta
from mmseg_ext.report import instance_numbers as numbers
from mmseg_ext.report.bootstrap import RESAMPLES
from mmseg_ext.report.frame import IMAGES, curve_pictures, facts, title
from mmseg_ext.report.instance_pictures import InstanceAlbum
from mmseg_ext.report.instance_scores import (
    Mistake,
    Shown,
    bootstrap_scores,
    score,
    score_shown,
)
from mmseg_ext.report.sequences import find_sequences, interval_text
from mmseg_ext.visualization import web_page
from mmseg_ext.visualization.web_page import Picture

__all__ = ['instance_sections', 'write_page']

_TEMPLATE = Path(__file__).with_name('templates') / 'instances.html'

#: Characters that the pictures of each part may take: a page of more than
#: 6 MB opens slowly, and cannot be sent by mail.
_SUSPECT_ROOM, _CONFUSION_ROOM, _WORST_ROOM = 800_000, 400_000, 3_500_000

#: Parts of images that are shown of missing and of wrong labels each, and of
#: confusions.
_SUSPECTS, _CONFUSIONS = 12, 10

#: What is counted object by object.
_SHOWN = (
    'Found is what a detection with a score of at least {:.2f} overlaps by '
    'half or more.'
)

#: Detections times resamples, so that the intervals take a few seconds at
#: most, and the fewest resamples that give any.
_DRAWS, _FEWEST = 20_000_000, 200

#: A label is suspect where a detection with this score says otherwise.
_SURE = 0.5


def write_page(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    images: int = IMAGES,
    cluster: str | None = None,
    work_dir: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Write the page of a run directory, whole or not at all.

    Args:
        folder: The run directory of a detector.
        path: The file to write. Missing parent folders are made.
        images: So many of the worst images are shown.
        cluster: How names tell sequences; see
            :func:`~mmseg_ext.report.sequences.find_sequences`.
        work_dir: Of the training, whose curves are shown; by default that of
            the run, or of its checkpoint.

    Returns:
        What the page goes without, a sentence each.

    Raises:
        ValueError: A file of the run directory is broken, or ``cluster`` does
            not fit.
        OSError: One is not there, or the page cannot be written.
    """
    meta = read_meta(folder)
    curves, notes = curve_pictures(meta, work_dir)
    sections = instance_sections(meta, folder, images, cluster)
    notes = [*sections.pop('notes'), *notes]
    web_page.write_page(
        path, _TEMPLATE, **sections, training=curves, notes=notes
    )
    return notes


def instance_sections(
    meta: Meta,
    folder: str | os.PathLike[str],
    images: int = IMAGES,
    cluster: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what the template ``instances.html`` names, but for curves.

    Args:
        meta: Of the run.
        folder: The run directory.
        images: So many of the worst images are shown.
        cluster: How names tell sequences; see
            :func:`~mmseg_ext.report.sequences.find_sequences`.
        resamples: How many are drawn for the intervals at most.
        seed: Of the draws.

    Raises:
        ValueError: A file of the run directory is broken, or ``cluster`` does
            not fit.
        OSError: One is not there.
    """
    instances = read_instances(folder, meta)
    names = meta.classes
    kinds = ['segm', 'bbox'] if instances.has_masks else ['bbox']
    all_scores = [score(instances, len(names), kind) for kind in kinds]
    scores = all_scores[0]
    shown = score_shown(instances, len(names), scores.kind, scores.least_shown)
    drawn = _DRAWS // max(len(instances.detections), 1)
    drawn = min(resamples, max(drawn, _FEWEST))
    sequences = find_sequences(
        [image.file_name for image in instances.images], meta.dataset, cluster
    )
    mean, classes = bootstrap_scores(scores, sequences.clusters, drawn, seed)
    pairs = numbers.confusions(shown)
    album = _Pages(meta, instances, shown, images)
    suspects = album.suspects()
    confused = album.confused(pairs)
    worst = album.worst()
    return {
        'name': title(meta),
        'facts': [*facts(meta), *_counts(instances)],
        'kind': 'masks' if scores.kind == 'segm' else 'boxes',
        'shown': _SHOWN.format(shown.least),
        'sure': f'{_SURE:.2f}',
        'sequences': interval_text(sequences),
        'chips': numbers.chips(scores, mean, shown),
        'scores': numbers.score_table(all_scores),
        'class_chart': numbers.class_chart(names, classes),
        'classes': numbers.class_table(names, scores, classes),
        'curves': numbers.mean_curves(scores),
        'class_curves': numbers.class_curves(names, scores),
        'error_chart': numbers.error_chart(scores),
        'errors': numbers.error_table(scores),
        'matrix': numbers.confusion_matrix(names, shown),
        'confusions': numbers.confusion_table(names, pairs, shown),
        'confused': confused,
        'worst': worst,
        'images': numbers.image_table(instances, shown, album.links),
        'scatters': numbers.image_charts(instances, shown),
        'crowds': numbers.crowd_table(scores),
        'calibration': numbers.calibration(scores),
        'missing': suspects['missing'],
        'wrong': suspects['wrong'],
        'suspects': album.suspect_counts,
        'notes': [
            *_scoring_notes(instances, drawn, resamples),
            *album.notes(),
        ],
    }


def _counts(instances: Instances) -> Iterator[tuple[str, str]]:
    """Yield how much was labeled, and found."""
    crowds = sum(bool(label.iscrowd) for label in instances.labels)
    yield 'objects', f'{len(instances.labels) - crowds:,}'
    if crowds:
        yield 'crowds', f'{crowds:,}, on which detections do not count'
    yield 'detections', f'{len(instances.detections):,} of all scores'


def _scoring_notes(
    instances: Instances, drawn: int, resamples: int
) -> Iterator[str]:
    """Yield what is another way than one expects."""
    if all(label.iscrowd for label in instances.labels):
        yield 'No object is labeled, so there are no scores.'
    if instances.maskless:
        yield instances.maskless
    if drawn < resamples:
        yield (
            f'Intervals are from {drawn:,} resamples in place of '
            f'{resamples:,}, as there are many detections.'
        )


class _Pages:
    """Chooses the pictures of a page, and draws them.

    Args:
        meta: Of the run.
        instances: Its labels and detections.
        shown: What of them is right.
        images: So many of the worst images are shown.

    Attributes:
        links: Ids of pictures by the number of the image.
        suspect_counts: How many labels are missing or wrong.
    """

    def __init__(
        self, meta: Meta, instances: Instances, shown: Shown, images: int
    ) -> None:
        self._meta, self._instances, self._shown = meta, instances, shown
        self._images = images
        self._album = InstanceAlbum(meta, instances, shown, 0)
        self.links: dict[int, str] = {}
        self.suspect_counts: dict[str, int] = {}
        self.notes = self._album.notes

    def suspects(self) -> dict[str, list[Picture]]:
        """Return pictures of labels that may be missing or wrong."""
        kinds: dict[str, list[Mistake]] = {'missing': [], 'wrong': []}
        for mistake in self._shown.mistakes:
            detection = self._instances.detections[mistake.detection]
            if detection.score >= _SURE:
                kind = 'missing' if mistake.label is None else 'wrong'
                kinds[kind].append(mistake)
        found = {}
        for kind, mistakes in kinds.items():
            self.suspect_counts[kind] = len(mistakes)
            self._album.give(_SUSPECT_ROOM // 2)
            found[kind] = self._parts(mistakes[:_SUSPECTS])
        return found

    def confused(self, pairs: list[tuple[int, int, int]]) -> list[Picture]:
        """Return a picture of each of the most frequent confusions.

        Args:
            pairs: Label, other class and how often.
        """
        examples: dict[tuple[int, int], Mistake] = {}
        for mistake in self._shown.mistakes:
            if mistake.label is not None:
                label = self._instances.labels[mistake.label]
                detection = self._instances.detections[mistake.detection]
                pair = label.category_id, detection.category_id
                examples.setdefault(pair, mistake)
        self._album.give(_CONFUSION_ROOM)
        chosen = [
            examples[label, other]
            for label, other, _ in pairs
            if (label, other) in examples
        ]
        return self._parts(chosen[:_CONFUSIONS])

    def _parts(self, mistakes: list[Mistake]) -> list[Picture]:
        """Draw what detections and labels say of a place."""
        pictures = []
        for number, other in mistakes:
            detection = self._instances.detections[number]
            boxes = [detection.bbox]
            name = self._meta.classes[detection.category_id]
            note = f'found: {name} with a score of {detection.score:.2f}'
            if other is not None:
                label = self._instances.labels[other]
                boxes.append(label.bbox)
                note += f'; label: {self._meta.classes[label.category_id]}'
            picture = self._album.part(detection.image_id, boxes, note)
            if picture:
                pictures.append(picture)
        return pictures

    def worst(self) -> list[Picture]:
        """Return pictures of the worst images, the worst first."""
        shown = self._shown
        errors = shown.invented + shown.missed
        order = np.lexsort((-errors, shown.f1))
        wrong = [k for k in order.tolist() if errors[k]]
        self._album.give(_WORST_ROOM)
        pictures = []
        for index in wrong[: self._images]:
            note = (
                f'{shown.right[index]} found, {shown.missed[index]} missed, '
                f'{shown.invented[index]} invented'
            )
            link = f'image-{index}'
            picture = self._album.whole(index, note, link)
            if picture is None:
                break
            self.links[index] = link
            pictures.append(picture)
        return pictures
