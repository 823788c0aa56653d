"""What ``tools/train.py`` and ``tools/test.py`` do, for MMSeg and MMDet alike.

A config becomes a runner here, with what the arguments change in it. All that
a user can put right raises :class:`LaunchError` before the run starts;
``mmseg_ext_cli.py``, which reads the command line, shows it as one line.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from mmseg_ext.checkpoint import (
    check_checkpoint,
    existing_checkpoint,
    weights_only,
)
from mmseg_ext.launch.configs import load_config, require_keys
from mmseg_ext.launch.evaluators import prediction_writer, set_evaluator
from mmseg_ext.launch.switches import (
    set_launcher,
    set_resume,
    turn_on_amp,
    turn_on_drawing,
    turn_on_lr_scaling,
    turn_on_tta,
)
from mmseg_ext.utils.scratch import working_in

__all__ = ['LaunchError', 'run_test', 'run_training']


class LaunchError(Exception):
    """Something that the user can put right, told in one line."""


# A config may name checkpoints too, by address.
@weights_only()
def run_training(
    config: str,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> nn.Module:
    """Train the model of a config.

    Args:
        config: Path or name of a config.
        work_dir: Folder for logs and checkpoints.
        resume: A checkpoint to go on from, or ``'auto'`` for the latest one
            in the work dir, if there is one. By default as the config says.
        amp: Train with automatic mixed precision.
        auto_scale_lr: Scale the learning rate to the actual batch size.
        cfg_options: Entries to change in the config.
        launcher: What started the processes of a distributed job.

    Returns:
        The trained model.

    Raises:
        LaunchError: The arguments, config, checkpoint or data do not fit.
    """
    with _told_in_one_line():
        cfg = load_config(config, work_dir, cfg_options)
        set_launcher(cfg, launcher)
        require_keys(
            cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper'
        )
        if amp:
            turn_on_amp(cfg)
        if auto_scale_lr:
            turn_on_lr_scaling(cfg)
        notes = [set_resume(cfg, resume)] if resume else []
    runner = _build_runner(cfg, notes)
    if resume and cfg.resume:
        with _told_in_one_line():
            check_checkpoint(runner.model, cfg.load_from, resume=True)
    with _data_errors_named('train'):
        # Both are made before the first iteration anyway.
        _ = runner.train_loop, runner.val_loop
    with working_in(runner.work_dir):
        return runner.train()


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
) -> dict[str, float]:
    """Test a checkpoint with the model and test set of a config.

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

    Returns:
        The scores.

    Raises:
        LaunchError: The arguments, config, checkpoint or data do not fit.
    """
    with _told_in_one_line():
        cfg = load_config(config, work_dir, cfg_options)
        set_launcher(cfg, launcher)
        notes = [set_evaluator(cfg, metrics)] if metrics else []
        require_keys(
            cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator'
        )
        if show or show_dir:
            turn_on_drawing(cfg, show, show_dir, wait_time)
        if tta:
            notes += turn_on_tta(cfg)
        writer = prediction_writer(cfg, out) if out else None
        cfg.load_from, cfg.resume = existing_checkpoint(checkpoint), False
    runner = _build_runner(cfg, notes)
    with _told_in_one_line():
        check_checkpoint(runner.model, cfg.load_from)
    with _data_errors_named('test'):
        evaluator = runner.test_loop.evaluator
    if writer:
        evaluator.metrics.append(writer)
    with working_in(runner.work_dir):
        return runner.test()


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Turn the errors of what is checked before a run."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise LaunchError(error) from error


def _build_runner(cfg: Config, notes: Sequence[str]) -> Runner:
    """Return the runner of a config and log what was changed in its config."""
    runner = RUNNERS.build(cfg)
    for note in notes:
        runner.logger.info(note)
    return runner


@contextmanager
def _data_errors_named(mode: str) -> Iterator[None]:
    """Turn what is wrong with the train or test set into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise LaunchError(
            f'the data of the config is not there: {error}; prepare the data '
            'set, or say where it is, such as with cfg_options '
            f'{mode}_dataloader.dataset.data_root=...'
        ) from error
    except ValueError as error:
        raise LaunchError(
            f'the data of the config cannot be used: {error}'
        ) from error
