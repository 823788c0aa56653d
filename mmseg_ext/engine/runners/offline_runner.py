"""Training without a network, from configs that name weights by address."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

__all__ = ['OfflineRunner', 'leave_out_addresses']

#: What keeps a backbone or its normalization as they are loaded, and the
#: values with which all of it is trained.
_THAWED = {'frozen_stages': -1, 'norm_eval': False, 'requires_grad': True}


@RUNNERS.register_module()
class OfflineRunner(Runner):
    """Runner that leaves out weights which would be fetched from an address.

    Chosen by one entry of a config, ``runner_type='OfflineRunner'``. See
    :func:`leave_out_addresses`; the log names what is left out.
    """

    @classmethod
    def from_cfg(cls, cfg: Config | ConfigDict | dict[str, Any]) -> Runner:
        """Build a runner from a config, which stays as it is.

        Args:
            cfg: As for mmengine's runner.
        """
        cfg = copy.deepcopy(cfg)
        changed = leave_out_addresses(cfg)
        runner = super().from_cfg(cfg)
        if changed:
            runner.logger.log(
                logging.WARNING,
                f'{cls.__name__} fetches nothing and leaves out what the '
                f'config has as {", ".join(changed)}',
            )
        return runner


def leave_out_addresses(
    cfg: Config | ConfigDict | dict[str, Any],
) -> list[str]:
    """Take weights that lie at an address out of a config.

    An address has a scheme, such as ``https://`` or ``open-mmlab://``; paths
    and weights of packages stay. What has no weights any more starts as its
    class does by default. Unless ``load_from`` remains, what the config
    freezes in parts without weights, by ``frozen_stages``, ``norm_eval`` or
    ``requires_grad``, is trained: else random weights would stay as they are.

    Args:
        cfg: Of MMSeg or MMDet; it is changed.

    Returns:
        The keys whose values were changed, such as ``'load_from'`` and
        ``'model.backbone.init_cfg'``.
    """
    changed = []
    if _is_address(cfg.get('load_from')):
        cfg['load_from'] = None
        changed.append('load_from')
    model = cfg['model']
    changed += _without_addresses(model, 'model')
    # A training that goes on has the weights of one that was changed alike.
    loaded = cfg.get('load_from') and not cfg.get('resume')
    if changed and not loaded:
        changed += _thawed(model, 'model')
    return changed


def _is_address(value: object) -> bool:
    """Return whether a value, or what an ``init_cfg`` loads, is an address."""
    if isinstance(value, dict) and 'Pretrained' in str(value.get('type')):
        value = value.get('checkpoint')
    return isinstance(value, str) and '://' in value


def _parts(value: dict | list, key: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield index, entry and whole key of what a part of a config holds."""
    if isinstance(value, dict):
        for name in list(value):
            yield name, value[name], f'{key}.{name}'
    else:
        for index in reversed(range(len(value))):
            yield index, value[index], f'{key}.{index}'


def _thawed(part: Any, key: str) -> Iterator[str]:
    """Set what is frozen free, but for what keeps its weights."""
    if isinstance(part, dict) and not (
        part.get('init_cfg') or part.get('pretrained')
    ):
        for name, value in _THAWED.items():
            if name in part and part[name] != value:
                part[name] = value
                yield f'{key}.{name}'
        for _, value, inner in _parts(part, key):
            yield from _thawed(value, inner)


def _without_addresses(part: Any, key: str) -> Iterator[str]:
    """Take addresses out of a part of a config and yield their keys."""
    if not isinstance(part, (dict, list)):
        return
    for index, value, inner in _parts(part, key):
        if _is_address(value):
            yield inner
            if isinstance(part, list):
                del part[index]
            else:
                part[index] = None
            continue
        taken = list(_without_addresses(value, inner))
        yield from taken
        # Classes start as by default if init_cfg is None.
        if taken and value == []:
            part[index] = None
