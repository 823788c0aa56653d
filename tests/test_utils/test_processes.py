import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import cv2
import pytest

from mmseg_ext.utils import processes
from mmseg_ext.utils.processes import check_nproc, ordered_map


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


@pytest.mark.parametrize('nproc', [5000, 10**12])
def test_absurdly_many_processes(nproc):
    results = ordered_map(square, itertools.count(), nproc)
    with pytest.raises(ValueError, match=f'nproc={nproc}: expected at most '):
        next(results)


def test_as_many_processes_as_a_large_machine_has(monkeypatch):
    check_nproc(64)
    monkeypatch.setattr('os.cpu_count', lambda: 128)
    check_nproc(512)
    with pytest.raises(ValueError, match='at most 512 processes'):
        check_nproc(513)


def test_a_killed_process_is_told_in_one_line():
    results = ordered_map(kill_itself, [1, 2, 3], 2)
    with pytest.raises(
        ChildProcessError, match=r'processes of nproc=2 was killed.* memory'
    ) as caught:
        list(results)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize('rest', [1, 20])
def test_a_process_that_is_killed_while_it_waits(rest):
    """It must not take with it what the others wait for."""
    known = set(multiprocessing.active_children())
    results = ordered_map(square, range(20, 21 + rest), 2)
    next(results)
    for process in set(multiprocessing.active_children()) - known:
        process.kill()
        process.join()
        break
    # It may have been at work; either way there is an end.
    with contextlib.suppress(ChildProcessError):
        assert len(list(results)) == rest
    assert set(multiprocessing.active_children()) == known


def test_a_process_that_is_killed_while_it_answers():
    """Half of a message is none."""
    with pytest.raises(ChildProcessError, match='nproc=2'):
        list(ordered_map(answer_in_part, range(20), 2))


def answer_in_part(number):
    """Return what takes long to send, and be killed in the middle."""
    if number == 7:
        kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        threading.Timer(0.02, kill).start()
        time.sleep(0.01)
    return bytes(2**28 if number == 7 else 10)


def test_what_cannot_be_sent_is_an_error():
    with pytest.raises((AttributeError, pickle.PicklingError), match='lambda'):
        list(ordered_map(give_function, range(3), 2))


def give_function(number):
    return lambda: number


def test_the_traceback_of_an_error_is_kept():
    with pytest.raises(ValueError, match='13') as caught:
        list(ordered_map(square, range(10, 20), 2))
    assert "raise ValueError('13 is not squared')" in str(
        caught.value.__cause__
    )


def kill_itself(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


#: Maps over jobs that never end, in processes that say who they are. The
#: module alone is imported: the package takes seconds.
ENDLESS = f"""
import multiprocessing, os, sys, time
sys.path.insert(0, {os.path.dirname(processes.__file__)!r})
from processes import ordered_map

def work(number):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == '__main__':
    multiprocessing.set_start_method(sys.argv[1])
    list(ordered_map(work, range(2), 2))
"""


@pytest.mark.parametrize('method', ['fork', 'spawn', 'forkserver'])
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_first(tmp_path, method, number):
    script = tmp_path / 'endless.py'
    script.write_text(ENDLESS)
    main = subprocess.Popen(
        [sys.executable, script, method],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, 'TMPDIR': str(tmp_path)},
    )
    workers = {main.stdout.readline() for _ in range(2)}
    assert len(workers) == 2
    main.send_signal(number)
    # The pipe ends with the last process that could write to it.
    assert main.communicate(timeout=60)[0] == ''


def test_ctrl_c_is_for_the_first_process(tmp_path):
    """Terminals send it to all; the others say and do nothing."""
    script = tmp_path / 'endless.py'
    script.write_text(ENDLESS.replace('sleep(600)', 'sleep(1)'))
    main = subprocess.Popen(
        [sys.executable, script, 'fork'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    main.stdout.readline()
    main.stdout.readline()
    os.killpg(main.pid, signal.SIGINT)
    error = main.communicate(timeout=60)[1]
    assert error.count('Traceback') == 1
    assert error.splitlines()[-1] == 'KeyboardInterrupt'


def _opencv_threads(_):
    return cv2.getNumThreads()


def test_processes_wait_for_no_threads_of_opencv():
    """Forked, they have its locks as they were, and not its threads."""
    before = cv2.getNumThreads()
    # One, or none: it makes no difference to OpenCV.
    assert set(ordered_map(_opencv_threads, range(4), 2)) <= {0, 1}
    assert cv2.getNumThreads() == before
