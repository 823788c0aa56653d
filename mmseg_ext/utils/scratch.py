"""Which runs are at work in a folder, and what killed ones left there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from mmseg_ext.utils.files import HIDDEN

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ['LOCK', 'alone_in', 'working_in']

#: The file that a run locks in the folder that it writes.
LOCK = '.mmseg_ext.lock'


@contextmanager
def working_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Be at work in a folder, and let no hidden files of killed runs stay.

    A run that is killed cannot remove its temporary files. They lie below the
    folder, hidden, until the next run there removes them. It knows by a lock
    that no other run is at work, whose files they might be: the system holds
    it as long as any process of a run lives, however these end.

    Where the file system knows no locks, such files stay.

    Args:
        folder: Made if it is missing, and removed again if it stays empty.
    """
    made = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, LOCK)
    lock = _take(path)
    if lock is None:
        yield
        return
    clean = lock.new
    if lock.alone and not clean:
        _remove_leftovers(folder)
        clean = True
    fcntl.flock(lock.file, fcntl.LOCK_SH)
    try:
        yield
    except BaseException:
        clean = False
        raise
    finally:
        if _alone(lock.file):
            if not clean:
                _remove_leftovers(folder)
            with suppress(FileNotFoundError):
                os.unlink(path)
        os.close(lock.file)
        if made:
            with suppress(OSError):  # not empty, unless the run failed
                os.rmdir(folder)


@contextmanager
def alone_in(folder: str | os.PathLike[str]) -> Iterator[bool]:
    """Be the one run in a folder; yield whether no other one is.

    The folder itself is locked, so that nothing has to be written there. Where
    the file system knows no locks, each run takes itself to be alone.

    Args:
        folder: Made if it is missing. It is to stay what it is meanwhile: of
            another one of the same path this run is not the one.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        place = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield True
        return
    try:
        try:
            alone = _alone(place)
        except OSError:
            alone = True
        yield alone
    finally:
        os.close(place)


class _Lock(NamedTuple):
    """A locked file: new, or left by a killed run or held by others."""

    file: int
    new: bool
    alone: bool


def _take(path: str) -> _Lock | None:
    """Open the file and lock it, alone if nobody else has."""
    while fcntl is not None:
        new = not os.path.exists(path)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            alone = _alone(file)
            if not alone:
                fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:  # the file system has no locks
            os.unlink(path)
            os.close(file)
            break
        # The last of the others removes it at its end, maybe just now.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return _Lock(file, new, alone)
        os.close(file)
    return None


def _alone(file: int) -> bool:
    """Lock a file against all others, unless one of them has it."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _remove_leftovers(folder: str | os.PathLike[str]) -> None:
    for place, folders, files in os.walk(folder):
        for name in files:
            if name.startswith(HIDDEN):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))
        for name in [n for n in folders if n.startswith(HIDDEN)]:
            folders.remove(name)
            shutil.rmtree(os.path.join(place, name), ignore_errors=True)
