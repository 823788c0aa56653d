"""What ``tools/train.py`` and ``tools/test.py`` do, for MMSeg and MMDet alike.

A config becomes a runner here, with what the arguments change in it. All that
a user can put right raises :class:`LaunchError` before the run starts;
``mmseg_ext_cli.py``, which reads the command line, shows it as one line.
"""

import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModule
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIMIZERS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import nn
from torch.distributed import DistNetworkError

from mmseg_ext.checkpoint import (
    CheckpointError,
    check_checkpoint,
    check_start,
    existing_checkpoint,
    weights_only,
)
from mmseg_ext.engine.hooks import (
    ClassWeightsError,
    ClassWeightsHook,
    FirstBatchHook,
    LabelCheckError,
    LabelCheckHook,
    RunPicturesHook,
    SegVisHook,
)
from mmseg_ext.engine.label_checks import leaves
from mmseg_ext.evaluation.metrics.label_map_writer import LabelMapWriter
from mmseg_ext.launch.configs import (
    TEST_KEYS,
    check_output,
    load_config,
    require_keys,
    scope_of,
)
from mmseg_ext.launch.console import Console
from mmseg_ext.launch.data_sets import category_fault, why_empty
from mmseg_ext.launch.distributed import (
    SameBuffersHook,
    join_processes,
    set_launcher,
)
from mmseg_ext.launch.errors import (
    MISFITS,
    came_through,
    closest,
    is_empty_set,
    no_such_score,
    one_line,
    unknown_type,
    why_not_built,
    why_not_written,
)
from mmseg_ext.launch.evaluators import prediction_writer, set_evaluator
from mmseg_ext.launch.noise import TOLD
from mmseg_ext.launch.progress import FiniteLossHook
from mmseg_ext.launch.resuming import resumption_of, schedule_warning
from mmseg_ext.launch.summary import (
    RunFiles,
    files_of,
    results_of_test,
    results_of_training,
    summary_of_test,
    summary_of_training,
)
from mmseg_ext.launch.switches import (
    set_precision,
    set_resume,
    turn_on_drawing,
    turn_on_lr_scaling,
    turn_on_tensorboard,
    turn_on_tta,
)
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import listing

__all__ = ['LaunchError', 'TrainedRun', 'run_test', 'run_training']

#: Where weights are loaded that a config starts from.
_PACKAGE_WEIGHTS = 'mmseg_ext.models.package_weights'

#: How to go without data for it.
_WITHOUT_VALIDATION = (
    '; or train without validation, with cfg_options val_dataloader=None '
    'val_cfg=None val_evaluator=None'
)

#: Hooks that our commands add where a config has none of the kind: to both
#: packages' configs, and to those of MMSeg.
_HOOKS: tuple[type[Hook], ...] = (FirstBatchHook, RunPicturesHook)
_SEGMENTATION_HOOKS: tuple[type[Hook], ...] = (
    LabelCheckHook,
    ClassWeightsHook,
)

#: Where MMDet asserts that heads and data set have the same classes.
_CLASS_CHECK_OF_MMDET = 'mmdet.engine.hooks.num_class_check_hook'


class LaunchError(Exception):
    """Something that the user can put right, told in one line."""


class TrainedRun(NamedTuple):
    """What a training gives.

    Attributes:
        model: The trained model.
        files: What was written, and where; None in all processes of a job
            but the first.
    """

    model: nn.Module
    files: RunFiles | None


class _NoTraining(BaseLoop):
    """Stands for the loop of the training in a test.

    Hooks ask a runner for its iteration, or for this loop, and get what loads
    all images of the training else.
    """

    iter = epoch = max_iters = max_epochs = 0
    stop_training = False

    def run(self) -> None:
        """Do nothing: a test does not train."""


# A config may name checkpoints too, by address.
@weights_only()
def run_training(
    config: str,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    tensorboard: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
    verbose: bool = False,
) -> TrainedRun:
    """Train the model of a config, and show a summary and the progress.

    Args:
        config: Path or name of a config.
        work_dir: Folder for logs and checkpoints.
        resume: A checkpoint to go on from, or ``'auto'`` for the latest one
            in the work dir, if there is one. By default as the config says.
        amp: Train with automatic mixed precision.
        auto_scale_lr: Scale the learning rate to the actual batch size.
        tensorboard: Write for TensorBoard, too.
        cfg_options: Entries to change in the config.
        launcher: What started the processes of a distributed job.
        verbose: Show all that upstream says, and no line of progress.

    Returns:
        The trained model, and what was written.

    Raises:
        LaunchError: The arguments, config, checkpoint or data do not fit.
    """
    warnings: list[str] = []
    notes: list[str] = []
    with _told_in_one_line():
        cfg = load_config(
            config, work_dir, cfg_options, warnings.append, notes.append
        )
        check_output('work_dir', cfg.work_dir)
        set_launcher(cfg, launcher)
        require_keys(
            cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper'
        )
        set_precision(cfg, amp)
        if auto_scale_lr:
            turn_on_lr_scaling(cfg)
        if tensorboard:
            turn_on_tensorboard(cfg)
        if cfg.get('resume') and not cfg.get('load_from'):
            resume = resume or 'auto'
        notes += [set_resume(cfg, resume)] if resume else []
    with Console(verbose) as console:
        runner = _build_runner(cfg, notes, warnings, console)
        with _told_in_one_line():
            # A runner may leave out what the config starts from.
            checkpoint = _check_weights(runner.cfg, runner)
        _check_late_parts(cfg, runner)
        # Both are made before the first iteration anyway.
        with _data_errors_named(cfg, 'train'):
            loop = runner.train_loop
        _check_sampler(loop)
        with _data_errors_named(cfg, 'val'):
            val_loop = runner.val_loop
            _check_pictures(runner, val_loop)
        _check_data(runner, 'train', loop)
        _check_data(runner, 'val', val_loop)
        start = None
        if checkpoint:
            start = resumption_of(runner, runner.cfg.load_from, checkpoint)
            if line := schedule_warning(runner, start):
                runner.logger.warning(line)
        console.say(
            summary_of_training(
                runner, _pairs(cfg_options), notes, console.loaded, start
            )
        )
        again = ", then the same command with resume='auto' goes on"
        with (
            _disk_errors_named(runner, again),
            working_in(runner.work_dir),
            _config_errors_named(cfg, any_reason=False),
        ):
            if start and checkpoint and start.iter >= runner.max_iters:
                _take_up(runner, checkpoint)
                model = runner.model
            else:
                # It may be larger than the model.
                checkpoint = None
                model = runner.train()
        console.say(
            results_of_training(
                runner,
                console.seconds,
                console.tables,
                console.scores,
                start.iter if start else 0,
            )
        )
        return TrainedRun(
            model, files_of(runner) if is_main_process() else None
        )


@weights_only()
def run_test(
    config: str,
    checkpoint: str,
    work_dir: str | None = None,
    metrics: Sequence[str] = (),
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2.0,
    tta: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
    verbose: bool = False,
    record: Hook | None = None,
) -> dict[str, float]:
    """Test a checkpoint with the model and test set of a config.

    A summary, the progress and the scores are shown.

    Args:
        config: Path or name of a config.
        checkpoint: Path of a checkpoint.
        work_dir: Folder for logs and scores.
        metrics: Names for :func:`~mmseg_ext.launch.evaluators
            .choose_evaluator`. Without any, the config's own evaluator stays.
        out: Where predictions go: a folder of label maps for MMSeg, a pickle
            file for MMDet.
        show: Show each prediction in a window.
        show_dir: Folder for pictures of the predictions.
        wait_time: Seconds that each window stays.
        tta: Test with augmentation.
        cfg_options: Entries to change in the config.
        launcher: What started the processes of a distributed job.
        verbose: Show all that upstream says, and no line of progress.
        record: A hook that keeps what comes out, in place of those of its
            class in the config.

    Returns:
        The scores.

    Raises:
        LaunchError: The arguments, config, checkpoint or data do not fit.
    """
    warnings: list[str] = []
    notes: list[str] = []
    with _told_in_one_line():
        cfg = load_config(
            config, work_dir, cfg_options, warnings.append, notes.append
        )
        check_output('work_dir', cfg.work_dir)
        set_launcher(cfg, launcher)
        notes += [set_evaluator(cfg, metrics)] if metrics else []
        require_keys(cfg, 'model', *TEST_KEYS)
        if show or show_dir:
            turn_on_drawing(cfg, show, show_dir, wait_time)
            if launcher != 'none':
                notes.append('only the first process draws its images')
        if tta:
            notes += turn_on_tta(cfg)
        cfg.load_from, cfg.resume = existing_checkpoint(checkpoint), False
    with Console(verbose) as console:
        with _told_in_one_line():
            writer = prediction_writer(cfg, out) if out else None
        runner = _build_runner(cfg, notes, warnings, console)
        if record:
            kind = type(record)
            others = [h for h in runner.hooks if not isinstance(h, kind)]
            runner._hooks = others
            runner.register_hook(record)
        runner._train_loop = _NoTraining(runner, [])
        with _told_in_one_line():
            check_checkpoint(runner.model, cfg.load_from)
        with _data_errors_named(cfg, 'test'):
            loop = runner.test_loop
            _check_pictures(runner, loop)
        _check_data(runner, 'test', loop)
        if isinstance(writer, LabelMapWriter):
            with _told_in_one_line():
                writer.check(_samples(loop.dataloader.dataset))
        if writer:
            loop.evaluator.metrics.append(writer)
        console.say(
            summary_of_test(runner, _pairs(cfg_options), notes, console.loaded)
        )
        with (
            _disk_errors_named(runner),
            working_in(runner.work_dir),
            _config_errors_named(cfg, any_reason=False),
        ):
            scores = runner.test()
        console.say(
            results_of_test(
                runner,
                console.seconds,
                console.tables,
                scores,
                out,
                show_dir,
            )
        )
        return scores


def _pairs(cfg_options: dict | None) -> list[str]:
    """Return the options that were given as one types them."""
    return [f'{key}={value}' for key, value in (cfg_options or {}).items()]


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Turn the errors of what is checked before a run."""
    try:
        yield
    # Some configs import the classes that they name when these are looked at.
    except (ValueError, FileNotFoundError, ImportError) as error:
        raise LaunchError(error) from error


def _build_runner(
    cfg: Config,
    notes: Sequence[str],
    warnings: Sequence[str],
    console: Console,
) -> Runner:
    """Return the runner of a config and log what was changed in its config."""
    try:
        join_processes(cfg)
        with _config_errors_named(cfg):
            runner = console.build(cfg)
    except LaunchError as error:
        # A class may be missing since another module, or none, was imported.
        why = [line for line in warnings if 'custom_imports' in line]
        raise LaunchError('; '.join([str(error), *why])) from error
    # On GPUs mmengine lets them meet.
    except DistNetworkError as error:
        raise LaunchError(
            f'processes cannot meet at {os.environ.get("MASTER_ADDR")}, port '
            f'{os.environ.get("MASTER_PORT")} (MASTER_ADDR and MASTER_PORT of '
            f'the environment): {" ".join(str(error).split()):.200}; another '
            'job may have that port, so take another, from 1024 to 65535'
        ) from error
    runner.register_hook(FiniteLossHook())
    if runner.distributed:
        runner.register_hook(SameBuffersHook())
    kinds = _HOOKS
    if scope_of(cfg) != 'mmdet':
        kinds += _SEGMENTATION_HOOKS
    for kind in kinds:
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())
    for line in warnings:
        runner.logger.warning(line)
    for line in notes:
        # The console has it in the summary.
        runner.logger.info(line, extra=TOLD)
    return runner


def _check_weights(cfg: Config, runner: Runner) -> dict[str, Any] | None:
    """Check what a training goes on with or starts from, if anything.

    What only mmengine can tell, such as that an optimizer has another number
    of parameters, it tells in one line when it loads the checkpoint.

    Returns:
        What it goes on with, if it does.
    """
    checkpoint = None
    if cfg.get('resume'):
        parts = ['param_schedulers'] if cfg.get('param_scheduler') else []
        checkpoint = check_checkpoint(runner.model, cfg.load_from, True, parts)
        _need_no_package(runner.model)
    elif cfg.get('load_from'):
        runner.logger.info(check_start(runner.model, cfg.load_from))
    load = runner.load_or_resume

    def load_or_resume() -> None:
        try:
            load()
            if cfg.get('resume'):
                _check_optimizer(runner.optim_wrapper)
                _keep_files_of_others(runner)
        # The checkpoint is a foreign file: anything may come out of it.
        except Exception as error:
            raise LaunchError(
                f'{cfg.load_from} does not fit the run: '
                f'{type(error).__name__}: {" ".join(str(error).split())}'
            ) from error

    runner.load_or_resume = load_or_resume
    return checkpoint


def _take_up(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Take up a training that is done; its weights are in the model already.

    mmengine would load all images that were trained, to end at once.
    """
    runner.train_loop._epoch = checkpoint['meta']['epoch']
    runner.train_loop._iter = checkpoint['meta']['iter']
    runner.message_hub.load_state_dict(checkpoint['message_hub'])
    _keep_files_of_others(runner)


def _check_optimizer(wrapper: OptimWrapper | OptimWrapperDict) -> None:
    """Check that what was loaded is the state of an optimizer of the kind.

    torch takes over the settings of another one, and fails in the first step.
    """
    several = isinstance(wrapper, OptimWrapperDict)
    for each in wrapper.values() if several else [wrapper]:
        optimizer = each.optimizer
        for group in optimizer.param_groups:
            if missing := optimizer.defaults.keys() - group.keys():
                raise ValueError(
                    'the checkpoint has another optimizer than '
                    f'{type(optimizer).__name__}, without '
                    f'{listing(sorted(missing))}; train with that of the '
                    'checkpoint, or start from its weights, with cfg_options '
                    'load_from=... and no resume'
                )


def _need_no_package(model: nn.Module) -> None:
    """Start nothing from a package, for a checkpoint that brings it all.

    mmengine initializes a model before it loads the checkpoint.
    """
    for module in model.modules():
        if isinstance(module, BaseModule) and (
            'PackageWeights' in str(module.init_cfg)
        ):
            module.init_cfg = None


def _keep_files_of_others(runner: Runner) -> None:
    """Let a resumed run remove no best checkpoint but those in its work dir.

    mmengine removes the file that the checkpoint names, which may lie in the
    folder that the work dir was copied from, or anywhere.
    """
    info = runner.message_hub.runtime_info
    for key in [key for key in info if str(key).startswith('best_ckpt')]:
        name = os.path.basename(str(info[key]))
        own = os.path.join(runner.work_dir, name)
        if name.startswith('best_') and os.path.isfile(own):
            info[key] = own
        else:
            del info[key]


@contextmanager
def _config_errors_named(
    cfg: Config, any_reason: bool = True
) -> Iterator[None]:
    """Turn what is wrong with a part of the config into one line.

    Some parts are built, and some weights loaded, when the run begins; with
    ``any_reason=False`` all errors of the run itself keep their traceback.
    """
    try:
        yield
    except (ClassWeightsError, LabelCheckError) as error:
        raise LaunchError(error) from error
    except MISFITS as error:
        if isinstance(error, KeyError) and (line := no_such_score(error)):
            raise LaunchError(line) from error
        if came_through(error, _PACKAGE_WEIGHTS):
            raise LaunchError(error) from error
        if came_through(error, _CLASS_CHECK_OF_MMDET):
            raise LaunchError(' '.join(str(error).split())) from error
        if came_through(error, check_checkpoint.__module__):
            raise LaunchError(
                error
                if isinstance(error, (CheckpointError, FileNotFoundError))
                else 'weights of the config cannot be loaded: '
                f'{one_line(error)}; to train without those at an address, '
                'give cfg_options runner_type=OfflineRunner'
            ) from error
        reason = why_not_built(cfg, error, any_reason)
        if reason is None:
            raise
        raise LaunchError(reason) from error


@contextmanager
def _disk_errors_named(runner: Runner, again: str = '') -> Iterator[None]:
    """Turn what cannot be written in a run into one line.

    Args:
        runner: That of the run.
        again: What to do when that is mended, as a clause.
    """
    files = [
        handler
        for handler in runner.logger.handlers
        if isinstance(handler, logging.FileHandler)
    ]
    for handler in files:
        # By default it prints a traceback for each line, and goes on.
        handler.handleError = _raise_again  # type: ignore[method-assign]
    try:
        yield
    except OSError as error:
        reason = why_not_written(error, runner.work_dir)
        if reason is None:
            raise
        raise LaunchError(f'{reason}{again}') from error
    finally:
        for handler in files:
            vars(handler).pop('handleError', None)


def _raise_again(record: logging.LogRecord) -> None:
    raise


def _check_late_parts(cfg: Config, runner: Runner) -> None:
    """Check what mmengine looks at when a run has begun, or even later."""
    kind = (cfg.optim_wrapper.get('optimizer') or {}).get('type')
    with OPTIMIZERS.switch_scope_and_registry(None) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise LaunchError(unknown_type(cfg, kind, registry))
    known = inspect.signature(runner.save_checkpoint).parameters
    for hook in runner.hooks:
        # It hands on what it does not know when it saves for the first time.
        unknown = set(getattr(hook, 'args', ())) - set(known)
        if isinstance(hook, CheckpointHook) and unknown:
            names = inspect.signature(type(hook)).parameters
            argument = min(unknown)
            raise LaunchError(
                f'{type(hook).__name__} has no argument {argument!r}'
                + closest(argument, {*names, *known})
            )


def _check_pictures(runner: Runner, loop: BaseLoop | None) -> None:
    """Check that the classes of a data set can be drawn, where they will."""
    for hook in runner.hooks:
        if loop is not None and isinstance(hook, SegVisHook):
            try:
                hook.check_classes(loop.dataloader.dataset)
            except ValueError as error:
                raise LaunchError(
                    f'{error}; or leave out SegVisHook'
                ) from error


def _check_sampler(loop: BaseLoop) -> None:
    """Refuse an epoch that never ends."""
    if isinstance(loop, EpochBasedTrainLoop) and isinstance(
        loop.dataloader.sampler, InfiniteSampler
    ):
        raise LaunchError(
            f'{type(loop.dataloader.sampler).__name__} draws without end, so '
            'no epoch of EpochBasedTrainLoop would end: train by iterations '
            "(train_cfg.type='IterBasedTrainLoop', max_iters), or set "
            "train_dataloader.sampler.type='DefaultSampler'"
        )


@contextmanager
def _data_errors_named(cfg: Config, mode: str) -> Iterator[None]:
    """Turn what is wrong with a data set of the config into one line."""
    try:
        with _config_errors_named(cfg, any_reason=False):
            yield
    except FileNotFoundError as error:
        raise LaunchError(
            f'the data of the config is not there: {error}; prepare the data '
            'set, or say where it is, such as with cfg_options '
            f'{mode}_dataloader.dataset.data_root=...'
            + (_WITHOUT_VALIDATION if mode == 'val' else '')
        ) from error
    except ValueError as error:
        raise LaunchError(
            f'{mode}_dataloader.dataset is empty: expected images'
            + why_empty(error)
            if is_empty_set(error)
            else f'the data of the config cannot be used: {error}'
        ) from error
    except AttributeError as error:
        # Those for addresses lack what data sets ask of folders.
        if 'Backend' not in str(error):
            raise
        raise LaunchError(
            'the data of the config cannot be used: mmengine reads single '
            f'files from such an address, and no folders ({error}); copy the '
            'data set into a folder, and say where it is, such as with '
            f'cfg_options {mode}_dataloader.dataset.data_root=...'
        ) from error
    except MISFITS as error:
        reason = why_not_built(cfg, error)
        if reason is None:
            raise
        raise LaunchError(reason) from error


def _check_data(runner: Runner, mode: str, loop: BaseLoop | None) -> None:
    """Check what MMDet finds out in the middle of a run.

    Raises:
        LaunchError: A COCO file lacks a class, or its images are elsewhere.
    """
    for dataset in leaves(loop.dataloader.dataset) if loop else ():
        where = f'{mode}_dataloader.dataset'
        if fault := category_fault(dataset):
            if fault.lacking:
                raise LaunchError(f'{where}: {fault.text}')
            runner.logger.warning(f'{where}: {fault.text}')
        for sample in islice(_samples(dataset), 1):
            path = str(sample.get('img_path') or '')
            if path and '://' not in path and not os.path.exists(path):
                raise LaunchError(
                    f'{where}: there is no image {path}, the first of it: it '
                    'is data_root, data_prefix and the name in ann_file, one '
                    'after the other; change the one that is wrong'
                )


def _samples(dataset: Any) -> Iterator[dict[str, Any]]:
    """Yield what a data set, or a wrapper of some, knows of its samples."""
    for index in range(
        len(dataset) if hasattr(dataset, 'get_data_info') else 0
    ):
        yield dataset.get_data_info(index)
