"""What there is to train on."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from mmseg_ext.utils.arguments import is_number, require

__all__ = ['GB', 'Machine', 'this_machine']

#: Bytes of what is called a GB here.
GB = 2**30

#: Of the memory that is free, what a training may take: the rest is for what
#: other programs come to need.
_SHARE = 0.9

#: Where the system tells of itself.
_ROOT = Path('/')

#: Files of a control group: its limit, what is used of it, and the entry of
#: ``memory.stat`` that is given back when memory gets scarce.
_V2 = ('memory.max', 'memory.current', 'inactive_file')
_V1 = (
    *('memory.limit_in_bytes', 'memory.usage_in_bytes'),
    'total_inactive_file',
)


class Machine(NamedTuple):
    """A machine.

    Attributes:
        device: ``'cuda'`` or ``'cpu'``.
        memory: Bytes that a training may take.
        cores: Cores that this process may use.
    """

    device: str
    memory: int
    cores: int


class _Memory(NamedTuple):
    """Bytes of memory: all, and those that are free."""

    total: int
    free: int


def this_machine(memory_gb: float | None = None) -> Machine:
    """Return this machine.

    Args:
        memory_gb: What a training may take, in 2**30 bytes; by default nine
            tenths of what is free now, of the GPU or else of the RAM (and of
            the container's limit, where there is one).

    Raises:
        ValueError: ``memory_gb`` is not above 0, or more than there is.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if device == 'cuda':
        free, total = torch.cuda.mem_get_info()
        memory = _Memory(total, free)
    else:
        memory = _ram()
    require(
        'memory',
        memory_gb,
        memory_gb is None or (is_number(memory_gb, 0) and memory_gb > 0),
        'gigabytes above 0',
    )
    wanted = _SHARE * memory.free if memory_gb is None else memory_gb * GB
    require(
        'memory',
        memory_gb,
        wanted <= memory.total,
        f'at most the {math.floor(memory.total / GB * 10) / 10:g} GB of '
        + ('the GPU' if device == 'cuda' else 'this machine'),
    )
    return Machine(device, int(wanted), _cores())


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ram() -> _Memory:
    """Return the memory of the machine, within the container's limit."""
    known = re.findall(r'(\w+): *(\d+) kB', _text(_ROOT / 'proc/meminfo'))
    found = {key: int(value) * 1024 for key, value in known}
    total = found.get('MemTotal') or _pages()
    ram = _Memory(total, found.get('MemAvailable', total))
    for limit in _limits():
        ram = _Memory(min(ram.total, limit.total), min(ram.free, limit.free))
    return ram


def _pages() -> int:
    """Return the bytes of RAM of a system without ``/proc``."""
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _limits() -> Iterator[_Memory]:
    """Yield the limits of this process's control groups, of either version.

    A group is within others, each of which may have one. Where a container
    shows its own groups alone, those are at the top.
    """
    top = _ROOT / 'sys/fs/cgroup'
    for line in _text(_ROOT / 'proc/self/cgroup').splitlines():
        _, controllers, path = line.split(':', 2)
        if controllers == '':
            folder, names = top, _V2
        elif 'memory' in controllers.split(','):
            folder, names = top / 'memory', _V1
        else:
            continue
        inner = Path(path.lstrip('/'))
        for each in (inner, *inner.parents):
            limit = _limit(folder / each, *names)
            if limit is not None:
                yield limit


def _limit(folder: Path, limit: str, used: str, spare: str) -> _Memory | None:
    """Return the limit of a control group; None if it has none."""
    total = _text(folder / limit).strip()
    current = _text(folder / used).strip()
    if not (total.isdecimal() and current.isdecimal()):
        return None
    spared = 0
    for line in _text(folder / 'memory.stat').splitlines():
        key, _, value = line.partition(' ')
        if key == spare:
            spared = int(value)
    free = int(total) - int(current) + spared
    return _Memory(int(total), max(0, min(int(total), free)))


def _text(path: Path) -> str:
    """Return what a file of the system says; nothing if there is none."""
    try:
        return path.read_text(errors='replace')
    except OSError:
        return ''
