"""Real training, short: the numbers have to move the right way."""

import os
from pathlib import Path

import pytest
from mmengine.runner import Runner

from helpers.configs import load_small
from mmseg_ext.sample_data.camvid import write_camvid

ROOT = Path(__file__).parents[1]
CONFIG = (
    ROOT / 'configs/bisenetv1/bisenetv1_r18-d32_1xb4-1k_camvid11-240x320.py'
)

#: A copy of CamVid; without it, sample scenes in the same format are used.
CAMVID = Path(
    os.environ.get('CAMVID_ROOT', ROOT.parent / 'shared/data/camvid')
)


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
