"""Full disks: one line names the file, and with space the same bytes come.

With the rights to mount, a run writes to a file system in memory that is too
small. Without, no file may get larger than so many bytes.
"""

import re
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from commands import COMMANDS, Undisturbed, hidden
from common import PATIENCE, Process, Result, Trial, run_tool

__all__ = ['Disks']

_PAGE = 4096


class Disks:
    """Full disks of all tools that write in a way of ours.

    Args:
        data: The samples.
        folder: Gets the results.
        seed: Of all that is random.
    """

    def __init__(self, data: Path, folder: Path, seed: int) -> None:
        self.data, self.folder, self.seed = data, folder / 'disks', seed
        self.undisturbed = Undisturbed(data, self.folder / 'undisturbed')

    def subjects(self) -> list[str]:
        """List the tools; MMEngine writes what a training does."""
        return [name for name in COMMANDS if name != 'train']

    def run(self, subject: str, numbers: Sequence[int]) -> Iterator[Result]:
        """Run a tool on a full disk, and again with space."""
        for number in numbers:
            yield self._try(Trial('disks', subject, number))

    @cached_property
    def can_mount(self) -> bool:
        """Whether file systems can be mounted."""
        folder = self.folder / 'probe'
        folder.mkdir(parents=True, exist_ok=True)
        with (
            suppress(OSError, subprocess.CalledProcessError),
            _mounted(folder, _PAGE),
        ):
            return True
        return False

    def _try(self, trial: Trial) -> Result:
        rng = trial.random(self.seed)
        expected, _ = self.undisturbed.of(trial.subject)
        sizes = _sizes(self.undisturbed.folder / trial.subject)
        nproc = rng.choice([1, 2])
        disk = self.folder / trial.subject / str(trial.number)
        disk.mkdir(parents=True, exist_ok=True)
        if self.can_mount and rng.random() < 0.7:
            pages = sum(-(-size // _PAGE) + 1 for size in sizes)
            space = rng.randrange(2, max(pages, 3)) * _PAGE
            with _mounted(disk, space):
                first = self._start(trial, disk, nproc)
                status, said = first.wait(), first.said
                _mount(disk, f'remount,size={2**30}')
                return self._judge(
                    trial, f'{space} bytes', status, said, disk, expected
                )
        limit = rng.randrange(1, max(max(sizes), 2))
        first = self._start(trial, disk, nproc, limit)
        status, said = first.wait(), first.said
        result = self._judge(
            trial, f'{limit} bytes a file', status, said, disk, expected
        )
        if not result.problem:
            shutil.rmtree(disk)
        return result

    def _start(
        self, trial: Trial, disk: Path, nproc: int, limit: int | None = None
    ) -> Process:
        command = COMMANDS[trial.subject]
        argv = [*command.argv(self.data, disk / 'out')]
        if command.processes:
            argv += ['--nproc', str(nproc)]
        return Process(lambda: _limited(command.tool, argv, limit))

    def _judge(
        self,
        trial: Trial,
        space: str,
        status: int | None,
        said: str,
        disk: Path,
        expected: dict[str, str],
    ) -> Result:
        """Look how the first run ended, and run it again."""
        outcome = 'full' if status else 'fits'
        said = f'{space}:\n{said}'
        out = disk / 'out'
        problem = _fault(status, said, str(disk))
        if not problem and status and hidden(out):
            problem = f'a full disk leaves {hidden(out)[0]}'
        if not problem and (status or trial.subject != 'crop'):
            second = self._start(trial, disk, 2)
            status = second.wait()
            said += f'\nthe same command with space:\n{second.said}'
            if status != 0:
                problem = f'with space it ends in the exit status {status}'
        if not problem:
            found = COMMANDS[trial.subject].results(out)
            for name in sorted(expected.keys() | found.keys()):
                if expected.get(name) != found.get(name):
                    problem = f'after the second run {name} differs'
        return Result(trial, outcome, problem, said)


def _limited(tool: str, argv: Sequence[str | Path], limit: int | None) -> int:
    """Run a tool that may write no larger files."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return run_tool(tool, *argv)


def _fault(status: int | None, said: str, disk: str) -> str:
    """Return what is wrong with how a run on a full disk ended."""
    if status is None:
        return f'on a full disk processes live for {PATIENCE} s'
    if status not in (0, 2):
        return f'a full disk ends in the exit status {status}'
    if 'Traceback' in said:
        return 'a full disk gives a traceback'
    line = said.strip().splitlines()[-1]
    full = re.search('No space left|File too large|quota', line)
    if status and not (full and disk in line):
        return f'a full disk ends in the line {line!r}'
    return ''


def _sizes(folder: Path) -> list[int]:
    """List the sizes of the files below a folder."""
    return [p.stat().st_size for p in folder.rglob('*') if p.is_file()]


@contextmanager
def _mounted(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of so many bytes on a folder, for a time."""
    _mount(folder, f'size={size}')
    try:
        yield
    finally:
        subprocess.run(['umount', folder], check=True)


def _mount(folder: Path, options: str) -> None:
    command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder]
    subprocess.run(command, check=True, capture_output=True)
