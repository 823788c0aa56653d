"""Configs cut down to what a CPU does in seconds."""

import torch
from mmengine.config import Config


def load_small(path, data_root, work_dir, size=(128, 96)):
    """Load a config with small images and nothing to download.

    Args:
        path: A config on CamVid.
        data_root: Where its data is.
        work_dir: Where its results go.
        size: Width and height that images are resized to for training; crops
            are as large.
    """
    config = Config.fromfile(path)
    crop_size = size[::-1]
    config.work_dir = str(work_dir)
    config.load_from = None
    config.model.pop('pretrained', None)
    config.model.pop('backbone_init', None)
    config.model.get('backbone', {}).pop('pretrained', None)
    if 'size' in config.model.data_preprocessor:
        config.model.data_preprocessor.size = crop_size
    for step in config.train_dataloader.dataset.pipeline:
        if 'scale' in step:
            step.scale = size
        if 'crop_size' in step:
            step.crop_size = crop_size
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        loader.dataset.data_root = str(data_root)
        loader.num_workers = 0
        loader.persistent_workers = False
    config.train_dataloader.batch_size = 2
    config.default_hooks.logger.interval = 1
    if not torch.cuda.is_available():
        config.optim_wrapper.type = 'OptimWrapper'
    return config
