"""The text of a config for one's own data."""

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_ext.doctor.child_configs import (
    IMPORTS,
    Code,
    assignment,
    comment_lines,
    difference,
    name_in_package,
)
from mmseg_ext.launch.configs import (
    data_sets,
    find_config,
    require_keys,
    scope_of,
)
from mmseg_ext.launch.errors import entries, type_name, why_not_read
from mmseg_ext.planning.fit_model import fit_model
from mmseg_ext.planning.fit_pipelines import (
    fit_test_pipeline,
    fit_train_pipeline,
    fit_tta_pipeline,
    loads_masks,
)
from mmseg_ext.planning.plan import TITLES, Plan
from mmseg_ext.planning.prepare import Prepared, Written
from mmseg_ext.registry import SCOPE
from mmseg_ext.utils.text import printable

__all__ = ['config_text']

#: The package of the classes of each task.
_SCOPES = {'semantic': 'mmseg', 'instance': 'mmdet'}

_NEEDED = (
    *('model', 'train_dataloader', 'val_dataloader', 'val_evaluator'),
    *('optim_wrapper', 'train_cfg'),
)

#: How a name of a config says how many images a step are: GPUs x images.
_BATCH = re.compile(r'_(\d+)xb(\d+)')

#: Hooks that count epochs.
_OF_EPOCHS = ('PipelineSwitchHook', 'YOLOXModeSwitchHook')

_WRAPPERS = ('OptimWrapper', 'AmpOptimWrapper')

#: Arguments of the wrapper of mixed precision alone.
_OF_AMP = ('dtype', 'loss_scale', 'use_fsdp')


def config_text(
    plan: Plan, prepared: Prepared, data_root: str, files: str, title: str
) -> str:
    """Return a config that inherits that of a plan, in plain MMEngine style.

    What people change stands at the top under a name, with the reason of the
    plan in a comment above it, and is used below. It needs no Python module
    beside it.

    Args:
        plan: The choices.
        prepared: What it says of the data.
        data_root: The folder of the data.
        files: Name of the folder beside the config with what was written.
        title: First line of its comment at the top.

    Raises:
        ValueError: The config to inherit cannot be read, or is of another
            task, or has a part that cannot be fitted, such as a head without
            num_classes; the sentence names it.
    """
    path, base = _read(plan)
    try:
        writer = _Writer(plan, prepared, data_root, files, base)
        return writer.text(_name(plan.base.value, path), title)
    except ValueError as error:
        raise ValueError(
            f'{plan.base.value} cannot be fitted to the data: {error}'
        ) from error


def _name(given: str, path: Path) -> str:
    """Return what a config is inherited by."""
    package, colons, _ = given.partition('::')
    if colons and package != SCOPE:
        return f'{given.removesuffix(".py")}.py'
    return name_in_package(path) or Path(os.path.abspath(path)).as_posix()


def _read(plan: Plan) -> tuple[Path, Config]:
    """Read the config that is inherited.

    Raises:
        ValueError: It cannot be inherited, or is of another task.
    """
    path = find_config(plan.base.value)
    try:
        lazy = Config._is_lazy_import(str(path))
        cfg = Config.fromfile(path, import_custom_modules=False)
    # A config is code: anything may come out of it, an exit too.
    except (Exception, SystemExit) as error:
        raise ValueError(why_not_read(path, error)) from error
    if lazy:
        raise ValueError(
            f'{path} is in the new style (read_base), which this config '
            'cannot inherit: expected one with _base_'
        )
    require_keys(cfg, *_NEEDED)
    scope = _SCOPES[plan.task]
    if scope_of(cfg) != scope:
        raise ValueError(
            f'{path} is a config of {scope_of(cfg)}: expected one of {scope} '
            f'for the {plan.task} task'
        )
    if plan.task == 'instance' and not loads_masks(cfg):
        raise ValueError(
            f'{path} trains without masks: expected a config of instance '
            'segmentation, with LoadAnnotations and with_mask=True in '
            'train_dataloader'
        )
    return path, cfg


class _Writer:
    """Writes a config that inherits another.

    Args:
        plan: The choices.
        prepared: What it says of the data.
        data_root: The folder of the data.
        files: Name of the folder of what was written.
        base: What it inherits.
    """

    def __init__(
        self,
        plan: Plan,
        prepared: Prepared,
        data_root: str,
        files: str,
        base: Config,
    ) -> None:
        self._plan = plan
        self._by_factor = plan.scale_factor.value is not None
        self._data_root = data_root
        self._files = files
        self._base = base
        self._before = _unscoped(base.to_dict(), _SCOPES[plan.task])
        self._wanted = copy.deepcopy(self._before)
        self._splits = _expressed(prepared.splits)
        info = prepared.dataset['metainfo']
        self._classes = tuple(info['classes'])
        self._palette = info.get('palette')
        self._class_dict = prepared.dataset.get('class_dict')
        # Named at the top.
        self._dataset = dict(prepared.dataset)
        self._dataset['metainfo'] = {name: Code(name) for name in info}
        if self._class_dict:
            self._dataset['class_dict'] = Code('class_dict')
        self._loader = prepared.loader

    def text(self, name: str, title: str) -> str:
        """Return the text.

        Args:
            name: Of what it inherits.
            title: First line of its comment at the top.

        Raises:
            ValueError: The inherited config has a part that cannot be fitted.
        """
        notes = [*self._fit()]
        blocks = [
            [
                *comment_lines(printable(title)),
                *self._said('base'),
                *_inherited(name),
            ],
            *self._top(),
            [
                '# From here on nothing has to be changed.',
                *self._written(),
                *assignment('num_classes', Code('len(classes)')),
            ],
            *self._below(notes),
        ]
        return '\n'.join(
            ''.join(f'{line}\n' for line in block) for block in blocks if block
        )

    # What people change.

    def _top(self) -> Iterator[list[str]]:
        """Yield what stands at the top, a name each."""
        plan = self._plan
        times = round(plan.max_iters.value / plan.val_interval.value)
        yield [
            '# The folder of the data, which stays as it is.',
            *assignment('data_root', self._data_root),
        ]
        order = (
            'in the order of their values in label maps'
            if plan.task == 'semantic'
            else 'as the annotations call them'
        )
        yield [
            f'# Names of the classes, {order}.',
            *assignment('classes', self._classes),
        ]
        if self._by_factor:
            yield [
                *self._said('scale_factor'),
                f'scale_factor = {plan.scale_factor.value}',
            ]
        else:
            yield [
                *self._said('scale'),
                f'scale = {tuple(plan.scale.value)}  # (width, height)',
            ]
        yield [
            *self._said('crop_size'),
            f'crop_size = {tuple(plan.crop_size.value)}  # (height, width)',
        ]
        for name in ('batch_size', 'accumulate'):
            value = getattr(plan, name).value
            yield [*self._said(name), *assignment(name, value)]
        yield self._lr
        yield [
            *self._said('max_iters'),
            *assignment('max_iters', plan.max_iters.value),
        ]
        yield [
            *self._said('val_interval'),
            *assignment('val_interval', Code(f'max(1, max_iters // {times})')),
        ]
        if 'class_weight' in self._used:
            yield [
                *self._said('class_weight'),
                *assignment('class_weight', plan.class_weight.value),
            ]
        if plan.mean_std.value is not None:
            mean, std = plan.mean_std.value
            yield [
                *self._said('mean_std'),
                *assignment('mean', list(mean)),
                *assignment('std', list(std)),
            ]
        yield [
            *self._said('num_workers'),
            *assignment('num_workers', plan.num_workers.value),
        ]
        if self._has_amp:
            yield [*self._said('amp'), *assignment('amp', plan.amp.value)]
        yield from self._colors()

    def _said(self, name: str) -> list[str]:
        """Return what a choice is, and its reason, as a comment."""
        reason = printable(getattr(self._plan, name).reason)
        return comment_lines(f'{TITLES[name].capitalize()}: {reason}')

    def _colors(self) -> Iterator[list[str]]:
        """Yield the colors of classes, in files and in pictures."""
        if self._class_dict:
            yield [
                '# Colors (red, green, blue) in the masks.',
                'class_dict = {',
                *(
                    f'    {name!r}: {tuple(color)},'
                    for name, color in self._class_dict.items()
                ),
                '}',
            ]
        if self._palette is None:
            return
        yield [
            '# Colors (red, green, blue) in pictures.',
            'palette = [',
            *(
                f'    {tuple(color)},  # {printable(name)}'
                for color, name in zip(
                    self._palette, self._classes, strict=True
                )
            ),
            ']',
        ]

    # What uses it.

    def _written(self) -> list[str]:
        """Return the name of the folder of what was made of the data."""
        if not any(isinstance(v, Code) for _, v in entries(self._splits)):
            return []
        name = self._files.replace('\\', '\\\\').replace('"', '\\"')
        return [
            '# What was made of the data; MMEngine puts in the folder of this '
            'file.',
            f'written = """{{{{ fileDirname }}}}/{name}"""',
        ]

    def _fit(self) -> Iterator[str]:
        """Make the inherited config one for the plan; yield what is said."""
        wanted, plan = self._wanted, self._plan
        self._fit_imports()
        self._fit_loaders()
        yield from fit_model(
            wanted, plan, len(self._classes), _SCOPES[plan.task]
        )
        self._used = {
            str(value)
            for _, value in entries(wanted['model'])
            if isinstance(value, Code)
        }
        self._fit_evaluators()
        self._fit_optimizer()
        self._fit_schedule()
        self._fit_hooks()

    def _fit_imports(self) -> None:
        given = self._wanted.get(IMPORTS) or {}
        names = given.get('imports') or []
        names = [names] if isinstance(names, str) else list(names)
        if SCOPE not in {name.partition('.')[0] for name in names}:
            whole = {'imports': [*names, SCOPE], 'allow_failed_imports': False}
            self._wanted[IMPORTS] = {**whole, **given, **whole}

    def _fit_loaders(self) -> None:
        """Let dataloaders read the data."""
        wanted, task = self._wanted, self._plan.task
        wanted['train_pipeline'] = fit_train_pipeline(
            self._base, task, self._loader, self._by_factor
        )
        wanted['test_pipeline'] = fit_test_pipeline(
            self._base, task, self._loader, self._by_factor
        )
        # In a split's own arguments as well.
        several = {key for split in self._splits.values() for key in split}
        self._shared = {
            'type': self._dataset['type'],
            'data_root': Code('data_root'),
            **{k: v for k, v in self._dataset.items() if k not in several},
        }
        own = {k: v for k, v in self._dataset.items() if k in several}
        for name, split, pipeline in (
            ('train', 'train', 'train_pipeline'),
            ('val', 'val', 'test_pipeline'),
            ('test', self._test_split, 'test_pipeline'),
        ):
            key = f'{name}_dataloader'
            loader = wanted.get(key) or copy.deepcopy(wanted['val_dataloader'])
            wanted[key] = loader
            inherited = data_sets(self._base.get(key) or loader)[0]
            kept: dict[str, Any] = {}
            if inherited.get('test_mode') or (
                task == 'instance' and name != 'train'
            ):
                kept['test_mode'] = True
            # But for a least size, by which images are left out silently.
            if (inherited.get('filter_cfg') or {}).get('filter_empty_gt'):
                kept['filter_cfg'] = {'filter_empty_gt': True}
            loader['dataset'] = {
                Code('**dataset'): None,
                **own,
                **self._splits[split],
                **kept,
                'pipeline': Code(pipeline),
            }
            loader['num_workers'] = Code('num_workers')
            loader['persistent_workers'] = Code('num_workers > 0')
            loader.pop('prefetch_factor', None)
        train = wanted['train_dataloader']
        train['batch_size'] = Code('batch_size')
        if type_name(train.get('sampler') or {}) != 'InfiniteSampler':
            train['sampler'] = {'type': 'InfiniteSampler', 'shuffle': True}
        batches = train.get('batch_sampler')
        if batches and type_name(batches) != 'AspectRatioBatchSampler':
            train['batch_sampler'] = None

    @property
    def _test_split(self) -> str:
        return 'test' if 'test' in self._splits else 'val'

    def _fit_evaluators(self) -> None:
        for name, split in (('val', 'val'), ('test', self._test_split)):
            key = f'{name}_evaluator'
            given = self._before.get(key)
            known = given if isinstance(given, dict) else {}
            if self._plan.task == 'semantic':
                self._wanted[key] = _evaluator_of_maps(known)
            else:
                self._wanted[key] = _evaluator_of_objects(
                    known, self._splits[split]['ann_file']
                )

    def _fit_optimizer(self) -> None:
        """Accumulate, and scale the learning rate to the images a step."""
        wrapper = self._wanted['optim_wrapper']
        wrapper['accumulative_counts'] = Code('accumulate')
        self._has_amp = type_name(wrapper) in ('', *_WRAPPERS)
        if self._has_amp:
            for name in _OF_AMP:
                wrapper.pop(name, None)
            wrapper['type'] = Code(
                "'AmpOptimWrapper' if amp else 'OptimWrapper'"
            )
        self._lr, self._scaled_lr = [], None
        optimizer = wrapper.get('optimizer') or {}
        lr, images = optimizer.get('lr'), self._base_batch()
        now = self._plan.batch_size.value * self._plan.accumulate.value
        self._wanted['auto_scale_lr'] = {
            **(self._before.get('auto_scale_lr') or {}),
            'base_batch_size': Code('batch_size'),
        }
        # Half of it takes the same, as the recipes for CPUs do.
        if isinstance(lr, int | float) and 2 * now < images:
            # Adam divides by the size of gradients.
            adam = 'adam' in type_name(optimizer).lower()
            share = f'batch_size * accumulate / {images}'
            factor = f'({share}) ** 0.5' if adam else share
            optimizer['lr'], self._scaled_lr = Code('lr'), lr
            rule = ', by the square root' if adam else ''
            self._lr = [
                *comment_lines(
                    f'Learning rate: {lr} is for {images} images a step, and '
                    f'smaller steps take less{rule}.'
                ),
                *assignment('lr', Code(f'{lr!r} * {factor}')),
            ]

    def _base_batch(self) -> int:
        """Return for how many images a step the inherited config is."""
        # Where upstream's configs say both, the name is right.
        found = _BATCH.search(Path(str(self._base.filename)).name)
        if found:
            return int(found[1]) * int(found[2])
        scaling = self._before.get('auto_scale_lr') or {}
        if scaling.get('base_batch_size'):
            return int(scaling['base_batch_size'])
        return int(self._before['train_dataloader'].get('batch_size', 1))

    def _fit_schedule(self) -> None:
        """Let training, validation and schedules count iterations."""
        loop = self._before['train_cfg']
        times = {
            'max_iters': Code('max_iters'),
            'val_interval': Code('val_interval'),
        }
        self._wanted['train_cfg'] = {'type': 'IterBasedTrainLoop', **times}
        given = self._before.get('param_scheduler') or []
        steps = given if isinstance(given, list) else [given]
        length = loop.get('max_iters') or loop.get('max_epochs')
        self._wanted['param_scheduler'] = [
            _warm_up(steps),
            _decay(steps, length, self._scaled_lr),
        ]
        processor = self._before.get('log_processor') or {}
        self._wanted['log_processor'] = {**processor, 'by_epoch': False}
        for name in ('val_cfg', 'test_cfg'):
            if not self._before.get(name):
                kind = name.removesuffix('_cfg').title()
                self._wanted[name] = {'type': f'{kind}Loop'}

    def _fit_hooks(self) -> None:
        """Let hooks count iterations, and check the labels."""
        hooks = self._wanted.setdefault('default_hooks', {})
        own = self._wanted.get('custom_hooks') or []
        if any(type_name(hook) in _OF_EPOCHS for hook in own):
            own = [h for h in own if type_name(h) not in _OF_EPOCHS]
            self._wanted['custom_hooks'] = own
        known = {type_name(hook) for hook in [*hooks.values(), *own] if hook}
        checkpoint = hooks.get('checkpoint') or {'type': 'CheckpointHook'}
        hooks['checkpoint'] = {
            'max_keep_ckpts': 1,
            **checkpoint,
            'by_epoch': False,
            'interval': Code('val_interval'),
        }
        logger = hooks.get('logger') or {'type': 'LoggerHook'}
        hooks['logger'] = {
            **logger,
            'interval': Code('min(25, val_interval)'),
            'log_metric_by_epoch': False,
        }
        more = {'class_check': 'NumClassCheckHook'}
        if self._plan.task == 'semantic':
            more = {'label_check': 'LabelCheckHook', 'panels': 'SegVisHook'}
            if 'class_weight' in self._used:
                more['class_weights'] = 'ClassWeightsHook'
        elif 'DetVisualizationHook' in known:
            hooks['visualization'] |= {
                'draw': True,
                'interval': Code('min(10, val_interval)'),
            }
        for name, kind in more.items():
            if kind not in known:
                hooks[name] = {'type': kind}

    def _below(self, notes: Iterable[str]) -> Iterator[list[str]]:
        """Yield what uses the names at the top."""
        changes = difference(self._wanted, self._before)
        for name in ('dataloader', 'evaluator'):
            other = changes.get(f'test_{name}')
            if other and other == changes.get(f'val_{name}'):
                changes[f'test_{name}'] = Code(f'val_{name}')
        # Named below, as they are where the inherited ones are the same.
        for name in ('train_pipeline', 'test_pipeline'):
            changes[name] = self._wanted[name]
        changes['dataset'] = self._shared
        order = (
            *(IMPORTS, 'model', 'train_pipeline', 'test_pipeline'),
            *('dataset', 'train_dataloader', 'val_dataloader'),
            *('test_dataloader', 'val_evaluator', 'test_evaluator'),
            *('optim_wrapper', 'auto_scale_lr', 'train_cfg', 'val_cfg'),
            *('test_cfg', 'param_scheduler', 'default_hooks'),
            *('custom_hooks', 'log_processor'),
        )
        rest = [name for name in changes if name not in order]
        for name in [name for name in order if name in changes] + rest:
            lines = assignment(name, changes[name])
            if name == 'model':
                lines = [
                    *(line for note in notes for line in comment_lines(note)),
                    *lines,
                ]
            elif name == 'param_scheduler':
                lines = ['warmup = max(1, max_iters // 20)', *lines]
            elif name == 'auto_scale_lr':
                lines = [
                    '# What --auto-scale-lr scales the learning rate from.',
                    *lines,
                ]
            yield lines
        if self._plan.task == 'semantic':
            yield fit_tta_pipeline(self._base, self._loader, self._by_factor)


def _inherited(name: str) -> Iterator[str]:
    """Yield the lines that inherit a config.

    MMEngine knows a config of this package by its name once the package is
    imported, which upstream's tools have not done by then.
    """
    if name.startswith(f'{SCOPE}::'):
        yield "# The import makes its name known, in upstream's tools too."
        name = Code(f'__import__({SCOPE!r}) and {name!r}')
    yield from assignment('_base_', name)


def _expressed(value: Any) -> Any:
    """Return arguments with expressions for what was written."""
    if isinstance(value, Mapping):
        return {k: _expressed(v) for k, v in value.items()}
    if not isinstance(value, Written):
        return value
    literal = value.replace('{', '{{').replace('}', '}}')
    return Code(f'f{"{written}/" + literal!r}')


def _unscoped(value: Any, scope: str) -> Any:
    """Return a copy without what tells that classes are of a package.

    MMEngine puts it in what is inherited by the name of the package.
    """
    if isinstance(value, dict):
        return {
            key: _unscoped(inner, scope)
            for key, inner in value.items()
            if (key, inner) != ('_scope_', scope)
        }
    if isinstance(value, list | tuple):
        return type(value)(_unscoped(each, scope) for each in value)
    return value


def _evaluator_of_maps(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metric of label maps: the mean IoU."""
    if type_name(given) not in ('IoU', 'IoUMetric'):
        return {'type': 'IoUMetric', 'iou_metrics': ['mIoU']}
    names = ('type', 'iou_metrics', 'nan_to_num', 'beta')
    return {name: given[name] for name in names if name in given}


def _evaluator_of_objects(
    given: Mapping[str, Any], file: str
) -> dict[str, Any]:
    """Return the metric of instances, which reads a COCO file."""
    metric = ['bbox', 'segm']
    if type_name(given) != 'CocoMetric':
        return {'type': 'CocoMetric', 'ann_file': file, 'metric': metric}
    changed: dict[str, Any] = {'ann_file': file}
    if 'segm' not in (given.get('metric') or ()):
        changed['metric'] = metric
    # Of a benchmark whose labels are secret.
    if given.get('format_only'):
        changed['format_only'] = False
    return {**given, **changed}


def _warm_up(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the start of a schedule."""
    factors = [
        step['start_factor']
        for step in steps
        if type_name(step) == 'LinearLR' and 'start_factor' in step
    ]
    return {
        'type': 'LinearLR',
        'start_factor': factors[0] if factors else 0.01,
        'begin': 0,
        'end': Code('warmup'),
        'by_epoch': False,
    }


def _decay(
    steps: Sequence[Mapping[str, Any]], length: int, lr: float | None
) -> dict[str, Any]:
    """Return the main part of a schedule, of any length.

    Args:
        steps: The schedule of the inherited config.
        length: How long it is, in what its milestones count.
        lr: The learning rate that it begins with; None if it stays.
    """
    kinds = ('CosineAnnealingLR', 'MultiStepLR', 'PolyLR')
    found: Mapping[str, Any] = {'type': 'PolyLR', 'power': 0.9}
    for step in steps:
        if type_name(step) in kinds:
            found = step
    kept = {
        name: found[name]
        for name in ('type', 'power', 'gamma', 'eta_min', 'eta_min_ratio')
        if name in found
    }
    if lr and kept.get('eta_min'):
        kept['eta_min'] = Code(f'lr * {kept["eta_min"] / lr:.3g}')
    if type_name(found) == 'MultiStepLR':
        parts = [
            Fraction(point, length).limit_denominator(60)
            for point in found['milestones']
        ]
        kept['milestones'] = [
            Code(f'max_iters * {part.numerator} // {part.denominator}')
            for part in parts
            if part < 1
        ]
    else:
        kept['begin'] = Code('warmup')
        kept['end'] = Code('max(warmup + 1, max_iters)')
    return {**kept, 'by_epoch': False}
