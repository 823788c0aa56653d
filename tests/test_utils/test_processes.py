import itertools
import os

import pytest

from mmseg_ext.utils.processes import ordered_map


def square(number):
    if number == 13:
        raise ValueError('13 is not squared')
    return number * number, os.getpid()


@pytest.mark.parametrize('nproc', [1, 2, 3])
def test_order(nproc):
    results = list(ordered_map(square, iter(range(12)), nproc))
    assert [value for value, _ in results] == [n * n for n in range(12)]
    here = {pid for _, pid in results} == {os.getpid()}
    assert here == (nproc == 1)


@pytest.mark.parametrize('nproc', [1, 2])
def test_jobs_are_taken_as_results_are(nproc):
    jobs = itertools.count(100)
    results = ordered_map(square, jobs, nproc)
    assert [next(results)[0] for _ in range(3)] == [100**2, 101**2, 102**2]
    results.close()
    assert next(jobs) < 120


@pytest.mark.parametrize('nproc', [1, 2])
def test_error_reaches_the_caller(nproc):
    results = ordered_map(square, range(10, 20), nproc)
    assert [next(results)[0] for _ in range(3)] == [100, 121, 144]
    with pytest.raises(ValueError, match='13 is not squared'):
        next(results)


def test_no_processes():
    with pytest.raises(ValueError, match='nproc=0: expected 1 or more'):
        list(ordered_map(square, [], 0))
