import itertools
import os
import re
from pathlib import Path
from typing import ClassVar

import mmdet.registry
import mmseg.registry
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.runner import runner as runner_module
from torch import nn
from torch.utils.data import Dataset

from mmseg_ext.checkpoint import check_checkpoint, find_checkpoint
from mmseg_ext.engine.hooks import LeanCheckpointHook

#: What CheckpointHook writes, and what it writes of a best checkpoint.
WHOLE = {'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'}
LEAN = {'meta', 'state_dict', 'message_hub'}

RUNS = itertools.count()


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(40, 40)
        self.norm = nn.BatchNorm1d(40)

    def forward(self, inputs, mode='tensor'):
        outputs = self.norm(self.linear(torch.stack(inputs)))
        if mode == 'loss':
            return {'loss': (outputs - 1).square().mean()}
        return [{'output': output} for output in outputs]


class Numbers(Dataset):
    metainfo: ClassVar = {'classes': ['a']}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return {'inputs': torch.randn(40, generator=generator)}


class Score(BaseMetric):
    """The validations get 2, 1, 3, 1, 4 and so on."""

    default_prefix = ''
    calls = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.calls += 1
        rising = self.calls // 2 + 2
        return {'score': rising if self.calls % 2 else 1}


def make_runner(work_dir, hook=LeanCheckpointHook, iterations=4, **options):
    """Return a runner that saves after each of its iterations."""
    hook = hook(by_epoch=False, interval=1, **options)
    loader = dict(batch_size=4, num_workers=0, dataset=Numbers())
    infinite = dict(type='InfiniteSampler', shuffle=True)
    torch.manual_seed(0)
    return Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(**loader, sampler=infinite),
        val_dataloader=dict(**loader, sampler=dict(type='DefaultSampler')),
        train_cfg=dict(by_epoch=False, max_iters=iterations, val_interval=1),
        val_cfg={},
        val_evaluator=Evaluator(Score()),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=dict(
            type='ExponentialLR', gamma=0.9, end=9, by_epoch=False
        ),
        default_hooks=dict(checkpoint=hook),
        randomness=dict(seed=0),
        log_level='WARNING',
        default_scope='mmengine',
        # mmengine keeps what belongs to a name, such as a message hub.
        experiment_name=f'lean_{next(RUNS)}',
    )


def read(folder):
    """Read all checkpoints of a folder."""
    return {
        path.name: torch.load(path, weights_only=True)
        for path in Path(folder).glob('*.pth')
    }


def assert_same(one, other, keys=('state_dict', 'optimizer')):
    """Compare what two checkpoints hold, bit for bit."""
    for key in keys:
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)


def test_both_scopes_know_it():
    for registry in (mmseg.registry.HOOKS, mmdet.registry.HOOKS):
        assert registry.get('LeanCheckpointHook') is LeanCheckpointHook


@pytest.fixture(scope='module', autouse=True)
def _no_programs():
    """Ask no compiler and no git for a version: dozens of runners would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module, 'collect_env', dict)
        patch.setattr(runner_module, 'get_git_hash', str)
        yield


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """What mmengine's hook writes."""
    folder = tmp_path_factory.mktemp('plain')
    options = {'max_keep_ckpts': 3, 'save_best': 'score', 'rule': 'greater'}
    make_runner(folder, CheckpointHook, **options).train()
    return read(folder)


def test_only_the_newest_is_whole(tmp_path, plain):
    options = {'max_keep_ckpts': 3, 'save_best': 'score', 'rule': 'greater'}
    make_runner(tmp_path, **options).train()
    files = read(tmp_path)
    best = 'best_score_iter_3.pth'
    lean = {'iter_2.pth', 'iter_3.pth', best}
    assert files.keys() == plain.keys() == {*lean, 'iter_4.pth'}
    for name, content in files.items():
        assert set(content) == (LEAN if name in lean else WHOLE)
        assert_same(content, plain[name], ['state_dict'])
        # By these, modules tell the versions of their names.
        assert content['state_dict']._metadata['norm'] == {'version': 2}
        assert content['meta']['iter'] == plain[name]['meta']['iter']
    assert_same(files['iter_4.pth'], plain['iter_4.pth'])
    sizes = {name: (tmp_path / name).stat().st_size for name in files}
    assert sizes['iter_4.pth'] > 2 * sizes['iter_3.pth']
    note = (tmp_path / 'last_checkpoint').read_text()
    assert note == str(tmp_path / 'iter_4.pth')
    assert not list(tmp_path.glob('.*'))


def test_resumed_bit_for_bit(tmp_path, plain):
    make_runner(tmp_path, iterations=2).train()
    assert set(read(tmp_path)['iter_1.pth']) == LEAN
    runner = make_runner(tmp_path)
    runner._load_from = find_checkpoint(tmp_path)[0]
    assert runner._load_from == str(tmp_path / 'iter_2.pth')
    runner._resume = True
    runner.train()
    files = read(tmp_path)
    assert_same(files['iter_4.pth'], plain['iter_4.pth'])
    # What the first run left whole was made smaller by the second.
    names = [name for name in files if set(files[name]) == WHOLE]
    assert names == ['iter_4.pth']


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize('keep', [1, 2])
def test_stopped_at_any_step(tmp_path, monkeypatch, plain, keep):
    """Before each change of a file; then it is resumed."""
    last = keep + 1
    left = 0
    replace, unlink = os.replace, Path.unlink

    def stop_or(change, *args, **options):
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return change(*args, **options)

    def train(folder, resume=None):
        runner = make_runner(folder, max_keep_ckpts=keep, iterations=last)
        runner._load_from, runner._resume = resume, resume is not None
        runner.train()
        return read(folder)

    expected = {
        f'iter_{n}.pth': WHOLE if n == last else LEAN
        for n in range(last + 1 - keep, last + 1)
    }
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            patch.setattr(os, 'replace', lambda *a: stop_or(replace, *a))
            patch.setattr(
                Path, 'unlink', lambda *a, **o: stop_or(unlink, *a, **o)
            )
            left = number
            try:
                files = train(folder)
            except Killed:
                files = {}
        if not files:
            assert not list(folder.glob('.*.pth'))
            found = find_checkpoint(folder)
            if number == 1:  # before the first file
                assert found is None
                continue
            check_checkpoint(Model(), found[0], True, ['param_schedulers'])
            files = train(folder, resume=found[0])
        newest, same = files[f'iter_{last}.pth'], plain[f'iter_{last}.pth']
        assert_same(newest, same, ['state_dict'])
        kinds = {name: set(content) for name, content in files.items()}
        # At most one that was not removed in time, but small.
        others = {name for name in kinds if name not in expected}
        assert all(kinds.pop(name) == LEAN for name in others)
        assert len(others) <= 1
        assert kinds == expected
        if left > 0:  # not stopped
            assert others == set()
            break
    # Twice two files for a checkpoint, at least, and one that was removed.
    assert number > 5


def test_a_file_that_cannot_be_read_stays(tmp_path, capsys):
    write = LeanCheckpointHook._write

    class Spoiling(LeanCheckpointHook):
        def _write(self, runner, path, meta):
            write(self, runner, path, meta)
            if path.endswith('iter_1.pth'):
                Path(path).write_bytes(b'half')

    runner = make_runner(tmp_path, Spoiling, iterations=3)
    runner.train()
    assert (tmp_path / 'iter_1.pth').read_bytes() == b'half'
    lean = torch.load(tmp_path / 'iter_2.pth', weights_only=True)
    assert set(lean) == LEAN
    (line,) = filter(
        re.compile('Lean').search, capsys.readouterr().out.split('\n')
    )
    assert 'iter_1.pth stays as large as it is: RuntimeError: ' in line


def test_epochs(tmp_path):
    hook = LeanCheckpointHook(by_epoch=True, interval=1)
    runner = Runner(
        model=Model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=4,
            dataset=Numbers(),
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        default_hooks=dict(checkpoint=hook),
        log_level='WARNING',
        experiment_name=f'lean_{next(RUNS)}',
    )
    runner.train()
    files = read(tmp_path)
    assert {name: 'optimizer' in c for name, c in files.items()} == {
        'epoch_1.pth': False,
        'epoch_2.pth': True,
    }
