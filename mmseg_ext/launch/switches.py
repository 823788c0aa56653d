"""What options of training and test change in a config."""

import copy
import importlib.util
import os
import sys
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from mmseg_ext.checkpoint import existing_checkpoint, find_checkpoint
from mmseg_ext.launch.configs import (
    check_output,
    data_sets,
    scope_of,
)
from mmseg_ext.launch.errors import type_name

__all__ = [
    'set_precision',
    'set_resume',
    'turn_on_drawing',
    'turn_on_lr_scaling',
    'turn_on_tensorboard',
    'turn_on_tta',
]

#: The optimizer wrapper of mixed precision, and what others do not take.
_AMP = 'AmpOptimWrapper'
_AMP_ARGUMENTS = ('loss_scale', 'dtype', 'use_fsdp')


def set_precision(cfg: Config, amp: bool) -> None:
    """Set whether the optimizer wrapper uses automatic mixed precision.

    Args:
        cfg: Changed in place.
        amp: Turn it on; otherwise it is as the config says.

    Raises:
        ValueError: There is no device for it, or the wrapper is of a kind
            that has no such counterpart.
    """
    wrapper = cfg.optim_wrapper
    kind = type_name(wrapper) or 'OptimWrapper'
    if amp and kind not in ('OptimWrapper', _AMP):
        raise ValueError(
            'amp=True takes the place of an OptimWrapper; the config has '
            f'{kind}, so set its precision there'
        )
    if (amp or kind == _AMP) and get_device() in ('cpu', 'mps'):
        given, mend = (
            ('amp=True', '')
            if amp
            else (
                f'optim_wrapper.type={_AMP} of {cfg.filename}',
                '; to train in full precision, give cfg_options '
                'optim_wrapper.type=OptimWrapper',
            )
        )
        raise ValueError(
            f'{given} needs a CUDA, NPU, MLU or MUSA device, and there is '
            f'none{mend}'
        )
    if amp:
        wrapper.type = _AMP
        wrapper.setdefault('loss_scale', 'dynamic')
    elif kind == 'OptimWrapper':
        # What stays of the config's own if one option took its place.
        for name in _AMP_ARGUMENTS:
            wrapper.pop(name, None)


def turn_on_lr_scaling(cfg: Config) -> None:
    """Make the runner scale the learning rate to the batch size.

    Raises:
        ValueError: The config does not say which batch size its learning
            rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            'auto_scale_lr=True needs the batch size that the learning rate '
            f'is meant for, and {cfg.filename} does not give it; add '
            'auto_scale_lr=dict(base_batch_size=...)'
        )
    cfg.auto_scale_lr.enable = True


def set_resume(cfg: Config, resume: str) -> str:
    """Set what to resume from.

    Args:
        cfg: Changed in place.
        resume: A checkpoint, or ``'auto'`` for the latest in the work dir; see
            :func:`~mmseg_ext.checkpoint.find_checkpoint`. If there is none
            the run starts anew, from the config's own ``load_from``.

    Returns:
        A line that says what was set.

    Raises:
        FileNotFoundError: The checkpoint is not there.
        ValueError: None of those in the work dir can be loaded.
    """
    if resume != 'auto':
        found = existing_checkpoint(resume)
        line = f'resuming from {found}'
    elif latest := find_checkpoint(cfg.work_dir):
        found, line = latest
    else:
        cfg.resume = False
        return f'starting anew: {cfg.work_dir} has no checkpoint'
    cfg.load_from, cfg.resume = found, True
    return line


def turn_on_drawing(
    cfg: Config, show: bool, show_dir: str | None, wait_time: float
) -> None:
    """Make the config's visualization hook draw every image.

    Args:
        cfg: Changed in place.
        show: Open a window for each image.
        show_dir: Folder for the pictures. MMDet's hook writes them there,
            MMSeg's visualizer to ``vis_data/vis_image`` in it.
        wait_time: Seconds that each window stays.

    Raises:
        ValueError: The config has no such hook or no visualizer, or the
            folder cannot be made.
    """
    hooks = cfg.get('default_hooks') or ConfigDict()
    hook = hooks.get('visualization') or ConfigDict()
    if type_name(hook) in ('', 'SegVisHook') or not cfg.get('visualizer'):
        raise ValueError(
            'show=True and show_dir need a visualizer and the hook that '
            f'draws with it, and {cfg.filename} lacks one; add visualizer=... '
            'and, to default_hooks, '
            "visualization=dict(type='SegVisualizationHook') or "
            "'DetVisualizationHook'"
        )
    hook.draw = True
    hook.setdefault('interval', 1)
    if show:
        _check_display()
        hook.update(show=True, wait_time=wait_time)
    if not show_dir:
        return
    check_output('show_dir', show_dir)
    if show and scope_of(cfg) != 'mmdet':
        raise ValueError(
            'show=True and show_dir: MMSeg writes no pictures while it shows '
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
    """Check that there is a display: without one windows do not open."""
    if sys.platform == 'linux' and not (
        os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    ):
        raise ValueError(
            'show=True needs a display, and neither DISPLAY nor '
            'WAYLAND_DISPLAY is set; use show_dir'
        )


def turn_on_tensorboard(cfg: Config) -> None:
    """Make the visualizer write for TensorBoard, too.

    The local files of scalars, which curves are drawn from, stay.

    Args:
        cfg: Changed in place.

    Raises:
        ValueError: The package tensorboard is absent.
    """
    if importlib.util.find_spec('tensorboard') is None:
        raise ValueError(
            'tensorboard=True needs the package tensorboard, which is not '
            'installed; try: pip install tensorboard'
        )
    if not cfg.get('visualizer'):
        cfg.visualizer = dict(type='Visualizer')
    backends = list(cfg.visualizer.get('vis_backends') or [])
    there = [type_name(backend) for backend in backends]
    for kind in ('LocalVisBackend', 'TensorboardVisBackend'):
        if kind not in there:
            backends.append(ConfigDict(type=kind))
    cfg.visualizer.vis_backends = backends


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
            f'tta=True: {cfg.filename} has no {" and no ".join(absent)}; see '
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
        f'test-time augmentation: the config has no {key}, default: '
        + defaults[key]
        for key in absent
    ]


def _flip_pipeline(pipeline: Sequence[ConfigDict]) -> list[dict]:
    """Return a test pipeline of MMDet that yields each image in two views."""
    *steps, pack = copy.deepcopy(list(pipeline))
    if 'meta_keys' in pack:
        pack['meta_keys'] = tuple(
            dict.fromkeys([*pack['meta_keys'], 'flip', 'flip_direction'])
        )
    flips = [dict(type='RandomFlip', prob=p) for p in (1.0, 0.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
