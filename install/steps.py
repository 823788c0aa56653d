"""What all parts of the set-up share: running pip, and telling the user."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    'InstallError',
    'fails',
    'output_of',
    'pip_install',
    'say',
    'step',
    'write_whole',
]


class InstallError(Exception):
    """What stops the set-up; the text is for the user."""


def say(text: str) -> None:
    """Print at once, in step with what pip prints."""
    print(text, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and tell how long it took."""
    say(f'==> {title}')
    start = time.monotonic()
    yield
    say(f'    done in {time.monotonic() - start:.0f} s')


def output_of(*command: str) -> str:
    """Return what a command prints, ``''`` where it does not work."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ''
    return '' if done.returncode else done.stdout


def fails(*command: str) -> str:
    """Run a command; return what it says on failure, ``''`` on success."""
    # Not in the working folder: Python would look for modules there.
    done = subprocess.run(
        command, cwd=sys.prefix, capture_output=True, text=True
    )
    return (done.stderr.strip() or str(command)) if done.returncode else ''


def pip_install(*arguments: str) -> None:
    """Run ``pip install``; pip speaks for itself.

    Raises:
        InstallError: It failed.
    """
    command = [sys.executable, '-m', 'pip', 'install', '--no-input']
    command += ['--disable-pip-version-check', *arguments]
    if subprocess.run(command).returncode:
        raise InstallError(f'pip install {" ".join(arguments)} failed')


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never there in part."""
    part = path.with_name(f'{path.name}.part')
    part.write_text(text)
    part.replace(path)
