"""Jobs on several processes, in order, with bounded memory."""

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ['check_nproc', 'ordered_map']

Job = TypeVar('Job')
Result = TypeVar('Result')

#: Jobs handed out ahead, for each process.
_AHEAD = 4


def ordered_map(
    function: Callable[[Job], Result], jobs: Iterable[Job], nproc: int = 1
) -> Iterator[Result]:
    """Yield what ``function`` returns for each job, in order.

    Unlike ``Executor.map``, it takes jobs only as fast as its results are
    taken, so that neither pile up.

    Args:
        function: Importable, as for ``multiprocessing``.
        jobs: Its arguments.
        nproc: Number of processes; 1 works in this one.

    Yields:
        The results, in the order of the jobs.

    Raises:
        ValueError: ``nproc`` is below 1.
    """
    check_nproc(nproc)
    if nproc == 1:
        yield from map(function, jobs)
        return
    # The garbage collector writes to all that it looks at, which would copy
    # the memory that forked processes share.
    gc.freeze()
    with ProcessPoolExecutor(nproc) as pool:
        try:
            jobs = iter(jobs)
            pending = deque(
                pool.submit(function, job)
                for job in islice(jobs, _AHEAD * nproc)
            )
            while pending:
                result = pending.popleft().result()
                pending.extend(
                    pool.submit(function, job) for job in islice(jobs, 1)
                )
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
            gc.unfreeze()


def check_nproc(nproc: int) -> None:
    """Check a number of processes.

    Raises:
        ValueError: It is below 1.
    """
    if nproc < 1:
        raise ValueError(f'nproc={nproc}: expected 1 or more processes')
