"""The model of a config, built without weights, and what is known of it."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.engine.label_checks import class_heads
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.launch.configs import scope_of
from mmseg_ext.launch.errors import entries, one_line, why_not_built

__all__ = [
    'BuiltModel',
    'Head',
    'Loss',
    'Norm',
    'build_model',
    'without_weights',
]

#: Entries of a model that name files or addresses of weights.
_WEIGHTS = (
    *('init_cfg', 'pretrained', 'checkpoint', 'teacher_ckpt', 'backbone_init'),
)

#: Functions that make the tensors of parameters. On the meta device these
#: have no memory; what models compute with, such as ``linspace``, they need.
_MAKERS = (
    *(torch.empty, torch.zeros, torch.ones, torch.full),
    *(torch.rand, torch.randn),
)

#: Parts of MMDet's models that count something else, as its own
#: ``NumClassCheckHook`` has it: a proposal is an object or none.
_OTHER_COUNTS = ('VGG', 'FusedSemanticHead')
_PROPOSALS = 'rpn_head'

#: Width and height of a trial where the config names no size. It is that of
#: most crops; what is pooled to one value is so for each size.
_SIZE = (512, 512)

#: Parts that take what backbone and neck give.
_TRIED = ('decode_head', 'auxiliary_head', 'rpn_head', 'bbox_head')

#: Logits of a trial: so sure that each loss tells right from wrong.
_SURE = 6.0

#: Height and width of a trial's labels, and how many columns are ignored.
_SIDE, _IGNORED = 16, 2


class Loss(NamedTuple):
    """A loss of a head.

    Attributes:
        key: Of its config, such as ``'model.decode_head.loss_decode.0'``.
        kind: Its class.
        sigmoid: Whether each output is trained by itself.
        weights: Its weights of classes; None without any.
        wanted: How many it needs; None if that is not known.
        fault: With what it fails on labels that the head is for, in one
            line; None if it does not, or was not tried.
        ignored_fault: With what it fails alone where some are ignored.
        learns: Whether it is lower for right logits than for wrong ones; None
            if it was not tried.
    """

    key: str
    kind: str
    sigmoid: bool = False
    weights: tuple[float, ...] | None = None
    wanted: int | None = None
    fault: str | None = None
    ignored_fault: str | None = None
    learns: bool | None = None


class Head(NamedTuple):
    """A part of a model that tells the classes of the data set apart.

    Attributes:
        name: Its place in the model, such as ``'auxiliary_head.0'``; the
            empty text for the model itself.
        kind: Its class.
        place: Where its config is, such as ``'model.roi_head.bbox_head.0'``.
        keys: What has to be set in it for another number of classes, such as
            ``'num_classes'``; nothing where that stands elsewhere.
        num_classes: Number of classes.
        out_channels: Number of outputs; None if that is not known.
        single: Whether it has one output for two classes.
        threshold: Above it the one output means class 1; None without.
        own_threshold: Whether the config gives the threshold.
        ignore_index: Label that takes no part in its losses; None if all do.
        losses: Those that compare its outputs with labels.
    """

    name: str
    kind: str
    place: str
    keys: tuple[str, ...]
    num_classes: int
    out_channels: int | None = None
    single: bool = False
    threshold: float | None = None
    own_threshold: bool = False
    ignore_index: int | None = IGNORE_INDEX
    losses: tuple[Loss, ...] = ()

    def fits(self, count: int) -> bool:
        """Tell whether it can tell as many classes apart."""
        return count == self.num_classes or (self.single and count in (1, 2))


class Norm(NamedTuple):
    """A batch norm.

    Attributes:
        name: Its place in the model.
        kind: Its class, such as ``'BatchNorm2d'``, ``'SyncBatchNorm'``.
        trains: Whether it takes mean and deviation of the batch while it is
            trained; else those that it was loaded with.
        single: Whether it gets one value of an image for each channel, as
            after a pooling of the whole image.
    """

    name: str
    kind: str
    trains: bool = True
    single: bool = False


class BuiltModel(NamedTuple):
    """A model, or why it cannot be built.

    Attributes:
        fault: Why not, in one line; None if it was built.
        kind: Its class.
        on_meta: Whether it was built without memory for its parameters.
        heads: Parts that tell classes apart.
        norms: Its batch norms.
        misfit: Which layer gets other channels than it is for, in one line;
            None if none does, or it was not tried.
        cascade: Whether several heads of it, one after the other, predict.
        masks: Whether a detector predicts masks; None if that is not known.
    """

    fault: str | None = None
    kind: str = ''
    on_meta: bool = False
    heads: tuple[Head, ...] = ()
    norms: tuple[Norm, ...] = ()
    misfit: str | None = None
    cascade: bool = False
    masks: bool | None = None


class _Weightless(TorchFunctionMode):
    """Makes tensors of parameters on the meta device, and others where not."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _MAKERS and kwargs.get('device') is None:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


def build_model(cfg: Config) -> BuiltModel | None:
    """Build the model of a config, and look at it.

    Nothing is loaded, and the config stays as it is.

    Args:
        cfg: A config, read, in whose scope classes are looked for.

    Returns:
        The model, or why it cannot be built; None if the config has none.
    """
    if cfg.get('model') is None:
        return None
    # What upstream warns of, checks tell.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            model, on_meta = _build(cfg)
        # Anything may come out of a user's class.
        except FAULTS as error:
            fault = why_not_built(cfg, error) or one_line(error)
            return BuiltModel(fault)
        heads: list[Head] = []
        # Parts of a user's classes may be anything, too.
        with suppress(*FAULTS):
            heads.extend(_heads(cfg, model))
        kinds = {
            name: type(part).__name__
            for name, part in model.named_modules()
            if isinstance(part, _BatchNorm)
        }
        single, misfit = _try(cfg, model)
    parts = dict(model.named_modules())
    return BuiltModel(
        None,
        type(model).__name__,
        on_meta,
        tuple(heads),
        tuple(
            Norm(name, kind, parts[name].training, name in single)
            for name, kind in kinds.items()
        ),
        misfit,
        isinstance(getattr(model, 'decode_head', None), nn.ModuleList),
        _predicts_masks(model),
    )


def without_weights(node: Any) -> Any:
    """Return a copy of a config of a model that loads and downloads nothing.

    Args:
        node: The config, or a part of one.
    """
    if isinstance(node, dict):
        copy = type(node)()
        for key, value in node.items():
            copy[key] = None if key in _WEIGHTS else without_weights(value)
        # Some take no None, and have a default that loads nothing.
        copy.pop('init_cfg', None)
        return copy
    if isinstance(node, list | tuple):
        return type(node)(map(without_weights, node))
    return node


def _build(cfg: Config) -> tuple[nn.Module, bool]:
    """Return the model, and whether its parameters have no memory."""
    plain = without_weights(cfg.model)
    # As the runner has it.
    if cfg.get('data_preprocessor') is not None:
        plain.setdefault('data_preprocessor', cfg.data_preprocessor)
    # Building may take entries out of a config.
    with suppress(*FAULTS), _Weightless():
        return MODELS.build(without_weights(plain)), True
    return MODELS.build(plain), False


def _heads(cfg: Config, model: nn.Module) -> Iterator[Head]:
    """Yield the heads of a model."""
    if scope_of(cfg) == 'mmdet':
        yield from _instance_heads(cfg, model)
        return
    parts = dict(model.named_modules())
    for head in class_heads(model):
        part = parts[head.name]
        key, node = _place(cfg, head.name)
        out = getattr(part, 'out_channels', None)
        yield Head(
            head.name,
            type(part).__name__,
            key,
            _keys(node, head.num_classes),
            head.num_classes,
            out if isinstance(out, int) else None,
            head.single,
            getattr(part, 'threshold', None),
            node.get('threshold') is not None,
            head.ignore_index,
            tuple(_losses(part, key, node, head.num_classes)),
        )


def _instance_heads(cfg: Config, model: nn.Module) -> Iterator[Head]:
    """Yield the heads of a model of MMDet, each once."""
    for name, part in model.named_modules():
        count = getattr(part, 'num_classes', None)
        if (
            not isinstance(count, int)
            or name.endswith(_PROPOSALS)
            # The teacher of a semi-supervised model is built as the student.
            or name.startswith('teacher')
            or type(part).__name__ in _OTHER_COUNTS
        ):
            continue
        key, node = _place(cfg, name)
        yield Head(
            name,
            type(part).__name__,
            key,
            _keys(node, count),
            count,
            getattr(part, 'cls_out_channels', None),
            ignore_index=None,
            losses=tuple(_losses(part, key, node, count)),
        )


def _keys(node: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return what sets the number of classes in the config of a head."""
    # Those of MMDet tell objects and grounds apart, which may be none.
    if 'num_things_classes' in node:
        return () if node.get('num_stuff_classes') else ('num_things_classes',)
    found = [
        key
        for key, value in entries(node)
        if key.rpartition('.')[2] == 'num_classes' and value == count
    ]
    if found and node.get('out_channels') == count:
        found.append('out_channels')
    return tuple(found)


def _place(cfg: Config, name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the key and the config of a part of a model.

    Where one config is for several parts, they share the key.
    """
    key, node = 'model', cfg.model
    # Wrappers that train a model in another way have it in their config.
    if name.startswith('student.') and 'detector' in node:
        name = name.replace('student', 'detector', 1)
    for step in filter(None, name.split('.')):
        if (
            isinstance(node, list | tuple)
            and step.isdigit()
            and int(step) < len(node)
        ):
            node = node[int(step)]
        elif isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, dict) and step.isdigit():
            continue
        else:
            return key, {}
        key = f'{key}.{step}'
    return key, node if isinstance(node, dict) else {}


def _losses(
    part: nn.Module, key: str, node: Mapping[str, Any], count: int
) -> Iterator[Loss]:
    """Yield the losses of a head that compare its outputs with labels."""
    for name in ('loss_decode', 'loss_cls'):
        found: Any = getattr(part, name, None)
        several = isinstance(found, nn.ModuleList)
        for number, loss in enumerate(found if several else [found]):
            if not isinstance(loss, nn.Module):
                continue
            options = node.get(name)
            place = f'{key}.{name}'
            if isinstance(options, list | tuple):
                place = f'{place}.{number}'
            yield Loss(
                place,
                type(loss).__name__,
                bool(getattr(loss, 'use_sigmoid', False)),
                _weights(loss),
                _wanted(part, name, loss, count),
                *_trial(part, loss),
            )


def _weights(loss: nn.Module) -> tuple[float, ...] | None:
    """Return the weights of classes of a loss, as far as it has some."""
    weights = getattr(loss, 'class_weight', None)
    if isinstance(weights, Tensor):
        # Their values may have no memory.
        return (1.0,) * weights.numel() if weights.ndim else None
    return tuple(weights) if isinstance(weights, list | tuple) else None


def _wanted(
    part: nn.Module, name: str, loss: nn.Module, count: int
) -> int | None:
    """Return how many weights of classes a loss needs; None if not known."""
    if name == 'loss_decode':
        return cast(int, part.out_channels) if _is_plain(part) else None
    if getattr(loss, 'custom_cls_channels', False):
        return None
    if hasattr(part, 'cls_out_channels'):
        out = part.cls_out_channels
        return out if isinstance(out, int) else None
    # Beside the classes there is the background, or no object.
    return count + (not getattr(loss, 'use_sigmoid', False))


def _is_plain(part: nn.Module) -> bool:
    """Tell whether a head gives its losses one output for each class."""
    return (
        isinstance(part, BaseDecodeHead)
        and type(part).loss_by_feat is BaseDecodeHead.loss_by_feat
    )


def _trial(
    part: nn.Module, loss: nn.Module
) -> tuple[str | None, str | None, bool | None]:
    """Let a loss judge right and wrong logits of a head, on all its classes.

    Returns:
        With what it fails; with what alone where labels are ignored; and
        whether it is lower for right ones. None of them where the head has a
        way of its own.
    """
    if not isinstance(part, BaseDecodeHead) or not _is_plain(part):
        return None, None, None
    outputs = part.out_channels
    if getattr(loss, 'class_weight_rule', None) is not None:
        # Of ours, whose weights a hook makes before the training.
        cast(Any, loss).set_class_weight([1] * outputs)
    classes = max(outputs, 2)
    # Each class is there, in one piece, as some losses look for its edges.
    width = max(_SIDE, math.ceil(classes / _SIDE))
    label = torch.arange(_SIDE * width) * classes // (_SIDE * width)
    label = label.reshape(1, _SIDE, width).repeat(2, 1, 1)
    right = _SURE * (2 * _one_hot(label, outputs) - 1)
    wrong = right.roll(1, 1) if outputs > 1 else -right
    good, fault = _judged(part, loss, right, label)
    if good is None:
        return fault, None, None
    bad, _ = _judged(part, loss, wrong, label)
    ignored_fault = None
    if part.ignore_index is not None:
        label[:, :, :_IGNORED] = part.ignore_index
        _, ignored_fault = _judged(part, loss, right, label)
    return None, ignored_fault, None if bad is None else good < bad


def _judged(
    part: BaseDecodeHead, loss: nn.Module, logits: Tensor, label: Tensor
) -> tuple[float | None, str | None]:
    """Return what a loss gives, or with what it fails, in one line."""
    try:
        with torch.no_grad():
            return float(_loss(part, loss, logits, label)), None
    # Anything may come out of a user's class.
    except FAULTS as error:
        line = one_line(error)
        # Something in it has no memory here.
        return None, None if 'meta' in line else line


def _one_hot(label: Tensor, outputs: int) -> Tensor:
    """Return 1 where an output means the class, float (N, C, H, W)."""
    if outputs == 1:
        return label[:, None].float()
    return nn.functional.one_hot(label, outputs).movedim(-1, 1).float()


def _loss(
    part: BaseDecodeHead, loss: nn.Module, logits: Tensor, label: Tensor
) -> Tensor:
    """Return what a loss of a head gives, as ``loss_by_feat`` calls it."""
    if part.sampler is None:
        found = loss(
            logits, label, weight=None, ignore_index=part.ignore_index
        )
    else:
        # It chooses pixels by all losses of the head.
        samples = [
            SegDataSample(gt_sem_seg=PixelData(data=one[None]))
            for one in label
        ]
        found = part.loss_by_feat(logits, samples)[loss.loss_name]
    return torch.as_tensor(found).sum()


def _predicts_masks(model: nn.Module) -> bool | None:
    """Return whether a detector gives masks; None if that is not known."""
    head = getattr(model, 'roi_head', None)
    # Others than those of two stages have many ways.
    masks = getattr(head, 'with_mask', None)
    return masks if isinstance(masks, bool) else None


def _try(cfg: Config, model: nn.Module) -> tuple[set[str], str | None]:
    """Let a batch without values go through the parts of a model.

    Returns:
        The batch norms that get one value for each channel of an image, and
        why parts do not go together.
    """
    single: set[str] = set()
    misfits: list[str] = []
    with suppress(*FAULTS), torch.no_grad():
        model = revert_sync_batchnorm(model).to('meta')
    with suppress(*FAULTS):
        model.train()
    for name, part in model.named_modules():
        if isinstance(part, _BatchNorm):
            part.register_forward_pre_hook(_note_single(single, name))
            # On this device PyTorch computes it step by step in Python.
            vars(part)['forward'] = _same
        elif isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_pre_hook(_note_misfit(misfits, name))
    height, width = _size(cfg, model)
    with torch.no_grad(), torch.device('meta'):
        batch = torch.zeros(2, 3, height, width)
        failed = not _goes_through(model, batch)
    return single, misfits[0] if failed and misfits else None


def _same(inputs: Tensor) -> Tensor:
    return inputs


def _note_single(single: set[str], name: str) -> Any:
    """Return a hook that notes a batch norm that gets one value."""

    def hook(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if math.prod(inputs[0].shape[2:]) == 1:
            single.add(name)

    return hook


def _note_misfit(misfits: list[str], name: str) -> Any:
    """Return a hook that notes a layer that gets other channels."""

    def hook(part: Any, inputs: tuple[Tensor, ...]) -> None:
        linear = isinstance(part, nn.Linear)
        wanted = part.in_features if linear else part.in_channels
        given = inputs[0].shape[-1 if linear else -3]
        if given != wanted:
            misfits.append(
                f'model.{name} is for {wanted} channels, and gets {given}'
            )

    return hook


def _size(cfg: Config, model: nn.Module) -> tuple[int, int]:
    """Return height and width of the images that a model is trained with."""
    loader = cfg.get('train_dataloader') or {}
    found = [
        getattr(getattr(model, 'data_preprocessor', None), 'size', None),
        *(v for key, v in entries(loader) if key.endswith('.crop_size')),
    ]
    for size in found:
        if isinstance(size, int):
            return size, size
        if isinstance(size, list | tuple) and len(size) == 2:
            return size[0], size[1]
    return _SIZE


def _goes_through(model: Any, batch: Tensor) -> bool:
    """Let a batch through the parts of a model, and tell whether all ran."""
    # Anything may come out of a user's class, or need values.
    try:
        features = model.extract_feat(batch)
    except FAULTS:
        return False
    fine = True
    for name in _TRIED:
        part = getattr(model, name, None) or ()
        results: list[Any] = []
        for head in part if isinstance(part, nn.ModuleList) else [part]:
            # Of a cascade each takes what the last one gave.
            cascade = results if name == 'decode_head' else []
            try:
                results = [head(features, *cascade)] if head else results
            except FAULTS:
                fine = False
    return fine
