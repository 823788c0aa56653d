"""What lies in the folder that a converter writes, and may stay there."""

import filecmp
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import cv2
import msgspec
import numpy as np

from mmseg_ext.converters.core import Invalid, InvalidInputError
from mmseg_ext.utils.files import atomic_path, visible_entries, write_bytes
from mmseg_ext.utils.images import decode_image

__all__ = ['Outputs']

Job = TypeVar('Job')
Result = TypeVar('Result')


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

    def refuse_strangers(self, expected: Iterable[Path]) -> None:
        """Check that the folders of results hold nothing else.

        Args:
            expected: All results of this run.

        Raises:
            ValueError: A file there is none of them.
        """
        expected = set(expected)
        for folder in sorted({path.parent for path in expected}):
            for entry in visible_entries(folder):
                path = folder / entry.name
                if path not in expected and not entry.is_dir():
                    raise ValueError(
                        f'{path} is there, but no input of this run gives it: '
                        'give all data roots in one run, remove it, or choose '
                        'another out_dir'
                    )

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
            ValueError: An input is invalid and may not be left out, or its
                result is there and may not be removed.
        """
        for job, result in results:
            if isinstance(result, InvalidInputError):
                invalid.note(result)
                self.drop(targets(job), result.file)
            else:
                yield job, result

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
        before there was a record has to be compared all the same; then
        :meth:`note` writes it at the end of the run.

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
        elif record.exists():
            if record.read_bytes() != _record(made_from):
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

    def write_png(
        self,
        path: Path,
        data: bytes,
        source: str | os.PathLike[str],
        scratch: Path | None = None,
    ) -> bool:
        """Write a PNG file, unless one of the same pixels is there.

        Args:
            path: The result.
            data: Its content.
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


def _same_pixels(one: bytes, other: bytes) -> bool:
    """Compare images: processors may compress to different bytes."""
    with suppress(ValueError):
        return np.array_equal(
            decode_image(one, 'it', cv2.IMREAD_UNCHANGED),
            decode_image(other, 'it', cv2.IMREAD_UNCHANGED),
        )
    return False
