import math
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from helpers.configs import load_small
from mmseg_ext.sample_data.camvid import write_camvid

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('camvid')
    write_camvid(root, num=4, size=(128, 96), progress=False)
    return root


@pytest.mark.usefixtures('torchvision')
@pytest.mark.parametrize('name', NAMES)
def test_one_iteration_and_validation(name, data_root, tmp_path):
    config = load_small(CONFIGS / name, data_root, tmp_path)
    config.train_dataloader.dataset.indices = 2
    if config.train_cfg.type == 'EpochBasedTrainLoop':
        config.train_cfg.max_epochs = 1
    else:
        config.train_cfg.update(max_iters=1, val_interval=1)
    config.experiment_name = name
    runner = Runner.from_cfg(config)
    runner.model.init_weights()
    before = {
        key: value.clone() for key, value in runner.model.named_parameters()
    }

    runner.train()

    scalars = runner.message_hub.log_scalars
    assert runner.iter == 1
    # Untrained, the main head's cross entropy is near that of a guess.
    guess = math.log(config.num_classes)
    assert 0.5 * guess < scalars['train/decode.loss_ce'].current() < 3 * guess
    assert 0 <= scalars['val/mIoU'].current() <= 100
    # Biases inside of residual blocks wait for their last norm, which starts
    # at zero, to move first.
    still = [
        key
        for key, value in runner.model.named_parameters()
        if torch.equal(value, before[key]) and not key.endswith('.bias')
    ]
    assert not still
    assert list(tmp_path.glob('*/seg_vis/*/*/panel.png'))
