"""Files that are either whole or not there, and paths that stay inside."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    'atomic_path',
    'path_inside',
    'visible_entries',
    'write_bytes',
    'write_text',
]


@contextmanager
def atomic_path(
    path: str | os.PathLike, scratch: str | os.PathLike | None = None
) -> Iterator[Path]:
    """Yield a temporary path and rename it to ``path`` when all went well.

    A reader therefore sees the old file or the whole new one, never a part,
    and a run that was stopped leaves nothing that looks finished.

    Args:
        path: The file to write. Missing parent folders are made.
        scratch: Folder of the temporary file, on the file system of ``path``;
            by default the folder of ``path``. Processes that make many files
            in one folder wait for each other, unless each has its own here.

    Yields:
        A path with the same suffix, to be written.
    """
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    temporary = os.path.join(
        folder if scratch is None else scratch,
        f'.{stem}.{secrets.token_hex(4)}{suffix}',
    )
    if folder and not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
    try:
        yield Path(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_bytes(
    path: str | os.PathLike,
    data: bytes,
    scratch: str | os.PathLike | None = None,
) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    Args:
        path: The file to write. Missing parent folders are made.
        data: Its content.
        scratch: See :func:`atomic_path`.
    """
    with atomic_path(path, scratch) as temporary, open(temporary, 'wb') as f:
        f.write(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def path_inside(root: str | os.PathLike, relative: str) -> Path:
    """Join a path from an outside source to its root, and keep it inside.

    Args:
        root: The folder that the result must lie in.
        relative: A path read from a JSON, CSV or list file.

    Returns:
        ``root / relative``.

    Raises:
        ValueError: ``relative`` is absolute or leads out of ``root``.
    """
    first = os.path.normpath(relative).split(os.sep, 1)[0]
    if os.path.isabs(relative) or first == os.pardir:
        raise ValueError(
            f'path {relative!r} leaves its root {root}: expected a relative '
            'path below it'
        )
    return Path(os.path.normpath(os.path.join(root, relative)))


def visible_entries(
    folder: str | os.PathLike[str],
) -> Iterator[os.DirEntry[str]]:
    """Yield what lies in a folder, except hidden files and folders."""
    with os.scandir(folder) as entries:
        yield from (e for e in entries if not e.name.startswith('.'))
