"""What a machine says of itself, made up in a folder."""

import math
import os

import pytest
import torch

from mmseg_ext.planning import machine
from mmseg_ext.planning.machine import this_machine

GB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine of 16 GB, of which 10 are free, without a GPU."""
    monkeypatch.setattr(machine, '_ROOT', tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / name.replace('__', '/').replace('_dot_', '.')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(
        proc__meminfo=(
            f'MemTotal:       {16 * 2**20} kB\nMemFree:  {2**20} kB\n'
            f'MemAvailable:   {10 * 2**20} kB\nHugePages_Total:       0\n'
        ),
    )
    return write


def test_nine_tenths_of_what_is_free(system):
    found = this_machine()
    assert found.device == 'cpu'
    assert found.memory == int(0.9 * 10 * GB)
    assert found.cores == len(os.sched_getaffinity(0))


def test_memory_that_is_given(system):
    assert this_machine(1.5).memory == 1.5 * GB
    # More than is free: others may end.
    assert this_machine(16).memory == 16 * GB


@pytest.mark.parametrize('given', [0, -1, math.nan, True, '4'])
def test_no_memory(system, given):
    with pytest.raises(ValueError, match=r'^memory=.*: expected gigabytes'):
        this_machine(given)


@pytest.mark.parametrize('given', [16.1, math.inf])
def test_more_memory_than_there_is(system, given):
    match = f'^memory={given}: expected at most the 16 GB of this machine$'
    with pytest.raises(ValueError, match=match):
        this_machine(given)


def test_limit_of_a_container(system):
    """Version 2: its own group is all that it sees."""
    system(
        proc__self__cgroup='0::/\n',
        sys__fs__cgroup__memory_dot_max=f'{4 * GB}\n',
        sys__fs__cgroup__memory_dot_current=f'{3 * GB}\n',
        # What is given back when memory gets scarce.
        sys__fs__cgroup__memory_dot_stat=f'anon 1\ninactive_file {GB}\n',
    )
    assert this_machine().memory == int(0.9 * 2 * GB)
    with pytest.raises(ValueError, match='at most the 4 GB'):
        this_machine(5)


def test_limit_of_a_group_around(system):
    group = 'sys__fs__cgroup__user__'
    system(
        proc__self__cgroup='0::/user/mine\n',
        **{
            f'{group}memory_dot_max': f'{8 * GB}',
            f'{group}memory_dot_current': f'{6 * GB}',
            f'{group}mine__memory_dot_max': 'max\n',
            f'{group}mine__memory_dot_current': f'{5 * GB}',
        },
    )
    assert this_machine().memory == int(0.9 * 2 * GB)


def test_limit_of_version_1(system):
    group = 'sys__fs__cgroup__memory__'
    system(
        proc__self__cgroup='4:cpu,cpuacct:/x\n3:memory:/docker/abc\n',
        **{
            f'{group}memory_dot_limit_in_bytes': f'{6 * GB}\n',
            f'{group}memory_dot_usage_in_bytes': f'{GB}\n',
            f'{group}memory_dot_stat': f'total_inactive_file {GB // 2}\n',
        },
    )
    assert this_machine().memory == int(0.9 * 5.5 * GB)


def test_no_limit_of_version_1(system):
    group = 'sys__fs__cgroup__memory__'
    system(
        proc__self__cgroup='3:memory:/\n',
        **{
            f'{group}memory_dot_limit_in_bytes': '9223372036854771712',
            f'{group}memory_dot_usage_in_bytes': f'{GB}',
        },
    )
    assert this_machine().memory == int(0.9 * 10 * GB)


def test_full_container(system):
    system(
        proc__self__cgroup='0::/\n',
        sys__fs__cgroup__memory_dot_max=f'{GB}',
        sys__fs__cgroup__memory_dot_current=f'{GB + 4096}',
    )
    assert this_machine().memory == 0


def test_system_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, '_ROOT', tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    found = this_machine()
    assert found.memory == int(0.9 * pages)


def test_gpu(system, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (20 * GB, 24 * GB))
    found = this_machine()
    assert found[:2] == ('cuda', 18 * GB)
    with pytest.raises(ValueError, match='at most the 24 GB of the GPU'):
        this_machine(25)
