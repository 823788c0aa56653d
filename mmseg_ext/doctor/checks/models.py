"""The model against the data: heads, losses, ignored labels, norm layers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config

from mmseg_ext.doctor.built_model import BuiltModel, Head, Loss
from mmseg_ext.doctor.case import Case, Split
from mmseg_ext.doctor.config_entries import balanced_loss
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.label_families import is_learned
from mmseg_ext.doctor.parts import Part
from mmseg_ext.engine.label_checks import (
    fitting_numbers,
    sample_info,
    transform_fault,
)
from mmseg_ext.formats.color_masks import VOID_NAMES
from mmseg_ext.launch.errors import entries, type_name
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'batch_norms_see_enough',
    'class_weights_fit',
    'classes_are_the_same',
    'heads_fit',
    'ignored_labels_agree',
    'losses_work',
    'model_is_built',
    'single_outputs_work',
    'sync_norms_have_gpus',
    'transforms_fit',
]

NOT_BUILT = Code(
    'model-not-built',
    Level.ERROR,
    'the run ends before its first iteration',
    'see the text: it names the entry of the config, or the package',
)
CHANNELS = Code(
    'model-channels',
    Level.ERROR,
    'the first iteration ends with "expected input to have N channels" or '
    '"mat1 and mat2 shapes cannot be multiplied"',
    'set in_channels and in_index of the part to what backbone or neck give',
)
HEADS = Code(
    'head-classes',
    Level.ERROR,
    '"Target N is out of bounds" or a CUDA assert in training, or classes '
    'that are never predicted; MMSeg itself does not check it',
    'set num_classes of the head to the number of classes of the data set',
)
CLASSES = Code(
    'data-set-classes',
    Level.ERROR,
    'the scores are those of other classes than were learned',
    'give all splits the same metainfo.classes, in the same order',
)
BINARY = Code(
    'binary-head',
    Level.ERROR,
    'loss 0 from the first iteration, "Target 1 is out of bounds", or IoU 0 '
    'of a class',
    'num_classes=2, out_channels=1, threshold=0.5 and CrossEntropyLoss with '
    'use_sigmoid=True, and two classes in the data set; or num_classes=2 with '
    'use_sigmoid=False alone',
)
LOSS = Code(
    'loss-fails',
    Level.ERROR,
    'the first iteration ends with the error, or training makes the model '
    'worse',
    'use another loss, or other options of it',
)
WEIGHTS = Code(
    'class-weight-length',
    Level.ERROR,
    '"weight tensor should be defined either for all N classes or no classes"',
    'give one weight for each class; mmseg-ext class-weights CONFIG prints '
    'them',
)
IGNORE = Code(
    'ignore-index',
    Level.ERROR,
    '"Target 255 is out of bounds" or a CUDA assert in training, or IoU 0 of '
    'a class that is never learned',
    'set ignore_index of the heads to the label of pixels without class',
)
BATCH_NORM = Code(
    'batch-norm-of-one',
    Level.ERROR,
    '"Expected more than 1 value per channel when training"; with larger '
    'maps, mean and deviation of one image alone, and scores that are lower '
    'in validation than in training',
    'set drop_last=True in train_dataloader, a batch_size of 2 or more, or '
    "norm_cfg=dict(type='GN', num_groups=32)",
)
SYNC = Code(
    'sync-bn-on-cpu',
    Level.NOTE,
    'one process trains: MMEngine makes it BN by itself; several processes on '
    'CPUs end with "SyncBatchNorm expected input tensor to be on GPU"',
    "norm_cfg=dict(type='BN') where no GPUs train",
)
TRANSFORM = Code(
    'transform-classes',
    Level.ERROR,
    'classes are chosen by the weights of others, or the run ends',
    'give the transform one number for each class of the data set',
)

#: The argument of transforms that has a number for each class.
_CLASS_WEIGHTS = 'class_weights'

#: Losses of MMSeg that compute in another way on a GPU, and only there for
#: more than one class.
_ON_GPUS = ('FocalLoss',)

#: Samplers whose names have one of these go on without an end.
_ENDLESS = ('Infinite', 'MultiSource')

#: MMCV's SyncBN cannot be built without them.
_PROCESSES = 'process group'

#: What is said of batches where all hold one image.
_ALWAYS = 'batch_size=1: each batch is one image'

#: A threshold that takes the likelier of two classes.
_HALF = 0.5


@check(NOT_BUILT, CHANNELS)
def model_is_built(case: Case) -> Iterator[Finding]:
    """Yield why a model cannot be built, or its parts do not go together."""
    if case.model is None:
        return
    fault = case.model.fault
    if fault is not None and _PROCESSES not in fault:
        yield NOT_BUILT.found(fault)
    if case.model.misfit is not None:
        yield CHANNELS.found(case.model.misfit)


@check(CLASSES)
def classes_are_the_same(case: Case) -> Iterator[Finding]:
    """Yield data sets with other classes than those of the training."""
    first = _first(case)
    if first is None:
        return
    wanted = _named(first)
    for part in case.parts:
        found = _named(part)
        if not part.classes or part is first or found == wanted:
            continue
        place, pair = _first_difference(found, wanted)
        text = (
            f'{len(part.classes)} classes, and {len(first.classes)} in '
            f'{first.key}; class {place} is {pair[0]}, there {pair[1]}'
        )
        info = {**(part.cfg.get('metainfo') or {})}
        info['classes'] = list(first.classes)
        yield CLASSES.found(
            text,
            part.split,
            value=list(part.classes),
            change={f'{part.key}.metainfo': info},
        )


@check(HEADS)
def heads_fit(case: Case) -> Iterator[Finding]:
    """Yield heads that are for another number of classes than the data."""
    part = _first(case)
    if part is None:
        return
    count = len(part.classes)
    for head in _misfits(case):
        change: dict[str, Any] = {
            f'{head.place}.{key}': count for key in head.keys
        }
        if head.single and change:
            change |= _two_outputs(head, count)
        for loss in head.losses if change else ():
            if weights := _other_weights(head, loss, count):
                change[f'{loss.key}.class_weight'] = weights
        yield HEADS.found(
            f'{head.place} ({head.kind}) has num_classes='
            f'{head.num_classes}, and {type_name(part.cfg)} has {count} '
            f'classes ({listing([*map(printable, part.classes)])})',
            part.split,
            value=head.num_classes,
            mend=f'{head.place}.{head.keys[0]}={count}' if change else None,
            change=change,
        )


@check(BINARY)
def single_outputs_work(case: Case) -> Iterator[Finding]:
    """Yield heads of two classes whose options do not go together."""
    model = case.model
    if model is None or not case.semantic:
        return
    wrong = _misfits(case)
    part = _first(case)
    for head in model.heads:
        if head not in wrong and head.num_classes <= 2:
            yield from _binary(model, head, part)


@check(LOSS)
def losses_work(case: Case) -> Iterator[Finding]:
    """Yield losses that fail, or that lead the wrong way."""
    part = _first(case)
    for head in case.model.heads if case.model else ():
        for loss in head.losses:
            if _weights_fault(head, loss):
                continue
            if head.single:
                # What else is wrong with one output is told of the head.
                if loss.ignored_fault is not None:
                    yield _ignored_loss(case.cfg, loss, part)
            elif loss.fault is not None and loss.kind in _ON_GPUS:
                if not torch.cuda.is_available():
                    yield LOSS.found(
                        f'{loss.key} ({loss.kind}) fails without a GPU: '
                        f'{loss.fault}',
                        level=Level.WARNING,
                    )
            elif loss.fault is not None:
                text = f'{loss.key} ({loss.kind}) fails: {loss.fault}'
                yield LOSS.found(text)
            elif loss.learns is False:
                others = any(other.learns for other in head.losses)
                yield LOSS.found(
                    f'{loss.key} ({loss.kind}) is no lower for right '
                    'predictions than for wrong ones',
                    level=Level.WARNING if others else Level.ERROR,
                )
            elif loss.ignored_fault is not None:
                yield _ignored_loss(case.cfg, loss, part)


@check(WEIGHTS)
def class_weights_fit(case: Case) -> Iterator[Finding]:
    """Yield losses with another number of weights than classes."""
    wrong = _misfits(case)
    for head in case.model.heads if case.model else ():
        for loss in head.losses if head not in wrong else ():
            if fault := _weights_fault(head, loss):
                key = f'{loss.key}.class_weight'
                found = len(loss.weights or ())
                # Where the number is right, the loss takes none.
                other = _other_weights(head, loss)
                yield WEIGHTS.found(
                    f'{key}: {fault}',
                    value=list(loss.weights or ()),
                    change={key: None if found == loss.wanted else other},
                )


@check(IGNORE)
def ignored_labels_agree(case: Case) -> Iterator[Finding]:
    """Yield heads that ignore another label than that of the data."""
    part = _first(case)
    if case.model is None or not case.semantic or part is None:
        return
    seen = _ignored_pixels(part)
    wrong = _misfits(case)
    for head in case.model.heads:
        ignored, key = head.ignore_index, f'{head.place}.ignore_index'
        if ignored in (None, part.ignore_index) or head in wrong:
            continue
        learned = is_learned(ignored, part.classes)
        if seen or learned:
            name = f' is the class {part.classes[ignored]}' if learned else ''
            yield IGNORE.found(
                f'{key}={ignored}{name}, and labels without class are '
                f'{part.ignore_index}, {seen} pixels of them',
                part.split,
                value=ignored,
                change={key: part.ignore_index},
            )


@check(BATCH_NORM)
def batch_norms_see_enough(case: Case) -> Iterator[Finding]:
    """Yield batch norms that are trained with one image or one value."""
    split = case.splits.get('train')
    if case.model is None or split is None:
        return
    norms = [norm for norm in case.model.norms if norm.trains]
    ones = [norm for norm in norms if norm.single]
    change = _larger_batches(split)
    reason = _batch_of_one(split)
    if reason is None or not norms:
        return
    always = reason == _ALWAYS
    # The processes of several GPUs have their values together.
    shared = torch.cuda.device_count() > 1 and all(
        norm.kind == 'SyncBatchNorm' for norm in norms
    )
    if ones and not shared:
        names = listing([f'model.{norm.name}' for norm in ones])
        text = f'{reason}, of which {names} get one value for each channel'
        yield BATCH_NORM.found(text, 'train', change=change)
    elif always and not shared:
        text = f'{reason}, and {len(norms)} batch norms learn from it'
        yield BATCH_NORM.found(
            text, 'train', change=change, level=Level.WARNING
        )


@check(SYNC, NOT_BUILT)
def sync_norms_have_gpus(case: Case) -> Iterator[Finding]:
    """Yield that batch norms of several GPUs have none here."""
    if case.model is None:
        return
    norms, fault = case.model.norms, case.model.fault
    if fault is not None and _PROCESSES in fault:
        several = torch.cuda.device_count() > 1
        yield NOT_BUILT.found(
            fault,
            mend="norm_cfg=dict(type='BN') where one process trains",
            change=_plain_norms(case.cfg, 'MMSyncBN'),
            level=Level.NOTE if several else Level.ERROR,
        )
    count = Counter(norm.kind for norm in norms)['SyncBatchNorm']
    if not count or torch.cuda.is_available():
        return
    yield SYNC.found(
        f'{count} layers are SyncBN, and there is no GPU here',
        value=count,
    )


@check(TRANSFORM)
def transforms_fit(case: Case) -> Iterator[Finding]:
    """Yield transforms that are for another number of classes."""
    split = case.splits.get('train')
    part = _first(case)
    if split is None or split.dataset is None or part is None:
        return
    if part.split == 'train' and (
        fault := transform_fault(split.dataset, part.classes)
    ):
        # Where it fails, its run tells, and this says how to mend it.
        failed = any(getattr(run, 'fault', None) for run in split.runs)
        yield TRANSFORM.found(
            fault,
            'train',
            change=_without_weights(split, part),
            level=Level.WARNING if failed else None,
        )


def _plain_norms(cfg: Config, kind: str) -> dict[str, str]:
    """Return what makes layers of a kind in a config plain batch norms."""
    return {
        f'model.{key}.type': 'BN'
        for key, value in entries(cfg.model.to_dict())
        if key.rpartition('.')[2] == 'norm_cfg'
        and isinstance(value, dict)
        and value.get('type') == kind
    }


def _first(case: Case) -> Part | None:
    """Return the data set whose classes a model has to have."""
    for part in case.parts:
        info = sample_info(part.dataset) if part.dataset is not None else {}
        # Depths have the classes of their scenes.
        depths = 'depth_map_path' in info and 'seg_map_path' not in info
        if part.classes and not depths:
            return part
    return None


def _named(part: Part) -> list[str]:
    """Return the classes without void at the end, which has no label."""
    names = [str(name).lower() for name in part.classes]
    return names[:-1] if names and names[-1] in VOID_NAMES else names


def _first_difference(
    found: Sequence[str], wanted: Sequence[str]
) -> tuple[int, tuple[str, str]]:
    """Return the first place where two lists differ, and what is there."""
    for place in range(max(len(found), len(wanted))):
        one, other = (
            repr(printable(names[place])) if place < len(names) else 'none'
            for names in (found, wanted)
        )
        if one != other:
            return place, (one, other)
    return 0, ('none', 'none')


def _misfits(case: Case) -> list[Head]:
    """Return the heads for another number of classes, one of each place."""
    part = _first(case)
    if case.model is None or part is None:
        return []
    numbers = fitting_numbers(part.classes)
    if not case.semantic:
        # MMDet's own check knows no void.
        numbers = {len(part.classes)}
    if 'stuff_classes' in (getattr(part.dataset, 'metainfo', None) or {}):
        # Of a panoptic data set each head has its share.
        return []
    skipped = _skipped(case.cfg)
    wrong: dict[str, Head] = {}
    for head in case.model.heads:
        within = any(
            head.place.startswith(f'{place}.')
            for place, other in wrong.items()
            if other.keys
        )
        if (
            head.name not in skipped
            and not within
            and not any(map(head.fits, numbers))
        ):
            wrong.setdefault(head.place, head)
    # Others take the number from the config of one that has it.
    named = [head for head in wrong.values() if head.keys]
    return named or list(wrong.values())


def _skipped(cfg: Config) -> set[str]:
    """Return heads that the user has excepted from such a check."""
    return {
        name
        for key, names in entries(cfg.to_dict())
        if key.rpartition('.')[2] == 'skip_heads'
        and isinstance(names, list | tuple)
        for name in names
    }


def _two_outputs(head: Head, count: int) -> dict[str, Any]:
    """Return what gives a head of one output one for each class."""
    change: dict[str, Any] = {
        f'{head.place}.out_channels': count,
        f'{head.place}.threshold': None,
    }
    for loss in head.losses:
        if loss.kind == 'CrossEntropyLoss':
            change[f'{loss.key}.use_sigmoid'] = False
    return change


def _other_weights(
    head: Head, loss: Loss, count: int | None = None
) -> list[float] | None:
    """Return equal weights for a number of classes; None for none at all.

    Args:
        head: The head.
        loss: Its loss.
        count: Number of classes; None for that of the head.
    """
    if loss.weights is None or loss.wanted is None:
        return None
    # Of those beside the classes, such as the background, they stay.
    more = loss.wanted - head.num_classes
    if more <= 0:
        number = head.num_classes if count is None else count
        fits = len(loss.weights) == number
        return list(loss.weights) if fits else None
    beside = list(loss.weights[-more:])
    return [1.0] * (head.num_classes if count is None else count) + beside


def _weights_fault(head: Head, loss: Loss) -> str | None:
    """Return what is wrong with the weights of classes, if something is."""
    if loss.weights is None or loss.wanted is None:
        return None
    if len(loss.weights) != loss.wanted:
        return (
            f'{len(loss.weights)} weights, and {head.kind} has '
            f'{loss.wanted} outputs of num_classes={head.num_classes}'
        )
    if loss.fault is not None and loss.sigmoid:
        return (
            f'{loss.kind} with use_sigmoid=True fails with weights of '
            f'classes ({loss.fault})'
        )
    return None


def _ignored_loss(cfg: Config, loss: Loss, part: Part | None) -> Finding:
    """Return that a loss fails where labels are ignored."""
    change: dict[str, Any] = {}
    # MMSeg's looks for the weights of labels that are no class.
    if loss.kind == 'CrossEntropyLoss' and loss.weights and not loss.sigmoid:
        change[loss.key] = balanced_loss(cfg, loss.key, loss.weights)
    seen = part is not None and _ignored_pixels(part)
    return LOSS.found(
        f'{loss.key} ({loss.kind}) fails where a label is ignored: '
        f'{loss.ignored_fault}',
        mend='BalancedCrossEntropy of mmseg_ext takes class_weight, and '
        'ignored labels'
        if change
        else None,
        change=change,
        # Without such labels, padding may bring them.
        level=Level.ERROR if seen else Level.WARNING,
    )


def _binary(
    model: BuiltModel, head: Head, part: Part | None
) -> Iterator[Finding]:
    """Yield what does not go together in a head of two classes or one."""
    place = head.place
    if not head.single:
        sigmoid = [loss for loss in head.losses if loss.sigmoid]
        if sigmoid and head.out_channels == 2:
            yield BINARY.found(
                f'{place} has two outputs with a sigmoid each (use_sigmoid='
                'True without out_channels=1): the larger one is taken, '
                'and a threshold is not used',
                change={
                    f'{place}.out_channels': 1,
                    f'{place}.threshold': _HALF,
                },
                level=Level.NOTE,
            )
        elif head.own_threshold:
            yield BINARY.found(
                f'{place}.threshold is not used: of two outputs the larger '
                'one is taken',
                mend='out_channels=1, and use_sigmoid=True of the loss; or '
                'no threshold',
                change={f'{place}.threshold': None},
                level=Level.NOTE,
            )
        return
    if part is not None and len(part.classes) == 1:
        yield BINARY.found(
            f'{place} has one output, and the data set the one class '
            f'{printable(part.classes[0])}, label 0: there is nothing to '
            'tell it from',
            part.split,
            mend="give the rest a class of its own: classes=('background', "
            f"'{printable(part.classes[0])}') with labels 0 and 1, "
            'num_classes=2',
        )
        return
    for loss in head.losses:
        if not _weights_fault(head, loss):
            yield from _single_loss(head, loss)
    predicts = head.name.startswith('decode_head') or not head.name
    if not predicts:
        return
    if model.cascade:
        yield BINARY.found(
            f'{place} is one of several heads, and MMSeg reads the threshold '
            "of one alone: \"'ModuleList' object has no attribute "
            "'threshold'\" at the first validation",
            mend='num_classes=2 without out_channels in all heads',
        )
    elif not head.own_threshold:
        yield BINARY.found(
            f'{place}.threshold is not set: MMSeg takes 0.3, so class 1 is '
            'predicted where it is not the likelier one',
            mend=f'{place}.threshold={_HALF}',
            change={f'{place}.threshold': _HALF},
            level=Level.NOTE,
        )
    elif head.threshold is not None and not 0 < head.threshold < 1:
        yield BINARY.found(
            f'{place}.threshold={head.threshold}: it is compared with the '
            'sigmoid of the output, from 0 to 1, so one class alone is '
            'predicted',
            change={f'{place}.threshold': _HALF},
        )


def _single_loss(head: Head, loss: Loss) -> Iterator[Finding]:
    """Yield that a loss is none for one output."""
    softmax = loss.kind == 'CrossEntropyLoss' and not loss.sigmoid
    if softmax:
        text = (
            f'{head.place} has one output (num_classes={head.num_classes}, '
            f'out_channels={head.out_channels}) and {loss.key} a softmax: of '
            'one output that is 1, so the loss is 0 for label 0 and fails '
            'for label 1'
        )
        change = {f'{loss.key}.use_sigmoid': True}
    elif loss.fault is not None:
        text = f'{loss.key} ({loss.kind}) fails with one output: {loss.fault}'
        change = {}
    elif loss.learns is False:
        text = (
            f'{loss.key} ({loss.kind}) takes the one output for class 0, and '
            'the prediction takes it for class 1'
        )
        change = {}
    else:
        return
    yield BINARY.found(text, change=change)


def _ignored_pixels(part: Part) -> int:
    """Return how many pixels have the data set's label without class."""
    if part.ignore_index in range(len(part.classes)):
        return 0
    return sum(
        sample.label.loaded.get(part.ignore_index, 0)
        for sample in part.samples
        if sample.label is not None and sample.label.loaded
    )


def _batch_of_one(split: Split) -> str | None:
    """Return that a batch holds one image, if one does."""
    size = _batch_size(split)
    if size == 1:
        return _ALWAYS
    if split.dataset is None or not size or _is_endless(split):
        return None
    total = len(split.dataset)
    if total % size != 1 or _drops_last(split):
        return None
    return (
        f'{total} images in batches of {size} without drop_last: the last '
        'batch of an epoch is one image'
    )


def _batch_size(split: Split) -> int | None:
    inner = _batches(split)
    size = inner.get('batch_size', split.loader.get('batch_size'))
    return size if isinstance(size, int) else None


def _is_endless(split: Split) -> bool:
    """Return whether a sampler goes on without an end, or short batch."""
    sampler = split.loader.get('sampler')
    kinds = [
        type_name(one)
        for one in (sampler, _batches(split))
        if isinstance(one, dict)
    ]
    return any(word in kind for kind in kinds for word in _ENDLESS)


def _drops_last(split: Split) -> bool:
    return bool((_batches(split) or split.loader).get('drop_last'))


def _batches(split: Split) -> Mapping[str, Any]:
    """Return the config of what makes batches; empty for PyTorch's."""
    inner = split.loader.get('batch_sampler')
    return inner if isinstance(inner, dict) else {}


def _larger_batches(split: Split) -> dict[str, Any]:
    """Return what makes batches of two images or more."""
    change: dict[str, Any] = {}
    inner = _batches(split)
    if _batch_size(split) == 1:
        whole = 'batch_sampler.' if 'batch_size' in inner else ''
        change[f'{split.key}.{whole}batch_size'] = 2
    if not _is_endless(split):
        # PyTorch takes it with the sampler of batches alone, if there is one.
        place = f'{split.key}.batch_sampler' if inner else split.key
        change[f'{place}.drop_last'] = True
    # Of one image there would be no batch at all.
    alone = split.dataset is not None and len(split.dataset) == 1
    return {} if alone else change


def _without_weights(split: Split, part: Part) -> dict[str, Any]:
    """Return pipelines without weights of another number of classes."""
    change = {}
    numbers = fitting_numbers(part.classes)
    for key, value in entries({split.key: split.loader.to_dict()}):
        if key.rpartition('.')[2] != 'pipeline':
            continue
        for step in value:
            weights = step.get(_CLASS_WEIGHTS)
            if isinstance(weights, list | tuple) and (
                len(weights) not in numbers
            ):
                step.pop(_CLASS_WEIGHTS)
                change[key] = list(value)
    return change
