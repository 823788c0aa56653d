"""Kills: stopped at a random moment, the same command ends in the same bytes.

Also no process survives, what Ctrl-C and SIGTERM stop says one line, and no
hidden file stays.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from commands import COMMANDS, Undisturbed, hidden
from common import PATIENCE, Process, Result, Trial

__all__ = ['Kills']

#: How a run is disturbed, and the exit statuses that are right then. It may
#: have ended before.
WAYS = {
    'kill': {-signal.SIGKILL, 0},
    'kill all': {-signal.SIGKILL, 0},
    'kill worker': {2, 0},
    'Ctrl-C': {130, 0},
    'SIGTERM': {143, 0},
}

#: Seconds before which a tool has not yet taken over its signals.
_EARLIEST = 0.05


class Kills:
    """Kills of all tools that write.

    Args:
        data: The samples.
        folder: Gets the results.
        seed: Of all that is random.
    """

    def __init__(self, data: Path, folder: Path, seed: int) -> None:
        self.data, self.folder, self.seed = data, folder / 'kills', seed
        self.undisturbed = Undisturbed(data, self.folder / 'undisturbed')

    def subjects(self) -> list[str]:
        """List the tools."""
        return list(COMMANDS)

    def run(self, subject: str, numbers: Sequence[int]) -> Iterator[Result]:
        """Disturb a tool, and start it again."""
        for number in numbers:
            yield self._try(Trial('kills', subject, number))

    def _try(self, trial: Trial) -> Result:
        rng = trial.random(self.seed)
        command = COMMANDS[trial.subject]
        expected, seconds = self.undisturbed.of(trial.subject)
        way = rng.choice(list(WAYS))
        nproc = rng.choice([1, 2, 3])
        moment = rng.uniform(_EARLIEST, max(seconds, 2 * _EARLIEST))
        if way == 'kill worker' and not (command.processes and nproc > 1):
            way = 'kill'
        out = self.folder / trial.subject / str(trial.number)
        out.parent.mkdir(parents=True, exist_ok=True)
        process = command.start(self.data, out, nproc)
        time.sleep(moment)
        way = _disturb(process, way)
        status = process.wait()
        said = f'{way} after {moment:.3f} s, nproc {nproc}:\n{process.said}'
        problem = _fault(way, status, process.said)
        if status and way in ('Ctrl-C', 'SIGTERM'):
            with suppress(OSError):
                if command.results(out) == expected:
                    # It had nothing left to do but to end.
                    status, problem = 0, ''
        outcome = way if status else 'ended before'
        if not problem and way in ('Ctrl-C', 'SIGTERM') and hidden(out):
            problem = f'{way} leaves {hidden(out)[0]}'
        if not problem:
            again = status != 0 or trial.subject != 'crop'
            if again:
                process = command.start(self.data, out, nproc, again=True)
                status = process.wait()
                said += f'\nthe same command again:\n{process.said}'
            problem = _difference(status, expected, command.results, out)
        if not problem:
            shutil.rmtree(out, ignore_errors=True)
        return Result(trial, outcome, problem, said)


def _disturb(process: Process, way: str) -> str:
    """Disturb a process; return how it was done in the end."""
    if way == 'kill worker':
        children = process.children()
        if children:
            os.kill(children[0], signal.SIGKILL)
            return way
        way = 'kill'
    number = {'Ctrl-C': signal.SIGINT, 'SIGTERM': signal.SIGTERM}.get(
        way, signal.SIGKILL
    )
    process.signal(number, everyone=way in ('kill all', 'Ctrl-C'))
    return way


def _fault(way: str, status: int | None, said: str) -> str:
    """Return what is wrong with how a disturbed run ended."""
    if status is None:
        return f'after {way} processes live for {PATIENCE} s'
    if status not in WAYS[way]:
        return f'{way} ends in the exit status {status}'
    if 'Traceback' in said:
        return f'{way} gives a traceback'
    lines = said.strip().splitlines()
    if status in (130, 143) and ': stopped; ' not in lines[-1]:
        return f'{way} ends in the line {lines[-1]!r}'
    if status == 2 and 'nproc' not in lines[-1]:
        return f'{way} ends in the line {lines[-1]!r}'
    return ''


def _difference(
    status: int | None,
    expected: dict[str, str],
    results: Callable[[Path], dict[str, str]],
    out: Path,
) -> str:
    """Return how the results of the second run differ."""
    if status != 0:
        return f'the same command again ends in the exit status {status}'
    found = results(out)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            return f'after the second run {name} differs'
    if hidden(out):
        return f'after the second run {hidden(out)[0]} stays'
    return ''
