import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_ext import IoU, RunPicturesHook
from mmseg_ext.visualization.curves import PlotReport

CLASSES = ('road', 'car', '干净', 'absent')
SHAPE = (9, 11)
IMAGES = 5


def _map(seed):
    return np.random.default_rng(seed).integers(0, 3, SHAPE)


@pytest.fixture(autouse=True)
def _scope():
    """Keep the scope of these runners from the next tests."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


class Labels(torch.utils.data.Dataset):
    """Random labels; some pixels do not count."""

    metainfo = {'classes': CLASSES}

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        label = _map(index)
        label[0] = 255
        sample = SegDataSample(metainfo={'img_path': f'{index}.png'})
        data = torch.from_numpy(label)[None]
        sample.gt_sem_seg = PixelData(data=data)
        return {'inputs': torch.tensor(float(index)), 'data_samples': sample}


class Model(BaseModel):
    """Predicts other random maps, other ones with each validation."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.predicted = []

    def forward(self, inputs, data_samples, mode):
        if mode == 'loss':
            return {'loss': self.weight**2}
        for sample in data_samples:
            prediction = _map(100 + len(self.predicted))
            self.predicted.append(prediction)
            data = torch.from_numpy(prediction)[None]
            sample.pred_sem_seg = PixelData(data=data)
        return data_samples


class Other(BaseMetric):
    """A metric without a matrix."""

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return {'other': 1.0}


def _naive(predictions):
    """Count pixel by pixel, (C, C) lists."""
    counts = [[0] * len(CLASSES) for _ in CLASSES]
    for index, prediction in enumerate(predictions):
        label = _map(index)
        for y in range(1, SHAPE[0]):
            for x in range(SHAPE[1]):
                counts[label[y, x]][prediction[y, x]] += 1
    return counts


def _runner(work_dir, hook=None, **settings):
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=Labels(),
        collate_fn=pseudo_collate,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    steps = dict(
        train_dataloader=loader,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        val_dataloader=loader,
        val_evaluator=[Other(), IoU(prefix='seg')],
        val_cfg=dict(type='ValLoop'),
        test_dataloader=loader,
        test_evaluator=[IoU()],
        test_cfg=dict(type='TestLoop'),
    )
    runner = Runner(
        Model(),
        str(work_dir),
        **steps | settings,
        default_hooks=dict(
            checkpoint=None,
            logger=dict(
                type='LoggerHook', interval=1, log_metric_by_epoch=False
            ),
        ),
        custom_hooks=[hook or RunPicturesHook()],
        log_processor=dict(by_epoch=False),
        visualizer=dict(
            type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
        ),
        experiment_name=f'pictures_{work_dir.name}',
        log_level='WARNING',
    )
    return runner


def _kept(runner):
    return json.loads(
        Path(runner.log_dir, 'vis_data/confusion.json').read_text()
    )


PICTURES = [
    'curves.png',
    *('class_iou.png', 'class_iou.md', 'class_iou.csv'),
    *('confusion.png', 'confusion.md', 'confusion.csv'),
]


def test_training_then_test(tmp_path, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    runner = _runner(tmp_path)
    runner.train()
    predicted = runner.model.predicted
    assert _kept(runner) == {
        'source': 'validation at iteration 2',
        'classes': list(CLASSES),
        'matrix': _naive(predicted[-IMAGES:]),
    }
    assert len(predicted) == 2 * IMAGES
    plots = tmp_path / 'plots'
    [hook] = [h for h in runner.hooks if isinstance(h, RunPicturesHook)]
    assert hook.report == PlotReport([plots / name for name in PICTURES], [])
    assert sorted(plots.iterdir()) == sorted(hook.report.files)
    for path in plots.glob('*.png'):
        assert cv2.imread(str(path)).std() > 5

    runner.test()
    kept = _kept(runner)
    assert kept['source'] == f'test of {runner.timestamp}'
    assert kept['matrix'] == _naive(predicted[-IMAGES:])
    assert len(predicted) == 3 * IMAGES
    worst = (plots / 'confusion.md').read_text()
    assert f'Worst confusions, test of {runner.timestamp}:' in worst


def test_a_validation_alone_needs_no_training_set(tmp_path):
    nothing = dict.fromkeys(('train_dataloader', 'train_cfg', 'optim_wrapper'))
    runner = _runner(tmp_path, **nothing)
    runner.val()
    kept = _kept(runner)
    assert kept['source'] == f'validation of {runner.timestamp}'
    assert kept['matrix'] == _naive(runner.model.predicted)
    assert not (tmp_path / 'plots').exists()


def test_an_epoch_is_named(tmp_path):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=1)
    runner = _runner(tmp_path, RunPicturesHook(draw=False), train_cfg=loop)
    runner.train()
    assert _kept(runner)['source'] == 'validation at epoch 1'
    assert not (tmp_path / 'plots').exists()


@pytest.fixture
def warned(monkeypatch):
    """Collect warnings and what is below them."""
    lines = []
    monkeypatch.setattr(
        logging.Logger,
        'handle',
        lambda self, record: lines.append(
            (record.levelname, record.getMessage())
        ),
    )
    return lines


def test_a_failure_is_a_warning(tmp_path, monkeypatch, warned):
    def fail(*_):
        raise RuntimeError('no paint')

    place = 'mmseg_ext.engine.hooks.run_pictures_hook'
    monkeypatch.setattr(f'{place}.plot_work_dir', fail)
    monkeypatch.setattr(f'{place}.write_confusion', fail)
    runner = _runner(tmp_path)
    assert runner.test()['mIoU'] > 0
    texts = [text for level, text in warned if level == 'WARNING']
    assert [text for text in texts if 'no paint' in text] == [
        f'the confusion matrix of the test of {runner.timestamp} is not '
        'kept: RuntimeError: no paint',
        'no curves or bars of this run: RuntimeError: no paint; '
        'RunPicturesHook(draw=False) leaves them out',
    ]


def test_nothing_to_draw_is_no_warning(tmp_path, warned):
    runner = _runner(tmp_path, test_evaluator=[Other()])
    runner.logger.setLevel('INFO')
    runner.test()
    assert not (tmp_path / 'plots').exists()
    [(level, text)] = [line for line in warned if 'curves' in line[1]]
    assert level == 'INFO'
    assert 'nothing to draw' in text


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    place = 'mmseg_ext.engine.hooks.run_pictures_hook.is_main_process'
    monkeypatch.setattr(place, lambda: False)
    runner = _runner(tmp_path)
    runner.train()
    assert not Path(runner.log_dir, 'vis_data/confusion.json').exists()
    assert not (tmp_path / 'plots').exists()


def test_found_from_both_scopes():
    for scope in ('mmseg', 'mmdet'):
        with HOOKS.switch_scope_and_registry(scope) as registry:
            hook = registry.build(dict(type='RunPicturesHook'))
        assert type(hook) is RunPicturesHook
    with pytest.raises(ValueError, match='draw'):
        RunPicturesHook(draw=1)
