"""Entries of a config that checks of pipelines read and change."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

__all__ = ['pipeline_at', 'preprocessor_of']


def preprocessor_of(cfg: Config) -> tuple[str, Mapping[str, Any]]:
    """Return the config of what prepares batches for a model, and its key.

    Args:
        cfg: The config of a training.
    """
    key = 'model.data_preprocessor'
    found = (cfg.get('model') or {}).get('data_preprocessor') or {}
    # That of several branches has another in it.
    inner = found.get('data_preprocessor')
    if isinstance(inner, Mapping):
        return f'{key}.data_preprocessor', inner
    return key, found


def pipeline_at(cfg: Config, key: str) -> list[dict[str, Any]] | None:
    """Return a copy of a pipeline, of plain values.

    Args:
        cfg: The config of a training.
        key: Where the pipeline is in it, such as
            ``'train_dataloader.dataset.pipeline'``.

    Returns:
        The config of each step; None if there is no such pipeline.
    """
    entry: Any = cfg
    for name in key.split('.'):
        try:
            entry = entry[int(name) if isinstance(entry, list) else name]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    if not isinstance(entry, list | tuple):
        return None
    steps = [_plain(step) for step in entry]
    return steps if all(isinstance(step, dict) for step in steps) else None


def _plain(value: Any) -> Any:
    """Return a value of a config without classes of mmengine."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return type(value)(_plain(each) for each in value)
    return value
