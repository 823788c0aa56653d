"""Predictions and labels made up for tests of metrics."""

import numpy as np
import torch

CLASSES = ('road', 'car', 'tree', 'sky', 'void')


def make_samples(num, seed=0, shape=(13, 17), classes=4):
    """Make sample dicts whose predictions are right for half of the pixels."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(num):
        label = rng.integers(0, classes, shape)
        prediction = np.where(
            rng.random(shape) < 0.5, label, rng.integers(0, classes, shape)
        )
        label[rng.random(shape) < 0.1] = 255
        samples.append(
            {
                'img_path': f'image_{index}.png',
                'pred_sem_seg': {'data': torch.from_numpy(prediction)[None]},
                'gt_sem_seg': {'data': torch.from_numpy(label)[None]},
            }
        )
    return samples
