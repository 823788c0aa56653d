"""The model of a config for other classes, crops and batches."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from mmseg_ext.doctor.child_configs import Code
from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.launch.errors import entries
from mmseg_ext.launch.options import OPTIONS
from mmseg_ext.planning.plan import Plan

__all__ = ['fit_model']

#: Batch norm by the names that layers have.
_BATCH_NORMS = ('BN', 'BN2d', 'MMSyncBN', 'SyncBN')

#: Most numbers of channels have this divisor.
_GROUPS = 16

#: What a loss keeps that gets weights of classes, unless it is the default.
_OF_LOSSES = {'loss_weight': 1.0, 'loss_name': 'loss_ce'}

#: Parts that know the classes by name, and where.
_NAMED_CLASSES = (
    'model.language_model',
    'model.text_encoder',
    'model.roi_head.semantic_head',
    'model.semantic_head',
)


def fit_model(
    cfg: dict[str, Any], plan: Plan, num_classes: int, scope: str
) -> Iterator[str]:
    """Make the model of a config one for the data of a plan.

    What depends on a name at the top of the config that is to be written is
    an expression: ``num_classes``, ``crop_size``, ``class_weight``, ``mean``,
    ``std``.

    Args:
        cfg: The config, as plain dicts; its model is changed in place.
        plan: The choices.
        num_classes: Number of classes.
        scope: The package of its classes, ``'mmseg'`` or ``'mmdet'``.

    Yields:
        A sentence on what the model cannot do of the plan, or keeps.

    Raises:
        ValueError: It has no head with ``num_classes``, or a part that knows
            its classes by name; the sentence names it.
    """
    model = cfg['model']
    parts = dict(entries(cfg))
    for key in _NAMED_CLASSES:
        if parts.get(key) is not None:
            raise ValueError(
                f'{key} is for the classes of its own data set, and cannot be '
                'fitted to others'
            )
    _set_sizes(model, _crop_of(parts))
    _set_classes(cfg, num_classes)
    yield from _set_class_weight(model, plan)
    yield from _set_norms(model, plan, scope)
    if plan.mean_std.value is not None:
        yield from _set_mean(model)
    if cfg.get('load_from'):
        yield (
            'load_from of the inherited config stays: what does not fit its '
            'weights, such as heads for other classes, starts anew.'
        )


def _pair(size: Any) -> tuple[int, int] | None:
    """Return height and width of what may be one number, or no size."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2:
        return size[0], size[1]
    return None


def _crop_of(parts: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the height and width that the model is trained with."""
    sizes = [
        parts.get('model.data_preprocessor.size'),
        *(
            value
            for key, value in parts.items()
            if key.startswith('train_dataloader.')
            and key.endswith('.crop_size')
        ),
    ]
    return next(filter(None, map(_pair, sizes)), None)


def _set_sizes(model: dict[str, Any], old: tuple[int, int] | None) -> None:
    """Set what depends on the size of a crop."""
    before = model.get('data_preprocessor') or {}
    of_labels = str(before.get('type', '')).endswith('SegDataPreProcessor')
    # One of both is needed.
    if before.get('size') or (of_labels and not before.get('size_divisor')):
        before['size'] = Code('crop_size')
        before.pop('size_divisor', None)
    if before.get('batch_augments'):
        # Others draw sizes that no longer fit.
        kept = [
            {**each, 'size': Code('crop_size')}
            for each in before['batch_augments']
            if each.get('type') == 'BatchFixedSizePad'
        ]
        before['batch_augments'] = kept or None
    test = model.get('test_cfg') or {}
    if test.get('mode') == 'slide':
        overlaps = test.get('stride') != test.get('crop_size')
        test['crop_size'] = Code('crop_size')
        test['stride'] = Code(
            'tuple(side * 2 // 3 for side in crop_size)'
            if overlaps
            else 'crop_size'
        )
    backbone = model.get('backbone') or {}
    # Of transformers whose positions are those of a crop.
    if old is not None and _pair(backbone.get('img_size')) == old:
        backbone['img_size'] = Code('crop_size')


def _set_classes(cfg: dict[str, Any], num_classes: int) -> None:
    """Set the number of classes in all heads, and what depends on it.

    Raises:
        ValueError: There is no such head.
    """
    found = OPTIONS['num_classes'].find(Config(cfg), num_classes)
    parts = dict(entries(cfg))
    heads = [parts[change.part] for change in found if change.main]
    if not heads:
        raise ValueError(
            'model has no part with num_classes that is for the classes of '
            'the data'
        )
    for head in heads:
        objects = head.get('num_stuff_classes') == 0
        name = 'num_things_classes' if objects else 'num_classes'
        old = head[name]
        for node in [head, *_dicts(head)]:
            if 'class_weight' in node:
                node['class_weight'] = _weights(node['class_weight'], old)
        # One channel for two classes, or as many as there were.
        if head.get('out_channels') in (1, old):
            head['out_channels'] = None
        head[name] = Code('num_classes')


def _weights(given: Any, old: Any) -> Any:
    """Return what weighs other classes; None where each has its own."""
    if isinstance(given, Code) or given is None:
        return given
    if isinstance(given, list | tuple) and isinstance(old, int):
        same, rest = given[:old], given[old:]
        # Queries and boxes have one for what is no object.
        if len(same) == old and len(rest) <= 1 and len({*same}) == 1:
            more = f' + {list(rest)!r}' if rest else ''
            return Code(f'[{same[0]!r}] * num_classes{more}')
    # A rule of ours is for any data; a file is for one.
    rule = isinstance(given, str) and '.' not in given
    return given if rule or isinstance(given, int | float) else None


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Yield all dicts in a part of a config."""
    for _, inner in entries(node):
        if isinstance(inner, dict):
            yield inner


def _set_class_weight(model: dict[str, Any], plan: Plan) -> Iterator[str]:
    """Let the losses of label maps weigh classes by a rule, or not."""
    rule = plan.class_weight.value
    for node in _dicts(model):
        if node.get('type') == 'BalancedCrossEntropy':
            node['class_weight'] = rule and Code('class_weight')
    if rule is None:
        return
    changed = False
    heads = model.get('decode_head') or []
    for head in heads if isinstance(heads, list) else [heads]:
        losses = head.get('loss_decode')
        for loss in losses if isinstance(losses, list) else [losses]:
            kind = str((loss or {}).get('type'))
            plain = kind == 'CrossEntropyLoss' and not loss.get('use_sigmoid')
            changed |= plain or kind == 'BalancedCrossEntropy'
            if plain:
                kept = {
                    name: loss[name]
                    for name, usual in _OF_LOSSES.items()
                    if loss.get(name, usual) != usual
                }
                loss.clear()
                loss.update(
                    type='BalancedCrossEntropy',
                    class_weight=Code('class_weight'),
                    **kept,
                )
    if not changed:
        yield (
            'The losses of this model take no rule for weights of classes: '
            f'{rule} is left out.'
        )


def _set_norms(model: dict[str, Any], plan: Plan, scope: str) -> Iterator[str]:
    """Take layers of normalization that one process can train."""
    groups = {'type': 'GN', 'num_groups': _GROUPS, 'requires_grad': True}
    parts = [
        (key, node)
        for key, node in (('', model), *entries(model))
        if isinstance(node, dict)
    ]
    regrouped = False
    for key, node in parts:
        backbone = 'backbone' in key.split('.')
        for name, norm in list(node.items()):
            if not name.endswith('norm_cfg') or not isinstance(norm, dict):
                continue
            if norm.get('type') not in _BATCH_NORMS:
                continue
            if not plan.batch_norm.value and not backbone:
                node[name] = dict(groups)
                regrouped = True
            elif norm['type'] not in ('BN', 'BN2d'):
                norm['type'] = 'BN'
    if plan.batch_norm.value:
        return
    if regrouped:
        yield f'Group norm, not batch norm: {plan.batch_norm.reason}'
    for key, node in parts:
        last = key.rpartition('.')[2]
        if last.startswith('backbone') and _takes_norm_eval(node, scope):
            node['norm_eval'] = True
    inner = [model.get('backbone') or {}, *_dicts(model.get('backbone'))]
    # It may be that of a net within.
    keeps = any(each.get('norm_eval') for each in inner)
    if not keeps and any(each.get('type') in _BATCH_NORMS for each in inner):
        yield (
            f'{inner[0].get("type")} cannot keep the means of its batch norm, '
            'which small batches may blur.'
        )


def _takes_norm_eval(backbone: Mapping[str, Any], scope: str) -> bool:
    """Return whether a backbone can keep the means of its batch norm."""
    if 'norm_eval' in backbone:
        return True
    try:
        with MODELS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(backbone['type'])
        return any(
            'norm_eval' in inspect.signature(each.__init__).parameters
            for each in kind.__mro__
        )
    # It is of a package that is not here, or of a user's own.
    except FAULTS:
        return False


def _set_mean(model: dict[str, Any]) -> Iterator[str]:
    """Normalize images by what was measured."""
    before = model.get('data_preprocessor') or {}
    # That of several branches has another in it.
    before = before.get('data_preprocessor') or before
    if 'mean' not in before:
        yield 'The model normalizes no images: mean and std are left out.'
        return
    order = '' if before.get('bgr_to_rgb') else '[::-1]'
    before['mean'] = Code(f'mean{order}')
    before['std'] = Code(f'std{order}')
