"""nuImages: the release's tables to label maps and COCO instances.

The two tables of annotations have close to a gigabyte. They are read once, row
by row, to note where the rows of each image lie; whoever converts the image
then reads just these. So memory holds some numbers a row, and no process holds
a table.
"""

import base64
import hashlib
import itertools
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, ClassVar, NoReturn

import cv2
import msgspec
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from mmseg_ext.formats.json_rows import Row, iter_rows
from mmseg_ext.formats.rle import decode_runs, paint_runs
from mmseg_ext.labels.nuimages import NUIMAGES, THING_OF, THINGS
from mmseg_ext.utils.files import atomic_path, path_inside, write_bytes
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.processes import check_nproc, ordered_map

VERSIONS = ('v1.0-mini', 'v1.0-train', 'v1.0-val', 'v1.0-test')

#: The version that comes without annotations.
_UNLABELED = 'v1.0-test'

#: The version that is large for validating often, the size of the part of it
#: that is written beside it, and the seed it is chosen by.
_VAL, VAL_SUBSET_SIZE, _VAL_SUBSET_SEED = 'v1.0-val', 2400, 0

_IGNORE_INDEX = 255
_INDICES = {name: index for index, name in enumerate(NUIMAGES)}
_THING_IDS = {name: THINGS.index(thing) for name, thing in THING_OF.items()}

#: Images a process converts at a time.
_BATCH = 32


@dataclass(frozen=True)
class Skip:
    """Why an image was left out.

    Attributes:
        image: Its ``file_name``; None if the row belongs to none.
        table: File name of the table that holds the row.
        token: Token of the row.
        reason: What is wrong.
    """

    image: str | None
    table: str
    token: str
    reason: str


@dataclass
class Report:
    """What the conversion of a version did.

    Attributes:
        images: Number of images in the COCO file.
        annotations: Number of instances in it.
        written: Number of label maps written.
        kept: Number of label maps that were there already.
        skipped: What was left out.
    """

    images: int = 0
    annotations: int = 0
    written: int = 0
    kept: int = 0
    skipped: list[Skip] = field(default_factory=list)


def find_versions(data_root: str | os.PathLike) -> list[str]:
    """List the versions that lie in a data root.

    Raises:
        FileNotFoundError: There are none.
    """
    found = [name for name in VERSIONS if Path(data_root, name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f'{data_root} holds none of the folders {", ".join(VERSIONS)}; '
            'expected the folder that the metadata of nuImages was unpacked in'
        )
    return found


def convert(
    data_root: str | os.PathLike,
    versions: Iterable[str],
    out_dir: str | os.PathLike,
    nproc: int = 1,
    overwrite: bool = False,
    skip_invalid: bool = False,
) -> dict[str, Report]:
    """Write label maps and COCO files for versions of nuImages.

    Only the tables are read; the photographs need not be there. For each key
    frame ``samples/X.jpg``, ``semantic_masks/samples/X.png`` gets the class
    indices of :data:`mmseg_ext.labels.nuimages.NUIMAGES` and 255 where there
    is no label: surfaces are painted in the order of their table, objects
    over them in the order of their tokens.

    ``nuimages_<version>.json`` has the instances of the ten thing classes. An
    object without mask is kept as a crowd region that fills its amodal box,
    so that detections there count neither for nor against a model.

    A run that was stopped goes on where it was and ends in the same bytes.

    Args:
        data_root: Folder with ``v1.0-train`` and so on.
        versions: Of :data:`VERSIONS`.
        out_dir: Folder to write, usually ``<data_root>/annotations``.
        nproc: Number of processes.
        overwrite: Remove the label maps that are there and start anew.
        skip_invalid: Leave out images with invalid rows and list them in
            ``skipped.json``, instead of stopping at the first.

    Returns:
        A report for each version.

    Raises:
        FileNotFoundError: A table is missing.
        ValueError: A row is invalid, a table broken, a version unknown, or
            ``out_dir`` holds label maps of other tables.
    """
    check_nproc(nproc)
    data_root, out_dir = Path(data_root), Path(out_dir)
    versions = list(dict.fromkeys(versions))
    for version in versions:
        _check_version(data_root, version)
    skipped = out_dir / 'skipped.json'
    listed = _read_skipped(skipped) if skip_invalid else {}
    reports = {}
    for version in versions:
        conversion = _Conversion(
            data_root, version, out_dir, overwrite, skip_invalid
        )
        reports[version] = conversion.run(nproc)
        listed[version] = msgspec.to_builtins(reports[version].skipped)
    if skip_invalid:
        text = msgspec.json.format(msgspec.json.encode(listed))
        write_bytes(skipped, text + b'\n')
    return reports


def _check_version(data_root: Path, version: str) -> None:
    """See that the tables of a version are there."""
    if version not in VERSIONS:
        raise ValueError(
            f'version {version!r}: expected one of {", ".join(VERSIONS)}'
        )
    for name in _TABLES:
        path = data_root / version / f'{name}.json'
        if not path.is_file():
            raise FileNotFoundError(
                f'table {path} is missing; expected the metadata of nuImages '
                f'in {data_root}'
            )


def _read_skipped(path: Path) -> dict[str, list]:
    """Read what was skipped before: other versions keep their entries."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, list])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ValueError(
            f'{path} is no list of skipped images ({error}): remove it'
        ) from None


# Rows as the tables hold them; msgspec checks the types. Other fields of the
# rows are not read.

_TABLES = ('category', 'sample', 'sample_data', 'object_ann', 'surface_ann')


class _Category(msgspec.Struct):
    token: str
    name: str


class _Sample(msgspec.Struct):
    token: str


class _SampleData(msgspec.Struct):
    is_key_frame: bool


class _KeyFrame(msgspec.Struct):
    token: str
    sample_token: str
    filename: str
    width: int
    height: int


class _Annotation(msgspec.Struct):
    sample_data_token: str


class _Mask(msgspec.Struct):
    size: tuple[int, int]
    counts: str


class _Surface(msgspec.Struct):
    table: ClassVar = 'surface_ann'
    token: str
    category_token: str
    mask: _Mask | None


class _Object(_Surface):
    table: ClassVar = 'object_ann'
    bbox: tuple[float, float, float, float]


class _InvalidRowError(ValueError):
    """A row that contradicts another, or is not as the schema says."""

    def __init__(self, table: str, token: str, reason: str) -> None:
        super().__init__(table, token, reason)
        self.table, self.token, self.reason = f'{table}.json', token, reason


@dataclass(frozen=True)
class _Image:
    """A key frame and where the rows about it lie in the tables.

    ``name`` is the path of the photograph, normalized and relative to the
    data root; ``spans`` has start and length in bytes, by table.
    """

    number: int
    frame: _KeyFrame
    name: str
    spans: dict[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class _Converted:
    """What comes back of an image; ``instances`` are JSON without ids."""

    image: _Image
    instances: list[bytes]
    written: bool


class _Index:
    """Which rows belong to which key frame."""

    def __init__(
        self,
        folder: Path,
        on_invalid: Callable[[str | None, _InvalidRowError], None],
    ) -> None:
        self.folder = folder
        self.on_invalid = on_invalid
        self.digests: dict[str, str] = {}
        self.categories: dict[str, str] = {}
        #: None where the row of the key frame is invalid.
        self.frames: list[tuple[_KeyFrame, str] | None] = []
        self.numbers: dict[str, int] = {}
        self.rows: dict[str, _Spans] = {}
        #: Whether there are any, invalid ones included.
        self.has_annotations = False

    def read(self) -> None:
        """Read each table once."""
        sizes = (self.path(name).stat().st_size for name in _TABLES)
        with tqdm(
            total=sum(sizes),
            unit='B',
            unit_scale=True,
            desc=f'{self.folder.name} tables',
        ) as self.bar:
            self.read_categories()
            self.read_frames()
            for name in ('surface_ann', 'object_ann'):
                self.rows[name] = self.read_spans(name)

    def path(self, table: str) -> Path:
        return self.folder / f'{table}.json'

    def table(self, name: str) -> Iterator[Row]:
        """Read a table, with its digest and the progress bar."""
        digest = hashlib.blake2b(digest_size=16)

        def on_chunk(chunk: bytes) -> None:
            digest.update(chunk)
            self.bar.update(len(chunk))

        yield from iter_rows(self.path(name), on_chunk)
        self.digests[f'{name}.json'] = digest.hexdigest()

    def read_categories(self) -> None:
        for row in self.table('category'):
            category = self.decode_or_stop('category', row, _Category)
            self.categories[category.token] = category.name

    def read_frames(self) -> None:
        samples = {
            self.decode_or_stop('sample', row, _Sample).token
            for row in self.table('sample')
        }
        names = set()
        for row in self.table('sample_data'):
            name = None
            try:
                data = _decode('sample_data', row.raw, _SampleData)
                if not data.is_key_frame:
                    continue
                frame = _decode('sample_data', row.raw, _KeyFrame)
                name = _safe_name(frame, self.folder.parent)
                self.check_frame(frame, samples)
                if (mask := _mask_name(name)) in names:
                    _invalid(
                        'sample_data',
                        frame.token,
                        f'filename {name!r} is that of another key frame',
                    )
                names.add(mask)
            except _InvalidRowError as error:
                self.on_invalid(name, error)
                self.numbers.setdefault(error.token, len(self.frames))
                self.frames.append(None)
            else:
                self.numbers[frame.token] = len(self.frames)
                self.frames.append((frame, name))

    def check_frame(self, frame: _KeyFrame, samples: set[str]) -> None:
        """Compare a key frame with the other rows."""
        table, token = 'sample_data', frame.token
        if token in self.numbers:
            _invalid(table, token, 'another row has the same token')
        if frame.sample_token not in samples:
            _invalid(
                table,
                token,
                f'sample_token {frame.sample_token!r} is not in sample.json',
            )
        if frame.width < 1 or frame.height < 1:
            _invalid(
                table,
                token,
                f'size {frame.width}x{frame.height}: expected 1 or more pixels'
                ' each way',
            )

    def read_spans(self, name: str) -> '_Spans':
        spans = _Spans(len(self.frames))
        for row in self.table(name):
            self.has_annotations = True
            try:
                frame = msgspec.json.decode(row.raw, type=_Annotation)
                token = frame.sample_data_token
            except msgspec.DecodeError:
                # Who converts the image says what else is wrong.
                token = _field(row.raw, 'sample_data_token')
            if token in self.numbers:
                spans.add(self.numbers[token], row.start, len(row.raw))
            else:
                reason = (
                    f'sample_data_token {token!r} is that of no key frame in '
                    'sample_data.json'
                )
                error = _InvalidRowError(
                    name, _field(row.raw, 'token'), reason
                )
                self.on_invalid(None, error)
        spans.group()
        return spans

    def decode_or_stop(self, table: str, row: Row, kind: type) -> Any:
        """Decode a row that is about no single image, so cannot be skipped."""
        try:
            return _decode(table, row.raw, kind)
        except _InvalidRowError as error:
            raise ValueError(
                f'{self.path(table)}: token {error.token}: {error.reason}; '
                'download the metadata again'
            ) from None

    def images(self) -> Iterator[_Image]:
        """Give the valid key frames in the order of ``sample_data``."""
        for number, entry in enumerate(self.frames):
            if entry is not None:
                spans = {name: s.of(number) for name, s in self.rows.items()}
                yield _Image(number + 1, *entry, spans)


class _Spans:
    """Where the rows of each image lie: some bytes a row."""

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images
        self.image, self.length = array('I'), array('I')
        self.start = array('Q')

    def add(self, image: int, start: int, length: int) -> None:
        self.image.append(image)
        self.start.append(start)
        self.length.append(length)

    def group(self) -> None:
        """Sort by image; the rows of an image keep their order."""
        image = np.frombuffer(self.image, np.uint32)
        order = np.argsort(image, kind='stable')
        self.start = np.frombuffer(self.start, np.uint64)[order]
        self.length = np.frombuffer(self.length, np.uint32)[order]
        self.bounds = np.searchsorted(
            image[order], np.arange(self.num_images + 1)
        )

    def of(self, image: int) -> list[tuple[int, int]]:
        part = slice(self.bounds[image], self.bounds[image + 1])
        starts, lengths = self.start[part], self.length[part]
        return list(zip(starts.tolist(), lengths.tolist(), strict=True))


@dataclass(frozen=True)
class _Worker:
    """Converts images; what a process has to know for it."""

    folder: Path
    masks: Path | None
    categories: dict[str, str]

    def __call__(
        self, images: list[_Image]
    ) -> list[_Converted | tuple[_Image, _InvalidRowError]]:
        """Convert a batch; an invalid image comes back with its error."""
        results = []
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(
                    open(self.folder / f'{name}.json', 'rb')
                )
                for name in ('surface_ann', 'object_ann')
            }
            scratch = self.masks and stack.enter_context(
                TemporaryDirectory(prefix='.', dir=self.masks)
            )
            for image in images:
                try:
                    results.append(self.convert(image, files, scratch))
                except _InvalidRowError as error:
                    results.append((image, error))
        return results

    def convert(
        self, image: _Image, files: dict[str, BinaryIO], scratch: str | None
    ) -> _Converted:
        surfaces = self.read(_Surface, image, files)
        objects = self.read(_Object, image, files)
        for row, *_ in objects:
            _check_box(row)
        objects.sort(key=lambda item: item[0].token)
        annotations = surfaces + objects
        runs = _decode_masks(annotations, image.frame)
        instances = [
            _instance(image, row, _THING_IDS[name], mask)
            for row, name, mask in objects
            if name in _THING_IDS
        ]
        written = False
        if self.masks is not None:
            path = os.path.join(self.masks, _mask_name(image.name))
            if not os.path.exists(path):
                labels = _paint(image.frame, annotations, runs)
                write_bytes(path, encode_labels(labels), scratch)
                written = True
        return _Converted(image, instances, written)

    def read(
        self, kind: type[_Surface], image: _Image, files: dict[str, BinaryIO]
    ) -> list[tuple[_Surface, str, bytes | None]]:
        """Give row, class name and code of the mask of each annotation."""
        found, tokens = [], set()
        for start, length in image.spans[kind.table]:
            files[kind.table].seek(start)
            raw = files[kind.table].read(length)
            row = _decode(kind.table, raw, kind)
            if row.token in tokens:
                _invalid(
                    kind.table, row.token, 'another row has the same token'
                )
            tokens.add(row.token)
            found.append(
                (row, self.category(row), _mask_code(row, image.frame))
            )
        return found

    def category(self, row: _Surface) -> str:
        """Give the class name of an annotation."""
        name = self.categories.get(row.category_token)
        if name not in _INDICES:
            what = (
                'not in category.json'
                if name is None
                else f'that of {name!r}, which is no class of nuImages'
            )
            _invalid(
                row.table,
                row.token,
                f'category_token {row.category_token!r} is {what}',
            )
        return name


def _invalid(table: str, token: str, reason: str) -> NoReturn:
    raise _InvalidRowError(table, token, reason)


def _decode(table: str, raw: bytes, kind: type) -> Any:
    """Decode a row and check the types of its fields."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _invalid(table, _field(raw, 'token'), str(error))


def _field(raw: bytes, name: str) -> str:
    """Find a field of a row whose other fields may be wrong."""
    value = json.loads(raw.decode(errors='replace')).get(name)
    return value if isinstance(value, str) else f'{value!r} (no string)'


def _safe_name(frame: _KeyFrame, root: Path) -> str:
    """Give the path of a photograph, normalized, if it stays in the root."""
    try:
        path_inside(root, frame.filename)
    except ValueError as error:
        _invalid('sample_data', frame.token, f'filename: {error}')
    name = os.path.normpath(frame.filename)
    if name == os.curdir or '\0' in name:
        _invalid(
            'sample_data',
            frame.token,
            f'filename {frame.filename!r} names no file',
        )
    return name


def _mask_name(name: str) -> str:
    return os.path.splitext(name)[0] + '.png'


def _check_box(row: _Object) -> None:
    left, top, right, bottom = row.bbox
    if not (left <= right and top <= bottom):
        _invalid(
            'object_ann',
            row.token,
            f'bbox {list(row.bbox)}: expected xmin <= xmax and ymin <= ymax',
        )


def _mask_code(row: _Surface, frame: _KeyFrame) -> bytes | None:
    """Give the compressed code of a mask; None without one."""
    if row.mask is None:
        return None
    height, width = row.mask.size
    if (height, width) != (frame.height, frame.width):
        _invalid(
            row.table,
            row.token,
            f'mask of {width}x{height} pixels, its image has '
            f'{frame.width}x{frame.height}',
        )
    try:
        return base64.b64decode(row.mask.counts, validate=True)
    except ValueError as error:
        _invalid(row.table, row.token, f'mask: broken base64: {error}')


def _decode_masks(
    annotations: list[tuple], frame: _KeyFrame
) -> list[np.ndarray | None]:
    """Give the runs of each mask; None where there is none."""
    size = frame.height, frame.width
    codes = [code for *_, code in annotations]
    try:
        runs = iter(decode_runs([c for c in codes if c is not None], size))
    except ValueError:
        # One by one, to tell which it is.
        for row, _, code in annotations:
            try:
                decode_runs([] if code is None else [code], size)
            except ValueError as error:
                _invalid(row.table, row.token, f'mask: {error}')
        raise
    return [None if code is None else next(runs) for code in codes]


def _paint(
    frame: _KeyFrame,
    annotations: list[tuple],
    runs: list[np.ndarray | None],
) -> np.ndarray:
    """Paint annotations, later over earlier ones.

    Returns:
        uint8 (H, W).
    """
    canvas = np.full(frame.width * frame.height, _IGNORE_INDEX, np.uint8)
    for (_, name, _), mask in zip(annotations, runs, strict=True):
        if mask is not None:
            paint_runs(canvas, mask, _INDICES[name])
    return cv2.transpose(canvas.reshape(frame.width, frame.height))


def _instance(
    image: _Image, row: _Object, category: int, counts: bytes | None
) -> bytes:
    """Make the COCO annotation of an object, without its id."""
    left, top, right, bottom = row.bbox
    size = [image.frame.height, image.frame.width]
    crowd = counts is None or not coco_mask.area(
        {'size': size, 'counts': counts}
    )
    if crowd:
        counts = _box_mask(row.bbox, size)
    mask = {'size': size, 'counts': counts}
    return msgspec.json.encode(
        {
            'image_id': image.number,
            'category_id': category,
            'bbox': coco_mask.toBbox(mask).tolist(),
            'area': int(coco_mask.area(mask)),
            'iscrowd': int(crowd),
            'segmentation': {'size': size, 'counts': counts.decode('ascii')},
            'amodal_bbox': [left, top, right - left, bottom - top],
            'token': row.token,
        }
    )


def _box_mask(bbox: tuple[float, ...], size: list[int]) -> bytes:
    """Fill the part of a box that lies in the image."""
    mask = np.zeros(size, np.uint8, order='F')
    left, top, right, bottom = (max(0, round(side)) for side in bbox)
    mask[top:bottom, left:right] = 1
    return coco_mask.encode(mask)['counts']


class _CocoWriter:
    """Writes a COCO file as its parts come: instances first, then images."""

    def __init__(self, file: BinaryIO, version: str) -> None:
        self.file = file
        self.images: list[bytes] = []
        self.annotations = 0
        head = {
            'info': {'version': version},
            'categories': [
                {'id': index, 'name': name}
                for index, name in enumerate(THINGS)
            ],
        }
        file.write(msgspec.json.encode(head)[:-1] + b',"annotations":[')

    def add(self, image: bytes, rows: bytes, count: int) -> tuple[int, int]:
        """Add an image and its annotations, ``count`` rows and their commas.

        Returns:
            Where the annotations begin and end in the file.
        """
        if count and self.annotations:
            self.file.write(b',')
        start = self.file.tell()
        self.file.write(rows)
        self.images.append(image)
        self.annotations += count
        return start, self.file.tell()

    def finish(self) -> None:
        self.file.write(b'],"images":[' + b','.join(self.images) + b']}\n')


@contextmanager
def _coco_writer(path: Path, version: str) -> Iterator[_CocoWriter]:
    """Open a COCO file that gets its name when it is whole."""
    with atomic_path(path) as temporary, open(temporary, 'wb') as file:
        writer = _CocoWriter(file, version)
        yield writer
        writer.finish()


class _Conversion:
    """Converts one version."""

    def __init__(
        self,
        data_root: Path,
        version: str,
        out_dir: Path,
        overwrite: bool,
        skip_invalid: bool,
    ) -> None:
        self.folder = data_root / version
        self.version = version
        self.out_dir = out_dir
        self.masks = out_dir / 'semantic_masks'
        self.overwrite, self.skip_invalid = overwrite, skip_invalid
        self.report = Report()

    def run(self, nproc: int) -> Report:
        index = _Index(self.folder, self.on_invalid)
        index.read()
        labeled = index.has_annotations
        if not labeled and self.version != _UNLABELED:
            raise ValueError(
                f'{self.folder}: object_ann.json and surface_ann.json are '
                f'empty; only {_UNLABELED} comes without annotations: '
                'download the metadata again'
            )
        if labeled:
            self.claim_masks(index)
        worker = _Worker(
            self.folder, self.masks if labeled else None, index.categories
        )
        whole, *subset = self.coco_files()
        rows = self.write(whole, index, worker, nproc)
        for path in subset:
            self.write_subset(whole, path, rows)
        return self.report

    def coco_files(self) -> list[Path]:
        """Give the file of the whole version and, for val, of its subset."""
        sizes = ['', VAL_SUBSET_SIZE] if self.version == _VAL else ['']
        return [
            self.out_dir / f'nuimages_{self.version}{size}.json'
            for size in sizes
        ]

    def on_invalid(self, image: str | None, error: _InvalidRowError) -> None:
        """Stop at an invalid row, or note it."""
        if not self.skip_invalid:
            about = f'image {image}: ' if image else ''
            raise ValueError(
                f'{self.folder / error.table}: token {error.token}: {about}'
                f'{error.reason}; mend the row, or leave such images out with '
                '--skip-invalid'
            ) from None
        self.report.skipped.append(
            Skip(image, error.table, error.token, error.reason)
        )

    def claim_masks(self, index: _Index) -> None:
        """See that the label maps that are there are of these tables.

        Otherwise those of another download, or of another converter, would
        pass for finished ones.
        """
        record = self.out_dir / f'nuimages_{self.version}.tables.json'
        digests = msgspec.json.format(msgspec.json.encode(index.digests))
        targets = (
            self.masks / _mask_name(name)
            for _, name in filter(None, index.frames)
        )
        if self.overwrite:
            for path in (*self.coco_files(), *targets):
                path.unlink(missing_ok=True)
        elif record.exists():
            if record.read_bytes() != digests:
                raise ValueError(
                    f'{self.masks} holds label maps made from other tables '
                    f'than those in {self.folder}, as {record} tells: use '
                    '--overwrite, or another --out-dir'
                )
        elif not any(self.out_dir.glob('nuimages_*.tables.json')):
            found = next((path for path in targets if path.exists()), None)
            if found:
                raise ValueError(
                    f'{found} is there, but nothing tells that it was made '
                    f'from the tables in {self.folder}: use --overwrite, or '
                    'another --out-dir'
                )
        write_bytes(record, digests)
        self.masks.mkdir(exist_ok=True)

    def write(
        self, path: Path, index: _Index, worker: _Worker, nproc: int
    ) -> list[tuple]:
        """Convert all images and write the COCO file.

        Returns:
            Of each image its token, its row and where its annotations are.
        """
        total, rows = sum(entry is not None for entry in index.frames), []
        with (
            _coco_writer(path, self.version) as writer,
            tqdm(total=total, unit=' images', desc=self.version) as bar,
        ):
            batches = ordered_map(worker, _batches(index.images()), nproc)
            for result in itertools.chain.from_iterable(batches):
                bar.update()
                if isinstance(result, tuple):
                    image, error = result
                    self.on_invalid(image.name, error)
                    continue
                row = _image_row(result.image)
                instances = [
                    b'{"id":%d,%b' % (number, instance[1:])
                    for number, instance in enumerate(
                        result.instances, writer.annotations + 1
                    )
                ]
                count = len(instances)
                span = writer.add(row, b','.join(instances), count)
                rows.append((result.image.frame.token, row, count, *span))
                if worker.masks is not None:
                    self.report.written += result.written
                    self.report.kept += not result.written
        self.report.images = len(rows)
        self.report.annotations = writer.annotations
        return rows

    def write_subset(self, whole: Path, path: Path, rows: list) -> None:
        """Write the images that are used to validate during training.

        These have the smallest SHA-256 of seed and token: a choice over the
        whole split that no order of the tables and no library changes.
        """

        def rank(row: tuple) -> str:
            text = f'{_VAL_SUBSET_SEED}:{row[0]}'
            return hashlib.sha256(text.encode()).hexdigest()

        chosen = {row[0] for row in sorted(rows, key=rank)[:VAL_SUBSET_SIZE]}
        with (
            open(whole, 'rb') as file,
            _coco_writer(path, self.version) as writer,
        ):
            for token, image, count, start, stop in rows:
                if token in chosen:
                    file.seek(start)
                    writer.add(image, file.read(stop - start), count)


def _batches(images: Iterator[_Image]) -> Iterator[list[_Image]]:
    while batch := list(itertools.islice(images, _BATCH)):
        yield batch


def _image_row(image: _Image) -> bytes:
    return msgspec.json.encode(
        {
            'id': image.number,
            'token': image.frame.token,
            'file_name': image.name,
            'width': image.frame.width,
            'height': image.frame.height,
        }
    )
