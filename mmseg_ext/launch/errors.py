"""What cannot be read or built of a config, told in one line."""

import difflib
import errno
import inspect
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmseg_ext.utils.files import HIDDEN
from mmseg_ext.utils.text import decode_text

__all__ = [
    'MISFITS',
    'came_through',
    'closest',
    'entries',
    'is_empty_set',
    'no_such_score',
    'one_line',
    'type_name',
    'unknown_type',
    'why_not_built',
    'why_not_read',
    'why_not_written',
]

#: A disk is full, or a user's share of it.
_FULL = (errno.ENOSPC, errno.EDQUOT)

#: What functions of Python and mmengine call the file that they write.
_FILES = ('filepath', 'filename', 'path', 'file')

#: What upstream's classes raise where a config does not fit.
MISFITS = (
    AssertionError,
    ImportError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)

#: Errors of upstream may show whole configs: so many characters are enough.
_LENGTH = 400

#: The functions of mmengine that read a file, whose name is in ``filename``.
_READERS = ('_file2dict', '_parse_lazy_import', '_is_lazy_import')

#: Functions through which a class is called.
_CONSTRUCTORS = ('__init__', '__call__', 'get_instance')

#: So many places of a type in a config are named.
_PLACES = 3


def one_line(error: BaseException) -> str:
    """Return the type and text of an error without line breaks."""
    # What KeyError shows is the repr of its text.
    key_error = isinstance(error, KeyError) and error.args
    text = ' '.join(str(error.args[0] if key_error else error).split())
    if len(text) > _LENGTH:
        text = f'{text[:_LENGTH]} …'
    return f'{type(error).__name__}: {text}'


def closest(name: str, names: Iterable[object]) -> str:
    """Return ``'; close: X'`` with the nearest names, or nothing."""
    close = difflib.get_close_matches(name, sorted({str(n) for n in names}))
    return f'; close: {", ".join(close)}' if close else ''


def came_through(error: BaseException, module: str) -> bool:
    """Return whether an error was raised in a module, or in what it called."""
    return any(
        frame.f_globals.get('__name__') == module
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def is_empty_set(error: BaseException) -> bool:
    """Return whether an error is that of a data set without images."""
    # mmengine joins what is known of each image, and numpy wants one.
    return isinstance(error, ValueError) and any(
        frame.f_code.co_name == '_serialize_data'
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def why_not_read(path: Path, error: BaseException) -> str:
    """Return in one line why a config cannot be read, with file and line.

    Args:
        path: The config.
        error: What came out of it, or out of one of its bases.
    """
    file, line = str(path), 0
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in _READERS:
            file, line = frame.f_locals['filename'], 0
        elif frame.f_code.co_filename == file:
            line = number
    if isinstance(error, UnicodeDecodeError):
        try:
            decode_text(Path(file).read_bytes(), file)
        except ValueError as named:
            return str(named)
    if isinstance(error, SyntaxError):
        line, error = error.lineno or 0, SyntaxError(error.msg)
    reason = _why_no_base(error) or one_line(error)
    of = '' if Path(file).resolve() == path.resolve() else f' (for {path})'
    where = f', line {line}' if line else ''
    return f'{file}{where} cannot be read as a config{of}: {reason}'


def _why_no_base(error: BaseException) -> str | None:
    """Return what is wrong with ``_base_``, or None."""
    frames = {
        frame.f_code.co_name: frame.f_locals
        for frame, _ in traceback.walk_tb(error.__traceback__)
    }
    if '_get_package_and_cfg_path' in frames:
        name = str(frames['_get_cfg_path']['cfg_path'])
        package = name.partition('::')[0]
        return (
            f'there is no base {name}: expected PACKAGE::FOLDER/NAME.py, such '
            'as mmseg::_base_/default_runtime.py'
            + closest(package, {*MODULE2PACKAGE} - {package})
        )
    if isinstance(error, KeyError) and 'among bases' in str(error):
        keys = sorted(re.findall("'(.+?)'", str(error.args[0])))
        return (
            f'several files of _base_ set {", ".join(keys)}: inherit only '
            'one of them, and set in this config what the others change'
        )
    return None


def why_not_built(
    cfg: Config, error: BaseException, any_reason: bool = True, key: str = ''
) -> str | None:
    """Return in one line what in a config cannot be built, and why.

    Args:
        cfg: The config.
        error: What came out of the building.
        any_reason: Tell of all errors of a part that is built, and not only
            of an unknown type and of arguments that a type does not have.
        key: Of the part that was built; without it, all places of the type
            are named.

    Returns:
        The line, or None for another error, such as one of a run.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    builders = [n for n, frame in enumerate(frames) if _builds(frame)]
    if not builders:
        return None
    found, inner = frames[builders[-1]].f_locals, frames[builders[-1] + 1 :]
    kind = found.get('obj_type', found.get('scheduler_type'))
    name, argument = str(getattr(kind, '__name__', kind)), _argument(error)
    if isinstance(error, KeyError) and ' registry. ' in str(error):
        return unknown_type(cfg, name, found['registry'], key)
    misfit = (
        isinstance(error, TypeError)
        and 'argument' in str(error)
        and all(frame.f_code.co_name in _CONSTRUCTORS for frame in inner)
    )
    if not misfit and not any_reason:
        return None
    places = ', '.join(_places(cfg, name, argument, key))
    # Newer releases of Python have a proposal of their own.
    reason = one_line(error).partition('. Did you mean')[0]
    return (
        (f'{places} ({name})' if places else str(cfg.filename))
        + f' cannot be built: {reason}'
        + _close_argument(found.get('obj_cls'), argument)
    )


def no_such_score(error: KeyError) -> str | None:
    """Return in one line which scores there are, if ``save_best`` names none.

    Args:
        error: What came out of a run.

    Returns:
        The line, or None for another error.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == '_save_best_checkpoint':
            scores = frame.f_locals['metrics']
            if error.args[0] not in scores:
                return (
                    f'default_hooks.checkpoint.save_best={error.args[0]!r} is '
                    'none of the scores of the validation: '
                    + ', '.join(scores)
                )
    return None


def why_not_written(error: OSError, work_dir: str) -> str | None:
    """Return in one line what a run could not write, and what to do.

    Args:
        error: What came out of the run.
        work_dir: The folder that it writes to.

    Returns:
        The line, or None for another error, such as one of the data.
    """
    folder = Path(work_dir).resolve()
    named = [error.filename] + [
        frame.f_locals.get(name)
        for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)])
        for name in _FILES
    ]
    paths = [
        path
        for path in named
        if isinstance(path, (str, os.PathLike))
        and folder in Path(path).resolve().parents
        # What users know, and not the name that it has until it is whole.
        and HIDDEN not in os.fspath(path)
    ]
    full = error.errno in _FULL
    if not full and not (error.filename and paths):
        return None
    path = paths[0] if paths else error.filename or f'a file in {work_dir}'
    mend = 'make room' if full else 'see that the folder can be written to'
    return f'{path} cannot be written: {error.strerror}; {mend}'


def _builds(frame: FrameType) -> bool:
    """Return whether a frame is one of mmengine that builds from a config."""
    module = frame.f_globals.get('__name__')
    return module == 'mmengine.registry.build_functions'


def unknown_type(
    cfg: Config, name: str, registry: Registry, key: str = ''
) -> str:
    """Return in one line that a type is not registered, and what is near.

    Args:
        cfg: The config that names the type.
        name: The type.
        registry: Where it was looked for, and in the registries above.
        key: As in :func:`why_not_built`.
    """
    known: set[str] = set()
    at: Registry | None = registry
    while at is not None:
        known |= set(at.module_dict)
        at = at.parent
    where = ', '.join(_places(cfg, name, key=key)) or cfg.filename
    return (
        f'{where}: there is no {name!r} in the registry '
        f'{registry.scope}::{registry.name}'
        + closest(name.rpartition('.')[2], known)
        + '; a class of your own needs custom_imports'
    )


def _argument(error: BaseException) -> str:
    """Return the argument that an error calls unknown, or nothing."""
    found = re.search("unexpected keyword argument '(.+?)'", str(error))
    return found[1] if found else ''


def _close_argument(kind: Any, argument: str) -> str:
    """Return the arguments of a class that are near to an unknown one."""
    if not argument or not inspect.isclass(kind):
        return ''
    names: set[str] = set()
    for parent in inspect.getmro(kind):
        # Some that are written in C have none.
        with suppress(ValueError):
            names |= set(inspect.signature(parent).parameters)
    return closest(argument, names)


def _places(
    cfg: Config, name: str, argument: str = '', key: str = ''
) -> list[str]:
    """Return where a type stands in a config, in what the runner reads.

    Only those places are named that are in the part of the key, and that
    have the argument, where any is and has.
    """
    found = dict(entries(cfg.to_dict()))
    places = [
        place.removesuffix('.type')
        for place, value in found.items()
        if place.endswith(('.type', '.segmentor'))
        and name in (value, str(value).rpartition('.')[2])
    ]
    used = inspect.signature(Runner.__init__).parameters
    for kept in (
        [place for place in places if f'{place}.'.startswith(f'{key}.')],
        [place for place in places if place.split('.')[0] in used],
        [place for place in places if f'{place}.{argument}' in found],
    ):
        places = [place for place in places if place in kept] or places
    return places[:_PLACES]


def entries(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield all entries of a config, those of dicts and lists, too.

    Args:
        node: A config, or a part of one.
        path: The key of the part; ``KEY=VALUE`` pairs take such keys.

    Yields:
        Keys with dots, each with its value.
    """
    if isinstance(node, dict):
        items: Iterable[tuple[Any, Any]] = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        inner = f'{path}.{key}' if path else str(key)
        yield inner, value
        yield from entries(value, inner)


def type_name(cfg: ConfigDict) -> str:
    """Return the name of the class of a config, without its scope."""
    kind = cfg.get('type', '')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]
