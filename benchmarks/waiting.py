"""The demo's training step, with PyTorch's threads waiting in two ways.

By default a thread of OpenMP spins while it waits for the others, which is
quickest as long as nothing else runs. With what our tools set it soon sleeps:
``mmseg_ext_cli.PASSIVE``. That is read once in a process, so two of them take
steps in turn: both alone, then while a program keeps one core busy.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from common import CONFIGS
from mmseg_ext_cli import PASSIVE
from timing import Row, interleaved

CONFIG = CONFIGS / 'demo/bisenetv1_r18-d32_1xb4-250_sample-192x256.py'

#: What would decide for both.
SETTINGS = (*PASSIVE, 'OMP_NUM_THREADS', 'KMP_BLOCKTIME', 'KMP_LIBRARY')


def work() -> None:
    """Take a training step for each line of standard input."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    import mmseg_ext  # noqa: F401  registers its classes

    init_default_scope('mmseg')
    torch.manual_seed(0)
    config = Config.fromfile(CONFIG)
    model = MODELS.build(config.model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    size = config.crop_size
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.randint(11, (1, *size))))
        for _ in range(4)
    ]
    images = [torch.randint(256, (3, *size)).byte() for _ in samples]
    for _ in sys.stdin:
        data = model.data_preprocessor(
            {'inputs': images, 'data_samples': samples}, training=True
        )
        losses = model(**data, mode='loss')
        loss, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print('done', flush=True)


@contextmanager
def worker(**variables: str) -> Iterator[subprocess.Popen]:
    """Start a process that takes steps, with such variables and no others."""
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', __file__],
        env={**environment, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def step(process: subprocess.Popen) -> None:
    """Let a process take one step.

    Raises:
        RuntimeError: The process ended.
    """
    process.stdin.write('\n')
    process.stdin.flush()
    for line in process.stdout:
        if line == 'done\n':
            return
    raise RuntimeError('the process that trains ended')


def run() -> list[Row]:
    """Time both, alone and beside a program that keeps one core busy."""
    rows = []
    with worker() as spinning, worker(**PASSIVE) as passive:
        steps = {
            'spinning': lambda: step(spinning),
            'passive': lambda: step(passive),
        }
        for what in ('idle cores', 'one core busy'):
            other = None
            if what != 'idle cores':
                other = subprocess.Popen(
                    [sys.executable, '-c', 'while True: pass']
                )
            try:
                times = interleaved(steps, rounds=11, min_seconds=0)
            finally:
                if other:
                    other.kill()
                    other.wait()
            rows.append(
                Row(
                    f'training step, {what}, threads that sleep',
                    'that spin, the default',
                    times['passive'],
                    times['spinning'],
                )
            )
    return rows


if __name__ == '__main__':
    work()
