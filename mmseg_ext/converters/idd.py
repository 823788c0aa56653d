"""IDD: polygon files to label maps, images and splits for training."""

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import msgspec
import numpy as np
from PIL import Image, ImageDraw

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid, InvalidInputError, reading
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.formats.left_img import (
    GT_FINE,
    LEFT_IMG,
    pair_files,
    scan_split,
)
from mmseg_ext.labels.idd import IDD_LABELS, IDD_LEVEL3, UNLABELLED
from mmseg_ext.utils.images import decode_image, encode_labels
from mmseg_ext.utils.scratch import working_in

__all__ = ['SPLITS', 'Report', 'SplitReport', 'convert']

#: The splits with labels; ``test`` has none.
SPLITS = ('train', 'val')

#: Name of each count of pixels: those of the classes, then of the rest.
_PIXEL_NAMES = (*IDD_LEVEL3, UNLABELLED)

_IGNORE_INDEX = 255
_LEVEL3 = {label.name: label.level3 for label in IDD_LABELS}

_IMAGE_ENDINGS = ('_leftImg8bit.png', '_leftImg8bit.jpg')
_POLYGONS_ENDING = '_gtFine_polygons.json'
_LABEL_ENDING = '_gtFine_labellevel3Ids.png'


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
        default_factory=lambda: dict.fromkeys(_PIXEL_NAMES, 0)
    )


@dataclass
class Report(core.Report):
    """What a conversion did.

    Attributes:
        splits: What ``train`` and ``val`` have.
        test_images: Number of images left out because they have no labels.
    """

    splits: dict[str, SplitReport] = field(
        default_factory=lambda: {split: SplitReport() for split in SPLITS}
    )
    test_images: int = 0

    def lines(self) -> Iterator[str]:
        """Yield a table of the pixels and the totals of each split."""
        counts = {key: split.pixels for key, split in self.splits.items()}
        yield core.count_table('pixels', _PIXEL_NAMES, counts)
        for name, split in self.splits.items():
            yield (
                f'{name}: {split.images} images; {split.labels_drawn} labels '
                f'drawn and {split.labels_found} found; {split.objects} '
                f'objects, left out {split.deleted} deleted and '
                f'{split.too_few_points} of fewer than three points'
            )
        yield (
            f'{self.out_dir}: {self.written} images written, {self.kept} were '
            f'there already, {self.test_images} test images left out: they '
            'have no labels'
        )


def convert(
    data_roots: Sequence[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str] = 'data/idd20kII',
    *,
    copy: bool = False,
    check: bool = False,
    seed: int = 0,
    nproc: int = 1,
    overwrite: bool = False,
    skip_invalid: bool = False,
    progress: bool = True,
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
        copy: Copy files, even where a hard link can be made.
        check: Draw also the labels that were found and compare them.
        seed: What the order of the splits depends on.
        nproc: Number of processes.
        overwrite: Write again what is there.
        skip_invalid: Leave out invalid files and list them in
            ``skipped.json``, instead of stopping at the first.
        progress: Show a progress bar.

    Returns:
        What ``report.json`` says, and what was done.

    Raises:
        FileNotFoundError: A data root or its folders are missing.
        ValueError: A file is invalid, two images get the same name, or
            ``out_dir`` holds other files than this conversion gives.
    """
    out_dir = Path(out_dir).expanduser()
    report = Report(out_dir)
    invalid, outputs = Invalid(skip_invalid), Outputs(out_dir, overwrite)
    jobs = []
    for root in data_roots:
        root = Path(root).expanduser()
        jobs += _find_jobs(root, invalid)
        report.test_images += _count_images(root, 'test')
    jobs.sort(key=lambda job: (job.split, job.stem))
    _check_names(jobs)
    outputs.refuse_strangers(
        path for job in jobs for path in job.targets(out_dir)
    )
    with working_in(out_dir):
        results = core.run_jobs(
            _Worker(outputs, copy, check),
            jobs,
            nproc=nproc,
            scratch=out_dir,
            progress=progress,
        )
        stems: dict[str, list[str]] = {split: [] for split in SPLITS}
        sifted = outputs.sift(results, invalid, lambda j: j.targets(out_dir))
        for job, result in sifted:
            stems[job.split].append(job.stem)
            _add(report, job, result)
        for split in SPLITS:
            path = out_dir / 'splits' / f'{split}.txt'
            core.write_split(path, stems[split], seed)
        report.skipped = invalid.write_list(out_dir)
        content = {
            'splits': report.splits,
            'test_images': report.test_images,
            'skipped': report.skipped,
        }
        core.write_json(out_dir / 'report.json', content)
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
        """Return where image and label go."""
        suffix = os.path.splitext(self.image)[1]
        return (
            out_dir / f'{self.split}_img' / f'{self.stem}{suffix}',
            out_dir / f'{self.split}_label' / f'{self.stem}.png',
        )


def _find_jobs(root: Path, invalid: Invalid) -> list[_Job]:
    """List what a data root has to convert."""
    for folder in (root, root / LEFT_IMG, root / GT_FINE):
        core.require_folder(
            folder,
            'an unpacked part of IDD, such as IDD_Segmentation or idd20kII, '
            f'with {LEFT_IMG} and {GT_FINE}',
        )
    jobs = []
    for split in SPLITS:
        labels = scan_split(root / GT_FINE / split, _LABEL_ENDING)
        for pair in pair_files(root, split, _IMAGE_ENDINGS, _POLYGONS_ENDING):
            key = pair.sequence, pair.name
            if not pair.image or not pair.annotation:
                invalid.note(InvalidInputError(*pair.fault('polygon file')))
                continue
            label = labels[_LABEL_ENDING].get(key)
            jobs.append(
                _Job(split, '_'.join(key), pair.image, pair.annotation, label)
            )
    if not jobs:
        raise FileNotFoundError(
            f'{root} has no images with polygons; expected '
            f'{LEFT_IMG}/train/<sequence>/<id>{_IMAGE_ENDINGS[0]} and '
            f'{GT_FINE}/train/<sequence>/<id>{_POLYGONS_ENDING}'
        )
    return jobs


def _count_images(root: Path, split: str) -> int:
    found = scan_split(root / LEFT_IMG / split, *_IMAGE_ENDINGS)
    return sum(map(len, found.values()))


def _check_names(jobs: list[_Job]) -> None:
    """Check that no image takes the place of another; jobs are sorted."""
    for one, other in itertools.pairwise(jobs):
        if (one.split, one.stem) == (other.split, other.stem):
            raise ValueError(
                f'{one.image} and {other.image} would both become '
                f'{one.split}_img/{one.stem}; convert one of them only'
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


class _Shape(NamedTuple):
    """A level-3 id and the points to fill with it."""

    value: int
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class _Converted:
    """What a label has, and whether something was written."""

    counts: Counter[str]
    pixels: list[int]
    written: bool


@dataclass(frozen=True)
class _Worker:
    """Converts images; what a process has to know for it."""

    outputs: Outputs
    copy: bool
    check: bool

    def __call__(self, job: _Job, scratch: Path | None) -> _Converted:
        image_target, label_target = job.targets(self.outputs.out_dir)
        annotation = _read_annotation(job.polygons)
        size = annotation.imgWidth, annotation.imgHeight
        actual = core.read_size(job.image)
        core.check_size(job.polygons, size, job.image, actual)
        shapes, counts = _select(annotation, job.polygons)
        if job.label is None:
            labels = _draw(size, shapes)
        else:
            labels = _read_label(job.label, size)
            if self.check:
                _compare(job.label, labels, job.polygons, _draw(size, shapes))
        pixels = _count_pixels(labels, job.label or job.polygons)
        # The label goes first: an image without one is never left behind.
        if job.label is None:
            written = self.outputs.write_png(
                label_target, encode_labels(labels), job.polygons, scratch
            )
        else:
            written = self.outputs.place(job.label, label_target, self.copy)
        written |= self.outputs.place(job.image, image_target, self.copy)
        return _Converted(counts, pixels, written)


def _read_annotation(path: str) -> _Annotation:
    """Read a polygon file; numbers may be strings, as the tools allow."""
    with reading(path, 'no polygon file: '):
        return msgspec.json.decode(
            Path(path).read_bytes(), type=_Annotation, strict=False
        )


def _select(
    annotation: _Annotation, path: str
) -> tuple[list[_Shape], Counter[str]]:
    """Return what to draw, and count what there is and what is left out."""
    shapes, counts = [], Counter[str]()
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
                raise InvalidInputError(
                    path,
                    f'objects[{index}]: label {item.label!r} is not in the '
                    'table of IDD',
                )
            shapes.append(_Shape(_LEVEL3[name], item.polygon))
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
    with reading(path, ''):
        labels = decode_image(
            Path(path).read_bytes(), 'it', cv2.IMREAD_UNCHANGED
        )
    if labels.dtype != np.uint8 or labels.shape != size[::-1]:
        raise InvalidInputError(
            path,
            f'holds {labels.dtype} of shape {labels.shape}; expected an 8-bit '
            f'label map of one channel and shape {size[::-1]}',
        )
    return labels


def _compare(
    path: str, labels: np.ndarray, polygons: str, drawn: np.ndarray
) -> None:
    """Check that a label map that was there is what its polygons give."""
    differing = np.count_nonzero(labels != drawn)
    if differing:
        raise InvalidInputError(
            path,
            f'{differing} of {labels.size} pixels differ from what '
            f'{polygons} gives',
        )


def _count_pixels(labels: np.ndarray, path: str) -> list[int]:
    """Count the pixels of each class, and check that there are no others."""
    counts = Image.fromarray(labels).histogram()
    allowed = [*range(len(IDD_LEVEL3)), _IGNORE_INDEX]
    wrong = sorted({v for v, n in enumerate(counts) if n} - set(allowed))
    if wrong:
        raise InvalidInputError(
            path,
            f'has pixels of value {wrong[0]}; level-3 ids are 0 to '
            f'{len(IDD_LEVEL3) - 1}, and {_IGNORE_INDEX}',
        )
    return [counts[value] for value in allowed]


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
    for name, count in zip(_PIXEL_NAMES, result.pixels, strict=True):
        split.pixels[name] += count
