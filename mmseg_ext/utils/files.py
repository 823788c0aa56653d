"""Files that are either whole or not there, and paths that stay inside."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it when all went well.

    A reader therefore sees the old file or the whole new one, never a part,
    and a run that was stopped leaves nothing that looks finished.

    Args:
        path: The file to write. Missing parent folders are made.

    Yields:
        A path in the same folder with the same suffix, to be written.
    """
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    temporary = os.path.join(folder, f'.{stem}.{secrets.token_hex(4)}{suffix}')
    os.makedirs(folder or os.curdir, exist_ok=True)
    try:
        yield Path(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


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
