"""What ``tools/train.py`` and ``tools/test.py`` do, for MMSeg and MMDet alike.

A config becomes a runner here, with what the command line changes in it. All
that a user can put right raises :class:`LaunchError` before the run starts;
``mmseg_ext_cli.py``, which reads the command line, shows it as one line.
"""

import argparse
import copy
import difflib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

import mmseg_ext
from mmseg_ext.checkpoint import (
    check_checkpoint,
    existing_checkpoint,
    weights_only,
)
from mmseg_ext.launch.evaluators import (
    data_sets,
    prediction_writer,
    scope_of,
    set_evaluator,
    type_name,
)

#: For each launcher, the program that starts the processes and a variable
#: that it sets for them.
LAUNCHERS = {
    'pytorch': ('torchrun', 'RANK'),
    'slurm': ('srun', 'SLURM_PROCID'),
    'mpi': ('mpirun', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


class LaunchError(Exception):
    """Something that the user can put right, told in one line."""


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Turn the errors of what is checked before a run."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise LaunchError(error) from error


def parse_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` pairs as mmengine does.

    Args:
        pairs: Of two pairs with the same key the later one counts.

    Returns:
        Numbers, booleans, None, texts, and lists and tuples of these, by key.

    Raises:
        ValueError: A pair has no ``=``, or brackets that do not match.
    """
    parsed = argparse.Namespace()
    try:
        DictAction([], 'options')(None, parsed, pairs)
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f'expected KEY=VALUE pairs, got {" ".join(pairs)!r} ({error})'
        ) from error
    return parsed.options


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
        cfg = load_config(config, work_dir, cfg_options, launcher)
        _require(
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
        cfg = load_config(config, work_dir, cfg_options, launcher)
        notes = [set_evaluator(cfg, metrics)] if metrics else []
        _require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
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
    return runner.test()


def _build_runner(cfg: Config, notes: Sequence[str]) -> Runner:
    """Build the runner and log what was changed in its config."""
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
            'set, or say where it is, such as with --cfg-options '
            f'{mode}_dataloader.dataset.data_root=...'
        ) from error
    except ValueError as error:
        raise LaunchError(
            f'the data of the config cannot be used: {error}'
        ) from error


def load_config(
    config: str,
    work_dir: str | None = None,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> Config:
    """Read a config and fill in what a run needs.

    Args:
        config: Path or name of a config.
        work_dir: Overrides the config's. Where neither gives one it is
            ``./work_dirs/<name of the config>``.
        cfg_options: Entries to change.
        launcher: One of mmengine's launchers, or ``'none'``.

    Raises:
        ValueError: There is no such config, it cannot be read, an option
            does not fit it, its package is not installed, or the launcher
            did not start this process.
    """
    check_launcher(launcher)
    path = find_config(config)
    try:
        cfg = Config.fromfile(path)
    # A config is code: anything may come out of it.
    except Exception as error:
        raise ValueError(
            f'{path} cannot be read as a config: {_one_line(error)}'
        ) from error
    try:
        cfg.merge_from_dict(cfg_options or {})
    # mmengine merges without a look at what is there.
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(
            f'--cfg-options do not fit {path}: {_one_line(error)}'
        ) from error
    scope = scope_of(cfg)
    if importlib.util.find_spec(scope) is None:
        raise ValueError(
            f'{path} needs the package {scope} (its default_scope), which is '
            f'not installed; try: mim install {scope}'
        )
    cfg.launcher = launcher
    cfg.work_dir = (
        work_dir or cfg.get('work_dir') or f'./work_dirs/{path.stem}'
    )
    return cfg


def find_config(name: str) -> Path:
    """Find a config by path, or by name among those of ``mmseg_ext``.

    Args:
        name: A path, or a file name with or without ``.py``.

    Returns:
        The path of the config.

    Raises:
        ValueError: There is none, or more than one of that name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    package = Path(mmseg_ext.__file__).parent
    root = package / '.mim' / 'configs'
    if not root.is_dir():
        root = package.parent / 'configs'
    configs = sorted(root.rglob('*.py'))
    found = [c for c in configs if path.name in (c.name, c.stem)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f'{name} is the name of several configs, give the path of one: '
            + ', '.join(map(str, found))
        )
    close = difflib.get_close_matches(path.stem, [c.stem for c in configs])
    raise ValueError(
        f'there is no config {name}: neither a file nor the name of a config '
        f'in {root}' + (f'; close: {", ".join(close)}' if close else '')
    )


def check_launcher(launcher: str) -> None:
    """Check that a launcher started this process and that it has a device.

    Raises:
        ValueError: One of the two is not so.
    """
    if launcher == 'none':
        return
    program, variable = LAUNCHERS[launcher]
    if variable not in os.environ:
        raise ValueError(
            f'--launcher {launcher}: {variable} is not in the environment, so '
            f'this process was not started by {program}; see --help'
        )
    if get_device() in ('cpu', 'mps'):
        raise ValueError(
            f'--launcher {launcher}: mmengine gives each process a GPU, and '
            'there is none here; use --launcher none'
        )


def _require(cfg: Config, *keys: str) -> None:
    """Check that a config has all that one kind of run needs."""
    absent = [key for key in keys if cfg.get(key) is None]
    if absent:
        raise ValueError(
            f'{cfg.filename} has no {", ".join(absent)}: expected a whole '
            'config, not one of its bases'
        )


def _one_line(error: Exception) -> str:
    """Give the type and text of an error without line breaks."""
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def turn_on_amp(cfg: Config) -> None:
    """Let the optimizer wrapper use automatic mixed precision.

    Raises:
        ValueError: There is no device for it, or the wrapper is of a kind
            that has no such counterpart.
    """
    kind = type_name(cfg.optim_wrapper) or 'OptimWrapper'
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(
            '--amp takes the place of an OptimWrapper; the config has '
            f'{kind}, so set its precision there'
        )
    if get_device() in ('cpu', 'mps'):
        raise ValueError(
            '--amp needs a CUDA, NPU, MLU or MUSA device, and there is none'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def turn_on_lr_scaling(cfg: Config) -> None:
    """Let the runner scale the learning rate to the batch size.

    Raises:
        ValueError: The config does not say which batch size its learning
            rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            '--auto-scale-lr needs the batch size that the learning rate is '
            f'meant for, and {cfg.filename} does not give it; add '
            'auto_scale_lr=dict(base_batch_size=...)'
        )
    cfg.auto_scale_lr.enable = True


def set_resume(cfg: Config, resume: str) -> str:
    """Set what to resume from.

    Args:
        cfg: Changed in place.
        resume: A checkpoint, or ``'auto'`` for the latest in the work dir. If
            there is none the run starts anew, from the config's own
            ``load_from``.

    Returns:
        A line that says what was set.
    """
    if resume == 'auto':
        resume = find_latest_checkpoint(cfg.work_dir)
        if resume is None:
            cfg.resume = False
            return f'--resume: no checkpoint in {cfg.work_dir}, starting anew'
    cfg.load_from, cfg.resume = existing_checkpoint(resume), True
    return f'--resume: going on from {cfg.load_from}'


def turn_on_drawing(
    cfg: Config, show: bool, show_dir: str | None, wait_time: float
) -> None:
    """Let the config's visualization hook draw every image.

    Args:
        cfg: Changed in place.
        show: Open a window for each image.
        show_dir: Folder for the pictures. MMDet's hook writes them there,
            MMSeg's visualizer to ``vis_data/vis_image`` in it.
        wait_time: Seconds that each window stays.

    Raises:
        ValueError: The config has no such hook or no visualizer.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    if type_name(hook) in ('', 'SegVisHook') or not cfg.get('visualizer'):
        raise ValueError(
            '--show and --show-dir need a visualizer and the hook that draws '
            f'with it, and {cfg.filename} lacks one; add visualizer=... and, '
            "to default_hooks, visualization=dict(type='SegVisualizationHook')"
            " or 'DetVisualizationHook'"
        )
    hook.draw = True
    hook.setdefault('interval', 1)
    if show:
        _check_display()
        hook.update(show=True, wait_time=wait_time)
    if not show_dir:
        return
    if show and scope_of(cfg) != 'mmdet':
        raise ValueError(
            '--show and --show-dir: MMSeg writes no pictures while it shows '
            'them; give one of the two'
        )
    # Absolute: MMDet nests a relative folder deeper with each batch.
    folder = os.path.abspath(show_dir)
    if scope_of(cfg) == 'mmdet':
        hook.test_out_dir = folder
    else:
        cfg.visualizer.save_dir = folder
        cfg.visualizer.setdefault(
            'vis_backends', [dict(type='LocalVisBackend')]
        )


def _check_display() -> None:
    """Check for a display, without which windows silently do not open."""
    if sys.platform == 'linux' and not (
        os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    ):
        raise ValueError(
            '--show needs a display, and neither DISPLAY nor WAYLAND_DISPLAY '
            'is set; use --show-dir'
        )


def turn_on_tta(cfg: Config) -> list[str]:
    """Wrap the model for test-time augmentation.

    A detector config without settings gets horizontal flips, as with MMDet.

    Args:
        cfg: Changed in place.

    Returns:
        Lines that say what the config did not set itself.

    Raises:
        ValueError: A segmentor config has no settings for it.
    """
    absent = [k for k in ('tta_model', 'tta_pipeline') if cfg.get(k) is None]
    if absent and scope_of(cfg) != 'mmdet':
        raise ValueError(
            f'--tta: {cfg.filename} has no {" and no ".join(absent)}; see '
            'mmseg::_base_/datasets/cityscapes.py and '
            'mmseg::_base_/default_runtime.py for examples'
        )
    leaves = data_sets(cfg.test_dataloader)
    if 'tta_model' in absent:
        nms = dict(type='nms', iou_threshold=0.5)
        cfg.tta_model = dict(
            type='DetTTAModel', tta_cfg=dict(nms=nms, max_per_img=100)
        )
    if 'tta_pipeline' in absent:
        cfg.tta_pipeline = _flip_pipeline(leaves[0].pipeline)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for leaf in leaves:
        leaf.pipeline = cfg.tta_pipeline
    defaults = {
        'tta_model': 'NMS at IoU 0.5 over all views',
        'tta_pipeline': 'horizontal flips',
    }
    return [
        f'--tta: the config has no {key}, default: {defaults[key]}'
        for key in absent
    ]


def _flip_pipeline(pipeline: Sequence[dict]) -> list[dict]:
    """Make a test pipeline of MMDet give each image plain and flipped."""
    *steps, pack = copy.deepcopy(list(pipeline))
    if 'meta_keys' in pack:
        pack['meta_keys'] = tuple(
            dict.fromkeys([*pack['meta_keys'], 'flip', 'flip_direction'])
        )
    flips = [dict(type='RandomFlip', prob=p) for p in (1.0, 0.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
