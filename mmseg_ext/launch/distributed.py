"""Several processes that train or test together, also without a GPU."""

import atexit
import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from torch import nn
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    'LAUNCHERS',
    'DistributedOnCPU',
    'SameBuffersHook',
    'join_processes',
    'set_launcher',
]


class _Launcher(NamedTuple):
    """A program that starts processes, and the variables that it sets."""

    program: str
    rank: str
    world_size: str
    local_rank: str


#: What may have started the processes of a job.
LAUNCHERS = {
    'pytorch': _Launcher('torchrun', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': _Launcher(
        'srun', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'
    ),
    'mpi': _Launcher(
        'mpirun',
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}

#: Where processes meet if nothing says otherwise, as for mmengine.
_DEFAULT_PORT = '29500'


def set_launcher(cfg: Config, launcher: str) -> None:
    """Set what started the processes of a distributed job.

    Without a GPU the model's wrapper is set, too: mmengine's own one wants a
    GPU for each process.

    Args:
        cfg: Changed in place.
        launcher: One of :data:`LAUNCHERS`, or ``'none'``.

    Raises:
        ValueError: There is no such launcher, it did not start this process,
            it does not say where the processes meet, or the only device is
            one that knows no distributed training.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    if launcher not in LAUNCHERS:
        raise ValueError(
            f"launcher={launcher!r}: expected 'none' or one of "
            + ', '.join(LAUNCHERS)
        )
    _set_environment(launcher, cfg)
    if get_device() == 'mps':
        raise ValueError(
            f'launcher={launcher!r}: MPS devices know no distributed '
            "training; use launcher='none'"
        )
    if _on_cpu():
        cfg.model_wrapper_cfg = _wrapper(cfg)


def _on_cpu() -> bool:
    """Return whether processes have no device to train on but the CPU."""
    return get_device() == 'cpu'


def _set_environment(launcher: str, cfg: Config) -> None:
    """Hand what the launcher says on to PyTorch, under PyTorch's names."""
    names = LAUNCHERS[launcher]
    for name in names[1:]:
        if name not in os.environ:
            raise ValueError(
                f'launcher={launcher!r}: {name} is not in the environment, so '
                f'this process was not started by {names.program}'
            )
    for ours, theirs in zip(LAUNCHERS['pytorch'][1:], names[1:], strict=True):
        os.environ[ours] = os.environ[theirs]
    if launcher == 'slurm':
        port = _dist_cfg(cfg).get('port')
        if port is not None:
            os.environ['MASTER_PORT'] = str(port)
        if 'MASTER_ADDR' not in os.environ:
            os.environ['MASTER_ADDR'] = _first_slurm_host()
    os.environ.setdefault('MASTER_PORT', _DEFAULT_PORT)
    port = os.environ['MASTER_PORT']
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(
            f'MASTER_PORT={port!r}, of the environment or of '
            'env_cfg.dist_cfg.port: expected a number from 1 to 65535'
        )
    timeout = _dist_cfg(cfg).get('timeout')
    if timeout is not None and (
        not isinstance(timeout, (int, float)) or not timeout > 0
    ):
        raise ValueError(
            f'env_cfg.dist_cfg.timeout={timeout!r}: expected seconds'
        )
    if 'MASTER_ADDR' not in os.environ:
        raise ValueError(
            f'launcher={launcher!r}: MASTER_ADDR is not in the environment; '
            'expected the address of the machine of the first process, '
            '127.0.0.1 where all run on one'
        )


def _first_slurm_host() -> str:
    """Return the host of the first process of a Slurm job."""
    nodes = os.environ.get('SLURM_NODELIST', '')
    scontrol = shutil.which('scontrol')
    found = ''
    if scontrol and nodes:
        found = subprocess.run(
            [scontrol, 'show', 'hostnames', nodes],
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()
    if not found:
        raise ValueError(
            "launcher='slurm': MASTER_ADDR is not in the environment, and "
            f'scontrol show hostnames {nodes!r} gives no host; set '
            'MASTER_ADDR to the host of the first process'
        )
    return found.split()[0]


def _dist_cfg(cfg: Config) -> Mapping[str, Any]:
    """Return the config's settings of communication."""
    return (cfg.get('env_cfg') or {}).get('dist_cfg') or {}


def _wrapper(cfg: Config) -> dict[str, Any]:
    """Return the config of a model's wrapper for processes without GPU."""
    own = cfg.get('model_wrapper_cfg')
    if own is None:
        # The rest is what mmengine sets where there is no such config.
        own = dict(
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    kind = own.get('type', 'MMDistributedDataParallel')
    try:
        found = MODEL_WRAPPERS.get(kind)
    except RuntimeError:  # for a module that is not there
        found = None
    if found is None:
        raise ValueError(f'model_wrapper_cfg: there is no wrapper {kind}')
    wrapper = dict(own)
    if found is MMDistributedDataParallel:
        wrapper['type'] = f'{__name__}.{DistributedOnCPU.__name__}'
    if issubclass(found, DistributedDataParallel):
        wrapper['device_ids'] = None
    return wrapper


class DistributedOnCPU(MMDistributedDataParallel):
    """The wrapper of a model that several processes train without a GPU.

    ``SyncBatchNorm`` runs on GPUs alone. It becomes batch normalization in
    each process, as mmengine does it for a single one, and the log says so.

    Args:
        module: The model.
        **kwargs: For ``MMDistributedDataParallel``.
    """

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        if any(isinstance(m, SyncBatchNorm) for m in module.modules()):
            module = revert_sync_batchnorm(module)
            print_log(
                'SyncBatchNorm needs a GPU: each process normalizes its own '
                'part of the batch instead',
                logger='current',
            )
        super().__init__(module, **kwargs)


def join_processes(cfg: Config) -> None:
    """Meet the other processes of a job where mmengine could not: on CPUs.

    PyTorch's backend for CPUs, gloo, is set up here; mmengine uses what is
    set up. On GPUs, and without a launcher, nothing happens.

    Args:
        cfg: A config that :func:`set_launcher` has changed. Of its
            ``env_cfg.dist_cfg`` the ``timeout``, in seconds, counts.
    """
    if cfg.launcher == 'none' or not _on_cpu():
        return
    timeout = _dist_cfg(cfg).get('timeout')
    torch.distributed.init_process_group(
        'gloo', timeout=timeout and timedelta(seconds=timeout)
    )
    # Its threads abort a process that ends before them.
    atexit.register(_leave_processes)


def _leave_processes() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class SameBuffersHook(Hook):
    """Hook that validates on all processes what the first one saves.

    Batch normalization counts its statistics in each process, from its own
    part of the data, and a checkpoint holds those of the first. Before a
    validation the others take them over, so that its scores are those of the
    checkpoint. Their own ones influence nothing else.
    """

    # Once others, such as EMAHook, have put the weights in their places.
    priority = 'VERY_LOW'

    def before_val_epoch(self, runner: Runner) -> None:
        """Take over the buffers of the first process."""
        for buffer in runner.model.buffers():
            broadcast(buffer)
