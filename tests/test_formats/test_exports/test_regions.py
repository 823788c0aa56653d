"""Instances: their pixels, painted over one another, outlined."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmseg_ext.formats.exports.regions import (
    Region,
    mask_of,
    painted,
    polygons_of,
    region_of_mask,
    regions_of_map,
)

SIZE = 40, 30


def random_regions(seed):
    """Return polygons in part outside, and masks."""
    rng = np.random.default_rng(seed)
    for number in range(12):
        if number % 3:
            points = rng.uniform(-20, 60, (rng.integers(1, 3), 8)).tolist()
            yield Region(number, points)
        else:
            mask = (rng.random((30, 40)) < 0.2).astype(np.uint8)
            yield region_of_mask(mask, number, 0, 0, SIZE)


@pytest.mark.parametrize('seed', range(8))
def test_painted_one_after_the_other(seed):
    regions = list(random_regions(seed))
    expected = np.full(SIZE[::-1], 99, np.uint8)
    for region in regions:
        expected[mask_of(region, SIZE) > 0] = region.category
    labels = painted(regions, SIZE, 99)
    assert labels.dtype == np.uint8
    assert labels.flags.c_contiguous
    assert (labels == expected).all()


def test_nothing_is_painted():
    outside = Region(3, [[50.0, 50, 60, 50, 60, 60]])
    for regions in ([], [outside]):
        assert (painted(regions, SIZE, 7) == np.full((30, 40), 7)).all()


@pytest.mark.parametrize('seed', range(4))
def test_masks_are_outlined(seed):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((6, 8)) < 0.4, np.ones((5, 5))).astype('u1')
    region = region_of_mask(mask, 1, 0, 0, SIZE)
    outlined = Region(1, polygons_of(region, SIZE))
    assert (mask_of(outlined, SIZE) == mask).all()


def test_polygons_stay_and_empty_masks_have_none():
    points = [[1, 2, 3, 4, 5, 0.5]]
    assert polygons_of(Region(1, points), SIZE) == points
    empty = coco_mask.encode(np.zeros((30, 40), np.uint8, order='F'))
    assert polygons_of(Region(1, empty), SIZE) == []


def test_parts_of_a_map():
    labels = np.zeros((30, 40), np.uint8)
    labels[2:5, 3:7] = labels[5, 7] = 1  # they touch at a corner
    labels[20:, 30:] = 1
    labels[0, 0] = 255
    labels[0, 1] = 2
    regions = regions_of_map(labels, 0)
    assert [region.category for region in regions] == [1, 1, 2]
    assert [int(mask_of(each, SIZE).sum()) for each in regions] == [13, 100, 1]
    assert (
        painted(regions, SIZE, 0) == np.where(labels == 255, 0, labels)
    ).all()
    assert len(regions_of_map(labels)) == 4
