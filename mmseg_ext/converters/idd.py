"""IDD: polygon files to label maps, images and splits for training."""

import filecmp
import hashlib
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NoReturn

import cv2
import msgspec
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from mmseg_ext.converters.invalid import InvalidFileError, Skip
from mmseg_ext.labels.idd import IDD_LABELS, IDD_LEVEL3, UNLABELLED
from mmseg_ext.utils.files import (
    atomic_path,
    visible_entries,
    write_bytes,
    write_text,
)
from mmseg_ext.utils.images import decode_image, encode_labels
from mmseg_ext.utils.processes import ordered_map

#: The splits with labels; ``test`` has none.
SPLITS = ('train', 'val')

#: Name of each count of pixels: those of the classes, then of the rest.
PIXEL_NAMES = (*IDD_LEVEL3, UNLABELLED)

_IGNORE_INDEX = 255
_LEVEL3 = {label.name: label.level3 for label in IDD_LABELS}

_IMAGES, _ANNOTATIONS = 'leftImg8bit', 'gtFine'
_IMAGE_ENDINGS = ('_leftImg8bit.png', '_leftImg8bit.jpg')
_POLYGONS_ENDING = '_gtFine_polygons.json'
_LABEL_ENDING = '_gtFine_labellevel3Ids.png'

#: Images a process converts at a time.
_BATCH = 16


@dataclass
class SplitReport:
    """What a split has.

    Attributes:
        images: Number of images.
        labels_drawn: Number of label maps drawn from polygons.
        labels_found: Number of those that lay beside their polygons.
        objects: Number of objects in the labels.
        deleted: Number of objects left out because they are marked so.
        too_few_points: Number of those left out for fewer than three points.
        pixels: Number of pixels, by class name.
    """

    images: int = 0
    labels_drawn: int = 0
    labels_found: int = 0
    objects: int = 0
    deleted: int = 0
    too_few_points: int = 0
    pixels: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(PIXEL_NAMES, 0)
    )


@dataclass
class Report:
    """What a conversion did.

    Attributes:
        splits: What ``train`` and ``val`` have.
        test_images: Number of images left out because they have no labels.
        skipped: Files that were left out because they are invalid.
        written: Number of images of which something was written.
        kept: Number of images that were there already, with their labels.
    """

    splits: dict[str, SplitReport] = field(
        default_factory=lambda: {split: SplitReport() for split in SPLITS}
    )
    test_images: int = 0
    skipped: list[Skip] = field(default_factory=list)
    written: int = 0
    kept: int = 0


def convert(
    data_roots: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    nproc: int = 1,
    seed: int = 0,
    copy: bool = False,
    check: bool = False,
    overwrite: bool = False,
    skip_invalid: bool = False,
) -> Report:
    """Make a folder to train on from one or both parts of IDD.

    Each ``leftImg8bit/<split>/<sequence>/<id>_leftImg8bit.png`` (or ``.jpg``)
    becomes ``<split>_img/<sequence>_<id>`` with its suffix, and its polygons
    ``<split>_label/<sequence>_<id>.png``, 8-bit level-3 ids, 0 to 25, and 255.

    Labels are drawn as the tools of the data set do: with Pillow, in the
    order of the file, on a map of 255. A label map that lies beside its
    polygons is taken instead. ``splits/<split>.txt`` lists the stems in the
    order of the SHA-256 of ``<seed>:<stem>``, which no library changes.
    ``report.json`` is the report but for ``written`` and ``kept``.

    A run that was stopped goes on where it was and ends in the same bytes.
    For this, labels are drawn again and compared with those that are there.

    Args:
        data_roots: Folders with ``leftImg8bit`` and ``gtFine``.
        out_dir: Folder to write.
        nproc: Number of processes.
        seed: What the order of the splits depends on.
        copy: Copy files, even where a hard link can be made.
        check: Draw also the labels that were found and compare them.
        overwrite: Write again what is there.
        skip_invalid: Leave out invalid files and list them, instead of
            stopping at the first.

    Returns:
        What ``report.json`` says, and what was done.

    Raises:
        FileNotFoundError: A data root or its folders are missing.
        ValueError: A file is invalid, two images get the same name, or
            ``out_dir`` holds other files than this conversion gives.
    """
    out_dir = Path(out_dir)
    report = Report()

    def on_invalid(file: str, reason: str) -> None:
        if not skip_invalid:
            raise ValueError(
                f'{file}: {reason}; mend it, or leave such files out with '
                '--skip-invalid'
            )
        report.skipped.append(Skip(file, reason))

    jobs = []
    for root in map(Path, data_roots):
        jobs += _find_jobs(root, on_invalid)
        report.test_images += _count_images(root, 'test')
    jobs.sort(key=lambda job: (job.split, job.stem))
    _check_names(jobs)
    _check_strangers(jobs, out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    stems = _convert_jobs(
        jobs,
        _Worker(out_dir, copy, check, overwrite),
        nproc,
        on_invalid,
        report,
    )
    for split in SPLITS:
        _write_split(out_dir / 'splits' / f'{split}.txt', stems[split], seed)
    report.skipped.sort()
    _write_report(out_dir / 'report.json', report)
    return report


# What there is.


@dataclass(frozen=True)
class _Job:
    """An image, its polygons, and the label map beside these, if any."""

    split: str
    stem: str
    image: str
    polygons: str
    label: str | None

    def targets(self, out_dir: Path) -> tuple[Path, Path]:
        """Give where image and label go."""
        suffix = os.path.splitext(self.image)[1]
        return (
            out_dir / f'{self.split}_img' / f'{self.stem}{suffix}',
            out_dir / f'{self.split}_label' / f'{self.stem}.png',
        )


def _find_jobs(
    root: Path, on_invalid: Callable[[str, str], None]
) -> list[_Job]:
    """List what a data root has to convert."""
    for folder in (root, root / _IMAGES, root / _ANNOTATIONS):
        if not folder.is_dir():
            raise FileNotFoundError(
                f'folder {folder} is missing; expected an unpacked part of '
                f'IDD, such as IDD_Segmentation or idd20kII, with {_IMAGES} '
                f'and {_ANNOTATIONS}'
            )
    jobs = [
        job for split in SPLITS for job in _pair_files(root, split, on_invalid)
    ]
    if not jobs:
        raise FileNotFoundError(
            f'{root} has no images with polygons; expected '
            f'{_IMAGES}/train/<sequence>/<id>{_IMAGE_ENDINGS[0]} and '
            f'{_ANNOTATIONS}/train/<sequence>/<id>{_POLYGONS_ENDING}'
        )
    return jobs


def _pair_files(
    root: Path, split: str, on_invalid: Callable[[str, str], None]
) -> Iterator[_Job]:
    """Find the polygons of each image of a split."""
    images = _scan(root / _IMAGES / split, *_IMAGE_ENDINGS)
    files = _scan(root / _ANNOTATIONS / split, _POLYGONS_ENDING, _LABEL_ENDING)
    polygons = files[_POLYGONS_ENDING]
    missing = set(polygons)
    for by_key in images.values():
        missing -= by_key.keys()
        for key, image in sorted(by_key.items()):
            if key not in polygons:
                sequence, name = key
                expected = f'{split}/{sequence}/{name}{_POLYGONS_ENDING}'
                on_invalid(
                    image,
                    'the image has no polygon file; expected '
                    f'{root / _ANNOTATIONS / expected}',
                )
                continue
            yield _Job(
                split,
                '_'.join(key),
                image,
                polygons[key],
                files[_LABEL_ENDING].get(key),
            )
    for key in sorted(missing):
        on_invalid(
            polygons[key],
            'the polygon file has no image; expected '
            f'{root / _IMAGES / split / key[0] / key[1]}{_IMAGE_ENDINGS[0]} '
            'or .jpg',
        )


def _scan(
    folder: Path, *endings: str
) -> dict[str, dict[tuple[str, str], str]]:
    """Give ``{ending: {(sequence, id): path}}`` of the files of a split."""
    found = {ending: {} for ending in endings}
    if not folder.is_dir():
        return found
    for sequence in filter(os.DirEntry.is_dir, visible_entries(folder)):
        for entry in visible_entries(sequence):
            for ending in endings:
                if entry.name.endswith(ending):
                    key = sequence.name, entry.name.removesuffix(ending)
                    found[ending][key] = entry.path
    return found


def _count_images(root: Path, split: str) -> int:
    return sum(
        map(len, _scan(root / _IMAGES / split, *_IMAGE_ENDINGS).values())
    )


def _check_names(jobs: list[_Job]) -> None:
    """See that no image takes the place of another; jobs are sorted."""
    for one, other in itertools.pairwise(jobs):
        if (one.split, one.stem) == (other.split, other.stem):
            raise ValueError(
                f'{one.image} and {other.image} would both become '
                f'{one.split}_img/{one.stem}; convert one of them only'
            )


def _check_strangers(jobs: list[_Job], out_dir: Path) -> None:
    """See that the folders hold nothing but results of this conversion."""
    expected = {path for job in jobs for path in job.targets(out_dir)}
    for folder in sorted({path.parent for path in expected}):
        if not folder.is_dir():
            continue
        for entry in visible_entries(folder):
            if folder / entry.name not in expected:
                raise ValueError(
                    f'{entry.path} is there, but belongs to no image of the '
                    'data roots: give all data roots in one run, or another '
                    '--out-dir'
                )


# What is done with each image.


#: Pillow draws with 32-bit integers; no image is so large.
_Coordinate = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class _Object(msgspec.Struct):
    label: str
    polygon: list[tuple[_Coordinate, _Coordinate]]
    deleted: bool | None = False


class _Annotation(msgspec.Struct):
    imgHeight: int
    imgWidth: int
    objects: list[_Object]


#: A level-3 id and the points to fill with it.
_Shape = tuple[int, list[tuple[float, float]]]


@dataclass(frozen=True)
class _Converted:
    """What a label has, and whether something was written."""

    counts: Counter[str]
    pixels: list[int]
    written: bool


@dataclass(frozen=True)
class _Worker:
    """Converts images; what a process has to know for it."""

    out_dir: Path
    copy: bool
    check: bool
    overwrite: bool

    def __call__(
        self, jobs: list[_Job]
    ) -> list[tuple[_Job, _Converted | InvalidFileError]]:
        """Convert a batch; an invalid image comes back with its error."""
        results = []
        with TemporaryDirectory(prefix='.', dir=self.out_dir) as scratch:
            for job in jobs:
                try:
                    results.append((job, self.convert(job, scratch)))
                except InvalidFileError as error:
                    results.append((job, error))
        return results

    def convert(self, job: _Job, scratch: str) -> _Converted:
        image_target, label_target = job.targets(self.out_dir)
        if self.overwrite:
            image_target.unlink(missing_ok=True)
            label_target.unlink(missing_ok=True)
        annotation = _read_annotation(job.polygons)
        size = annotation.imgWidth, annotation.imgHeight
        _check_size(job, size)
        shapes, counts = _select(annotation, job.polygons)
        if job.label is None:
            labels = _draw(size, shapes)
        else:
            labels = _read_label(job.label, size)
            if self.check:
                _compare(job, labels, _draw(size, shapes))
        pixels = _count_pixels(labels, job.label or job.polygons)
        if job.label is None:
            written = _write_label(label_target, labels, job.polygons, scratch)
        else:
            written = _place(job.label, label_target, self.copy)
        # The label goes first: an image without one is never left behind.
        written |= _place(job.image, image_target, self.copy)
        return _Converted(counts, pixels, written)


def _read_annotation(path: str) -> _Annotation:
    """Read a polygon file; numbers may be strings, as the tools allow."""
    try:
        return msgspec.json.decode(
            Path(path).read_bytes(), type=_Annotation, strict=False
        )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidFileError(path, f'no polygon file: {error}') from None


def _check_size(job: _Job, size: tuple[int, int]) -> None:
    """Compare the size in the polygon file with that of the image."""
    try:
        with Image.open(job.image) as image:
            actual = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise InvalidFileError(
            job.image, f'cannot be read as an image: {error}'
        ) from None
    if actual != size:
        raise InvalidFileError(
            job.polygons,
            f'is of {size[0]}x{size[1]} pixels, its image {job.image} has '
            f'{actual[0]}x{actual[1]}',
        )


def _select(
    annotation: _Annotation, path: str
) -> tuple[list[_Shape], Counter[str]]:
    """Give the objects to draw, and how many there are and are left out."""
    shapes, counts = [], Counter()
    for index, item in enumerate(annotation.objects):
        if item.deleted:
            counts['deleted'] += 1
        elif len(item.polygon) < 3:
            counts['too_few_points'] += 1
        else:
            name = item.label
            if name not in _LEVEL3:
                name = name.removesuffix('group')
            if name not in _LEVEL3:
                raise InvalidFileError(
                    path,
                    f'objects[{index}]: label {item.label!r} is not in the '
                    'table of IDD',
                )
            shapes.append((_LEVEL3[name], item.polygon))
    counts['objects'] = len(shapes)
    return shapes, counts


def _draw(size: tuple[int, int], shapes: list[_Shape]) -> np.ndarray:
    """Fill polygons, their edges included, later over earlier ones.

    Returns:
        uint8 (H, W).
    """
    image = Image.new('L', size, _IGNORE_INDEX)
    draw = ImageDraw.Draw(image)
    for value, polygon in shapes:
        draw.polygon(polygon, fill=value)
    return np.asarray(image)


def _read_label(path: str, size: tuple[int, int]) -> np.ndarray:
    """Read a label map that was there before."""
    try:
        labels = decode_image(
            Path(path).read_bytes(), 'it', cv2.IMREAD_UNCHANGED
        )
    except ValueError as error:
        raise InvalidFileError(path, str(error)) from None
    if labels.dtype != np.uint8 or labels.shape != size[::-1]:
        raise InvalidFileError(
            path,
            f'holds {labels.dtype} of shape {labels.shape}; expected an 8-bit '
            f'label map of one channel and shape {size[::-1]}',
        )
    return labels


def _compare(job: _Job, labels: np.ndarray, drawn: np.ndarray) -> None:
    differing = np.count_nonzero(labels != drawn)
    if differing:
        raise InvalidFileError(
            job.label,
            f'{differing} of {labels.size} pixels differ from what '
            f'{job.polygons} gives',
        )


def _count_pixels(labels: np.ndarray, path: str) -> list[int]:
    """Count the pixels of each class, and see that there are no others."""
    counts = Image.fromarray(labels).histogram()
    allowed = [*range(len(IDD_LEVEL3)), _IGNORE_INDEX]
    wrong = sorted({v for v, n in enumerate(counts) if n} - set(allowed))
    if wrong:
        raise InvalidFileError(
            path,
            f'has pixels of value {wrong[0]}; level-3 ids are 0 to '
            f'{len(IDD_LEVEL3) - 1}, and {_IGNORE_INDEX}',
        )
    return [counts[value] for value in allowed]


def _convert_jobs(
    jobs: list[_Job],
    worker: _Worker,
    nproc: int,
    on_invalid: Callable[[str, str], None],
    report: Report,
) -> dict[str, list[str]]:
    """Convert all images and count; give the stems of each split."""
    stems = {split: [] for split in SPLITS}
    with tqdm(total=len(jobs), unit=' images') as bar:
        results = ordered_map(worker, _batches(jobs), nproc)
        for job, result in itertools.chain.from_iterable(results):
            bar.update()
            if isinstance(result, InvalidFileError):
                on_invalid(result.file, result.reason)
                for path in job.targets(worker.out_dir):
                    if path.exists():
                        _foreign(path, result.file)
                continue
            stems[job.split].append(job.stem)
            _add(report, job, result)
    return stems


def _batches(jobs: list[_Job]) -> Iterator[list[_Job]]:
    for start in range(0, len(jobs), _BATCH):
        yield jobs[start : start + _BATCH]


def _add(report: Report, job: _Job, result: _Converted) -> None:
    """Count a converted image."""
    report.written += result.written
    report.kept += not result.written
    split = report.splits[job.split]
    split.images += 1
    split.labels_drawn += job.label is None
    split.labels_found += job.label is not None
    split.objects += result.counts['objects']
    split.deleted += result.counts['deleted']
    split.too_few_points += result.counts['too_few_points']
    for name, count in zip(PIXEL_NAMES, result.pixels, strict=True):
        split.pixels[name] += count


# What is written.


def _write_label(
    target: Path, labels: np.ndarray, source: str, scratch: str
) -> bool:
    """Write a label map, unless it is there; say whether it was not."""
    data = encode_labels(labels)
    try:
        existing = target.read_bytes()
    except FileNotFoundError:
        write_bytes(target, data, scratch)
        return True
    if existing != data and not _is_label(existing, labels):
        _foreign(target, source)
    return False


def _is_label(data: bytes, labels: np.ndarray) -> bool:
    """Compare pixels: processors may compress to different bytes."""
    with suppress(ValueError):
        return np.array_equal(
            decode_image(data, '', cv2.IMREAD_UNCHANGED), labels
        )
    return False


def _place(source: str, target: Path, copy: bool) -> bool:
    """Link or copy a file, unless it is there; say whether it was not."""
    source = os.path.realpath(source)
    if target.exists():
        if not filecmp.cmp(source, target):
            _foreign(target, source)
        if not (copy and os.path.samefile(source, target)):
            return False
    elif not copy:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not every file system has hard links, and none to another one.
        with suppress(OSError):
            os.link(source, target)
            return True
    with atomic_path(target) as temporary:
        shutil.copy2(source, temporary)
    return True


def _foreign(target: Path, source: str) -> NoReturn:
    raise ValueError(
        f'{target} is there, but is not what {source} gives: use --overwrite, '
        'or another --out-dir'
    )


def _write_split(path: Path, stems: list[str], seed: int) -> None:
    """Write stems, one a line, in an order that the seed determines."""

    def rank(stem: str) -> str:
        return hashlib.sha256(f'{seed}:{stem}'.encode()).hexdigest()

    write_text(path, ''.join(f'{stem}\n' for stem in sorted(stems, key=rank)))


def _write_report(path: Path, report: Report) -> None:
    """Write what does not depend on what was there before the run."""
    content = {
        'splits': report.splits,
        'test_images': report.test_images,
        'skipped': report.skipped,
    }
    write_bytes(
        path, msgspec.json.format(msgspec.json.encode(content)) + b'\n'
    )
