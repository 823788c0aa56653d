"""Counting of a confusion matrix, on the CPU, for each type that models give.

Against MMSeg's ``IoUMetric``, the usual ``torch.bincount`` and, where they are
installed, torchmetrics and hotcoco. Labels are int64, as MMSeg packs them, or
uint8; predictions are int64, as upstream's models give them, or uint8, as lean
inference does.
"""

import importlib
import os
from collections.abc import Callable
from functools import partial
from types import ModuleType

import cv2
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from tqdm import tqdm

from mmseg_ext.evaluation.metrics.iou import IoU
from timing import Row, interleaved

CASES = (((900, 1600), 25), ((360, 480), 11))

#: Types of labels and predictions.
TYPES = (
    (torch.int64, torch.int64),
    (torch.int64, torch.uint8),
    (torch.uint8, torch.uint8),
)

#: Other counters, and what to install for them. They are no dependency.
OTHERS = {
    'hotcoco.metrics': "'hotcoco==1.3.*'",
    'torchmetrics.classification': 'torchmetrics lightning-utilities',
}


def make_sample(
    shape: tuple[int, int],
    num_classes: int,
    types: tuple[torch.dtype, torch.dtype],
) -> dict:
    """Make a label of blocks, and a prediction that is off by some pixels."""
    height, width = shape
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, num_classes, (height // 24 + 1, width // 24 + 1))
    label = cv2.resize(
        blocks.astype(np.uint8),
        (width, height),
        interpolation=cv2.INTER_NEAREST,
    )
    prediction = np.roll(label, 5, axis=1)
    label[: height // 20] = 255
    label_type, prediction_type = types
    return {
        'img_path': 'made up',
        'pred_sem_seg': {
            'data': torch.from_numpy(prediction)[None].to(prediction_type)
        },
        'gt_sem_seg': {'data': torch.from_numpy(label)[None].to(label_type)},
    }


def bincount(sample: dict, num_classes: int) -> torch.Tensor:
    """Count as most metrics do."""
    prediction, label = _maps(sample)
    kept = label != 255
    keys = label[kept].long() * num_classes + prediction[kept]
    counts = torch.bincount(keys, minlength=num_classes**2)
    return counts.view(num_classes, num_classes)


def counters(
    sample: dict, num_classes: int
) -> dict[str, Callable[[], object]]:
    """Return what counts one image, by name; each gives (C, C)."""
    calls: dict[str, Callable[[], object]] = {
        '`torch.bincount`': lambda: bincount(sample, num_classes)
    }
    prediction, label = _maps(sample)
    modules = {name: _module(name) for name in OTHERS}
    if torchmetrics := modules['torchmetrics.classification']:
        metric = torchmetrics.MulticlassConfusionMatrix(
            num_classes, ignore_index=255, validate_args=False
        )

        def update() -> torch.Tensor:
            metric.reset()
            metric.update(prediction, label)
            return metric.confmat

        calls['torchmetrics, `validate_args=False`'] = update
    if hotcoco := modules['hotcoco.metrics']:
        arrays = (label.numpy(), prediction.numpy())
        calls['hotcoco'] = lambda: hotcoco.pixel_confusion(
            *arrays, num_classes, ignore_index=255
        )
    return calls


def _maps(sample: dict) -> list[torch.Tensor]:
    """Return prediction and label, (H, W)."""
    return [
        sample[key]['data'].squeeze() for key in ('pred_sem_seg', 'gt_sem_seg')
    ]


def _module(name: str) -> ModuleType | None:
    """Import a module; None where it is not installed."""
    os.environ.setdefault('RAYON_NUM_THREADS', '1')  # hotcoco's threads.
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _check_equal(
    metrics: dict[str, BaseMetric], calls: dict[str, Callable[[], object]]
) -> None:
    """Check that all count the same, or say the same."""
    MMLogger.get_current_instance().setLevel('ERROR')
    ours, theirs = (metric.evaluate(1) for metric in metrics.values())
    if {name: round(value, 2) for name, value in ours.items()} != theirs:
        raise RuntimeError(f'{ours} is not {theirs}')
    for name, call in calls.items():
        if not np.array_equal(np.asarray(call()), metrics['ours'].confusion):
            raise RuntimeError(f'{name} counts {call()}')


def run() -> list[Row]:
    """Time one image of each size and type."""
    for name, packages in OTHERS.items():
        if _module(name) is None:
            tqdm.write(
                f'iou: no rows of {name.partition(".")[0]}, which is not '
                f'installed: pip install --no-deps {packages}'
            )
    return [
        row for case in CASES for types in TYPES for row in _run(*case, types)
    ]


def _run(
    shape: tuple[int, int],
    num_classes: int,
    types: tuple[torch.dtype, torch.dtype],
) -> list[Row]:
    """Time one image."""
    sample = make_sample(shape, num_classes, types)
    metrics = {'ours': IoU(), "MMSeg's `IoUMetric`": IoUMetric()}
    for metric in metrics.values():
        metric.dataset_meta = {'classes': list(map(str, range(num_classes)))}
        metric.process({}, [sample])
    calls = counters(sample, num_classes)
    _check_equal(metrics, calls)

    def process(metric: BaseMetric) -> None:
        metric.process({}, [sample])
        metric.results.clear()

    times = interleaved(
        {
            **{
                name: partial(process, metric)
                for name, metric in metrics.items()
            },
            **calls,
        }
    )
    label, prediction = (str(kind).removeprefix('torch.') for kind in types)
    what = (
        f'IoU, {shape[1]}x{shape[0]}, {num_classes} classes, {label} label, '
        f'{prediction} prediction'
    )
    ours = times.pop('ours')
    return [Row(what, name, ours, seconds) for name, seconds in times.items()]
