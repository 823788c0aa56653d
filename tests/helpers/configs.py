"""Configs cut down to what a CPU does in seconds."""

import copy
import os
from functools import cache

import torch
from mmengine.config import Config

from mmseg_ext.launch.configs import data_sets


def read_config(path):
    """Read a config that stays as it is; each takes a second only once."""
    return copy.deepcopy(_read(os.fspath(path)))


@cache
def _read(path):
    return Config.fromfile(path)


def load_small(path, data_root, work_dir, size=(128, 96)):
    """Load a config and make it small; see :func:`make_small`."""
    config = read_config(path)
    make_small(config, data_root, work_dir, size)
    return config


def make_small(config, data_root, work_dir, size=(128, 96)):
    """Make a config small, with nothing to download.

    Args:
        config: A config of MMSeg or MMDet; it is changed.
        data_root: Where its data is.
        work_dir: Where its results go.
        size: Width and height that images are resized to where they are
            resized; crops are as large.
    """
    crop_size = size[::-1]
    config.work_dir = str(work_dir)
    config.load_from = None
    _forget_weights(config.model)
    if 'size' in config.model.data_preprocessor:
        config.model.data_preprocessor.size = crop_size
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        for dataset in data_sets(loader):
            dataset.data_root = str(data_root)
            for step in dataset.pipeline:
                if 'scale' in step:
                    step.scale = size
                if 'scales' in step:
                    step.scales = [size]
                if 'crop_size' in step:
                    step.crop_size = crop_size
        loader.num_workers = 0
        loader.persistent_workers = False
    for name in ('val', 'test'):
        evaluator = config[f'{name}_evaluator']
        if 'ann_file' in evaluator:
            (dataset,) = data_sets(config[f'{name}_dataloader'])
            evaluator.ann_file = os.path.join(data_root, dataset.ann_file)
    config.train_dataloader.batch_size = 2
    config.default_hooks.logger.interval = 1
    if not torch.cuda.is_available():
        config.optim_wrapper.type = 'OptimWrapper'


def _forget_weights(model):
    """Take out what would be downloaded; detectors have it in ``init_cfg``."""
    for part in (model, model.get('backbone', {})):
        for key in ('pretrained', 'backbone_init', 'init_cfg'):
            part.pop(key, None)
