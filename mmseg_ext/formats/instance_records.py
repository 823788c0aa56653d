"""What a detector found in a data set, and its labels, in a run directory.

``annotations.json`` is a COCO file: images in the order of the data set, with
names relative to its root, categories in the order of the classes, and the
labels. ``detections.json`` is a list of COCO's results: boxes and, of a model
that segments, masks, with scores.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from mmseg_ext.formats.coco import (
    Annotation,
    Category,
    check_mask,
)
from mmseg_ext.formats.json_files import Coordinate, Side, decode_json
from mmseg_ext.formats.run_records import ANNOTATIONS, DETECTIONS, Meta
from mmseg_ext.utils.files import read_file, write_bytes

__all__ = [
    'Detection',
    'Instances',
    'Label',
    'RecordedImage',
    'read_instances',
    'write_instances',
]

Kind = TypeVar('Kind')

#: Pixels that OpenCV reads of an image at most.
_PIXELS = 1 << 30


class RecordedImage(msgspec.Struct):
    """An image.

    Attributes:
        id: Any number of its own.
        file_name: Its path relative to the data root, if it lies in that.
        width: In pixels.
        height: In pixels.
        path: Where the run read it; may be empty.
        brightness: Mean of its values, 0 to 255, if that is known.
    """

    id: int
    file_name: Annotated[str, msgspec.Meta(min_length=1)]
    width: Side
    height: Side
    path: str = ''
    brightness: float | None = None


class Label(Annotation, kw_only=True):
    """An object of the labels.

    Attributes:
        image_id: Number of its image in :class:`Instances`, from 0.
        category_id: Its class, from 0.
        bbox: Left, top, width and height.
        area: That of its mask, in pixels; without one, of its box.
        iscrowd: 1 or true for a group, on which detections do not count.
    """

    image_id: int
    category_id: int
    bbox: list[Coordinate]
    area: Annotated[float, msgspec.Meta(ge=0)] | None = None
    iscrowd: int | bool = 0


class Detection(Annotation, kw_only=True):
    """An object that was found.

    Attributes:
        image_id: Number of its image in :class:`Instances`, from 0.
        category_id: Its class, from 0.
        bbox: Left, top, width and height.
        score: 0 to 1.
    """

    image_id: int
    category_id: int
    bbox: list[Coordinate]
    score: Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Annotations(msgspec.Struct):
    images: list[RecordedImage]
    categories: list[Category]
    annotations: list[Label] = []


@dataclass(frozen=True)
class Instances:
    """Labels and detections of N images.

    Attributes:
        images: N, in the order of the data set.
        labels: Of all.
        detections: Of all.
    """

    images: Sequence[RecordedImage]
    labels: Sequence[Label]
    detections: Sequence[Detection]

    @property
    def has_masks(self) -> bool:
        """Whether all labels and detections have masks, and there are any."""
        return bool(self.labels) and all(
            each.segmentation for each in (*self.labels, *self.detections)
        )

    @property
    def maskless(self) -> str:
        """A sentence where some have masks and others none; else empty."""
        every = (*self.labels, *self.detections)
        without = sum(not each.segmentation for each in every)
        if without in (0, len(every)):
            return ''
        return (
            f'{without} of {len(every)} labels and detections have no mask, '
            'so that boxes are scored'
        )


def write_instances(
    folder: str | os.PathLike[str],
    classes: Sequence[str],
    instances: Instances,
) -> None:
    """Write ``annotations.json`` and ``detections.json``.

    Args:
        folder: A run directory.
        classes: Their names.
        instances: What to write; images get their numbers as ids.
    """
    content = {
        'images': [
            {**msgspec.structs.asdict(image), 'id': number}
            for number, image in enumerate(instances.images)
        ],
        'categories': [
            {'id': number, 'name': name} for number, name in enumerate(classes)
        ],
        # COCO's evaluation takes a match with instance 0 for none.
        'annotations': [
            {'id': number, **_row(label), 'area': _area(label)}
            for number, label in enumerate(instances.labels, 1)
        ],
    }
    found = [_row(detection) for detection in instances.detections]
    for name, data in ((ANNOTATIONS, content), (DETECTIONS, found)):
        write_bytes(Path(folder, name), msgspec.json.encode(data))


def _row(annotation: Annotation) -> dict[str, Any]:
    """Return an instance as COCO has it."""
    row = msgspec.structs.asdict(annotation)
    if annotation.segmentation is None:
        del row['segmentation']
    return row


def _area(label: Label) -> float:
    return label.bbox[2] * label.bbox[3] if label.area is None else label.area


def read_instances(folder: str | os.PathLike[str], meta: Meta) -> Instances:
    """Read ``annotations.json`` and ``detections.json``, and check them.

    Args:
        folder: A run directory.
        meta: Its :class:`~mmseg_ext.formats.run_records.Meta`, which they
            have to fit.

    Returns:
        Numbers of images and classes in place of the ids of the files.

    Raises:
        ValueError: A file is cut off, or does not fit.
        OSError: One is not there, or cannot be read.
    """
    path = Path(folder, ANNOTATIONS)
    labels = _decode(path, _Annotations)
    names = tuple(category.name for category in labels.categories)
    if names != meta.classes or len(labels.images) != meta.images:
        raise ValueError(
            f'{path}: {len(labels.images)} images of the classes '
            f'{", ".join(names)}; expected, as meta.json says, {meta.images} '
            f'of {", ".join(meta.classes)}: evaluate again'
        )
    images = {image.id: n for n, image in enumerate(labels.images)}
    classes: dict[Any, int] = {
        category.id: n for n, category in enumerate(labels.categories)
    }
    if len(images) < len(labels.images) or len(classes) < len(names):
        raise ValueError(
            f'{path}: two images or two categories have one id; expected one '
            'for each: evaluate again'
        )
    for image in labels.images:
        if image.width * image.height > _PIXELS:
            raise ValueError(
                f'{path}: image {image.file_name} of {image.width}x'
                f'{image.height} is larger than any that can be read; it was '
                'changed: evaluate again'
            )
    found = _decode(Path(folder, DETECTIONS), list[Detection])
    result = Instances(labels.images, labels.annotations, found)
    all_rows: dict[str, Sequence[Label | Detection]] = {
        ANNOTATIONS: result.labels,
        DETECTIONS: result.detections,
    }
    for name, rows in all_rows.items():
        for number, row in enumerate(rows):
            if fault := next(_faults(row, images, classes, result), None):
                raise ValueError(
                    f'{Path(folder, name)}: instance {number} {fault}; it '
                    'was changed: evaluate again'
                )
            row.image_id = images[row.image_id]
            row.category_id = classes[row.category_id]
    return result


def _decode(path: Path, kind: type[Kind]) -> Kind:
    """Read a file as what it should be."""
    try:
        return decode_json(read_file(path, most=None), kind)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'{path} is not there, so the record is not whole: evaluate again'
        ) from None
    except ValueError as error:
        raise ValueError(
            f'{path} cannot be read ({error}): it is cut off or was changed; '
            'evaluate again'
        ) from None


def _faults(
    row: Label | Detection,
    images: dict[int, int],
    classes: dict[Any, int],
    instances: Instances,
) -> Iterator[str]:
    """Yield what is wrong with an instance."""
    if row.image_id not in images:
        yield f'is of image {row.image_id}, which {ANNOTATIONS} lacks'
        return
    if row.category_id not in classes:
        yield f'is of category {row.category_id}, which {ANNOTATIONS} lacks'
    if len(row.bbox) != 4:
        yield 'has no box'
    elif min(row.bbox[2:]) < 0:
        yield f'has a box of negative size, {row.bbox}'
    image = instances.images[images[row.image_id]]
    try:
        check_mask(row.segmentation, (image.height, image.width))
    except ValueError as error:
        yield f'has {error}'
