"""Counting of a confusion matrix, on the CPU, from int64 as models give.

Against MMSeg's ``IoUMetric`` and against the usual ``torch.bincount``.
"""

import cv2
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric

from mmseg_ext.evaluation.metrics.iou import IoU
from timing import Row, interleaved

CASES = (((900, 1600), 25), ((360, 480), 11))


def make_sample(shape: tuple[int, int], num_classes: int) -> dict:
    """Make a label of blocks, and a prediction that is off by some pixels."""
    height, width = shape
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, num_classes, (height // 24 + 1, width // 24 + 1))
    label = cv2.resize(
        blocks.astype(np.uint8),
        (width, height),
        interpolation=cv2.INTER_NEAREST,
    ).astype(np.int64)
    prediction = np.roll(label, 5, axis=1)
    label[: height // 20] = 255
    return {
        'img_path': 'made up',
        'pred_sem_seg': {'data': torch.from_numpy(prediction)[None]},
        'gt_sem_seg': {'data': torch.from_numpy(label)[None]},
    }


def bincount(sample: dict, num_classes: int) -> torch.Tensor:
    """Count as most metrics do."""
    prediction = sample['pred_sem_seg']['data'].squeeze()
    label = sample['gt_sem_seg']['data'].squeeze()
    kept = label != 255
    keys = label[kept] * num_classes + prediction[kept]
    return torch.bincount(keys, minlength=num_classes**2)


def _check_equal(metrics: dict[str, BaseMetric]) -> None:
    """Check that both metrics say the same."""
    MMLogger.get_current_instance().setLevel('ERROR')
    ours, theirs = (metrics[name].evaluate(1) for name in ('ours', 'mmseg'))
    if {name: round(value, 2) for name, value in ours.items()} != theirs:
        raise RuntimeError(f'{ours} is not {theirs}')


def run() -> list[Row]:
    """Time one image of each size."""
    return [row for case in CASES for row in _run_case(*case)]


def _run_case(shape: tuple[int, int], num_classes: int) -> list[Row]:
    """Time one image of one size."""
    sample = make_sample(shape, num_classes)
    metrics = {'mmseg': IoUMetric(), 'ours': IoU()}
    for metric in metrics.values():
        metric.dataset_meta = {'classes': list(map(str, range(num_classes)))}
        metric.process({}, [sample])
    _check_equal(metrics)

    def process(name: str) -> None:
        metrics[name].process({}, [sample])
        metrics[name].results.clear()

    times = interleaved(
        {
            'ours': lambda: process('ours'),
            'mmseg': lambda: process('mmseg'),
            'bincount': lambda: bincount(sample, num_classes),
        }
    )
    what = f'IoU, {shape[1]}x{shape[0]}, {num_classes} classes'
    return [
        Row(what, "MMSeg's IoUMetric", times['ours'], times['mmseg']),
        Row(what, 'torch.bincount', times['ours'], times['bincount']),
    ]
