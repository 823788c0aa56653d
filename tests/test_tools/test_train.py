import errno
import inspect
import io
import json
import logging
import os
import re
import shlex
import shutil
import socket
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from helpers.command_lines import error_of
from helpers.terminals import Terminal
from mmseg_ext.engine.hooks import SegVisHook
from mmseg_ext.launch import distributed, runs
from mmseg_ext.launch.errors import why_not_written
from mmseg_ext.launch.runs import _keep_files_of_others
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
    # A resumed run draws its first batch, too, and each draws one.
    for folder in (whole, parts, named):
        assert len(list(folder.glob('*/first_batch.png'))) == 1


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
    assert len(list(work_dir.glob('*/first_batch.png'))) == 1


def test_options_reach_the_run(segmentation, tmp_path):
    run_tool(
        'train',
        segmentation,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_iters=1',
        'auto_scale_lr.base_batch_size=8',
        'default_hooks.first_batch.type=FirstBatchHook',
        'default_hooks.first_batch.max_images=0',
        '--auto-scale-lr',
    )
    assert not list(tmp_path.glob('*/first_batch.png'))
    assert not (tmp_path / 'iter_2.pth').exists()
    optimizer = _load(tmp_path / 'iter_1.pth')['optimizer']
    # Batches of 2, where the learning rate is meant for 8.
    assert optimizer['param_groups'][0]['lr'] == pytest.approx(0.01 * 2 / 8)


@pytest.fixture(scope='module')
def trained(segmentation, tmp_path_factory):
    """A work dir with two checkpoints."""
    work_dir = tmp_path_factory.mktemp('trained') / 'work'
    run_tool('train', segmentation, '--work-dir', work_dir)
    return work_dir


def test_a_moved_work_dir_without_last_checkpoint(
    segmentation, trained, tmp_path, capsys
):
    """The newest whole checkpoint counts, and is not written over."""
    moved = tmp_path / 'moved'
    shutil.copytree(trained, moved)
    (moved / 'last_checkpoint').unlink()
    (moved / 'iter_3.pth').write_bytes(b'half')
    longer = ['--cfg-options', 'train_cfg.max_iters=4']
    run_tool('train', segmentation, '--work-dir', moved, '--resume', *longer)
    out = ' '.join(capsys.readouterr().out.split())
    assert (
        f'resuming from {moved / "iter_2.pth"}, the newest whole one, since '
        'there is no last_checkpoint; not whole: iter_3.pth'
    ) in out
    assert 'resumed epoch: 0, iter: 2' in out
    assert _load(moved / 'iter_4.pth')['meta']['iter'] == 4
    for name in ('iter_1.pth', 'iter_2.pth'):
        assert (moved / name).read_bytes() == (trained / name).read_bytes()


def test_a_resumed_run_removes_no_files_of_others(tmp_path):
    """mmengine removes the best checkpoint that a file names, anywhere."""
    (tmp_path / 'best_mIoU_iter_1.pth').touch()
    info = {
        'best_ckpt': '/copied/from/best_mIoU_iter_1.pth',
        'best_ckpt_aAcc': '/copied/from/best_aAcc_iter_1.pth',
        'best_ckpt_mAcc': str(tmp_path / 'notes.txt'),
        'best_score': 1.0,
    }
    runner = SimpleNamespace(
        work_dir=str(tmp_path), message_hub=SimpleNamespace(runtime_info=info)
    )
    _keep_files_of_others(runner)
    own = str(tmp_path / 'best_mIoU_iter_1.pth')
    assert info == {'best_ckpt': own, 'best_score': 1.0}
    # What mmengine's hook looks for.
    source = inspect.getsource(CheckpointHook.before_train)
    assert "'best_ckpt" in source


def test_resume_in_the_config_goes_the_same_way(
    segmentation, trained, tmp_path, capsys
):
    moved = tmp_path / 'moved'
    shutil.copytree(trained, moved)
    options = ['--cfg-options', 'resume=True', 'train_cfg.max_iters=3']
    run_tool('train', segmentation, '--work-dir', moved, *options)
    out = ' '.join(capsys.readouterr().out.split())
    assert f'resuming from {moved / "iter_2.pth"} ' in out
    assert 'resumed epoch: 0, iter: 2' in out


def test_training_from_a_backbone_says_so(segmentation, trained, tmp_path):
    weights = _load(trained / 'iter_2.pth')['state_dict']
    backbone = tmp_path / 'backbone.pth'
    torch.save(
        {k: v for k, v in weights.items() if k.startswith('backbone')},
        backbone,
    )
    work_dir = tmp_path / 'work'
    options = ['--cfg-options', f'load_from={backbone}']
    # Nothing moves, so that the weights show where they come from.
    options += ['optim_wrapper.optimizer.lr=0', 'train_cfg.max_iters=1']
    run_tool('train', segmentation, '--work-dir', work_dir, *options)
    [log] = work_dir.rglob('*.log')
    # Weight and bias of conv_seg, and twice a weight and four of a norm.
    assert f'starting from {backbone}: 12 of ' in log.read_text()
    assert (
        'parameters are not there, or have another shape, and stay as '
        'initialized: decode_head.conv_seg.weight, decode_head.conv_seg.bias,'
    ) in log.read_text()
    started = _load(work_dir / 'iter_1.pth')['state_dict']
    name = 'backbone.layer1.0.conv1.weight'
    assert torch.equal(started[name], weights[name])


def test_a_training_without_network(
    segmentation, trained, tmp_path, monkeypatch
):
    """The one option, and what it makes of weights at an address."""

    def connect(*args):
        raise OSError('there is no network')

    monkeypatch.setattr('socket.socket.connect', connect)
    options = [
        'load_from=https://127.0.0.1:9/whole.pth',
        'model.pretrained=open-mmlab://resnet18_v1c',
        'model.backbone.frozen_stages=2',
        'runner_type=OfflineRunner',
    ]
    argv = ['--work-dir', tmp_path, '--cfg-options', *options]
    run_tool('train', segmentation, *argv)
    [log] = tmp_path.rglob('*.log')
    assert (
        'OfflineRunner leaves out weights at an address, and trains what '
        'would start from them; changed in the config: '
        'load_from, model.pretrained, model.backbone.frozen_stages\n'
    ) in log.read_text()
    # As a training of the config without all these.
    found, expected = (
        _load(folder / 'iter_2.pth')['state_dict']
        for folder in (tmp_path, trained)
    )
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


@pytest.mark.parametrize('option', ['load_from', 'model.pretrained'])
def test_what_helps_without_network_is_told(
    segmentation, tmp_path, monkeypatch, capsys, option
):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    argv = ['--work-dir', tmp_path / 'work']
    argv += ['--cfg-options', f'{option}=http://127.0.0.1:9/x.pth']
    error = error_of(capsys, run_tool, 'train', segmentation, *argv)
    assert 'cannot be loaded' in error
    assert 'URLError' in error
    assert f'put the file into {tmp_path}/hub/checkpoints as x.pth' in error
    assert 'by --cfg-options runner_type=OfflineRunner' in error


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'RareClassSampler'])
def test_an_epoch_without_end(segmentation, tmp_path, capsys, sampler):
    config = tmp_path / 'epochs.py'
    config.write_text(
        f'_base_ = {str(segmentation)!r}\n'
        'train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=1)\n'
        f'train_dataloader = dict(sampler=dict(type={sampler!r}))\n'
    )
    error = error_of(capsys, run_tool, 'train', config)
    assert f'{sampler} draws without end, so no epoch of EpochB' in error


@pytest.fixture(scope='module')
def ended(segmentation, tmp_path_factory):
    """A config without test data, and a work dir where it was trained."""
    folder = tmp_path_factory.mktemp('ended')
    config = folder / 'scheduled.py'
    config.write_text(
        f'_base_ = {str(segmentation)!r}\n'
        'test_dataloader = test_cfg = test_evaluator = None\n'
        "param_scheduler = [dict(type='PolyLR', eta_min=1e-5, "
        'by_epoch=False, begin=0, end=2)]\n'
    )
    shown = io.StringIO()
    with redirect_stdout(shown):
        run_tool('train', config, '--work-dir', folder / 'work')
    return config, folder / 'work', shown.getvalue()


def _trained_on(ended, tmp_path, capsys, *options):
    """Resume from a copy of the work dir; return what is shown."""
    config, work_dir, _ = ended
    moved = tmp_path / 'moved'
    shutil.copytree(work_dir, moved)
    argv = [config, '--work-dir', moved, '--resume']
    run_tool('train', *argv, '--cfg-options', *options)
    return moved, capsys.readouterr().out


def test_a_schedule_that_has_ended_is_told(ended, tmp_path, capsys):
    """mmengine takes the schedules from the checkpoint, with their ends."""
    options = ['max_iters=4', 'optim_wrapper.optimizer.lr=0.5']
    work_dir, shown = _trained_on(ended, tmp_path, capsys, *options)
    start = work_dir / 'iter_2.pth'
    head, _, rest = shown.partition('\n3/4 ')
    told = ' '.join(head.split())
    assert (
        f'WARNING - the schedule of the learning rate in {start} ends at '
        'iteration 2, so it stays at 1e-05 to iteration 4; to train with a '
        'whole schedule, start anew from the weights: cfg_options load_from='
        f'{start} in place of resume'
    ) in told
    assert (
        'SGD, learning rate 1e-05 as in the checkpoint, constant, since '
        'PolyLR ended at iteration 2 '
    ) in told
    # Which is what it does.
    [scalars] = work_dir.glob(f'{_newest(work_dir)}/vis_data/scalars.json')
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    # Those of a run that began in the same second stand before.
    assert [row['lr'] for row in rows][-2:] == [1e-5, 1e-5]
    assert '\ndone       2 iterations (3 to 4) in ' in rest


def _newest(work_dir):
    return max(path.parent.name for path in work_dir.glob('*/*.log'))


def test_nothing_is_left_to_do(ended, tmp_path, capsys):
    work_dir, shown = _trained_on(ended, tmp_path, capsys, 'max_iters=2')
    # Nor are the images loaded that were trained.
    assert 'WARNING' not in shown
    assert re.search(r'^checkpoint .*iter_2[.]pth [(]last[)]$', shown, re.M)
    assert 'iter_2.pth: 2 of 2 iterations are done\n' in shown
    assert (
        '\ndone       nothing to do: 2 of 2 iterations were trained before; '
        'to train on, raise max_iters\n'
    ) in shown
    assert not (work_dir / 'iter_3.pth').exists()


def test_a_config_without_test_data(ended, capsys):
    config, work_dir, shown = ended
    next_steps = shown.partition('next: ')[2].splitlines()
    assert [line.split()[:2] for line in next_steps] == [['mmseg-ext', 'plot']]
    argv = [config, work_dir / 'iter_2.pth']
    assert error_of(capsys, run_tool, 'test', *argv) == (
        f'{config} has no test_dataloader, test_cfg, test_evaluator: add what '
        'is missing to the config'
    )


def _fault(number, path=None):
    """Return what stands in for a function of the disk, and fails."""

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number), path)

    return fail


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize('hook', ['CheckpointHook', 'LeanCheckpointHook'])
def test_a_full_disk(
    segmentation, tmp_path, monkeypatch, capsys, number, hook
):
    monkeypatch.setattr(LocalBackend, 'put', _fault(number))
    argv = [segmentation, '--work-dir', tmp_path]
    argv += ['--cfg-options', f'default_hooks.checkpoint.type={hook}']
    assert error_of(capsys, run_tool, 'train', *argv) == (
        f'{tmp_path / "iter_1.pth"} cannot be written: {os.strerror(number)}; '
        'make room, then the same command with --resume auto goes on'
    )


def test_a_log_on_a_full_disk(segmentation, tmp_path, monkeypatch, capsys):
    """The logger of Python would print a traceback for each line."""
    write = logging.FileHandler.emit

    def emit(self, record):
        if 'Iter(train)' in record.getMessage():
            self.stream = SimpleNamespace(write=_fault(errno.ENOSPC))
        write(self, record)

    monkeypatch.setattr(logging.FileHandler, 'emit', emit)
    argv = [segmentation, '--work-dir', tmp_path, '--cfg-options', 'a=1']
    error = error_of(capsys, run_tool, 'train', *argv)
    assert error.startswith(f'a file in {tmp_path} cannot be written: No sp')


def test_a_work_dir_that_is_no_longer_writable(tmp_path):
    def reason(number, path):
        error = OSError(number, os.strerror(number), path)
        return why_not_written(error, str(tmp_path))

    own = str(tmp_path / 'a.png')
    for number in (errno.EACCES, errno.EROFS, errno.ENOENT):
        assert reason(number, own) == (
            f'{own} cannot be written: {os.strerror(number)}; see that the '
            'folder can be written to'
        )
        # What a run reads is another matter.
        assert reason(number, '/data/a.png') is None
        assert reason(number, None) is None


def _weights_alone(segmentation, tmp_path, trained):
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {}}, path)
    return ['--resume', path]


def _changed(change):
    """Return a case: resuming from a checkpoint that was changed."""

    def arguments(segmentation, tmp_path, trained):
        checkpoint = _load(trained / 'iter_2.pth')
        change(checkpoint)
        torch.save(checkpoint, tmp_path / 'iter_2.pth')
        longer = ['--cfg-options', 'train_cfg.max_iters=3']
        return ['--resume', tmp_path / 'iter_2.pth', *longer]

    return arguments


def _damaged(segmentation, tmp_path, trained):
    for name in ('iter_1.pth', 'iter_2.pth'):
        shutil.copy(trained / name, tmp_path)
    last = tmp_path / 'iter_3.pth'
    last.write_bytes((trained / 'iter_2.pth').read_bytes()[:-1000])
    (tmp_path / 'last_checkpoint').write_text(str(last))
    return ['--resume']


def _two_classes_of_one_color(segmentation, tmp_path, trained):
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
            _damaged,
            'iter_2.pth, to go on from there give --resume ',
            id='damaged checkpoint',
        ),
        pytest.param(
            _changed(lambda c: c.pop('optimizer')),
            'has no optimizer, so no training can be resumed from it',
            id='no optimizer to resume',
        ),
        pytest.param(
            _changed(lambda c: c['state_dict'].pop('backbone.stem.0.weight')),
            'lacks 1 of the ',
            id='no such tensor to resume',
        ),
        pytest.param(
            _changed(lambda c: c['message_hub'].clear()),
            'it lacks what mmengine saves as message_hub.log_scalars',
            id='empty message hub',
        ),
        pytest.param(
            _changed(lambda c: c.update(meta=[])),
            'is no checkpoint: expected a dict as meta, found list',
            id='odd meta',
        ),
        pytest.param(
            _changed(lambda c: c['optimizer']['param_groups'].clear()),
            'does not fit the run: ValueError: loaded state dict has a differ',
            id='another optimizer',
        ),
        pytest.param(
            _changed(
                lambda c: c['optimizer']['param_groups'][0].pop('momentum')
            ),
            'does not fit the run: ValueError: the checkpoint has another '
            'optimizer than SGD, without momentum; ',
            id='an optimizer of another kind',
        ),
        pytest.param(
            lambda *_: ['--cfg-options', 'load_from=gone.pth'],
            'there is no checkpoint file gone.pth',
            id='no start',
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
        pytest.param(
            lambda config, *_: ['--cfg-options', f'load_from={config}'],
            'tiny_seg.py cannot be loaded',
            id='no checkpoint',
        ),
        pytest.param(
            lambda config, *_: ['--work-dir', config],
            'tiny_seg.py is a file: expected a folder',
            id='work dir is a file',
        ),
        pytest.param(
            lambda config, *_: ['--work-dir', config / 'a' / 'b'],
            'tiny_seg.py is not a folder, so no folder can be made below it',
            id='work dir below a file',
        ),
    ],
)
def test_one_line_says_what_is_wrong(
    segmentation, trained, tmp_path, capsys, arguments, message
):
    given = arguments(segmentation, tmp_path, trained)
    argv = [segmentation, '--work-dir', tmp_path, *given]
    assert message in error_of(capsys, run_tool, 'train', *argv)


#: What is changed in the config -> what is said of it.
MISTAKES = {
    'model.backbone.type=ResNetV1cc': 'model.backbone: there is no '
    "'ResNetV1cc' in the registry mmseg::model; close: ResNetV1c, ",
    'model.backbone.dept=18': 'model.backbone (ResNetV1c) cannot be built: '
    'TypeError: ResNet.__init__() got an unexpected keyword argument '
    "'dept'; close: depth",
    'model.backbone.depth=7': 'model.backbone (ResNetV1c) cannot be built: '
    'KeyError: invalid depth 7 for resnet',
    'model.backbone.init_cfg.type=Pretrained '
    'model.backbone.init_cfg.checkpoint=gone.pth': ''
    'there is no checkpoint file gone.pth',
    'model.decode_head.num_classes=2': 'model.decode_head.num_classes=2, '
    'but BaseSegDataset of train_dataloader has 3 classes (sky, wall, road)',
    'model.decode_head.num_classes=9': 'model.decode_head.num_classes=9, but',
    'train_dataloader.dataset.type=CamVidd': 'train_dataloader.dataset: '
    "there is no 'CamVidd' in the registry mmseg::dataset; close: CamVid",
    # The test set is of the same type.
    'train_dataloader.dataset.data_rot=x': 'train_dataloader.dataset '
    '(BaseSegDataset) cannot be built: TypeError: BaseSegDataset.__init__() '
    "got an unexpected keyword argument 'data_rot'; close: data_root",
    'train_dataloader.dataset.pipeline.0.type=LoadImage': ''
    "train_dataloader.dataset.pipeline.0: there is no 'LoadImage'",
    'train_dataloader.dataset.data_root=http://127.0.0.1:9/data': ''
    'mmengine reads single files from such an address, and no folders',
    'train_dataloader.dataset.data_root=s3://data': 'petrel_client',
    'train_dataloader.dataset.indices=0': 'train_dataloader.dataset is empty: '
    'expected images',
    'optim_wrapper.optimizer.type=SGDD': 'optim_wrapper.optimizer: there is '
    "no 'SGDD' in the registry mmseg::optimizer; close: SGD",
    'optim_wrapper.optimizer.lrr=1': 'optim_wrapper.optimizer (SGD) cannot '
    'be built: TypeError: SGD.__init__() got an unexpected keyword argument '
    "'lrr'; close: lr",
    'param_scheduler.type=PolyLRR': 'param_scheduler: there is no '
    "'PolyLRR' in the registry mmseg::parameter scheduler; close: PolyLR",
    'default_hooks.checkpoint.type=Hook7': 'default_hooks.checkpoint: there '
    "is no 'Hook7' in the registry mmseg::hook",
    'default_hooks.checkpoint.intervals=1': 'CheckpointHook has no argument '
    "'intervals'; close: interval",
    'train_cfg.max_iter=3': 'train_cfg (IterBasedTrainLoop) cannot be built: '
    'TypeError: IterBasedTrainLoop.__init__() got an unexpected keyword '
    "argument 'max_iter'; close: max_iters",
    'val_cfg.type=ValLoop': 'tiny_seg.py cannot be built: ValueError: '
    'val_dataloader, val_cfg, and val_evaluator should be either all None',
    'runner_type=Runer': "there is no 'Runer' in the registry "
    'mmengine::runner; close: Runner',
    'load_from=/gone/x.pth': 'there is no checkpoint file /gone/x.pth',
    'custom_imports.imports=mmseg_ext,gone model.decode_head.type=FCNHed '
    'custom_imports.allow_failed_imports=True': 'a class of your own needs '
    'custom_imports; there is no module gone, which',
}


@pytest.mark.parametrize(('options', 'message'), MISTAKES.items())
def test_one_line_says_what_is_wrong_in_the_config(
    segmentation, tmp_path, capsys, options, message
):
    argv = [segmentation, '--work-dir', tmp_path / 'work']
    argv += ['--cfg-options', *options.split()]
    assert message in error_of(capsys, run_tool, 'train', *argv)
    assert not list(tmp_path.rglob('*.pth'))


def test_more_classes_than_can_be_drawn():
    metainfo = dict(classes=['a'] * 256, palette=[[0, 0, 0]] * 256)
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=metainfo))
    loop = SimpleNamespace(dataloader=loader)
    draws, draws_none = (
        SimpleNamespace(hooks=[SegVisHook(vis_num=count)]) for count in (1, 0)
    )
    with pytest.raises(
        runs.LaunchError,
        match=r'need 1 to 255 .* 256; or leave out SegVisHook',
    ):
        runs._check_pictures(draws, loop)
    runs._check_pictures(draws_none, loop)
    runs._check_pictures(draws, None)


@pytest.mark.parametrize('mode', ['train', 'val'])
def test_how_to_go_without_validation(mode):
    with (
        pytest.raises(runs.LaunchError, match=f'{mode}_dataloader') as caught,
        runs._data_errors_named(Config(), mode),
    ):
        raise FileNotFoundError('folder val is missing')
    mend = 'val_dataloader=None val_cfg=None val_evaluator=None'
    assert (mend in str(caught.value)) == (mode == 'val')


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (255, 'every pixel is ignored (255) in all 4 label(s) that were read'),
        (
            3,
            'labels/seq0/0.png holds the value(s) 3: expected class indices 0',
        ),
    ],
)
def test_labels_to_learn_nothing_from(tmp_path, capsys, value, message):
    config = write_segmentation(tmp_path / 'data')
    for path in (tmp_path / 'data/labels').rglob('*.png'):
        cv2.imwrite(str(path), np.full((64, 64), value, np.uint8))
    argv = [config, '--work-dir', tmp_path / 'work']
    assert message in error_of(capsys, run_tool, 'train', *argv)
    assert not list(tmp_path.rglob('*.pth'))


def test_a_label_that_is_missing(tmp_path, capsys):
    config = write_segmentation(tmp_path / 'data')
    (tmp_path / 'data/labels/seq1/0.png').unlink()
    argv = [config, '--work-dir', tmp_path / 'work']
    message = error_of(capsys, run_tool, 'train', *argv)
    assert 'labels/seq1/0.png' in message


def test_the_checks_of_a_config_count(segmentation, tmp_path):
    """They are not added where the config has them, with its own options."""
    options = ['default_hooks.label_check.type=LabelCheckHook']
    options += ['default_hooks.label_check.skip_heads=[decode_head]']
    options += ['train_cfg.max_iters=1', 'model.decode_head.num_classes=9']
    argv = [segmentation, '--work-dir', tmp_path, '--cfg-options', *options]
    run_tool('train', *argv)
    head = 'decode_head.conv_seg.bias'
    assert len(_load(tmp_path / 'iter_1.pth')['state_dict'][head]) == 9


LOSS = 'model.decode_head.loss_decode'


def test_weights_of_classes_are_made(segmentation, tmp_path, capsys):
    """The hook that makes them is added."""
    options = [f'{LOSS}.type=BalancedCrossEntropy', 'train_cfg.max_iters=1']
    options += [f'{LOSS}.class_weight=median_frequency']
    argv = [segmentation, '--work-dir', tmp_path, '--cfg-options', *options]
    run_tool('train', *argv)
    weights = (
        'class weights of model.decode_head.loss_decode by median_frequency, '
        'from the pixels of 4 image(s): sky 0.85, wall 1, road 1.781\n'
    )
    assert weights in capsys.readouterr().out


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        (
            '[1,2]',
            'model.decode_head.loss_decode: class_weight has 2 numbers, and '
            'the head tells 3 classes apart',
        ),
        ('[1,2,-1]', 'class_weight must be numbers of 0 or above'),
        (
            'nothing.json',
            "class_weight='nothing.json' cannot be read: No such file",
        ),
        ('median', "class_weight='median': expected a rule"),
    ],
)
def test_wrong_weights_of_classes(
    segmentation, tmp_path, capsys, weights, message
):
    options = [f'{LOSS}.type=BalancedCrossEntropy']
    options += [f'{LOSS}.class_weight={weights}']
    argv = [segmentation, '--work-dir', tmp_path, '--cfg-options', *options]
    assert message in error_of(capsys, run_tool, 'train', *argv)
    assert not list(tmp_path.rglob('*.pth'))


def test_a_detector_for_other_classes(tmp_path, capsys):
    """MMDet has a hook of its own; its sentence becomes the line."""
    config = write_detection(tmp_path / 'det')
    options = ['default_hooks.class_check.type=NumClassCheckHook']
    options += ['model.bbox_head.num_classes=5']
    argv = [config, '--work-dir', tmp_path, '--cfg-options', *options]
    assert error_of(capsys, run_tool, 'train', *argv).startswith(
        'The `num_classes` (5) in RetinaHead of RetinaNet does not matches '
        'the length of `classes` 2) in CocoDataset'
    )
    assert not list(tmp_path.rglob('*.pth'))


def test_a_detector_for_classes_of_other_names(tmp_path, capsys):
    """MMDet passes over classes that the file lacks, without a word."""
    config = write_detection(tmp_path / 'det')
    dataset = 'train_dataloader.dataset'
    argv = [config, '--work-dir', tmp_path / 'work', '--cfg-options']
    argv += [f'{dataset}.filter_cfg.filter_empty_gt=True']
    fault = (
        f'{tmp_path / "det/boxes.json"} has no category {{}}, of the classes '
        "of the config ({}), but 'disc', 'square': give metainfo=dict("
    )
    names = "'Disc', 'Square'"
    option = f'{dataset}.metainfo.classes=Disc,Square'
    error = error_of(capsys, run_tool, 'train', *argv, option)
    assert error.startswith(
        f'{dataset} is empty: expected images; {fault.format(names, names)}'
    )
    option = f'{dataset}.metainfo.classes=disc,Square'
    error = error_of(capsys, run_tool, 'train', *argv, option)
    line = fault.format("'Square'", "'disc', 'Square'")
    assert error.startswith(f'{dataset}: {line}')


def test_a_detector_for_classes_in_another_order(tmp_path, capsys):
    """MMDet numbers them as the file does."""
    config = write_detection(tmp_path / 'det')
    dataset = 'train_dataloader.dataset'
    argv = [config, '--work-dir', tmp_path / 'work', '--cfg-options']
    run_tool('train', *argv, f'{dataset}.metainfo.classes=square,disc')
    told = ' '.join(capsys.readouterr().out.split())
    assert (
        f'WARNING - {dataset}: {tmp_path / "det/boxes.json"} has the' in told
    )


def test_images_of_a_detector_that_are_elsewhere(tmp_path, capsys):
    config = write_detection(tmp_path / 'det')
    argv = [config, '--work-dir', tmp_path / 'work', '--cfg-options']
    option = 'train_dataloader.dataset.data_prefix.img=images/none'
    error = error_of(capsys, run_tool, 'train', *argv, option)
    assert 'train_dataloader.dataset: there is no image ' in error
    assert 'images/none' in error


def test_new_keys_are_told_and_used(segmentation, tmp_path, capsys):
    run_tool(
        'train',
        segmentation,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_iters=1',
        'train_cf.max_iters=7',
    )
    line = (
        'WARNING - the config has no train_cf.max_iters, which is added to '
        'it; the nearest key that it has is train_cfg.max_iters'
    )
    assert line in capsys.readouterr().out
    [log] = tmp_path.rglob('*.log')
    assert line in log.read_text()
    [dumped] = tmp_path.glob('*.py')
    assert Config.fromfile(dumped).train_cf == dict(max_iters=7)


@pytest.fixture(scope='module')
def validated(segmentation, tmp_path_factory):
    """A training with validation: what it shows, and its work dir."""
    folder = tmp_path_factory.mktemp('validated')
    config = folder / 'validated.py'
    config.write_text(
        f'_base_ = {str(segmentation)!r}\n'
        'val_dataloader = _base_.test_dataloader\n'
        'val_evaluator = _base_.test_evaluator\n'
        "val_cfg = dict(type='ValLoop')\n"
        "default_hooks = dict(checkpoint=dict(save_best='seg/mIoU'))\n"
        'train_dataloader = dict(batch_size=3)\n'
    )
    # A checkpoint after each iteration, of which the last is kept.
    options = ['train_cfg.max_iters=4', 'train_cfg.val_interval=2']
    options += ['default_hooks.checkpoint.max_keep_ckpts=1']
    argv = [config, '--work-dir', folder / 'work', '--tensorboard']
    shown = io.StringIO()
    with redirect_stdout(shown):
        run_tool('train', *argv, '--cfg-options', *options)
    return shown.getvalue(), folder / 'work'


def test_a_score_that_there_is_not(segmentation, tmp_path, capsys):
    config = tmp_path / 'validated.py'
    config.write_text(
        f'_base_ = {str(segmentation)!r}\n'
        'val_dataloader = _base_.test_dataloader\n'
        'val_evaluator = _base_.test_evaluator\n'
        "val_cfg = dict(type='ValLoop')\n"
        "default_hooks = dict(checkpoint=dict(save_best='mIoU'))\n"
    )
    argv = [config, '--work-dir', tmp_path, '--cfg-options', 'max_iters=1']
    error = error_of(capsys, run_tool, 'train', *argv)
    assert re.fullmatch(
        "default_hooks.checkpoint.save_best='mIoU' is none of the scores of "
        'the validation: (seg/[^ ]+, )*seg/mIoU(, seg/[^ ]+)*',
        error,
    )


def test_a_port_that_is_taken(segmentation, tmp_path, monkeypatch, capsys):
    # Wherever there are GPUs, too: there mmengine lets processes meet.
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in (
            *(('MASTER_ADDR', '127.0.0.1'), ('MASTER_PORT', port)),
            *(('RANK', '0'), ('WORLD_SIZE', '1'), ('LOCAL_RANK', '0')),
        ):
            monkeypatch.setenv(name, value)
        argv = ['--work-dir', tmp_path, '--launcher', 'pytorch']
        error = error_of(capsys, run_tool, 'train', segmentation, *argv)
    assert error.startswith(f'processes cannot meet at 127.0.0.1, port {port}')
    assert 'take another, from 1024 to 65535' in error


def _row(shown, name):
    """Return what stands at a name at the beginning of a line."""
    [text] = re.findall(rf'^{name:11}(.*)$', shown, re.MULTILINE)
    return text


def test_a_summary_comes_before_the_first_step(segmentation, validated):
    shown, work = validated
    root = segmentation.parent
    head, _, _ = shown.partition('\n1/4 ')
    assert len(head.splitlines()) <= 30
    assert _row(head, 'config').endswith('validated.py')
    assert _row(head, 'overridden').startswith('train_cfg.max_iters=4, ')
    for name in ('train', 'val'):
        kind, count, place = _row(head, name).split(', ')
        assert (kind, count) == ('BaseSegDataset', '4 images')
        assert Path(place).samefile(root / 'images')
    assert _row(head, 'classes') == '3: sky, wall, road'
    state = _load(work / 'iter_4.pth')['state_dict']
    count = sum(
        value.numel()
        for key, value in state.items()
        if not key.endswith(('_mean', '_var', '_tracked'))
    )
    assert _row(head, 'model') == (
        f'EncoderDecoder, ResNetV1c; {count / 1e6:.2f} M parameters, all '
        'trained'
    )
    assert _row(head, 'weights') == 'random'
    assert _row(head, 'heads') == 'decode_head: FCNHead, num_classes=3'
    assert _row(head, 'schedule') == (
        '4 iterations, batches of 3; validation every 2 iterations'
    )
    assert 'SGD, learning rate 0.01, constant' in head
    assert re.fullmatch(r'(CPU|cuda).*, float32', _row(head, 'device'))
    assert _row(head, 'writes').endswith(
        'whole config, checkpoint every iteration, keeping the last 1, '
        'the best by seg/mIoU'
    )


def test_progress_and_validations_are_lines(validated):
    shown, work = validated
    [scalars] = work.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    trained = [row for row in rows if 'loss' in row]
    # Of the four there are, as the window of the means is longer.
    lines = re.findall(
        r'^(\d)/4  eta (.+?)  loss (.+?)  (.+?) images/s  .*lr (.+)$',
        shown,
        re.MULTILINE,
    )
    assert [line[0] for line in lines] == ['1', '2', '3', '4']
    assert lines[-1][1] == '0:00:00'
    for row, (_, _, loss, speed, rate) in zip(trained, lines, strict=True):
        assert float(loss) == pytest.approx(row['loss'], rel=1e-3)
        assert float(rate) == row['lr']
        assert float(speed) > 0
    scores = [row['seg/mIoU'] for row in rows if 'seg/mIoU' in row]
    best = max(scores)
    told = re.findall(
        r'^iter (\d)  validation  seg/mIoU (\S+) .*\(best seg/mIoU (\S+) at ',
        shown,
        re.MULTILINE,
    )
    assert [number for number, _, _ in told] == ['2', '4']
    assert [float(value) for _, value, _ in told] == pytest.approx(
        scores, rel=1e-3
    )
    assert float(told[-1][2]) == pytest.approx(best, rel=1e-3)
    # One table of the classes, after all.
    assert shown.count('Class') == 1
    assert shown.index('Class') > shown.rindex('validation')


def test_the_end_names_what_is_there(validated):
    shown, work = validated
    end = shown[shown.index('\ndone ') :]
    # Those before are not kept, and the best is another file.
    [best] = work.glob('best_*.pth')
    named = re.findall(r'\S+[.](?:pth|json|log)\b', end.partition('next:')[0])
    assert {Path(path).resolve() for path in named} == {
        *(best, work / 'iter_4.pth'),
        *work.glob('*/*.log'),
        *work.glob('*/vis_data/scalars.json'),
    }
    test, infer, plot, board = (
        shlex.split(line) for line in end.partition('next: ')[2].splitlines()
    )
    config, checkpoint = map(Path, test[-2:])
    assert checkpoint.resolve() == best
    assert Config.fromfile(config).train_cfg.max_iters == 4
    assert f'MMSegInferencer("{config}", "{checkpoint}")' in infer[-1]
    assert Path(plot[-1]).resolve() == work
    assert list(Path(board[-1]).glob('events.out.tfevents.*'))


def test_tensorboard_has_the_local_scalars(validated):
    _, work = validated
    [scalars] = work.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    events = EventAccumulator(str(scalars.parent))
    events.Reload()
    losses = [row['loss'] for row in rows if 'loss' in row]
    assert len(losses) == 4
    assert [e.value for e in events.Scalars('loss')] == pytest.approx(losses)


UPSTREAM = ('Config:\n', 'Hooks will be executed', 'System environment:')


def test_the_log_file_has_what_the_console_leaves_out(validated):
    shown, work = validated
    [log] = work.glob('*/*.log')
    written = log.read_text()
    for text in (*UPSTREAM, 'Iter(train) [4/4]', 'Iter(val) [4/4]'):
        assert text in written
        assert text not in shown


def test_verbose_shows_all(segmentation, tmp_path, capsys):
    argv = [segmentation, '--work-dir', tmp_path, '--verbose']
    run_tool('train', *argv, '--cfg-options', 'train_cfg.max_iters=1')
    shown = capsys.readouterr().out
    for text in (*UPSTREAM, 'Iter(train) [1/1]'):
        assert text in shown
    assert 'images/s' not in shown


def test_the_class_of_the_runner_stays(segmentation, tmp_path, capsys):
    """Console and config know nothing of the subclass that filters."""
    argv = [segmentation, '--work-dir', tmp_path, '--cfg-options']
    argv += ['train_cfg.max_iters=1', 'runner_type=OfflineRunner']
    run_tool('train', *argv)
    assert 'Config:' not in capsys.readouterr().out
    dumped = Config.fromfile(tmp_path / 'tiny_seg.py')
    assert dumped.runner_type == 'OfflineRunner'


def test_a_bar_on_a_terminal(segmentation, tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr('sys.stdout', terminal)
    argv = [segmentation, '--work-dir', tmp_path]
    run_tool('train', *argv, '--cfg-options', 'train_cf=1')
    lines = terminal.screen()
    [warning] = [line for line in lines if 'train_cf' in line[30:]]
    assert warning.endswith('the nearest key that it has is train_cfg')
    [bar] = [line for line in lines if '2/2 |' in line]
    assert re.match(
        r'2/2 \|[█#]+\| eta 0:00:00  loss .* images/s .*lr 0.01', bar
    )
    # Nor is there a line for each iteration beside it.
    assert not [line for line in lines if line.startswith('1/2  eta')]


def test_help(capsys):
    with pytest.raises(SystemExit):
        run_tool('train', '--help')
    text = capsys.readouterr().out
    for option in ('--resume', '--amp', '--auto-scale-lr', '--launcher'):
        assert option in text
    # MIM would take it for a tool of OpenMMLab 1 and add an argument.
    assert '--gpus' not in text
