"""How a data set finds pairs of images and labels where they lie."""

import itertools
import operator
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmseg_ext.formats.image_lists import Pair, match_files, read_pairs
from mmseg_ext.utils.images import IMAGE_SUFFIXES
from mmseg_ext.utils.text import normal_form

__all__ = ['Listing', 'Place', 'Places', 'find_places']


class Listing(NamedTuple):
    """The files that lie in a folder.

    Attributes:
        root: The folder.
        names: Paths of files relative to it, with ``/``.
    """

    root: Path
    names: Sequence[str]

    def below(self, folder: str) -> 'Listing':
        """Return what lies in a folder of it; the empty one is itself."""
        names = [
            _inside(name, folder)
            for name in self.names
            if not folder or name.startswith(f'{folder}/')
        ]
        return Listing(self.root / folder, names)


class Place(NamedTuple):
    """Where a data set finds the images of a split, and their labels.

    Attributes:
        images: The folder of the images, relative to their root; empty for
            the root itself.
        labels: That of the labels.
        lines: The lines of ``ann_file``; None without one.
    """

    images: str
    labels: str
    lines: tuple[str, ...] | None = None


class Places(NamedTuple):
    """What ``PairedDataset`` and its subclasses are told to find pairs.

    Attributes:
        img_suffix: What the names of images end in.
        seg_map_suffix: What the names of labels end in; empty where they end
            in several ways.
        splits: The places by split.
    """

    img_suffix: tuple[str, ...]
    seg_map_suffix: str
    splits: Mapping[str, Place]


#: An image and its label, each relative to its root.
_Paths = tuple[str, str]


class _Endings(NamedTuple):
    """What the names of images end in, and those of labels."""

    images: tuple[str, ...]
    labels: str


def find_places(
    splits: Mapping[str, Sequence[_Paths]],
    images: Listing,
    labels: Listing | None = None,
) -> Places | None:
    """Tell by names how a data set finds exactly the pairs of each split.

    In this order: the folders of each split as they are; one pair of folders
    for all, with lists of stems; the folders of each split, with lists of
    images and labels, whose names may be any.

    Args:
        splits: The pairs of each split, one at least: paths of an image and
            of its label, each relative to its root.
        images: What lies in the root of the images.
        labels: What lies in that of the labels; None where it is the same.

    Returns:
        None where no list tells them apart.
    """
    for places in _tries(splits):
        if all(
            _is_exact(places, split, pairs, images, labels)
            for split, pairs in splits.items()
        ):
            return places
    return None


def _tries(splits: Mapping[str, Sequence[_Paths]]) -> Iterator[Places]:
    """Yield what a data set may be told, the simplest first."""
    everything = [pair for pairs in splits.values() for pair in pairs]
    own = {split: _folders(pairs) for split, pairs in splits.items()}
    images, labels = _folders(everything)
    by_stem = [*_endings_of_pairs(everything)]
    for endings in by_stem:
        places = {split: Place(*folders) for split, folders in own.items()}
        yield Places(*endings, places)
    for endings in by_stem:
        end = len(endings.labels)
        places = {
            split: Place(
                images,
                labels,
                tuple(
                    _inside(label[: len(label) - end], labels)
                    for _, label in pairs
                ),
            )
            for split, pairs in splits.items()
        }
        yield Places(*endings, places)
    for endings in _endings_of_files(everything):
        places = {
            split: Place(
                *own[split],
                tuple(
                    ' '.join(map(_inside, pair, own[split])) for pair in pairs
                ),
            )
            for split, pairs in splits.items()
        }
        yield Places(*endings, places)


def _inside(name: str, folder: str) -> str:
    """Return a path in a folder relative to it; the empty one is the root."""
    return name[len(folder) + 1 :] if folder else name


def _folders(pairs: Sequence[_Paths]) -> _Paths:
    """Return the innermost folders with all images, and with all labels."""
    images, labels = (
        posixpath.commonpath([posixpath.dirname(name) for name in names])
        for names in zip(*pairs, strict=True)
    )
    return images, labels


def _endings_of_pairs(pairs: Iterable[_Paths]) -> Iterator[_Endings]:
    """Yield the endings that images and labels have beyond what is common.

    Of several, first those that leave all of an image's name but its suffix,
    then those that begin with a sign such as ``_``.
    """
    names = [
        (
            normal_form(posixpath.basename(image)),
            normal_form(posixpath.basename(label)),
        )
        for image, label in pairs
    ]
    image, label = names[0]
    stem = os.path.splitext(image)[0]
    alike = map(operator.eq, stem, os.path.splitext(label)[0])
    common = sum(1 for _ in itertools.takewhile(bool, alike))

    def rank(cut: int) -> tuple[bool, bool, int]:
        return cut < len(stem), label[cut].isalnum(), -cut

    for cut in sorted(range(1, common + 1), key=rank):
        ends = _image_endings(names, label[cut:])
        if ends:
            yield _Endings(ends, label[cut:])


def _image_endings(
    names: Iterable[_Paths], ending: str
) -> tuple[str, ...] | None:
    """Return what images have beyond the stems of their labels.

    Args:
        names: Names of images and labels.
        ending: What the names of labels have beyond stems.

    Returns:
        The longest first, so that none is taken for the end of another; None
        where it is not the same for all.
    """
    ends: dict[str, str] = {}
    for image, label in names:
        stem = label[: len(label) - len(ending)]
        end = image[len(stem) :]
        if (
            not (stem and end and image.startswith(stem))
            or not label.lower().endswith(ending.lower())
            or len(ends) > len(IMAGE_SUFFIXES)
        ):
            return None
        ends.setdefault(end.lower(), end)
    return tuple(sorted(ends.values(), key=lambda end: (-len(end), end)))


def _endings_of_files(pairs: Iterable[_Paths]) -> Iterator[_Endings]:
    """Yield the suffixes of images, with that of labels and with none."""
    images, labels = (
        {os.path.splitext(name)[1].lower() for name in names}
        for names in zip(*pairs, strict=True)
    )
    ends = tuple(sorted(images))
    if len(labels) == 1:
        yield _Endings(ends, labels.pop())
    yield _Endings(ends, '')


def _is_exact(
    places: Places,
    split: str,
    pairs: Sequence[_Paths],
    images: Listing,
    labels: Listing | None,
) -> bool:
    """Tell whether a data set finds the pairs of a split and no others."""
    folder, label_folder, lines = places.splits[split]
    shared = labels is None and folder == label_folder
    end = places.seg_map_suffix
    labels = labels or images
    try:
        photos = match_files(
            *images.below(folder), places.img_suffix, end if shared else None
        )
        masks = match_files(*labels.below(label_folder), [end])
        found = (
            [Pair(stem, stem) for stem in photos.paths]
            if lines is None
            else read_pairs('it', '\n'.join(lines), photos, masks)
        )
        paths = [
            (str(photos.paths[pair.image]), str(masks.paths[pair.label]))
            for pair in found
        ]
    except (FileNotFoundError, KeyError, ValueError):
        return False
    wanted = [
        (str(images.root / image), str(labels.root / label))
        for image, label in pairs
    ]
    return _sorted(paths) == _sorted(wanted)


def _sorted(paths: Iterable[_Paths]) -> list[_Paths]:
    return sorted(
        (normal_form(image), normal_form(label)) for image, label in paths
    )
