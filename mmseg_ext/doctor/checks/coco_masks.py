"""Masks of COCO files, by themselves and against their boxes."""

from collections.abc import Iterator

import numpy as np

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.coco_masks import ROUNDING, Mask
from mmseg_ext.doctor.coco_tables import CocoTable
from mmseg_ext.doctor.coco_use import (
    coco_parts,
    in_sized_images,
    left_out,
    level_of,
    loads_masks,
    metrics_of,
    of_annotations,
)
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.parts import Part

__all__ = [
    'coco_masks_are_polygons',
    'coco_masks_are_runs',
    'coco_masks_fit_boxes',
]

EMPTY = Code(
    'coco-polygon-empty',
    Level.WARNING,
    "KeyError: 'mask' in the first epoch where there is no mask at all; an "
    'object with an empty one is not learned, and ends an evaluation of '
    'masks with "input type is not supported"',
    'remove the annotation, or outline the object',
)
SHORT = Code(
    'coco-polygon-short',
    Level.WARNING,
    'the polygon is left out in training, and the object with it if it has '
    'no other; as the first of an object it ends an evaluation of masks '
    'with a TypeError or "input type is not supported"',
    'give each polygon x and y of at least three points',
)
OUTSIDE = Code(
    'coco-polygon-outside',
    Level.WARNING,
    'what is outside the image is cut off: the object is learned with a '
    'part of its mask or none',
    'write coordinates in pixels of the image that file_name names',
)
CORRUPT = Code(
    'coco-rle-corrupt',
    Level.ERROR,
    'pycocotools ends with "Invalid RLE mask representation", never ends, '
    'or reads and writes beyond its memory: a crash, or masks at random',
    'write the runs again, with pycocotools.mask.encode',
)
OTHER_SIZE = Code(
    'coco-rle-size',
    Level.ERROR,
    'masks of as many pixels, as where size is [width, height], are scrambled '
    'without a word (IoU 0 with the true ones); others end the run with '
    '"ValueError: cannot reshape array of size ..." or "all input arrays '
    'must have the same shape"; in an evaluation no mask fits',
    'write size as [height, width], of masks encoded at the size of the image',
)
ODD = Code(
    'coco-mask-odd',
    Level.ERROR,
    'a TypeError where masks are loaded or measured',
    'write segmentation as a list of lists [x1, y1, x2, y2, ...], or as an '
    'object with size and counts',
)
BOX_UNLIKE = Code(
    'coco-box-unlike-mask',
    Level.WARNING,
    'boxes and masks teach different things, and one of the two AP suffers',
    'write the box again from the mask (pycocotools.mask.toBbox), or the '
    'mask that belongs to it',
)
AREA_UNLIKE = Code(
    'coco-area-unlike-mask',
    Level.WARNING,
    'AP of small, medium and large objects count them in the wrong one; of '
    'area 0 and below MMDet leaves them out',
    'write the area of the mask (pycocotools.mask.area)',
)

#: A box is that of a mask if they overlap by so much (IoU)...
_ALIKE = 0.75

#: ...or no side is off by more pixels: small objects are drawn coarsely.
_PIXELS = 3

#: The area of a mask may be off by so much, or by a border of so many pixels
#: around it: outlines are measured by their corners, too. The box of a disk,
#: often written in its place, is larger by 27 %.
_AREA, _BORDER = 0.15, 1


@check(EMPTY, SHORT, OUTSIDE, ODD)
def coco_masks_are_polygons(case: Case) -> Iterator[Finding]:
    """Yield masks that are missing, empty, no outlines, or outside."""
    for part, table in coco_parts(case):
        rows = table.annotations
        if _has_no_masks(part, table):
            continue
        loads, measured = loads_masks(part), 'segm' in metrics_of(case, part)
        within = rows.images >= 0
        absent = within & (rows.masks == Mask.ABSENT)
        read = absent & ~left_out(table) if not measured else absent
        if read.any() and (loads or measured):
            text = 'no segmentation'
            yield of_annotations(EMPTY, part, read, text, Level.ERROR)
        for code, kind, text in (
            (EMPTY, Mask.EMPTY, 'a mask without a pixel'),
            (
                SHORT,
                Mask.SHORT,
                'a polygon of fewer than three points, or of half points',
            ),
            (OUTSIDE, Mask.OUTSIDE, 'a polygon that leaves the image'),
        ):
            hit = within & (rows.masks == kind)
            if kind == Mask.OUTSIDE:
                hit &= in_sized_images(table)
            if hit.any():
                fails = measured and (hit & rows.fails).any()
                lost = hit & (kind != Mask.OUTSIDE) & loads
                level = Level.ERROR if fails else level_of(case, part, lost)
                yield of_annotations(code, part, hit, text, level)
        odd = within & (rows.masks == Mask.ODD)
        if odd.any():
            text = 'a segmentation that is neither polygons nor runs'
            yield of_annotations(
                ODD, part, odd, text, _level(loads or measured)
            )


def _has_no_masks(part: Part, table: CocoTable) -> bool:
    """Tell whether a file has no mask at all, and needs none."""
    absent = (table.annotations.masks == Mask.ABSENT).all()
    return bool(absent and not loads_masks(part))


def _level(used: bool) -> Level:
    """Return how bad a mask is, by whether it is read."""
    return Level.ERROR if used else Level.WARNING


@check(CORRUPT, OTHER_SIZE)
def coco_masks_are_runs(case: Case) -> Iterator[Finding]:
    """Yield masks whose runs do not fit their size or image."""
    for part, table in coco_parts(case):
        rows = table.annotations
        used = loads_masks(part) or 'segm' in metrics_of(case, part)
        within = rows.images >= 0
        corrupt = within & (rows.masks == Mask.CORRUPT)
        if corrupt.any():
            text = 'runs that do not cover the size'
            yield of_annotations(CORRUPT, part, corrupt, text, _level(used))
        # Of images of another size than the COCO file says, that is told.
        sized = in_sized_images(table)
        other = sized & (rows.masks == Mask.OTHER_SIZE)
        if other.any():
            text = 'runs of another size than the image'
            yield of_annotations(OTHER_SIZE, part, other, text, _level(used))


@check(BOX_UNLIKE, AREA_UNLIKE)
def coco_masks_fit_boxes(case: Case) -> Iterator[Finding]:
    """Yield boxes and areas that are not those of the mask."""
    for part, table in coco_parts(case):
        rows = table.annotations
        # Boxes with faults of their own, and crowds, are left to others.
        whole = in_sized_images(table) & (rows.boxes[:, 2:] >= 1).all(axis=1)
        right = whole & (rows.masks == Mask.RIGHT)
        box = rows.boxes.copy()
        box[:, 2:] += box[:, :2]
        far = np.abs(box - rows.mask_boxes).max(axis=1) > _PIXELS
        unlike = right & far & (_overlap(box, rows.mask_boxes) < _ALIKE)
        unlike &= ~_leaves(table, box)
        if unlike.any():
            text = 'another box than that of the mask'
            yield of_annotations(BOX_UNLIKE, part, unlike, text)
        none = whole & (rows.areas <= 0)
        if none.any():
            yield of_annotations(
                AREA_UNLIKE,
                part,
                none,
                'an area of 0 or less',
                level_of(case, part, none),
            )
        sides = rows.mask_boxes[:, 2:] - rows.mask_boxes[:, :2]
        allowed = np.maximum(
            _AREA * rows.mask_areas, 2 * _BORDER * sides.sum(axis=1)
        )
        off = np.abs(rows.areas - rows.mask_areas) > allowed
        off &= right & ~none & ~unlike
        if off.any():
            text = 'another area than that of the mask'
            yield of_annotations(AREA_UNLIKE, part, off, text)


def _leaves(table: CocoTable, box: np.ndarray) -> np.ndarray:
    """Tell which boxes leave their images, of which others tell."""
    images, rows = table.images, table.annotations.images
    sizes = np.where(np.isnan(images.files), images.sizes, images.files)
    limits = np.full((len(rows), 2), np.nan)
    limits[rows >= 0] = sizes[rows[rows >= 0]] + ROUNDING
    beyond = (box[:, 2:] > limits) | (box[:, :2] < -ROUNDING)
    return np.asarray(beyond.any(axis=1))


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes, row by row: left, top, right, bottom."""
    inner = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(
        one[:, :2], other[:, :2]
    )
    common = inner.clip(0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (one, other)]
    return np.asarray(common / np.maximum(sum(areas) - common, 1e-9))
