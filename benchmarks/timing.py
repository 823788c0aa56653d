"""Fair timing of functions against each other, in one process."""

import contextlib
import gc
import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

__all__ = ['Row', 'interleaved', 'quietly', 'timed', 'whole_runs']


class Row(NamedTuple):
    """A line of the table of results.

    Attributes:
        what: What was timed.
        baseline: What it is compared with.
        seconds: Median time of ours.
        baseline_seconds: Median time of the baseline.
    """

    what: str
    baseline: str
    seconds: float
    baseline_seconds: float


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    min_seconds: float = 0.02,
) -> dict[str, float]:
    """Time functions in turn, A B C A B C, so that all see the same machine.

    Args:
        functions: Name and what to call.
        rounds: Measurements of each function, after one to warm up.
        min_seconds: A measurement repeats quick calls for so long.

    Returns:
        Median seconds per call of each function.
    """
    repeats = {
        name: max(1, int(min_seconds / max(_seconds(call, 1), 1e-9)))
        for name, call in functions.items()
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, call in functions.items():
            times[name].append(_seconds(call, repeats[name]))
    return {name: median(values) for name, values in times.items()}


def whole_runs(
    ways: Mapping[str, Callable[[Path], float]], root: Path, rounds: int
) -> dict[str, float]:
    """Time in turn what writes a folder of files each time.

    Args:
        ways: Name, and what writes into a folder and returns its seconds.
        root: Gets a folder for each run. What is written stays there: ext4 is
            slow to make files where many were just removed.
        rounds: Runs of each.

    Returns:
        Median seconds of each.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            times[name].append(way(root / f'{name} {number}'))
    return {name: median(values) for name, values in times.items()}


def timed(
    function: Callable[..., object], *args: object, **kwargs: object
) -> float:
    """Return the seconds that one call takes; it may show progress."""
    gc.collect()
    start = time.perf_counter()
    quietly(function, *args, **kwargs)
    return time.perf_counter() - start


def quietly(
    function: Callable[..., object], *args: object, **kwargs: object
) -> None:
    """Call a function without its progress bar."""
    with contextlib.redirect_stderr(io.StringIO()):
        function(*args, **kwargs)


def _seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the seconds per call over some calls in a row."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
