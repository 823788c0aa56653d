"""Instances in an image, in the form in which COCO writes them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.coco import polygons_of_box
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.formats.rle import (
    Rle,
    decode_runs,
    encode_runs,
    paint_runs,
    runs_of_box,
)

__all__ = [
    'Region',
    'mask_of',
    'painted',
    'polygons_of',
    'region_of_mask',
    'regions_of_map',
]


class Region(NamedTuple):
    """An instance.

    Attributes:
        category: Index of its class.
        mask: Its pixels: polygons, each x and y of its points in turn, in
            pixels, which are united; or a run-length code, whose counts are
            text.
        crowd: Whether it is a group of objects.
        score: How sure a model is, 0 to 1; None for what people drew.
    """

    category: int
    mask: Sequence[Sequence[float]] | Rle
    crowd: bool = False
    score: float | None = None


def mask_of(region: Region, size: tuple[int, int]) -> np.ndarray:
    """Return the pixels of an instance, by the rule of pycocotools.

    Of a polygon these are the pixels whose center is in it, to a fifth of a
    pixel.

    Args:
        region: The instance.
        size: Width and height of the image.

    Returns:
        uint8 (H, W), 0 or 1.
    """
    return coco_mask.decode(_code_of(region, size))


def _code_of(region: Region, size: tuple[int, int]) -> Rle:
    """Return the mask of an instance in code."""
    if isinstance(region.mask, dict):
        return region.mask
    width, height = size
    polygons = [list(points) for points in region.mask]
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def polygons_of(
    region: Region, size: tuple[int, int], centers: bool = False
) -> list[list[float]]:
    """Return an instance as polygons, for formats that have no masks.

    Args:
        region: The instance.
        size: Width and height of the image.
        centers: See :func:`~mmseg_ext.formats.coco.polygons_of_box`, which
            outlines masks.

    Returns:
        Its own polygons, or those around its mask: each x and y of its
        points in turn, in pixels. None where the mask is empty.
    """
    if not isinstance(region.mask, dict):
        return [list(points) for points in region.mask]
    left, top, width, height = map(int, coco_mask.toBbox(region.mask))
    if not width * height:
        return []
    box = mask_of(region, size)[top : top + height, left : left + width]
    return polygons_of_box(box, left, top, centers)


def painted(
    regions: Iterable[Region], size: tuple[int, int], background: int
) -> np.ndarray:
    """Paint instances to a label map, later ones over earlier ones.

    Args:
        regions: The instances; a crowd is painted as others are.
        size: Width and height of the image.
        background: Index of pixels in none.

    Returns:
        uint8 (H, W).
    """
    width, height = size
    columns = np.full(width * height, background, np.uint8)
    for region in regions:
        code = _code_of(region, size)['counts']
        [runs] = decode_runs([code], (height, width))
        paint_runs(columns, runs, region.category)
    return cv2.transpose(columns.reshape(width, height))


def region_of_mask(
    mask: np.ndarray,
    category: int,
    left: int,
    top: int,
    size: tuple[int, int],
    crowd: bool = False,
) -> Region:
    """Return an instance whose mask lies in a box of an image.

    Args:
        mask: uint8 (h, w), 0 or 1.
        category: Index of its class.
        left: Column of the image that the box begins in.
        top: Row of the image that the box begins in.
        size: Width and height of the image.
        crowd: Whether it is a group of objects.
    """
    width, height = size
    runs = runs_of_box(mask, left, top, (height, width))
    return Region(category, encode_runs(runs, (height, width)), crowd)


def regions_of_map(
    labels: np.ndarray, background: int | None = None
) -> list[Region]:
    """Return the connected parts of each class of a label map.

    Pixels that touch at a corner are connected.

    Args:
        labels: uint8 (H, W), indices of classes, or 255.
        background: The class of which there are no instances; None for none.

    Returns:
        Instances in the order of their classes, then of their first rows.
    """
    height, width = labels.shape
    found = []
    for value in np.unique(labels).tolist():
        if value in (background, IGNORE_INDEX):
            continue
        mask = (labels == value).astype(np.uint8)
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(
            mask, connectivity=8
        )
        for number in range(1, count):
            left, top, w, h = stats[number, : cv2.CC_STAT_AREA].tolist()
            box = numbers[top : top + h, left : left + w] == number
            found.append(
                region_of_mask(
                    box.astype(np.uint8), value, left, top, (width, height)
                )
            )
    return found
