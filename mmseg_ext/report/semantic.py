"""The page of a semantic run: where its errors are."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmseg_ext.evaluation.errors import boundary_width
from mmseg_ext.formats.run_records import (
    Counts,
    Meta,
    read_counts,
    read_meta,
)
from mmseg_ext.report.bootstrap import RESAMPLES
from mmseg_ext.report.frame import IMAGES, curve_pictures, facts, title
from mmseg_ext.report.pictures import Album
from mmseg_ext.report.semantic_numbers import Numbers
from mmseg_ext.report.sequences import find_sequences, interval_text
from mmseg_ext.visualization import web_page
from mmseg_ext.visualization.web_page import Picture

__all__ = ['write_page']

_TEMPLATE = Path(__file__).with_name('templates') / 'report.html'

#: Confusions of which parts of images are shown, parts of each, and suspects.
_PAIRS, _PARTS, _SUSPECTS = 10, 2, 24

#: Characters that pictures of confusions, of suspects and of whole images
#: take: the page stays below 6 MB.
_CONFUSION_ROOM, _SUSPECT_ROOM, _IMAGE_ROOM = 500_000, 600_000, 3_600_000


class _Confusion(NamedTuple):
    """A confusion with pictures.

    Attributes:
        label: Name of the class.
        prediction: Name of that it is taken for.
        pictures: Parts of images.
    """

    label: str
    prediction: str
    pictures: Sequence[Picture]


def write_page(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    images: int = IMAGES,
    cluster: str | None = None,
    work_dir: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Write the page of a run directory, whole or not at all.

    Args:
        folder: The run directory of a segmentor.
        path: The file to write. Missing parent folders are made.
        images: So many of the worst images are shown.
        cluster: How names tell sequences; see :func:`find_sequences`.
        work_dir: Of the training, whose curves are shown; by default that of
            the run, or of its checkpoint.

    Returns:
        What the page goes without, a sentence each.

    Raises:
        ValueError: The counts do not fit, or ``cluster`` does not.
        OSError: A file cannot be read or written.
    """
    meta = read_meta(folder)
    counts = read_counts(folder, meta)
    sequences = find_sequences(counts.names.tolist(), meta.dataset, cluster)
    numbers = Numbers(meta, counts, sequences.clusters, RESAMPLES)
    album = Album(folder, meta, counts, _CONFUSION_ROOM)
    curves, notes = curve_pictures(meta, work_dir)
    # In this order room goes to what says most for its size.
    confusions = list(_confusions(numbers, meta, album))
    album.give(_SUSPECT_ROOM)
    suspects = list(_suspects(counts, meta, album))
    album.give(_IMAGE_ROOM)
    worst = dict(_worst(numbers, album, images))
    notes = [*album.notes(), *notes]
    calibration = numbers.calibration()
    web_page.write_page(
        path,
        _TEMPLATE,
        name=title(meta),
        facts=[*facts(meta), *_edge_fact(meta, counts)],
        chips=numbers.chips(),
        sequences=interval_text(sequences),
        notes=notes,
        kinds=numbers.kinds(),
        kind_chart=numbers.kind_chart(),
        class_chart=numbers.class_chart(),
        classes=numbers.class_table(),
        matrix=numbers.confusion(),
        pairs=numbers.pair_table(),
        confusions=confusions,
        worst=list(worst.values()),
        images=numbers.image_table(list(worst)),
        scatters=numbers.scatters(),
        calibration=calibration,
        suspects=suspects,
        suspect_number=len(counts.suspects),
        training=curves,
    )
    return notes


def _edge_fact(meta: Meta, counts: Counts) -> Iterator[tuple[str, str]]:
    """Yield how far from an edge errors are those of a boundary."""
    widths = [
        boundary_width((height, width), meta.boundary_share)
        for height, width in np.unique(counts.sizes, axis=0).tolist()
    ]
    if widths:
        low, high = min(widths), max(widths)
        some = f'{low}' if low == high else f'{low} to {high}'
        yield (
            'near an edge',
            f'{some} pixels, {100 * meta.boundary_share:g} % of the diagonal',
        )


def _confusions(
    numbers: Numbers, meta: Meta, album: Album
) -> Iterator[_Confusion]:
    """Yield the most frequent confusions with parts of images."""
    for label, prediction, _ in numbers.pairs()[:_PAIRS]:
        pictures = []
        for index in numbers.images_with(label, prediction)[:_PARTS]:
            box = album.largest(index, label, prediction)
            picture = box and album.part(index, box, '')
            if picture:
                pictures.append(picture)
        if pictures:
            names = meta.classes[label], meta.classes[prediction]
            yield _Confusion(*names, pictures)


def _suspects(counts: Counts, meta: Meta, album: Album) -> Iterator[Picture]:
    """Yield where labels may be wrong, the largest first."""
    rows = counts.suspects
    order = np.argsort(-rows[:, 7], kind='stable')[:_SUSPECTS]
    for index, *box, label, prediction, pixels, sure in rows[order].tolist():
        note = (
            f'labeled {meta.classes[label]}, predicted '
            f'{meta.classes[prediction]}: {pixels:,} pixels'
        )
        if sure >= 0:
            note += f', confidence {sure / 1000:.2f}'
        if picture := album.part(index, box, note):
            yield picture


def _worst(
    numbers: Numbers, album: Album, images: int
) -> Iterator[tuple[int, Picture]]:
    """Yield the worst images that have an error."""
    for index in numbers.worst()[:images]:
        if numbers.images[index] == 1:
            return
        note = numbers.image_text(index)
        picture = album.whole(index, note, f'image-{index}')
        if picture is None:
            return
        yield index, picture
