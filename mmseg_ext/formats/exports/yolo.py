"""YOLO's text files of outlines: a line an object, in shares of the image.

Source: Ultralytics, "Instance Segmentation Datasets Overview".
"""

import itertools
import math
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mmseg_ext.formats.coco import check_mask
from mmseg_ext.formats.exports.class_lists import listed_classes, read_lines
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Picture,
    left_out,
    split_of,
)
from mmseg_ext.formats.exports.pictures import (
    claim,
    object_regions,
    place_image,
)
from mmseg_ext.formats.exports.regions import Region, polygons_of
from mmseg_ext.formats.exports.shapes import Shapes, classes_of
from mmseg_ext.formats.image_facts import read_size
from mmseg_ext.utils.files import (
    read_file,
    read_text,
    write_text,
)
from mmseg_ext.utils.text import decode_text, listing, normal_form

__all__ = ['Yolo', 'write']

#: Keys of a ``data.yaml`` with the images of a split.
_SPLITS = ('train', 'val', 'test')

#: How far coordinates may lie outside the image, as a share of its side:
#: rounding.
_SLACK = 1e-3

#: Bytes of the largest ``data.yaml``, and of the largest file of labels.
_MAX_YAML, _MAX_TEXT = 1 << 18, 1 << 26

#: Files of labels that are looked into to tell the format.
_SAMPLE = 20


class Yolo(Shapes):
    """A folder of images and text files with outlines."""

    NAME = 'yolo'
    TITLE = 'YOLO-seg text files'
    TASK = 'instance'

    @classmethod
    def found(cls, folder: Folder) -> 'Yolo | None':
        """Return what is in a folder; see :meth:`Export.found`.

        Labels lie in a folder ``labels`` where images have ``images``, or
        beside them. Classes are those of ``data.yaml``, or of
        ``classes.txt``.
        """
        texts = _Texts(folder)
        if not any(map(texts.of, folder.images)):
            return None
        about = _read_yaml(folder)
        names_file = about.file if about else _names_file(folder)
        if about is None:
            named = names_file or folder.class_list
            sample = texts.sampled()
            fitting = sum(each >= (5 if named else 7) for each in sample)
            if 2 * fitting < len(sample) or not (fitting or named):
                return None
        names = _names(folder, about, names_file)
        if about and about.entries:
            splits, missing = _listed(folder, about)
        else:
            splits, missing = _beside(folder, texts), []
        pictures = tuple(
            Picture(name, texts.of(name), split)
            for name, split in sorted(splits.items())
        )
        labeled = [picture for picture in pictures if picture.labels]
        if not labeled:
            raise InvalidExportError(
                folder.root / (names_file or ''),
                f'none of the {len(pictures)} images that it names has a file '
                'of labels; expected labels/x.txt for images/x.jpg',
            )
        _check_owners(folder.root, labeled)
        classes, indices = classes_of(folder, names_file or '', names)
        return cls(
            folder.root,
            pictures,
            classes,
            _evidence(folder, names_file, names, pictures),
            ignored=(*missing, *texts.unused(splits)),
            indices=indices,
        )

    def shapes(self, picture: Picture) -> tuple[tuple[int, int], list[Region]]:
        """Read the outlines of a picture, in pixels of the image as loaded."""
        size = read_size(self.folder / picture.name)
        if picture.labels is None:
            return size, []
        data = read_file(self.folder / picture.labels, _MAX_TEXT)
        indices = list(self.indices.values())
        return size, list(_regions(decode_text(data, 'it'), indices, size))


# Lines.


def _regions(
    text: str, indices: Sequence[int], size: tuple[int, int]
) -> Iterator[Region]:
    """Read the lines of a file, of an image of a width and height."""
    for number, line in enumerate(text.splitlines(), 1):
        if not (words := line.split()):
            continue
        try:
            yield _region(words, indices, size)
        except ValueError as error:
            raise ValueError(f'line {number}: {error}') from None


def _region(
    words: Sequence[str], indices: Sequence[int], size: tuple[int, int]
) -> Region:
    values = [_number(word) for word in words]
    category, shares = values[0], values[1:]
    if not (category.is_integer() and 0 <= category < len(indices)):
        raise ValueError(
            f'class {words[0]}, but the list of classes has {len(indices)}; '
            f'expected 0 to {len(indices) - 1}: add its name there'
        )
    if len(shares) == 4:
        raise ValueError(
            'a box (class and 4 numbers) and no outline; expected x and y of '
            'at least three points: export polygons'
        )
    if len(shares) < 6 or len(shares) % 2:
        raise ValueError(
            f'{len(shares)} numbers after the class; expected x and y of at '
            'least three points'
        )
    for word, share in zip(words[1:], shares, strict=True):
        if not -_SLACK <= share <= 1 + _SLACK:
            raise ValueError(
                f'coordinate {word} lies outside the image; expected shares '
                'of its width and height, 0 to 1'
            )
    points = np.clip(np.array(shares).reshape(-1, 2), 0, 1) * size
    polygons = [points.ravel().tolist()]
    check_mask(polygons, size[::-1])
    return Region(indices[int(category)], polygons)


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f'{word[:40]!r} is no number')
    return value


# Files.


class _Texts:
    """The text files of a folder, by the images whose labels they are."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files = {
            normal_form(os.path.splitext(name)[0]): name
            for name in folder.ending('.txt')
        }

    def of(self, image: str) -> str | None:
        """Return the file of labels of an image, or None."""
        *folders, name = os.path.splitext(image)[0].split('/')
        if 'images' in folders:
            last = len(folders) - 1 - folders[::-1].index('images')
            folders[last] = 'labels'
        return self._files.get(normal_form('/'.join([*folders, name])))

    def sampled(self) -> list[int]:
        """Return how many numbers some files have in their first lines.

        Returns:
            Of each file with a line; 0 where it has other words.
        """
        names = filter(None, map(self.of, self._folder.images))
        found = []
        for name in itertools.islice(names, _SAMPLE):
            try:
                lines = read_text(self._folder.root / name).splitlines()
                words = next(filter(None, map(str.split, lines)), None)
                if words:
                    found.append(len([_number(word) for word in words]))
            except (OSError, ValueError):
                found.append(0)
        return found

    def unused(self, images: Iterable[str]) -> Iterator[str]:
        """Say which images and files of labels are in no picture."""
        pictures = set(images)
        left = [name for name in self._folder.images if name not in pictures]
        yield from left_out(
            'images that are in no split or have no labels beside them', left
        )
        used = {self.of(name) for name in pictures}
        places = {posixpath.dirname(name) for name in used if name}
        files = self._files.values()
        lone = [
            name
            for name in files
            if name not in used
            and posixpath.dirname(name) in places - {''}
            and posixpath.basename(name) != 'classes.txt'
        ]
        yield from left_out('files without image', lone)


def _check_owners(root: Path, pictures: Iterable[Picture]) -> None:
    """Check that each file of labels belongs to one image."""
    owners: dict[str | None, str] = {}
    for picture in pictures:
        if picture.labels in owners:
            raise InvalidExportError(
                root / picture.name,
                f'{owners[picture.labels]} has the same name but for the '
                f'suffix, and {picture.labels} can be of one image only: '
                'remove or rename one',
            )
        owners[picture.labels] = picture.name


def _beside(folder: Folder, texts: _Texts) -> dict[str, str | None]:
    """Return the images in folders with labels, with their splits."""
    places = {
        posixpath.dirname(name) for name in folder.images if texts.of(name)
    }
    return {
        name: split_of(name)
        for name in folder.images
        if posixpath.dirname(name) in places
    }


def _names_file(folder: Folder) -> str | None:
    """Return the list of names that is nearest to the root."""
    names = [
        name
        for name in folder.ending('classes.txt')
        if posixpath.basename(name).lower() == 'classes.txt'
    ]
    return min(names, key=lambda name: name.count('/'), default=None)


def _names(
    folder: Folder, about: '_About | None', names_file: str | None
) -> list[str]:
    """Return the names of the classes by their numbers."""
    if folder.class_list is not None:
        return list(listed_classes(folder.class_list).names)
    if about:
        return about.names
    if names_file is None:
        raise InvalidExportError(
            folder.root,
            'the text files beside the images are those of YOLO, but nothing '
            'says what the classes are called; expected data.yaml or '
            'classes.txt: give the list of classes',
        )
    return [name for _, name in read_lines(folder.root / names_file)]


def _evidence(
    folder: Folder,
    names_file: str | None,
    names: Sequence[str],
    pictures: Sequence[Picture],
) -> tuple[str, ...]:
    empty = sum(picture.labels is None for picture in pictures)
    source = folder.class_list or names_file
    lines = [
        f'{len(pictures) - empty} images with a text file of the same name',
        f'{len(names)} classes in {source}: {listing(names)}',
    ]
    if empty:
        lines.append(f'{empty} images without text file, which show no object')
    splits = Counter(picture.split for picture in pictures if picture.split)
    if splits:
        parts = [f'{count} {split}' for split, count in splits.items()]
        lines.append(f'splits: {", ".join(parts)}')
    return tuple(lines)


# data.yaml.


@dataclass(frozen=True)
class _About:
    """What a ``data.yaml`` says.

    Attributes:
        file: Its path in the folder.
        names: Names of the classes.
        path: Where the images are looked for, if it says so.
        entries: Folders or lists of images by split.
    """

    file: str
    names: list[str]
    path: str
    entries: dict[str, list[str]]


def _read_yaml(folder: Folder) -> _About | None:
    """Read the ``data.yaml`` that is nearest to the root."""
    files = folder.ending('.yaml', '.yml')
    # By this name it surely is one; others are looked into.
    files.sort(key=lambda n: (_stem(n) != 'data', n.count('/'), n))
    for file in files:
        path = folder.root / file
        sure = _stem(file) == 'data'
        try:
            content = _load(path)
            keys = content.keys() if isinstance(content, dict) else set()
            if {'names', 'nc'} & keys:
                sure |= bool({'path', *_SPLITS} & keys)
                names = _yaml_names(content)
                return _About(file, names, *_yaml_entries(content))
            reason = 'it has no names; expected a list of the classes'
        except (OSError, ValueError) as error:
            reason = str(error)
        if sure:
            raise InvalidExportError(path, reason)
    return None


def _stem(name: str) -> str:
    return os.path.splitext(posixpath.basename(name))[0].lower()


def _load(path: Path) -> Any:
    text = decode_text(read_file(path, _MAX_YAML), 'it')
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError('it is nested too deep') from None
    # Dates that are none are errors of Python.
    except (yaml.YAMLError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'it is no YAML: {reason}') from None


def _yaml_names(content: dict[Any, Any]) -> list[str]:
    """Return the names of a list, or of a map from numbers."""
    count, names = content.get('nc'), content.get('names')
    if names is None and type(count) is int and 0 < count < 256:
        return [f'class_{index}' for index in range(count)]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        raise ValueError('names is neither a list nor a map from numbers')
    texts: dict[int, str] = {}
    for key, name in names.items():
        if type(name) not in (str, int):
            raise ValueError(
                f'the name of class {str(key)[:20]} is of the kind '
                f'{type(name).__name__}; expected text: put it in quotes'
            )
        if not str(key).isdecimal():
            raise ValueError(
                f'names has the key {str(key)[:20]!r}; expected the numbers '
                'of classes'
            )
        texts[int(key)] = str(name).strip()
    if sorted(texts) != list(range(len(names))):
        raise ValueError(
            f'names has {len(names)} classes, which are not numbered 0 to '
            f'{len(names) - 1}'
        )
    if type(count) is int and count != len(names):
        raise ValueError(
            f'nc is {count}, but names has {len(names)} classes; expected the '
            'same number'
        )
    return [texts[index] for index in range(len(texts))]


def _yaml_entries(
    content: dict[Any, Any],
) -> tuple[str, dict[str, list[str]]]:
    """Return the path of the images, and where those of each split are."""
    path = content.get('path') or ''
    entries: dict[str, list[str]] = {}
    for split in _SPLITS:
        value = content.get(split)
        several = value if isinstance(value, list) else [value]
        entries[split] = [each for each in several if each]
    for key, value in [('path', path)] + [
        (split, each) for split, several in entries.items() for each in several
    ]:
        if not isinstance(value, str):
            raise ValueError(
                f'{key} is of the kind {type(value).__name__}; expected the '
                'path of a folder or of a list of images'
            )
    return path, {split: each for split, each in entries.items() if each}


def _listed(
    folder: Folder, about: _About
) -> tuple[dict[str, str | None], list[str]]:
    """Return the images of a ``data.yaml`` with their splits.

    Returns:
        ``{image: split}``, and what is not used.
    """
    paths = _Paths(folder, posixpath.dirname(about.file), about.path)
    found: dict[str, str | None] = {}
    unused = []
    for split, entries in about.entries.items():
        twice = 0
        for entry in entries:
            images = _images_of(folder, paths, entry)
            if images is None and split == 'train':
                raise InvalidExportError(
                    folder.root / about.file,
                    f'{split}: {entry} is not in this folder; expected a '
                    'folder with images, or a list of them: correct it',
                )
            if images is None:
                unused.append(
                    f'{split}: {entry} in {about.file}, which is not there'
                )
            for image in images or ():
                twice += image in found and found[image] != split
                found.setdefault(image, split)
        if twice:
            unused.append(
                f'{split}: {twice} images that are in a split before, too'
            )
    return found, unused


def _images_of(
    folder: Folder, paths: '_Paths', entry: str
) -> list[str] | None:
    """Return the images of a folder or list; None if it is not there."""
    place = paths.find(entry)
    if place is None:
        return None
    if place not in paths.files:
        start = f'{place}/' if place else ''
        return [name for name in folder.images if name.startswith(start)]
    images = []
    paths = _Paths(folder, posixpath.dirname(place), paths.path)
    for number, line in read_lines(folder.root / place):
        image = paths.find(line, most=True)
        if image is None or image not in paths.images:
            raise InvalidExportError(
                folder.root / place,
                f'line {number}: the image {line} is not in this '
                'folder: add it, or remove the line',
            )
        images.append(image)
    return images


class _Paths:
    """Finds what paths mean in a folder, wherever they were written.

    They may be those of another machine, and Roboflow's lead out of the
    folder that they mean. Leading parts are left away until the rest is in
    the folder: what is found never lies outside.
    """

    def __init__(self, folder: Folder, place: str, path: str) -> None:
        self.files = set(folder.files)
        self.images = set(folder.images)
        self.path = path
        self._starts = place, ''
        self._names = {normal_form(name): name for name in folder.files}
        for name in folder.files:
            while name := posixpath.dirname(name):
                self._names.setdefault(normal_form(name), name)

    def find(self, path: str, most: bool = False) -> str | None:
        """Return a path in the folder, '' for itself; None if not there.

        Args:
            path: As it was written.
            most: Leave away parts of relative paths, too, and not only dots.
        """
        if not (own := _parts(path)):
            return None
        absolute = path.startswith(('/', '\\')) or own[0].endswith(':')
        parts = own if absolute else [*_parts(self.path), *own]
        named = sum(part not in (os.curdir, os.pardir) for part in own)
        least = 1 if absolute or most else max(named, 1)
        for cut in range(len(parts) - least + 1):
            for start in self._starts:
                name = posixpath.normpath(posixpath.join(start, *parts[cut:]))
                if name == os.curdir:
                    return ''
                if found := self._names.get(normal_form(name)):
                    return found
        return None


def _parts(path: str) -> list[str]:
    return [part for part in path.replace('\\', '/').split('/') if part]


# Writing.


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write images and outlines as Ultralytics reads them.

    An instance is one outline there. Of several parts one is made that goes
    from each to the next and back, which changes no pixel.

    Args:
        out: A folder.
        classes: The classes.
        items: The images, with regions; either all or none have a split.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: Some have a split and others do not, there are no regions,
            one is of no class of objects, or two have the same stem.
    """
    numbers = {index: number for number, index in enumerate(classes.objects)}
    splits: set[str | None] = set()
    taken: set[str] = set()
    for item in items:
        splits.add(item.split)
        if None in splits and len(splits) > 1:
            raise ValueError(
                f'{item.name}: split {item.split!r}, but others are '
                f'{sorted(map(str, splits))}; expected all in splits, or none'
            )
        inner = posixpath.join(item.split or '', item.name)
        stem = os.path.splitext(inner)[0]
        claim(taken, stem, item)
        lines = [
            _line(region, numbers[region.category], item.size)
            for region in object_regions(item, classes)
        ]
        place_image(item.image, out / 'images' / inner)
        write_text(out / 'labels' / f'{stem}.txt', ''.join(lines))
    content: dict[str, Any] = {
        split: f'images/{split}' for split in _SPLITS if split in splits
    }
    content['nc'] = len(numbers)
    content['names'] = {
        number: classes.names[index] for index, number in numbers.items()
    }
    write_text(
        out / 'data.yaml',
        yaml.safe_dump(content, allow_unicode=True, sort_keys=False),
    )


def _line(region: Region, number: int, size: tuple[int, int]) -> str:
    """Return the line of an instance; nothing if it has no pixel."""
    polygons = polygons_of(region, size)
    if not polygons:
        return ''
    points = _joined([np.reshape(each, (-1, 2)) for each in polygons])
    shares = (points / size).ravel().tolist()
    return f'{number} {" ".join(f"{share:.8g}" for share in shares)}\n'


def _joined(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Return polygons as one, by the shortest ways from one to the next.

    A way there and back again has no pixel between.

    Args:
        polygons: Points of each, float (N, 2).
    """
    ring = polygons[0]
    for polygon in polygons[1:]:
        gaps = ((ring[:, None] - polygon[None]) ** 2).sum(axis=2)
        at, start = np.unravel_index(gaps.argmin(), gaps.shape)
        turned = np.roll(polygon, -start, axis=0)
        ring = np.concatenate([ring[: at + 1], turned, turned[:1], ring[at:]])
    return ring
