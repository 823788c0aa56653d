"""What lies in the folder that a converter writes, and may stay there."""

import filecmp
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import numpy as np

from mmseg_ext.converters.core import Invalid, InvalidInputError
from mmseg_ext.formats.masks import is_label_map_png, read_mask
from mmseg_ext.utils.files import atomic_path, find_files, write_bytes

__all__ = ['Outputs']

Job = TypeVar('Job')
Result = TypeVar('Result')

#: What PNG files begin with.
_PNG = b'\x89PNG\r\n\x1a\n'


@dataclass(frozen=True)
class Outputs:
    """The files that a converter writes for each input, and what is there.

    A run that was stopped is continued by the same command and ends in the
    same bytes: what is there is kept if it is what the input gives. Anything
    else is refused, so that results of other data, other options or another
    converter never pass for those of this run.

    Attributes:
        out_dir: The folder to write.
        overwrite: Replace what is there instead of refusing it.
    """

    out_dir: Path
    overwrite: bool = False

    def keep_apart(
        self,
        results: Iterable[Path],
        inputs: Iterable[str | os.PathLike[str]],
        searched: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        """Check that no result takes the place of an input, or becomes one.

        Links are followed: two paths may lead to one file.

        Args:
            results: All results of this run. No input may lie in a folder
                that they go to, but for ``out_dir`` itself.
            inputs: The files that are read.
            searched: Folders in which the next run looks for its input. No
                result may lie there.

        Raises:
            ValueError: A result and an input meet.
        """
        files, parents = set[str](), set[Path]()
        for path in results:
            if path.parent == self.out_dir:
                files.add(os.path.realpath(path))
            else:
                parents.add(path.parent)
        folders = set(map(os.path.realpath, parents))
        for place, file in _places(inputs):
            met = _first_inside(os.path.dirname(place), folders)
            if met or place in files:
                raise ValueError(
                    f'{file} is read, but {met or place} is to be written: '
                    'choose another out_dir'
                )
        sources = {os.path.realpath(folder) for folder in searched}
        for folder in sorted(folders):
            if met := _first_inside(folder, sources):
                raise ValueError(
                    f'{folder} is to be written, but the next run would take '
                    f'what lies in {met} for input: choose another out_dir'
                )

    def refuse_strangers(
        self, expected: Iterable[Path], folders: Iterable[Path] = ()
    ) -> None:
        """Check that the folders of results hold nothing else.

        Args:
            expected: All results of this run. The folders in ``out_dir`` that
                hold them are searched at any depth.
            folders: Searched as well, though this run may put nothing there.

        Raises:
            ValueError: A file there is none of them.
        """
        expected = set(expected)
        tops = {
            self.out_dir / path.relative_to(self.out_dir).parts[0]
            for path in expected
        }
        for folder in sorted(tops.union(folders)):
            for name in find_files(folder):
                self.refuse_stranger(folder / name, expected)

    def refuse_stranger(self, path: Path, expected: Container[Path]) -> None:
        """Check that a file is a result of this run, if it is there.

        Raises:
            ValueError: It is there, and none of them.
        """
        if path not in expected and os.path.lexists(path):
            raise ValueError(
                f'{path} is there, but no input of this run gives it: '
                'give all data roots in one run, remove it, or choose '
                'another out_dir'
            )

    def start_anew(self, summaries: Iterable[Path]) -> None:
        """Remove what speaks for the whole folder, if results get replaced.

        A run that then fails leaves none that tells of other results.

        Args:
            summaries: What is written in the end, such as class lists.
        """
        if self.overwrite:
            for path in summaries:
                path.unlink(missing_ok=True)

    def sift(
        self,
        results: Iterable[tuple[Job, Result | InvalidInputError]],
        invalid: Invalid,
        targets: Callable[[Job], Iterable[Path]],
    ) -> Iterator[tuple[Job, Result]]:
        """Yield the jobs that went well; let nothing stay of the others.

        Args:
            results: As from :func:`~mmseg_ext.converters.core.run_jobs`.
            invalid: What to do about invalid input.
            targets: Returns the results of a job.

        Raises:
            ValueError: An input is invalid and may not be left out, all are,
                or the result of one is there and may not be removed.
        """

        def drop(job: Job, error: InvalidInputError) -> None:
            self.drop(targets(job), error.file)

        return invalid.sift(results, drop)

    def drop(
        self, paths: Iterable[Path], source: str | os.PathLike[str]
    ) -> None:
        """Let nothing stay of an input that is left out.

        Raises:
            ValueError: A result is there and may not be removed.
        """
        for path in filter(Path.exists, paths):
            if not self.overwrite:
                self.refuse(path, source)
            path.unlink()

    def refuse(self, path: Path, source: str | os.PathLike[str]) -> NoReturn:
        """Raise that a result is not what its source gives."""
        raise ValueError(
            f'{path} is there, but is not what {source} gives: use '
            'overwrite=True, or another out_dir'
        )

    def claim(
        self, record: Path, made_from: Any, results: Iterable[Path]
    ) -> bool:
        """Check by a record, not one by one, what results were made from.

        For results that take long to make again and compare. What was made
        before there was a record, or is beside an emptied one, has to be
        compared all the same; then :meth:`note` writes it at the end of the
        run.

        Args:
            record: JSON file that says what they were made from.
            made_from: What it says in this run.
            results: Where they are or will be; removed to start anew.

        Returns:
            Whether results that are there may be trusted.

        Raises:
            ValueError: The results were made from something else.
        """
        if self.overwrite:
            for path in results:
                path.unlink(missing_ok=True)
        elif record.exists() and (there := record.read_bytes()):
            if there != _record(made_from):
                raise ValueError(
                    f'{self.out_dir} holds results of other input, as '
                    f'{record} tells: use overwrite=True, or another out_dir'
                )
        elif any(path.exists() for path in results):
            return False
        self.note(record, made_from)
        return True

    def note(self, record: Path, made_from: Any) -> None:
        """Write a record for :meth:`claim`."""
        write_bytes(record, _record(made_from), durable=True)

    def is_whole(self, path: Path, size: tuple[int, int]) -> bool:
        """Tell whether a label map is there and not damaged.

        For results that :meth:`claim` says to trust. Each part of a PNG file
        has a checksum; an image of the same size that was put in the place of
        the label map is not seen.

        Args:
            path: The result.
            size: Its width and height.
        """
        try:
            return _is_whole_label_map(path.read_bytes(), size)
        except FileNotFoundError:
            return False

    def read_labels(self, path: Path) -> np.ndarray | None:
        """Read a label map that is there, in the form that converters write.

        Args:
            path: The result.

        Returns:
            uint8 (H, W); None if the file is missing, broken or of another
            form than an 8-bit gray PNG, which not all loaders read alike.
        """
        with suppress(OSError):
            return _label_map(path.read_bytes())
        return None

    def write_png(
        self,
        path: Path,
        data: bytes,
        source: str | os.PathLike[str],
        scratch: Path | None = None,
    ) -> bool:
        """Write a label map, unless one of the same pixels is there.

        Args:
            path: The result.
            data: Its content, an 8-bit gray PNG.
            source: What it was made from, for messages.
            scratch: See :func:`mmseg_ext.utils.files.atomic_path`.

        Returns:
            Whether it was written.

        Raises:
            ValueError: Another file is there.
        """
        with suppress(FileNotFoundError):
            if os.path.samefile(source, path):
                raise ValueError(
                    f'{path} would take the place of what it is made from: '
                    'choose another out_dir'
                )
        if not self.overwrite:
            with suppress(FileNotFoundError):
                there = path.read_bytes()
                # The power may have failed before the disk had it.
                if there:
                    if there != data and not _same_pixels(there, data):
                        self.refuse(path, source)
                    return False
        write_bytes(path, data, scratch)
        return True

    def place(
        self, source: str | os.PathLike[str], path: Path, copy: bool
    ) -> bool:
        """Link or copy an input, unless it is there.

        Args:
            source: The input; links are resolved.
            path: The result.
            copy: Copy, even where a hard link can be made.

        Returns:
            Whether something was done.

        Raises:
            ValueError: Another file is there.
        """
        source = os.path.realpath(source)
        if path.exists():
            linked = os.path.samefile(source, path)
            if linked and not copy:
                return False
            if not linked and not self.overwrite:
                if not filecmp.cmp(source, path, shallow=False):
                    self.refuse(path, source)
                return False
        with atomic_path(path) as temporary:
            if not copy:
                # Not every file system has hard links, and none to another.
                with suppress(OSError):
                    os.link(source, temporary)
                    return True
            shutil.copy2(source, temporary)
        return True


def _record(made_from: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(made_from))


def _places(
    files: Iterable[str | os.PathLike[str]],
) -> Iterator[tuple[str, str]]:
    """Yield where files lie, and where links among them lead to, with each."""
    real: dict[str, str] = {}
    for path in files:
        file = os.fspath(path)
        folder, name = os.path.split(file)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        yield os.path.join(real[folder], name), file
        if os.path.islink(file):
            yield os.path.realpath(file), file


def _first_inside(path: str, folders: Container[str]) -> str | None:
    """Return the first of a path and the folders around it that is listed."""
    while path not in folders:
        path, below = os.path.dirname(path), path
        if path == below:
            return None
    return path


def _is_whole_label_map(data: bytes, size: tuple[int, int]) -> bool:
    """Check form, size and checksums of an 8-bit gray PNG file.

    Source: W3C PNG, third edition.
    """
    header = struct.pack('>I4sIIBB', 13, b'IHDR', *size, 8, 0)
    name, at = b'', len(_PNG)
    if not data.startswith(_PNG + header) or not is_label_map_png(data):
        return False
    while name != b'IEND':
        length, name = struct.unpack_from('>I4s', data.ljust(at + 8), at)
        stop = at + 8 + length
        checksum = struct.pack('>I', zlib.crc32(data[at + 4 : stop]))
        if data[stop : stop + 4] != checksum:
            return False
        at = stop + 4
    return at == len(data)


def _label_map(data: bytes) -> np.ndarray | None:
    """Decode an 8-bit gray PNG file; None of any other, or a broken one."""
    if is_label_map_png(data):
        with suppress(ValueError):
            return read_mask(data, 'it').pixels
    return None


def _same_pixels(one: bytes, other: bytes) -> bool:
    """Compare label maps: processors may compress to different bytes."""
    labels, others = _label_map(one), _label_map(other)
    if labels is None or others is None:
        return False
    return np.array_equal(labels, others)
