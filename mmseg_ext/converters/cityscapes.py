"""Cityscapes: images of instance ids to COCO files."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid, InvalidInputError, reading
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.converters.photographs import photograph_size
from mmseg_ext.formats.coco import annotation_row, coco_writer
from mmseg_ext.formats.left_img import GT_FINE, LEFT_IMG, pair_files
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.formats.rle import encode_runs, runs_of_values
from mmseg_ext.labels.cityscapes import CITYSCAPES_INSTANCES, CITYSCAPES_LABELS
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.scratch import working_in

__all__ = ['Report', 'SplitReport', 'convert']

#: The splits that must be there, with labels, and the one that need not.
_LABELED, _TEST = ('train', 'val'), 'test'
_SPLITS = (*_LABELED, _TEST)

#: Name of the COCO file of a split.
_FILE = 'instancesonly_filtered_gtFine_{}.json'

_LABEL_IDS = [label.id for label in CITYSCAPES_LABELS]

#: Values from here on are those of single objects: label id times this, and
#: a number. Lower ones are label ids.
_STEP = 1000

_IMAGE_ENDING = '_leftImg8bit.png'
_INSTANCES_ENDING = '_gtFine_instanceIds.png'
_LABELS_ENDING = '_gtFine_labelIds.png'


@dataclass
class SplitReport:
    """What the COCO file of a split has.

    Attributes:
        images: Number of images.
        instances: Number of single objects, by class name.
        crowds: Number of groups of objects, by class name.
    """

    images: int = 0
    instances: Counter[str] = field(default_factory=Counter)
    crowds: Counter[str] = field(default_factory=Counter)


@dataclass
class Report(core.Report):
    """What a conversion did.

    Attributes:
        splits: What was written, by split.
    """

    splits: dict[str, SplitReport] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield a table of the instances and the totals of each split."""
        counts = {key: split.instances for key, split in self.splits.items()}
        names = CITYSCAPES_INSTANCES.values()
        yield core.count_table('instances', names, counts)
        for name, split in self.splits.items():
            yield (
                f'{name}: {split.images} images, {split.instances.total()} '
                f'instances, {split.crowds.total()} crowd regions'
            )
            if name in _LABELED and not split.instances:
                yield (
                    f'warning: {name} has no single object: are its '
                    f'*{_INSTANCES_ENDING} files label ids or empty?'
                )
        yield f'{self.out_dir}: {len(self.splits)} COCO files'


def convert(
    data_root: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    nproc: int = 1,
    skip_invalid: bool = False,
    progress: bool = True,
) -> Report:
    """Write a COCO file for each split of Cityscapes.

    ``instancesonly_filtered_gtFine_<split>.json`` has the images of
    ``leftImg8bit/<split>``, sorted by ``file_name``, and the objects of the
    eight classes of :data:`mmseg_ext.labels.cityscapes.CITYSCAPES_INSTANCES`,
    those of an image in the order of their values in its
    ``*_gtFine_instanceIds.png``. Groups of objects are crowd regions. Images
    and objects are numbered from 1: COCO's evaluation takes a match with
    object 0 for none. The same input gives the same bytes.

    The test split may be missing, and its images may have no labels. Of
    images, header and end are read, which tells files that were cut off;
    damage in between is not seen.

    Args:
        data_root: Folder with ``leftImg8bit`` and ``gtFine``.
        out_dir: Folder to write, by default ``<data_root>/annotations``.
        nproc: Number of processes.
        skip_invalid: Leave out invalid files and list them in
            ``skipped.json``, instead of stopping at the first.
        progress: Show progress bars.

    Returns:
        What was written and what was left out.

    Raises:
        FileNotFoundError: A folder is missing or has no images.
        ValueError: A file is invalid or has no counterpart, no image of a
            split is valid, or ``out_dir`` has the COCO file of a test split
            that is not there.
    """
    root = Path(data_root).expanduser()
    out_dir = Path(out_dir or root / 'annotations').expanduser()
    report = Report(out_dir)
    invalid, outputs = Invalid(skip_invalid), Outputs(out_dir)
    invalid.remove_list(out_dir)
    files = {split: out_dir / _FILE.format(split) for split in _SPLITS}
    expected = [files[split] for split in _splits(root)]
    for file in files.values():
        outputs.refuse_stranger(file, expected)
    jobs = {split: _find_jobs(root, split, invalid) for split in _splits(root)}
    with working_in(out_dir):
        with ExitStack() as stack:
            writers = {}
            for split, part in jobs.items():
                writer = stack.enter_context(
                    coco_writer(out_dir, CITYSCAPES_INSTANCES)
                )
                results = core.run_jobs(
                    _convert_image,
                    part,
                    nproc=nproc,
                    desc=split,
                    progress=progress,
                )
                counts = report.splits[split] = SplitReport()
                sifted = invalid.sift(results, what=f'image of {split}')
                for job, result in sifted:
                    writer.add(_image_row(job, result), result.rows)
                    counts.images += 1
                    counts.instances += result.instances
                    counts.crowds += result.crowds
                writers[split] = writer
            # Nothing is written before all files were read.
            for split, writer in writers.items():
                writer.save(
                    files[split],
                    order=('images', 'categories', 'annotations'),
                )
        report.skipped = invalid.write_list(out_dir)
    return report


# What there is.


@dataclass(frozen=True)
class _Job:
    """An image and its instance ids, if it has any.

    ``name`` is ``<city>/<city>_<sequence>_<frame>``.
    """

    name: str
    image: str
    instances: str | None


def _splits(root: Path) -> list[str]:
    """List the splits that are there."""
    for kind in (LEFT_IMG, GT_FINE):
        for split in _LABELED:
            core.require_folder(
                root / kind / split,
                f'the unpacked Cityscapes with {LEFT_IMG}/{split}/<city> and '
                f'{GT_FINE}/{split}/<city>',
            )
    test = [_TEST] if (root / LEFT_IMG / _TEST).is_dir() else []
    return [*_LABELED, *test]


def _find_jobs(root: Path, split: str, invalid: Invalid) -> list[_Job]:
    """Pair the images of a split with their instance ids."""
    pairs = list(pair_files(root, split, [_IMAGE_ENDING], _INSTANCES_ENDING))
    if not any(pair.image for pair in pairs):
        raise FileNotFoundError(
            f'{root / LEFT_IMG / split} has no images; expected '
            f'<city>/<city>_<sequence>_<frame>{_IMAGE_ENDING}'
        )
    jobs = []
    for pair in pairs:
        name = f'{pair.sequence}/{pair.name}'
        if not pair.image or not (pair.annotation or split == _TEST):
            invalid.note(InvalidInputError(*pair.fault('instance ids')))
        elif fault := core.name_fault(name):
            invalid.note(InvalidInputError(pair.image, fault))
        else:
            jobs.append(_Job(name, pair.image, pair.annotation))
    return jobs


# What is done with each image.


@dataclass(frozen=True)
class _Converted:
    """Size of an image, and its COCO annotations."""

    width: int
    height: int
    rows: list[bytes] = field(default_factory=list)
    instances: Counter[str] = field(default_factory=Counter)
    crowds: Counter[str] = field(default_factory=Counter)


def _convert_image(job: _Job, scratch: Path | None) -> _Converted:
    """Convert an image."""
    width, height = photograph_size(job.image)
    converted = _Converted(width, height)
    if job.instances is None:
        return converted
    ids = _read_ids(job.instances, job.image, (width, height))
    for value, runs in runs_of_values(ids):
        crowd = value < _STEP
        label = value if crowd else value // _STEP
        if label not in _LABEL_IDS:
            raise InvalidInputError(
                job.instances,
                f'has pixels of value {value}; expected label ids, 0 to '
                f'{max(_LABEL_IDS)}, or {_STEP} times a label id and a number '
                f'below {_STEP}',
            )
        if label in CITYSCAPES_INSTANCES:
            mask = encode_runs(runs, (height, width))
            converted.rows.append(annotation_row(mask, label, crowd=crowd))
            counts = converted.crowds if crowd else converted.instances
            counts[CITYSCAPES_INSTANCES[label]] += 1
    return converted


def _read_ids(path: str, image: str, expected: tuple[int, int]) -> np.ndarray:
    """Read the instance ids of an image, which has a width and height.

    Returns:
        uint16 (H, W).
    """
    with reading(path, ''):
        data = read_file(path)
        core.check_header(path, data, image, expected)
        mask = read_mask(data, 'it')
        ids = mask.indices()
    if ids.dtype != np.uint16:
        raise InvalidInputError(
            path,
            f'({mask.form}) holds no instance ids; expected a 16-bit gray PNG',
        )
    core.check_size(path, (ids.shape[1], ids.shape[0]), image, expected)
    return ids


def _image_row(job: _Job, converted: _Converted) -> dict[str, str | int]:
    return {
        'file_name': job.name + _IMAGE_ENDING,
        'width': converted.width,
        'height': converted.height,
        'segm_file': job.name + _LABELS_ENDING,
    }
