"""Detectors of MMDet, loaded from a config and a checkpoint."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from mmengine.config import Config

from mmseg_ext.checkpoint import (
    check_checkpoint,
    read_checkpoint,
    weights_only,
)
from mmseg_ext.inference.devices import check_device
from mmseg_ext.launch.configs import load_config, scope_of
from mmseg_ext.launch.errors import MISFITS, why_not_built

# MMDet may be absent.
if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmdet.structures import DetDataSample

__all__ = ['detect', 'load_detector']


def load_detector(
    config: str, checkpoint: str, device: str | None = None
) -> 'DetInferencer':
    """Load a detector with MMDet's inferencer.

    Args:
        config: Path of an MMDet config, or the name of one of this package.
        checkpoint: Path of a checkpoint; loaded with ``weights_only``.
        device: Such as ``'cuda:0'``; by default a GPU if there is one.

    Returns:
        The inferencer. ``model.dataset_meta['classes']`` has the names of the
        classes as in the checkpoint, or else as in the config.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: There is no such config, it is not one of MMDet, it
            cannot be built, the checkpoint is refused or does not fit, or
            the device is not there.
    """
    cfg = load_config(config)
    absent = [k for k in ('model', 'test_dataloader') if not cfg.get(k)]
    if scope_of(cfg) != 'mmdet' or absent:
        raise ValueError(
            f'{config} is not the config of a detector: expected one with '
            'default_scope mmdet, a model and a test_dataloader'
        )
    check_device(device)
    content = read_checkpoint(checkpoint)
    # After load_config, which says if MMDet is not installed.
    from mmdet.apis import DetInferencer

    # Not used here, but the inferencer wants one, and the config's own may
    # want a folder to write to.
    cfg.visualizer = dict(type='DetLocalVisualizer')
    # Done, and by it the inferencer would tell what is an error below.
    cfg.pop('custom_imports', None)
    with weights_only(), warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'dataset_meta or class names are')
        try:
            detector = DetInferencer(
                cfg, checkpoint, device=device, show_progress=False
            )
        except MISFITS as error:
            reason = why_not_built(cfg, error)
            if reason is None:
                raise
            raise ValueError(reason) from error
    check_checkpoint(detector.model, checkpoint)
    if 'dataset_meta' not in content.get('meta', {}):
        detector.model.dataset_meta['classes'] = _classes(cfg)
    return detector


def _classes(cfg: Config) -> Sequence[str]:
    """Return the names of the classes of a config's test set."""
    from mmdet.registry import DATASETS

    dataset = {**cfg.test_dataloader.dataset, 'lazy_init': True}
    return DATASETS.build(dataset).metainfo['classes']


def detect(
    detector: 'DetInferencer', images: Sequence[np.ndarray]
) -> list['DetDataSample']:
    """Detect instances in a batch of images.

    Args:
        detector: MMDet's inferencer.
        images: uint8 BGR (H, W, 3) of any sizes.

    Returns:
        A sample for each image, with its instances at the size of the image.
    """
    if not images:
        return []
    results = detector(
        list(images), batch_size=len(images), return_datasamples=True
    )
    return results['predictions']
