"""Entries of a config that checks of pipelines read and change."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

__all__ = ['balanced_loss', 'entry_at', 'pipeline_at', 'preprocessor_of']


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


def entry_at(cfg: Config, key: str) -> Any:
    """Return an entry of a config; None if there is no such.

    Args:
        cfg: The config of a training.
        key: Where it is, such as ``'model.auxiliary_head.0.loss_decode'``.
    """
    entry: Any = cfg
    for name in key.split('.'):
        try:
            entry = entry[int(name) if isinstance(entry, list) else name]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return entry


def balanced_loss(
    cfg: Config, key: str, weights: Sequence[float]
) -> dict[str, Any]:
    """Return a loss with class weights that takes ignored labels as well.

    MMSeg's ``CrossEntropyLoss`` looks for the weight of an ignored label, and
    fails.

    Args:
        cfg: The config of a training.
        key: Where the loss is that it stands for.
        weights: A weight for each class.
    """
    loss = entry_at(cfg, key) or {}
    kept = {k: loss[k] for k in ('loss_weight', 'loss_name') if k in loss}
    return {
        'type': 'BalancedCrossEntropy',
        'class_weight': list(weights),
        **kept,
    }


def pipeline_at(cfg: Config, key: str) -> list[dict[str, Any]] | None:
    """Return a copy of a pipeline, of plain values.

    Args:
        cfg: The config of a training.
        key: Where the pipeline is in it, such as
            ``'train_dataloader.dataset.pipeline'``.

    Returns:
        The config of each step; None if there is no such pipeline.
    """
    entry = entry_at(cfg, key)
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
