"""Training and validation as a run has them: loops, metrics, scores."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from mmengine.config import Config
from mmengine.registry import HOOKS

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.validation_step import (
    ValidationStep,
    evaluator_entries,
)
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.launch.errors import closest, one_line, type_name
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'best_score_is_there',
    'epochs_end',
    'evaluator_reads_the_same_file',
    'runs_are_whole',
    'schedules_reach_the_end',
    'validation_takes_place',
    'validation_works',
]

PARTS = Code(
    'run-parts',
    Level.ERROR,
    '"should be either all None or not None" before the first iteration',
    'set what is missing, or set all of them to None',
)
ENDLESS = Code(
    'epoch-without-end',
    Level.ERROR,
    'the first epoch never ends: no validation and no checkpoint',
    "train_dataloader.sampler.type='DefaultSampler', or "
    "train_cfg=dict(type='IterBasedTrainLoop', max_iters=...)",
)
INTERVAL = Code(
    'val-interval',
    Level.NOTE,
    'no score before the end of the training',
    'set train_cfg.val_interval to a tenth of the training, and val_begin to '
    'what lies within it',
)
SCHEDULE = Code(
    'schedule-length',
    Level.WARNING,
    'the learning rate stays high to the end, or is near 0 for a large part '
    'of the training',
    'set by_epoch and end of param_scheduler to those of the training',
)
FAILS = Code(
    'validation-fails',
    Level.ERROR,
    'the first validation ends with the error',
    'see the text; change the evaluator, or what the test pipeline hands over',
)
SCORE = Code(
    'validation-score',
    Level.ERROR,
    'no model can reach more than that score',
    'set ignore_index and the other options of the evaluator to what the '
    'labels are',
)
FILE = Code(
    'evaluator-file',
    Level.ERROR,
    '"Results do not correspond to current coco set", or an mAP near 0',
    'set ann_file of the evaluator to that of the data set',
)
BEST = Code(
    'save-best',
    Level.ERROR,
    'the first validation ends with a KeyError, or the run before it begins',
    "set default_hooks.checkpoint.save_best to a score, or to 'auto'",
)

#: What each kind of run needs, all or nothing.
_RUNS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}

#: What most configs have in such places.
_USUAL = {
    'val_cfg': {'type': 'ValLoop'},
    'test_cfg': {'type': 'TestLoop'},
}

#: A schedule of another length than the training costs little where one is
#: at most so many times the other. Many let the rate rest for a while.
_TIMES = 2

#: Schedules that lead to the end of a training.
_TO_THE_END = ('PolyLR', 'CosineAnnealingLR')


@check(PARTS)
def runs_are_whole(case: Case) -> Iterator[Finding]:
    """Yield training, validation and test that lack a part."""
    for split, keys in _RUNS.items():
        absent = [key for key in keys if case.cfg.get(key) is None]
        if not absent or len(absent) == len(keys):
            continue
        have = ', '.join(key for key in keys if key not in absent)
        yield PARTS.found(
            f'there is {have}, and no {", ".join(absent)}',
            split,
            change=_whole(case, split, absent),
        )


@check(ENDLESS)
def epochs_end(case: Case) -> Iterator[Finding]:
    """Yield that an epoch never ends, as its sampler does not."""
    if not _is_by_epoch(case.cfg):
        return
    loader = case.cfg.get('train_dataloader') or {}
    for key, usual in (
        ('sampler', {'type': 'DefaultSampler', 'shuffle': True}),
        ('batch_sampler', None),
    ):
        kind = type_name(loader.get(key) or {})
        if kind.startswith('Infinite'):
            yield ENDLESS.found(
                f'{kind} draws without end, and EpochBasedTrainLoop waits for '
                'the end of an epoch',
                'train',
                change={f'train_dataloader.{key}': usual},
            )


@check(INTERVAL)
def validation_takes_place(case: Case) -> Iterator[Finding]:
    """Yield a validation that comes late, or never."""
    options = case.cfg.get('train_cfg') or {}
    total = _total(case.cfg)
    if total is None or case.cfg.get('val_dataloader') is None:
        return
    by_epoch = _is_by_epoch(case.cfg)
    # Those of MMEngine's loops.
    begin = options.get('val_begin', 1)
    interval = options.get('val_interval', 1 if by_epoch else 1000)
    unit = 'epochs' if by_epoch else 'iterations'
    if _is_number(begin) and begin > total:
        yield INTERVAL.found(
            f'train_cfg.val_begin={begin}, and the training has {total} '
            f'{unit}: it is never validated',
            'val',
            change={'train_cfg.val_begin': 1},
            level=Level.WARNING,
        )
    elif _is_number(interval) and interval > total:
        yield INTERVAL.found(
            f'train_cfg.val_interval={interval}, and the training has {total} '
            f'{unit}: it is validated once, at the end',
            'val',
            change={'train_cfg.val_interval': max(1, total // 10)},
        )


@check(SCHEDULE)
def schedules_reach_the_end(case: Case) -> Iterator[Finding]:
    """Yield schedules of the learning rate that are not of the training."""
    total, schedulers = _total(case.cfg), case.cfg.get('param_scheduler')
    if total is None or not isinstance(schedulers, dict | list):
        return
    by_epoch = _is_by_epoch(case.cfg)
    several = isinstance(schedulers, list)
    for number, one in enumerate(schedulers if several else [schedulers]):
        if not isinstance(one, dict) or one.get('convert_to_iter_based'):
            continue
        key = f'param_scheduler.{number}' if several else 'param_scheduler'
        name, own = type_name(one), one.get('by_epoch', True)
        end = one.get('end')
        if own and not by_epoch:
            yield SCHEDULE.found(
                f'{key} ({name}) is by epoch, and IterBasedTrainLoop has one '
                'epoch alone: the learning rate never changes',
                'train',
                mend=f'{key}.by_epoch=False',
                change={f'{key}.by_epoch': False},
            )
        elif (
            name in _TO_THE_END
            and bool(own) == by_epoch
            and _is_number(end)
            and end > 0
            and not total / _TIMES <= end <= total * _TIMES
        ):
            yield SCHEDULE.found(
                f'{key} ({name}) ends at {end}, and the training at {total}',
                'train',
                mend=f'{key}.end={total}',
                change={f'{key}.end': total},
            )


@check(FILE)
def evaluator_reads_the_same_file(case: Case) -> Iterator[Finding]:
    """Yield evaluators that compare with another file than the data set's."""
    for step in case.validation:
        for key, path, own in step.files:
            yield FILE.found(
                f'{key} is not the {own} of the data set',
                step.split,
                path,
                mend=f'{key}={own!r}',
                change=_both(case.cfg, {key: own}),
            )


@check(FAILS, SCORE)
def validation_works(case: Case) -> Iterator[Finding]:
    """Yield what fails, or is not right, even with perfect predictions."""
    for step in case.validation:
        if step.fault is not None:
            given = (
                f'with perfect predictions of {step.samples} image(s): '
                if step.samples
                else ''
            )
            yield FAILS.found(given + step.fault, step.split)
        if step.low and not _ignores_class(case, step.split):
            scores = ', '.join(f'{k} {v:g}' for k, v in step.low.items())
            ignored = _other_ignored(case, step.split)
            named = ', '.join(f'{key}={value}' for key, value in ignored)
            yield SCORE.found(
                f'perfect predictions of {step.samples} image(s) get {scores}'
                + (f'; {named}' if named else ''),
                step.split,
                value=step.low,
                change=_both(
                    case.cfg, {key: IGNORE_INDEX for key, _ in ignored}
                ),
            )
    yield from _masks(case)


@check(BEST)
def best_score_is_there(case: Case) -> Iterator[Finding]:
    """Yield that the best checkpoint is chosen by a score that is not there.

    Which scores there are is known where all metrics could be tried.
    """
    hooks = case.cfg.get('default_hooks') or {}
    options = hooks.get('checkpoint') or {}
    names = options.get('save_best')
    if not names or case.cfg.get('val_evaluator') is None:
        return
    key = 'default_hooks.checkpoint.save_best'
    steps = [step for step in case.validation if step.split == 'val']
    for step in steps:
        for name in _lacking(step, names):
            yield BEST.found(
                f'{key}={name!r} is none of the scores of the validation: '
                + listing(list(map(printable, step.scores)))
                + closest(name, step.scores),
                'val',
                value=name,
                change={key: 'auto'},
            )
        if not _lacking(step, names) and (fault := _rule(options)):
            yield BEST.found(
                f'{key}: {fault}',
                'val',
                mend="default_hooks.checkpoint.rule='greater', or 'less'",
                change={'default_hooks.checkpoint.rule': 'greater'},
            )


def _whole(case: Case, split: str, absent: list[str]) -> dict[str, Any]:
    """Return what makes a run whole, or leaves it out."""
    cfg = case.cfg
    change: dict[str, Any] = {}
    for key in absent:
        other = cfg.get(
            key.replace(split, 'test' if split == 'val' else 'val')
        )
        if key in _USUAL:
            change[key] = _USUAL[key]
        elif split != 'train' and key.endswith('_evaluator') and other:
            change[key] = other
        elif key.endswith('_evaluator') and case.semantic:
            change[key] = {'type': 'IoUMetric', 'iou_metrics': ['mIoU']}
        elif split != 'train':
            # Without data there is nothing to validate.
            return {name: None for name in _RUNS[split]}
        else:
            return {}
    return change


def _is_by_epoch(cfg: Config) -> bool:
    """Return whether a training goes by epochs, as MMEngine decides it."""
    options = cfg.get('train_cfg') or {}
    if 'type' in options:
        return type_name(options) == 'EpochBasedTrainLoop'
    return bool(options.get('by_epoch'))


def _total(cfg: Config) -> int | None:
    """Return the length of a training, in epochs or iterations."""
    options = cfg.get('train_cfg') or {}
    key = 'max_epochs' if _is_by_epoch(cfg) else 'max_iters'
    total = options.get(key)
    return total if _is_number(total) else None


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _other_ignored(case: Case, split: str) -> list[tuple[str, int]]:
    """Return what metrics ignore, if that is not what labels are."""
    return [
        (f'{key}.ignore_index', one['ignore_index'])
        for key, one in evaluator_entries(case.cfg, split)
        if one.get('ignore_index', IGNORE_INDEX) != IGNORE_INDEX
    ]


def _ignores_class(case: Case, split: str) -> bool:
    """Return whether a metric ignores a class, of which other checks tell."""
    count = max((len(part.classes) for part in case.parts), default=0)
    evaluator = case.cfg.get(f'{split}_evaluator')
    return isinstance(evaluator, dict) and any(
        value in range(count) for _, value in _other_ignored(case, split)
    )


def _both(cfg: Config, change: dict[str, Any]) -> dict[str, Any]:
    """Return a change of the validation, and of a test that is the same."""
    if cfg.get('test_evaluator') != cfg.get('val_evaluator'):
        return change
    twins = {
        key.replace('val_', 'test_', 1): value
        for key, value in change.items()
        if key.startswith('val_')
    }
    return {**change, **twins}


def _masks(case: Case) -> Iterator[Finding]:
    """Yield that masks are scored of a model that gives none."""
    if case.model is None or case.model.masks is not False:
        return
    told = []
    for split in ('val', 'test'):
        for key, one in evaluator_entries(case.cfg, split):
            metric = one.get('metric', 'bbox')
            names = metric if isinstance(metric, list) else [metric]
            if 'segm' not in names or one in told:
                continue
            told.append(one)
            rest = [name for name in names if name != 'segm'] or ['bbox']
            yield FAILS.found(
                f'{key}.metric={metric!r}, and {case.model.kind} has no head '
                "of masks: KeyError: 'segm is not in results'",
                split,
                change=_both(case.cfg, {f'{key}.metric': rest}),
            )


def _lacking(step: ValidationStep, names: Any) -> list[str]:
    """Return the scores that are asked for, and not there."""
    known: Mapping[str, float] = step.scores
    if not step.whole or not known:
        return []
    wanted = names if isinstance(names, list | tuple) else [names]
    return [str(n) for n in wanted if n != 'auto' and n not in known]


def _rule(options: Mapping[str, Any]) -> str | None:
    """Return why the best of scores cannot be told, in one line."""
    try:
        HOOKS.build({'type': 'CheckpointHook', **options})
    except (KeyError, ValueError, AssertionError) as error:
        line = one_line(error)
        # Others are told when the run begins, as of any hook.
        return line if 'rule' in line else None
    except FAULTS:
        return None
    return None
