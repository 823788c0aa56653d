"""Real training, short: the numbers have to move the right way."""

import os
from pathlib import Path

import pytest
from mmengine.runner import Runner

from helpers.configs import load_small
from mmseg_ext.converters import nails
from mmseg_ext.sample_data import write_camvid, write_nails

ROOT = Path(__file__).parents[1]
CONFIG = (
    ROOT / 'configs/bisenetv1/bisenetv1_r18-d32_1xb4-1k_camvid11-240x320.py'
)
NAIL_CONFIG = ROOT / 'configs/mask_rcnn/mask-rcnn_r18_fpn_1xb2-2k_nail-320.py'

#: Copies of CamVid and of nails; without them, samples in the same formats are
#: used.
CAMVID = Path(
    os.environ.get('CAMVID_ROOT', ROOT.parent / 'shared/data/camvid')
)
NAILS = Path(os.environ.get('NAILS_ROOT', ROOT.parent / 'shared/data/nails'))


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    if (CAMVID / 'train').is_dir():
        return CAMVID
    root = tmp_path_factory.mktemp('camvid')
    write_camvid(root, num=40, size=(480, 360), progress=False)
    return root


def test_it_learns_camvid(data_root, tmp_path):
    config = load_small(CONFIG, data_root, tmp_path, size=(160, 120))
    config.train_dataloader.batch_size = 4
    config.train_cfg.update(max_iters=40, val_interval=40)
    config.param_scheduler = []
    config.val_dataloader.dataset.indices = 6
    config.test_dataloader.dataset.indices = 6
    config.experiment_name = 'test_training'
    runner = Runner.from_cfg(config)
    untrained = runner.test()

    runner.train()

    losses = runner.message_hub.log_scalars['train/loss'].data[0]
    trained = runner.message_hub.log_scalars
    assert len(losses) == 40
    assert losses[-8:].mean() < 0.6 * losses[:3].mean()
    assert trained['val/mIoU'].current() > untrained['mIoU'] + 8
    assert trained['val/aAcc'].current() > 50


# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
@pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)
def test_it_learns_nails(tmp_path):
    root = NAILS
    if not (NAILS / 'images').is_dir():
        root = tmp_path / 'raw'
        write_nails(root, num=24, progress=False)
    nails.convert(root, tmp_path / 'annotations')
    config = load_small(NAIL_CONFIG, root, tmp_path / 'run', size=(192, 192))
    for name in ('train', 'val', 'test'):
        dataset = config[f'{name}_dataloader'].dataset
        dataset.ann_file = str(tmp_path / dataset.ann_file)
    for name in ('val', 'test'):
        config[f'{name}_evaluator'].ann_file = dataset.ann_file
    config.train_cfg.update(max_iters=120, val_interval=120)
    config.default_hooks.visualization.draw = False
    config.experiment_name = 'test_training_nails'
    runner = Runner.from_cfg(config)

    runner.train()

    scalars = runner.message_hub.log_scalars
    for name, share in (('loss_rpn_cls', 0.4), ('loss_mask', 0.7)):
        losses = scalars[f'train/{name}'].data[0]
        assert len(losses) == 120
        assert losses[-20:].mean() < share * losses[:6].mean()
    assert 0 <= scalars['val/coco/segm_mAP_50'].current() <= 1
