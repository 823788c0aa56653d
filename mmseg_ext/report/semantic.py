"""The page of a semantic run: where its errors are."""

import math
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
from mmseg_ext.report.pictures import Album
from mmseg_ext.report.semantic_numbers import Numbers
from mmseg_ext.report.sequences import find_sequences
from mmseg_ext.utils.images import decode_image
from mmseg_ext.visualization import web_page
from mmseg_ext.visualization.curves import draw_curves, encode_figure
from mmseg_ext.visualization.logs import read_work_dir
from mmseg_ext.visualization.web_page import Picture, webp_uri

__all__ = ['IMAGES', 'curve_pictures', 'write_page']

_TEMPLATE = Path(__file__).with_name('templates') / 'report.html'

#: Images that are shown where nothing else is asked for.
IMAGES = 60

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
        name=_title(meta),
        facts=list(_facts(meta, counts)),
        chips=numbers.chips(),
        sequences=sequences.text,
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
        curves=curves,
    )
    return notes


def _title(meta: Meta) -> str:
    """Return what the page is about, in a few words."""
    config = Path(meta.config).stem or 'a model'
    return f'{config} on {meta.dataset or "its data"}'


def _facts(meta: Meta, counts: Counts) -> Iterator[tuple[str, str]]:
    """Yield whose run it is."""
    yield 'data', f'{meta.dataset or "unknown"}, {meta.split}'
    number = len(counts.names)
    yield 'images', f'{number:,} of {len(meta.classes)} classes'
    if meta.config:
        yield 'config', _hashed(meta.config, meta.config_hash)
    if meta.checkpoint:
        yield 'checkpoint', _hashed(meta.checkpoint, meta.checkpoint_hash)
    if meta.iteration is not None:
        yield 'iteration', f'{meta.iteration:,}'
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


def _hashed(path: str, digest: str) -> str:
    return f'{path} (SHA-256 {digest[:12]}…)' if digest else path


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


def curve_pictures(
    meta: Meta, work_dir: str | os.PathLike[str] | None = None
) -> tuple[list[Picture], list[str]]:
    """Return the curves of the training that a run is of.

    Args:
        meta: Of the run.
        work_dir: Of the training; by default that of the run, or of its
            checkpoint.

    Returns:
        A picture, if there are curves, and what was left out.

    Raises:
        OSError: ``work_dir`` was given, and there are none.
        ValueError: ``work_dir`` was given, and a file in it is broken.
    """
    folders = [meta.work_dir, os.path.dirname(meta.checkpoint)]
    for folder in [work_dir] if work_dir else filter(None, folders):
        try:
            log = read_work_dir(folder)
        except (OSError, ValueError):
            if work_dir:
                raise
            continue
        if not (log.history.losses or log.history.scores):
            continue
        data = encode_figure(draw_curves(log.history))
        name = os.fspath(folder)
        drawn = decode_image(data, name)[..., ::-1]
        last = [
            f'{key} {curve.values[-1]:.4g} at the end'
            for key, curve in log.history.scores.items()
            if curve.values and math.isfinite(curve.values[-1])
        ]
        text = 'Losses, scores and learning rate over the training'
        picture = Picture(
            [webp_uri(drawn, exact=True)],
            [': '.join([text, *([', '.join(last)] if last else [])])],
            name,
        )
        return [picture], list(log.notes)
    return [], []
