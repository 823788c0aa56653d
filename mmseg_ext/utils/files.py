"""Files that are either whole or not there, and paths that stay inside."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f'.{path.stem}.', suffix=path.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read; ask for what
        # an ordinary open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
    root = Path(root)
    joined = Path(os.path.normpath(root / relative))
    if Path(relative).is_absolute() or not joined.is_relative_to(
        os.path.normpath(root)
    ):
        raise ValueError(
            f'path {relative!r} leaves its root {root}: expected a relative '
            'path below it'
        )
    return joined
