"""What was read of files, kept for the next time."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from mmseg_ext.doctor.parts import ImageScan, LabelScan
from mmseg_ext.utils.files import read_file, write_bytes

__all__ = ['ScanCache']

#: Rises when scans hold other things, or loaders of ours give other labels.
_VERSION = 1

#: Size in bytes and time of the last change, in nanoseconds.
Stamp = tuple[int, int]


#: Path of a file, and what loads it; nothing for an image.
Key = tuple[bytes, bytes]

Scan = TypeVar('Scan', ImageScan, LabelScan)


class _Entry(msgspec.Struct, Generic[Scan], array_like=True, frozen=True):
    path: bytes
    loader: bytes
    stamp: Stamp
    scan: Scan


class _Content(msgspec.Struct):
    """What the file holds."""

    version: int
    images: list[_Entry[ImageScan]]
    labels: list[_Entry[LabelScan]]


class _Scans(Generic[Scan]):
    """Scans of one kind of files."""

    def __init__(self, entries: Iterable[_Entry[Scan]] = ()) -> None:
        self.entries: dict[Key, _Entry[Scan]] = {
            (each.path, each.loader): each for each in entries
        }
        self.changed = False
        # As the files were when they were looked for, before they are read.
        self._stamps: dict[Key, Stamp | None] = {}

    def get(self, path: str, loader: bytes) -> Scan | None:
        """Return a scan, if the file has not changed since then."""
        key = _path(path), loader
        stamp = self._stamps[key] = _stamp(path)
        found = self.entries.get(key)
        return found.scan if found and found.stamp == stamp else None

    def put(self, path: str, loader: bytes, scan: Scan) -> None:
        """Keep a scan of a file that was looked for."""
        key = _path(path), loader
        stamp = self._stamps[key]
        if stamp is not None:
            self.entries[key] = _Entry(*key, stamp, scan)
            self.changed = True

    def prune(self) -> None:
        """Drop what is of no use.

        That is files that are gone, and what other loaders made of files
        that were looked for.
        """
        looked_for = {path for path, _ in self._stamps}
        for key in self.entries.keys() - self._stamps.keys():
            if key[0] in looked_for or not os.path.exists(key[0]):
                del self.entries[key]
                self.changed = True


def _path(path: str) -> bytes:
    """Return the whole path; names need not be text."""
    return os.fsencode(os.path.abspath(path))


def _stamp(path: str) -> Stamp | None:
    """Return size and time of a file; None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


class ScanCache:
    """Scans by path, size and time, kept in a file.

    Attributes:
        images: Those of images.
        labels: Those of labels.

    Args:
        path: The file; None keeps nothing. One that is missing, broken or of
            another version is as good as empty.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        content = _read(path)
        self.images = _Scans(content.images)
        self.labels = _Scans(content.labels)

    def prune(self) -> None:
        """Drop files that are gone, and loaders that are no more."""
        self.images.prune()
        self.labels.prune()

    def save(self) -> None:
        """Write the file, whole or not at all, if anything has changed.

        Raises:
            OSError: It cannot be written.
        """
        if self._path is None or not (
            self.images.changed or self.labels.changed
        ):
            return
        content = _Content(
            _VERSION,
            list(self.images.entries.values()),
            list(self.labels.entries.values()),
        )
        write_bytes(self._path, msgspec.msgpack.encode(content))


def _read(path: Path | None) -> _Content:
    """Read the file of a cache."""
    empty = _Content(_VERSION, [], [])
    if path is None:
        return empty
    # What cannot be read is written anew.
    with suppress(OSError, ValueError, RecursionError):
        content = msgspec.msgpack.decode(read_file(path, None), type=_Content)
        if content.version == _VERSION:
            return content
    return empty
