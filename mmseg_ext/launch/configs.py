"""Configs that users name: finding, reading and looking into them."""

import argparse
import difflib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

from mmseg_ext.launch.custom_modules import import_custom_modules
from mmseg_ext.launch.errors import (
    closest,
    entries,
    one_line,
    why_not_read,
)
from mmseg_ext.launch.options import (
    OPTIONS,
    check_class_weights,
    is_read,
    set_options,
    stale_names,
    used_up_keys,
)
from mmseg_ext.registry import SCOPE, configs_folder

__all__ = [
    'TEST_KEYS',
    'check_output',
    'data_sets',
    'find_config',
    'load_config',
    'parse_pairs',
    'require_keys',
    'scope_of',
]

#: What a config needs for a test, beside the model.
TEST_KEYS = ('test_dataloader', 'test_cfg', 'test_evaluator')


def load_config(
    config: str,
    work_dir: str | None = None,
    cfg_options: dict | None = None,
    on_warning: Callable[[str], None] | None = None,
    on_change: Callable[[str], None] | None = None,
) -> Config:
    """Read a config, import what it imports, and set its work dir.

    Args:
        config: Path or name of a config.
        work_dir: Overrides the config's. Where neither gives one it is
            ``./work_dirs/<name of the config>``.
        cfg_options: Entries to change, and the options of
            :mod:`mmseg_ext.launch.options`, which stand for several.
        on_warning: Called with a line for each of these that the config does
            not have yet, since it may be new, or misspelt; for entries that
            are used up when a config is read; and for what is strange about
            the modules that it imports.
        on_change: Called with a line for each option that stands for several
            entries, which names these.

    Raises:
        ValueError: There is no such config, it cannot be read, an option
            does not fit it, or its package or a module that it imports is
            not installed.
    """
    path = find_config(config)
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    # A config is code: anything may come out of it, an exit too.
    except (Exception, SystemExit) as error:
        raise ValueError(why_not_read(path, error)) from error
    options = cfg_options or {}
    _check_options(cfg, path, options)
    plain = {k: v for k, v in options.items() if k not in OPTIONS}
    warnings = [
        *stale_names(cfg, path, options),
        *used_up_keys(cfg, plain),
        *_new_keys(cfg, plain),
    ]
    changes = set_options(cfg, options)
    try:
        cfg.merge_from_dict(plain)
    # Such as of two options that do not go together.
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(
            f'cfg_options do not fit {path}: {one_line(error)}'
        ) from error
    if 'num_classes' in options:
        check_class_weights(cfg)
    warnings += import_custom_modules(cfg, path)
    for lines, tell in ((warnings, on_warning), (changes, on_change)):
        if tell:
            for line in lines:
                tell(line)
    scope = scope_of(cfg)
    if importlib.util.find_spec(scope) is None:
        raise ValueError(
            f'{path} needs the package {scope} (its default_scope), which is '
            f'not installed; try: mim install {scope}'
        )
    cfg.work_dir = (
        work_dir or cfg.get('work_dir') or f'./work_dirs/{path.stem}'
    )
    return cfg


def check_output(name: str, path: str, folder: bool = True) -> None:
    """Check that something can be written to a path, before it is needed.

    Args:
        name: The argument that it was given as.
        path: The path; it need not be there.
        folder: Whether it is that of a folder, or of a file.

    Raises:
        ValueError: Something else is there, or no folder can be made or
            written to.
    """
    target = Path(path).absolute()
    wanted = 'folder' if folder else 'file'
    if not folder and target.is_dir():
        raise ValueError(f'{name}={path!r} is a folder: expected a file')
    # What is there of the path, from the target upwards.
    there = target if folder else target.parent
    while not os.path.lexists(there):
        there = there.parent
    if there == target and not there.is_dir():
        raise ValueError(f'{name}={path!r} is a file: expected a folder')
    if not there.is_dir():
        raise ValueError(
            f'{name}={path!r}: {there} is not a folder, so no {wanted} can be '
            'made below it'
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f'{name}={path!r}: no permission to write to the folder {there}'
        )


def _check_options(cfg: Config, path: Path, options: Iterable[str]) -> None:
    """Check that keys can be set in what a config has.

    Raises:
        ValueError: A key has an empty part, or leads into what has no parts,
            or no such entry.
    """
    for key in options:
        parts = key.split('.')
        if not all(parts):
            raise ValueError(
                f'cfg_options {key!r}: expected names and numbers with a dot '
                'between them, such as train_cfg.max_iters'
            )
        node: Any = cfg
        for count, part in enumerate(parts):
            above = '.'.join(parts[:count])
            if isinstance(node, list) and count < len(parts) - 1:
                if not part.isdigit() or int(part) >= len(node):
                    raise ValueError(
                        f'cfg_options do not fit {path}: {above} is a list '
                        f'of {len(node)}, so {above}.{part} is none of its '
                        f'entries: expected {above}.0 and so on'
                    )
                node = node[int(part)]
                continue
            if not isinstance(node, (Config, dict)):
                raise ValueError(
                    f'cfg_options do not fit {path}: {above} has no parts '
                    f'that can be set, so {key} cannot be: set {above} as a '
                    'whole'
                )
            node = node.get(part, {})


def _new_keys(cfg: Config, options: Iterable[str]) -> Iterator[str]:
    """Yield a line for each option that the config does not have yet."""
    keys = [key for key, _ in entries(cfg.to_dict())]
    for option in options:
        own = option.partition('.')[0] in cfg
        if option in keys or (is_read(cfg, option) and not own):
            continue
        near = _nearest(option, [key for key in keys if is_read(cfg, key)])
        yield (
            f'the config has no {option}, which is added to it'
            + (f'; the nearest key that it has is {near}' if near else '')
        )


def _nearest(option: str, keys: Sequence[str]) -> str | None:
    """Return the key that a misspelt or misplaced option may mean."""
    parts, above = option.split('.'), ''
    while above + parts[0] in keys:
        above += f'{parts.pop(0)}.'
    beside = [
        key.removeprefix(above)
        for key in keys
        if key.startswith(above) and '.' not in key.removeprefix(above)
    ]
    if not above:
        beside += OPTIONS
    for name in difflib.get_close_matches(parts[0], beside, 1):
        whole = '.'.join([above + name, *parts[1:]])
        return whole if whole in keys else above + name
    return next((key for key in keys if key.endswith(f'.{parts[-1]}')), None)


def find_config(name: str) -> Path:
    """Find a config by path, or by name among those of ``mmseg_ext``.

    Args:
        name: A path, a file name with or without ``.py``, or one of another
            package as configs inherit it, ``mmseg::FOLDER/NAME.py``.

    Returns:
        The path of the config.

    Raises:
        ValueError: There is none, or more than one of that name.
    """
    path = Path(name).expanduser()
    for file in (path, Path(f'{path}.py')):
        if file.is_file():
            return file
    if path.is_dir():
        raise ValueError(f'{name} is a folder: expected a config file')
    scope, colons, _ = name.partition('::')
    if colons and scope != SCOPE:
        return _config_of(name)
    root = configs_folder()
    configs = sorted(root.rglob('*.py'))
    found = [c for c in configs if path.name in (c.name, c.stem)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f'{name} is the name of several configs, give the path of one: '
            + ', '.join(map(str, found))
        )
    raise ValueError(
        f'there is no config {name}: neither a file nor the name of a config '
        f'in {root}{closest(path.stem, [c.stem for c in configs])}'
    )


def _config_of(name: str) -> Path:
    """Return a config of another package, ``mmseg::FOLDER/NAME.py``."""
    try:
        name = f'{name.removesuffix(".py")}.py'
        return Path(Config._get_cfg_path(name, '')[0])
    # Where the package is not installed, or has no such config.
    except Exception as error:
        raise ValueError(
            f'there is no config {name}: {one_line(error)}'
        ) from error


def parse_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` pairs as mmengine does.

    Args:
        pairs: Of two pairs with the same key the later one counts.

    Returns:
        Numbers, booleans, None, texts, and lists and tuples of these, by key.
        A text keeps the blanks within it, as a path has them, which mmengine
        takes out; so it does in lists and tuples.

    Raises:
        ValueError: A pair has no ``=``, or brackets that do not match.
    """
    parsed = argparse.Namespace()
    try:
        DictAction([], 'options')(None, parsed, pairs)
    # Where a value is a call, mmengine looks for its end without end.
    except RecursionError as error:
        raise ValueError(
            f'{" ".join(pairs)!r}: expected numbers, texts, and lists of '
            'these as values; change single keys, such as '
            'KEY.0.scale=160,120'
        ) from error
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f'expected KEY=VALUE pairs, got {" ".join(pairs)!r} ({error})'
        ) from error
    typed = dict(pair.split('=', 1) for pair in pairs)
    return {
        key: typed[key].strip().strip('\'"')
        if isinstance(value, str)
        else value
        for key, value in parsed.options.items()
    }


def require_keys(cfg: Config, *keys: str) -> None:
    """Check that a config has all that one kind of run needs.

    Raises:
        ValueError: It lacks some of the keys, or they are None.
    """
    absent = [key for key in keys if cfg.get(key) is None]
    if absent:
        # A base lacks one or the other.
        whole = cfg.get('model') and cfg.get('train_cfg')
        raise ValueError(
            f'{cfg.filename} has no {", ".join(absent)}: '
            + (
                'add what is missing to the config'
                if whole
                else 'expected a whole config, not one of its bases'
            )
        )


def scope_of(cfg: Config) -> str:
    """Return the name of the package whose classes the config means."""
    return cfg.get('default_scope') or 'mmengine'


def data_sets(cfg: ConfigDict) -> list[ConfigDict]:
    """Return the configs of data sets from within their wrappers.

    Args:
        cfg: Config of a data set, of a wrapper of some, or of a dataloader.

    Raises:
        ValueError: It is no dict, or a wrapper of nothing.
    """
    if not isinstance(cfg, dict) or cfg.get('datasets') == []:
        raise ValueError(
            f'expected the config of a data set, such as dict(type=...), got '
            f'{cfg}'
        )
    if 'dataset' in cfg:
        return data_sets(cfg['dataset'])
    if 'datasets' in cfg:
        return [leaf for part in cfg['datasets'] for leaf in data_sets(part)]
    return [cfg]
