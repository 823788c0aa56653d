"""Jobs on several processes, in order, with bounded memory."""

import gc
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import cv2

__all__ = ['check_nproc', 'ordered_map']

Job = TypeVar('Job')
Result = TypeVar('Result')

#: Jobs handed out ahead, for each process.
_AHEAD = 4

#: As many processes as anybody may want on any machine, and on large ones for
#: each core. More only take memory, up to all there is.
_MOST, _MOST_PER_CORE = 64, 4


def ordered_map(
    function: Callable[[Job], Result], jobs: Iterable[Job], nproc: int = 1
) -> Iterator[Result]:
    """Yield what ``function`` returns for each job, in order.

    Unlike ``Executor.map``, it takes jobs only as fast as its results are
    taken, so that neither pile up. Its processes end with this one, however
    that ends.

    Args:
        function: Importable, as for ``multiprocessing``.
        jobs: Its arguments.
        nproc: Number of processes; 1 works in this one.

    Yields:
        The results, in the order of the jobs.

    Raises:
        ValueError: ``nproc`` is out of range.
        ChildProcessError: A process was killed, as systems do when memory
            gets scarce.
    """
    check_nproc(nproc)
    if nproc == 1:
        yield from map(function, jobs)
        return
    try:
        yield from _map_in_pool(function, iter(jobs), nproc)
    except BrokenProcessPool:
        raise ChildProcessError(
            f'one of the processes of nproc={nproc} was killed, maybe for '
            'want of memory: take fewer, or free some, and start again'
        ) from None


def _map_in_pool(
    function: Callable[[Job], Result], jobs: Iterator[Job], nproc: int
) -> Iterator[Result]:
    """Map with one thread for each process.

    ``ProcessPoolExecutor`` has locks that all processes share. When one is
    killed that holds them, it waits for ever.
    """
    # The garbage collector writes to all that it looks at, which would copy
    # the memory that forked processes share.
    gc.freeze()
    workers: list[_Worker[Job, Result]] = []
    pool = ThreadPoolExecutor(nproc)
    try:
        for _ in range(nproc):  # before there are threads
            workers.append(_Worker(function))
        idle: SimpleQueue[_Worker[Job, Result]] = SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def call(job: Job) -> Result:
            worker = idle.get()
            try:
                return worker.call(job)
            finally:
                idle.put(worker)

        pending = deque(
            pool.submit(call, job) for job in islice(jobs, _AHEAD * nproc)
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(call, job) for job in islice(jobs, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.end()
        gc.unfreeze()


class _Worker(Generic[Job, Result]):
    """A process that calls a function, and the pipe to it."""

    def __init__(self, function: Callable[[Job], Result]) -> None:
        self._pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.Process(
            target=_serve, args=(function, other), daemon=True
        )
        self._process.start()
        # Now it is the process alone that holds it, so that its end is seen.
        other.close()

    def call(self, job: Job) -> Result:
        """Call the function there.

        Raises:
            BrokenProcessPool: The process is gone.
        """
        try:
            self._pipe.send((job,))
            result, error, trace = self._pipe.recv()
        except (EOFError, OSError):
            raise BrokenProcessPool from None
        if error is not None:
            raise error from _RemoteError(trace)
        return result

    def end(self) -> None:
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join()
        self._pipe.close()


class _RemoteError(Exception):
    """The traceback of an error in another process."""

    def __str__(self) -> str:
        return f'\n{self.args[0]}'


def _serve(function: Callable[[Job], Result], pipe: Connection) -> None:
    """Call the function for each job that comes, until None does."""
    # There is a process for each core. Besides, a forked one has the locks of
    # OpenCV's threads as they were, but not the threads: it would wait for
    # them. Without threads it does not ask.
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()
    while (message := pipe.recv()) is not None:
        try:
            pipe.send((function(*message), None, ''))
        except Exception as error:
            pipe.send((None, error, traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a pipe that closes, however the parent ends
    os._exit(1)


def check_nproc(nproc: int) -> None:
    """Check a number of processes.

    Raises:
        ValueError: It is below 1, or so large that it can only be an error.
    """
    if nproc < 1:
        raise ValueError(f'nproc={nproc}: expected 1 or more processes')
    cores = os.cpu_count() or 1
    most = max(_MOST, _MOST_PER_CORE * cores)
    if nproc > most:
        raise ValueError(
            f'nproc={nproc}: expected at most {most} processes; more than the '
            f'{cores} cores of this machine are no faster'
        )
