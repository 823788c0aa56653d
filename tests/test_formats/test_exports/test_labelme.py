"""Folders of labelme: what is found, drawn, told apart, and written."""

import base64
import json
import unicodedata

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmseg_ext.converters.labelme import convert
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Picture,
    Tally,
)
from mmseg_ext.formats.exports.labelme import Labelme, write
from mmseg_ext.formats.exports.regions import (
    Region,
    mask_of,
    region_of_mask,
    regions_of_map,
)
from mmseg_ext.formats.labelme import decode_labelme, draw
from mmseg_ext.utils.images import encode_png

SIZE = 40, 30


def shape(label, kind, points, **more):
    return {'label': label, 'shape_type': kind, 'points': points, **more}


def box(label, left, top, right, bottom, **more):
    return shape(label, 'rectangle', [[left, top], [right, bottom]], **more)


def polygon(label, *points, **more):
    return shape(label, 'polygon', [list(p) for p in points], **more)


def add_image(root, name, size=SIZE):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


def add_json(root, name, image, shapes=(), **changes):
    content = {
        'version': '5.4.1',
        'flags': {'blurred': True},
        'shapes': list(shapes),
        'imagePath': image,
        'imageData': None,
        'imageHeight': SIZE[1],
        'imageWidth': SIZE[0],
    }
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def add(root, stem, *shapes, **changes):
    """Add an image and the file beside it."""
    add_image(root, f'{stem}.png')
    name = f'{stem.rpartition("/")[2]}.png'
    return add_json(root, f'{stem}.json', name, shapes, **changes)


def find(root, **more):
    return Labelme.found(Folder.listed(root, **more))


def refused(root, **more):
    with pytest.raises(InvalidExportError) as caught:
        find(root, **more)
    return str(caught.value)


def expected_map(*boxes, background=0):
    labels = np.full(SIZE[::-1], background, np.uint8)
    for value, left, top, right, bottom in boxes:
        labels[top : bottom + 1, left : right + 1] = value
    return labels


# Label maps.


def test_label_map_and_tally(tmp_path):
    add(
        tmp_path,
        'a',
        box('road', 0, 20, 39, 29),
        box('car', 5, 15, 12, 24),
        box('__ignore__', 0, 0, 3, 1),
    )
    add(tmp_path, 'b')
    export = find(tmp_path)
    assert export.classes.names == ('_background_', 'car', 'road')
    assert export.classes.palette == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert export.classes.background == 0
    assert export.pictures == (
        Picture('a.png', 'a.json'),
        Picture('b.png', 'b.json'),
    )
    first, second = export.pictures
    labels = export.label_map(first)
    assert labels.dtype == np.uint8
    expected = expected_map(
        (2, 0, 20, 39, 29), (1, 5, 15, 12, 24), (255, 0, 0, 3, 1)
    )
    assert (labels == expected).all()
    counts = {0: 1200 - 400 - 8 * 5 - 8, 1: 80, 2: 400 - 40, 255: 8}
    assert export.tally(first) == Tally(SIZE, counts)
    assert export.tally(second) == Tally(SIZE, {0: 1200})
    assert export.regions(second) == []
    assert export.settled([]) is export
    assert export.masks is None
    assert export.evidence == (
        '2 JSON files of labelme, each with its image',
        '3 shapes of 3 labels: 3 rectangle',
        'the classes are _background_ and all labels, sorted',
    )
    assert export.ignored == ()


def all_kinds(mask):
    code = base64.b64encode(encode_png(mask)).decode()
    return [
        polygon('a', (4.2, 3.1), (35.7, 8.4), (18.0, 26.9)),
        box('c', 30, 20, 50, 50),
        shape('b', 'circle', [[20, 15], [20, 10]]),
        shape('a', 'line', [[0, 0], [39, 29]]),
        shape('c', 'linestrip', [[0, 29], [10, 20], [20, 29]]),
        shape('b', 'point', [[35, 3]]),
        shape('c', 'mask', [[3, 5], [6, 7]], mask=code),
        box('__ignore__', 0, 10, 2, 12),
    ]


@pytest.mark.parametrize(
    'listed',
    [
        None,
        '__ignore__\n_background_\nc\nb\na\nd\n',
        '\ufeffc\r\n\r\nb\r\na\r\n_background_\r\n',
        'c\nb\na\n',
    ],
    ids=['sorted', 'list', 'windows', 'no background'],
)
def test_same_labels_as_the_converter(tmp_path, listed):
    root, out = tmp_path / 'raw', tmp_path / 'out'
    mask = np.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]], np.uint8)
    add(root, 'x', *all_kinds(mask))
    add(root, 'sub/y', *reversed(all_kinds(mask)))
    add(root, 'z')
    if listed:
        (root / 'labels.txt').write_bytes(listed.encode())
    export = find(root)
    convert(root, out, progress=False)
    lines = (out / 'class_dict.csv').read_text().splitlines()[1:]
    assert [line.split(',')[0] for line in lines] == [*export.classes.names]
    for picture in export.pictures:
        name = picture.name.replace('.png', '')
        written = np.array(Image.open(out / 'labels' / f'{name}.png'))
        assert (export.label_map(picture) == written).all()
        assert len(np.unique(written)) > 3 or name == 'z'


def test_list_without_background(tmp_path):
    add(tmp_path, 'a', box('car', 0, 0, 9, 9))
    (tmp_path / 'labels.txt').write_text('road\ncar\n')
    export = find(tmp_path)
    assert export.classes.names == ('road', 'car')
    assert export.classes.background is None
    labels = export.label_map(export.pictures[0])
    assert (labels == expected_map((1, 0, 0, 9, 9), background=255)).all()
    assert export.evidence[-1] == (
        'labels.txt lists 2 classes, and no _background_: pixels in no shape '
        'are ignored'
    )


def test_void_is_no_class(tmp_path):
    shapes = [box('car', 0, 0, 9, 9), box('Void', 5, 5, 20, 9)]
    add(tmp_path, 'a', *shapes)
    export = find(tmp_path)
    assert export.classes.names == ('_background_', 'car')
    [picture] = export.pictures
    expected = expected_map((1, 0, 0, 9, 9), (255, 5, 5, 20, 9))
    assert (export.label_map(picture) == expected).all()
    assert [region.category for region in export.regions(picture)] == [1]


def test_list_of_the_user(tmp_path):
    add(tmp_path / 'raw', 'a', box('car', 0, 0, 9, 9))
    (tmp_path / 'raw' / 'labels.txt').write_text('other\n')
    listed = tmp_path / 'mine.txt'
    listed.write_text('_background_\nroad\ncar\n')
    export = find(tmp_path / 'raw', class_list=listed)
    assert export.classes.names == ('_background_', 'road', 'car')
    assert 'mine.txt lists 3 classes' in export.evidence


# Instances.


def test_shapes_of_a_group_and_label_are_one(tmp_path):
    corner = [(0, 0), (5, 0), (5, 5)]
    other = [(20, 0), (25, 0), (25, 5)]
    add(
        tmp_path,
        'a',
        polygon('car', *corner, group_id=1),
        polygon('car', *corner),
        polygon('road', *corner, group_id=1),
        polygon('car', *other, group_id=1),
        polygon('car', *other),
    )
    export = find(tmp_path)
    first, second = (
        [float(side) for point in points for side in point]
        for points in (corner, other)
    )
    assert export.regions(export.pictures[0]) == [
        Region(1, [first, second]),
        Region(1, [first]),
        Region(2, [first]),
        Region(1, [second]),
    ]


def test_other_shapes_become_codes_as_they_are_drawn(tmp_path):
    mask = np.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]], np.uint8)
    add(tmp_path, 'a', *all_kinds(mask))
    export = find(tmp_path)
    polygons, rectangle, circle, pixels = export.regions(export.pictures[0])
    assert polygons == Region(1, [[4.2, 3.1, 35.7, 8.4, 18.0, 26.9]])
    assert rectangle.category == pixels.category == 3
    assert (
        mask_of(rectangle, SIZE) == expected_map((1, 30, 20, 39, 29))
    ).all()
    drawn = np.zeros(SIZE[::-1], np.uint8)
    drawn[5:8, 3:7] = mask
    assert (mask_of(pixels, SIZE) == drawn).all()
    y, x = np.mgrid[:30, :40]
    distance = np.hypot(x - 20, y - 15)
    disk = mask_of(circle, SIZE)
    assert disk[distance < 4].all()
    assert not disk[distance > 6].any()
    assert '3 points and lines are drawn in label maps' in export.ignored[0]


def test_mixed_group_is_drawn_as_one(tmp_path):
    add(
        tmp_path,
        'a',
        polygon('car', (0, 0), (5, 0), (5, 5), (0, 5), group_id='g'),
        box('car', 20, 10, 25, 12, group_id='g'),
        shape('car', 'line', [[0, 20], [39, 20]], group_id='g'),
    )
    export = find(tmp_path)
    [region] = export.regions(export.pictures[0])
    expected = expected_map((1, 0, 0, 5, 5), (1, 20, 10, 25, 12))
    assert (mask_of(region, SIZE) == expected).all()


def test_what_lies_outside_is_no_instance(tmp_path):
    add(tmp_path, 'a', box('car', 100, 100, 110, 110))
    export = find(tmp_path)
    assert export.regions(export.pictures[0]) == []


# Folders.


def test_images_apart(tmp_path):
    """Backslashes, a path up that stays inside, other folders, suffixes."""
    for name in ('images/a.JPG', 'images/b.png', 'images/c.png', 'd.png'):
        add_image(tmp_path, name)
    add_json(tmp_path, 'ann/a.JSON', '..\\images\\a.JPG')
    add_json(tmp_path, 'ann/b.json', 'b.png')
    add_json(tmp_path, 'ann/c.json', 'C:\\Users\\me\\shots\\c.png')
    add_json(tmp_path, 'ann/deep/d.json', '../../d.png')
    add_image(tmp_path, 'images/without.png')
    (tmp_path / 'notes.json').write_text('{"shapes": 3}')
    (tmp_path / 'list.json').write_text('[1, 2]')
    export = find(tmp_path)
    assert export.pictures == (
        Picture('d.png', 'ann/deep/d.json'),
        Picture('images/a.JPG', 'ann/a.JSON'),
        Picture('images/b.png', 'ann/b.json'),
        Picture('images/c.png', 'ann/c.json'),
    )
    assert export.ignored == (
        '1 images have no JSON file',
        '2 JSON files are not of labelme: list.json, notes.json',
    )


def test_names_in_another_form_of_unicode(tmp_path):
    name = unicodedata.normalize('NFD', 'Übung 1')
    add_image(tmp_path, f'{name}.png')
    add_json(
        tmp_path, f'{name}.json', unicodedata.normalize('NFC', f'{name}.png')
    )
    [picture] = find(tmp_path).pictures
    assert picture == Picture(f'{name}.png', f'{name}.json')


def test_splits_by_folders(tmp_path):
    for stem in ('train/a', 'valid/a', 'more/b'):
        add(tmp_path, stem)
    splits = {each.name: each.split for each in find(tmp_path).pictures}
    assert splits == {
        'train/a.png': 'train',
        'valid/a.png': 'val',
        'more/b.png': None,
    }


def test_photographs_in_the_files_are_passed_over(tmp_path):
    photo = base64.b64encode(b'\xff' * 900_000).decode()
    for stem in ('a', 'b'):
        add(tmp_path, stem, box('car', 1, 2, 3, 4), imageData=photo)
    export = find(tmp_path)
    for picture in export.pictures:
        assert export.tally(picture) == Tally(SIZE, {0: 1200 - 9, 1: 9})


@pytest.mark.parametrize(
    'content',
    [
        {'images': [], 'annotations': [], 'categories': []},
        {'shapes': []},
        {'imagePath': 'x.png'},
        {'objects': [], 'size': {'width': 3, 'height': 4}},
        [{'shapes': [], 'imagePath': 'x.png'}],
        'text',
    ],
    ids=['coco', 'shapes', 'path', 'supervisely', 'list', 'text'],
)
def test_other_json_is_not_of_labelme(tmp_path, content):
    add_image(tmp_path, 'x.png')
    (tmp_path / 'x.json').write_text(json.dumps(content))
    assert find(tmp_path) is None
    (tmp_path / 'x.json').write_text('{"broken": ')
    assert find(tmp_path) is None


def test_folder_without_json(tmp_path):
    add_image(tmp_path, 'x.png')
    assert find(tmp_path) is None


# Refused.


@pytest.mark.parametrize(
    'said', ['x.jpg', '../x.png', '/etc/passwd', '', '..', 'x.png/']
)
def test_file_without_image(tmp_path, said):
    add(tmp_path, 'y')
    (tmp_path / 'y.json').unlink()
    path = add_json(tmp_path, 'x.json', said)
    error = refused(tmp_path)
    assert error == (
        f'{path}: its image, imagePath {said!r}, is not in the folder: put '
        'it there, or take the JSON file away'
    )


def test_image_of_another_file_is_not_meant(tmp_path):
    add(tmp_path, 'a/x')
    path = add_json(tmp_path, 'b/x.json', 'x.png')
    assert refused(tmp_path).startswith(
        f"{path}: its image, imagePath 'x.png'"
    )


def test_image_of_two_files(tmp_path):
    add(tmp_path, 'x')
    path = add_json(tmp_path, 'y.json', 'x.png')
    assert refused(tmp_path) == (
        f"{path}: its image, imagePath 'x.png', is x.png, which x.json has "
        'as well; expected one JSON file for each image'
    )


def test_image_that_may_be_one_of_two(tmp_path):
    add_image(tmp_path, 'a/x.png')
    add_image(tmp_path, 'b/x.png')
    path = add_json(tmp_path, 'ann/x.json', 'x.png')
    assert refused(tmp_path) == (
        f"{path}: its image, imagePath 'x.png', may be a/x.png, b/x.png: "
        'write there which, as seen from the JSON file'
    )


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"shapes": [', 'no labelme file'),
        ('', 'no labelme file'),
        ('{"shapes": [], "imageData": null}', '`imagePath`'),
        ('{"shapes": [{"label": 1}], "imagePath": "x.png"}', 'label'),
    ],
    ids=['cut off', 'empty', 'no path', 'number'],
)
def test_broken_file_beside_others(tmp_path, text, message):
    add(tmp_path, 'a')
    add_image(tmp_path, 'x.png')
    (tmp_path / 'x.json').write_text(text)
    error = refused(tmp_path)
    assert error.startswith(f'{tmp_path / "x.json"}: ')
    assert message in error


@pytest.mark.parametrize(
    ('one', 'message'),
    [
        (shape('a', 'cuboid', [[1, 1]]), r"shape_type 'cuboid'; expected"),
        (polygon('a', (0, 0), (1, 1)), '2 points'),
        (shape('a', 'mask', [[0, 0], [1, 1]], mask='!'), 'base64'),
        (
            polygon('a', *[(-9e5, 0), (9e5, 0)] * 9),
            r'shapes\[0\]: a polygon with an outline',
        ),
    ],
    ids=['kind', 'points', 'mask', 'outline'],
)
def test_wrong_shape_is_an_error_of_its_file(tmp_path, one, message):
    add(tmp_path, 'x', one)
    export = find(tmp_path)
    with pytest.raises(ValueError, match=message):
        export.tally(export.pictures[0])


def test_label_that_is_not_listed(tmp_path):
    add(tmp_path, 'x', box('car', 0, 0, 1, 1))
    (tmp_path / 'labels.txt').write_text('road\n')
    export = find(tmp_path)
    for read in (export.tally, export.label_map, export.regions):
        with pytest.raises(ValueError, match=r"shapes\[0\]: label 'car'"):
            read(export.pictures[0])


def test_list_that_cannot_be_read(tmp_path):
    add(tmp_path, 'x', box('car', 0, 0, 1, 1))
    (tmp_path / 'labels.txt').write_bytes(b'stra\xdfe\n')
    assert str(tmp_path / 'labels.txt') in refused(tmp_path)


def test_label_with_blanks(tmp_path):
    add(tmp_path, 'x', box('car ', 0, 0, 1, 1))
    assert "'car '" in refused(tmp_path)


# Writing.

CLASSES = Classes(
    ('background', 'b', 'a'), ((0, 0, 0), (128, 0, 0), (0, 128, 0)), 0
)


def item(root, name, regions=(), **more):
    add_image(root, name)
    return Annotated(
        name.replace('in/', ''), root / name, SIZE, regions, **more
    )


def test_written_polygons_come_back(tmp_path):
    points = [4.25, 3.5, 35.125, 8.0, 18.0, 26.75]
    regions = [
        Region(2, [points], score=0.876),
        Region(1, [points, points[::-1]]),
    ]
    items = [
        item(tmp_path, 'in/a b.png', regions, split='train'),
        item(tmp_path, 'in/c.JPG', split='val'),
    ]
    out = tmp_path / 'out'
    write(out, CLASSES, items)
    export = find(out)
    assert export.classes.names == ('_background_', 'b', 'a')
    assert export.pictures == (
        Picture('train/a b.png', 'train/a b.json', 'train'),
        Picture('val/c.JPG', 'val/c.json', 'val'),
    )
    first, second = export.pictures
    assert export.regions(first) == [
        each._replace(score=None) for each in regions
    ]
    assert export.regions(second) == []
    content = json.loads((out / 'train/a b.json').read_text())
    assert content['imageData'] is None
    assert content['imagePath'] == 'a b.png'
    assert (content['imageWidth'], content['imageHeight']) == SIZE
    assert [
        (each['label'], each['group_id'], each['description'])
        for each in content['shapes']
    ] == [('a', None, 'score 0.876'), ('b', 2, ''), ('b', 2, '')]
    copied = (out / 'val/c.JPG').read_bytes()
    assert copied == (tmp_path / 'in/c.JPG').read_bytes()


def test_written_masks_are_drawn_as_they_were(tmp_path):
    labels = np.zeros(SIZE[::-1], np.uint8)
    cv2.circle(labels, (15, 14), 11, 2, -1)
    cv2.circle(labels, (15, 14), 4, 0, -1)  # a hole
    labels[2, 30:38] = 1
    labels[20:29, 36] = 1
    labels[28, 2] = 2
    regions = regions_of_map(labels, 0)
    out = tmp_path / 'out'
    write(out, CLASSES, [item(tmp_path, 'in/x.png', regions)])
    content = decode_labelme((out / 'x.json').read_bytes())
    drawn = draw(content, {'a': 2, 'b': 1}, 0)
    assert (drawn == labels).all()
    export = find(out)
    [picture] = export.pictures
    assert (export.label_map(picture) == labels).all()
    back = export.regions(picture)
    assert [each.category for each in back] == [
        each.category for each in regions
    ]


def test_written_without_background(tmp_path):
    classes = Classes(('a', 'b'), ((0, 0, 0), (128, 0, 0)))
    out = tmp_path / 'out'
    write(out, classes, [item(tmp_path, 'in/x.png')])
    assert (out / 'labels.txt').read_text() == '__ignore__\na\nb\n'
    assert find(out).classes == classes


def test_instance_without_a_pixel_is_left_out(tmp_path):
    empty = coco_mask.encode(np.zeros((30, 40), np.uint8, order='F'))
    write(
        tmp_path / 'out',
        CLASSES,
        [item(tmp_path, 'in/x.png', [Region(1, empty)])],
    )
    content = json.loads((tmp_path / 'out/x.json').read_text())
    assert content['shapes'] == []


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (
            {'regions': [Region(0, [[0, 0, 1, 0, 1, 1]])]},
            r'x.png: regions\[0\] is of class 0; expected one of \(1, 2\)',
        ),
        (
            {'labels': np.ones((30, 40), np.uint8)},
            'x.png has a label map and no regions',
        ),
    ],
)
def test_what_cannot_be_written(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / 'out', CLASSES, [item(tmp_path, 'in/x.png', **more)])


def test_stems_that_repeat(tmp_path):
    image = item(tmp_path, 'in/x.png', []).image
    twice = [Annotated(name, image, SIZE) for name in ('x.png', 'x.jpg')]
    with pytest.raises(ValueError, match=r'x.jpg: another image becomes x as'):
        write(tmp_path / 'out', CLASSES, twice)


def test_region_of_a_box_is_outlined(tmp_path):
    region = region_of_mask(np.ones((1, 1), np.uint8), 1, 7, 8, SIZE)
    write(tmp_path / 'out', CLASSES, [item(tmp_path, 'in/x.png', [region])])
    export = find(tmp_path / 'out')
    expected = expected_map((1, 7, 8, 7, 8))
    assert (export.label_map(export.pictures[0]) == expected).all()
