"""nuImages: the release's tables to label maps and COCO instances."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid
from mmseg_ext.converters.nuimages_tables import (
    TABLES,
    Annotation,
    Image,
    Index,
    InvalidRowError,
    KeyFrame,
    Object,
    Surface,
    mask_name,
    read_annotations,
)
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.formats.coco import annotation_row, coco_writer
from mmseg_ext.formats.rle import Rle, decode_runs, paint_runs
from mmseg_ext.labels.nuimages import NUIMAGES, THING_OF, THINGS
from mmseg_ext.utils.files import write_bytes
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.processes import check_nproc
from mmseg_ext.utils.scratch import working_in

__all__ = [
    'VAL_SUBSET_SIZE',
    'VERSIONS',
    'Report',
    'VersionReport',
    'convert',
]

#: The versions of the release, each a folder of tables.
VERSIONS = ('v1.0-mini', 'v1.0-train', 'v1.0-val', 'v1.0-test')

#: The version that comes without annotations.
_UNLABELED = 'v1.0-test'

#: The version that is large for validating often.
_VAL = 'v1.0-val'

#: Number of images in the part of v1.0-val that is written beside it.
VAL_SUBSET_SIZE = 2400

#: What the choice of these depends on, besides their tokens.
_VAL_SUBSET_SEED = 0

_IGNORE_INDEX = 255
_INDICES = {name: index for index, name in enumerate(NUIMAGES)}
_THING_IDS = {name: THINGS.index(thing) for name, thing in THING_OF.items()}


@dataclass
class VersionReport:
    """What a version has.

    Attributes:
        images: Number of images in the COCO file.
        annotations: Number of instances in it.
        unseen: Number of objects of the thing classes that are no instances:
            without mask, and without a pixel of the image in their box.
        written: Number of label maps written.
        kept: Number of label maps that were there already.
    """

    images: int = 0
    annotations: int = 0
    unseen: int = 0
    written: int = 0
    kept: int = 0


@dataclass
class Report(core.Report):
    """What a conversion did.

    Attributes:
        versions: What was written, by version.
    """

    versions: dict[str, VersionReport] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield the counts of each version."""
        for name, version in self.versions.items():
            yield (
                f'{self.out_dir}: {name}: {version.images} images, '
                f'{version.annotations} instances; {version.written} masks '
                f'written, {version.kept} were there already'
            )
            if version.unseen:
                yield (
                    f'{name}: {version.unseen} objects left out: without '
                    'mask, and without a pixel of the image in their box'
                )


def _find_versions(data_root: str | os.PathLike) -> list[str]:
    """List the versions that lie in a data root."""
    found = [name for name in VERSIONS if Path(data_root, name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f'{data_root} holds none of the folders {", ".join(VERSIONS)}; '
            'expected the folder that the metadata of nuImages was unpacked in'
        )
    return found


def convert(
    data_root: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    versions: Iterable[str] | None = None,
    nproc: int = 1,
    overwrite: bool = False,
    skip_invalid: bool = False,
    progress: bool = True,
) -> Report:
    """Write label maps and COCO files for versions of nuImages.

    Only the tables are read; the photographs need not be there. For each key
    frame ``samples/X.jpg``, ``semantic_masks/samples/X.png`` gets the class
    indices of :data:`mmseg_ext.labels.nuimages.NUIMAGES` and 255 where there
    is no label: surfaces are painted in the order of their table, objects
    over them in the order of their tokens.

    ``nuimages_<version>.json`` has the instances of the ten thing classes. An
    object without mask is kept as a crowd region that fills its amodal box,
    so that detections there count neither for nor against a model. One whose
    box has no pixel of the image either is left out and counted.

    A run that was stopped goes on where it was and ends in the same bytes.
    Label maps that are there are kept if the tables are those they were made
    from, as ``nuimages_<version>.tables.json`` tells; damaged ones are made
    again.

    Args:
        data_root: Folder with ``v1.0-train`` and so on.
        out_dir: Folder to write, by default ``<data_root>/annotations``.
        versions: Of :data:`VERSIONS`; by default those that are there.
        nproc: Number of processes.
        overwrite: Remove the label maps that are there and start anew.
        skip_invalid: Leave out images with invalid rows and list these in
            ``skipped.json``, instead of stopping at the first.
        progress: Show progress bars.

    Returns:
        What was written and what was left out.

    Raises:
        FileNotFoundError: A table is missing.
        ValueError: A row is invalid, a table broken or changed while it is
            read, a version unknown, or ``out_dir`` holds label maps of other
            tables.
    """
    check_nproc(nproc)
    data_root = Path(data_root).expanduser()
    out_dir = Path(out_dir or data_root / 'annotations').expanduser()
    versions = list(dict.fromkeys(versions or _find_versions(data_root)))
    for version in versions:
        _check_version(data_root, version)
    report, invalid = Report(out_dir), Invalid(skip_invalid)
    invalid.remove_list(out_dir)
    outputs = Outputs(out_dir, overwrite)
    with working_in(out_dir):
        for version in versions:
            conversion = _Conversion(data_root / version, outputs, invalid)
            counts = conversion.run(nproc, progress)
            report.versions[version] = counts
            report.written += counts.written
            report.kept += counts.kept
        report.skipped = invalid.write_list(out_dir)
    return report


def _check_version(data_root: Path, version: str) -> None:
    """Check that the tables of a version are there."""
    if version not in VERSIONS:
        raise ValueError(
            f'version {version!r}: expected one of {", ".join(VERSIONS)}'
        )
    for name in TABLES:
        path = data_root / version / f'{name}.json'
        if not path.is_file():
            raise FileNotFoundError(
                f'table {path} is missing; expected the metadata of nuImages '
                f'in {data_root}'
            )


# What is done with each image.


@dataclass(frozen=True)
class _Converted:
    """What became of an image.

    ``rows`` are those of the COCO file, ``unseen`` is the number of objects
    that have none there; ``written`` tells whether a label map was written.
    """

    rows: list[bytes]
    unseen: int
    written: bool


@dataclass(frozen=True)
class _Worker:
    """Converts images; what a process has to know for it.

    ``masks`` is the folder of the label maps, if there are to be any; those
    that are there are kept if they are to be trusted, unless damaged.
    """

    folder: Path
    outputs: Outputs
    masks: Path | None
    trusted: bool
    categories: dict[str, str]

    def __call__(self, image: Image, scratch: Path | None) -> _Converted:
        try:
            return self.convert(image, scratch)
        except InvalidRowError as error:
            raise error.of(self.folder, image.name) from None

    def convert(self, image: Image, scratch: Path | None) -> _Converted:
        """Convert an image; scratch is for the label map."""
        source = self.folder, image, self.categories
        objects = read_annotations(Object, *source)
        for item in objects:
            _check_box(item.row)
        objects.sort(key=lambda item: item.row.token)
        annotations = [*read_annotations(Surface, *source), *objects]
        runs = _decode_masks(annotations, image.frame)
        things = [item for item in objects if item.name in _THING_IDS]
        found = (_instance(item, image.frame) for item in things)
        rows = [row for row in found if row is not None]
        written = False
        if self.masks is not None:
            path = self.masks / mask_name(image.name)
            size = image.frame.width, image.frame.height
            if not (self.trusted and self.outputs.is_whole(path, size)):
                labels = _paint(image.frame, annotations, runs)
                written = self.write(path, encode_labels(labels), scratch)
        return _Converted(rows, len(things) - len(rows), written)

    def write(self, path: Path, labels: bytes, scratch: Path | None) -> bool:
        """Write a label map; in the place of a damaged one, if known so."""
        if self.trusted:
            write_bytes(path, labels, scratch)
            return True
        return self.outputs.write_png(path, labels, self.folder, scratch)


def _check_box(row: Object) -> None:
    left, top, right, bottom = row.bbox
    if not (left <= right and top <= bottom):
        raise row.error(
            f'bbox {list(row.bbox)}: expected xmin <= xmax and ymin <= ymax'
        )


def _decode_masks(
    annotations: Sequence[Annotation[Surface]], frame: KeyFrame
) -> list[np.ndarray | None]:
    """Return the runs of each mask; None where there is none."""
    size = frame.height, frame.width
    codes = [item.code for item in annotations]
    try:
        runs = iter(decode_runs([c for c in codes if c is not None], size))
    except ValueError:
        # One by one, to tell which it is.
        for item in annotations:
            try:
                decode_runs([item.code] if item.code is not None else [], size)
            except ValueError as error:
                raise item.row.error(f'mask: {error}') from None
        raise
    return [None if code is None else next(runs) for code in codes]


def _paint(
    frame: KeyFrame,
    annotations: Sequence[Annotation[Surface]],
    runs: list[np.ndarray | None],
) -> np.ndarray:
    """Paint annotations, later over earlier ones.

    Returns:
        uint8 (H, W).
    """
    canvas = np.full(frame.width * frame.height, _IGNORE_INDEX, np.uint8)
    for item, mask in zip(annotations, runs, strict=True):
        if mask is not None:
            paint_runs(canvas, mask, _INDICES[item.name])
    return cv2.transpose(canvas.reshape(frame.width, frame.height))


def _instance(item: Annotation[Object], frame: KeyFrame) -> bytes | None:
    """Make the COCO annotation of an object; None if it has no pixels."""
    left, top, right, bottom = item.row.bbox
    size = [frame.height, frame.width]
    mask = Rle(size=size, counts=item.code or b'')
    crowd = not item.code or not coco_mask.area(mask)
    if crowd:
        mask = _box_mask(item.row.bbox, size)
        if not coco_mask.area(mask):
            return None
    return annotation_row(
        mask,
        _THING_IDS[item.name],
        crowd=crowd,
        amodal_bbox=[left, top, right - left, bottom - top],
        token=item.row.token,
    )


def _box_mask(bbox: tuple[float, ...], size: list[int]) -> Rle:
    """Fill the part of a box that lies in the image."""
    mask = np.zeros(size, np.uint8, order='F')
    left, top, right, bottom = (max(0, round(side)) for side in bbox)
    mask[top:bottom, left:right] = 1
    return coco_mask.encode(mask)


# What is written.


class _Conversion:
    """Converts one version.

    Args:
        folder: Folder of its tables.
        outputs: What is written.
        invalid: What to do about invalid rows.
    """

    def __init__(
        self, folder: Path, outputs: Outputs, invalid: Invalid
    ) -> None:
        self.folder, self.outputs, self.invalid = folder, outputs, invalid
        self.masks = outputs.out_dir / 'semantic_masks'
        self.file = outputs.out_dir / f'nuimages_{folder.name}.json'
        self.record = self.file.with_suffix('.tables.json')

    def run(self, nproc: int, progress: bool) -> VersionReport:
        """Convert all images and write the COCO files."""
        index = Index(self.folder, self.invalid)
        index.read(progress)
        labeled = index.has_annotations
        if not labeled and self.folder.name != _UNLABELED:
            raise ValueError(
                f'{self.folder}: object_ann.json and surface_ann.json are '
                f'empty; only {_UNLABELED} comes without annotations: '
                'download the metadata again'
            )
        masks = self.masks if labeled else None
        trusted = labeled and self.claim_masks(index)
        results = core.run_jobs(
            _Worker(
                self.folder, self.outputs, masks, trusted, index.categories
            ),
            index.images(),
            nproc=nproc,
            scratch=masks,
            total=len(index.names()),
            desc=self.folder.name,
            progress=progress,
        )
        report = VersionReport()
        head = {'version': self.folder.name}
        order = 'info', 'categories', 'annotations', 'images'
        with coco_writer(
            self.outputs.out_dir, dict(enumerate(THINGS)), info=head
        ) as writer:
            tokens = {}
            # Nothing is written of an image whose rows are invalid.
            what = f'image of {self.folder.name}'
            for image, converted in self.invalid.sift(results, what=what):
                writer.add(_image_row(image), converted.rows, image.number)
                tokens[image.number] = image.frame.token
                report.unseen += converted.unseen
                if labeled:
                    report.written += converted.written
                    report.kept += not converted.written
            index.check_unchanged()
            writer.save(self.file, order=order)
            for path in self.subset_files():
                # Chosen by token over the whole version: no order of the
                # tables changes it.
                chosen = core.seeded_order(
                    tokens, _VAL_SUBSET_SEED, tokens.__getitem__
                )[:VAL_SUBSET_SIZE]
                writer.save(path, set(chosen), order)
            if labeled and not trusted:  # now all were compared
                self.outputs.note(self.record, index.digests)
            report.images = writer.images
            report.annotations = writer.annotations
        return report

    def subset_files(self) -> list[Path]:
        """List the file of the images to validate on during training."""
        if self.folder.name != _VAL:
            return []
        return [self.file.with_name(f'{self.file.stem}{VAL_SUBSET_SIZE}.json')]

    def claim_masks(self, index: Index) -> bool:
        """Check whether the results that are there are of these tables."""
        names = index.names()
        # One of each folder tells where these lead to.
        some = {os.path.dirname(name): name for name in names}.values()
        self.outputs.keep_apart(
            (self.masks / mask_name(name) for name in some),
            (self.folder.parent / name for name in some),
        )
        masks = (self.masks / mask_name(name) for name in names)
        trusted = self.outputs.claim(
            self.record,
            index.digests,
            itertools.chain([self.file, *self.subset_files()], masks),
        )
        self.masks.mkdir(parents=True, exist_ok=True)
        return trusted


def _image_row(image: Image) -> dict[str, str | int]:
    return {
        'token': image.frame.token,
        'file_name': image.name,
        'width': image.frame.width,
        'height': image.frame.height,
    }
