"""Pictures of a run: images beside label, prediction and errors."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmseg_ext.evaluation.errors import find_errors
from mmseg_ext.formats.run_records import KINDS, Counts, Meta, read_maps
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.images import decode_image
from mmseg_ext.visualization.contact_sheets import distinct_color
from mmseg_ext.visualization.patterns import IGNORED, squares
from mmseg_ext.visualization.web_page import Picture, hex_color, webp_uri

__all__ = ['KIND_COLORS', 'Album', 'Pictures', 'class_colors', 'open_image']

_KIND_COLORS = ((240, 190, 20), (235, 105, 25), (175, 15, 70))

#: Colors of kinds of errors, from light to dark, as ``'#rrggbb'``.
KIND_COLORS = [hex_color(color) for color in _KIND_COLORS]

#: Grays of an image where the prediction is right, from what is black to
#: what is white.
_QUIET = (190, 250)

#: The longer side of a picture of a whole image and of a part, in pixels.
_SIDE, _CROP_SIDE = 480, 240

#: A part of an image is so much larger than what it is about, and takes at
#: least this share of the image's longer side.
_AROUND, _LEAST = 1.6, 1 / 6

#: Classes that a legend names.
_NAMED = 8

#: Gray of an image that is not there.
_GRAY = 128

#: The middle of the grays of :data:`IGNORED`.
_IGNORED = '#bebebe'


class _Views(NamedTuple):
    """An image and its maps, all of one size.

    Attributes:
        image: uint8 RGB (H, W, 3); None if it is gone.
        label: (H, W); None if the run kept no maps.
        prediction: (H, W); None if the run kept no maps.
        fault: Why there is no image.
    """

    image: np.ndarray | None
    label: np.ndarray | None
    prediction: np.ndarray | None
    fault: str


def open_image(path: str, name: str, data_root: str) -> np.ndarray:
    """Read an image of a run, where it was or where the data is now.

    Args:
        path: As the run read it.
        name: Relative to the data root, or the path again.
        data_root: The folder of the data; may be empty.

    Returns:
        uint8 RGB, (H, W, 3).

    Raises:
        OSError: It is at neither place, or cannot be read.
        ValueError: It is no image.
    """
    moved = Path(data_root, name)
    if not os.path.exists(path) and data_root and moved.exists():
        path = os.fspath(moved)
    return decode_image(read_file(path), path)[..., ::-1]


def class_colors(meta: Meta) -> np.ndarray:
    """Return a color of each class, of the palette if it tells them apart.

    Args:
        meta: Of the run.

    Returns:
        uint8 (C, 3), RGB.
    """
    if len(set(meta.palette)) == len(meta.palette):
        return np.array(meta.palette, np.uint8)
    number = len(meta.classes)
    return np.array([distinct_color(k) for k in range(number)], np.uint8)


class Pictures:
    """Pictures of a run, of which a page has room for some.

    Args:
        room: Characters that their addresses may have together.

    Attributes:
        gone: Why images could not be shown, by their names.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self.gone: dict[str, str] = {}

    def notes(self) -> list[str]:
        """Return a sentence for images that could not be shown."""
        if not self.gone:
            return []
        name, fault = next(iter(self.gone.items()))
        number = len(self.gone)
        return [
            f'{number} image{"s" * (number > 1)} cannot be shown, such as '
            f'{name}: {fault}'
        ]

    def give(self, room: int) -> None:
        """Add to the room that is left.

        Args:
            room: Characters more than are left.
        """
        self._room = max(self._room, 0) + room


class Album(Pictures):
    """Draws images of a run, as long as there is room.

    Args:
        folder: The run directory.
        meta: Its meta.
        counts: Its counts.
        room: Characters that all pictures may take.

    Attributes:
        without_maps: Why images have no maps, by their names.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        meta: Meta,
        counts: Counts,
        room: int,
    ) -> None:
        super().__init__(room)
        self._folder, self._meta, self._counts = folder, meta, counts
        self._colors = class_colors(meta)
        self.without_maps: dict[str, str] = {}
        # Parts of an image are often shown one after the other.
        self._views = lru_cache(maxsize=4)(self._read)

    def notes(self) -> list[str]:
        """Return a sentence for what could not be shown."""
        notes = super().notes()
        if self.without_maps:
            name, fault = next(iter(self.without_maps.items()))
            number = len(self.without_maps)
            notes.append(
                f'{number} image{"s" * (number > 1)} cannot be shown with '
                f'label and prediction, such as {name}: {fault}'
            )
        return notes

    def whole(self, index: int, note: str, id: str = '') -> Picture | None:
        """Draw an image, its label, its prediction and its errors.

        Args:
            index: Number of the image.
            note: What stands below.
            id: By which a link leads to it.

        Returns:
            None if there is no room left.
        """
        if self._room <= 0:
            return None
        views = self._views(index)
        heads = ['image']
        drawn = [self._photograph(views, _SIDE)]
        legend: list[tuple[str, str]] = []
        if views.label is not None and views.prediction is not None:
            heads += ['label', 'prediction', 'errors']
            drawn += [
                self._map(views.label, _SIDE),
                self._map(views.prediction, _SIDE),
                self._errors(views),
            ]
            legend = self._legend(views.label, views.prediction)
            legend += zip(KIND_COLORS, KINDS, strict=True)
        return self._picture(index, heads, drawn, note, views)._replace(
            legend=legend, id=id
        )

    def part(
        self, index: int, box: Sequence[int], note: str
    ) -> Picture | None:
        """Draw a part of an image, with some of what is around it.

        Args:
            index: Number of the image.
            box: Left, top, width and height of what it is about, in pixels.
            note: What stands below.

        Returns:
            None if there is no room left.
        """
        if self._room <= 0:
            return None
        views = self._views(index)
        rows, columns = _around(box, self._counts.sizes[index])
        label, prediction = (
            None if each is None else each[rows, columns]
            for each in (views.label, views.prediction)
        )
        image = views.image
        cut = _Views(
            None if image is None else image[rows, columns],
            label,
            prediction,
            views.fault,
        )
        heads = ['image']
        drawn = [self._photograph(cut, _CROP_SIDE)]
        legend: list[tuple[str, str]] = []
        if label is not None and prediction is not None:
            heads += ['label', 'prediction']
            drawn += [
                self._map(each, _CROP_SIDE) for each in (label, prediction)
            ]
            legend = self._legend(label, prediction)
        return self._picture(index, heads, drawn, note, views)._replace(
            legend=legend
        )

    def largest(
        self, index: int, label: int, prediction: int
    ) -> tuple[int, int, int, int] | None:
        """Find the largest region of a confusion in an image.

        Args:
            index: Number of the image.
            label: The class.
            prediction: The class that it is taken for.

        Returns:
            Left, top, width and height; None without maps.
        """
        views = self._views(index)
        if views.label is None or views.prediction is None:
            return None
        where = (views.label == label) & (views.prediction == prediction)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(
            where.astype(np.uint8)
        )
        if len(boxes) < 2:
            return None
        left, top, width, height, _ = max(boxes[1:], key=lambda b: b[4])
        return int(left), int(top), int(width), int(height)

    def _read(self, index: int) -> _Views:
        """Read an image and its maps."""
        name = str(self._counts.names[index])
        label = prediction = image = None
        fault = ''
        try:
            label, prediction = read_maps(self._folder, index)
        except (OSError, ValueError) as error:
            self.without_maps[name] = str(error)
        try:
            image = open_image(
                str(self._counts.paths[index]), name, self._meta.data_root
            )
        except (OSError, ValueError) as error:
            fault = self.gone[name] = str(error)
        height, width = self._counts.sizes[index].tolist()
        if image is not None and image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height))
        return _Views(image, label, prediction, fault)

    def _photograph(self, views: _Views, side: int) -> str | None:
        if views.image is None:
            return None
        return webp_uri(_fit(views.image, side, cv2.INTER_AREA))

    def _map(self, labels: np.ndarray, side: int) -> str:
        """Color a label map."""
        labels = _fit(labels, side, cv2.INTER_NEAREST)
        number = len(self._colors)
        table = np.vstack([self._colors, np.zeros((1, 3), np.uint8)])
        painted = table[np.minimum(labels.astype(np.intp), number)]
        ignored = self._ignored(labels)
        if ignored.any():
            painted[ignored] = squares(labels.shape, IGNORED)[ignored]
        return webp_uri(painted, exact=True)

    def _ignored(self, labels: np.ndarray) -> np.ndarray:
        """Return where there is no class, bool (H, W)."""
        ignored: np.ndarray = (labels == self._meta.ignore_index) | (
            labels >= len(self._colors)
        )
        return ignored

    def _errors(self, views: _Views) -> str:
        """Draw wrong pixels over a pale image."""
        assert views.label is not None
        assert views.prediction is not None
        found = find_errors(
            views.prediction,
            views.label,
            len(self._colors),
            self._meta.ignore_index,
            self._meta.boundary_share,
        )
        kinds = np.zeros(views.label.size, np.uint8)
        kinds[found.pixels] = found.missed + 1
        kinds = _fit(
            kinds.reshape(views.label.shape), _SIDE, cv2.INTER_NEAREST
        )
        if views.image is None:
            gray = np.full(kinds.shape, _GRAY, np.uint8)
        else:
            small = _fit(views.image, _SIDE, cv2.INTER_AREA)
            gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        low, high = _QUIET
        pale = np.round(low + gray / 255 * (high - low)).astype(np.uint8)
        drawn = np.repeat(pale[..., None], 3, axis=2)
        wrong = kinds > 0
        drawn[wrong] = np.array(_KIND_COLORS, np.uint8)[kinds[wrong] - 1]
        ignored = self._ignored(_fit(views.label, _SIDE, cv2.INTER_NEAREST))
        if ignored.any():
            drawn[ignored] = squares(drawn.shape[:2], IGNORED)[ignored]
        return webp_uri(drawn)

    def _legend(
        self, label: np.ndarray, prediction: np.ndarray
    ) -> list[tuple[str, str]]:
        """Return the largest classes of two maps, and what is ignored."""
        ignored = self._ignored(label)
        known = ~ignored & ~self._ignored(prediction)
        number = len(self._colors)
        pixels = sum(
            np.bincount(each[known], minlength=number)
            for each in (label, prediction)
        )
        largest = np.argsort(-np.asarray(pixels), kind='stable')[:_NAMED]
        legend = [
            (hex_color(self._colors[k]), self._meta.classes[k])
            for k in largest.tolist()
            if np.asarray(pixels)[k]
        ]
        return legend + [(_IGNORED, 'ignored')] * bool(ignored.any())

    def _picture(
        self,
        index: int,
        heads: Sequence[str],
        drawn: Sequence[str | None],
        note: str,
        views: _Views,
    ) -> Picture:
        """Put pictures side by side, and count the room that they take."""
        name = str(self._counts.names[index])
        texts = [f'{head} of {name}' for head in heads]
        if drawn[0] is None:
            texts[0] = f'cannot be shown: {views.fault}'
        self._room -= sum(len(each or '') for each in drawn)
        return Picture(drawn, texts, name, note, heads=heads)


def _fit(pixels: np.ndarray, side: int, method: int) -> np.ndarray:
    """Bring the longer side of what is larger to some pixels."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=method)


def _around(box: Sequence[int], size: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns of a box and of what is around it."""
    slices = []
    for start, length, whole in zip(
        (box[1], box[0]), (box[3], box[2]), size.tolist(), strict=True
    ):
        side = max(length * _AROUND, max(size.tolist()) * _LEAST)
        side = min(round(side), whole)
        first = min(max(round(start + (length - side) / 2), 0), whole - side)
        slices.append(slice(first, first + side))
    return slices[0], slices[1]
