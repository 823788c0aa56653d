"""What the writers of all formats share: splits, checks and files."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmseg_ext.utils.files import write_bytes

#: Shares of the scenes that go into each split; the rest is for training.
_VAL_SHARE = _TEST_SHARE = 0.2


def split_scenes(num: int) -> dict[str, range]:
    """Divide scene numbers among the splits, 60/20/20.

    Args:
        num: Number of scenes, at least 3.

    Returns:
        Scene numbers of ``train``, ``val`` and ``test``, none of them empty.

    Raises:
        ValueError: ``num`` is no whole number of at least 3.
    """
    whole = isinstance(num, int | np.integer) and not isinstance(num, bool)
    if not whole or num < 3:
        raise ValueError(
            'num: expected a whole number of at least 3, one image for each '
            f'of train, val and test, got {num!r}'
        )
    num = int(num)
    val, test = (max(1, round(num * s)) for s in (_VAL_SHARE, _TEST_SHARE))
    train = num - val - test
    return {
        'train': range(train),
        'val': range(train, train + val),
        'test': range(train + val, num),
    }


def check_folders(root: Path, expected: Iterable[str]) -> None:
    """Refuse folders that hold other images than those to be written.

    A set that was made with another number of scenes has other splits: what
    is left of it would put images of one split into another.

    Args:
        root: Folder of the data set.
        expected: Paths below it that will be written.

    Raises:
        FileExistsError: There is another file.
    """
    expected = {root / path for path in expected}
    for folder in sorted({path.parent for path in expected} - {root}):
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            # Hidden: left by a run that was stopped while it wrote.
            if path not in expected and not path.name.startswith('.'):
                raise FileExistsError(
                    f'{folder} holds {path.name}, which is not part of this '
                    'sample set: write to an empty folder, or remove the old '
                    'set first'
                )


def write_same(path: Path, data: bytes, overwrite: bool) -> None:
    """Write a file unless it is there already.

    Args:
        path: The file; parent folders are made.
        data: Its content.
        overwrite: Replace a file of other content.

    Raises:
        FileExistsError: The file has other content.
    """
    if path.exists():
        if path.is_file() and path.read_bytes() == data:
            return
        if not overwrite:
            raise FileExistsError(
                f'{path} exists with other content: write to an empty '
                'folder, use the seed and size it was made with, or allow '
                'overwriting'
            )
    write_bytes(path, data)


def checked_root(root: str | os.PathLike) -> Path:
    """Give the root as a path.

    Raises:
        NotADirectoryError: It is a file.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(
            f'{root} is a file; expected a folder, existing or new'
        )
    return root
