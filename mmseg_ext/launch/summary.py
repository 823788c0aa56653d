"""What a run is about to do, in a screen, and what it leaves in the end."""

import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from mmseg_ext.engine.hooks import EvaluationRecordHook, RunPicturesHook
from mmseg_ext.engine.hooks.evaluation_record_hook import RECORDS
from mmseg_ext.formats.run_records import META
from mmseg_ext.launch.configs import TEST_KEYS, scope_of
from mmseg_ext.launch.errors import type_name
from mmseg_ext.launch.progress import headlines, span
from mmseg_ext.launch.resuming import Resumption, schedulers_of
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'RunFiles',
    'count_loaded',
    'files_of',
    'results_of_test',
    'results_of_training',
    'summary_of_test',
    'summary_of_training',
]

#: Characters of a line, and of the names at their beginnings.
_WIDTH = 79
_INDENT = 11

#: Entries of what may be long: a summary has to fit on a screen.
_OPTIONS = 12
_CLASSES = 20
_SCORES = 12
_PARTS = 3

#: The class that ``make_lean`` puts before that of a model.
_LEAN = 'LeanInference'

#: Ends of the names of pictures that a run may write.
_PICTURES = ('.png', '.jpg', '.jpeg', '.svg', '.html')


class RunFiles(NamedTuple):
    """What a run has written.

    Attributes:
        config: The whole config, with all that was changed in it.
        scope: The package whose classes it means.
        work_dir: The folder of the run, and of others that went on in it.
        log_dir: The folder in it of this run alone.
        checkpoint: The best checkpoint, or else the last; None without any.
        tensorboard: The folder for TensorBoard, if it was written.
        tests: Whether the config has all that a test needs.
        record: The newest run directory of ``EvaluationRecord``, if any.
    """

    config: str
    scope: str
    work_dir: str
    log_dir: str
    checkpoint: str | None
    tensorboard: str | None
    tests: bool
    record: str | None


@contextmanager
def count_loaded() -> Iterator[dict[int, int]]:
    """Count what data sets hold before they filter it.

    Yields:
        How many samples each data set that is built has loaded, by its
        ``id``.
    """
    init, counts = BaseDataset.__init__, {}

    def counting_init(self: BaseDataset, *args: Any, **kwargs: Any) -> None:
        load = self.load_data_list

        def load_data_list() -> list[Any]:
            samples = load()
            counts[id(self)] = len(samples)
            return samples

        self.load_data_list = load_data_list
        try:
            init(self, *args, **kwargs)
        finally:
            del self.load_data_list

    BaseDataset.__init__ = counting_init
    try:
        yield counts
    finally:
        BaseDataset.__init__ = init


def summary_of_training(
    runner: Runner,
    changes: Sequence[str],
    notes: Sequence[str],
    loaded: Mapping[int, int],
    start: Resumption | None = None,
) -> str:
    """Say what a training is about to do.

    Args:
        runner: With built loops.
        changes: What was changed in the config, ``KEY=VALUE``.
        notes: More about changes, whole lines.
        loaded: As from :func:`count_loaded`.
        start: Where it goes on, if it does.

    Returns:
        Some 20 lines.
    """
    cfg = runner.cfg
    rows = [
        *_config_rows(cfg, changes, notes),
        *_data_rows('train', runner.train_dataloader.dataset, loaded),
    ]
    if runner.val_loop is not None:
        rows += _data_rows('val', runner.val_dataloader.dataset, loaded)
    rows += [
        *_class_rows(runner.train_dataloader.dataset),
        *_model_rows(cfg, runner, _start(cfg, runner, start), True),
        *_schedule_rows(cfg, runner, start),
        ('device', _device(cfg, runner)),
        ('writes', f'{_path(runner.work_dir)}: {_saved(runner)}'),
        ('', f'{_path(runner.log_dir)}: log, scalars, pictures'),
    ]
    return _layout(rows)


def summary_of_test(
    runner: Runner,
    changes: Sequence[str],
    notes: Sequence[str],
    loaded: Mapping[int, int],
) -> str:
    """Say what a test is about to do.

    Args:
        runner: With a built loop.
        changes: What was changed in the config, ``KEY=VALUE``.
        notes: More about changes, whole lines.
        loaded: As from :func:`count_loaded`.

    Returns:
        Some 15 lines.
    """
    cfg, dataset = runner.cfg, runner.test_dataloader.dataset
    metrics = [type(m).__name__ for m in runner.test_loop.evaluator.metrics]
    rows = [
        *_config_rows(cfg, changes, notes),
        *_data_rows('test', dataset, loaded),
        *_class_rows(dataset),
        *_model_rows(cfg, runner, [f'all from {_path(cfg.load_from)}'], False),
        ('metrics', ', '.join(metrics)),
        ('device', _device(cfg, runner)),
        ('writes', f'{_path(runner.log_dir)}: log and scores'),
    ]
    return _layout(rows)


def files_of(runner: Runner) -> RunFiles:
    """Return what a training has written."""
    best = [path for path, _ in _best(runner)]
    last = _last(runner)
    log_dir = Path(runner.log_dir)
    events = sorted(log_dir.rglob('events.out.tfevents.*'))
    name = os.path.basename(runner.cfg.filename or 'config.py')
    return RunFiles(
        _path(os.path.join(runner.work_dir, name)),
        scope_of(runner.cfg),
        _path(runner.work_dir),
        _path(runner.log_dir),
        next(iter([*best, *last]), None),
        _path(events[0].parent) if events else None,
        all(runner.cfg.get(key) is not None for key in TEST_KEYS),
        next(iter(_records(runner)), None),
    )


def results_of_training(
    runner: Runner,
    seconds: float,
    tables: Iterable[str],
    scores: str,
    start: int = 0,
) -> str:
    """Say what a training has come to, and where it lies.

    Args:
        runner: That of the training.
        seconds: How long it took.
        tables: The last scores of the classes.
        scores: Those of the last validation, and the best, in a line.
        start: How many iterations were trained before it.
    """
    rows = [('done', _trained(runner, start, seconds))]
    if scores:
        rows.append(('scores', scores))
    found = [
        *(f'{path} ({score})' for path, score in _best(runner)),
        *(f'{path} (last)' for path in _last(runner)),
    ]
    rows += _column('checkpoint', found)
    rows += _written(runner)
    return '\n'.join([*tables, _layout(rows)])


def _trained(runner: Runner, start: int, seconds: float) -> str:
    """Say which iterations were trained."""
    if start and runner.iter <= start:
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        length = 'train_cfg.max_epochs' if by_epoch else 'max_iters'
        return (
            f'nothing to do: {start} of {runner.max_iters} iterations were '
            f'trained before; to train on, raise {length}'
        )
    which = f' ({start + 1} to {runner.iter})' if start else ''
    return f'{runner.iter - start} iterations{which} in {span(seconds)}'


def results_of_test(
    runner: Runner,
    seconds: float,
    tables: Iterable[str],
    scores: Mapping[str, Any],
    out: str | None,
    show_dir: str | None,
) -> str:
    """Say what a test has come to, and where it lies.

    Args:
        runner: That of the test.
        seconds: How long it took.
        tables: The scores of the classes.
        scores: What the metrics returned.
        out: Where predictions were written, if anywhere.
        show_dir: Where pictures were written, if anywhere.
    """
    count = len(runner.test_dataloader.dataset)
    text = headlines(scores, list(scores)[:_SCORES]) or 'none'
    rows = [
        ('done', f'{count} images in {span(seconds)}'),
        *_column('scores', _folded(text)),
    ]
    file = os.path.join(runner.log_dir, f'{runner.timestamp}.json')
    if os.path.isfile(file):
        rows.append(('', f'all: {_path(file)}'))
    rows += _written(runner)
    for name, path in (('predicted', out), ('pictures', show_dir)):
        if path:
            rows.append((name, _path(path)))
    return '\n'.join([*tables, _layout(rows)])


def _config_rows(
    cfg: Config, changes: Sequence[str], notes: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the config, and what was changed in it."""
    texts = [listing(changes, _OPTIONS), *notes]
    return [
        ('config', _path(str(cfg.filename))),
        *_column(
            'overridden', [row for text in texts for row in _folded(text)]
        ),
    ]


def _data_rows(
    name: str, dataset: Any, loaded: Mapping[int, int]
) -> list[tuple[str, str]]:
    """Return kind, size and place of a data set, or of those in it."""
    parts = list(_repeated(dataset))
    texts = [
        _data(part, loaded) + (f', {times} times' if times > 1 else '')
        for part, times in parts[:_PARTS]
    ]
    if len(parts) > _PARTS:
        texts.append(f'and {len(parts) - _PARTS} more data sets')
    if parts != [(dataset, 1)] and isinstance(dataset, Sized):
        kind = type(dataset).__name__
        texts.insert(0, f'{kind} of {len(dataset)} images')
    return _column(name, texts)


def _repeated(dataset: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Yield the data sets within wrappers, and how often each is repeated."""
    for part in getattr(dataset, 'datasets', ()):
        yield from _repeated(part, times)
    if hasattr(dataset, 'dataset'):
        times *= getattr(dataset, 'times', 1)
        yield from _repeated(dataset.dataset, times)
    elif not hasattr(dataset, 'datasets'):
        yield dataset, times


def _data(dataset: Any, loaded: Mapping[int, int]) -> str:
    """Return kind, size and place of a data set, and what it leaves out."""
    text = type(dataset).__name__
    if not isinstance(dataset, Sized):
        return text
    count = len(dataset)
    text += f', {count} images'
    left_out = loaded.get(id(dataset), count) - count
    if left_out:
        text += f' ({left_out} left out{_reason(dataset)})'
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    places = [
        *(prefixes.get(key) for key in ('img_path', 'img')),
        *(getattr(dataset, key, None) for key in ('ann_file', 'data_root')),
    ]
    place = next(filter(None, places), None)
    return text + (f', {_path(str(place))}' if place else '')


def _reason(dataset: Any) -> str:
    """Return why a data set may leave out some of its images."""
    reasons = []
    if rules := getattr(dataset, 'filter_cfg', None):
        rules = ', '.join(f'{key}={value}' for key, value in rules.items())
        reasons.append(f'filter_cfg: {rules}')
    if (indices := getattr(dataset, '_indices', None)) is not None:
        some = indices if isinstance(indices, int) else 'some'
        reasons.append(f'indices: {some}')
    return f' by {"; ".join(reasons)}' if reasons else ''


def _class_rows(dataset: Any) -> list[tuple[str, str]]:
    """Return the classes of a data set."""
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    names = (names,) if isinstance(names, str) else names
    text = listing([*map(printable, names)], _CLASSES)
    return _column(
        'classes', _folded(f'{len(names)}: {text}' if names else '')
    )


def _model_rows(
    cfg: Config, runner: Runner, start: Sequence[str], train: bool
) -> list[tuple[str, str]]:
    """Return what a model is, its parameters, weights and heads."""
    model, model_cfg = _bare(runner.model), cfg.model
    while 'module' in model_cfg:
        model_cfg = model_cfg['module']
    parts = [
        type_name(model_cfg[key])
        for key in ('backbone', 'neck')
        if isinstance(model_cfg.get(key), dict)
    ]
    names = ', '.join([_kind(model), *parts])
    return [
        *_column('model', _folded(f'{names}; {_parameters(model, train)}')),
        *_column('weights', start),
        *_column('heads', _heads(model)),
    ]


def _kind(model: nn.Module) -> str:
    """Return the class of a model, and that its inference is lean if so."""
    kinds = [kind.__name__ for kind in type(model).mro()]
    if _LEAN in kinds:
        # Then the class of the config follows.
        return f'{kinds[kinds.index(_LEAN) + 1]} with lean inference'
    return kinds[0]


def _bare(model: nn.Module) -> nn.Module:
    """Return the model that several processes train, without its wrapper."""
    while is_model_wrapper(model):
        model = cast(nn.Module, model.module)
    return model


def _parameters(model: nn.Module, train: bool) -> str:
    """Return how many parameters a model has, and how many are trained."""
    every = sum(p.numel() for p in model.parameters())
    text = f'{_millions(every)} parameters'
    if not train:
        return text
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return f'{text}, ' + (
        f'{_millions(frozen)} of them frozen' if frozen else 'all trained'
    )


def _millions(number: int) -> str:
    return f'{number / 1e6:.2f} M'


def _heads(model: nn.Module) -> list[str]:
    """Return the heads with a number of classes; equal ones in one line."""
    kinds: Counter[str] = Counter()
    for name, part in model.named_modules():
        number = getattr(part, 'num_classes', None)
        # Those in a list are told together.
        place = name.rstrip('.0123456789')
        if isinstance(number, int) and 'head' in place.rpartition('.')[2]:
            kind = type(part).__name__
            kinds[f'{place}: {kind}, num_classes={number}'] += 1
    texts = [
        f'{text} ({count} of them)' if count > 1 else text
        for text, count in kinds.items()
    ]
    more = len(texts) - _PARTS
    return texts[:_PARTS] + [f'and {more} more'] * (more > 0)


def _start(cfg: Config, runner: Runner, start: Resumption | None) -> list[str]:
    """Return where the weights of a training come from."""
    if start:
        done = f'{start.iter} of {runner.max_iters} iterations are done'
        return [f'goes on from {_path(start.path)}: {done}']
    if cfg.get('load_from'):
        return [f'start from {_path(cfg.load_from)}']
    found = {
        name or 'all': source
        for name, part in _bare(runner.model).named_modules()
        if (source := _source(getattr(part, 'init_cfg', None)))
        or (source := getattr(part, 'backbone_init', None))
    }
    texts = [f'{name} from {source}' for name, source in found.items()]
    more = len(texts) - _PARTS
    if more > 0:
        texts[_PARTS:] = [f'and {more} more parts from files']
    return [*texts, 'all others random'] if texts else ['random']


def _source(init_cfg: Any) -> str | None:
    """Return the weights that an ``init_cfg`` names, if any."""
    for one in init_cfg if isinstance(init_cfg, list) else [init_cfg]:
        if isinstance(one, Mapping):
            if one.get('checkpoint'):
                return str(one['checkpoint'])
            if one.get('package'):
                return f'the package {one["package"]}'
    return None


def _schedule_rows(
    cfg: Config, runner: Runner, start: Resumption | None
) -> list[tuple[str, str]]:
    """Return how long, with what batches and how a training learns."""
    loop = runner.train_loop
    unit = 'iterations'
    length = f'{runner.max_iters} iterations'
    if isinstance(loop, EpochBasedTrainLoop):
        unit = 'epochs'
        length = f'{runner.max_epochs} epochs of {len(loop.dataloader)}'
        length += ' iterations'
    val = 'no validation'
    if runner.val_loop is not None:
        total = runner.max_epochs if unit == 'epochs' else runner.max_iters
        val = f'validation {_often(runner.val_interval, total, unit)}'
    return [
        ('schedule', f'{length}, {_batch(cfg)}; {val}'),
        *_column('', _folded(_optimizer(cfg, runner, start))),
    ]


def _often(interval: int, total: int, unit: str) -> str:
    """Return when something happens that happens at the end, too."""
    if interval == 1 < total:
        return f'every {unit.removesuffix("s")}'
    return f'every {interval} {unit}' if 0 < interval < total else 'at the end'


def _batch(cfg: Config) -> str:
    """Return how many images a step learns from."""
    size = cfg.train_dataloader.get('batch_size')
    text = f'batches of {size}'
    if get_world_size() > 1:
        text += f' in each of {get_world_size()} processes'
    count = cfg.optim_wrapper.get('accumulative_counts', 1)
    return text + (f', gradients of {count} added up' if count > 1 else '')


def _optimizer(cfg: Config, runner: Runner, start: Resumption | None) -> str:
    """Return the optimizer and what changes its learning rate."""
    options = cfg.optim_wrapper.get('optimizer') or {}
    text = type_name(options) or type_name(cfg.optim_wrapper)
    rate = start.rate if start else options.get('lr')
    if rate is not None:
        text += f', learning rate {rate:g}'
    names = ', then '.join(map(type_name, schedulers_of(cfg)))
    if start is None:
        return text + (f' by {names}' if names else ', constant')
    # The checkpoint's, whatever the config says now.
    text += ' as in the checkpoint'
    if not names or start.iter >= start.end:
        when = f', since {names} ended at iteration {start.end:g}'
        return f'{text}, constant{when if names else ""}'
    if start.end >= runner.max_iters:
        return f'{text}, by {names}'
    return f'{text}, by {names}, constant from iteration {start.end:g} on'


def _device(cfg: Config, runner: Runner) -> str:
    """Return what computes, and how precisely."""
    device = next((p.device for p in runner.model.parameters()), None)
    text = str(device or 'cpu')
    if text.startswith('cuda'):
        text = f'{text} ({torch.cuda.get_device_name(device)})'
    elif text == 'cpu':
        text = f'CPU, {torch.get_num_threads()} thread(s)'
    if get_world_size() > 1:
        text += f', {get_world_size()} processes'
    amp = 'Amp' in type_name(cfg.get('optim_wrapper') or {})
    return text + (', mixed precision' if amp else ', float32')


def _saved(runner: Runner) -> str:
    """Return when checkpoints are saved."""
    texts = ['whole config']
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            unit, total = 'iterations', runner.max_iters
            if hook.by_epoch:
                unit, total = 'epochs', runner.max_epochs
            kept = hook.max_keep_ckpts
            texts.append(
                f'checkpoint {_often(hook.interval, total, unit)}'
                + (f', keeping the last {kept}' if kept > 0 else '')
            )
            if hook.save_best:
                texts.append(f'the best by {", ".join(hook.save_best)}')
    return ', '.join(texts)


def _best(runner: Runner) -> Iterator[tuple[str, str]]:
    """Yield the best checkpoints that are there, with their scores."""
    info = runner.message_hub.runtime_info
    for key in list(info):
        path = info[key]
        if not str(key).startswith('best_ckpt') or not path:
            continue
        score = info.get(f'best_score{key.removeprefix("best_ckpt")}')
        if os.path.isfile(path):
            number = f' {score:.4g}' if isinstance(score, Real) else ''
            yield _path(path), f'the best,{number}'.rstrip(',')


def _last(runner: Runner) -> list[str]:
    """Return the last checkpoint, if it is there."""
    path = runner.message_hub.runtime_info.get('last_ckpt')
    return [_path(path)] if path and os.path.isfile(path) else []


def _written(runner: Runner) -> list[tuple[str, str]]:
    """Return the files of a run that are there, by what they are."""
    log_dir = Path(runner.log_dir)
    pictures: dict[str, list[Path]] = {}
    for path in sorted(log_dir.rglob('*')):
        if path.suffix.lower() in _PICTURES and path.is_file():
            first = path.relative_to(log_dir).parts[0]
            if first == RECORDS:
                continue
            pictures.setdefault(first, []).append(path)
    logs = sorted(log_dir.glob('*.log'))
    curves = [p for p in log_dir.glob('vis_data/scalars.json') if _size(p)]
    found = [
        _path(paths[0])
        if len(paths) == 1
        else f'{_path(os.path.commonpath(paths))}: {len(paths)} files'
        for paths in pictures.values()
    ]
    return [
        *_column('scalars', [_path(path) for path in curves]),
        *_column('pictures', found),
        *_column('curves', [_path(path) for path in _drawn(runner)]),
        *_column('record', _records(runner)),
        *_column('log', [_path(path) for path in logs]),
    ]


def _records(runner: Runner) -> list[str]:
    """Return the newest run directory of each hook that records."""
    return [
        _path(hook.folder)
        for hook in runner.hooks
        if isinstance(hook, EvaluationRecordHook)
        and hook.folder
        and Path(hook.folder, META).is_file()
    ]


def _drawn(runner: Runner) -> list[Path]:
    """Return the pictures of the whole run, drawn at its end."""
    reports = [
        hook.report
        for hook in runner.hooks
        if isinstance(hook, RunPicturesHook) and hook.report
    ]
    return [
        path
        for report in reports
        for path in map(Path, report.files)
        if path.suffix in _PICTURES
    ]


def _size(path: Path) -> int:
    return path.stat().st_size


def _path(path: str | os.PathLike[str]) -> str:
    """Return a path as one would type it here."""
    text = os.fspath(path)
    if '://' in text:
        return printable(text)
    below = os.path.relpath(text)
    return printable(text if below.startswith(os.pardir) else below)


def _column(name: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return rows of which the first has a name."""
    names = [name, *[''] * len(texts)]
    return list(zip(names, texts, strict=False))


def _folded(text: str) -> list[str]:
    """Return a text that may be long in several lines."""
    return textwrap.wrap(
        text, _WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False
    )


def _layout(rows: Iterable[tuple[str, str]]) -> str:
    """Return rows as lines."""
    return '\n'.join(f'{name:{_INDENT}}{text}' for name, text in rows)
