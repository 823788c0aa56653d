"""Lists of images, and of images with their labels, as copies ship them."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mmseg_ext.utils.files import path_inside
from mmseg_ext.utils.text import listing, normal_form, printable

__all__ = ['Files', 'Pair', 'match_files', 'read_pairs', 'stem_of']

#: How many lines of a list a message names.
_NAMED = 10


class Pair(NamedTuple):
    """An image and its label.

    Attributes:
        image: Stem of the image.
        label: Stem of its label.
    """

    image: str
    label: str


@dataclass(frozen=True)
class Files:
    """The images or the labels of a data set.

    Attributes:
        folder: Where they are.
        endings: What their names end in.
        paths: ``{stem: path}``; a stem is the path in the folder without the
            ending, in normal form.
    """

    folder: Path
    endings: Sequence[str]
    paths: Mapping[str, Path]

    @property
    def name(self) -> str:
        """Name of the folder, in normal form."""
        return normal_form(os.path.basename(os.path.abspath(self.folder)))

    def named(self, path: str) -> set[str]:
        """Return the stems of the files that a path in a list may mean.

        Args:
            path: A path with its ending: in the folder, or one in which the
                name of the folder is followed by that.
        """
        stem = stem_of(path, self.endings)
        if stem is None:
            return set()
        parts = [part for part in stem.split('/') if part not in ('', '.')]
        starts = [i for i, part in enumerate(parts, 1) if part == self.name]
        if not path.startswith('/'):
            starts.append(0)
        tails = {'/'.join(parts[start:]) for start in starts}
        return tails & self.paths.keys()


def stem_of(name: str, endings: Sequence[str]) -> str | None:
    """Return a name without the first of the endings that it has, if any.

    The case of an ending does not count.
    """
    lowered = name.lower()
    for ending in endings:
        if lowered.endswith(ending.lower()):
            return name[: len(name) - len(ending)]
    return None


def match_files(
    folder: Path,
    names: Iterable[str],
    endings: Sequence[str],
    without: str | None = None,
) -> Files:
    """Return those of some files whose names end in one of the endings.

    Args:
        folder: Where they are.
        names: Paths relative to it, with ``/``.
        endings: What names may end in, in either case.
        without: Leave out names that end in this; None or empty for none.

    Raises:
        ValueError: Two of them have the same stem.
    """
    found: dict[str, Path] = {}
    for name in names:
        if without and stem_of(name, [without]) is not None:
            continue
        stem = stem_of(name, endings)
        if stem is None:
            continue
        stem = normal_form(stem)
        if stem in found:
            both = printable(found[stem]), printable(folder / name)
            raise ValueError(
                f'{" and ".join(both)} have the same stem '
                f"{stem!r}, so which is the label's image is not known: "
                'remove one of them'
            )
        found[stem] = folder / name
    return Files(folder, endings, found)


def read_pairs(
    ann_file: str, text: str, images: Files, labels: Files | None
) -> list[Pair]:
    """Find the images that a list names, and their labels.

    See :class:`mmseg_ext.datasets.PairedDataset` for what a line may be.

    Args:
        ann_file: The list, for messages.
        text: Its content.
        images: The images that are there.
        labels: The labels that are there; None without labels.

    Returns:
        A pair for each line that is not blank. Its label need not be there
        where the line does not name it.

    Raises:
        FileNotFoundError: A line names no image, or one with a label that is
            not there.
        ValueError: There are no lines, a line fits several files, or leads
            out of the folder.
    """
    lines = normal_form(text).replace('\r\n', '\n').split('\n')
    pairs: list[Pair] = []
    lost: dict[int, str] = {}
    unlabeled: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _pairs(line, images, labels)
        if len(found) > 1:
            raise ValueError(
                f'ann_file {ann_file}, line {number}: {printable(line)!r} '
                f'fits {_described(found, images, labels)}; expected one: '
                'write paths relative to the folder, or rename files'
            )
        if found:
            pairs.extend(found)
        elif any(images.named(left) for left, _ in _columns(line)):
            unlabeled[number] = line
        else:
            _check_inside(ann_file, number, line, images)
            lost[number] = line
    if lost:
        _fail(ann_file, lost, 'listed stem(s) without image', images)
    if unlabeled and labels:
        _fail(ann_file, unlabeled, 'listed image(s) without label', labels)
    if not pairs:
        raise ValueError(f'ann_file {ann_file} lists no stems')
    return pairs


def _pairs(line: str, images: Files, labels: Files | None) -> set[Pair]:
    """Return the pairs that a line may mean."""
    # Blanks belong to a name only where there is such an image.
    for path in (line, line.strip()):
        stems = images.named(path) | ({path} & images.paths.keys())
        if stems:
            break
    return {Pair(stem, stem) for stem in stems} | {
        Pair(image, label)
        for left, right in _columns(line)
        for image in images.named(left)
        for label in (labels.named(right) if labels else [image])
    }


def _columns(line: str) -> Iterator[tuple[str, str]]:
    """Yield the ways to read a line as two columns; names may have blanks."""
    line = line.strip()
    for gap in re.finditer(r'\s+', line):
        yield line[: gap.start()], line[gap.end() :]


def _described(found: set[Pair], images: Files, labels: Files | None) -> str:
    """Name the files that a line may mean."""
    several = {pair.image for pair in found}
    files = images
    if len(several) == 1 and labels:
        several, files = {pair.label for pair in found}, labels
    return ' and '.join(
        printable(files.paths[stem]) for stem in sorted(several)
    )


def _check_inside(
    ann_file: str, number: int, line: str, images: Files
) -> None:
    """Refuse a line that leads out of the folder of the images."""
    paths = [line.strip(), *(left for left, _ in _columns(line))]
    foreign = any(stem_of(path, images.endings) for path in paths)
    if foreign and images.name in line.split('/'):
        return
    try:
        path_inside(os.path.abspath(images.folder), line.strip())
    except ValueError as error:
        raise ValueError(
            f'ann_file {ann_file}, line {number}: {error}, or one that has '
            f"the folder's name, .../{images.name}/..."
        ) from None


def _fail(
    ann_file: str, lines: Mapping[int, str], what: str, files: Files
) -> None:
    names = listing(
        [printable(line.strip()) for line in lines.values()], _NAMED
    )
    raise FileNotFoundError(
        f'{len(lines)} {what} in {files.folder}: {names}; add the files, or '
        f'take them out of {ann_file}, line {listing([*lines], _NAMED)}; '
        f'names end in {" or ".join(files.endings)}'
    )
