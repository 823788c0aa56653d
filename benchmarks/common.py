"""What several benchmarks use, beside timing."""

import gc
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from mmseg_ext.sample_data import write_nails

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'

# Where real data is stands once, for tests and benchmarks.
sys.path.append(str(ROOT / 'tests'))
from helpers.real_data import CAMVID, NAILS  # noqa: E402

__all__ = [
    'CAMVID',
    'CONFIGS',
    'NAILS',
    'ROOT',
    'extra_memory',
    'in_own_process',
    'photographs',
    'pyramid',
]


@contextmanager
def photographs() -> Iterator[Path]:
    """Yield a folder of photographs of nails, or of sample images."""
    if NAILS.is_dir():
        yield NAILS
        return
    with tempfile.TemporaryDirectory() as folder:
        write_nails(folder, num=24, progress=False)
        yield Path(folder)


def pyramid(
    size: tuple[int, int], strides: Sequence[int], channels: Sequence[int]
) -> list[Tensor]:
    """Return random maps of one image that want gradients.

    Args:
        size: Height and width of the image.
        strides: Pixels of the image to one of each map.
        channels: Channels of each map.
    """
    return [
        torch.rand(
            1, count, *(side // stride for side in size)
        ).requires_grad_()
        for count, stride in zip(channels, strides, strict=True)
    ]


def in_own_process(
    function: Callable[..., object], *args: object, children: bool = False
) -> float:
    """Call a function in a fresh process and return its peak memory in MiB.

    Args:
        function: Importable.
        *args: Its arguments.
        children: Count the largest of the processes that it starts, not its
            own.
    """
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return _in_fresh_process(_peak, who, function, *args)


def extra_memory(
    prepare: Callable[..., Callable[[], object]], *args: object
) -> float:
    """Return what a call takes at its peak beyond what was there, in MiB.

    Args:
        prepare: Importable; returns what to call. It runs in a fresh process
            of Linux, and what it holds does not count.
        *args: Its arguments.
    """
    return _in_fresh_process(_extra, prepare, *args)


def _in_fresh_process(function: Callable[..., float], *args: object) -> float:
    """Return what an importable function gives in a new process."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def _peak(who: int, function: Callable[..., object], *args: object) -> float:
    """Call a function and return the peak memory since the process began."""
    function(*args)
    return resource.getrusage(who).ru_maxrss / 1024


def _extra(
    prepare: Callable[..., Callable[[], object]], *args: object
) -> float:
    """Return the peak memory of a call without what it found."""
    call = prepare(*args)
    gc.collect()
    Path('/proc/self/clear_refs').write_text('5')  # forgets the peak
    before = _status('VmRSS')
    call()
    return (_status('VmHWM') - before) / 1024


def _status(name: str) -> int:
    """Return what Linux knows of this process, in KiB."""
    lines = Path('/proc/self/status').read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f'{name}:'))
    return int(line.split()[1])
