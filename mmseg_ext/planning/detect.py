"""Which format a folder of annotated images is of."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmseg_ext.formats.exports import format_of, formats
from mmseg_ext.formats.exports.export import (
    Export,
    Folder,
    InvalidExportError,
)
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.launch.errors import closest
from mmseg_ext.utils.files import path_inside, read_file
from mmseg_ext.utils.images import IMAGE_SUFFIXES
from mmseg_ext.utils.text import printable

__all__ = ['AmbiguousError', 'detect']

#: Suffixes that are counted by name, and images that are looked into.
_SUFFIXES, _LOOKED_AT = 5, 8

#: A mask has at most so many values or colors, among every so many pixels
#: each way.
_FEW, _EVERY = 64, 4


class AmbiguousError(ValueError):
    """A folder that several formats read.

    Args:
        folder: It.
        readings: What each format reads.
    """

    def __init__(self, folder: Folder, readings: Sequence[Export]) -> None:
        lines = [
            f'{folder.root} can be read in {len(readings)} ways; say which '
            'one is right:'
        ]
        for reading in readings:
            lines.append(f'  --format {reading.NAME}: {reading.TITLE}')
            lines += [f'    {line}' for line in reading.evidence]
        super().__init__('\n'.join(lines))
        self.readings = tuple(readings)


def detect(folder: Folder, name: str | None = None) -> Export:
    """Return what is in a folder, by the one format that reads it.

    Args:
        folder: The folder.
        name: Name of the format that is to read it; None for any. A format
            that takes the place of another one counts before it.

    Raises:
        AmbiguousError: Several formats read it.
        InvalidExportError: None reads it, or something in it is not right.
        ValueError: There is no format of this name.
    """
    known = {key: format_of(module) for key, module in formats().items()}
    if name is not None and name not in known:
        raise ValueError(
            f'format={name!r}: expected one of {", ".join(known)}'
            + closest(name, known)
        )
    asked = known if name is None else {name: known[name]}
    readings: dict[str, Export] = {}
    complaints: dict[str, InvalidExportError] = {}
    for key, kind in asked.items():
        try:
            reading = kind.found(folder)
        except InvalidExportError as error:
            complaints[key] = error
        else:
            if reading is not None:
                readings[key] = reading
    # What is surely of a format, though not right, is no other one's either.
    covered = frozenset().union(
        *(known[key].INSTEAD_OF for key in (*readings, *complaints))
    )
    fitting = [each for key, each in readings.items() if key not in covered]
    if len(fitting) > 1:
        raise AmbiguousError(folder, fitting)
    left = {
        key: each for key, each in complaints.items() if key not in covered
    }
    if fitting:
        said = [
            f'as {known[key].TITLE} it is not right: {error}'
            for key, error in left.items()
        ]
        return replace(fitting[0], ignored=(*fitting[0].ignored, *said))
    if left:
        raise _complaint(left, known, name)
    raise InvalidExportError(folder.root, _why_none(folder, asked))


def _complaint(
    complaints: Mapping[str, InvalidExportError],
    known: Mapping[str, type[Export]],
    name: str | None,
) -> InvalidExportError:
    """Return the error of the formats that take a folder for theirs."""
    (key, first), *others = complaints.items()
    reason = first.reason
    if name is None:
        reason += (
            f' (taken for {known[key].TITLE}; if it is of another format, '
            'say so with --format)'
        )
    for other, error in others:
        reason += f'; taken for {known[other].TITLE}: {error}'
    return InvalidExportError(first.file, reason)


def _why_none(folder: Folder, asked: Mapping[str, type[Export]]) -> str:
    """Say what is in a folder that no format reads, and what to do."""
    expected = ', '.join(
        f'{kind.TITLE} ({key})' for key, kind in asked.items()
    )
    if len(asked) > 1:
        expected = f'one of: {expected}'
    return (
        f'{_seen(folder)}; expected {expected}; datum convert of the package '
        'datumaro turns exports of other formats into one of these'
    )


def _seen(folder: Folder) -> str:
    """Say what is in a folder."""
    if os.path.isfile(folder.root):
        return 'is a file; unpack it if it is an archive, and give the folder'
    if not os.path.isdir(folder.root):
        return 'there is no such folder'
    if not folder.files:
        return 'the folder is empty'
    suffixes = Counter(
        os.path.splitext(name)[1].lower() or 'without suffix'
        for name in folder.files
    )
    common = suffixes.most_common(_SUFFIXES)
    counts = ', '.join(f'{often} {printable(name)}' for name, often in common)
    more = len(folder.files) - sum(often for _, often in common)
    counts += f' and {more} other files' * (more > 0)
    if not folder.images:
        return f'has {counts}, and no images'
    if set(suffixes) <= set(IMAGE_SUFFIXES):
        counts += ' and nothing else'
    return f'has {counts}: {_judged(folder)}'


def _judged(folder: Folder) -> str:
    """Say whether the images of a folder are photographs or masks."""
    step = -(-len(folder.images) // _LOOKED_AT)
    looked_at = folder.images[::step]
    masks = sum(_is_mask(folder, name) for name in looked_at)
    if not masks:
        return 'images without labels'
    if masks == len(looked_at):
        return 'masks only, without the images that they belong to'
    return 'images and masks whose names do not go together'


def _is_mask(folder: Folder, name: str) -> bool:
    """Tell whether an image has as few values or colors as masks have."""
    try:
        data = read_file(path_inside(folder.root, name))
        pixels = read_mask(data, name).pixels
    # A photograph, such as a JPEG, or a broken file; each has its own errors.
    except Exception:
        return False
    pixels = pixels[::_EVERY, ::_EVERY]
    return (
        len(np.unique(pixels.reshape(-1, *pixels.shape[2:]), axis=0)) <= _FEW
    )
