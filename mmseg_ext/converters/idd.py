"""IDD: polygon files to label maps, images and splits for training."""

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import msgspec
import numpy as np
from PIL import Image

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid, InvalidInputError, reading
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.converters.photographs import photograph_size
from mmseg_ext.formats.json_files import Coordinate, decode_json
from mmseg_ext.formats.left_img import (
    GT_FINE,
    LEFT_IMG,
    pair_files,
    scan_split,
)
from mmseg_ext.formats.masks import is_label_map_png, read_mask
from mmseg_ext.labels.idd import IDD_LABELS, IDD_LEVEL3, UNLABELLED
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.polygons import (
    Filled,
    Rasterizer,
    edge_pixels,
    fill,
    filled_otherwise,
    rasterizer,
    redrawn_line,
)
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import normal_form

__all__ = ['SPLITS', 'Report', 'SplitReport', 'Unknown', 'convert']

#: The splits with labels; ``test`` has none.
SPLITS = ('train', 'val')

#: Name of each count of pixels: those of the classes, then of the rest.
_PIXEL_NAMES = (*IDD_LEVEL3, UNLABELLED)

_IGNORE_INDEX = 255
_LEVEL3 = {label.name: label.level3 for label in IDD_LABELS}

_IMAGE_ENDINGS = ('_leftImg8bit.png', '_leftImg8bit.jpg')
_POLYGONS_ENDING = '_gtFine_polygons.json'
_LABEL_ENDING = '_gtFine_labellevel3Ids.png'


#: Unknown labels that a report names before it counts the rest.
_LISTED = 10


@dataclass
class Unknown:
    """Objects of a label that is not in the table of IDD.

    Attributes:
        objects: Number of objects.
        files: Number of files that have some.
    """

    objects: int = 0
    files: int = 0


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
        no_points: Number of those left out because their polygon is not made
            of points, of two numbers each.
        unknown: Those left out for their label, by label.
        edge_labels: Number of label maps found that differ from what their
            polygons give, at edges only; counted if they are checked.
        edge_pixels: Number of pixels in which these differ.
        pixels: Number of pixels, by class name.
    """

    images: int = 0
    labels_drawn: int = 0
    labels_found: int = 0
    objects: int = 0
    deleted: int = 0
    too_few_points: int = 0
    no_points: int = 0
    unknown: dict[str, Unknown] = field(default_factory=dict)
    edge_labels: int = 0
    edge_pixels: int = 0
    pixels: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(_PIXEL_NAMES, 0)
    )


@dataclass
class Report(core.Report):
    """What a conversion did.

    Attributes:
        splits: What ``train`` and ``val`` have.
        test_images: Number of images left out because they have no labels.
        rasterizer: How polygons were filled.
        redrawn: Number of label maps that were there, filled by another
            release of Pillow, and were drawn again.
    """

    splits: dict[str, SplitReport] = field(
        default_factory=lambda: {split: SplitReport() for split in SPLITS}
    )
    test_images: int = 0
    rasterizer: Rasterizer = field(default_factory=rasterizer)
    redrawn: int = 0

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
            yield from _warnings(name, split)
        if self.redrawn:
            yield redrawn_line(self.redrawn)
        yield (
            f'{self.out_dir}: {self.written} images written, {self.kept} were '
            f'there already, {self.test_images} test images left out: they '
            'have no labels'
        )


def _warnings(name: str, split: SplitReport) -> Iterator[str]:
    """Yield what is odd about a split."""
    if split.no_points:
        yield (
            f'warning: {name}: {split.no_points} objects left out: their '
            'polygon is not made of points'
        )
    for label, unknown in list(split.unknown.items())[:_LISTED]:
        yield (
            f'warning: {name}: label {label!r} is not in the table of IDD: '
            f'{unknown.objects} objects in {unknown.files} files left out'
        )
    if len(split.unknown) > _LISTED:
        yield (
            f'warning: {name}: {len(split.unknown) - _LISTED} more labels '
            'are not in the table of IDD, see report.json'
        )
    if split.edge_labels:
        yield (
            f'{name}: {split.edge_labels} labels found differ from what '
            f'their polygons give, at edges only: {split.edge_pixels} pixels'
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
    order of the file, on a map of 255. What these leave out is left out and
    counted: objects that are deleted, have too few points, or a label that
    the table does not know. A label map that lies beside its polygons is
    taken instead, and written anew if it is no 8-bit gray PNG: the values of
    others depend on who reads them. ``splits/<split>.txt`` lists the stems in
    the order of the SHA-256 of ``<seed>:<stem>``, which no library changes.
    ``report.json`` is the report but for ``written``, ``kept`` and
    ``redrawn``.

    Which pixels a polygon has is what the installed Pillow says, and releases
    differ at edges (:mod:`mmseg_ext.utils.polygons`). ``report.json`` names
    the release and a digest of how it fills.

    Of images, header and end are read, which tells files that were cut off;
    damage in between is not seen.

    A run that was stopped goes on where it was and ends in the same bytes.
    For this, labels are drawn again and compared with those that are there.
    Those that another release of Pillow filled are written again.

    Args:
        data_roots: Folders with ``leftImg8bit`` and ``gtFine``.
        out_dir: Folder to write.
        copy: Copy files, even where a hard link can be made.
        check: Draw also the labels that were found and compare them. Pixels
            at edges, which depend on the release of Pillow, are counted;
            with others a label is invalid.
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
            ``out_dir`` holds other files than this conversion gives or lies
            among those that are read.
    """
    out_dir = Path(out_dir).expanduser()
    report = Report(out_dir)
    invalid, outputs = Invalid(skip_invalid), Outputs(out_dir, overwrite)
    invalid.remove_list(out_dir)
    roots = [Path(root).expanduser() for root in data_roots]
    jobs = []
    for root in roots:
        jobs += _find_jobs(root, invalid)
        report.test_images += _count_images(root, 'test')
    jobs.sort(key=lambda job: (job.split, job.stem))
    _check_names(jobs)
    results = [path for job in jobs for path in job.targets(out_dir)]
    outputs.keep_apart(
        results,
        (file for job in jobs for file in job.inputs),
        (root / folder for root in roots for folder in (LEFT_IMG, GT_FINE)),
    )
    outputs.refuse_strangers(
        results,
        (
            out_dir / f'{split}_{kind}'
            for split in SPLITS
            for kind in ('img', 'label')
        ),
    )
    summary = out_dir / 'report.json'
    lists = {split: out_dir / 'splits' / f'{split}.txt' for split in SPLITS}
    outputs.start_anew([summary, *lists.values()])
    with working_in(out_dir):
        converted = core.run_jobs(
            _Worker(outputs, copy, check, _drawn_otherwise(report)),
            jobs,
            nproc=nproc,
            scratch=out_dir,
            progress=progress,
        )
        stems: dict[str, list[str]] = {split: [] for split in SPLITS}
        sifted = outputs.sift(converted, invalid, lambda j: j.targets(out_dir))
        for job, result in sifted:
            stems[job.split].append(job.stem)
            _add(report, job, result)
        for split, found in stems.items():
            if any(_count_images(root, split) for root in roots):
                invalid.check_left(len(found), f'image of {split}')
        for split, path in lists.items():
            core.write_split(path, stems[split], seed)
        for part in report.splits.values():
            part.unknown = dict(sorted(part.unknown.items()))
        report.skipped = invalid.write_list(out_dir)
        content = {
            'rasterizer': report.rasterizer._asdict(),
            'splits': report.splits,
            'test_images': report.test_images,
            'skipped': report.skipped,
        }
        core.write_json(summary, content)
    return report


class _Drawn(msgspec.Struct):
    """What is read of the report of an earlier run."""

    rasterizer: dict[str, str] = {}


def _drawn_otherwise(report: Report) -> bool:
    """Tell whether labels that are there may have been filled otherwise."""
    path = report.out_dir / 'report.json'
    with suppress(OSError, ValueError):
        drawn = decode_json(read_file(path), _Drawn)
        return drawn.rasterizer.get('digest') != report.rasterizer.digest
    return True


# What there is.


@dataclass(frozen=True)
class _Job:
    """An image, its polygons, and the label map beside these, if any."""

    split: str
    stem: str
    image: str
    polygons: str
    label: str | None

    @property
    def inputs(self) -> list[str]:
        """The files that are read."""
        return [self.image, self.polygons, *filter(None, [self.label])]

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
            if not pair.image or not pair.annotation:
                invalid.note(InvalidInputError(*pair.fault('polygon file')))
                continue
            stem = f'{pair.sequence}_{pair.name}'
            # The image's suffix has as many letters as the label's.
            if fault := core.name_fault(f'{stem}.png', in_list=True):
                invalid.note(InvalidInputError(pair.image, fault))
                continue
            key = normal_form(pair.sequence), normal_form(pair.name)
            label = labels[_LABEL_ENDING].get(key)
            jobs.append(_Job(split, stem, pair.image, pair.annotation, label))
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


#: The tools cut fractions off.
_Side = Annotated[float, msgspec.Meta(ge=1, le=1e6)]


class _Object(msgspec.Struct):
    label: str
    polygon: list[tuple[Coordinate, ...] | Coordinate]
    deleted: Any = False


class _Annotation(msgspec.Struct):
    imgHeight: _Side
    imgWidth: _Side
    objects: list[_Object]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.imgWidth), int(self.imgHeight)


@dataclass(frozen=True)
class _Selected:
    """What is drawn of a file, and what it has and lacks."""

    polygons: list[Filled] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def outlines(self) -> Iterator[Sequence[tuple[float, float]]]:
        """Points of the polygons."""
        return (polygon.points for polygon in self.polygons)


@dataclass(frozen=True)
class _Converted:
    """What a label has, and what was written."""

    counts: Counter[str]
    unknown: Counter[str]
    pixels: list[int]
    written: bool
    redrawn: bool


@dataclass(frozen=True)
class _Worker:
    """Converts images; what a process has to know for it."""

    outputs: Outputs
    copy: bool
    check: bool
    redraw: bool

    def __call__(self, job: _Job, scratch: Path | None) -> _Converted:
        image_target, label_target = job.targets(self.outputs.out_dir)
        annotation = _read_annotation(job.polygons)
        size, as_it_is = annotation.size, False
        actual = photograph_size(job.image)
        core.check_size(job.polygons, size, job.image, actual)
        selected = _select(annotation)
        outputs, redrawn = self.outputs, False
        if job.label is None:
            labels = fill(size, selected.polygons, _IGNORE_INDEX)
            if self.redraw and filled_otherwise(
                outputs.read_labels(label_target), labels, selected.outlines
            ):
                outputs, redrawn = replace(outputs, overwrite=True), True
        else:
            labels, as_it_is = _read_label(job.label, job.image, size)
            if self.check:
                _compare(job.label, labels, job.polygons, selected)
        pixels = _count_pixels(labels, job.label or job.polygons)
        # The label goes first: an image without one is never left behind.
        if job.label and as_it_is:
            written = outputs.place(job.label, label_target, self.copy)
        else:
            written = outputs.write_png(
                label_target,
                encode_labels(labels),
                job.label or job.polygons,
                scratch,
            )
        written |= self.outputs.place(job.image, image_target, self.copy)
        return _Converted(
            selected.counts, selected.unknown, pixels, written, redrawn
        )


def _read_annotation(path: str) -> _Annotation:
    """Read a polygon file; numbers may be strings, as the tools allow."""
    with reading(path, 'no polygon file: '):
        return decode_json(read_file(path), _Annotation, strict=False)


def _select(annotation: _Annotation) -> _Selected:
    """Choose what to draw as the tools do, and count what is left out."""
    selected = _Selected()
    for item in annotation.objects:
        name, polygon = item.label, item.polygon
        if name not in _LEVEL3:
            name = name.removesuffix('group')
        if item.deleted:
            selected.counts['deleted'] += 1
        elif not _has_points(polygon):
            selected.counts['no_points'] += 1
        elif len(polygon) < 3:
            selected.counts['too_few_points'] += 1
        elif name not in _LEVEL3:
            selected.unknown[item.label] += 1
        else:
            selected.polygons.append(Filled(_LEVEL3[name], polygon))
    selected.counts['objects'] = len(selected.polygons)
    return selected


def _read_label(
    path: str, image: str, size: tuple[int, int]
) -> tuple[np.ndarray, bool]:
    """Read a label map that was there before.

    Returns:
        uint8 (H, W), and whether all loaders read the file alike.
    """
    with reading(path, ''):
        data = read_file(path)
        core.check_header(path, data, image, size)
        labels = read_mask(data, 'it').labels()
    core.check_size(path, (labels.shape[1], labels.shape[0]), image, size)
    return labels, is_label_map_png(data)


def _has_points(polygon: list[Any]) -> TypeGuard[list[tuple[float, float]]]:
    """Tell whether a polygon is made of points of two numbers."""
    kinds = set(map(type, polygon))
    return kinds <= {tuple} and set(map(len, polygon)) <= {2}


def _compare(
    path: str, labels: np.ndarray, polygons: str, selected: _Selected
) -> None:
    """Check that a label map that was there is what its polygons give.

    Pixels that differ at edges are counted.
    """
    drawn = fill(labels.shape[::-1], selected.polygons, _IGNORE_INDEX)
    at_edges = edge_pixels(labels, drawn, selected.outlines)
    if at_edges is None:
        differing = np.count_nonzero(labels != drawn)
        raise InvalidInputError(
            path,
            f'{differing} of {labels.size} pixels differ from what '
            f'{polygons} gives, and not at edges only',
        )
    selected.counts['edge_pixels'] = at_edges
    selected.counts['edge_labels'] = int(at_edges > 0)


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
    report.redrawn += result.redrawn
    split = report.splits[job.split]
    split.images += 1
    split.labels_drawn += job.label is None
    split.labels_found += job.label is not None
    for name, count in result.counts.items():
        setattr(split, name, getattr(split, name) + count)
    for label, count in result.unknown.items():
        unknown = split.unknown.setdefault(label, Unknown())
        unknown.objects += count
        unknown.files += 1
    for name, count in zip(_PIXEL_NAMES, result.pixels, strict=True):
        split.pixels[name] += count
