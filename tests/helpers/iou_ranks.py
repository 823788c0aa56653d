"""One process of a distributed evaluation; importable, to be spawned."""

import json

import torch
from mmengine.dataset import DefaultSampler

from helpers.segmentation import CLASSES, make_samples
from mmseg_ext.evaluation.metrics.iou import IoU

WORLD_SIZES = (2, 3)
SIZES = range(1, 9)


def evaluate_rank(rank, folder):
    """Evaluate data sets of all sizes as one of 2, then as one of 3 ranks."""
    torch.set_num_threads(1)
    results = []
    for world_size in WORLD_SIZES:
        if rank >= world_size:
            continue
        torch.distributed.init_process_group(
            'gloo',
            init_method=f'file://{folder}/store_{world_size}',
            rank=rank,
            world_size=world_size,
        )
        for size in SIZES:
            for shuffle in (False, True):
                samples = make_samples(size)
                metric = IoU()
                metric.dataset_meta = {'classes': CLASSES}
                for index in DefaultSampler(samples, shuffle, seed=3):
                    metric.process({}, [samples[index]])
                results.append((size, shuffle, metric.evaluate(size)))
        torch.distributed.destroy_process_group()
    (folder / f'{rank}.json').write_text(json.dumps(results))
