"""Lists of classes, as they lie beside masks."""

import csv
import io
import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mmseg_ext.formats.color_masks import (
    BACKGROUND_NAMES,
    IGNORE_INDEX,
    VOID_NAMES,
    Color,
    check_classes,
    read_class_dict,
    read_class_names,
)
from mmseg_ext.formats.exports.export import Folder, InvalidExportError
from mmseg_ext.formats.labelme import IGNORED
from mmseg_ext.utils.files import read_text
from mmseg_ext.utils.text import is_unicode, listing

__all__ = [
    'CLASS_LISTS',
    'ClassList',
    'background_of',
    'find_class_list',
    'has_no_class',
    'listed_classes',
    'read_class_list',
    'read_lines',
]

#: Names of files that list classes, those with colors or values first.
CLASS_LISTS = (
    *('class_dict.csv', 'labelmap.txt', '_classes.csv'),
    *('classes.txt', 'codes.txt', 'class_names.txt'),
)

#: Names of what has no label.
_NO_CLASS = VOID_NAMES | {IGNORED}

#: Columns of CSV files with a value for each class, in lower case.
_VALUES = ('pixel value', 'value', 'id', 'index')
_NAMES = ('class', 'name', 'label', 'class name')

#: A line of CVAT's list, ``name:r,g,b:parts:actions``; the color may lack.
_LABEL_MAP = re.compile(
    r'(?P<name>[^#].*?):(?P<color>(?:\d+\s*,\s*\d+\s*,\s*\d+)?)'
    r':[^:]*:[^:]*'
)

#: Bytes of the largest file with a list, and the largest value in one.
_MAX_LIST, _MAX_VALUE = 1 << 16, 255

#: Characters of what is no name that an error shows.
_SHOWN = 60


class ClassList(NamedTuple):
    """Classes in the order of a file.

    Attributes:
        names: Their names, those of what has no label among them.
        colors: RGB color of each in masks, 0 to 255; None where the file has
            none.
        values: What each has in masks, 0 to 255; None where it is its
            position.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] | None = None
    values: tuple[int, ...] | None = None


def has_no_class(name: str) -> bool:
    """Tell whether a name in a list is that of pixels without label."""
    return name.lower() in _NO_CLASS


def background_of(names: Sequence[str]) -> int | None:
    """Return the index of the class that is no object; None without one."""
    lowered = [name.lower() for name in names]
    return next(
        (k for k, name in enumerate(lowered) if name in BACKGROUND_NAMES), None
    )


def read_class_list(path: str | os.PathLike[str]) -> ClassList:
    """Read a list of classes.

    It is one of these:

    - a CSV file with the columns ``name, r, g, b``, such as
      ``class_dict.csv``;
    - a CSV file with a column of values and one of names, such as Roboflow's
      ``_classes.csv``, ``Pixel Value, Class``;
    - CVAT's ``labelmap.txt``, lines of ``name:r,g,b:parts:actions``;
    - a YAML file with ``names``, a list or a map, as YOLO's ``data.yaml``;
    - a text file with one name a line. If the first is ``__ignore__``, as in
      labelme's lists, it has the value 255, and the next one 0.

    Args:
        path: The file, in UTF-8.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none of these, a name is empty or repeats, a color
            or a value is none or repeats, or there are no or too many
            classes. The sentence names the file.
    """
    if os.path.getsize(path) > _MAX_LIST:
        raise ValueError(
            f'{os.fspath(path)} is larger than {_MAX_LIST} bytes; expected a '
            'list of classes'
        )
    suffix = os.path.splitext(path)[1].lower()
    if suffix in ('.yaml', '.yml'):
        return _from_yaml(path)
    text = read_text(path)
    header = text.partition('\n')[0].lower().split(',')
    columns = [cell.strip().strip('"') for cell in header]
    if {'r', 'g', 'b'} <= set(columns):
        colors = read_class_dict(path)
        return ClassList(tuple(colors), tuple(colors.values()))
    if set(_VALUES) & set(columns) and set(_NAMES) & set(columns):
        return _from_values(path, text, columns)
    if suffix == '.csv':
        raise ValueError(
            f'{os.fspath(path)} begins with {text[:60].splitlines()[:1]}; '
            'expected the header name,r,g,b or Pixel Value,Class'
        )
    lines = [line.strip() for line in text.splitlines()]
    rows = [line for line in lines if line and not line.startswith('#')]
    found = [_LABEL_MAP.fullmatch(row) for row in rows]
    if found and all(found):
        return _from_label_map(path, [match for match in found if match])
    names = tuple(read_class_names(path))
    if names[0] == IGNORED and len(names) > 1:
        values = (IGNORE_INDEX, *range(len(names) - 1))
        return ClassList(names, values=values)
    return ClassList(names)


def find_class_list(
    folder: Folder, files: Iterable[str], names: Sequence[str] = CLASS_LISTS
) -> Path | None:
    """Return the list of classes that belongs to some files of a folder.

    Args:
        folder: The folder; a list that its user gave is the one.
        files: Some of its files. A list lies beside them or further above,
            the nearest counts; or beside the files of a split.
        names: What lists are called; where there are several, the first
            counts.

    Returns:
        The file; None without any.
    """
    if folder.class_list is not None:
        return folder.class_list
    inside = set(folder.files)
    places = {os.path.dirname(file) for file in files}
    while places:
        for name in names:
            for place in sorted(places):
                path = f'{place}/{name}' if place else name
                if path in inside:
                    return folder.root / path
        places = {os.path.dirname(place) for place in places if place}
    return None


def listed_classes(path: Path) -> ClassList:
    """Read a list of classes that masks need.

    Raises:
        InvalidExportError: It cannot be read, or is not right.
    """
    try:
        return read_class_list(path)
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(str(path)).lstrip(':, ')
        raise InvalidExportError(path, reason) from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a list that are not empty, with their numbers.

    Args:
        path: The list; blanks around lines do not count.

    Raises:
        InvalidExportError: It cannot be read.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(str(path)).strip()
        raise InvalidExportError(path, reason) from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _from_label_map(
    path: str | os.PathLike[str], rows: list[re.Match[str]]
) -> ClassList:
    """Return the classes of CVAT's list."""
    with_color = [row for row in rows if row['color']]
    names = _names(path, [row['name'] for row in rows])
    if not with_color:
        return ClassList(names)
    if len(with_color) < len(rows):
        missing = next(row for row in rows if not row['color'])
        raise ValueError(
            f'{os.fspath(path)}: {missing["name"]} has no color, others have; '
            'expected name:r,g,b:: in each line'
        )
    colors: dict[str, Any] = {
        name: tuple(map(int, row['color'].split(',')))
        for name, row in zip(names, rows, strict=True)
    }
    colors = check_classes(os.fspath(path), colors)
    return ClassList(tuple(colors), tuple(colors.values()))


def _from_values(
    path: str | os.PathLike[str], text: str, columns: list[str]
) -> ClassList:
    """Return the classes of a CSV file with values."""
    value_at, name_at = (
        next(columns.index(key) for key in keys if key in columns)
        for keys in (_VALUES, _NAMES)
    )
    names, values = [], []
    reader = csv.reader(io.StringIO(text, newline=''), skipinitialspace=True)
    for number, row in enumerate(reader, 1):
        if number == 1 or not any(row):
            continue
        try:
            value, name = int(row[value_at]), row[name_at].strip()
        except (IndexError, ValueError):
            raise ValueError(
                f'{os.fspath(path)}, line {number}: expected '
                f'{",".join(columns)}, got {",".join(row)}'
            ) from None
        values.append(value)
        names.append(name)
    return ClassList(_names(path, names), values=_checked(path, values))


def _from_yaml(path: str | os.PathLike[str]) -> ClassList:
    """Return the classes of a YAML file with ``names``."""
    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'{os.fspath(path)} is no YAML: {reason}') from None
    names = content.get('names') if isinstance(content, dict) else None
    if isinstance(names, list):
        return ClassList(_names(path, names))
    if not isinstance(names, dict) or not all(
        isinstance(key, int) for key in names
    ):
        raise ValueError(
            f'{os.fspath(path)} has no list of classes; expected names: '
            '[road, car, ...] or names: {0: road, 1: car, ...}'
        )
    values = _checked(path, sorted(names))
    ordered = _names(path, [names[value] for value in values])
    if values == tuple(range(len(values))):
        return ClassList(ordered)
    return ClassList(ordered, values=values)


def _names(path: str | os.PathLike[str], names: list[Any]) -> tuple[str, ...]:
    """Check the names of a list."""
    if not 1 <= len(names) < IGNORE_INDEX:
        raise ValueError(
            f'{os.fspath(path)}: {len(names)} classes; expected 1 to '
            f'{IGNORE_INDEX - 1}'
        )
    texts: list[str] = []
    for name in names:
        # Few bytes of YAML may stand for lists that no memory holds.
        text = str(name).strip() if type(name) in (str, int) else ''
        if not text or not is_unicode(text) or text in texts:
            raise ValueError(
                f'{os.fspath(path)}: class {reprlib.repr(name)[:_SHOWN]}; '
                'expected a name, and each one once'
            )
        texts.append(text)
    return tuple(texts)


def _checked(
    path: str | os.PathLike[str], values: list[int]
) -> tuple[int, ...]:
    """Check the values of a list."""
    wrong = [v for v in values if not 0 <= v <= _MAX_VALUE]
    wrong += [v for v in values if values.count(v) > 1]
    if wrong:
        raise ValueError(
            f'{os.fspath(path)}: value {listing(wrong, 1)}; expected 0 to '
            f'{_MAX_VALUE}, each once'
        )
    return tuple(values)
