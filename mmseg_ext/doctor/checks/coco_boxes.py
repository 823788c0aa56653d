"""Boxes of COCO files: sizes, places, crowds, twins."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.coco_masks import ROUNDING
from mmseg_ext.doctor.coco_tables import NO_CROWD, ODD_CROWD, CocoTable
from mmseg_ext.doctor.coco_use import (
    coco_parts,
    in_sized_images,
    left_out,
    level_of,
    metrics_of,
    of_annotations,
    steps,
)
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.parts import Part

__all__ = [
    'coco_boxes_are_in_images',
    'coco_boxes_are_unique',
    'coco_crowds_are_crowds',
    'coco_objects_stay_visible',
]

BOX_EMPTY = Code(
    'coco-box-empty',
    Level.WARNING,
    'MMDet leaves out boxes with a side below one pixel; an evaluation '
    'counts them as missed',
    'write boxes as left, top, width, height in pixels',
)
BOX_OUTSIDE = Code(
    'coco-box-outside',
    Level.WARNING,
    'the part outside is cut off in training; boxes outside as a whole are '
    'left out; in an evaluation no prediction fits them',
    'write boxes as left, top, width, height in pixels, within the image',
)
CROWD = Code(
    'coco-crowd',
    Level.WARNING,
    'objects with iscrowd=1, or a text, are neither learned nor measured; '
    'a text ends an evaluation with ValueError, and no iscrowd at all with '
    "KeyError: 'iscrowd'",
    'write iscrowd=0 for each single object, and 1 for groups alone, whose '
    'masks are runs',
)
BOX_REPEATED = Code(
    'coco-box-repeated',
    Level.WARNING,
    'the object counts twice: in an evaluation one of the two is missed',
    'remove one annotation of each pair',
)
SMALL = Code(
    'coco-small',
    Level.WARNING,
    'objects that are hardly a pixel for the network are not learned',
    'raise the scale of Resize, or train on crops',
)

#: Shares of the sides of an image are numbers up to 1.
_SHARE = 1.5

#: The finest level of a feature pyramid has one position for so many pixels.
_STRIDE = 4

#: So many smaller objects, or lost ones, cost accuracy. Of the sample scenes
#: of Cityscapes, at 512x256 for a CPU, 5 % and 3 % are; of the nails none.
_MANY, _LOST = 0.1, 0.05

#: The transforms that give an image its size.
_RESIZES = frozenset(
    {
        'FastResize',
        'FixScaleResize',
        'RandomChoiceResize',
        'RandomResize',
        'Resize',
    }
)


@check(BOX_EMPTY, BOX_OUTSIDE)
def coco_boxes_are_in_images(case: Case) -> Iterator[Finding]:
    """Yield boxes without area, and outside their images."""
    for part, table in coco_parts(case):
        rows = table.annotations
        left, top, across, down = rows.boxes.T
        known = rows.images >= 0
        empty = known & ((across < 1) | (down < 1)) & ~rows.ignored
        if empty.any():
            shares = (np.abs(rows.boxes[empty]) <= _SHARE).all()
            yield of_annotations(
                BOX_EMPTY,
                part,
                empty,
                'a side of the box below one pixel'
                + (', as if in shares of the image' if shares else ''),
                level_of(case, part, empty),
            )
        width, height = _sizes(table).T
        outside = (
            (np.minimum(left, top) < -ROUNDING)
            | (left + across > width + ROUNDING)
            | (top + down > height + ROUNDING)
        ) & ~empty
        outside &= in_sized_images(table)
        if outside.any():
            corners = _are_corners(rows.boxes, width, height, empty)
            # What was left out for another reason is not lost by this.
            lost = outside & left_out(table) & (rows.areas > 0)
            yield of_annotations(
                BOX_OUTSIDE,
                part,
                outside,
                'a box that leaves the image'
                + (', as if written as left, top, right, bottom' * corners),
                level_of(case, part, lost),
            )


def _sizes(table: CocoTable) -> np.ndarray:
    """Return width and height of the image of each annotation, (N, 2).

    They are those of the file, where they are known: that they differ is a
    fault by itself.
    """
    images = table.images
    sizes = np.where(np.isnan(images.files), images.sizes, images.files)
    rows = table.annotations.images
    result = np.full((len(rows), 2), np.nan)
    result[rows >= 0] = sizes[rows[rows >= 0]]
    return result


def _are_corners(
    boxes: np.ndarray, width: np.ndarray, height: np.ndarray, empty: np.ndarray
) -> bool:
    """Tell whether all boxes would fit as left, top, right, bottom."""
    left, top, right, bottom = boxes[~empty & ~np.isnan(width)].T
    inside = ~empty & ~np.isnan(width)
    return bool(
        (
            (left < right)
            & (top < bottom)
            & (right <= width[inside] + ROUNDING)
            & (bottom <= height[inside] + ROUNDING)
        ).all()
    )


@check(CROWD)
def coco_crowds_are_crowds(case: Case) -> Iterator[Finding]:
    """Yield objects that are crowds by mistake, or may be none."""
    for part, table in coco_parts(case):
        rows = table.annotations
        unknown = np.isin(rows.crowd, (NO_CROWD, ODD_CROWD))
        unknown &= rows.images >= 0
        if unknown.any() and metrics_of(case, part):
            yield of_annotations(
                CROWD,
                part,
                unknown,
                'no iscrowd, or one other than 0 and 1',
                Level.ERROR,
                'write iscrowd=0 for each single object',
            )
        odd = (rows.crowd == ODD_CROWD) & (rows.images >= 0)
        if odd.any() and part.split == 'train':
            yield of_annotations(
                CROWD,
                part,
                odd,
                'an iscrowd other than 0 and 1, which counts as 1',
                level_of(case, part, odd),
            )
        crowds = (rows.crowd == 1) & ~rows.coded & (rows.images >= 0)
        if crowds.any():
            yield of_annotations(
                CROWD,
                part,
                crowds,
                'iscrowd=1 without runs, in which masks of groups are',
                level_of(case, part, crowds),
            )


@check(BOX_REPEATED)
def coco_boxes_are_unique(case: Case) -> Iterator[Finding]:
    """Yield boxes of one class and image that are almost the same."""
    for part, table in coco_parts(case):
        if table.annotations.twins:
            yield of_annotations(
                BOX_REPEATED,
                part,
                np.array(table.annotations.twins),
                'almost the box of another of the class (IoU above 0.95)',
            )


@check(SMALL)
def coco_objects_stay_visible(case: Case) -> Iterator[Finding]:
    """Yield training sets whose objects are too small after resizing.

    The resizing is that of the data set's own pipeline, at its usual scale.
    """
    for part, table in coco_parts(case):
        if part.split != 'train' or not table.annotations.ids:
            continue
        kept = ~left_out(table) & (table.annotations.crowd < 1)
        sizes = np.maximum(_sizes(table)[kept], 1)  # it may say 0
        boxes = table.annotations.boxes[kept]
        if not len(boxes):
            continue
        sides = (boxes[:, 2:] * _factors(part, sizes)).min(axis=1)
        least = max(1.0, _least(part))
        lost, small = sides <= least, sides < _STRIDE
        if lost.mean() < _LOST and small.mean() < _MANY:
            continue
        hit = np.zeros(len(kept), bool)
        hit[np.flatnonzero(kept)] = small | lost
        gone = np.zeros(len(kept), bool)
        gone[np.flatnonzero(kept)] = lost
        yield of_annotations(
            SMALL,
            part,
            hit,
            f'a side below {_STRIDE} pixels after resizing, '
            f'{int(lost.sum()):,} of them {least:g} or less',
            level_of(case, part, gone),
            share=round(float(small.mean()), 4),
        )


def _factors(part: Part, sizes: np.ndarray) -> np.ndarray:
    """Return by what a pipeline multiplies widths and heights, (N, 2)."""
    for step in steps(part.cfg.get('pipeline')):
        if str(step.type).rpartition('.')[2] not in _RESIZES:
            continue
        scale = _usual(step.get('scale') or step.get('scales'))
        if scale is None:
            factor = step.get('scale_factor')
            if not isinstance(factor, int | float):
                break
            return np.full_like(sizes, factor)
        if step.get('keep_ratio', 'Random' in str(step.type)):
            longer = max(scale) / sizes.max(axis=1)
            shorter = min(scale) / sizes.min(axis=1)
            return np.minimum(longer, shorter)[:, None] * np.ones(2)
        return np.array(scale) / sizes
    return np.ones_like(sizes)


def _usual(scale: Any) -> tuple[float, float] | None:
    """Return a scale, or that in the middle of many."""
    if isinstance(scale, list | tuple) and scale:
        if isinstance(scale[0], list | tuple):
            return _usual(sorted(scale)[len(scale) // 2])
        if len(scale) == 2:
            return float(scale[0]), float(scale[1])
    return None


def _least(part: Part) -> float:
    """Return the side up to which a pipeline leaves objects out."""
    for step in steps(part.cfg.get('pipeline')):
        if str(step.type).rpartition('.')[2] == 'FilterAnnotations':
            return float(min(step.get('min_gt_bbox_wh', (1, 1))))
    return 0.0
