import shutil

import pytest
import torch

from helpers.command_lines import error_of
from test_tools.tiny_runs import run_tool, write_detection, write_segmentation


@pytest.fixture(scope='module')
def segmentation(tmp_path_factory):
    return write_segmentation(tmp_path_factory.mktemp('seg'))


def _load(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def test_resumed_training_ends_like_an_uninterrupted_one(
    segmentation, tmp_path
):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    run_tool('train', segmentation, '--work-dir', whole)
    parts.mkdir()
    shutil.copy(whole / 'iter_1.pth', parts)
    (parts / 'last_checkpoint').write_text(str(parts / 'iter_1.pth'))
    run_tool('train', segmentation, '--work-dir', parts, '--resume')
    named = tmp_path / 'named'
    run_tool(
        'train',
        segmentation,
        '--work-dir',
        named,
        '--resume',
        whole / 'iter_1.pth',
    )

    start, end = _load(whole / 'iter_1.pth'), _load(whole / 'iter_2.pth')
    moved = {
        key
        for key, value in end['state_dict'].items()
        if not torch.equal(value, start['state_dict'][key])
    }
    assert 'decode_head.conv_seg.weight' in moved
    assert 'backbone.stem.0.weight' in moved
    for folder in (parts, named):
        resumed = _load(folder / 'iter_2.pth')
        assert resumed['meta']['iter'] == 2
        for key, value in end['state_dict'].items():
            torch.testing.assert_close(resumed['state_dict'][key], value)
        # The first iteration was not run again.
        assert not (folder / 'last_checkpoint').samefile(
            whole / 'last_checkpoint'
        )
    assert not (named / 'iter_1.pth').exists()


def test_detector(tmp_path):
    config = write_detection(tmp_path / 'det')
    work_dir = tmp_path / 'work'
    run_tool('train', config, '--work-dir', work_dir)
    checkpoint = _load(work_dir / 'epoch_1.pth')
    # Three images in batches of two.
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (1, 2)
    assert checkpoint['meta']['dataset_meta']['classes'] == ('disc', 'square')
    losses = checkpoint['message_hub']['log_scalars']['train/loss_bbox']
    assert losses.data[0].shape == (2,)
    assert (losses.data[0] > 0).all()


def test_options_reach_the_run(segmentation, tmp_path):
    run_tool(
        'train',
        segmentation,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_iters=1',
        'auto_scale_lr.base_batch_size=8',
        '--auto-scale-lr',
    )
    assert not (tmp_path / 'iter_2.pth').exists()
    optimizer = _load(tmp_path / 'iter_1.pth')['optimizer']
    # Batches of 2, where the learning rate is meant for 8.
    assert optimizer['param_groups'][0]['lr'] == pytest.approx(0.01 * 2 / 8)


def _weights_alone(segmentation, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {}}, path)
    return ['--resume', path]


def _two_classes_of_one_color(segmentation, tmp_path):
    (tmp_path / 'class_dict.csv').write_text('name,r,g,b\nA,1,2,3\nB,1,2,3')
    dataset = 'train_dataloader.dataset'
    return [
        '--cfg-options',
        f'{dataset}.type=CamVid',
        f'{dataset}.data_root={tmp_path}',
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        pytest.param(
            _two_classes_of_one_color,
            'class_dict.csv, line 3: B (1, 2, 3) repeats A',
            id='wrong class list',
        ),
        pytest.param(
            lambda *_: ['--resume', 'gone.pth'],
            'there is no checkpoint file gone.pth',
            id='no checkpoint',
        ),
        pytest.param(
            _weights_alone,
            'has no meta and no message_hub, so no training can be resumed '
            'from it; to start from its weights use --cfg-options load_from=',
            id='nothing to resume from',
        ),
        pytest.param(
            lambda *_: ['--auto-scale-lr'],
            '--auto-scale-lr needs the batch size',
            id='no base batch size',
        ),
        pytest.param(
            lambda *_: [
                '--cfg-options',
                'train_dataloader.dataset.data_root=/gone',
            ],
            'the data of the config is not there',
            id='no data',
        ),
        pytest.param(
            lambda *_: ['--cfg-options', 'optim_wrapper=None'],
            'has no optim_wrapper',
            id='no optimizer',
        ),
    ],
)
def test_one_line_says_what_is_wrong(
    segmentation, tmp_path, capsys, arguments, message
):
    given = arguments(segmentation, tmp_path)
    argv = [segmentation, '--work-dir', tmp_path, *given]
    assert message in error_of(capsys, run_tool, 'train', *argv)


def test_help(capsys):
    with pytest.raises(SystemExit):
        run_tool('train', '--help')
    text = capsys.readouterr().out
    for option in ('--resume', '--amp', '--auto-scale-lr', '--launcher'):
        assert option in text
    # MIM would take it for a tool of OpenMMLab 1 and add an argument.
    assert '--gpus' not in text
