"""What all kinds of trials share: their names, their results, processes."""

import atexit
import gc
import hashlib
import os
import random
import runpy
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from tqdm import tqdm

__all__ = [
    'ROOT',
    'Kind',
    'Process',
    'Result',
    'Trial',
    'contents',
    'run_tool',
]

#: The folder of the project.
ROOT = Path(__file__).resolve().parents[1]

#: Seconds that processes have to end, on any machine.
PATIENCE = 120


class Trial(NamedTuple):
    """One thing that is tried; with the seed, all that is random in it."""

    kind: str
    subject: str
    number: int

    def __str__(self) -> str:
        return ':'.join(map(str, self))

    def random(self, seed: int) -> random.Random:
        """Return the source of what is random in it."""
        return random.Random(f'{seed}:{self}')


@dataclass(frozen=True)
class Result:
    """What came out of a trial.

    Attributes:
        trial: The trial.
        outcome: In a word or two, for the table.
        problem: What is wrong, in one line; empty if all is as promised.
        detail: What was said.
        inputs: Files to keep with a finding, by their names there.
    """

    trial: Trial
    outcome: str
    problem: str = ''
    detail: str = ''
    inputs: dict[str, bytes] = field(default_factory=dict)


class Kind(Protocol):
    """A kind of trials."""

    def subjects(self) -> list[str]:
        """List what is tried."""

    def run(self, subject: str, numbers: Sequence[int]) -> Iterator[Result]:
        """Try it, once for each number."""


class Process:
    """A function in a forked process, a session of its own.

    Forked, since imports take longer than most trials. It ends as the
    interpreter does.

    Args:
        function: What to run; its result is the exit status.
    """

    def __init__(self, function: Callable[[], int]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()
        # Open for as long as any of its processes lives.
        self._output, end = os.pipe()
        self._written = b''
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            tqdm._instances.clear()  # of the process that forks
            os.close(self._output)
            os.dup2(end, 1)
            os.dup2(end, 2)
            os.close(end)
            # What they were opened for may have been a file.
            sys.stdout = open(1, 'w', buffering=1, closefd=False)  # noqa: SIM115
            sys.stderr = open(2, 'w', buffering=1, closefd=False)  # noqa: SIM115
            os._exit(_status(function))
        os.close(end)

    def signal(self, number: int, everyone: bool = False) -> None:
        """Send a signal to the first process, or to all."""
        with suppress(ProcessLookupError):
            (os.killpg if everyone else os.kill)(self.pid, number)

    def children(self) -> list[int]:
        """List its direct children that live."""
        found = []
        for path in Path('/proc').glob('[0-9]*/stat'):
            with suppress(OSError):
                fields = path.read_text().rpartition(')')[2].split()
                if int(fields[1]) == self.pid and fields[0] != 'Z':
                    found.append(int(path.parent.name))
        return sorted(found)

    def wait(self, patience: float = PATIENCE) -> int | None:
        """Wait for all its processes.

        Returns:
            The exit status of the first, or minus the signal that ended it;
            None if any process had to be killed.
        """
        end = time.monotonic() + patience
        ended = False
        while not ended and (left := end - time.monotonic()) > 0:
            if select.select([self._output], [], [], left)[0]:
                data = os.read(self._output, 2**16)
                self._written += data
                ended = not data
        if not ended:
            self.signal(signal.SIGKILL, everyone=True)
        os.close(self._output)
        status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(status) if ended else None

    @property
    def said(self) -> str:
        """What all its processes wrote; of progress bars what is left."""
        text = self._written.decode(errors='replace')
        return '\n'.join(
            line.rstrip('\r').rpartition('\r')[2] for line in text.split('\n')
        )


def _status(function: Callable[[], int]) -> int:
    """Run a function and the end of the interpreter."""
    try:
        status = function()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    with suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def run_tool(tool: str, *argv: str | Path) -> int:
    """Run a tool of the project, as its command line does."""
    path = ROOT / 'tools' / tool
    sys.argv = [str(path), *map(str, argv)]
    runpy.run_path(str(path), run_name='__main__')
    return 0


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }
