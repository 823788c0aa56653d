"""Classes over all labels: ignored, missing and rare ones."""

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.checks.labels import JudgedPart, judge_labels
from mmseg_ext.doctor.config_entries import balanced_loss
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.label_families import head_configs, is_learned
from mmseg_ext.engine.label_checks import (
    fitting_numbers,
    sample_info,
    trained_classes,
)
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.class_weights import class_frequencies, class_weights
from mmseg_ext.utils.text import listing

__all__ = [
    'classes_are_balanced',
    'classes_are_there',
    'ignore_index_is_no_class',
    'labels_teach',
]

#: So many times as frequent as the rarest class is the most frequent one
#: where weights help: the least of the loss's weights is then below a third
#: of the largest. CamVid's 11 classes have 52 times.
_UNBALANCED = 10.0

#: Where more than this part of labels have one class alone, it is odd.
_MOST = 0.5

#: Digits of a weight: more mean nothing.
_DIGITS = 4

IGNORED_CLASS = Code(
    'ignore-is-class',
    Level.ERROR,
    'what reads it leaves that class out of loss or scores: IoU nan',
    'ignore_index=255 in the data sets, or another value that is no class',
)
ALL_IGNORED = Code(
    'label-all-ignored',
    Level.WARNING,
    'an image that teaches nothing, and a loss of 0 or nan',
    'label it, or take the image out',
)
SPLIT_IGNORED = Code(
    'split-all-ignored',
    Level.ERROR,
    'the training learns nothing, or all scores are nan',
    'check the classes of the data set, its label_map and reduce_zero_label',
)
ONE_CLASS = Code(
    'label-one-class',
    Level.NOTE,
    'images that tell classes apart are fewer than it seems; cat_max_ratio '
    'has no effect on them',
    'look at them: mmseg-ext browse CONFIG',
)
ABSENT = Code(
    'class-absent',
    Level.WARNING,
    'IoU nan of the class, which the mean leaves out: it is of fewer classes',
    'add images with it, or take it out of the class list',
)
ONLY_IN_VAL = Code(
    'class-only-in-val',
    Level.ERROR,
    'IoU 0 of the class: it cannot be learned',
    'move images with it to the training, or take it out of the class list',
)
IMBALANCE = Code(
    'class-imbalance',
    Level.NOTE,
    'rare classes have a low IoU, frequent ones decide the loss',
    'class_weight of the losses as in the text: docs/losses.md, or '
    'RareClassSampler and RareClassCrop: docs/sampling.md',
)


@check(IGNORED_CLASS)
def ignore_index_is_no_class(case: Case) -> Iterator[Finding]:
    """Yield data sets that ignore a class; heads and metrics are others'."""
    keys: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for part in case.parts if case.semantic else ():
        if part.dataset is not None:
            setting = part.ignore_index, part.classes
            keys.setdefault(setting, []).append(f'{part.key}.ignore_index')
    for (value, names), places in keys.items():
        if not is_learned(value, names):
            continue
        # In 8 bits there is none for more classes.
        fits = len(names) <= IGNORE_INDEX
        yield IGNORED_CLASS.found(
            f'{places[0]}={value} is the class {names[value]} of {len(names)}',
            value=value,
            mend=None if fits else 'fewer classes: labels have 8 bits',
            change=dict.fromkeys(places, IGNORE_INDEX) if fits else {},
        )


@check(ALL_IGNORED, SPLIT_IGNORED, ONE_CLASS)
def labels_teach(case: Case) -> Iterator[Finding]:
    """Yield labels without classes, and those of one class alone."""
    for part, family, rows, whole in judge_labels(case):
        if whole or not rows:
            continue
        right = [(s, s.label.loaded) for s, v in rows if not v and s.label]
        known = [(sample, values) for sample, values in right if values]
        empty = [s for s, values in known if values.keys() <= family.ignored]
        value = '/'.join(map(str, sorted(family.ignored)))
        if empty and len(empty) == len(rows):
            text = f'every pixel of all {len(rows)} labels is ignored: {value}'
            yield SPLIT_IGNORED.found(text, part.split, value=len(rows))
            continue
        for sample in empty:
            text = f'every pixel is ignored: {value}'
            yield ALL_IGNORED.found(text, part.split, sample.place.label)
        single = [
            (sample.place.label or '', classes.pop())
            for sample, values in known
            if len(classes := values.keys() - family.ignored) == 1
        ]
        if single:
            yield _of_one_class(part.split, family.names, single, len(rows))


def _of_one_class(
    split: str,
    names: Sequence[str],
    single: Sequence[tuple[str, int]],
    total: int,
) -> Finding:
    """Return the finding of labels with one class alone."""
    counts = Counter(index for _, index in single)
    by_name = {
        names[index] if index < len(names) else str(index): number
        for index, number in counts.most_common()
    }
    kinds = listing([f'{name} in {n}' for name, n in by_name.items()])
    first, *others = [path for path, _ in single]
    odd = len(single) > _MOST * total
    return ONE_CLASS.found(
        f'one class alone in {len(single)} of {total} labels: {kinds}',
        split,
        first,
        by_name,
        others=others,
        level=Level.WARNING if odd else None,
    )


class _Counts(NamedTuple):
    """The classes of a split.

    Attributes:
        names: Of the classes.
        rows: int64 (images, classes), pixels.
        trained: The classes that labels can have.
        sampled: Whether not all labels were read.
        is_right: Whether nothing is wrong with labels.
    """

    names: tuple[str, ...]
    rows: np.ndarray
    trained: set[int]
    sampled: bool
    is_right: bool

    @property
    def pixels(self) -> np.ndarray:
        """Pixels of each class, int64 (classes,)."""
        return self.rows.sum(axis=0)


def _count(case: Case) -> dict[str, _Counts]:
    """Return the classes of splits whose labels were read."""
    parts: dict[str, list[JudgedPart]] = {}
    for judged in judge_labels(case):
        if judged.rows:
            parts.setdefault(judged.part.split, []).append(judged)
    return {split: _of_split(found) for split, found in parts.items()}


def _of_split(found: Sequence[JudgedPart]) -> _Counts:
    """Return the classes of a split."""
    names = found[0].part.classes
    rows = []
    for _, family, pairs, _ in found:
        for sample, _ in pairs:
            loaded = (sample.label and sample.label.loaded) or {}
            rows.append(
                [
                    0 if index in family.ignored else loaded.get(index, 0)
                    for index in range(len(names))
                ]
            )
    return _Counts(
        names,
        np.array(rows, np.int64).reshape(-1, len(names)),
        trained_classes(sample_info(found[0].part.dataset), names)
        - found[0].family.ignored,
        any(len(each.part.samples) < each.part.total for each in found),
        all(each.is_right and each.part.classes == names for each in found),
    )


@check(ABSENT, ONLY_IN_VAL)
def classes_are_there(case: Case) -> Iterator[Finding]:
    """Yield classes without a pixel in a split."""
    splits = _count(case)
    # Of splits without any class another check tells.
    if not splits or not all(
        each.is_right and each.pixels.any() for each in splits.values()
    ):
        return
    seen = {
        split: set(np.flatnonzero(each.pixels).tolist())
        for split, each in splits.items()
    }
    # Of classes that no split has, the first split tells.
    told = next(iter(splits.values())).trained - set().union(*seen.values())
    if told:
        yield _absent('all', next(iter(splits)), splits, told)
    trained = seen.get('train')
    for split, each in splits.items():
        missing = each.trained - seen[split] - told
        if split == 'train' or trained is None or not missing:
            continue
        if missing & trained:
            yield _absent(split, split, splits, missing & trained)
    for split in splits:
        if split == 'train' or trained is None:
            continue
        only = seen[split] - trained
        if only:
            yield _only_in(split, splits, only)


def _absent(
    where: str, split: str, splits: dict[str, _Counts], missing: set[int]
) -> Finding:
    """Return the finding of classes that a split, or none, has."""
    looked = list(splits.values()) if where == 'all' else [splits[split]]
    number = sum(len(each.rows) for each in looked)
    sampled = any(each.sampled for each in looked)
    names = [looked[0].names[index] for index in sorted(missing)]
    read = ' that were read' if sampled else ''
    place = ' of all splits' if where == 'all' else ''
    return ABSENT.found(
        f'no pixel of {number} labels{place}{read} is {listing(names)}',
        None if where == 'all' else split,
        value=names,
        level=Level.NOTE if sampled else None,
    )


def _only_in(
    split: str, splits: dict[str, _Counts], only: set[int]
) -> Finding:
    """Return the finding of classes that the training lacks."""
    train, other = splits['train'], splits[split]
    pixels = {other.names[k]: int(other.pixels[k]) for k in sorted(only)}
    read = ' that were read' if train.sampled else ''
    words = [f'{name} ({count} pixels here)' for name, count in pixels.items()]
    return ONLY_IN_VAL.found(
        f'no pixel of {len(train.rows)} labels of train{read} is '
        + listing(words),
        split,
        value=pixels,
        level=Level.WARNING if train.sampled else None,
    )


@check(IMBALANCE)
def classes_are_balanced(case: Case) -> Iterator[Finding]:
    """Yield weights of classes, where some are rare and no loss has any."""
    train = _count(case).get('train')
    if train is None or not train.is_right or not train.rows.any():
        return
    shares = class_frequencies(train.rows)
    times = float(np.nanmax(shares) / np.nanmin(shares))
    losses = list(_losses(case))
    weighed = any(loss.get('class_weight') for _, loss, _ in losses)
    if times < _UNBALANCED or weighed:
        return
    weights = class_weights(train.rows).round(_DIGITS).tolist()
    rarest = train.names[int(np.nanargmin(shares))]
    most = train.names[int(np.nanargmax(shares))]
    # A head may do without void at the end of the list.
    change: dict[str, Any] = {}
    for key, loss, count in losses:
        if count not in fitting_numbers(train.names):
            continue
        softmax = not loss.get('use_sigmoid', False)
        if loss.get('type') == 'CrossEntropyLoss' and softmax:
            change[key] = balanced_loss(case.cfg, key, weights[:count])
        elif _takes_weights(loss):
            change[f'{key}.class_weight'] = weights[:count]
    yield IMBALANCE.found(
        f'{most} is {times:.0f} times as frequent as {rarest}; weights by '
        f'the square root: {weights}',
        'train',
        value=dict(zip(train.names, weights, strict=True)),
        change=change,
    )


def _losses(case: Case) -> Iterator[tuple[str, ConfigDict, Any]]:
    """Yield the keys and configs of losses, and for how many classes."""
    for key, head in head_configs(case.cfg):
        losses = head.get('loss_decode')
        count = head.get('num_classes')
        if isinstance(losses, ConfigDict):
            yield f'{key}.loss_decode', losses, count
        elif isinstance(losses, list | tuple):
            for number, loss in enumerate(losses):
                yield f'{key}.loss_decode.{number}', loss, count


def _takes_weights(loss: ConfigDict) -> bool:
    """Tell whether a loss takes a weight for each class."""
    kind = MODELS.get(str(loss.get('type')))
    return (
        kind is not None
        and 'class_weight' in inspect.signature(kind).parameters
        # Upstream's does not fit them to its outputs.
        and not loss.get('use_sigmoid', False)
    )
