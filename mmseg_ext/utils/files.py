"""Files that are either whole or not there, and paths that stay inside."""

import functools
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mmseg_ext.utils.text import decode_text, normal_form, printable

__all__ = [
    'HIDDEN',
    'MAX_BYTES',
    'MAX_NAME',
    'atomic_path',
    'find_files',
    'is_special',
    'name_bytes',
    'naming',
    'open_file',
    'path_inside',
    'read_file',
    'read_text',
    'same_file',
    'visible_entries',
    'write_bytes',
    'write_text',
]

#: Size of the largest file about one image that is read: several times that
#: of :data:`~mmseg_ext.utils.images.MAX_PIXELS` as a photograph.
MAX_BYTES = 1 << 30

#: What is no file, by the format of its mode.
_KINDS = {
    stat.S_IFDIR: 'a folder',
    stat.S_IFIFO: 'a pipe',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFBLK: 'a device',
    stat.S_IFCHR: 'a device',
}
#: Bytes that the name of a file or folder may have: Linux' NAME_MAX, and that
#: of all common file systems.
MAX_NAME = 255


#: What the names of temporary files and folders begin with: by it the next
#: run knows what a killed one left, :mod:`mmseg_ext.utils.scratch`.
HIDDEN = '.mmseg_ext-'

#: Characters of a suffix that a temporary name keeps: those of any format, and
#: not so many that the name gets too long.
_SUFFIX = 16


@contextmanager
def atomic_path(
    path: str | os.PathLike,
    scratch: str | os.PathLike | None = None,
    durable: bool = False,
) -> Iterator[Path]:
    """Yield a temporary path and rename it to ``path`` when all went well.

    A reader therefore sees the old file or the whole new one, never a part,
    and a run that was stopped leaves nothing that looks finished. This holds
    for whatever ends the process. When the machine loses its power, a file
    that was renamed shortly before may be empty or cut off, unless it is
    written as ``durable``.

    Args:
        path: The file to write. Missing parent folders are made.
        scratch: Folder of the temporary file, on the file system of ``path``;
            by default the folder of ``path``. Processes that make many files
            in one folder wait for each other, unless each has its own here.
        durable: Wait until the disk has the file, before and after it is
            renamed. It takes some milliseconds, so it is for the few files
            that say what there is, and not for those they speak of.

    Yields:
        A path with the same suffix, to be written.

    Raises:
        OSError: It cannot be written; the error names ``path``.
    """
    folder, name = os.path.split(path)
    suffix = os.path.splitext(name)[1][:_SUFFIX]
    temporary = os.path.join(
        folder if scratch is None else scratch,
        f'{HIDDEN}{secrets.token_hex(4)}{suffix}',
    )
    try:
        if folder and not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
        with naming(path, temporary):
            yield Path(temporary)
            if durable:
                _sync(temporary)
            os.replace(temporary, path)
            if durable:
                # Not every file system knows this of a folder.
                with suppress(OSError):
                    _sync(folder or os.curdir)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def name_bytes(name: str) -> int:
    """Return the length of a file's name as :data:`MAX_NAME` counts it."""
    return len(os.fsencode(name))


def _sync(path: str) -> None:
    """Wait until the disk has a file or folder as it is now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(
    path: str | os.PathLike, *temporary: str | os.PathLike
) -> Iterator[None]:
    """Let an OSError that names no file, as of a full disk, name this one.

    Args:
        path: The file or folder.
        *temporary: Files that stand for it, and are not to be named.
    """
    try:
        yield
    except OSError as error:
        hidden = [None, *(os.fspath(other) for other in temporary)]
        if error.errno is not None and error.filename in hidden:
            error.filename = os.fspath(path)
            del error.filename2
        raise


def write_bytes(
    path: str | os.PathLike,
    data: bytes,
    scratch: str | os.PathLike | None = None,
    durable: bool = False,
) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    Args:
        path: The file to write. Missing parent folders are made.
        data: Its content.
        scratch: See :func:`atomic_path`.
        durable: See :func:`atomic_path`.
    """
    with (
        atomic_path(path, scratch, durable) as temporary,
        open(temporary, 'wb') as file,
    ):
        file.write(data)


def write_text(
    path: str | os.PathLike, text: str, durable: bool = False
) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all.

    Args:
        path: The file to write. Missing parent folders are made.
        text: Its content.
        durable: See :func:`atomic_path`.
    """
    write_bytes(path, text.encode(), durable=durable)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, and nothing that one may wait for.

    Raises:
        OSError: It is missing, may not be read, or is a folder, a pipe, a
            socket or a device.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), 'no file')
        raise OSError(f'{os.fspath(path)} is {kind}; expected a file')
    return open(path, 'rb')


def is_special(path: str | os.PathLike[str]) -> bool:
    """Tell whether a pipe, a socket or a device is there.

    Whoever opens one may wait for ever.

    Args:
        path: Where.
    """
    return (
        os.path.exists(path)
        and not os.path.isfile(path)
        and not os.path.isdir(path)
    )


def read_file(
    path: str | os.PathLike[str], most: int | None = MAX_BYTES
) -> bytes:
    """Return the content of a file.

    Args:
        path: The file.
        most: How many bytes it may have; None for any number.

    Raises:
        OSError: As for :func:`open_file`.
        ValueError: It is larger.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise ValueError(
                f'{os.fspath(path)} has {size} bytes; expected at most {most}'
            )
        return file.read()


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the content of a text file.

    Raises:
        OSError: As for :func:`open_file`.
        ValueError: It is too large, or in another encoding than UTF-8.
    """
    return decode_text(read_file(path), path)


def path_inside(root: str | os.PathLike, relative: str) -> Path:
    """Join a path from an outside source to its root, and keep it inside.

    Args:
        root: The folder that the result must lie in.
        relative: A path read from a JSON, CSV or list file.

    Returns:
        ``root / relative``.

    Raises:
        ValueError: ``relative`` is absolute, leads out of ``root`` or is no
            path.
    """
    if '\0' in relative:
        raise ValueError(f'path {relative!r} has a NUL: expected a path')
    first = os.path.normpath(relative).split(os.sep, 1)[0]
    if os.path.isabs(relative) or first == os.pardir:
        raise ValueError(
            f'path {relative!r} leaves its root {root}: expected a relative '
            'path below it'
        )
    return Path(os.path.normpath(os.path.join(root, relative)))


def find_files(
    folder: str | os.PathLike[str],
    endings: Sequence[str] = (),
    on_left_out: Callable[[str, str], None] | None = None,
) -> list[str]:
    """Return the data files in a folder and all folders below.

    This is the one answer to which files are data. Hidden files and folders
    are not, such as the ``._X.png`` that macOS leaves beside ``X.png``, nor
    is ``__MACOSX``, nor a folder that is named like an image. Endings count
    in both cases. Links are followed, but no folder is entered twice, nor one
    that holds ``folder``: what a link leads to is found under its own name,
    where it has one.

    Args:
        folder: Where to look; nothing is found where there is no folder.
        endings: What names may end in, such as ``'.png'`` or ``'_L.png'``;
            without any, all files are found.
        on_left_out: Called with a link that is left out, and the reason; by
            default a line on standard error says it, once.

    Returns:
        Paths relative to ``folder``, with ``/``, sorted.
    """
    lowered = tuple(ending.lower() for ending in endings)
    found: list[str] = []
    entered: set[str] = set()
    folders: list[str] = ['']
    links: list[str] = []
    start = os.path.realpath(folder)
    while folders or links:
        # What has a name of its own comes before what links lead to.
        inner = folders.pop() if folders else links.pop(0)
        path = os.path.join(folder, inner)
        place = os.path.realpath(path)
        above = place != start and Path(start).is_relative_to(place)
        if above or place in entered:
            what = 'holds this folder' if above else 'is read already'
            (on_left_out or _tell)(path, f'leads to {place}, which {what}')
            continue
        entered.add(place)
        for entry in visible_entries(path):
            name = f'{inner}/{entry.name}' if inner else entry.name
            link = entry.is_symlink()
            # An entry raises where a link leads in a circle.
            if os.path.isdir(entry) if link else entry.is_dir():
                (links if link else folders).append(name)
            elif lowered and not entry.name.lower().endswith(lowered):
                continue
            else:  # a link to nowhere and a pipe, too: the reader names them
                found.append(name)
        links.sort()
    return sorted(found)


@functools.cache
def _tell(link: str, reason: str) -> None:
    print(
        f'left out {printable(link)}: it {printable(reason)}', file=sys.stderr
    )


def same_file(path: str | os.PathLike[str]) -> Path:
    """Return a file, or the one that only the normal form sets apart.

    Args:
        path: The file by a name from an outside source. Its name on disk may
            be in another form of Unicode.

    Returns:
        The one file in its folder whose name looks the same; without one,
        ``path``.
    """
    path = Path(path)
    if path.exists():
        return path
    wanted = normal_form(path.name)
    alike = [
        entry.name
        for entry in visible_entries(path.parent)
        if normal_form(entry.name) == wanted
    ]
    return path.with_name(alike[0]) if len(alike) == 1 else path


def visible_entries(
    folder: str | os.PathLike[str],
) -> Iterator[os.DirEntry[str]]:
    """Yield what lies in a folder, but for what is no data.

    See :func:`find_files`.
    """
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith('.') and entry.name != '__MACOSX':
                yield entry
