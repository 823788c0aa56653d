"""Cityscapes: images of instance ids to COCO files."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from mmseg_ext.converters.invalid import InvalidFileError, Skip
from mmseg_ext.labels.cityscapes import CITYSCAPES_INSTANCES, CITYSCAPES_LABELS
from mmseg_ext.utils.files import visible_entries, write_bytes
from mmseg_ext.utils.images import decode_image
from mmseg_ext.utils.processes import check_nproc, ordered_map

#: The splits that must be there, with labels, and the one that need not.
_LABELED, _TEST = ('train', 'val'), 'test'

_LABEL_IDS = [label.id for label in CITYSCAPES_LABELS]

#: Values from here on are those of single objects: label id times this, and
#: a number. Lower ones are label ids.
_STEP = 1000

_IMAGES, _ANNOTATIONS = 'leftImg8bit', 'gtFine'
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
class Report:
    """What a conversion did.

    Attributes:
        splits: What was written, by split.
        skipped: Files that were left out because they are invalid.
    """

    splits: dict[str, SplitReport] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)


def convert(
    data_root: str | os.PathLike,
    out_dir: str | os.PathLike | None = None,
    nproc: int = 1,
    skip_invalid: bool = False,
) -> Report:
    """Write a COCO file for each split of Cityscapes.

    ``instancesonly_filtered_gtFine_<split>.json`` has the images of
    ``leftImg8bit/<split>``, sorted by ``file_name``, and the objects of the
    eight classes of :data:`mmseg_ext.labels.cityscapes.CITYSCAPES_INSTANCES`,
    those of an image in the order of their values in its
    ``*_gtFine_instanceIds.png``. Groups of objects are crowd regions. Images
    and objects are numbered from 1: COCO's evaluation takes a match with
    object 0 for none. The same input gives the same bytes.

    The test split may be missing, and its images may have no labels.

    Args:
        data_root: Folder with ``leftImg8bit`` and ``gtFine``.
        out_dir: Folder to write, by default ``<data_root>/annotations``.
        nproc: Number of processes.
        skip_invalid: Leave out invalid files and list them, instead of
            stopping at the first.

    Returns:
        What was written and what was left out.

    Raises:
        FileNotFoundError: A folder is missing or has no images.
        ValueError: A file is invalid or has no counterpart.
    """
    check_nproc(nproc)
    root = Path(data_root)
    out_dir = root / 'annotations' if out_dir is None else Path(out_dir)
    report = Report()

    def on_invalid(file: str, reason: str) -> None:
        if not skip_invalid:
            raise ValueError(
                f'{file}: {reason}; mend it, or leave such files out with '
                '--skip-invalid'
            )
        report.skipped.append(Skip(file, reason))

    jobs = {
        split: _find_jobs(root, split, on_invalid) for split in _splits(root)
    }
    contents = {
        split: _convert_split(split, part, nproc, on_invalid)
        for split, part in jobs.items()
    }
    for split, content in contents.items():
        name = f'instancesonly_filtered_gtFine_{split}.json'
        write_bytes(out_dir / name, msgspec.json.encode(content) + b'\n')
        report.splits[split] = _count(content)
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
    for kind in (_IMAGES, _ANNOTATIONS):
        for split in _LABELED:
            if not (root / kind / split).is_dir():
                raise FileNotFoundError(
                    f'folder {root / kind / split} is missing; expected the '
                    f'unpacked Cityscapes with {_IMAGES}/{split}/<city> and '
                    f'{_ANNOTATIONS}/{split}/<city>'
                )
    test = [_TEST] if (root / _IMAGES / _TEST).is_dir() else []
    return [*_LABELED, *test]


def _find_jobs(
    root: Path, split: str, on_invalid: Callable[[str, str], None]
) -> list[_Job]:
    """Pair the images of a split with their instance ids."""
    image_folder = root / _IMAGES / split
    instance_folder = root / _ANNOTATIONS / split
    images = _scan(image_folder, _IMAGE_ENDING)
    instances = _scan(instance_folder, _INSTANCES_ENDING)
    if not images:
        raise FileNotFoundError(
            f'{image_folder} has no images; expected '
            f'<city>/<city>_<sequence>_<frame>{_IMAGE_ENDING}'
        )
    for name in sorted(instances.keys() - images.keys()):
        expected = image_folder / f'{name}{_IMAGE_ENDING}'
        on_invalid(instances[name], f'has no image; expected {expected}')
    jobs = []
    for name, image in sorted(images.items()):
        if name in instances or split == _TEST:
            jobs.append(_Job(name, image, instances.get(name)))
        else:
            expected = instance_folder / f'{name}{_INSTANCES_ENDING}'
            on_invalid(image, f'has no instance ids; expected {expected}')
    return jobs


def _scan(folder: Path, ending: str) -> dict[str, str]:
    """Give ``{'<city>/<stem>': path}`` of the files of a split."""
    found = {}
    if not folder.is_dir():
        return found
    for city in filter(os.DirEntry.is_dir, visible_entries(folder)):
        for entry in visible_entries(city):
            if entry.name.endswith(ending):
                stem = entry.name.removesuffix(ending)
                found[f'{city.name}/{stem}'] = entry.path
    return found


# What is done with each image.


@dataclass(frozen=True)
class _Converted:
    """Size of an image and its COCO annotations, without their ids."""

    width: int
    height: int
    annotations: list[dict[str, Any]]


def _convert_image(job: _Job) -> _Converted | InvalidFileError:
    """Convert an image; an invalid one comes back as its error."""
    try:
        width, height = _read_size(job.image)
        if job.instances is None:
            return _Converted(width, height, [])
        ids = _read_ids(job.instances)
        if ids.shape != (height, width):
            raise InvalidFileError(
                job.instances,
                f'is of {ids.shape[1]}x{ids.shape[0]} pixels, its image '
                f'{job.image} has {width}x{height}',
            )
        return _Converted(width, height, _annotate(ids, job.instances))
    except InvalidFileError as error:
        return error


def _read_size(path: str) -> tuple[int, int]:
    """Read width and height, nothing more, of an image."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise InvalidFileError(
            path, f'cannot be read as an image: {error}'
        ) from None


def _read_ids(path: str) -> np.ndarray:
    """Read instance ids.

    Returns:
        uint16 (H, W).
    """
    try:
        ids = decode_image(Path(path).read_bytes(), 'it', cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError) as error:
        raise InvalidFileError(path, str(error)) from None
    if ids.dtype != np.uint16 or ids.ndim != 2:
        raise InvalidFileError(
            path,
            f'holds {ids.dtype} of shape {ids.shape}; expected 16-bit '
            'instance ids of one channel',
        )
    return ids


def _annotate(ids: np.ndarray, path: str) -> list[dict[str, Any]]:
    """Give the objects of an image, in the order of their values."""
    annotations = []
    for value, counts in _masks(ids):
        crowd = value < _STEP
        label = value if crowd else value // _STEP
        if label not in _LABEL_IDS:
            raise InvalidFileError(
                path,
                f'has pixels of value {value}; expected label ids, 0 to '
                f'{max(_LABEL_IDS)}, or {_STEP} times a label id and a number '
                f'below {_STEP}',
            )
        if label not in CITYSCAPES_INSTANCES:
            continue
        mask = coco_mask.frPyObjects(
            {'size': ids.shape, 'counts': counts}, *ids.shape
        )
        annotations.append(
            {
                'category_id': label,
                'bbox': coco_mask.toBbox(mask).tolist(),
                'area': int(coco_mask.area(mask)),
                'iscrowd': int(crowd),
                'segmentation': {
                    'size': ids.shape,
                    'counts': mask['counts'].decode('ascii'),
                },
            }
        )
    return annotations


def _masks(ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each value and its mask, in one pass over the pixels.

    The image is cut, down its columns, into runs of one value. COCO's code of
    a mask has the lengths of the runs in it and of the gaps between them.

    Args:
        ids: uint16 (H, W).

    Yields:
        A value, and the uncompressed code of its mask: int64 (N,), lengths of
        gaps and runs in turn.
    """
    columns = cv2.transpose(ids).ravel()
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    bounds = np.concatenate(([0], changes, [columns.size]))
    values = columns[bounds[:-1]]
    order = np.argsort(values, kind='stable')
    found, first = np.unique(values[order], return_index=True)
    for value, runs in zip(
        found.tolist(), np.split(order, first[1:]), strict=True
    ):
        ends = np.stack((bounds[runs], bounds[runs + 1]), axis=1)
        counts = np.diff(ends.ravel(), prepend=0, append=columns.size)
        yield value, counts if counts[-1] else counts[:-1]


def _convert_split(
    split: str,
    jobs: list[_Job],
    nproc: int,
    on_invalid: Callable[[str, str], None],
) -> dict[str, Any]:
    """Give the content of a COCO file."""
    images, annotations = [], []
    results = ordered_map(_convert_image, jobs, nproc)
    bar = tqdm(results, desc=split, total=len(jobs), unit=' images')
    for job, result in zip(jobs, bar, strict=True):
        if isinstance(result, InvalidFileError):
            on_invalid(result.file, result.reason)
            continue
        number = len(images) + 1
        images.append(
            {
                'id': number,
                'file_name': job.name + _IMAGE_ENDING,
                'width': result.width,
                'height': result.height,
                'segm_file': job.name + _LABELS_ENDING,
            }
        )
        for row in result.annotations:
            ids = {'id': len(annotations) + 1, 'image_id': number}
            annotations.append(ids | row)
    categories = [
        {'id': index, 'name': name}
        for index, name in CITYSCAPES_INSTANCES.items()
    ]
    return {
        'images': images,
        'categories': categories,
        'annotations': annotations,
    }


def _count(content: dict[str, Any]) -> SplitReport:
    """Count what a COCO file has."""
    report = SplitReport(images=len(content['images']))
    for row in content['annotations']:
        counts = report.crowds if row['iscrowd'] else report.instances
        counts[CITYSCAPES_INSTANCES[row['category_id']]] += 1
    return report
