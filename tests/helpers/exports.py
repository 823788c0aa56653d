"""The same sample scenes in every format of annotators."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmseg_ext.formats.color_masks import voc_color
from mmseg_ext.formats.exports import formats
from mmseg_ext.formats.exports.export import Annotated, Classes
from mmseg_ext.formats.exports.regions import Region, region_of_mask

#: Names that a format with a list of its own, such as Cityscapes', has too.
CLASSES = Classes(
    ('background', 'road', 'car', 'person', 'traffic sign'),
    tuple(map(voc_color, range(5))),
    0,
)

_CELLS = 3, 2  # across and down


class Scene(NamedTuple):
    """A picture and what is in it.

    Attributes:
        stem: Its name, which is part of each name that a format gives it.
        image: uint8 (H, W, 3), BGR.
        labels: uint8 (H, W), indices of :data:`CLASSES`.
        masks: Of each instance its class and its pixels, uint8 (H, W).
        split: Where it belongs; None for nowhere.
    """

    stem: str
    image: np.ndarray
    labels: np.ndarray
    masks: list[tuple[int, np.ndarray]]
    split: str | None = None


def scene(index, size=(160, 120), split=None):
    """Paint a scene: six instances, which do not touch, each in its cell.

    Among them are one with a hole and some that lie at the border.
    """
    width, height = size
    rng = np.random.default_rng(index)
    labels = np.zeros((height, width), np.uint8)
    masks = []
    w, h = width // _CELLS[0], height // _CELLS[1]
    for cell in range(_CELLS[0] * _CELLS[1]):
        value = 1 + (index + cell) % (len(CLASSES.names) - 1)
        left, top = cell % _CELLS[0] * w, cell // _CELLS[0] * h
        mask = np.zeros_like(labels)
        box = mask[top : top + h - 4, left : left + w - 4]
        _paint(box, (index + cell) % 4, rng)
        labels[mask > 0] = value
        masks.append((value, mask))
    return _colored(index, labels, masks, split)


def empty_scene(index, size=(160, 120), split=None):
    """Paint a scene without any object."""
    labels = np.zeros(size[::-1], np.uint8)
    return _colored(index, labels, [], split)


def _paint(box, kind, rng):
    """Paint a shape that is one part."""
    height, width = box.shape
    center = width // 2, height // 2
    radius = int(rng.integers(min(center) // 2, min(center) - 2))
    if kind == 0:  # with a hole
        cv2.circle(box, center, radius, 1, -1)
        cv2.circle(box, center, radius // 3, 0, -1)
    elif kind == 1:  # at the border, in cells that lie there
        box[: center[1], : radius + 3] = 1
    elif kind == 2:
        cv2.ellipse(box, center, (center[0] - 3, radius), 30, 0, 360, 1, -1)
    else:
        corners = rng.integers(2, (width - 2, height // 2), (5, 2))
        hull = cv2.convexHull(np.append(corners, [[3, height - 3]], axis=0))
        cv2.fillPoly(box, [hull.astype(np.int32)], 1)


def _colored(index, labels, masks, split):
    noise = np.random.default_rng(index).integers(0, 60, (*labels.shape, 3))
    colors = np.array(CLASSES.palette)[:, ::-1]
    image = (colors[labels] + noise + 30).astype(np.uint8)
    return Scene(f'scene_{index:02d}', image, labels, masks, split)


def scenes(number=6, size=(160, 120), splits=True):
    """Yield scenes; the last one is empty, and each third one is of val."""
    for index in range(number):
        split = ('val' if index % 3 == 2 else 'train') if splits else None
        kind = empty_scene if index == number - 1 else scene
        yield kind(index, size, split)


def write_scenes(
    out, format, number=6, size=(160, 120), splits=True, outlines=False
):
    """Write scenes in a format, and return them.

    Args:
        out: A folder; it is made.
        format: Name of a format of :func:`formats`.
        number: How many.
        size: Width and height.
        splits: Put them in train and val.
        outlines: Give instances without hole as polygons, for formats that
            have shapes.
    """
    painted = list(scenes(number, size, splits))
    with tempfile.TemporaryDirectory(dir=Path(out).parent) as folder:
        formats()[format].write(
            Path(out), CLASSES, _items(Path(folder), painted, size, outlines)
        )
    return painted


def _items(folder, painted, size, outlines):
    """Yield scenes to be written, JPEG and PNG files in turn."""
    for number, each in enumerate(painted):
        name = f'{each.stem}.{("jpg", "png")[number % 2]}'
        cv2.imwrite(str(folder / name), each.image)
        regions = [
            _outlined(value, mask)
            if outlines and has_no_hole(mask)
            else region_of_mask(mask, value, 0, 0, size)
            for value, mask in each.masks
        ]
        yield Annotated(
            name, folder / name, size, regions, each.labels, each.split
        )


def has_no_hole(mask):
    """Tell whether one outline says all of a mask that is one part."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return len(contours) == 1


def _outlined(value, mask):
    """Return an instance by the line through its outermost pixels."""
    [contour], _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    return Region(value, [(contour.reshape(-1) + 0.5).tolist()])
