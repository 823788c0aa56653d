"""One pass over all images and labels of an export."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from mmseg_ext.converters.core import (
    InvalidInputError,
    check_size,
    name_fault,
    reading,
    run_jobs,
)
from mmseg_ext.doctor.image_scans import scan_image
from mmseg_ext.doctor.parts import ImageScan
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.formats.exports.export import (
    Export,
    InvalidExportError,
    Picture,
    Tally,
)
from mmseg_ext.planning.likeness import Likeness, likeness_of
from mmseg_ext.utils.files import path_inside, read_file
from mmseg_ext.utils.processes import check_nproc
from mmseg_ext.utils.text import printable

__all__ = ['Survey', 'survey']

#: Wrong files that an error names.
_NAMED = 3

#: Values, or colors, that a label file may have: what has more was blended at
#: edges or is no label map, and would fill the memory.
_MOST_KEYS = 1024


@dataclass(frozen=True)
class Survey:
    """What all files of an export hold.

    Attributes:
        export: It, settled.
        images: What each image holds, in the order of its pictures.
        pixels: int64 (pictures, classes), pixels of each class; those of 255
            count in no class.
    """

    export: Export
    images: Sequence[ImageScan]
    pixels: np.ndarray

    @cached_property
    def likeness(self) -> Likeness:
        """Which of the images look the same, or nearly."""
        return likeness_of(self.images)


def survey(export: Export, nproc: int = 1, progress: bool = True) -> Survey:
    """Read each image and each label file of an export once.

    JPEGs are decoded at an eighth of their size, all else is decoded whole.
    What is kept of an image are numbers, some 2 KiB.

    Args:
        export: Not settled yet.
        nproc: Number of processes.
        progress: Show a progress bar.

    Raises:
        InvalidExportError: A file cannot be read or is not right, an image
            and its labels differ in size, or two names differ in the suffix
            only; the first such file is named, and how many there are.
        ChildProcessError: A process was killed.
        OSError: Memory is short.
        ValueError: ``nproc`` is out of range.
    """
    check_nproc(nproc)
    _check_names(export)
    images: list[ImageScan] = []
    tallies: list[Tally] = []
    faults: list[InvalidInputError] = []
    results = run_jobs(
        _Reader(export),
        list(export.pictures),
        nproc=nproc,
        desc='reading images and labels',
        progress=progress,
    )
    for _, result in results:
        if isinstance(result, InvalidInputError):
            faults.append(result)
        else:
            image, tally = result
            images.append(image)
            tallies.append(tally)
    _check_faults(faults)
    export = export.settled(tallies)
    return Survey(export, images, _count(export, tallies))


@dataclass(frozen=True)
class _Reader:
    """Reads an image and its labels, in any process.

    Attributes:
        export: What they are of.
    """

    export: Export

    def __call__(
        self, picture: Picture, scratch: Path | None
    ) -> tuple[ImageScan, Tally]:
        folder = self.export.folder
        file = os.path.join(folder, picture.name)
        labels = os.path.join(folder, picture.labels or picture.name)
        with reading(file, 'cannot be read: '):
            image = scan_image(read_file(path_inside(folder, picture.name)))
        if image.fault or image.size is None:
            raise InvalidInputError(file, image.fault or 'has no size')
        with reading(labels, ''):
            tally = self.export.tally(picture)
        if image.turned != 1 and tally.size == image.size[::-1]:
            raise InvalidInputError(
                file,
                f'EXIF turns it (orientation {image.turned}), and its labels '
                f'{labels} are drawn on the image as it was before: save it '
                'as it should lie, without EXIF',
            )
        check_size(labels, tally.size, picture.name, image.size)
        if len(tally.counts) > _MOST_KEYS:
            raise InvalidInputError(
                labels,
                f'has {len(tally.counts)} values or colors; expected one a '
                'class: edges were blended, by JPEG or by a resize, or these '
                'are no labels; export it again without loss',
            )
        return image, tally


def _check_names(export: Export) -> None:
    """Check that pictures can be told apart, and listed in a file.

    Raises:
        InvalidExportError: They cannot.
    """
    if not export.pictures:
        raise InvalidExportError(export.folder, 'has no images with labels')
    faults = []
    known: dict[str, str] = {}
    for name in (picture.name for picture in export.pictures):
        stem = os.path.splitext(name)[0]
        other = known.setdefault(stem, name)
        fault = name_fault(name, in_list=True)
        if other != name:
            fault = f'differs in the suffix only from {other}: rename one'
        if fault:
            file = os.path.join(export.folder, name)
            faults.append(InvalidInputError(file, fault))
    _check_faults(faults)


def _check_faults(faults: Sequence[InvalidInputError]) -> None:
    """Check that there are none.

    Raises:
        InvalidExportError: There are; it names the first ones.
    """
    if not faults:
        return
    first, *others = faults
    reason = first.reason
    if others:
        reason += f'; {len(faults)} files are not right, also '
        reason += '; '.join(
            f'{other.file}: {other.reason}'
            for other in itertools.islice(others, _NAMED - 1)
        )
    more = len(faults) - _NAMED
    reason += f'; and {more} more' * (more > 0)
    reason = printable(' '.join(reason.split()))
    raise InvalidExportError(printable(first.file), reason)


def _count(export: Export, tallies: Sequence[Tally]) -> np.ndarray:
    """Return the pixels of each class, int64 (pictures, classes)."""
    assert export.classes is not None
    index_of = cache(export.index_of)
    pixels = np.zeros((len(tallies), len(export.classes.names)), np.int64)
    for row, tally in zip(pixels, tallies, strict=True):
        for key, number in tally.counts.items():
            index = index_of(key)
            if index != IGNORE_INDEX:
                row[index] += number
    return pixels
