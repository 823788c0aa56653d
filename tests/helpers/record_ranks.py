"""One process of a distributed evaluation that is recorded, to be spawned."""

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from helpers.segmentation import CLASSES, make_samples
from mmseg_ext.evaluation.metrics.evaluation_record import EvaluationRecord
from mmseg_ext.evaluation.metrics.iou import IoU

WORLD_SIZE = 2
SIZES = range(1, 6)


def record_rank(rank, folder):
    """Record data sets of all sizes, and keep what ``IoU`` counts of each."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=WORLD_SIZE,
    )
    for size in SIZES:
        samples = make_samples(size)
        metrics = IoU(), EvaluationRecord(folder / f'run_{size}')
        for metric in metrics:
            metric.dataset_meta = {'classes': CLASSES}
            for index in DefaultSampler(samples, shuffle=False):
                metric.process({}, [samples[index]])
            metric.evaluate(size)
        np.save(folder / f'iou_{size}_{rank}.npy', metrics[0].confusion)
    torch.distributed.destroy_process_group()
