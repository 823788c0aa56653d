import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmseg_ext.formats.exports.export import Folder
from mmseg_ext.formats.exports.mask_trees import (
    by_stem,
    color_key,
    key_color,
    object_regions,
    sample_masks,
)


@pytest.mark.parametrize('background', [None, 0, 2])
def test_object_regions(background):
    """Against a mask made for each pair of an instance and a class."""
    random = np.random.default_rng(0)
    labels = random.choice([0, 1, 2, 255], (13, 17)).astype(np.uint8)
    objects = random.choice([-1, 0, 1, 7, 1 << 24], (13, 17)).astype(np.int32)
    found = object_regions(labels, objects, background)
    expected = []
    for number in (1, 7, 1 << 24):
        for index in {0, 1, 2} - {background}:
            mask = (objects == number) & (labels == index)
            expected.append((index, mask.tolist()))
    assert [
        (r.category, coco_mask.decode(r.mask).astype(bool).tolist())
        for r in found
    ] == expected


def test_no_objects():
    none = np.zeros((3, 4), np.int32)
    assert object_regions(none.astype(np.uint8), none, None) == []
    one = object_regions(none.astype(np.uint8), none + 5, None)
    assert [coco_mask.area(region.mask) for region in one] == [12]


def test_too_many_objects():
    objects = np.arange(1, 257 * 256 + 1, dtype=np.int32).reshape(256, 257)
    with pytest.raises(ValueError, match='65792 instances; expected at most'):
        object_regions(np.zeros_like(objects, np.uint8), objects, None)


def test_colors_as_numbers():
    for key in (0, 1, 0xFF, 0x123456, 0xFFFFFF):
        assert color_key(key_color(key)) == key
    assert color_key((1, 2, 3)) == 0x010203


def test_stems(tmp_path):
    folder = Folder(tmp_path, ('a/x.PNG', 'a/y_m.png', 'b/x.jpg', 'a/z.txt'))
    assert by_stem(folder, 'a/') == {'x': 'a/x.PNG', 'y_m': 'a/y_m.png'}
    assert by_stem(folder, 'a/', '_m') == {'y': 'a/y_m.png'}
    assert by_stem(folder, '') == {
        **{'a/x': 'a/x.PNG', 'a/y_m': 'a/y_m.png', 'b/x': 'b/x.jpg'}
    }


def test_samples_are_from_all_over(tmp_path):
    names = [f'{number:02}.png' for number in range(20)]
    for number, name in enumerate(names):
        pixels = np.full((1, 1), number, np.uint8)
        cv2.imwrite(str(tmp_path / name), pixels)
    masks = sample_masks(Folder(tmp_path, ()), names)
    assert [int(mask.pixels[0, 0]) for mask in masks] == [*range(0, 20, 3)]
    assert len(sample_masks(Folder(tmp_path, ()), names[:3])) == 3
    assert sample_masks(Folder(tmp_path, ()), []) == []
