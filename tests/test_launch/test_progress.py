import io
import logging
import os
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

from helpers.terminals import Terminal
from mmseg_ext.launch.noise import Quiet
from mmseg_ext.launch.progress import (
    FiniteLossHook,
    ProgressHook,
    headlines,
    one_screen,
    span,
)


def test_what_is_printed_does_not_tear_the_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stdout', terminal)
    monkeypatch.setattr(sys, 'stderr', terminal)
    with one_screen() as found:
        assert found is terminal
        bar = tqdm(total=3, file=found, bar_format='{n_fmt} |{bar:4}|')
        for number in range(3):
            print(f'line {number}')
            print(f'fault {number}', file=sys.stderr)
            bar.update()
        bar.close()
    said = [f'{word} {n}' for n in range(3) for word in ('line', 'fault')]
    assert terminal.screen() == [*said, '3 |####|', '']
    assert sys.stdout is terminal


@pytest.mark.parametrize(
    ('columns', 'text'),
    [
        (200, r'eta \S+  loss 0[.]5  \S+ images/s  \S+ GiB.*  lr 1e-05'),
        (60, r'eta \S+  loss 0[.]5'),
    ],
)
def test_no_number_is_cut_at_the_edge(monkeypatch, columns, text):
    size = os.terminal_size((columns, 20))
    monkeypatch.setattr('os.get_terminal_size', lambda _: size)
    terminal = Terminal()
    terminal.fileno = lambda: 1
    hook = ProgressHook(Quiet(), terminal)
    runner = SimpleNamespace(hooks=[], train_loop=None)
    hook._begin(runner, 20000, 0)
    hook._count(dict(inputs=[1] * 7))
    # Wider than the room that the shorter one has left.
    hook._recent.append((1.0, 123456))
    hook._show(20000, '', 'loss 0.5', 'lr 1e-05')
    hook.close()
    [line] = [x for x in terminal.screen() if 'loss' in x]
    assert re.fullmatch(rf'20000/20000 \|[█#]{{10}}\| {text}', line)


def test_files_get_no_bar(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    with one_screen() as found:
        assert found is None
        print('line')
        assert sys.stdout.getvalue() == 'line\n'


@pytest.mark.parametrize(
    ('scores', 'first', 'line'),
    [
        (
            {'mAcc': 3.0, 'aAcc': 2.0, 'mIoU': 12.3456, 'IoU.sky': 4.0},
            [],
            'mIoU 12.35  aAcc 2  mAcc 3',
        ),
        (
            {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_75': 0.1, 'coco/x': 1.0},
            [],
            'coco/bbox_mAP 0.5',
        ),
        ({'a': 1.0, 'mIoU': 2.0}, ['a'], 'a 1  mIoU 2'),
        # Of metrics that nobody knows the first ones.
        (dict.fromkeys('abcdef', 1), [], 'a 1  b 1  c 1  d 1'),
        ({}, ['mIoU'], ''),
    ],
)
def test_headlines(scores, first, line):
    assert headlines(scores, first) == line


def test_span():
    assert span(3661.6) == '1:01:02'


def test_the_first_loss_that_is_not_finite(caplog):
    runner = SimpleNamespace(iter=0, logger=logging.getLogger('losses'))
    hook, nan = FiniteLossHook(), torch.tensor(float('nan'))
    # Scores of training may be undefined.
    fine = {'loss': torch.tensor(1.0), 'acc_seg': nan, 'loss_x': 0.5}
    for number, outputs in enumerate(
        [fine, None, {**fine, 'loss': nan, 'loss_x': float('inf')}, {}]
    ):
        runner.iter = number
        hook.after_train_iter(runner, number, outputs=outputs)
    hook.after_train_iter(runner, 4, outputs={'loss': nan})
    [line] = caplog.messages
    assert line.startswith('iteration 3: loss is nan, loss_x is inf; most ')
    assert line.endswith(': docs/when_it_fails.md#training')
