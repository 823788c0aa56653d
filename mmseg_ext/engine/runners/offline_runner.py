"""Training without a network, from configs that name weights by address."""

import copy
import logging
import re
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

__all__ = ['OfflineRunner', 'leave_out_addresses']

#: What keeps a backbone or its normalization as they are loaded, and the
#: values with which all of it is trained.
_THAWED = {'frozen_stages': -1, 'norm_eval': False, 'requires_grad': True}

#: All of it, with a scheme that mmengine does not read from this machine.
_ADDRESS = re.compile(r'(?!(file|local)://)[\w.:+-]+://\S+')

#: In the last name of a key: its value is weights, or a list of them.
_WEIGHTS_KEY = re.compile(
    r'(checkpoint|ckpt|init|load_from|pretrain|weight)[^.]*([.]\d+)*$'
)

#: Addresses of weights under whatever key: in a collection that mmengine
#: knows, or of a file of weights.
_WEIGHTS = re.compile(
    '(open-?mmlab|torchvision|modelzoo|mmcls|pavi)://'
    '|.+[.](bin|ckpt|npz|pkl|pt|pth|safetensors)([?#]|$)'
)


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
                f'{cls.__name__} leaves out weights at an address, and '
                'trains what would start from them; changed in the config: '
                f'{", ".join(changed)}',
            )
        return runner


def leave_out_addresses(
    cfg: Config | ConfigDict | dict[str, Any],
) -> list[str]:
    """Take weights that lie at an address out of a config.

    An address has a scheme, such as ``https://`` or ``open-mmlab://``, but
    not ``file://`` or ``local://``; files and weights of packages stay. It is
    one of weights if its key says so, such as ``checkpoint``, ``pretrained``
    or ``teacher_ckpt``, or if it has the scheme or suffix of weights. What
    parts of the model fetch by themselves, as with ``pretrained=True``, and
    other entries of the config stay.

    What has no weights any more starts as its class does by default. Unless
    ``load_from`` remains, what the config freezes in parts without weights,
    by ``frozen_stages``, ``norm_eval`` or ``requires_grad``, is trained: else
    random weights would stay as they are. ``Pretrained`` and
    ``PackageWeights`` are weights, other initializers are not.

    Args:
        cfg: Of MMSeg or MMDet; it is changed.

    Returns:
        The keys whose values were changed, such as ``'load_from'`` and
        ``'model.backbone.init_cfg'``.
    """
    changed = []
    if _is_address(cfg.get('load_from'), 'load_from'):
        cfg['load_from'] = None
        changed.append('load_from')
    model = cfg['model']
    changed += _without_addresses(model, 'model')
    # A training that goes on has the weights of one that was changed alike.
    loaded = cfg.get('load_from') and not cfg.get('resume')
    if changed and not loaded:
        changed += _thawed(model, 'model')
    return changed


def _is_address(value: object, key: str) -> bool:
    """Return whether a value, or an ``init_cfg``, is weights at an address."""
    if isinstance(value, dict) and 'Pretrained' in str(value.get('type')):
        value, key = value.get('checkpoint'), 'checkpoint'
    return (
        isinstance(value, str)
        and _ADDRESS.fullmatch(value) is not None
        and bool(_WEIGHTS_KEY.search(key) or _WEIGHTS.match(value))
    )


def _parts(value: dict | list, key: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield index, entry and whole key of what a part of a config holds."""
    if isinstance(value, dict):
        for name in list(value):
            yield name, value[name], f'{key}.{name}'
    else:
        for index in reversed(range(len(value))):
            yield index, value[index], f'{key}.{index}'


def _has_weights(part: dict | list) -> bool:
    """Return whether a part starts from weights, addresses being left out."""
    if isinstance(part, list):
        return False
    start = str(part.get('init_cfg'))
    return (
        bool(part.get('pretrained'))
        or 'Pretrained' in start
        or 'PackageWeights' in start
    )


def _thawed(part: Any, key: str) -> Iterator[str]:
    """Set what is frozen free, but for what keeps its weights."""
    if not isinstance(part, (dict, list)) or _has_weights(part):
        return
    for name, value, inner in _parts(part, key):
        if name in _THAWED and value != _THAWED[name]:
            part[name] = _THAWED[name]
            yield inner
        yield from _thawed(value, inner)


def _without_addresses(part: Any, key: str) -> Iterator[str]:
    """Take addresses out of a part of a config and yield their keys."""
    if not isinstance(part, (dict, list)):
        return
    for index, value, inner in _parts(part, key):
        if _is_address(value, inner):
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
