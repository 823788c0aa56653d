"""What is read of a folder that an annotator exported, in whatever format."""

import abc
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mmseg_ext.formats.color_masks import Color
from mmseg_ext.formats.exports.regions import Region
from mmseg_ext.utils.files import find_files
from mmseg_ext.utils.images import IMAGE_SUFFIXES
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'Annotated',
    'Classes',
    'Export',
    'Folder',
    'InvalidExportError',
    'Masks',
    'Picture',
    'Tally',
    'left_out',
    'split_of',
]

#: Words that name a split.
_SPLITS = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}


@dataclass(frozen=True)
class Folder:
    """A folder of a user's, and all files in it.

    Listed once, so that each format can look for its own.

    Attributes:
        root: The folder.
        files: Paths of its files relative to it, with ``/``, sorted.
        class_list: A list of classes that the user gave; None for the one
            that the format has.
    """

    root: Path
    files: tuple[str, ...]
    class_list: Path | None = None

    @classmethod
    def listed(
        cls,
        root: str | os.PathLike[str],
        class_list: str | os.PathLike[str] | None = None,
    ) -> 'Folder':
        """List the files of a folder; hidden ones are not listed.

        Raises:
            OSError: It cannot be listed.
        """
        return cls(
            Path(root),
            tuple(find_files(root)),
            None if class_list is None else Path(class_list),
        )

    def ending(self, *endings: str) -> list[str]:
        """Return the files whose names end so, in either case, sorted."""
        lowered = tuple(each.lower() for each in endings)
        return [name for name in self.files if name.lower().endswith(lowered)]

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The files with names of images, masks among them."""
        return tuple(self.ending(*IMAGE_SUFFIXES))


class Picture(NamedTuple):
    """An image of an export.

    Attributes:
        name: Its path relative to the root, with ``/``.
        labels: The path of the file with its labels; None where there is none
            because it shows no object, as in formats that allow that.
        split: Which split the export puts it in: ``'train'``, ``'val'`` or
            ``'test'``; None where it does not say.
        key: What the format needs to find its labels, such as an id.
    """

    name: str
    labels: str | None = None
    split: str | None = None
    key: Any = None


class Masks(NamedTuple):
    """How a data set reads the mask files as they are. One of two is set.

    Attributes:
        label_map: ``value in the file -> index of the class, or 255``; values
            that it lacks stay, so that it is empty where all values are
            indices.
        colors: ``name -> (R, G, B)`` in the order of the file's list, with
            those that are no class, such as void.
    """

    label_map: Mapping[int, int] | None = None
    colors: Mapping[str, Color] | None = None


class Tally(NamedTuple):
    """What the labels of a picture hold, as they are in the file.

    Attributes:
        size: Width and height of the label map.
        counts: Pixels by what stands in the file: a value, or a color as
            ``red << 16 | green << 8 | blue``. Formats of shapes have the
            index of the class.
    """

    size: tuple[int, int]
    counts: Mapping[int, int]


@dataclass(frozen=True)
class Classes:
    """Classes by index.

    Attributes:
        names: Their names; a semantic label map holds the position.
        palette: RGB color of each, 0 to 255.
        background: The index of what is no object, such as the first; None
            where each class is a thing of its own.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    background: int | None = None

    @property
    def objects(self) -> tuple[int, ...]:
        """Indices of the classes of which there are instances."""
        return tuple(
            index
            for index in range(len(self.names))
            if index != self.background
        )


@dataclass(frozen=True)
class Export(abc.ABC):
    """A folder of images with labels, as one format reads it.

    A format is a module of :mod:`mmseg_ext.formats.exports` with a subclass.
    Objects go to other processes, so they are plain data.

    Attributes:
        folder: Where it lies.
        pictures: Its images, sorted by name.
        classes: The classes; until :meth:`settled`, None where they are those
            of all files together, as in color masks without a list.
        evidence: Why it was taken for this format, a sentence a line, with
            numbers.
        masks: How a data set reads the label files as they are; None where
            they have to be drawn first.
        ignored: What of the folder is not used, a sentence a line, such as
            masks without image.
    """

    #: What ``--format`` calls it, such as ``'labelme'``.
    NAME: ClassVar[str]

    #: What it is called in a sentence, such as ``'labelme JSON'``.
    TITLE: ClassVar[str]

    #: What it is used for where nothing else is said.
    TASK: ClassVar[str] = 'semantic'

    #: Names of formats whose readings of the same files this one takes the
    #: place of, as VOC's does that of any folder of masks.
    INSTEAD_OF: ClassVar[frozenset[str]] = frozenset()

    folder: Path
    pictures: tuple[Picture, ...]
    classes: Classes | None
    evidence: tuple[str, ...]
    masks: Masks | None = None
    ignored: tuple[str, ...] = field(default=(), kw_only=True)

    @classmethod
    @abc.abstractmethod
    def found(cls, folder: Folder) -> 'Export | None':
        """Return what is in a folder; None if it is not of this format.

        It looks at names of files, at those that describe the rest, and at a
        sample of the others: that all are right, :meth:`tally` finds. None is
        the answer for all that another format may read better, such as a JSON
        file of another kind.

        Raises:
            InvalidExportError: It is surely of this format, and not right:
                such as stems that repeat, or images without their labels. The
                error names the file.
        """

    @abc.abstractmethod
    def tally(self, picture: Picture) -> Tally:
        """Count what the labels of a picture hold; in any process.

        The whole file is checked. Masks are only counted, so that a color
        without class is an error of :meth:`settled`.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is broken, or not right. The sentence does not name
                the file: who calls adds it, with
                :func:`mmseg_ext.converters.core.reading`.
        """

    def settled(self, tallies: Sequence[Tally]) -> 'Export':
        """Return it with its classes, which all files together have.

        Args:
            tallies: Of all pictures, in their order.

        Raises:
            InvalidExportError: A file holds what is no class.
        """
        return self

    def index_of(self, key: int) -> int:
        """Return the index of the class of a key of a tally, or 255.

        Only after :meth:`settled`.
        """
        return key

    @abc.abstractmethod
    def label_map(self, picture: Picture) -> np.ndarray:
        """Return the class of each pixel, after :meth:`settled`.

        Returns:
            uint8 (H, W) of the image's size: indices of :attr:`classes`, 255
            for pixels that are not labeled.

        Raises:
            OSError: As for :meth:`tally`.
            ValueError: As for :meth:`tally`.
        """

    @abc.abstractmethod
    def regions(self, picture: Picture) -> Sequence[Region]:
        """Return the instances in a picture, after :meth:`settled`.

        In formats without instances, they are the connected parts of each
        class but for the background.

        Raises:
            OSError: As for :meth:`tally`.
            ValueError: As for :meth:`tally`.
        """


class InvalidExportError(ValueError):
    """A folder that is of a format, and not right.

    Args:
        file: The file or folder to name.
        reason: What is wrong with it, what was expected, and what to do.
    """

    def __init__(self, file: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f'{os.fspath(file)}: {reason}')
        self.file, self.reason = os.fspath(file), reason


@dataclass(frozen=True)
class Annotated:
    """An image with labels, to be written in a format.

    Attributes:
        name: Path of the image within the result, with ``/`` and its suffix.
        image: The image file, which writers copy where their format has the
            images beside the labels.
        size: Width and height.
        regions: Its instances.
        labels: The class of each pixel, uint8 (H, W).
        split: ``'train'``, ``'val'`` or ``'test'``; None for none.
    """

    name: str
    image: Path
    size: tuple[int, int]
    regions: Sequence[Region] = ()
    labels: np.ndarray | None = None
    split: str | None = None


def split_of(path: str) -> str | None:
    """Return the split that a path belongs to, by the words in its folders.

    Args:
        path: A path relative to the root, such as ``'train_labels/a.png'``,
            ``'images/val/a.jpg'`` or ``'ImageSets/Segmentation/test.txt'``.
            The name of a file counts where it is that of a list, ``.txt`` or
            ``.json``; the first folder with such a word decides.
    """
    *folders, name = path.split('/')
    if name.lower().endswith(('.txt', '.json')):
        folders.append(os.path.splitext(name)[0])
    words = (
        word
        for folder in folders
        for word in re.split('[^a-z]+', folder.lower())
    )
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def left_out(what: str, names: Collection[str]) -> list[str]:
    """Return a sentence about files that are not used; none without any.

    Args:
        what: What they are, in the plural, and why.
        names: Their paths.
    """
    paths = [printable(name) for name in sorted(names)]
    return [f'{len(paths)} {what}: {listing(paths, 3)}'] if paths else []
