"""Configs that users name: finding, reading and looking into them."""

import argparse
import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

import mmseg_ext

__all__ = [
    'data_sets',
    'find_config',
    'load_config',
    'parse_pairs',
    'require_keys',
    'scope_of',
    'type_name',
]


def load_config(
    config: str,
    work_dir: str | None = None,
    cfg_options: dict | None = None,
) -> Config:
    """Read a config and set its work dir.

    Args:
        config: Path or name of a config.
        work_dir: Overrides the config's. Where neither gives one it is
            ``./work_dirs/<name of the config>``.
        cfg_options: Entries to change.

    Raises:
        ValueError: There is no such config, it cannot be read, an option
            does not fit it, or its package is not installed.
    """
    path = find_config(config)
    try:
        cfg = Config.fromfile(path)
    # A config is code: anything may come out of it.
    except Exception as error:
        raise ValueError(
            f'{path} cannot be read as a config: {_one_line(error)}'
        ) from error
    try:
        cfg.merge_from_dict(cfg_options or {})
    # mmengine merges without a look at what is there.
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(
            f'cfg_options do not fit {path}: {_one_line(error)}'
        ) from error
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


def find_config(name: str) -> Path:
    """Find a config by path, or by name among those of ``mmseg_ext``.

    Args:
        name: A path, or a file name with or without ``.py``.

    Returns:
        The path of the config.

    Raises:
        ValueError: There is none, or more than one of that name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    package = Path(mmseg_ext.__file__).parent
    root = package / '.mim' / 'configs'
    if not root.is_dir():
        root = package.parent / 'configs'
    configs = sorted(root.rglob('*.py'))
    found = [c for c in configs if path.name in (c.name, c.stem)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f'{name} is the name of several configs, give the path of one: '
            + ', '.join(map(str, found))
        )
    close = difflib.get_close_matches(path.stem, [c.stem for c in configs])
    raise ValueError(
        f'there is no config {name}: neither a file nor the name of a config '
        f'in {root}' + (f'; close: {", ".join(close)}' if close else '')
    )


def _one_line(error: Exception) -> str:
    """Return the type and text of an error without line breaks."""
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def parse_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` pairs as mmengine does.

    Args:
        pairs: Of two pairs with the same key the later one counts.

    Returns:
        Numbers, booleans, None, texts, and lists and tuples of these, by key.

    Raises:
        ValueError: A pair has no ``=``, or brackets that do not match.
    """
    parsed = argparse.Namespace()
    try:
        DictAction([], 'options')(None, parsed, pairs)
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f'expected KEY=VALUE pairs, got {" ".join(pairs)!r} ({error})'
        ) from error
    return parsed.options


def require_keys(cfg: Config, *keys: str) -> None:
    """Check that a config has all that one kind of run needs.

    Raises:
        ValueError: It lacks some of the keys, or they are None.
    """
    absent = [key for key in keys if cfg.get(key) is None]
    if absent:
        raise ValueError(
            f'{cfg.filename} has no {", ".join(absent)}: expected a whole '
            'config, not one of its bases'
        )


def scope_of(cfg: Config) -> str:
    """Return the name of the package whose classes the config means."""
    return cfg.get('default_scope') or 'mmengine'


def type_name(cfg: ConfigDict) -> str:
    """Return the name of the class of a config, without its scope."""
    kind = cfg.get('type', '')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def data_sets(cfg: ConfigDict) -> list[ConfigDict]:
    """Return the configs of data sets from within their wrappers.

    Args:
        cfg: Config of a data set, of a wrapper of some, or of a dataloader.
    """
    if 'dataset' in cfg:
        return data_sets(cfg['dataset'])
    if 'datasets' in cfg:
        return [leaf for part in cfg['datasets'] for leaf in data_sets(part)]
    return [cfg]
