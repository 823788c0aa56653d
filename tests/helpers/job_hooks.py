"""Hooks that tests of distributed jobs put into configs, by custom_imports."""

import os
import signal
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm


@HOOKS.register_module()
class FrozenAtFirstHook(Hook):
    """Batch normalization does not look at the batch of the first step."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            for module in runner.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()


@HOOKS.register_module()
class FailingHook(Hook):
    """The second process fails once the checkpoint of an iteration is there.

    Args:
        iteration: Which one.
        killed: Whether it is killed, or raises an error.
    """

    def __init__(self, iteration, killed):
        self.iteration = iteration
        self.killed = killed

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != self.iteration or get_rank() != 1:
            return
        latest = Path(runner.work_dir, 'last_checkpoint')
        while f'iter_{self.iteration}.pth' not in _text(latest):
            time.sleep(0.05)
        Path(runner.work_dir, 'failed_at').write_text(repr(time.time()))
        if self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError('the second process fails')


def _text(path):
    return path.read_text() if path.exists() else ''
