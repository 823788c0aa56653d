"""Real training, short: the numbers have to move the right way.

How a few dozen iterations end depends on the processor and on the release of
PyTorch: sums that round differently lead to different weights. So each model
learns a handful of images by heart, without augmentation and with the decaying
schedule of its config, and is then asked about these very images. What is
asked lies far below what any seed and any instruction set gave, and far above
what a model gives that does not learn.
"""

import json
from pathlib import Path

import pytest
from mmengine.runner import Runner

from helpers.configs import load_small
from helpers.real_data import CAMVID, NAILS
from mmseg_ext.converters import nails
from mmseg_ext.sample_data import write_camvid, write_nails

ROOT = Path(__file__).parents[1]
CONFIG = (
    ROOT / 'configs/bisenetv1/bisenetv1_r18-d32_1xb4-1k_camvid11-240x320.py'
)
NAIL_CONFIG = ROOT / 'configs/mask_rcnn/mask-rcnn_r18_fpn_1xb2-2k_nail-320.py'

#: Images to learn by heart.
FEW = 4
AUGMENTATIONS = {
    'FastPhotoMetricDistortion',
    'PhotoMetricDistortion',
    'RandomFlip',
}


def learn_by_heart(config, iterations, warmup):
    """Make a config train on the same images, as they are, for a while."""
    dataset = config.train_dataloader.dataset
    dataset.pipeline = [
        step for step in dataset.pipeline if step.type not in AUGMENTATIONS
    ]
    for step in dataset.pipeline:
        if 'ratio_range' in step:
            step.ratio_range = (1.0, 1.0)
    config.train_cfg.update(max_iters=iterations, val_interval=iterations)
    rise, fall = config.param_scheduler
    rise.end = fall.begin = warmup
    fall.end = iterations


def train(config):
    """Test, train and validate.

    Returns:
        Scores before, scores after, and each loss in all iterations.
    """
    runner = Runner.from_cfg(config)
    before = runner.test()
    runner.train()
    scalars = runner.message_hub.log_scalars
    after = {name: scalars[f'val/{name}'].current() for name in before}
    losses = {
        name.removeprefix('train/'): value.data[0]
        for name, value in scalars.items()
        if name.startswith('train/') and 'loss' in name
    }
    return before, after, losses


def remaining(losses):
    """Return the share of a loss that is left at the end."""
    return losses[-10:].mean() / losses[:3].mean()


def camvid_config(data_root, work_dir):
    size = (160, 120)
    config = load_small(CONFIG, data_root, work_dir, size)
    learn_by_heart(config, iterations=40, warmup=5)
    train_set = config.train_dataloader.dataset
    train_set.indices = FEW
    config.train_dataloader.batch_size = FEW
    # Images as small as in training; the labels stay as they are.
    pipeline = list(config.val_dataloader.dataset.pipeline)
    pipeline.insert(1, {'type': 'Resize', 'scale': size, 'keep_ratio': True})
    for name in ('val', 'test'):
        config[f'{name}_dataloader'].dataset.update(
            data_prefix=train_set.data_prefix, indices=FEW, pipeline=pipeline
        )
    config.experiment_name = 'test_training'
    return config


@pytest.fixture
def camvid(tmp_path):
    if (CAMVID / 'train').is_dir():
        return CAMVID
    write_camvid(tmp_path / 'data', num=2 * FEW, progress=False)
    return tmp_path / 'data'


def test_it_learns_camvid(camvid, tmp_path):
    config = camvid_config(camvid, tmp_path / 'run')

    before, after, losses = train(config)

    assert len(losses['loss']) == 40
    assert remaining(losses['loss']) < 0.55
    assert after['mIoU'] > before['mIoU'] + 15
    assert after['aAcc'] > 60


def nail_config(data_root, folder):
    nails.convert(data_root, folder)
    full = json.loads((folder / 'train.json').read_text())
    images = full['images'][:FEW]
    ids = {image['id'] for image in images}
    annotations = [a for a in full['annotations'] if a['image_id'] in ids]
    path = folder / 'few.json'
    path.write_text(
        json.dumps({**full, 'images': images, 'annotations': annotations})
    )
    config = load_small(NAIL_CONFIG, data_root, folder / 'run', (192, 192))
    learn_by_heart(config, iterations=100, warmup=10)
    for name in ('train', 'val', 'test'):
        config[f'{name}_dataloader'].dataset.ann_file = str(path)
    for name in ('val', 'test'):
        config[f'{name}_evaluator'].ann_file = str(path)
    config.default_hooks.visualization.draw = False
    config.experiment_name = 'test_training_nails'
    return config


# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
@pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)
def test_it_learns_nails(tmp_path):
    root = NAILS
    if not (NAILS / 'images').is_dir():
        root = tmp_path / 'raw'
        write_nails(root, num=2 * FEW, progress=False)
    config = nail_config(root, tmp_path / 'annotations')

    before, after, losses = train(config)

    for name, share in (('loss_rpn_cls', 0.4), ('loss_mask', 0.6)):
        assert len(losses[name]) == 100
        assert remaining(losses[name]) < share
    for name in ('bbox', 'segm'):
        key = f'coco/{name}_mAP_50'
        assert after[key] > before[key] + 0.4
