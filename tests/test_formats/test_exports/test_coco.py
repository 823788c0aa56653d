"""COCO files of all tools: what is found, told apart, drawn and written."""

import io
import json
import pickle
import unicodedata
from contextlib import redirect_stdout

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmseg_ext.formats.exports.coco import Coco, write
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Tally,
)
from mmseg_ext.formats.exports.regions import (
    Region,
    mask_of,
    regions_of_map,
)

SIZE = 40, 30

CATEGORIES = [{'id': 3, 'name': 'car'}, {'id': 7, 'name': 'road'}]


def add_image(root, name, size=SIZE):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


def box(left, top, right, bottom):
    """Return the outline of pixels, both ends in."""
    right, bottom = right + 1, bottom + 1
    return [[left, top, right, top, right, bottom, left, bottom]]


def image(key, name, **more):
    return {'id': key, 'file_name': name, 'width': 40, 'height': 30, **more}


def row(image_id, category_id, segmentation, **more):
    return {
        'image_id': image_id,
        'category_id': category_id,
        'segmentation': segmentation,
        'iscrowd': 0,
        **more,
    }


def add_coco(
    root, name, images, annotations=(), categories=CATEGORIES, **more
):
    """Write a COCO file; annotations get ids."""
    content = {
        'info': {'year': 2024},
        'images': list(images),
        'annotations': [
            {'id': number, **each}
            for number, each in enumerate(annotations, 1)
        ],
        'categories': list(categories),
        **more,
    }
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return path


def find(root, **more):
    return Coco.found(Folder.listed(root, **more))


def refused(root, **more):
    with pytest.raises(InvalidExportError) as caught:
        find(root, **more)
    return str(caught.value)


def expected_map(*boxes):
    labels = np.zeros(SIZE[::-1], np.uint8)
    for value, left, top, right, bottom in boxes:
        labels[top : bottom + 1, left : right + 1] = value
    return labels


def pictures(export):
    return [(each.name, each.labels, each.split) for each in export.pictures]


# What one file holds.


def test_label_maps_regions_and_tally(tmp_path):
    """Ids with gaps, rows of an image apart, images without any."""
    for name in ('a.png', 'b.png', 'c.png'):
        add_image(tmp_path, name)
    add_coco(
        tmp_path,
        'x.json',
        [image(9, 'b.png'), image(4, 'a.png'), image(5, 'c.png')],
        [
            row(9, 7, box(0, 20, 39, 29)),
            row(4, 3, box(1, 1, 2, 2)),
            row(9, 3, box(5, 15, 12, 24)),
            row(9, 3, [*box(0, 0, 1, 1), *box(20, 3, 25, 4)]),
        ],
    )
    export = find(tmp_path)
    assert export.classes == Classes(
        ('background', 'car', 'road'),
        ((0, 0, 0), (128, 0, 0), (0, 128, 0)),
        0,
    )
    assert pictures(export) == [
        ('a.png', 'x.json', None),
        ('b.png', 'x.json', None),
        ('c.png', 'x.json', None),
    ]
    expected = [
        expected_map((1, 1, 1, 2, 2)),
        expected_map(
            (2, 0, 20, 39, 29),
            (1, 5, 15, 12, 24),
            (1, 0, 0, 1, 1),
            (1, 20, 3, 25, 4),
        ),
        expected_map(),
    ]
    for picture, labels in zip(export.pictures, expected, strict=True):
        assert (export.label_map(picture) == labels).all()
        values, counts = np.unique(labels, return_counts=True)
        counted = dict(zip(values.tolist(), counts.tolist(), strict=True))
        assert export.tally(picture) == Tally(SIZE, counted)
    a, b, c = map(export.regions, export.pictures)
    assert a == [Region(1, box(1, 1, 2, 2))]
    assert b == [
        Region(2, box(0, 20, 39, 29)),
        Region(1, box(5, 15, 12, 24)),
        Region(1, [*box(0, 0, 1, 1), *box(20, 3, 25, 4)]),
    ]
    assert c == []
    assert export.evidence == (
        'x.json is a COCO file: 3 images, 4 annotations, 2 categories',
    )
    assert export.ignored == ()
    assert export.masks is None
    assert export.settled([]) is export


def test_later_annotations_cover_earlier_ones(tmp_path):
    add_image(tmp_path, 'a.png')
    rows = [row(1, 3, box(0, 0, 9, 9)), row(1, 7, box(5, 5, 12, 12))]
    for order in (1, -1):
        add_coco(tmp_path, 'x.json', [image(1, 'a.png')], rows[::order])
        export = find(tmp_path)
        labels = export.label_map(export.pictures[0])
        assert labels[7, 7] == (2 if order == 1 else 1)


@pytest.mark.parametrize('crowd', [0, 1, True, None])
def test_masks_of_all_forms_and_crowds(tmp_path, crowd):
    mask = np.random.default_rng(0).random((30, 40)) < 0.3
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    columns = mask.T.ravel()
    bounds = np.concatenate(
        [[0], np.flatnonzero(np.diff(columns)) + 1, [columns.size]]
    )
    runs = [0] * bool(columns[0]) + np.diff(bounds).tolist()
    add_image(tmp_path, 'a.png')
    add_coco(
        tmp_path,
        'x.json',
        [image(1, 'a.png')],
        [
            row(1, 3, {'size': [30, 40], 'counts': counts}, iscrowd=crowd)
            for counts in (runs, code['counts'].decode())
        ],
    )
    export = find(tmp_path)
    regions = export.regions(export.pictures[0])
    assert [each.crowd for each in regions] == [bool(crowd)] * 2
    for region in regions:
        assert region.mask == code
        assert (mask_of(region, SIZE) == mask).all()
    assert (export.label_map(export.pictures[0]) == mask).all()


@pytest.mark.parametrize('name', ['background', 'BG', '_background_'])
def test_background_among_the_categories(tmp_path, name):
    add_image(tmp_path, 'a.png')
    categories = [{'id': 0, 'name': 'car'}, {'id': 1, 'name': name}]
    rows = [row(1, 0, box(0, 0, 9, 9)), row(1, 1, box(3, 3, 4, 4))]
    add_coco(tmp_path, 'x.json', [image(1, 'a.png')], rows, categories)
    export = find(tmp_path)
    assert export.classes.names == ('car', name)
    assert export.classes.background == 1
    labels = export.label_map(export.pictures[0])
    expected = np.ones(SIZE[::-1], np.uint8)
    expected[:10, :10] = 0
    expected[3:5, 3:5] = 1
    assert (labels == expected).all()
    [region] = export.regions(export.pictures[0])
    assert region.category == 0


def test_void_is_no_class(tmp_path):
    add_image(tmp_path, 'a.png')
    categories = [{'id': 1, 'name': 'void'}, {'id': 2, 'name': 'car'}]
    rows = [row(1, 2, box(0, 0, 9, 9)), row(1, 1, box(3, 3, 4, 4))]
    add_coco(tmp_path, 'x.json', [image(1, 'a.png')], rows, categories)
    export = find(tmp_path)
    assert export.classes.names == ('background', 'car')
    expected = expected_map((1, 0, 0, 9, 9), (255, 3, 3, 4, 4))
    assert (export.label_map(export.pictures[0]) == expected).all()
    assert len(export.regions(export.pictures[0])) == 1


def test_size_that_the_file_lacks(tmp_path):
    add_image(tmp_path, 'a.png')
    bare = {'id': 1, 'file_name': 'a.png'}
    add_coco(tmp_path, 'x.json', [bare], [row(1, 3, box(0, 0, 9, 9))])
    export = find(tmp_path)
    assert export.tally(export.pictures[0]) == Tally(SIZE, {0: 1100, 1: 100})


def test_byte_order_mark(tmp_path):
    """Masks are found behind it, and behind letters of several bytes."""
    add_image(tmp_path, 'ä.png')
    path = add_coco(
        tmp_path,
        'x.json',
        [image(1, 'ä.png')],
        [row(1, 3, box(0, 0, 9, 9)), row(1, 7, box(10, 10, 19, 19))],
    )
    text = json.dumps(json.loads(path.read_text()), ensure_ascii=False)
    path.write_bytes(b'\xef\xbb\xbf' + text.replace(',', ',\r\n').encode())
    export = find(tmp_path)
    expected = expected_map((1, 0, 0, 9, 9), (2, 10, 10, 19, 19))
    assert (export.label_map(export.pictures[0]) == expected).all()


def test_what_other_processes_get_is_small(tmp_path):
    add_image(tmp_path, 'a.png')
    points = np.random.default_rng(0).random(2000).round(3).tolist()
    rows = [row(1, 3, [points])] * 100
    path = add_coco(tmp_path, 'x.json', [image(1, 'a.png')], rows)
    export = find(tmp_path)
    data = pickle.dumps(export)
    assert len(data) < 5000 < path.stat().st_size / 100
    again = pickle.loads(data)
    assert again == export
    assert len(again.regions(again.pictures[0])) == 100


# Trees of tools.


def test_tree_of_coco_2017(tmp_path):
    for split in ('train', 'val'):
        add_image(tmp_path, f'{split}2017/1.jpg')
        add_image(tmp_path, f'{split}2017/{split}.jpg')
        add_coco(
            tmp_path,
            f'annotations/instances_{split}2017.json',
            [image(1, '1.jpg'), image(2, f'{split}.jpg')],
            [row(2, 3, box(0, 0, 1, 1))],
        )
        joints = [{'id': 1, 'name': 'person', 'keypoints': ['nose']}]
        add_coco(
            tmp_path,
            f'annotations/person_keypoints_{split}2017.json',
            [image(1, '1.jpg')],
            categories=joints,
        )
        for kind, rows in (
            ('captions', [{'image_id': 1, 'caption': 'x'}]),
            ('panoptic', [{'image_id': 1, 'segments_info': []}]),
        ):
            path = tmp_path / f'annotations/{kind}_{split}2017.json'
            lists = {'images': [image(1, '1.jpg')], 'annotations': rows}
            if kind == 'panoptic':
                lists['categories'] = CATEGORIES
            path.write_text(json.dumps(lists))
    export = find(tmp_path)
    assert pictures(export) == [
        (f'{split}2017/{name}.jpg', f'annotations/instances_{split}2017.json')
        + (split,)
        for split in ('train', 'val')
        for name in ('1', split)
    ]
    assert export.ignored == (
        '2 COCO files are of keypoints: '
        'annotations/person_keypoints_train2017.json',
        '4 JSON files are not COCO files of instances: '
        'annotations/captions_train2017.json, '
        'annotations/captions_val2017.json, '
        'annotations/panoptic_train2017.json and 1 more',
    )


def roboflow(*names, above='nails'):
    return [
        {'id': 0, 'name': above, 'supercategory': 'none'},
        *(
            {'id': number, 'name': name, 'supercategory': above}
            for number, name in enumerate(names, 1)
        ),
    ]


def test_tree_of_roboflow(tmp_path):
    for split in ('train', 'valid', 'test'):
        add_image(tmp_path, f'{split}/same.jpg')
        add_coco(
            tmp_path,
            f'{split}/_annotations.coco.json',
            [image(0, 'same.jpg')],
            [row(0, 2, box(0, 0, 9, 9))],
            roboflow('thumb', 'finger'),
        )
    export = find(tmp_path)
    assert export.classes.names == ('background', 'thumb', 'finger')
    assert pictures(export) == [
        ('test/same.jpg', 'test/_annotations.coco.json', 'test'),
        ('train/same.jpg', 'train/_annotations.coco.json', 'train'),
        ('valid/same.jpg', 'valid/_annotations.coco.json', 'val'),
    ]
    assert export.evidence[-1] == (
        "category 'nails' is left out: it has no annotations, and is the "
        'supercategory of the others'
    )
    for picture in export.pictures:
        assert export.tally(picture).counts == {0: 1100, 2: 100}


def test_supercategory_that_has_the_name_of_a_class(tmp_path):
    add_image(tmp_path, 'a.jpg')
    categories = roboflow('nail', above='nail')
    rows = [row(0, 1, box(0, 0, 9, 9))]
    add_coco(tmp_path, 'x.json', [image(0, 'a.jpg')], rows, categories)
    export = find(tmp_path)
    assert export.classes.names == ('background', 'nail')
    assert export.tally(export.pictures[0]).counts == {0: 1100, 1: 100}


def test_supercategory_with_annotations_stays(tmp_path):
    add_image(tmp_path, 'a.jpg')
    rows = [row(0, 0, box(0, 0, 9, 9))]
    add_coco(tmp_path, 'x.json', [image(0, 'a.jpg')], rows, roboflow('b'))
    export = find(tmp_path)
    assert export.classes.names == ('background', 'nails', 'b')


@pytest.mark.parametrize(
    'said',
    [
        'images\\ab 1.jpg',
        'images\\\\ab 1.jpg',
        '../../data/local-files/?d=work/shots/ab 1.jpg',
        '/data/local-files/?d=work/shots/ab%201.jpg',
        '/home/me/label-studio/media/upload/1/ab 1.jpg',
        'C:\\Users\\me\\ab 1.jpg',
        'https://host/shots/ab%201.jpg',
        './images/ab 1.jpg',
    ],
)
def test_names_of_label_studio(tmp_path, said):
    add_image(tmp_path, 'images/ab 1.jpg')
    categories = [{'id': 0, 'name': 'nail'}]
    rows = [row(0, 0, box(0, 0, 9, 9))]
    add_coco(tmp_path, 'result.json', [image(0, said)], rows, categories)
    export = find(tmp_path)
    assert pictures(export) == [('images/ab 1.jpg', 'result.json', None)]
    assert export.tally(export.pictures[0]).counts == {0: 1100, 1: 100}


def test_tree_of_cvat(tmp_path):
    """Subsets have names of any kind, and images of one name."""
    for subset in ('default', 'Night_2'):
        add_image(tmp_path, f'images/{subset}/a.jpg')
        add_coco(
            tmp_path,
            f'annotations/instances_{subset}.json',
            [image(1, 'a.jpg')],
        )
    assert pictures(find(tmp_path)) == [
        ('images/Night_2/a.jpg', 'annotations/instances_Night_2.json', None),
        ('images/default/a.jpg', 'annotations/instances_default.json', None),
    ]


def test_images_in_folders_of_splits(tmp_path):
    for split in ('train', 'val'):
        add_image(tmp_path, f'{split}/a.jpg')
    add_image(tmp_path, 'more/b.jpg')
    names = ['train/a.jpg', 'val/a.jpg', 'more/b.jpg']
    add_coco(tmp_path, 'all.json', [image(n, n) for n in names])
    splits = {each.name: each.split for each in find(tmp_path).pictures}
    assert splits == dict(zip(names, ['train', 'val', None], strict=True))


def test_names_in_another_form_of_unicode(tmp_path):
    name = unicodedata.normalize('NFD', 'Übung.JPG')
    add_image(tmp_path, f'images/{name}')
    said = unicodedata.normalize('NFC', name)
    add_coco(tmp_path, 'x.json', [image(1, said)])
    assert [each.name for each in find(tmp_path).pictures] == [
        f'images/{name}'
    ]


def test_what_is_not_used(tmp_path):
    for name in ('a.jpg', 'b.jpg', 'c.jpg'):
        add_image(tmp_path, name)
    add_coco(tmp_path, 'test.json', [])
    add_coco(tmp_path, 'x.json', [image(1, 'a.jpg')])
    (tmp_path / 'meta.json').write_text('[]')
    (tmp_path / 'cut.json').write_text('{"version": ')
    assert find(tmp_path).ignored == (
        '1 COCO files have no images: test.json',
        '2 images are in no COCO file',
        '2 JSON files are not COCO files of instances: cut.json, meta.json',
    )


@pytest.mark.parametrize(
    'content',
    [
        '{"shapes": [], "images": [], "annotations": [], "categories": []}',
        '{"images": [], "annotations": []}',
        '{"images": [], "categories": []}',
        '[]',
        '{',
        '',
    ],
    ids=['labelme', 'captions', 'test', 'list', 'broken', 'empty'],
)
def test_other_json_is_no_coco(tmp_path, content):
    add_image(tmp_path, 'a.jpg')
    (tmp_path / 'x.json').write_text(content)
    assert find(tmp_path) is None


# Categories of several files.


def two_files(root, first, second, ids=(1, 1)):
    for name, categories, key in zip('ab', (first, second), ids, strict=True):
        add_image(root, f'{name}.png')
        rows = [row(1, key, box(0, 0, 9, 9))]
        add_coco(
            root, f'{name}.json', [image(1, f'{name}.png')], rows, categories
        )


def test_categories_are_joined_by_name(tmp_path):
    two_files(
        tmp_path,
        [{'id': 1, 'name': 'car'}, {'id': 2, 'name': 'road'}],
        [{'id': 1, 'name': 'road'}, {'id': 5, 'name': 'car'}],
    )
    export = find(tmp_path)
    assert export.classes.names == ('background', 'car', 'road')
    assert [export.tally(each).counts for each in export.pictures] == [
        {0: 1100, 1: 100},
        {0: 1100, 2: 100},
    ]
    assert export.evidence[-1] == (
        'the files number the categories in other ways: they are joined by '
        'name'
    )


def test_categories_are_united(tmp_path):
    two_files(
        tmp_path,
        [{'id': 1, 'name': 'car'}],
        [{'id': 1, 'name': 'tree'}, {'id': 2, 'name': 'car'}],
    )
    export = find(tmp_path)
    assert export.classes.names == ('background', 'car', 'tree')
    assert export.tally(export.pictures[1]).counts == {0: 1100, 2: 100}
    assert export.evidence[-1] == (
        'the files list other categories: those of all of them are taken'
    )


def test_list_of_the_user(tmp_path):
    listed = tmp_path / 'mine.txt'
    root = tmp_path / 'raw'
    two_files(root, CATEGORIES, CATEGORIES, (3, 3))
    listed.write_text('tree\ncar\n')
    export = find(root, class_list=listed)
    assert export.classes.names == ('background', 'tree', 'car')
    assert export.tally(export.pictures[0]).counts == {0: 1100, 2: 100}
    listed.write_text('tree\nroad\n')
    assert refused(root, class_list=listed) == (
        f"{root / 'a.json'}: category 3, 'car', has annotations and is not "
        f'in {listed}, which lists tree, road'
    )


# Refused.


def test_missing_images(tmp_path):
    add_image(tmp_path, 'a.png')
    names = ['a.png', 'b.png', 'sub/c.png', 'd.png', 'e.png']
    path = add_coco(tmp_path, 'x.json', [image(n, n) for n in names])
    assert refused(tmp_path) == (
        f'{path}: 4 of its 5 images are not in the folder: b.png, sub/c.png, '
        'd.png and 1 more; put them there'
    )


def test_image_that_may_be_one_of_two(tmp_path):
    for folder in ('a', 'b'):
        add_image(tmp_path, f'{folder}/x.png')
    path = add_coco(tmp_path, 'annotations.json', [image(3, 'x.png')])
    assert refused(tmp_path) == (
        f"{path}: image 3, 'x.png', may be a/x.png, b/x.png: write there "
        'which, as seen from the COCO file, or take the others away'
    )


def test_name_that_repeats(tmp_path):
    add_image(tmp_path, 'x.png')
    path = add_coco(
        tmp_path, 'x.json', [image(3, 'x.png'), image(4, './x.png')]
    )
    assert refused(tmp_path) == (
        f"{path}: image 4, './x.png', is x.png, as is image 3 of x.json; "
        'expected each image once, in one split'
    )


def test_image_in_two_splits(tmp_path):
    add_image(tmp_path, 'images/x.png')
    add_coco(tmp_path, 'train.json', [image(3, 'x.png')])
    path = add_coco(tmp_path, 'val.json', [image(1, 'x.png')])
    assert refused(tmp_path) == (
        f"{path}: image 1, 'x.png', is images/x.png, as is image 3 of "
        'train.json; expected each image once, in one split'
    )


def test_boxes_only(tmp_path):
    add_image(tmp_path, 'a.png')
    rows = [row(1, 3, [], bbox=[0, 0, 9, 9]), row(1, 3, None)]
    del rows[1]['segmentation']
    path = add_coco(tmp_path, 'x.json', [image(1, 'a.png')], rows)
    assert refused(tmp_path) == (
        f'{path}: its 2 annotations have boxes only, and this needs masks: '
        'export polygons or masks'
    )


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'images': [image(1, 'a.png'), image(1, 'b.png')]},
            '2 of its images have the id 1; expected another for each',
        ),
        (
            {'categories': [*CATEGORIES, {'id': 3, 'name': 'x'}]},
            '2 of its categories have the id 3; expected another for each',
        ),
        (
            {'annotations': [row(1, 3, box(0, 0, 1, 1), id='k')] * 3},
            "3 of its annotations have the id 'k'; expected another for each",
        ),
        (
            {'annotations': [row(5, 3, [], id=8)]},
            'annotation 8 is of image_id 5, which no image has',
        ),
        (
            {'annotations': [row(1, 4, [], id=8)]},
            'annotation 8 is of category_id 4, which no category has',
        ),
        ({'annotations': [{'id': 8}]}, 'annotations[0]: Object missing'),
        ({'annotations': [5]}, 'annotations[0]: Expected'),
        ({'annotations': {}}, '$.annotations'),
        ({'images': [{'id': 1}]}, '$.images[0]'),
        ({'images': []}, 'it is a COCO file without images'),
        (
            {'images': [image(1, 'a.png', width=0)]},
            "image 1, 'a.png', has the size 0.0x30.0; expected pixels",
        ),
        ({'images': [image(1, 'a.png', width=1e9)]}, 'has the size'),
        ({'images': [image(1, 'a.png', width=3.5)]}, 'has the size'),
        ({'categories': [{'id': 1}]}, '$.categories[0]'),
        ({'categories': []}, 'it lists no classes'),
        ({'categories': [{'id': 1, 'name': ''}]}, 'class 0 has no name'),
    ],
)
def test_wrong_tables(tmp_path, changes, message):
    for name in ('a.png', 'b.png'):
        add_image(tmp_path, name)
    path = add_coco(tmp_path, 'x.json', [image(1, 'a.png')])
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    error = refused(tmp_path)
    assert error.startswith(f'{path}: ')
    assert message in error


def test_file_that_is_cut_off(tmp_path):
    add_image(tmp_path, 'a.png')
    path = add_coco(tmp_path, 'x.json', [image(1, 'a.png')])
    path.write_text(path.read_text()[:-20])
    assert refused(tmp_path).startswith(f'{path}: ')


MASK = {'size': [30, 40], 'counts': [1200]}


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ([], 'annotation 2: it has no segmentation; a box tells no mask'),
        ([[]], 'annotation 2: a polygon of 0 numbers'),
        ([[0, 0, 1, 1]], 'annotation 2: a polygon of 4 numbers'),
        ([[0, 0, 1, 1, 2, 2, 3]], 'annotation 2: a polygon of 7 numbers'),
        ([[-9e5, 0, 9e5, 0] * 9], 'annotation 2: a polygon with an outline'),
        ([['a'] * 6], 'annotation 2: Expected'),
        ({**MASK, 'size': [40, 30]}, r'annotation 2: a mask of height x'),
        ({**MASK, 'counts': [5]}, 'annotation 2: the runs of a mask cover 5'),
        ({**MASK, 'counts': 'xx'}, 'annotation 2: broken RLE'),
        ({**MASK, 'counts': 'ä'}, 'annotation 2: '),
    ],
)
def test_wrong_masks(tmp_path, wrong, message):
    add_image(tmp_path, 'a.png')
    rows = [row(1, 3, box(0, 0, 1, 1)), row(1, 3, wrong)]
    add_coco(tmp_path, 'x.json', [image(1, 'a.png')], rows)
    export = find(tmp_path)
    for read in (export.tally, export.regions):
        with pytest.raises(ValueError, match=message):
            read(export.pictures[0])


def test_crowd_that_is_no_flag(tmp_path):
    add_image(tmp_path, 'a.png')
    rows = [row(1, 3, box(0, 0, 1, 1), iscrowd=2)]
    add_coco(tmp_path, 'x.json', [image(1, 'a.png')], rows)
    export = find(tmp_path)
    with pytest.raises(ValueError, match='annotation 1: iscrowd 2; expected'):
        export.tally(export.pictures[0])


# Writing.

CLASSES = Classes(
    ('b', 'background', 'a'), ((0, 0, 0), (128, 0, 0), (0, 128, 0)), 1
)


def item(root, name, regions=(), **more):
    add_image(root, name)
    return Annotated(
        name.replace('in/', ''), root / name, SIZE, regions, **more
    )


def load(path):
    with redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_written_files_as_pycocotools_reads_them(tmp_path):
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[3:20, 5:25] = 2
    labels[8:12, 10:14] = 0  # a hole
    labels[22, 30:38] = 2
    mask = np.random.default_rng(0).random((30, 40)) < 0.3
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    empty = coco_mask.encode(np.zeros((30, 40), np.uint8, order='F'))
    regions = [
        Region(0, box(1, 1, 4, 3), score=0.75),
        *regions_of_map(labels, 0),
        Region(2, code, crowd=True),
        Region(2, empty),
    ]
    out = tmp_path / 'out'
    items = [
        item(tmp_path, 'in/sub/a.png', regions, split='train'),
        item(tmp_path, 'in/b.JPG', split='val'),
    ]
    write(out, CLASSES, items)
    names = {path.name for path in (out / 'annotations').iterdir()}
    assert names == {'instances_train.json', 'instances_val.json'}
    coco = load(out / 'annotations/instances_train.json')
    assert {key: each['name'] for key, each in coco.cats.items()} == {
        1: 'b',
        2: 'a',
    }
    [written] = coco.imgs.values()
    assert written['file_name'] == 'sub/a.png'
    assert (written['width'], written['height']) == SIZE
    copied = (out / 'images/sub/a.png').read_bytes()
    assert copied == (tmp_path / 'in/sub/a.png').read_bytes()
    rows = list(coco.anns.values())
    masks = [coco.annToMask(each) for each in rows]
    expected = [mask_of(region, SIZE) for region in regions[:-1]]
    assert len(masks) == 4
    for one, other, each in zip(masks, expected, rows, strict=True):
        assert (one == other).all()
        assert each['area'] == other.sum()
        y, x = np.nonzero(other)
        size = np.ptp(x) + 1, np.ptp(y) + 1
        assert each['bbox'] == [x.min(), y.min(), *size]
    assert [each['category_id'] for each in rows] == [1, 2, 2, 2]
    assert [each['iscrowd'] for each in rows] == [0, 0, 0, 1]
    assert [each.get('score') for each in rows] == [0.75, None, None, None]
    assert [type(each['segmentation']) for each in rows] == [
        *[list] * 3,
        dict,
    ]
    other = load(out / 'annotations/instances_val.json')
    assert [each['file_name'] for each in other.imgs.values()] == ['b.JPG']
    assert not other.anns


def test_written_files_come_back(tmp_path):
    rng = np.random.default_rng(1)
    labels = np.kron(rng.integers(0, 3, (6, 8)), np.ones((5, 5))).astype('u1')
    classes = Classes(('background', 'x', 'y'), CLASSES.palette, 0)
    regions = regions_of_map(labels, 0)
    out = tmp_path / 'out'
    write(out, classes, [item(tmp_path, 'in/a.png', regions)])
    export = find(out)
    assert pictures(export) == [
        ('images/a.png', 'annotations/instances_default.json', None)
    ]
    assert export.classes.names == classes.names
    assert (export.label_map(export.pictures[0]) == labels).all()
    for one, other in zip(
        export.regions(export.pictures[0]), regions, strict=True
    ):
        assert one.category == other.category
        assert (mask_of(one, SIZE) == mask_of(other, SIZE)).all()


def test_region_of_no_object(tmp_path):
    region = Region(1, box(0, 0, 1, 1))
    with pytest.raises(ValueError, match=r'a.png: regions\[0\] is of class 1'):
        write(
            tmp_path / 'out', CLASSES, [item(tmp_path, 'in/a.png', [region])]
        )
    assert not (tmp_path / 'out' / 'annotations').exists()
