"""Color masks: which color is which class, and masks to indices at speed."""

import csv
import io
import operator
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmseg_ext.labels.camvid import CAMVID11, CAMVID32, GROUPINGS
from mmseg_ext.utils.files import read_text, write_text
from mmseg_ext.utils.images import decode_image
from mmseg_ext.utils.text import (
    csv_text,
    is_unicode,
    listing,
    unguarded,
)

__all__ = [
    'IGNORE_INDEX',
    'MAX_UNKNOWN',
    'ClassDict',
    'Color',
    'ColorClasses',
    'Groups',
    'MaskDecoder',
    'check_classes',
    'find_class_dict',
    'load_classes',
    'mask_decoder',
    'read_class_dict',
    'read_class_names',
    'voc_color',
    'write_class_dict',
]

#: Index of pixels that carry no label; losses and metrics leave them out.
IGNORE_INDEX = 255

#: Names under which data sets list their unlabeled pixels.
_VOID_NAMES = frozenset({'void', 'unlabelled', 'unlabeled'})

#: Share of a mask's pixels that may have unknown colors by default. Blurred
#: edges stay below it, a class list that does not fit the masks does not.
MAX_UNKNOWN = 0.1

#: Stands for "color in no row" in the tables; 255 is taken by void.
_UNKNOWN = 254

#: Rows decoded at a time: the temporaries of a strip stay in the cache,
#: those of a whole image cost thousands of page faults.
_STRIP_PIXELS = 48 * 960

#: Red, green and blue, 0 to 255.
Color = tuple[int, int, int]

#: A ``class_dict.csv``, or what it holds: ``name -> (R, G, B)``; or a text
#: file of names.
ClassDict = str | os.PathLike | Mapping[str, Color]

#: ``group -> ((R, G, B), names of the classes it takes in)``.
Groups = Mapping[str, tuple[Color, Sequence[str]]]


@dataclass(frozen=True)
class ColorClasses:
    """Class list of a data set with color masks.

    Attributes:
        names: Class names; the position is the class index.
        palette: RGB color of each class, 0 to 255, to draw it with.
        color_map: ``((R, G, B), index)`` for each color that masks may hold.
            Several colors may share an index; void has ``IGNORE_INDEX``. None
            for a list of names without colors: masks hold indices then.
        index_map: Class index of each row of the class list that index masks
            were written with; the identity but for void.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    color_map: tuple[tuple[Color, int], ...]
    index_map: tuple[int, ...]

    @classmethod
    def from_colors(cls, colors: Mapping[str, Color]) -> 'ColorClasses':
        """Return a class list as it is.

        Args:
            colors: ``name -> (R, G, B)`` in the order of the indices. A class
                named void, unlabelled or unlabeled keeps its place in the
                list, so that the other indices are those of the release, but
                its pixels become ``IGNORE_INDEX``.
        """
        indices = tuple(
            IGNORE_INDEX if name.lower() in _VOID_NAMES else index
            for index, name in enumerate(colors)
        )
        return cls(
            names=tuple(colors),
            palette=tuple(colors.values()),
            color_map=tuple(zip(colors.values(), indices, strict=True)),
            index_map=indices,
        )

    @classmethod
    def grouped(
        cls, colors: Mapping[str, Color], groups: Groups
    ) -> 'ColorClasses':
        """Return a class list whose classes are merged into groups.

        Args:
            colors: ``name -> (R, G, B)``. A name is a member of a group, the
                name of a group itself, or void.
            groups: ``group -> ((R, G, B), member names)``.

        Raises:
            ValueError: A name is none of these.
        """
        index_of = {}
        for index, (group, (_, members)) in enumerate(groups.items()):
            index_of.update(dict.fromkeys((group, *members), index))
        homeless = [
            name
            for name in colors
            if name not in index_of and name.lower() not in _VOID_NAMES
        ]
        if homeless:
            raise ValueError(
                f'classes {homeless} belong to no group; expected members of '
                f'{list(groups)}'
            )
        indices = tuple(index_of.get(name, IGNORE_INDEX) for name in colors)
        return cls(
            names=tuple(groups),
            palette=tuple(color for color, _ in groups.values()),
            color_map=tuple(zip(colors.values(), indices, strict=True)),
            index_map=indices,
        )


def read_class_dict(path: str | os.PathLike) -> dict[str, Color]:
    """Read a ``class_dict.csv`` with the columns ``name, r, g, b``.

    Args:
        path: The file; spaces after the commas are allowed.

    Returns:
        ``name -> (R, G, B)`` in the order of the rows.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no CSV file in UTF-8, a column is missing, a row has
            more cells than the header, a color is no color or stands twice, a
            name stands twice, or there are no or too many rows.
    """
    # A quoted name may hold line breaks, which StringIO has to leave alone.
    text = io.StringIO(read_text(path), newline='')
    rows = csv.DictReader(text, restval='', skipinitialspace=True, strict=True)
    try:
        header = [field.strip().lower() for field in rows.fieldnames or ()]
        missing = [key for key in ('name', 'r', 'g', 'b') if key not in header]
        if missing:
            raise ValueError(
                f'{path}: column {missing[0]!r} is missing; expected the '
                f'header name,r,g,b, got {",".join(header)!r}'
            )
        rows.fieldnames = header
        return _collect(str(path), _rows(path, rows))
    except csv.Error as error:
        raise ValueError(
            f'{path}, near line {rows.line_num}: {error}; expected CSV, with '
            'names in quotes where they have a comma'
        ) from None


def _rows(
    path: str | os.PathLike[str], rows: 'csv.DictReader[str]'
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield place, name and color of the rows that are not empty."""
    for row in rows:
        place = f'{path}, line {rows.line_num}'
        # DictReader's key for what the header does not name.
        if any(more := row.pop(None, [])):
            raise ValueError(
                f'{place}: {listing(more)} is more than the header has '
                'columns; names with a comma stand in quotes'
            )
        if any(row.values()):
            name = unguarded(row['name'].strip())
            yield place, name, [row[key].strip() for key in 'rgb']


def read_class_names(path: str | os.PathLike) -> dict[str, Color]:
    """Read a list of classes without colors, such as ``codes.txt``.

    Args:
        path: A text file with one name a line, in the order of the indices.

    Returns:
        ``name -> (R, G, B)`` to draw the classes with: CamVid's colors where
        all names are CamVid's, else those of Pascal VOC's palette.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not in UTF-8, a line is blank or has three numbers,
            a name stands twice, or there are no or too many names.
    """
    lines = read_text(path).rstrip().splitlines()
    names = [line.strip() for line in lines[:_UNKNOWN]]
    colors = [voc_color(index) for index in range(len(names))]
    benchmark = {name: color for name, (color, _) in CAMVID11.items()}
    for known in CAMVID32, benchmark:
        if all(n in known or n.lower() in _VOID_NAMES for n in names):
            colors = [known.get(name, (0, 0, 0)) for name in names]
    for number, name in enumerate(names, 1):
        if re.search(r'\d[\s,;:]+\d+[\s,;:]+\d', name):
            raise ValueError(
                f'{path}, line {number}: expected a name only, got {name!r}; '
                'colors stand in a CSV file with the header name,r,g,b'
            )
    places = [f'{path}, line {number + 1}' for number in range(len(names))]
    return _collect(str(path), zip(places, names, colors, strict=True))


def check_classes(
    source: str, colors: Mapping[str, Sequence[int]]
) -> dict[str, Color]:
    """Check a class list.

    Args:
        source: Where it comes from, for messages.
        colors: ``name -> (R, G, B)`` in the order of the indices.

    Returns:
        The same, with colors as tuples.

    Raises:
        ValueError: A name is empty, has blanks at its ends, NULs or
            surrogates or is no text, a color is no color or stands twice, or
            there are no or too many classes.
    """
    return _collect(source, ((source, *item) for item in colors.items()))


def _collect(
    source: str, rows: Iterable[tuple[str, str, Sequence[Any]]]
) -> dict[str, Color]:
    """Check a class list.

    Args:
        source: Where it comes from, for messages.
        rows: Place of a row, for messages, name and color.
    """
    colors: dict[str, Color] = {}
    for place, name, values in rows:
        if not isinstance(name, str) or not name or name != name.strip():
            raise ValueError(
                f'{place}: expected a name without blanks at its ends, got '
                f'{name!r}'
            )
        if not is_unicode(name) or '\0' in name:
            raise ValueError(
                f'{place}: expected a name that text files can hold, got '
                f'{name!r}'
            )
        color = _parse_color(place, name, values)
        for other, other_color in colors.items():
            if name == other or color == other_color:
                raise ValueError(
                    f'{place}: {name} {color} repeats {other} {other_color}; '
                    'every name and every color may stand once'
                )
        colors[name] = color
    if not 1 <= len(colors) < _UNKNOWN:
        raise ValueError(
            f'{source}: {len(colors)} classes; expected 1 to {_UNKNOWN - 1}, '
            'which is what 8-bit labels can hold'
        )
    return colors


def _parse_color(place: str, name: str, values: Sequence[Any]) -> Color:
    """Return the color of a class."""
    try:
        red, green, blue = (
            int(value) if isinstance(value, str) else operator.index(value)
            for value in values
        )
    except (TypeError, ValueError):
        raise ValueError(
            f'{place}: expected a name and three integers, got '
            f'{[name, *values]}'
        ) from None
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(
            f'{place}: color {(red, green, blue)} is outside 0 to 255'
        )
    return red, green, blue


def find_class_dict(*folders: str | os.PathLike) -> Path | None:
    """Return the first ``class_dict.csv`` in some folders, if any.

    One that cannot be read, such as a link to nowhere, counts as well: its
    reader says so, where another list would take its place without a word.
    """
    paths = (Path(folder) / 'class_dict.csv' for folder in folders)
    return next(filter(os.path.lexists, paths), None)


def load_classes(
    class_dict: ClassDict, grouping: str | Groups | None
) -> ColorClasses:
    """Return the class list of a data set with color masks.

    Args:
        class_dict: A ``class_dict.csv``, or ``name -> (R, G, B)`` in the
            order of the indices; or a file that ends in ``.txt``, with one
            name a line, for index masks.
        grouping: ``'camvid11'``, or groups as for
            :meth:`ColorClasses.grouped`; None takes the list as it is.

    Returns:
        Names, palette and color map.

    Raises:
        OSError: The file cannot be read.
        ValueError: The list is not right, the grouping unknown, or a class
            is in none of its groups.
    """
    if isinstance(class_dict, Mapping):
        colors = check_classes('class_dict', class_dict)
    elif _has_names_only(class_dict):
        colors = read_class_names(class_dict)
        return replace(_grouped(class_dict, colors, grouping), color_map=())
    else:
        colors = read_class_dict(class_dict)
    return _grouped(class_dict, colors, grouping)


def _has_names_only(path: str | os.PathLike[str]) -> bool:
    """Tell a list of names from a CSV file, which may end in .txt as well."""
    if not os.fspath(path).lower().endswith('.txt'):
        return False
    return ',' not in read_text(path).partition('\n')[0]


def _grouped(
    class_dict: ClassDict,
    colors: Mapping[str, Color],
    grouping: str | Groups | None,
) -> ColorClasses:
    """Return a class list, or its groups."""
    if grouping is None:
        return ColorClasses.from_colors(colors)
    groups = grouping
    if isinstance(groups, str):
        if groups not in GROUPINGS:
            raise ValueError(
                f'grouping={groups!r}: expected one of {list(GROUPINGS)}, '
                'groups of your own, or None'
            )
        groups = GROUPINGS[groups]
    try:
        return ColorClasses.grouped(colors, groups)
    except ValueError as error:
        raise ValueError(
            f'grouping={grouping!r} of {class_dict}: {error}'
        ) from None


class MaskDecoder:
    """Decoder of mask files, in color or already of indices.

    One table of 2^24 bytes answers for every color at once, so the time does
    not depend on the number of classes.

    Args:
        color_map: ``((R, G, B), index)`` pairs, see :class:`ColorClasses`.
        index_map: Class index of each value that index masks may hold;
            ``IGNORE_INDEX`` is always allowed and kept.
    """

    def __init__(
        self,
        color_map: Sequence[tuple[Color, int]],
        index_map: Sequence[int],
    ) -> None:
        self._colors = np.full(1 << 24, _UNKNOWN, np.uint8)
        for (red, green, blue), index in color_map:
            self._colors[red << 16 | green << 8 | blue] = index
        self._indices = np.full(256, _UNKNOWN, np.uint8)
        self._indices[: len(index_map)] = index_map
        self._indices[IGNORE_INDEX] = IGNORE_INDEX
        self._num_indices = len(index_map)
        self._has_colors = bool(color_map)

    def decode_file(
        self,
        data: bytes,
        path: str,
        max_unknown: float,
        describe: bool = True,
    ) -> tuple[np.ndarray, str | None]:
        """Decode the bytes of a mask file.

        Args:
            data: Content of a PNG, BMP or any other lossless image file with
                one channel (indices), three (RGB) or four (alpha is dropped).
            path: Name of the file, for messages.
            max_unknown: Share of the pixels, 0 to 1, that may have a color in
                no row of the class list.
            describe: Count the unknown colors one by one, which takes longer
                than all the rest.

        Returns:
            uint8 (H, W) class indices, unknown colors as ``IGNORE_INDEX``;
            and a sentence that counts the unknown colors, None without any
            or where it was not asked for.

        Raises:
            ValueError: The file is no 8-bit image, an index is outside the
                class list, or more than ``max_unknown`` of the pixels have
                unknown colors.
        """
        mask = decode_image(data, f'label {path}', cv2.IMREAD_UNCHANGED)
        if mask.dtype != np.uint8:
            raise ValueError(
                f'label {path} has pixels of {mask.dtype}; expected 8 bits '
                'a channel'
            )
        if mask.ndim == 2:
            return self._decode_indices(mask, path), None
        if not self._has_colors:
            raise ValueError(
                f'label {path} is in color, but the class list has names '
                'only: expected an index mask, or a class_dict.csv with the '
                'colors'
            )
        labels, unknown = self.decode_colors(mask)
        too_many = unknown > max_unknown * labels.size
        if not unknown or not (describe or too_many):
            return labels, None
        report = self._describe_unknown(mask, unknown)
        if too_many:
            raise ValueError(
                f'label {path}: {report}; at most {max_unknown:.0%} may be. '
                "Do the masks fit the class list's colors (RGB order, "
                'lossless file)?'
            )
        return labels, f'label {path}: {report}, ignored'

    def decode_colors(self, mask: np.ndarray) -> tuple[np.ndarray, int]:
        """Look up the colors of a mask.

        Args:
            mask: uint8 (H, W, 3) BGR or (H, W, 4) BGRA, as OpenCV reads it.

        Returns:
            uint8 (H, W) class indices, unknown colors as ``IGNORE_INDEX``;
            and the number of pixels with unknown colors.
        """
        height, width = mask.shape[:2]
        rows = max(1, _STRIP_PIXELS // max(1, width))
        labels = np.empty((height, width), np.uint8)
        bgra = np.empty((min(rows, height), width, 4), np.uint8)
        unknown = 0
        for top in range(0, height, rows):
            strip = mask[top : top + rows]
            out = labels[top : top + rows]
            if strip.shape[2] == 3:
                part = bgra[: len(strip)]
                cv2.cvtColor(strip, cv2.COLOR_BGR2BGRA, dst=part)
            else:
                part = strip.copy()
                part[..., 3] = 255
            # Alpha 255 makes the key negative by exactly the table's length,
            # which 'wrap' undoes with one addition and no bounds check.
            keys = part.view('<i4')[..., 0]
            self._colors.take(keys, mode='wrap', out=out)
            count = int(np.count_nonzero(out == _UNKNOWN))
            if count:
                out[out == _UNKNOWN] = IGNORE_INDEX
                unknown += count
        return labels, unknown

    def _decode_indices(self, mask: np.ndarray, path: str) -> np.ndarray:
        """Map the values of an index mask; all of them must be known."""
        labels = cv2.LUT(mask, self._indices)
        wrong = labels == _UNKNOWN
        if wrong.any():
            raise ValueError(
                f'label {path} holds the values '
                f'{np.unique(mask[wrong]).tolist()}, but the class list has '
                f'{self._num_indices} rows: expected 0 to '
                f'{self._num_indices - 1} and {IGNORE_INDEX}'
            )
        return labels

    def _describe_unknown(self, mask: np.ndarray, unknown: int) -> str:
        """Count the unknown colors of a mask, the most frequent ones first."""
        pixels = mask[..., 2::-1].reshape(-1, 3).astype(np.int32)
        keys = pixels @ np.array([1 << 16, 1 << 8, 1], np.int32)
        counts = Counter(
            keys[self._colors[keys] == _UNKNOWN].tolist()
        ).most_common()
        colors = [
            f'({key >> 16}, {key >> 8 & 255}, {key & 255}) {count} times'
            for key, count in counts
        ]
        return (
            f'{unknown} of {keys.size} pixels have colors in no row of the '
            f'class list: {listing(colors)}'
        )


@lru_cache(maxsize=4)
def mask_decoder(
    color_map: tuple[tuple[Color, int], ...], index_map: tuple[int, ...]
) -> MaskDecoder:
    """Return a decoder, the same one for the same maps."""
    return MaskDecoder(color_map, index_map)


def write_class_dict(
    path: str | os.PathLike[str], colors: Mapping[str, Color]
) -> None:
    """Write a ``class_dict.csv``, whole or not at all.

    Args:
        path: The file.
        colors: ``name -> (R, G, B)`` in the order of the indices.

    Raises:
        ValueError: It is no class list; see :func:`check_classes`.
    """
    check_classes(str(path), colors)
    rows = [(name, *color) for name, color in colors.items()]
    write_text(path, csv_text([('name', 'r', 'g', 'b'), *rows]), durable=True)


def voc_color(index: int) -> Color:
    """Return the color that Pascal VOC's palette has for an index, 0 to 255.

    Its bits go to red, green and blue in turn, lowest bit to the highest.

    >>> [voc_color(index) for index in range(4)]
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    """
    red, green, blue = (
        sum((index >> 3 * bit + part & 1) << 7 - bit for bit in range(3))
        for part in range(3)
    )
    return red, green, blue
