"""Masks of COCO files: what is wrong with each, found without drawing it.

pycocotools trusts what it is given: of runs that do not fit their size it
reads and writes beyond its memory, or never ends. So nothing gets there that
was not looked at.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.coco import MaskCode, check_mask, mask_extent
from mmseg_ext.formats.json_files import Coordinate
from mmseg_ext.utils.images import MAX_PIXELS

__all__ = ['ROUNDING', 'Mask', 'MaskLook', 'look_at_mask']

#: Boxes and masks may leave the image by so many pixels, which is rounding.
ROUNDING = 1

#: pycocotools counts pixels in 32 bits.
_MOST_PIXELS = (1 << 32) - 1

#: An outline within the image is not too long to be drawn if its points,
#: each as far from the next as can be, do not make more pixels.
_SAFE = 1 << 20

#: Numbers of the shortest polygon, x and y of three points.
_SHORTEST = 6

#: Of a first polygon of fewer numbers pycocotools' evaluation fails: it takes
#: four for a box.
_POLYGON = 5


class Mask(IntEnum):
    """What a mask is, or what is wrong with it."""

    RIGHT = 0
    #: There is none.
    ABSENT = 1
    #: It has no pixel.
    EMPTY = 2
    #: Polygons of fewer than three points, or of half points.
    SHORT = 3
    #: Polygons that leave the image.
    OUTSIDE = 4
    #: Runs that do not fit their own size.
    CORRUPT = 5
    #: Runs of another size than the image.
    OTHER_SIZE = 6
    #: Something else than polygons or runs.
    ODD = 7


class MaskLook(NamedTuple):
    """What was seen of a mask.

    Attributes:
        mask: What it is.
        code: Whether it is given as runs.
        fails: Whether an evaluation of masks fails of it.
        box: Left, top, right and bottom in pixels; None where it has none.
        area: Its pixels; NaN where they are not known.
    """

    mask: Mask
    code: bool = False
    fails: bool = False
    box: tuple[float, float, float, float] | None = None
    area: float = np.nan


def look_at_mask(mask: Any, size: tuple[int, int] | None) -> MaskLook:
    """Look at a mask.

    Args:
        mask: ``segmentation`` of an annotation, of any type.
        size: Height and width of the image; None where they are not known.
    """
    if not mask:
        return MaskLook(Mask.ABSENT, fails=True)
    if isinstance(mask, dict):
        return _look_at_code(mask, size)
    try:
        polygons = msgspec.convert(mask, list[list[Coordinate]])
    except msgspec.ValidationError:
        return MaskLook(Mask.ODD, fails=True)
    return _look_at_polygons(polygons, size)


def _look_at_code(mask: Any, size: tuple[int, int] | None) -> MaskLook:
    corrupt = MaskLook(Mask.CORRUPT, code=True, fails=True)
    try:
        code = msgspec.convert(mask, MaskCode)
        height, width = code.size
        if not 0 < height * width <= _MOST_PIXELS:
            return corrupt
        box = mask_extent(code, code.size)
    except ValueError:  # msgspec's own as well
        return corrupt
    if isinstance(code.counts, str):
        checked = {'size': [*code.size], 'counts': code.counts.encode()}
        area = float(coco_mask.area(checked))
    else:
        area = float(sum(code.counts[1::2]))
    if size is not None and code.size != size:
        return MaskLook(Mask.OTHER_SIZE, code=True, box=box, area=area)
    kind = Mask.RIGHT if area else Mask.EMPTY
    return MaskLook(kind, code=True, box=box, area=area)


def _look_at_polygons(
    polygons: list[list[float]], size: tuple[int, int] | None
) -> MaskLook:
    fails = len(polygons[0]) < _POLYGON
    whole = [
        each
        for each in polygons
        if len(each) >= _SHORTEST and len(each) % 2 == 0
    ]
    if len(whole) < len(polygons):
        # MMDet passes over these, and over the object without another.
        short = any(each not in whole for each in filter(None, polygons))
        return MaskLook(Mask.SHORT if short else Mask.EMPTY, fails=fails)
    # Of so few numbers lists are faster than arrays.
    across = [x for each in whole for x in each[0::2]]
    down = [y for each in whole for y in each[1::2]]
    left, top, right, bottom = box = (
        *(min(across), min(down)),
        *(max(across), max(down)),
    )
    if size is None or not 0 < size[0] * size[1] <= MAX_PIXELS:
        return MaskLook(Mask.RIGHT, box=box)
    height, width = size
    if (
        min(left, top) < -ROUNDING
        or right > width + ROUNDING
        or bottom > height + ROUNDING
    ):
        return MaskLook(Mask.OUTSIDE, box=box)
    if len(across) * max(size) > _SAFE:
        try:
            check_mask(whole, size)
        except ValueError:  # an outline of millions of pixels
            return MaskLook(Mask.ODD, fails=True)
    codes = coco_mask.frPyObjects(whole, height, width)
    code = codes[0] if len(codes) == 1 else coco_mask.merge(codes)
    area = float(coco_mask.area(code))
    return MaskLook(Mask.RIGHT if area else Mask.EMPTY, box=box, area=area)
