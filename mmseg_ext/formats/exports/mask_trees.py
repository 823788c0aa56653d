"""Images and mask files, in trees such as VOC's or in any folders."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from mmseg_ext.formats.color_masks import (
    BACKGROUND_NAMES,
    IGNORE_INDEX,
    Color,
    mask_decoder,
    voc_color,
)
from mmseg_ext.formats.exports.class_lists import (
    CLASS_LISTS,
    ClassList,
    background_of,
    find_class_list,
    has_no_class,
    listed_classes,
)
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Export,
    Folder,
    InvalidExportError,
    Masks,
    Picture,
    Tally,
)
from mmseg_ext.formats.exports.regions import Region, regions_of_map
from mmseg_ext.formats.mask_values import (
    COLOR_BITS,
    color_keys,
    tally,
    tally_png,
)
from mmseg_ext.formats.masks import Mask, read_mask
from mmseg_ext.formats.rle import encode_runs, runs_of_values
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.text import listing, normal_form, printable

__all__ = [
    'MADE',
    'VOID_COLOR',
    'ClassRows',
    'MaskTree',
    'by_stem',
    'color_key',
    'key_color',
    'labels_to_write',
    'object_regions',
    'sample_masks',
]

#: What messages call a list that is made where there is none.
MADE = 'the list made of all masks'

#: What VOC draws the borders of objects in, the color of index 255.
VOID_COLOR = (224, 224, 192)

#: Masks that are looked at before all are read.
_SAMPLE = 8

#: Objects that an image may have.
_MOST_OBJECTS = 65535

Tree = TypeVar('Tree', bound='MaskTree')


@dataclass(frozen=True)
class ClassRows:
    """What stands in the masks for which class.

    Attributes:
        names: Name by what stands for it: a value, or a color as
            :func:`color_key`. Void and the like are no classes.
        colors: RGB color of each name, 0 to 255.
        source: Where it is from, for messages, such as ``'labels.txt'``.
        left_out: Other names that are no classes.
        zero: Whether a value of 0, or black, is the background, whatever it
            is called.
    """

    names: Mapping[int, str]
    colors: Mapping[str, Color]
    source: str
    left_out: frozenset[str] = frozenset()
    zero: bool = False

    @cached_property
    def classes(self) -> Classes:
        """The classes, in the order of the rows."""
        names = tuple(
            name
            for name in self.names.values()
            if not has_no_class(name) and name not in self.left_out
        )
        palette = tuple(self.colors[name] for name in names)
        ground = background_of(names)
        if ground is None and self.zero and self.names.get(0) in names:
            ground = names.index(self.names[0])
        return Classes(names, palette, ground)

    @cached_property
    def indices(self) -> dict[int, int]:
        """Index of the class, or 255, of each value or color."""
        places = {name: i for i, name in enumerate(self.classes.names)}
        return {
            key: places.get(name, IGNORE_INDEX)
            for key, name in self.names.items()
        }

    @classmethod
    def of(cls, listed: ClassList, source: str, by_color: bool) -> 'ClassRows':
        """Return what a list says.

        Values are those that the list has, or else the numbers of its rows;
        without colors, those of VOC's palette are taken.

        Args:
            listed: The list.
            source: What messages call it.
            by_color: Whether masks hold colors.
        """
        values = listed.values or tuple(range(len(listed.names)))
        colors = listed.colors or tuple(map(voc_color, values))
        keys = tuple(map(color_key, colors)) if by_color else values
        return cls(
            dict(zip(keys, listed.names, strict=True)),
            dict(zip(listed.names, colors, strict=True)),
            source,
        )

    @classmethod
    def read(
        cls,
        folder: Folder,
        files: Iterable[str],
        by_color: bool,
        names: Sequence[str] = (*CLASS_LISTS, 'labels.txt'),
    ) -> 'ClassRows | None':
        """Read the list of classes of some masks; None where there is none.

        Args:
            folder: The user's, who may have given a list.
            files: Masks; the list nearest to each is theirs.
            by_color: Whether masks hold colors.
            names: What lists are called.

        Raises:
            InvalidExportError: One cannot be read, or two differ.
        """
        lists: dict[Path, ClassRows] = {}
        for file in {os.path.dirname(file): file for file in files}.values():
            path = find_class_list(folder, [file], names)
            if path is None or path in lists:
                continue
            source = path.name
            if path != folder.class_list:
                source = path.relative_to(folder.root).as_posix()
            lists[path] = cls.of(listed_classes(path), source, by_color)
        first = next(iter(lists), folder.root)
        for path, rows in lists.items():
            one, other = dict(lists[first].names), dict(rows.names)
            for key in sorted(one | other):
                if one.get(key) != other.get(key):
                    raise InvalidExportError(
                        path,
                        f'has {other.get(key, "no class")} where {first} has '
                        f'{one.get(key, "no class")}; expected the same '
                        'classes in both: mend one of the lists',
                    )
        return lists.get(first)


@dataclass(frozen=True)
class MaskTree(Export):
    """Images, each with a mask file, of indices or of colors.

    The key of a picture is the path of the file with its instances; None
    where they are the connected parts of classes.

    Attributes:
        by_color: Whether masks hold colors; else indices.
        rows: What stands for which class; None until :meth:`settled` where
            the masks decide.
    """

    by_color: bool = field(default=False, kw_only=True)
    rows: ClassRows | None = field(default=None, kw_only=True)

    def with_rows(self: Tree, rows: ClassRows) -> Tree:
        """Return it with its classes."""
        if self.by_color:
            colors = {name: rows.colors[name] for name in rows.names.values()}
            masks = Masks(colors=colors)
        else:
            masks = Masks(
                label_map={
                    value: index
                    for value, index in rows.indices.items()
                    if value != index
                }
            )
        return replace(self, rows=rows, classes=rows.classes, masks=masks)

    def tally(self, picture: Picture) -> Tally:
        """Count the values or colors of a mask."""
        data = self._read(picture)
        if self.masks and (quick := tally_png(data)):
            counts = quick.as_colors() if self.by_color else quick.as_grays()
            if counts is not None:
                return Tally(quick.size, counts)
        pixels = self.pixels_of(data)
        height, width = pixels.shape[:2]
        return Tally((width, height), tally(pixels).as_dict())

    def settled(self: Tree, tallies: Sequence[Tally]) -> Tree:
        """Return it with its classes; each value in a mask has to be one."""
        settled = self
        if self.rows is None:
            listed = self.rows_of(tallies)
            settled = replace(
                self.with_rows(listed),
                evidence=(*self.evidence, *self.told_of(listed, tallies)),
            )
        rows = settled.rows
        assert rows is not None
        if not rows.classes.names:
            names = listing([*rows.names.values()])
            raise InvalidExportError(
                self.folder,
                f'{rows.source} lists {names}, none of which is a class; '
                'expected the names of classes'
                if names
                else f'no pixel of {len(tallies)} masks has a class: all are '
                f'{IGNORE_INDEX}; expected indices of classes',
            )
        known = set(rows.names) | (set() if self.by_color else {IGNORE_INDEX})
        wrong = [
            (picture, each.counts, unknown)
            for picture, each in zip(self.pictures, tallies, strict=True)
            if (unknown := sorted(each.counts.keys() - known))
        ]
        if wrong:
            picture, counts, unknown = wrong[0]
            fault = settled._fault(unknown, sum(counts[k] for k in unknown))
            raise InvalidExportError(
                self.folder / (picture.labels or picture.name),
                f'{fault}; so it is in {len(wrong)} of {len(tallies)} masks',
            )
        return settled

    def rows_of(self, tallies: Sequence[Tally]) -> ClassRows:
        """Return the classes where the masks decide which there are.

        For formats that may be found without a list of classes.

        Args:
            tallies: Of all masks.

        Raises:
            InvalidExportError: They cannot be classes.
            TypeError: The format is never found without a list.
        """
        raise TypeError(f'{self.NAME} has to be found with its classes')

    def told_of(
        self, rows: ClassRows, tallies: Sequence[Tally]
    ) -> Sequence[str]:
        """Return evidence for classes that the masks decide, line by line.

        Args:
            rows: The classes, of :meth:`rows_of`.
            tallies: Of all masks.
        """
        source = 'all masks' if rows.source == MADE else rows.source
        return [f'no list of classes: those of {source}']

    def pixels_of(self, data: bytes) -> np.ndarray:
        """Return what stands in a mask.

        Args:
            data: Content of the file.

        Returns:
            uint8 (H, W) of values, or (H, W, 3) of colors, BGR.

        Raises:
            ValueError: It is no such mask.
        """
        mask = read_mask(data, 'it')
        return _colors(mask) if self.by_color else mask.labels()

    def index_of(self, key: int) -> int:
        """Return the index of a value or color."""
        assert self.rows is not None
        return self.rows.indices.get(key, IGNORE_INDEX)

    def label_map(self, picture: Picture) -> np.ndarray:
        """Return the class of each pixel."""
        assert self.rows is not None
        pixels = self.pixels_of(self._read(picture))
        indices = self.rows.indices
        if self.by_color:
            decoder = mask_decoder(
                tuple((key_color(key), i) for key, i in indices.items()), ()
            )
            labels, unknown = decoder.decode_colors(pixels)
            if unknown:
                found = set(tally(pixels).as_dict())
                raise ValueError(
                    self._fault(sorted(found - indices.keys()), unknown)
                )
            return labels
        table = np.full(256, IGNORE_INDEX, np.uint8)
        table[[*indices]] = [*indices.values()]
        strange = np.ones(256, np.uint8)
        strange[[*indices, IGNORE_INDEX]] = 0
        if (wrong := cv2.LUT(pixels, strange)).any():
            found = np.unique(pixels[wrong > 0]).tolist()
            raise ValueError(self._fault(found, int(np.count_nonzero(wrong))))
        return cv2.LUT(pixels, table)

    def regions(self, picture: Picture) -> Sequence[Region]:
        """Return the instances in a picture.

        Those of a file of instances that covers two classes are one of each;
        what it leaves out of a class is taken in connected parts.
        """
        assert self.classes is not None
        labels, ground = self.label_map(picture), self.classes.background
        if picture.key is None:
            return regions_of_map(labels, ground)
        objects = self.objects_of(picture, labels.shape)
        left = np.where(objects == 0, labels, IGNORE_INDEX).astype(np.uint8)
        return [
            *object_regions(labels, objects, ground),
            *regions_of_map(left, ground),
        ]

    def objects_of(
        self, picture: Picture, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Return the number of the instance of each pixel.

        Args:
            picture: One with a key.
            shape: Height and width of its label map.

        Returns:
            int32 (H, W), from 1 on; 0 for none, and -1 where it is not known.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no mask, or of another size.
        """
        name = f'the file of its instances, {printable(picture.key)},'
        mask = read_mask(read_file(self.folder / picture.key), name)
        if mask.pixels.shape[:2] != shape:
            (h, w), (height, width) = mask.pixels.shape[:2], shape
            raise ValueError(
                f'is of {width}x{height} pixels, but {name} of {w}x{h}; '
                'expected equal sizes'
            )
        if mask.palette is None and mask.gray() is None:
            colors = _colors(mask)
            keys = color_keys(colors.reshape(-1, 3)) & COLOR_BITS
            objects = keys.astype(np.int32).reshape(colors.shape[:2])
            objects[objects == color_key(VOID_COLOR)] = -1
        else:
            objects = mask.indices().astype(np.int32)
            objects[objects == IGNORE_INDEX] = -1
        return objects

    def _read(self, picture: Picture) -> bytes:
        assert picture.labels is not None
        return read_file(self.folder / picture.labels)

    def _fault(self, wrong: Sequence[int], pixels: int) -> str:
        """Say what values or colors of a mask are no class, and what to do."""
        assert self.rows is not None
        rows = self.rows
        if self.by_color:
            colors = listing([key_color(key) for key in wrong])
            return (
                f'{pixels} pixels have the colors {colors}, which '
                f'{rows.source} lacks; expected the colors of its '
                f'{len(rows.names)} rows: add a row for each, or mend the mask'
            )
        hint = 'add rows for them, or mend the mask'
        first = next(iter(rows.names.values()), '')
        if wrong == [len(rows.names)] and first.lower() not in (
            BACKGROUND_NAMES
        ):
            hint = 'put background in its first line if the first class is 1'
        return (
            f'{pixels} pixels have the values {listing(wrong)}, but '
            f'{rows.source} has {len(rows.names)} classes: expected '
            f'{listing([*rows.names], 40)} or {IGNORE_INDEX}: {hint}'
        )


# Reading.


def by_stem(folder: Folder, inner: str, ending: str = '') -> dict[str, str]:
    """Return the images of a folder by their stems.

    Args:
        folder: The user's.
        inner: The path of one in it, with ``/`` at its end; or nothing.
        ending: What stems end in to be found, which is cut off.

    Returns:
        Paths relative to ``folder``, by paths relative to ``inner`` without
        suffix, in Unicode's normal form.

    Raises:
        InvalidExportError: Two differ in the suffix only.
    """
    found: dict[str, str] = {}
    for name in folder.images:
        stem = os.path.splitext(name)[0]
        if not name.startswith(inner) or not stem.endswith(ending):
            continue
        key = normal_form(stem[len(inner) : len(stem) - len(ending)])
        if key in found:
            raise InvalidExportError(
                folder.root / name,
                f'has the name of {printable(found[key])} but for the suffix, '
                'so which belongs to which is not known: remove one of them',
            )
        found[key] = name
    return found


def sample_masks(folder: Folder, names: Sequence[str]) -> list[Mask]:
    """Read some masks, from all over a list.

    Raises:
        InvalidExportError: One cannot be read.
    """
    masks = []
    for name in names[:: len(names) // _SAMPLE + 1]:
        try:
            masks.append(read_mask(read_file(folder.root / name), 'it'))
        except (OSError, ValueError) as error:
            raise InvalidExportError(folder.root / name, str(error)) from None
    return masks


def color_key(color: Color) -> int:
    """Return a color as a number, ``red << 16 | green << 8 | blue``."""
    red, green, blue = color
    return red << 16 | green << 8 | blue


def key_color(key: int) -> Color:
    """Return the color of a number; see :func:`color_key`."""
    return key >> 16, key >> 8 & 255, key & 255


def _colors(mask: Mask) -> np.ndarray:
    """Return the colors of a mask without transparent pixels."""
    if mask.transparent is not None:
        raise ValueError(
            f'it ({mask.form}) has {np.count_nonzero(mask.transparent)} '
            'transparent pixels; expected a color for each: save it without '
            'alpha'
        )
    return mask.colors()


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the values in an image, fast where neighbors are equal.

    Args:
        values: Integers (H, W).

    Returns:
        The values, sorted; and for each pixel the place of its value among
        them, int64 (H, W).
    """
    flat = values.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], changes))
    found, places = np.unique(flat[starts], return_inverse=True)
    lengths = np.diff(starts, append=flat.size)
    return found, np.repeat(places, lengths).reshape(values.shape)


def object_regions(
    labels: np.ndarray, objects: np.ndarray, background: int | None
) -> list[Region]:
    """Return the instances of an image whose pixels have their numbers.

    Args:
        labels: uint8 (H, W), indices of classes, or 255.
        objects: int32 (H, W), the number of each pixel's instance, from 1 on;
            others are none.
        background: The class of which there are no instances; None for none.

    Returns:
        Instances in the order of their numbers, then of their classes.

    Raises:
        ValueError: There are more than 65535.
    """
    height, width = labels.shape
    pairs = objects.astype(np.int64) << 8 | labels
    none = (objects < 1) | (labels == IGNORE_INDEX)
    if background is not None:
        none |= labels == background
    pairs[none] = -1
    found, places = _numbered(pairs)
    if len(found) > _MOST_OBJECTS:
        raise ValueError(
            f'has {len(found)} instances; expected at most {_MOST_OBJECTS}'
        )
    return [
        Region(int(found[place]) & 255, encode_runs(runs, (height, width)))
        for place, runs in runs_of_values(places.astype(np.uint16))
        if found[place] >= 0
    ]


# Writing.


def labels_to_write(item: Annotated, classes: Classes) -> np.ndarray:
    """Return the label map of an item.

    Raises:
        ValueError: There is none, or it is not of the image's size, or has an
            index beyond the classes.
    """
    labels = item.labels
    if labels is None:
        raise ValueError(
            f'{item.name}: this format holds label maps, and the item has '
            'none; expected labels, uint8 (H, W)'
        )
    width, height = item.size
    if labels.shape != (height, width):
        raise ValueError(
            f'{item.name}: labels of shape {labels.shape}; expected '
            f'{(height, width)}, the height and width of the image'
        )
    wrong = labels[(labels >= len(classes.names)) & (labels != IGNORE_INDEX)]
    if wrong.size:
        raise ValueError(
            f'{item.name}: labels have the index {wrong[0]}; expected 0 to '
            f'{len(classes.names) - 1} or {IGNORE_INDEX}'
        )
    return labels
