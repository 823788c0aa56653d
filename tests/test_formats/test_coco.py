import io
import json
from contextlib import redirect_stdout

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmseg_ext.formats import coco
from mmseg_ext.formats.coco import (
    CocoFile,
    CocoHeader,
    CocoImages,
    MaskCode,
    annotation_row,
    check_mask,
    coco_writer,
    decode_coco,
    decode_mask,
    polygons_of_box,
)

SIZE = (30, 40)
IMAGE = {'file_name': 'x.png', 'width': 40, 'height': 30}


def random_mask(seed, share=0.4, size=SIZE):
    return np.random.default_rng(seed).random(size) < share


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))


def quiet(function, *arguments):
    with redirect_stdout(io.StringIO()):
        return function(*arguments)


# Masks.


@pytest.mark.parametrize('seed', range(5))
def test_all_forms_of_a_mask_are_decoded(seed):
    mask = random_mask(seed, seed / 4)
    text = encode(mask)['counts'].decode()
    compressed = decode_mask(MaskCode(SIZE, text), SIZE)
    columns = mask.T.ravel()
    changes = np.flatnonzero(np.diff(columns)) + 1
    bounds = np.concatenate([[0], changes, [columns.size]])
    runs = [0] * bool(columns[0]) + np.diff(bounds).tolist()
    plain = decode_mask(MaskCode(SIZE, runs), SIZE)
    for decoded in (compressed, plain):
        assert decoded.dtype == np.uint8
        assert (decoded == mask).all()


def test_polygons_are_united():
    squares = [[2, 2, 6, 2, 6, 6, 2, 6], [20, 3, 24, 3, 24, 9, 20, 9]]
    expected = np.zeros(SIZE, bool)
    expected[2:6, 2:6] = expected[3:9, 20:24] = True
    assert (decode_mask(squares, SIZE) == expected).all()


def test_no_mask():
    assert decode_mask(None, SIZE) is None
    assert decode_mask([], SIZE) is None


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        ([[1, 2, 3, 4]], 'a polygon of 4 numbers'),
        ([[1, 2, 3, 4, 5, 6, 7]], 'a polygon of 7 numbers'),
        ([list(np.tile([-1e5, 3, 1e5, 4], 11))], 'an outline of 4400000 pix'),
        (MaskCode((40, 30), '0'), r'\(40, 30\), its image has \(30, 40\)'),
        (MaskCode(SIZE, '0'), 'runs cover 0 pixels, expected 1200'),
        (MaskCode(SIZE, '!'), 'not COCO digits'),
        (MaskCode(SIZE, 'ü'), 'ascii'),
        (MaskCode(SIZE, [3, 4]), 'cover 7 pixels, expected 1200'),
    ],
    ids=['short', 'odd', 'long', 'size', 'pixels', 'digits', 'text', 'runs'],
)
@pytest.mark.parametrize('function', [decode_mask, check_mask])
def test_broken_masks(segmentation, message, function):
    with pytest.raises(ValueError, match=message):
        function(segmentation, SIZE)


def test_longest_outline():
    """Up and down over the whole image, and far beyond it."""
    points = np.tile([[2.0, -9e4], [2, 9e4], [3, 9e4], [3, -9e4]], (11, 1))
    points = [*points.ravel(), 2, -9e4]
    [polygon] = segmentation = [points]
    outline = np.abs(np.diff(np.reshape(polygon, (-1, 2)), axis=0)).max(1)
    assert 0.94 * (1 << 22) < outline.sum() < 1 << 22
    check_mask(segmentation, SIZE)
    expected = np.zeros(SIZE, bool)
    expected[:, 2] = True
    assert (decode_mask(segmentation, SIZE) == expected).all()


@pytest.mark.parametrize('seed', range(6))
def test_polygons_of_a_mask_give_it_back(seed):
    mask = random_mask(seed, 0.6, (9, 11)).astype(np.uint8)
    polygons = polygons_of_box(mask, 13, 7)
    expected = np.zeros(SIZE, np.uint8)
    expected[7:16, 13:24] = mask
    codes = coco_mask.frPyObjects(polygons, *SIZE)
    assert (coco_mask.decode(coco_mask.merge(codes)) == expected).all()


@pytest.mark.parametrize('seed', range(6))
def test_outlines_through_centers_give_it_back_by_opencv(seed):
    mask = random_mask(seed, 0.6, (9, 11)).astype(np.uint8)
    polygons = polygons_of_box(mask, 13, 7, centers=True)
    expected = np.zeros(SIZE, np.uint8)
    expected[7:16, 13:24] = mask
    outlines = [np.array(polygon).reshape(-1, 2) for polygon in polygons]
    assert all(len(outline) > 2 for outline in outlines)
    found = cv2.fillPoly(np.zeros(SIZE, np.uint8), outlines, 1)
    np.testing.assert_array_equal(found, expected)


def test_many_holes():
    """As many as there can be, in each column and row."""
    mask = np.ones((5, 2401), np.uint8)
    mask[1::2, 1::2] = 0
    polygons = polygons_of_box(mask, 0, 0)
    codes = coco_mask.frPyObjects(polygons, *mask.shape)
    assert (coco_mask.decode(coco_mask.merge(codes)) == mask).all()


# Rows and files.


def test_row_has_box_and_area_of_the_mask():
    mask = np.zeros(SIZE, bool)
    mask[5:9, 3:10] = True
    mask[5, 3] = False
    row = json.loads(annotation_row(encode(mask), 7, token='t'))
    assert list(row) == [
        *('category_id', 'bbox', 'area', 'iscrowd', 'segmentation', 'token')
    ]
    assert row['category_id'] == 7
    assert row['bbox'] == [3, 5, 7, 4]
    assert row['area'] == 27
    assert row['iscrowd'] == 0
    assert (coco_mask.decode(row['segmentation']) == mask).all()
    crowd = json.loads(annotation_row(encode(mask), 7, crowd=True))
    assert crowd['iscrowd'] == 1
    polygons = [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    row = json.loads(annotation_row(encode(mask), 7, polygons=polygons))
    assert row['segmentation'] == polygons
    assert row['area'] == 27


def write(folder, path, spool=None, numbers=None, **options):
    masks = [random_mask(seed) for seed in range(5)]
    rows = [annotation_row(encode(mask), 1) for mask in masks]
    with coco_writer(folder, {1: 'nail'}, info={'version': 'ü'}) as writer:
        writer.add(IMAGE, rows[:2], 3)
        writer.add(IMAGE | {'file_name': 'empty.png'}, [], 5)
        writer.add(IMAGE | {'file_name': 'y.png'}, rows[2:], 8)
        assert (writer.images, writer.annotations) == (3, 5)
        writer.save(path, numbers, **options)
        writer.save(folder / 'again.json')
    return masks


@pytest.mark.parametrize('spool', [1 << 24, 100], ids=['memory', 'disk'])
def test_pycocotools_reads_what_is_written(tmp_path, monkeypatch, spool):
    monkeypatch.setattr(coco, '_SPOOL', spool)
    folder = tmp_path / 'new'
    masks = write(folder, folder / 'x.json')
    api = quiet(COCO, folder / 'x.json')
    assert api.getImgIds() == [3, 5, 8]
    assert api.getAnnIds() == [1, 2, 3, 4, 5]
    assert [row['image_id'] for row in api.anns.values()] == [3, 3, 8, 8, 8]
    for mask, row in zip(masks, api.anns.values(), strict=True):
        assert (api.annToMask(row) == mask).all()
    assert api.loadCats([1]) == [{'id': 1, 'name': 'nail'}]
    whole = (folder / 'x.json').read_bytes()
    assert (folder / 'again.json').read_bytes() == whole
    assert sorted(path.name for path in folder.iterdir()) == [
        *('again.json', 'x.json')
    ]


def test_part_of_the_images_keeps_ids(tmp_path):
    write(tmp_path, tmp_path / 'part.json', numbers={8, 5})
    part = json.loads((tmp_path / 'part.json').read_text())
    assert [image['id'] for image in part['images']] == [5, 8]
    assert [row['id'] for row in part['annotations']] == [3, 4, 5]
    whole = json.loads((tmp_path / 'again.json').read_text())
    assert part['annotations'] == whole['annotations'][2:]


def test_order_of_the_keys(tmp_path):
    order = ('info', 'annotations', 'images', 'categories')
    write(tmp_path, tmp_path / 'x.json', order=order)
    content = json.loads((tmp_path / 'x.json').read_text(encoding='utf-8'))
    assert tuple(content) == order
    assert content['info'] == {'version': 'ü'}


def test_images_alone(tmp_path):
    with coco_writer(tmp_path, {0: 'a'}) as writer:
        writer.add(IMAGE, [])
        writer.add(IMAGE, [])
        writer.save(tmp_path / 'x.json')
    content = json.loads((tmp_path / 'x.json').read_text())
    assert content['annotations'] == []
    assert [image['id'] for image in content['images']] == [1, 2]


def test_nothing_is_made_before_it_is_saved(tmp_path):
    with coco_writer(tmp_path / 'new', {0: 'a'}) as writer:
        writer.add(IMAGE, [])
    assert list(tmp_path.iterdir()) == []


# Reading.


@pytest.mark.parametrize('kind', [CocoFile, CocoHeader, CocoImages])
def test_kinds_of_reading(tmp_path, kind):
    write(tmp_path, tmp_path / 'x.json')
    content = decode_coco((tmp_path / 'x.json').read_bytes(), 'x', kind)
    names = [image.file_name for image in content.images]
    assert names == ['x.png', 'empty.png', 'y.png']
    if kind is not CocoImages:
        assert content.categories[0].name == 'nail'
    if kind is CocoFile:
        assert [row.image_id for row in content.annotations] == [3, 3, 8, 8, 8]


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'x.json is no COCO file'),
        (b'[]', 'x.json is no COCO file'),
        (b'\xff', 'x.json is no COCO file'),
        (b'{"images": [{"file_name": 5}]}', 'images.*file_name'),
        (b'{"images": [{"file_name": ""}]}', 'images.*file_name'),
        (b'{"images": []}', 'x.json lists no images'),
        (b'{}', 'images'),
    ],
    ids=['empty', 'list', 'bytes', 'number', 'no-name', 'none', 'no-images'],
)
def test_broken_files(data, message):
    with pytest.raises(ValueError, match=message):
        decode_coco(data, 'x.json', CocoImages)
