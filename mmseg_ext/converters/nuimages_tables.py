"""The tables of nuImages: checked rows, and where those of an image lie.

The two tables of annotations have close to a gigabyte. They are read once, row
by row, to note where the rows of each image lie; whoever converts the image
then reads just these. So memory holds some numbers a row, and no process holds
a table.
"""

import base64
import hashlib
import json
import os
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from tqdm import tqdm

from mmseg_ext.converters.core import (
    Invalid,
    InvalidInputError,
    name_fault,
)
from mmseg_ext.formats.json_files import Coordinate, Side, decode_json
from mmseg_ext.formats.json_rows import Row, iter_rows
from mmseg_ext.labels.nuimages import NUIMAGES
from mmseg_ext.utils.files import path_inside
from mmseg_ext.utils.images import MAX_PIXELS

__all__ = [
    'TABLES',
    'Annotation',
    'Image',
    'Index',
    'InvalidRowError',
    'KeyFrame',
    'Object',
    'Span',
    'Surface',
    'mask_name',
    'read_annotations',
]

#: The tables that are read.
TABLES = ('category', 'sample', 'sample_data', 'object_ann', 'surface_ann')

# Rows as the tables hold them; msgspec checks the types. Other fields of the
# rows are not read.


class InvalidRowError(ValueError):
    """A row that contradicts another, or is not as the schema says."""

    def __init__(self, table: str, token: str, reason: str) -> None:
        super().__init__(table, token, reason)
        self.table, self.token, self.reason = table, token, reason

    def of(self, folder: Path, image: str | None) -> InvalidInputError:
        """Name the file, and the image if the row belongs to one."""
        about = f'image {image}: ' if image else ''
        return InvalidInputError(
            folder / f'{self.table}.json',
            f'token {self.token}: {about}{self.reason}',
        )


class _Named(msgspec.Struct):
    """A row that errors name."""

    table: ClassVar[str]
    token: str

    def error(self, reason: str) -> InvalidRowError:
        """Return that something is wrong with the row."""
        return InvalidRowError(self.table, self.token, reason)


class _Category(msgspec.Struct):
    token: str
    name: str


class _Sample(msgspec.Struct):
    token: str


class _SampleData(msgspec.Struct):
    is_key_frame: bool


class KeyFrame(_Named):
    """The row of an annotated photograph in ``sample_data``."""

    table: ClassVar[str] = 'sample_data'
    sample_token: str
    filename: str
    width: Side
    height: Side


class _OfFrame(msgspec.Struct):
    sample_data_token: str


class _Mask(msgspec.Struct):
    size: tuple[Side, Side]
    counts: str


class Surface(_Named):
    """A row of ``surface_ann``."""

    table: ClassVar[str] = 'surface_ann'
    category_token: str
    mask: _Mask | None


class Object(Surface):
    """A row of ``object_ann``; the box is xmin, ymin, xmax, ymax, amodal."""

    table: ClassVar[str] = 'object_ann'
    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class Span(NamedTuple):
    """Where a row lies in its table, in bytes, and its CRC-32."""

    start: int
    length: int
    checksum: int


@dataclass(frozen=True)
class Image:
    """A key frame and where the rows about it lie in the tables.

    Attributes:
        number: Its place in ``sample_data``, from 1.
        frame: Its row.
        name: Path of the photograph, normalized, relative to the data root.
        spans: The rows of its annotations, by table.
    """

    number: int
    frame: KeyFrame
    name: str
    spans: dict[str, list[Span]]


def mask_name(name: str) -> str:
    """Return the path of the label map of a photograph."""
    return os.path.splitext(name)[0] + '.png'


Kind = TypeVar('Kind', bound=msgspec.Struct)
SurfaceOrObject = TypeVar('SurfaceOrObject', bound=Surface, covariant=True)


class _Frame(NamedTuple):
    """A key frame and the name of its photograph."""

    frame: KeyFrame
    name: str


class Index:
    """Which rows belong to which key frame.

    Args:
        folder: Folder of the tables of a version.
        invalid: What to do about invalid rows.

    Attributes:
        categories: Class name of each category, by its token.
        digests: BLAKE2b of each table, by its file name.
        has_annotations: Whether there are any, invalid ones included.
    """

    def __init__(self, folder: Path, invalid: Invalid) -> None:
        self.folder = folder
        self.categories: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.has_annotations = False
        self._invalid = invalid
        #: None where the row of the key frame is invalid.
        self._frames: list[_Frame | None] = []
        self._numbers: dict[str, int] = {}
        self._spans: dict[str, _Spans] = {}
        self._states: dict[str, tuple[int, int]] = {}

    def read(self, progress: bool = True) -> None:
        """Read each table once."""
        sizes = (self._path(name).stat().st_size for name in TABLES)
        with tqdm(
            total=sum(sizes),
            unit='B',
            unit_scale=True,
            desc=f'{self.folder.name} tables',
            disable=not progress,
        ) as self._bar:
            self._read_categories()
            self._read_frames()
            for name in ('surface_ann', 'object_ann'):
                self._spans[name] = self._read_spans(name)
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Check that the tables are those that were read.

        By size and time; what is read of them later has checksums besides.

        Raises:
            OSError: A table is gone.
            ValueError: A table was changed.
        """
        for name, state in self._states.items():
            if _state(self._path(name)) != state:
                raise _changed(self._path(name))

    def names(self) -> list[str]:
        """List the photographs of the valid key frames."""
        return [entry.name for entry in self._frames if entry]

    def images(self) -> Iterator[Image]:
        """Yield the valid key frames in the order of ``sample_data``."""
        for number, entry in enumerate(self._frames):
            if entry:
                spans = {key: s.of(number) for key, s in self._spans.items()}
                yield Image(number + 1, entry.frame, entry.name, spans)

    def _path(self, table: str) -> Path:
        return self.folder / f'{table}.json'

    def _table(self, name: str) -> Iterator[Row]:
        """Read a table, with its digest and the progress bar."""
        digest = hashlib.blake2b(digest_size=16)

        def on_chunk(chunk: bytes) -> None:
            digest.update(chunk)
            self._bar.update(len(chunk))

        self._states[name] = _state(self._path(name))
        yield from iter_rows(self._path(name), on_chunk)
        self.digests[f'{name}.json'] = digest.hexdigest()

    def _read_categories(self) -> None:
        for row in self._table('category'):
            category = self._decode_or_stop('category', row, _Category)
            self.categories[category.token] = category.name

    def _read_frames(self) -> None:
        samples = {
            self._decode_or_stop('sample', row, _Sample).token
            for row in self._table('sample')
        }
        masks: set[str] = set()
        for row in self._table('sample_data'):
            name = None
            try:
                data = _decode('sample_data', row.raw, _SampleData)
                if not data.is_key_frame:
                    continue
                frame = _decode('sample_data', row.raw, KeyFrame)
                name = _safe_name(frame, self.folder.parent)
                self._check_frame(frame, samples)
                if (mask := mask_name(name)) in masks:
                    raise frame.error(
                        f'filename {name!r} is that of another key frame'
                    )
                masks.add(mask)
            except InvalidRowError as error:
                self._invalid.note(error.of(self.folder, name))
                self._numbers.setdefault(error.token, len(self._frames))
                self._frames.append(None)
            else:
                self._numbers[frame.token] = len(self._frames)
                self._frames.append(_Frame(frame, name))

    def _check_frame(self, frame: KeyFrame, samples: set[str]) -> None:
        """Compare a key frame with the other rows."""
        if frame.token in self._numbers:
            raise frame.error('another row has the same token')
        if frame.sample_token not in samples:
            raise frame.error(
                f'sample_token {frame.sample_token!r} is not in sample.json'
            )
        if frame.width < 1 or frame.height < 1:
            raise frame.error(
                f'size {frame.width}x{frame.height}: expected 1 or more pixels'
                ' each way'
            )
        if frame.width * frame.height > MAX_PIXELS:
            raise frame.error(
                f'size {frame.width}x{frame.height}: expected at most '
                f'{MAX_PIXELS} pixels'
            )

    def _read_spans(self, name: str) -> '_Spans':
        spans = _Spans(len(self._frames))
        for row in self._table(name):
            self.has_annotations = True
            try:
                token = decode_json(row.raw, _OfFrame).sample_data_token
            except ValueError:
                # Who converts the image says what else is wrong.
                token = _field(row.raw, 'sample_data_token')
            if token in self._numbers:
                spans.add(self._numbers[token], row)
                continue
            error = InvalidRowError(
                name,
                _field(row.raw, 'token'),
                f'sample_data_token {token!r} is that of no key frame in '
                'sample_data.json',
            )
            self._invalid.note(error.of(self.folder, None))
        spans.group()
        return spans

    def _decode_or_stop(self, table: str, row: Row, kind: type[Kind]) -> Kind:
        """Decode a row that is about no single image, so cannot be skipped."""
        try:
            return _decode(table, row.raw, kind)
        except InvalidRowError as error:
            raise ValueError(
                f'{self._path(table)}: token {error.token}: {error.reason}; '
                'download the metadata again'
            ) from None


class _Spans:
    """Where the rows of each image lie: some bytes a row."""

    def __init__(self, num_images: int) -> None:
        self._num_images = num_images
        self._image, self._length = array('I'), array('I')
        self._start, self._checksum = array('Q'), array('I')

    def add(self, image: int, row: Row) -> None:
        self._image.append(image)
        self._start.append(row.start)
        self._length.append(len(row.raw))
        self._checksum.append(zlib.crc32(row.raw))

    def group(self) -> None:
        """Sort by image; the rows of an image keep their order."""
        image = np.frombuffer(self._image, np.uint32)
        order = np.argsort(image, kind='stable')
        self._starts = np.frombuffer(self._start, np.uint64)[order]
        self._lengths = np.frombuffer(self._length, np.uint32)[order]
        self._checksums = np.frombuffer(self._checksum, np.uint32)[order]
        self._bounds = np.searchsorted(
            image[order], np.arange(self._num_images + 1)
        )
        # Tens of megabytes:
        del self._image, self._start, self._length, self._checksum

    def of(self, image: int) -> list[Span]:
        part = slice(self._bounds[image], self._bounds[image + 1])
        columns = self._starts, self._lengths, self._checksums
        return list(map(Span, *(column[part].tolist() for column in columns)))


# The rows of an image.


@dataclass(frozen=True)
class Annotation(Generic[SurfaceOrObject]):
    """A row, its class name, and the compressed code of its mask, if any."""

    row: SurfaceOrObject
    name: str
    code: bytes | None


def read_annotations(
    kind: type[SurfaceOrObject],
    folder: Path,
    image: Image,
    categories: Mapping[str, str],
) -> list[Annotation[SurfaceOrObject]]:
    """Read and check the annotations of an image.

    Args:
        kind: :class:`Surface` or :class:`Object`.
        folder: Folder of the tables.
        image: Which image.
        categories: Class name of each category, by its token.

    Raises:
        InvalidRowError: A row is not as the schema says.
        OSError: The table is gone.
        ValueError: A row is not the one that was there before.
    """
    found, tokens = [], set()
    path = folder / f'{kind.table}.json'
    with open(path, 'rb') as file:
        for start, length, checksum in image.spans[kind.table]:
            file.seek(start)
            raw = file.read(length)
            if zlib.crc32(raw) != checksum:
                raise _changed(path)
            row = _decode(kind.table, raw, kind)
            if row.token in tokens:
                raise row.error('another row has the same token')
            tokens.add(row.token)
            name = _category(row, categories)
            found.append(Annotation(row, name, _mask_code(row, image.frame)))
    return found


def _state(path: Path) -> tuple[int, int]:
    """Return size and time of a table."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _changed(path: Path) -> ValueError:
    return ValueError(
        f'table {path} was changed while it was read: let it be until the run '
        'has ended, and start it again'
    )


def _category(row: Surface, categories: Mapping[str, str]) -> str:
    """Return the class name of an annotation."""
    name = categories.get(row.category_token)
    if name is None or name not in NUIMAGES:
        what = (
            'not in category.json'
            if name is None
            else f'that of {name!r}, which is no class of nuImages'
        )
        raise row.error(f'category_token {row.category_token!r} is {what}')
    return name


def _mask_code(row: Surface, frame: KeyFrame) -> bytes | None:
    """Return the compressed code of a mask; None without one."""
    if row.mask is None:
        return None
    height, width = row.mask.size
    if (height, width) != (frame.height, frame.width):
        raise row.error(
            f'mask of {width}x{height} pixels, its image has '
            f'{frame.width}x{frame.height}'
        )
    try:
        return base64.b64decode(row.mask.counts, validate=True)
    except ValueError as error:
        raise row.error(f'mask: broken base64: {error}') from None


def _decode(table: str, raw: bytes, kind: type[Kind]) -> Kind:
    """Decode a row and check the types of its fields."""
    try:
        return decode_json(raw, kind)
    except ValueError as error:
        raise InvalidRowError(
            table, _field(raw, 'token'), str(error)
        ) from None


def _field(raw: bytes, name: str) -> str:
    """Find a field of a row whose other fields may be wrong."""
    try:
        value = json.loads(raw.decode(errors='replace')).get(name)
    except (RecursionError, ValueError):  # nested too deep, or a huge number
        found = re.search(rf'"{name}"\s*:\s*"([^"\\]*)"'.encode(), raw)
        value = found and found[1].decode(errors='replace')
    return value if isinstance(value, str) else f'{value!r} (no string)'


def _safe_name(frame: KeyFrame, root: Path) -> str:
    """Return the path of a photograph, normalized, if it stays in the root."""
    try:
        path_inside(root, frame.filename)
    except ValueError as error:
        raise frame.error(f'filename: {error}') from None
    name = os.path.normpath(frame.filename)
    if name == os.curdir:
        raise frame.error(f'filename {frame.filename!r} names no file')
    if fault := name_fault(name):
        raise frame.error(f'filename: {fault}')
    return name
