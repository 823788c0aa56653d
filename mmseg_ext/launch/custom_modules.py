"""Modules of users' own that a config imports, ``custom_imports``."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from mmseg_ext.launch.errors import one_line
from mmseg_ext.registry import configs_folder

__all__ = ['import_custom_modules']


def import_custom_modules(cfg: Config, path: Path) -> list[str]:
    """Import what a config names in ``custom_imports``.

    Modules that are not installed are found beside the config, beside the
    configs that it inherits, and in the current folder. Where one is needed,
    these folders are put last on ``sys.path``: they hide nothing, and
    processes that are spawned look there, too.

    Upstream's tools know no such folders: there it takes ``PYTHONPATH=.``.

    Args:
        cfg: The config. A plain list of modules is made the dict that
            mmengine expects.
        path: The file that it was read from.

    Returns:
        Warnings: of modules that could not be imported and need not be, and
        of those in the folders that others, which are installed, hide.

    Raises:
        ValueError: A name is none of a module, or a module is not there, or
            its import fails.
    """
    given = cfg.get('custom_imports')
    if not given:
        return []
    if not isinstance(given, dict):
        given = cfg.custom_imports = dict(imports=given)
    names = given.get('imports') or []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not all(
        isinstance(name, str) for name in names
    ):
        raise ValueError(
            f'custom_imports.imports={names} in {path}: expected names of '
            'modules'
        )
    for name in names:
        _check_name(name, path)
    folders = _folders(cfg, path)
    if not all(map(_is_there, names)):
        sys.path += [str(f) for f in folders if str(f) not in sys.path]
        importlib.invalidate_caches()
    warnings = []
    for name in names:
        try:
            importlib.import_module(name)
        # A module is code: anything may come out of it, sys.exit, too.
        except (Exception, SystemExit) as error:
            reason = _why_not_imported(name, path, folders, error)
            if not isinstance(error, ImportError) or not given.get(
                'allow_failed_imports'
            ):
                raise ValueError(reason) from error
            warnings.append(f'{reason}; it need not be there')
        else:
            warnings += _hidden(name, folders)
    return warnings


def _check_name(name: str, path: Path) -> None:
    """Refuse a path in place of the name of a module."""
    meant = name.removesuffix('.py').strip('./').replace('/', '.')
    if name != meant or not meant:
        raise ValueError(
            f'custom_imports in {path} names {name!r}: expected the name of '
            "a module, without '.py' and folders"
            + (f': {meant!r}' if meant else '')
        )


def _folders(cfg: Config, path: Path) -> list[Path]:
    """Return where a user's modules may lie, without doubles."""
    # mmengine puts the path of each file before its text.
    read = [Path(line) for line in cfg.text.splitlines() if _is_config(line)]
    own = [
        base
        for base in reversed(read)
        if '.mim' not in base.parts and configs_folder() not in base.parents
    ]
    folders = [file.resolve().parent for file in (path, *own)]
    return list(dict.fromkeys([*folders, Path.cwd()]))


def _is_config(line: str) -> bool:
    """Return whether a line is the path of a config."""
    return (
        line.endswith(('.py', '.json', '.yaml', '.yml'))
        and os.path.isabs(line)
        and os.path.isfile(line)
    )


def _is_there(name: str) -> bool:
    """Return whether a module, or the package of it, is found as it is."""
    top = name.partition('.')[0]
    if top in sys.modules:
        return True
    spec = find_spec(top)
    # A folder without __init__.py, such as one of data, is none.
    return spec is not None and spec.origin is not None


def _why_not_imported(
    name: str, path: Path, folders: Sequence[Path], error: BaseException
) -> str:
    """Return in one line why a module is not imported."""
    if isinstance(error, ModuleNotFoundError) and (
        f'{name}.'.startswith(f'{error.name}.')
    ):
        return (
            f'there is no module {name}, which {path} imports '
            '(custom_imports): it is neither installed nor in '
            f'{", ".join(map(str, folders))}; put {name.replace(".", "/")}.py '
            'there, or say where it is with PYTHONPATH=FOLDER, such as '
            'PYTHONPATH=.'
        )
    where = ', line '.join(map(str, _place(name, error)))
    return (
        f'{where}: importing {name} fails, which {path} does '
        f'(custom_imports): {one_line(error)}'
    )


def _place(name: str, error: BaseException) -> tuple[str, int | None]:
    """Return the file and line of a module at which its import failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    places = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    spec = find_spec(name.partition('.')[0])
    folder = Path(spec.origin).parent if spec and spec.origin else Path('/')
    own = [place for place in places if folder in Path(place[0]).parents]
    return (own or places)[-1]


def _hidden(name: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yield a line if a module in the folders is not the one imported."""
    top = name.partition('.')[0]
    found = getattr(sys.modules[top], '__file__', None)
    files = [folder / f'{top}.py' for folder in folders]
    own = next((file for file in files if file.is_file()), None)
    if own and not (found and own.samefile(found)):
        yield (
            f'custom_imports: {top} is {found}, and not {own}, which needs '
            'another name'
        )
