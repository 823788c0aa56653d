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

from mmseg_ext.formats.masks import Mask, is_black_and_white, read_mask
from mmseg_ext.labels.camvid import CAMVID11, CAMVID32, GROUPINGS
from mmseg_ext.utils.files import read_text, write_text
from mmseg_ext.utils.text import (
    csv_text,
    is_unicode,
    listing,
    unguarded,
)

__all__ = [
    'BACKGROUND_NAMES',
    'IGNORE_INDEX',
    'MAX_UNKNOWN',
    'VOID_NAMES',
    'ClassDict',
    'Color',
    'ColorClasses',
    'Decoded',
    'Groups',
    'MaskDecoder',
    'MaskRules',
    'assumed_classes',
    'check_classes',
    'find_class_dict',
    'load_classes',
    'mask_decoder',
    'mask_rules',
    'read_class_dict',
    'read_class_names',
    'voc_color',
    'write_class_dict',
]

#: Index of pixels that carry no label; losses and metrics leave them out.
IGNORE_INDEX = 255

#: Names under which data sets list their unlabeled pixels.
VOID_NAMES = frozenset({'void', 'unlabelled', 'unlabeled'})

#: What data sets call all that is no object, in lower case.
BACKGROUND_NAMES = VOID_NAMES | {'background', 'bg', '_background_'}

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

    def index_of(self, name: str) -> int:
        """Return the index that pixels of a class get.

        Raises:
            ValueError: There is no such class.
        """
        index = self.names.index(name)
        return IGNORE_INDEX if name.lower() in VOID_NAMES else index

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
            IGNORE_INDEX if name.lower() in VOID_NAMES else index
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
            if name not in index_of and name.lower() not in VOID_NAMES
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
        if all(n in known or n.lower() in VOID_NAMES for n in names):
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


def assumed_classes(owner: str, folders: Iterable[str]) -> str:
    """Say why the classes of a release are taken, and where none were found.

    Args:
        owner: Whose classes they are.
        folders: Where a ``class_dict.csv`` was looked for.
    """
    return (
        f'No class_dict.csv is in {" or ".join(folders)}, so the classes are '
        f"those of {owner}'s release"
    )


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


@dataclass(frozen=True)
class MaskRules:
    """What a data set declares of its masks, beside the class list.

    Attributes:
        masks: ``'index'`` or ``'color'``; None decides for each file, by the
            rule of :class:`MaskDecoder`.
        transparent: Class index of transparent pixels, ``IGNORE_INDEX``
            included; None makes them an error.
        assumed: Sentence that says why a class list was assumed that nobody
            gave, and which; it has to fit exactly then. None where the list
            was given.
    """

    masks: str | None = None
    transparent: int | None = None
    assumed: str | None = None

    def __post_init__(self) -> None:
        if self.masks not in (None, 'index', 'color'):
            raise ValueError(
                f"masks={self.masks!r}: expected 'index', 'color', or None to "
                'decide for each file'
            )


def mask_rules(
    classes: ColorClasses,
    masks: str | None,
    transparent: str | None,
    assumed: str | None = None,
) -> MaskRules:
    """Check what is declared of masks against their class list.

    Args:
        classes: The class list.
        masks: See :class:`MaskRules`.
        transparent: ``'ignore'`` or the name of a class; None makes
            transparent pixels an error.
        assumed: See :class:`MaskRules`.

    Raises:
        ValueError: ``masks`` or ``transparent`` is none of these, or
            ``masks`` is ``'color'`` and the list has no colors.
    """
    if masks == 'color' and not classes.color_map:
        raise ValueError(
            "masks='color', but the class list has names only: expected a "
            'class_dict.csv with colors'
        )
    if transparent is None:
        return MaskRules(masks, None, assumed)
    if transparent == 'ignore':
        return MaskRules(masks, IGNORE_INDEX, assumed)
    if transparent not in classes.names:
        raise ValueError(
            f"transparent={transparent!r}: expected 'ignore' or one of the "
            f'classes {list(classes.names)}'
        )
    return MaskRules(masks, classes.index_of(transparent), assumed)


@dataclass(frozen=True)
class Decoded:
    """A mask as class indices.

    Attributes:
        labels: uint8 (H, W) class indices, unknown colors as ``IGNORE_INDEX``.
        warning: Sentence that counts the unknown colors; None without any, or
            where it was not asked for.
        indices: uint8 or uint16 (H, W), the stored indices, where that is
            what the file holds; else None.
        read_as: As what a file of plain grays or with a palette was read,
            ``'index'`` or ``'color'``, where its values decided that; else
            None.
    """

    labels: np.ndarray
    warning: str | None = None
    indices: np.ndarray | None = None
    read_as: str | None = None


class MaskDecoder:
    """Decoder of mask files, in color or already of indices.

    One table of 2^24 bytes answers for every color at once, so the time does
    not depend on the number of classes.

    Whether a file holds indices or colors is decided so, unless ``rules``
    declare it:

    - A file of plain grays holds indices if each value is a row of the class
      list or 255, and colors if each gray is a color of the class list. If
      both are so and the labels differ, it holds colors if it shows white and
      the class list has white; else it is an error, as where neither is so.
      Grays of 1, 2 and 4 bits are indices as stored, and colors as shown.
    - All others, palettes and grays with alpha among them, hold colors,
      though entries of a palette may be rows as well. If
      some are unknown and all values of its one channel, or of three that are
      equal, are rows or 255, it is an error which says that these look like
      indices.

    Args:
        color_map: ``((R, G, B), index)`` pairs, see :class:`ColorClasses`.
        index_map: Class index of each value that index masks may hold;
            ``IGNORE_INDEX`` is always allowed and kept.
        rules: What else is known of the masks.
    """

    def __init__(
        self,
        color_map: Sequence[tuple[Color, int]],
        index_map: Sequence[int],
        rules: MaskRules = MaskRules(),
    ) -> None:
        self._colors = np.full(1 << 24, _UNKNOWN, np.uint8)
        for (red, green, blue), index in color_map:
            self._colors[red << 16 | green << 8 | blue] = index
        self._grays = self._colors[:: 1 << 16 | 1 << 8 | 1].copy()
        self._indices = np.full(256, _UNKNOWN, np.uint8)
        self._indices[: len(index_map)] = index_map
        self._indices[IGNORE_INDEX] = IGNORE_INDEX
        self._num_indices = len(index_map)
        self._rules = rules
        self._has_colors = bool(color_map)

    def decode_file(
        self,
        data: bytes,
        path: str,
        max_unknown: float,
        describe: bool = True,
    ) -> Decoded:
        """Decode the bytes of a mask file.

        Args:
            data: Content of a file that :func:`~mmseg_ext.formats.masks.\
read_mask` takes.
            path: Name of the file, for messages.
            max_unknown: Share of the pixels, 0 to 1, that may have a color in
                no row of the class list; none may where the list was assumed.
            describe: Count the unknown colors one by one, which takes longer
                than all the rest.

        Raises:
            ValueError: The file cannot be read as a mask, an index is outside
                the class list, more than ``max_unknown`` of the pixels have
                unknown colors, pixels are transparent though nothing is
                declared of them, or it is not known what the values mean.
        """
        mask = read_mask(data, f'label {path}')
        if self._rules.masks == 'index' or not self._has_colors:
            return self._decode_indices(mask)
        if self._rules.masks is None and mask.is_plain_gray:
            return self._decode_gray(mask)
        colors = self._opaque(mask)
        labels, unknown = self.decode_colors(colors)
        if mask.transparent is not None:
            labels[mask.transparent] = self._rules.transparent
        if not unknown:
            return Decoded(labels, read_as=self._palette_as(mask))
        if self._rules.masks is None:
            self._check_no_indices(mask)
        allowed = 0 if self._rules.assumed else max_unknown
        too_many = unknown > allowed * labels.size
        if not (describe or too_many):
            return Decoded(labels)
        report = self._describe_unknown(colors, unknown)
        if too_many:
            raise ValueError(
                f'{mask.name}: {report}; at most {allowed:.0%} may be. '
                + self._mend()
            )
        return Decoded(labels, f'{mask.name}: {report}, ignored')

    def decode_colors(self, mask: np.ndarray) -> tuple[np.ndarray, int]:
        """Look up the colors of a mask.

        Args:
            mask: uint8 (H, W, 3), BGR.

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
            part = bgra[: len(strip)]
            cv2.cvtColor(strip, cv2.COLOR_BGR2BGRA, dst=part)
            # Alpha 255 makes the key negative by exactly the table's length,
            # which 'wrap' undoes with one addition and no bounds check.
            keys = part.view('<i4')[..., 0]
            self._colors.take(keys, mode='wrap', out=out)
            count = int(np.count_nonzero(out == _UNKNOWN))
            if count:
                out[out == _UNKNOWN] = IGNORE_INDEX
                unknown += count
        return labels, unknown

    def _decode_gray(self, mask: Mask) -> Decoded:
        """Decode a file of plain grays as what its values are."""
        shown = mask.shown()
        by_color = _look_up(shown, self._grays)
        by_index = None
        if not self._rules.assumed and not mask.white_is_zero:
            by_index = _look_up(mask.pixels, self._indices)
        if by_index is None:
            if by_color is None:
                raise ValueError(self._neither(mask))
            return Decoded(by_color, read_as='color')
        if by_color is None:
            return Decoded(by_index, indices=mask.pixels, read_as='index')
        if np.array_equal(by_index, by_color):
            return Decoded(by_index)
        # White is a class here, so 255 does not mean ignored.
        white = self._grays[IGNORE_INDEX] != _UNKNOWN
        if white and shown.max() == IGNORE_INDEX:
            return Decoded(by_color, read_as='color')
        raise ValueError(
            f'{mask.name} ({mask.form}) holds the values '
            f'{listing(np.unique(mask.pixels).tolist())}, which are rows of '
            'the class list as well as grays in it, of other classes: say '
            "masks='index' or masks='color' in the data set"
        )

    def _palette_as(self, mask: Mask) -> str | None:
        """Say that a palette of known colors was read as these.

        Its entries may be rows of the class list as well.
        """
        if self._rules.masks or mask.palette is None:
            return None
        return 'color' if mask.pixels.max() < self._num_indices else None

    def _neither(self, mask: Mask) -> str:
        """Say what values are neither rows nor, if they may be, colors."""
        values = np.unique(mask.pixels)
        if self._rules.assumed:
            return (
                f'{mask.name} ({mask.form}) holds the values '
                f'{listing(values.tolist())}. {self._rules.assumed}, but '
                'index masks need a list of their indices: add the '
                'class_dict.csv of these masks, its rows in the order of the '
                'indices'
            )
        rows = [*range(self._num_indices), IGNORE_INDEX]
        text = (
            f'{mask.name} ({mask.form}) holds the values '
            f'{listing(np.setdiff1d(values, rows).tolist())}, but the class '
            f'list has {self._num_indices} rows: expected 0 to '
            f'{self._num_indices - 1} and {IGNORE_INDEX}'
        )
        if self._rules.masks is None:
            text += ', or grays that are all in the class list'
        return text

    def _decode_indices(self, mask: Mask) -> Decoded:
        """Map the values of an index mask; all of them must be known."""
        clear = mask.transparent
        if clear is None or self._rules.transparent is None:
            indices = mask.indices()
        else:
            indices = self._opaque_indices(mask)
        labels = _look_up(indices, self._indices)
        if labels is None or self._rules.assumed:
            raise ValueError(self._neither(mask))
        if clear is not None and self._rules.transparent is not None:
            labels[clear] = self._rules.transparent
        return Decoded(labels, indices=indices)

    def _opaque_indices(self, mask: Mask) -> np.ndarray:
        """Return the indices of a mask, 255 where it is transparent."""
        indices = replace(mask, transparent=None).indices().copy()
        indices[mask.transparent] = IGNORE_INDEX
        return indices

    def _check_no_indices(self, mask: Mask) -> None:
        """Check that a file with unknown colors does not look like indices."""
        gray = mask.gray()
        if gray is None:
            return
        if _look_up(gray, self._indices) is None:
            return
        if is_black_and_white(gray):
            # As indices 255 would be ignored.
            raise ValueError(
                f'{mask.name} ({mask.form}) is black and white, and the class '
                'list does not have both; expected rows with the colors '
                f'0,0,0 and 255,255,255. {self._rules.assumed or ""}'.rstrip()
            )
        values = listing(np.unique(gray).tolist())
        mend = "say masks='index' in the data set if they are"
        if self._rules.assumed:
            mend = (
                'index masks need a list of their indices, the '
                f'class_dict.csv of these masks. {self._rules.assumed}'
            )
        raise ValueError(
            f'{mask.name} ({mask.form}) has colors in no row of the class '
            f'list, and its values {values} look like class indices: {mend}'
        )

    def _opaque(self, mask: Mask) -> np.ndarray:
        """Return the colors of a mask, where all pixels have a known one."""
        colors = mask.colors()
        if mask.transparent is None:
            return colors
        if self._rules.transparent is None:
            count = np.count_nonzero(mask.transparent)
            raise ValueError(
                f'{mask.name} ({mask.form}) has {count} transparent pixels of '
                f'{mask.transparent.size}: say in the data set what they are, '
                "transparent='ignore' or transparent='NAME OF A CLASS', or "
                'save the masks without alpha'
            )
        known = int(np.flatnonzero(self._colors != _UNKNOWN)[0])
        colors = colors.copy()
        colors[mask.transparent] = known & 255, known >> 8 & 255, known >> 16
        return colors

    def _mend(self) -> str:
        """Say what may be wrong where too many colors are unknown."""
        if self._rules.assumed:
            return (
                f'{self._rules.assumed}: add the class_dict.csv of these masks'
            )
        return (
            "Do the masks fit the class list's colors (RGB order, lossless "
            'file)?'
        )

    def _describe_unknown(self, mask: np.ndarray, unknown: int) -> str:
        """Count the unknown colors of a mask, the most frequent ones first."""
        pixels = mask[..., ::-1].reshape(-1, 3).astype(np.int32)
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


def _look_up(values: np.ndarray, table: np.ndarray) -> np.ndarray | None:
    """Map values of 8 or 16 bits; None if one of them is unknown."""
    if values.dtype != np.uint8:
        if values.max() > IGNORE_INDEX:
            return None
        values = values.astype(np.uint8)
    # Few pixels tell most tables that do not fit.
    if (table[values[::16, ::16]] == _UNKNOWN).any():
        return None
    labels = cv2.LUT(values, table).reshape(values.shape)
    return None if (labels == _UNKNOWN).any() else labels


@lru_cache(maxsize=4)
def mask_decoder(
    color_map: tuple[tuple[Color, int], ...],
    index_map: tuple[int, ...],
    rules: MaskRules = MaskRules(),
) -> MaskDecoder:
    """Return a decoder, the same one for the same arguments."""
    return MaskDecoder(color_map, index_map, rules)


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
