"""Writes sample sets: what the raw formats share."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from numpy.random import Generator
from tqdm import tqdm

from mmseg_ext.sample_data.scenes.render import check_arguments, is_whole
from mmseg_ext.utils.files import visible_entries, write_bytes
from mmseg_ext.utils.processes import check_nproc, ordered_map
from mmseg_ext.utils.scratch import working_in

__all__ = [
    'Drawn',
    'SetWriter',
    'Slot',
    'Splits',
    'check_num',
    'choose',
    'split_scenes',
]

#: Shares of the scenes that go into each split; the rest is for training.
_VAL_SHARE = _TEST_SHARE = 0.2

#: Numbers of the scenes in each split.
Splits = Mapping[str, range]
_Files = Mapping[str, bytes]  # contents by path
_Size = tuple[int, int]


class Slot(NamedTuple):
    """Place of a scene in a set.

    Attributes:
        number: Its number in the set.
        split: Name of its split.
        place: Its number in the split.
    """

    number: int
    split: str
    place: int


class Drawn(NamedTuple):
    """What a scene adds to a set.

    Attributes:
        contents: Contents of its files in the order of their paths; what
            follows after the last path is not asked for.
        rows: What the set's last files are made of.
    """

    contents: Iterable[bytes]
    rows: Any = None


def split_scenes(num: int) -> dict[str, range]:
    """Divide scene numbers among the splits, 60/20/20.

    Args:
        num: Number of scenes, at least 3.

    Returns:
        Scene numbers of ``train``, ``val`` and ``test``, none of them empty.

    Raises:
        ValueError: ``num`` is no whole number of at least 3.
    """
    check_num(num, 3, 'of train, val and test')
    val, test = (max(1, round(num * s)) for s in (_VAL_SHARE, _TEST_SHARE))
    train = num - val - test
    return {
        'train': range(train),
        'val': range(train, train + val),
        'test': range(train + val, num),
    }


def check_num(num: int, least: int, each: str) -> None:
    """Check the number of scenes; ``each`` says what needs one.

    Raises:
        ValueError: ``num`` is no whole number of at least ``least``.
    """
    if not is_whole(num) or num < least:
        raise ValueError(
            f'num={num!r}: expected a whole number of at least {least}, one '
            f'image for each {each}'
        )


def choose(rng: Generator, shares: Mapping[str, float]) -> str:
    """Draw a name by its share; the shares sum to 1."""
    return str(rng.choice(list(shares), p=list(shares.values())))


def _no_files(*_: Any) -> _Files:
    return {}


@dataclass(frozen=True)
class SetWriter:
    """A function that writes sample sets in one raw format.

    Paths are relative to the folder of the set.

    Attributes:
        name: Of what is drawn, for the progress bar.
        size: Default width and height of the images in pixels.
        paths: Lists the files of a scene.
        draw: Draws a scene, given size and seed of the set.
        split: Divides scenes among splits.
        first: Makes files that are written before the scenes, given size and
            seed of the set.
        last: Makes files that are written after the scenes, given the rows of
            all; without any it still tells the paths.
    """

    name: str
    size: _Size
    paths: Callable[[Slot], Sequence[str]]
    draw: Callable[[Slot, _Size, int], Drawn]
    split: Callable[[int], Splits] = split_scenes
    first: Callable[[Splits, _Size, int], _Files] = _no_files
    last: Callable[[Splits, Sequence[Any]], _Files] = _no_files

    def __call__(
        self,
        out_dir: str | os.PathLike,
        *,
        num: int = 40,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        overwrite: bool = False,
        nproc: int = 1,
        progress: bool = True,
    ) -> dict[str, int]:
        """Write a set.

        The same arguments give the same bytes, whatever the number of
        processes, so a run that was stopped is continued by starting it again.

        Args:
            out_dir: Folder to write: new, empty or of an earlier run.
            num: Number of scenes, at least one for each split.
            size: Width and height in pixels, each 32 to 8192; by default that
                of the format.
            seed: Other seeds give other scenes; from 0.
            overwrite: Replace files of the same names and other content.
            nproc: Number of processes.
            progress: Show a progress bar.

        Returns:
            Number of scenes in each split.

        Raises:
            ValueError: An argument is out of range.
            FileExistsError: ``out_dir`` holds other data.
            NotADirectoryError: ``out_dir`` is a file.
        """
        size = self.size if size is None else size
        splits = self.split(num)
        check_arguments(size, seed)
        check_nproc(nproc)
        out_dir = Path(out_dir)
        slots = [
            Slot(number, split, place)
            for split, part in splits.items()
            for place, number in enumerate(part)
        ]
        first, last = self.first(splits, size, seed), self.last(splits, ())
        _check_folder(out_dir, chain(first, last, *map(self.paths, slots)))
        with working_in(out_dir):
            if overwrite:
                # They must not stand beside scenes that they do not describe.
                for path in last:
                    (out_dir / path).unlink(missing_ok=True)
            # Before the scenes: files of another set stop the run early.
            _write(out_dir, first.items(), overwrite)
            work = partial(self._write_scene, out_dir, size, seed, overwrite)
            rows = tqdm(
                ordered_map(work, slots, nproc),
                desc=self.name,
                total=len(slots),
                unit='scene',
                disable=not progress,
            )
            _write(out_dir, self.last(splits, list(rows)).items(), overwrite)
        return {split: len(part) for split, part in splits.items()}

    def _write_scene(
        self,
        out_dir: Path,
        size: _Size,
        seed: int,
        overwrite: bool,
        slot: Slot,
    ) -> Any:
        """Write the files of a scene and return its rows."""
        contents, rows = self.draw(slot, size, seed)
        files = zip(self.paths(slot), contents, strict=False)
        _write(out_dir, files, overwrite)
        return rows


def _check_folder(out_dir: Path, paths: Iterable[str]) -> None:
    """Refuse a folder that holds files beside those to be written.

    A set that was made with another number of scenes has other splits: what
    is left of it would put images of one split into another.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise NotADirectoryError(
            f'{out_dir} is a file; expected a folder, existing or new'
        )
    files = set(map(PurePath, paths))
    folders = {folder for path in files for folder in path.parents}
    for folder in sorted(folders - {PurePath()}):
        if not (out_dir / folder).is_dir():
            continue
        # Hidden files are left by a run that was stopped while it wrote.
        for name in sorted(e.name for e in visible_entries(out_dir / folder)):
            if folder / name not in files | folders:
                raise FileExistsError(
                    f'{out_dir / folder} holds {name}, which is not part of '
                    'this sample set: write to an empty folder, or remove the '
                    'old set first'
                )


def _write(
    out_dir: Path, files: Iterable[tuple[str, bytes]], overwrite: bool
) -> None:
    """Write files unless they are there already."""
    for name, data in files:
        path = out_dir / name
        if path.is_file() and path.read_bytes() == data:
            continue
        if path.exists() and not overwrite:
            raise FileExistsError(
                f'{path} exists with other content: write to an empty '
                'folder, use the seed and size it was made with, or allow '
                'overwriting'
            )
        write_bytes(path, data)
