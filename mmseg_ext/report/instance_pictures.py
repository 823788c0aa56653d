"""Pictures of a detector's run: images, labels, detections and errors."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.coco import (
    Annotation,
    Category,
    CocoFile,
    MaskCode,
    decode_mask,
)
from mmseg_ext.formats.instance_records import Detection, Instances
from mmseg_ext.formats.run_records import Meta
from mmseg_ext.report.instance_scores import Shown
from mmseg_ext.report.pictures import Pictures, open_image
from mmseg_ext.visualization.coco_sheets import CategoryStyle, draw_instances
from mmseg_ext.visualization.contact_sheets import shrink
from mmseg_ext.visualization.web_page import Picture, hex_color, webp_uri

__all__ = ['InstanceAlbum']

#: What an instance is in the picture of errors. The colors are told apart by
#: those, too, who do not see red and green. Source: Okabe and Ito, "Color
#: Universal Design" (2008).
_FOUND, _MISSED, _INVENTED = range(3)
_ERRORS = {
    'found': (0, 158, 115),
    'missed': (230, 159, 0),
    'invented': (204, 51, 167),
}

_ERROR_LEGEND = [(hex_color(color), name) for name, color in _ERRORS.items()]

#: Grays of the image below them, from what is black to what is white.
_QUIET = (150, 250)

#: A part of an image is so much larger than what it is about, and takes at
#: least this share of the image's longer side.
_AROUND, _LEAST = 2, 1 / 6

#: Classes that a legend names.
_NAMED = 8

#: Gray of an image that is not there.
_GRAY = 128


class _ClassStyle(CategoryStyle):
    """Colors by class; at a detection stands its score, too."""

    def label(self, annotation: Annotation) -> str:
        name = super().label(annotation)
        if isinstance(annotation, Detection):
            return f'{name} {annotation.score:.2f}'.strip()
        return name


class _ErrorStyle(CategoryStyle):
    """Colors by error, which the legend tells."""

    def color(
        self, index: int, annotation: Annotation
    ) -> tuple[int, int, int]:
        return _ERRORS[self.names[annotation.category_id]]

    def label(self, annotation: Annotation) -> str:
        return ''


class InstanceAlbum(Pictures):
    """Draws images of a run, as long as there is room.

    Args:
        meta: Its meta.
        instances: Its labels and detections.
        shown: What of them is right.
        room: Characters that all pictures may take.
    """

    def __init__(
        self, meta: Meta, instances: Instances, shown: Shown, room: int
    ) -> None:
        super().__init__(room)
        self._meta, self._instances = meta, instances
        self._known, self._found = shown.known, shown.found
        self._labels: dict[int, list[int]] = defaultdict(list)
        for number, label in enumerate(instances.labels):
            self._labels[label.image_id].append(number)
        self._detections: dict[int, list[int]] = defaultdict(list)
        for number, detection in enumerate(instances.detections):
            if detection.score >= shown.least:
                self._detections[detection.image_id].append(number)
        categories = [Category(*each) for each in enumerate(meta.classes)]
        self._classes = _ClassStyle(CocoFile([], [], categories))
        errors = [Category(*each) for each in enumerate(_ERRORS)]
        self._errors = _ErrorStyle(CocoFile([], [], errors))
        # Parts of an image are often shown one after the other.
        self._image = lru_cache(maxsize=2)(self._read)

    def whole(self, index: int, note: str, id: str = '') -> Picture | None:
        """Draw an image, its labels, its detections and its errors.

        Args:
            index: Number of the image.
            note: What stands below.
            id: By which a link leads to it.

        Returns:
            None if there is no room left.
        """
        if self._room <= 0:
            return None
        detections = self._detections_of(index)
        canvas = self._canvas(index, self._image(index))
        drawn = [
            *self._given(index),
            _draw(canvas, detections, self._classes),
            self._errors_of(index),
        ]
        legend = self._legend([*self._labels_of(index), *detections])
        heads = ['image', 'labels', 'detections', 'errors']
        return self._picture(index, heads, drawn, note)._replace(
            legend=legend + _ERROR_LEGEND, id=id
        )

    def compared(
        self, index: int, other: 'InstanceAlbum', place: int, note: str
    ) -> Picture:
        """Draw an image, its labels, and the errors of two runs.

        Args:
            index: Number of the image.
            other: The album of the other run.
            place: Number of the image in that.
            note: What stands below.
        """
        drawn = [
            *self._given(index),
            self._errors_of(index),
            other._errors_of(place),
        ]
        heads = ['image', 'labels', 'errors of A', 'errors of B']
        legend = self._legend(self._labels_of(index)) + _ERROR_LEGEND
        return self._picture(index, heads, drawn, note)._replace(legend=legend)

    def part(
        self, index: int, boxes: Sequence[Sequence[float]], note: str
    ) -> Picture | None:
        """Draw a part of an image: its labels beside its detections.

        Args:
            index: Number of the image.
            boxes: What it is about: left, top, width and height, in pixels.
            note: What stands below.

        Returns:
            None if there is no room left.
        """
        if self._room <= 0:
            return None
        canvas = self._canvas(index, self._image(index))
        rows, columns = _around(boxes, canvas.shape[:2])
        labels, detections = (
            _cut(each, rows, columns, canvas.shape[:2])
            for each in (self._labels_of(index), self._detections_of(index))
        )
        canvas = np.ascontiguousarray(canvas[rows, columns])
        drawn = [
            _draw(canvas, each, self._classes) for each in (labels, detections)
        ]
        picture = self._picture(index, ['labels', 'detections'], drawn, note)
        return picture._replace(legend=self._legend([*labels, *detections]))

    def _given(self, index: int) -> list[str | None]:
        """Draw an image, and its labels."""
        pixels = self._image(index)
        canvas = self._canvas(index, pixels)
        return [
            None if pixels is None else webp_uri(shrink(pixels)[0]),
            _draw(canvas, self._labels_of(index), self._classes),
        ]

    def _errors_of(self, index: int) -> str:
        """Draw what is found, missed and invented."""
        errors = [
            _as_error(
                self._instances.labels[number],
                _FOUND if number in self._found else _MISSED,
            )
            for number in self._labels[index]
            if not self._instances.labels[number].iscrowd
        ]
        # What is found stands there once, as the label has it.
        errors += [
            _as_error(self._instances.detections[number], _INVENTED)
            for number in self._detections[index]
            if self._known.get(number) is False
        ]
        canvas = self._canvas(index, self._image(index))
        return _draw(_pale(canvas), errors, self._errors)

    def _labels_of(self, index: int) -> list[Annotation]:
        return [self._instances.labels[n] for n in self._labels[index]]

    def _detections_of(self, index: int) -> list[Annotation]:
        return [self._instances.detections[n] for n in self._detections[index]]

    def _read(self, index: int) -> np.ndarray | None:
        """Return an image as large as its labels; None if it is gone."""
        image = self._instances.images[index]
        name = image.file_name
        root = self._meta.data_root
        path = image.path or os.path.join(root, name)
        try:
            pixels = open_image(path, name, root)
        except (OSError, ValueError) as error:
            self.gone[name] = str(error)
            return None
        if pixels.shape[:2] != (image.height, image.width):
            return cv2.resize(pixels, (image.width, image.height))
        return np.ascontiguousarray(pixels)

    def _canvas(self, index: int, pixels: np.ndarray | None) -> np.ndarray:
        """Return an image, a gray one in place of one that is gone."""
        if pixels is not None:
            return pixels
        image = self._instances.images[index]
        size = max(image.height, 1), max(image.width, 1)
        return np.full((*size, 3), _GRAY, np.uint8)

    def _legend(self, shown: Iterable[Annotation]) -> list[tuple[str, str]]:
        """Return the classes that are there most often."""
        if not self._classes.several:
            return []
        counts = Counter(each.category_id for each in shown)
        return [
            (
                hex_color(
                    self._classes.color(0, Annotation(0, category_id=key))
                ),
                self._classes.names[key],
            )
            for key, _ in counts.most_common(_NAMED)
        ]

    def _picture(
        self,
        index: int,
        heads: Sequence[str],
        drawn: Sequence[str | None],
        note: str,
    ) -> Picture:
        """Put pictures side by side, and count the room that they take."""
        name = self._instances.images[index].file_name
        texts = [f'{head} of {name}' for head in heads]
        if drawn[0] is None:
            texts[0] = f'cannot be shown: {self.gone[name]}'
        self._room -= sum(len(each or '') for each in drawn)
        return Picture(drawn, texts, name, note, heads=heads)


def _draw(
    canvas: np.ndarray, shown: Sequence[Annotation], style: CategoryStyle
) -> str:
    """Return an image with instances as the address of a picture."""
    return webp_uri(np.asarray(draw_instances(canvas, shown, style)))


def _as_error(instance: Annotation, kind: int) -> Annotation:
    """Return an instance as a kind of error."""
    return Annotation(0, kind, instance.bbox, instance.segmentation)


def _pale(image: np.ndarray) -> np.ndarray:
    """Return an image in light grays."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = _QUIET
    pale = np.round(low + gray / 255 * (high - low)).astype(np.uint8)
    return np.repeat(pale[..., None], 3, axis=2)


def _around(
    boxes: Sequence[Sequence[float]], size: tuple[int, int]
) -> tuple[slice, slice]:
    """Return rows and columns of boxes and of what is around them."""
    starts = np.min([box[:2] for box in boxes], axis=0)
    ends = np.max([(b[0] + b[2], b[1] + b[3]) for b in boxes], axis=0)
    square = max(*((ends - starts) * _AROUND), max(size) * _LEAST, 1)
    slices = []
    for start, end, whole in zip(starts, ends, size[::-1], strict=True):
        side = min(round(square), whole)
        first = round((start + end - side) / 2)
        first = min(max(first, 0), whole - side)
        slices.append(slice(first, first + side))
    return slices[1], slices[0]


def _cut(
    shown: Iterable[Annotation],
    rows: slice,
    columns: slice,
    size: tuple[int, int],
) -> list[Annotation]:
    """Return the instances that reach into a part, as they lie in it."""
    found = []
    limits = np.array([columns.stop, rows.stop])
    corner = np.array([columns.start, rows.start])
    for each in shown:
        box = np.array(each.bbox)
        start = np.maximum(box[:2], corner)
        end = np.minimum(box[:2] + box[2:], limits)
        if (end <= start).any():
            continue
        part: dict[str, Any] = {}
        with suppress(ValueError):
            mask = decode_mask(each.segmentation, size)
            if mask is not None:
                part['segmentation'] = _encode(mask[rows, columns])
        found.append(_moved(each, [*(start - corner), *(end - start)], part))
    return found


def _moved(
    each: Annotation, box: Sequence[float], part: dict[str, Any]
) -> Annotation:
    """Return an instance with another box and mask."""
    part['bbox'] = [float(value) for value in box]
    if isinstance(each, Detection):
        return Detection(
            image_id=0,
            category_id=each.category_id,
            score=each.score,
            **part,
        )
    return Annotation(0, each.category_id, **part)


def _encode(mask: np.ndarray) -> MaskCode:
    """Return a mask as COCO has it."""
    code = coco_mask.encode(np.asfortranarray(mask))
    return MaskCode(mask.shape, code['counts'].decode('ascii'))
