"""Text of a config that inherits another, with the fewest lines.

MMEngine merges dicts, and replaces all else: a list is written as a whole, and
a dict that loses keys with ``_delete_=True``.
"""

import math
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from keyword import iskeyword
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mmengine.config import Config

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.launch.options import is_read
from mmseg_ext.registry import SCOPE, configs_folder

__all__ = [
    'IMPORTS',
    'Base',
    'Code',
    'Comments',
    'Key',
    'assignment',
    'base_of',
    'child_text',
    'comment_lines',
    'difference',
    'name_in_package',
]

#: Where an entry of a config is: the keys that lead to it.
Key: TypeAlias = tuple[str, ...]

#: What is said above an entry, one paragraph each.
Comments: TypeAlias = Mapping[Key, Sequence[str]]

#: The entry with the modules that a config imports.
IMPORTS = 'custom_imports'

_WIDTH = 79
_INDENT = 4
_DELETE = '_delete_'


class Base(NamedTuple):
    """A config as another inherits it.

    Attributes:
        cfg: The config.
        head: The lines that inherit it.
        lazy: Whether it is of MMEngine's new style, which imports its bases.
    """

    cfg: Config
    head: str
    lazy: bool


class Code(str):
    """An expression, such as the name of a variable, in place of its value.

    As a key of a dict, ``Code('**name')``, it stands for the entries of that
    dict.
    """


def base_of(path: Path, child: Path) -> Base:
    """Return a config as another inherits it.

    Args:
        path: Its file.
        child: The config that is to inherit it.

    Raises:
        ValueError: It is of the new style, and where it lies cannot be
            written as an import.
    """
    cfg = Config.fromfile(path, import_custom_modules=False)
    lazy = Config._is_lazy_import(str(path))
    if not lazy:
        name = name_in_package(path) or _relative(path, child)
        return Base(cfg, f'_base_ = [{name!r}]\n', lazy)
    name = _relative(path, child)
    up, parts = 1, list(Path(name).with_suffix('').parts)
    while parts[0] == os.pardir:
        parts.pop(0)
        up += 1
    if not all(map(_is_name, parts)):
        raise ValueError(
            f'{path} is in the new style (read_base), and {child} cannot '
            f'import it, since {name} is no name of a module: expected a file '
            f'in the folder of {path.name}, and {path.name} to have a name as '
            'modules have'
        )
    head = (
        'from mmengine.config import read_base\n\n'
        'with read_base():\n'
        f'    from {"." * up}{".".join(parts)} import *\n'
    )
    return Base(cfg, head, lazy)


def name_in_package(path: Path) -> str | None:
    """Return the name of a config of a package, ``mmseg::FOLDER/NAME.py``.

    Args:
        path: Its file.

    Returns:
        The name; None for a config that lies elsewhere.
    """
    path = path.absolute()
    root = configs_folder()
    if path.is_relative_to(root):
        return f'{SCOPE}::{path.relative_to(root).as_posix()}'
    # OpenMMLab's packages have them in PACKAGE/.mim/configs.
    for folder in path.parents:
        if folder.name == 'configs' and folder.parent.name == '.mim':
            package = folder.parent.parent.name
            name = f'{package}::{path.relative_to(folder).as_posix()}'
            # A package that is not the one in use has no such name.
            with suppress(*FAULTS):
                if path.samefile(Config._get_cfg_path(name, '')[0]):
                    return name
    return None


def _relative(path: Path, child: Path) -> str:
    """Return a path as another file sees it."""
    # A link stays what it is, since what it inherits is sought beside it.
    target = Path(os.path.realpath(path.parent), path.name)
    try:
        near = os.path.relpath(target, os.path.realpath(child.parent))
    except ValueError:  # on another drive
        return target.as_posix()
    return Path(near).as_posix()


def child_text(
    base: Base, wanted: Mapping[str, Any], comments: Comments
) -> str:
    """Return the text of a config that inherits another.

    Args:
        base: What it inherits.
        wanted: What comes out, as a plain dict; it has all keys of the base
            at its top.
        comments: What is said above entries.

    Raises:
        ValueError: A value that is to be written can only be computed.
    """
    before = base.cfg.to_dict()
    changes = difference(wanted, before)
    names = _variables(base, changes, before)
    comments = _moved(comments, names)
    entries = {
        **{name: _at(changes, key) for key, name in names.items()},
        **{
            key: _named(value, (key,), names) for key, value in changes.items()
        },
    }
    # What is imported comes first.
    entries = {k: entries[k] for k in sorted(entries, key=IMPORTS.__ne__)}
    blocks = [base.head]
    for key, value in entries.items():
        merged = (
            base.lazy
            and isinstance(value, dict)
            and isinstance(before.get(key), dict)
        )
        head, tail = (f'{key}.merge(', ')') if merged else (f'{key} = ', '')
        lines = [
            *_comment(comments, (key,), value, 0),
            *_lines(value, head, tail, (key,), comments, 0),
        ]
        blocks.append(''.join(f'{line}\n' for line in lines))
    return '\n'.join(blocks)


def difference(
    wanted: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what makes one dict of another by merging.

    Args:
        wanted: What comes out; expressions in it are always changes.
        before: What is inherited.
    """
    if any(key not in wanted for key in before):
        return {_DELETE: True, **wanted}
    changes = {}
    for key, value in wanted.items():
        if key not in before:
            changes[key] = value
        elif _same(value, old := before[key]):
            continue
        elif isinstance(value, dict):
            inherits = isinstance(old, dict)
            changes[key] = (
                difference(value, old)
                if inherits
                else {_DELETE: True, **value}
            )
        else:
            changes[key] = value
    return changes


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are the same, each of a reading of its own.

    Objects of code are others in each reading, and changed by nothing here.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _same(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return repr(one) == repr(other) or not _is_plain(one)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _variables(
    base: Base, changes: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[Key, str]:
    """Return the names of lists of dicts, such as pipelines, by place.

    Several places have the same list, and a name only where they still do.
    """
    unused = [
        name
        for name, value in before.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
        if not is_read(base.cfg, name)
    ]
    named: dict[str, list[Key]] = {}
    for key, value in _leaves(changes):
        if isinstance(value, list) and len(key) > 1:
            old = _at(before, key)
            for name in [n for n in unused if _same(before[n], old)][:1]:
                named.setdefault(name, []).append(key)
    return {
        key: name
        for name, keys in named.items()
        for key in keys
        if all(_same(_at(changes, keys[0]), _at(changes, k)) for k in keys)
    }


def _leaves(
    changes: Mapping[str, Any], above: Key = ()
) -> Iterator[tuple[Key, Any]]:
    """Yield what is not merged but set, and where."""
    for key, value in changes.items():
        place = (*above, key)
        if isinstance(value, dict) and _DELETE not in value:
            yield from _leaves(value, place)
        else:
            yield place, value


def _at(node: Any, key: Key) -> Any:
    """Return what is at a place; None where nothing is."""
    for part in key:
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _named(value: Any, key: Key, names: Mapping[Key, str]) -> Any:
    """Return a value with the names of variables in it."""
    if key in names:
        return Code(names[key])
    if isinstance(value, dict):
        return {k: _named(v, (*key, k), names) for k, v in value.items()}
    return value


def _moved(comments: Comments, names: Mapping[Key, str]) -> Comments:
    """Return comments above the variables that have the values."""
    moved: dict[Key, list[str]] = {}
    for key, texts in comments.items():
        for place, name in names.items():
            if key[: len(place)] == place:
                key = (name,)
        known = moved.setdefault(key, [])
        known += [text for text in texts if text not in known]
    return moved


def _comment(
    comments: Comments, key: Key, value: Any, depth: int
) -> Iterator[str]:
    """Yield the lines above an entry."""
    merged = isinstance(value, dict) and _DELETE not in value
    for place, texts in comments.items():
        # Nothing is said within what is set as a whole.
        if place != key and (merged or place[: len(key)] != key):
            continue
        for text in texts:
            yield from comment_lines(text, depth, '#   ')


def comment_lines(text: str, depth: int = 0, further: str = '# ') -> list[str]:
    """Return a comment in lines that are not too long.

    Args:
        text: What is said.
        depth: Blanks that will stand before each.
        further: How lines begin, but for the first.
    """
    return textwrap.wrap(
        text,
        _WIDTH - depth,
        initial_indent='# ',
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def assignment(name: str, value: Any) -> list[str]:
    """Return the lines that assign a value to a name.

    Args:
        name: The name.
        value: Of dicts, lists, plain values, and expressions.

    Raises:
        ValueError: A value can only be computed.
    """
    return [*_lines(value, f'{name} = ', '', (name,), {}, 0)]


def _lines(
    value: Any, head: str, tail: str, key: Key, comments: Comments, depth: int
) -> Iterator[str]:
    """Yield the lines of a value, one where it fits and nothing is said."""
    try:
        line = f'{head}{_source(value)}{tail}'
    except TypeError as error:
        raise ValueError(
            f'{".".join(key)} cannot be written to another config, since '
            f'{error} has no text: change it in the config itself'
        ) from None
    said = any(len(p) > len(key) and p[: len(key)] == key for p in comments)
    merged = isinstance(value, dict) and _DELETE not in value
    fits = len(line) <= _WIDTH - depth and not (said and merged)
    if fits or not value or not isinstance(value, dict | list | tuple):
        yield line
        return
    opening, closing = _brackets(value)
    yield f'{head}{opening}'
    inner = depth + _INDENT
    for text in _inner(value, key, comments, inner):
        yield f'{" " * _INDENT}{text}'
    yield f'{closing}{tail}'


def _inner(
    value: Any, key: Key, comments: Comments, depth: int
) -> Iterator[str]:
    """Yield the lines between brackets."""
    if isinstance(value, dict):
        keywords = _has_names(value)
        for name, entry in value.items():
            place = (*key, name)
            if isinstance(name, Code):
                yield f'{name},'
                continue
            head = f'{name}=' if keywords else f'{name!r}: '
            yield from _comment(comments, place, entry, depth)
            yield from _lines(entry, head, ',', place, comments, depth)
    else:
        for entry in value:
            yield from _lines(entry, '', ',', key, {}, depth)


def _source(value: Any) -> str:
    """Return a value as Python has it, in one line.

    Raises:
        TypeError: It is no plain value; it is named.
    """
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, dict):
        form = '{}={}' if _has_names(value) else '{!r}: {}'
        inner = [
            str(k) if isinstance(k, Code) else form.format(k, _source(v))
            for k, v in value.items()
        ]
    elif isinstance(value, list | tuple):
        inner = [_source(entry) for entry in value]
        if isinstance(value, tuple) and len(inner) == 1:
            return f'({inner[0]},)'
    elif isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    elif _is_plain(value):
        return repr(value)
    else:
        raise TypeError(repr(value))
    opening, closing = _brackets(value)
    return f'{opening}{", ".join(inner)}{closing}'


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        return ('dict(', ')') if _has_names(value) else ('{', '}')
    return ('[', ']') if isinstance(value, list) else ('(', ')')


def _has_names(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, Code) or _is_name(key) for key in value)


def _is_name(word: Any) -> bool:
    """Return whether a key can be written as an argument."""
    return (
        isinstance(word, str) and word.isidentifier() and not iskeyword(word)
    )
