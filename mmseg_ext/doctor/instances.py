"""Instances of images, as data sets of MMDet load them."""

from typing import Any, NamedTuple

import numpy as np

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.parts import Part

__all__ = ['Instance', 'boxes_left_out', 'instances_of']


class Instance(NamedTuple):
    """An instance of an image.

    Attributes:
        label: Number of its class.
        box: Left, top, width and height, in pixels.
        mask: Polygons or RLE, as COCO has them; None without one.
    """

    label: int
    box: tuple[float, float, float, float]
    mask: Any = None


def instances_of(part: Part, position: int) -> list[Instance]:
    """Return the instances of an image, without those to ignore.

    Args:
        part: A data set of MMDet, built.
        position: Number of the image.

    Returns:
        Empty where the data set, which may be the user's own, keeps nothing
        of the kind.
    """
    try:
        instances = part.dataset.get_data_info(position)['instances']
        found = []
        for each in instances:
            left, top, right, bottom = map(float, each['bbox'])
            box = left, top, right - left, bottom - top
            if not each.get('ignore_flag'):
                label = int(each['bbox_label'])
                found.append(Instance(label, box, each.get('mask')))
    except FAULTS:
        return []
    return found


def boxes_left_out(
    part: Part, path: str, kept: list[Instance]
) -> list[Instance]:
    """Return the boxes of an image that its COCO file has, and no more.

    Args:
        part: A data set of MMDet.
        path: The file of the image.
        kept: What the data set loads of it.

    Returns:
        What MMDet leaves out, such as crowds and boxes outside; the label is
        -1 where a box is of no class.
    """
    if part.coco is None:
        return []
    table = part.coco.annotations
    images = [
        k for k, each in enumerate(part.coco.images.paths) if each == path
    ]
    known = {_place(each.box) for each in kept}
    found = []
    for row in np.flatnonzero(np.isin(table.images, images)):
        left, top, width, height = map(float, table.boxes[row])
        box = left, top, width, height
        if np.isfinite(box).all() and _place(box) not in known:
            found.append(Instance(int(table.labels[row]), box))
    return found


def _place(box: tuple[float, ...]) -> tuple[float, ...]:
    """Return a box as it can be compared after a little arithmetic."""
    return tuple(round(value, 2) for value in box)
