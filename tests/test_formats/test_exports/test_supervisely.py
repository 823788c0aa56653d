"""Supervisely's projects: what they hold, how it is drawn, what is wrong."""

import base64
import io
import json
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.mask_files import saved
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
    region_of_mask,
)
from mmseg_ext.formats.exports.supervisely import Supervisely, write

SIZE = 40, 30

CLASSES = [
    {'title': 'a', 'shape': 'polygon', 'color': '#FF0010'},
    {'title': 'b', 'shape': 'bitmap', 'color': ''},
]

STENCIL = np.zeros((3, 4), np.uint8)
STENCIL[0, 1] = STENCIL[2, 3] = 1


def polygon(*points, holes=(), **more):
    outline = {'exterior': points, 'interior': holes}
    return shape('polygon', points=outline, **more)


def shape(kind, title='a', **more):
    return {'classTitle': title, 'geometryType': kind, 'tags': [], **more}


def packed(file):
    return base64.b64encode(zlib.compress(file)).decode()


def bitmap(file, left=10, top=5, **more):
    """``file`` is a PNG file, or the text of one."""
    data = packed(file) if isinstance(file, bytes) else file
    return shape('bitmap', bitmap={'data': data, 'origin': [left, top]})


def of_the_sdk(mask):
    """Return what ``Bitmap.data_2_base64`` writes."""
    image = Image.fromarray(np.array(mask, np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    file = io.BytesIO()
    image.save(file, format='PNG', transparency=0, optimize=0)
    return file.getvalue()


def add(root, name, *objects, size=SIZE):
    """Add an image with labels, ``ds/img/x.png``."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', SIZE).save(path)
    path = path.parent.parent / 'ann' / f'{path.name}.json'
    path.parent.mkdir(exist_ok=True)
    width, height = size
    content = {
        'description': '',
        'tags': [],
        'size': {'height': height, 'width': width},
        'objects': list(objects),
    }
    path.write_text(json.dumps(content))
    return path


def project(root, *objects, classes=CLASSES):
    """Write a project with one image, and read it."""
    add(root, 'ds/img/x.png', *objects)
    (root / 'meta.json').write_text(json.dumps({'classes': classes}))
    return found(root)


def found(root, **more):
    return Supervisely.found(Folder.listed(root, **more))


def drawn(root, *objects, **more):
    export = project(root, *objects, **more)
    return export.label_map(export.pictures[0])


def test_classes(tmp_path):
    export = project(tmp_path)
    assert export.classes == Classes(
        ('background', 'a', 'b'), ((0, 0, 0), (255, 0, 16), (0, 128, 0)), 0
    )
    assert export.evidence == (
        '1 images in folders img with a JSON file in ann',
        '2 classes in meta.json: a, b',
    )
    [picture] = export.pictures
    assert picture.labels == 'ds/ann/x.png.json'
    assert picture.split is None
    assert export.tally(picture) == Tally(SIZE, {0: 1200})
    assert not export.label_map(picture).any()
    assert export.regions(picture) == []


def test_polygon_has_its_corners(tmp_path):
    """The pixels of ``fillPoly``, by which the SDK draws."""
    points = [(2, 3), (20, 5), (30, 25), (11, 12)]
    expected = np.zeros(SIZE[::-1], np.uint8)
    cv2.fillPoly(expected, [np.array(points)], 1)
    labels = drawn(tmp_path, polygon(*points))
    assert (labels == expected).all()
    assert labels.dtype == np.uint8
    assert all(labels[y, x] for x, y in points)


def test_polygon_with_holes(tmp_path):
    outer, hole = (
        [(2, 2), (20, 2), (20, 20), (2, 20)],
        [(5, 5), (5, 9), (9, 5)],
    )
    other = [(12, 12), (15, 12), (15, 18)]
    expected = np.zeros(SIZE[::-1], np.uint8)
    cv2.fillPoly(expected, [np.array(outer)], 1)
    cv2.fillPoly(expected, [np.array(hole)], 0)
    cv2.fillPoly(expected, [np.array(other)], 0)
    below = polygon((0, 0), (39, 0), (39, 29), (0, 29), title='b')
    labels = drawn(tmp_path, polygon(*outer, holes=[hole, other]))
    assert (labels == expected).all()
    export = project(tmp_path, below, polygon(*outer, holes=[hole, other]))
    [picture] = export.pictures
    assert (export.label_map(picture) == np.where(expected, 1, 2)).all()
    first, second = export.regions(picture)
    assert (first.category, second.category) == (2, 1)
    assert mask_of(first, SIZE).all()
    assert (mask_of(second, SIZE) == expected).all()
    assert export.tally(picture).counts == {
        1: expected.sum(),
        2: 1200 - expected.sum(),
    }


@pytest.mark.parametrize(
    'points',
    [
        [(-10, -10), (20, -10), (20, 10), (-10, 10)],
        [(30, 20), (1000000, 20), (30, 1000000)],
        [(20.5, 3.25), (38.75, 3.5), (38, 28.1)],
        [(-9, -9), (-3, -9), (-3, -3)],
        [(50, 50), (60, 50), (60, 60)],
        [(0, 0), (39, 0), (39, 29), (0, 29)],
    ],
)
def test_polygons_at_the_border(tmp_path, points):
    room = np.zeros((130, 140), np.uint8)
    cut = np.clip(np.array(points), -100, 100 - 1)
    if np.abs(points).max() < 1000:
        corners = np.rint((cut + 50) * 256).astype(np.int32)
        cv2.fillPoly(room, [corners], 1, shift=8)
        expected = room[50:80, 50:90]
    else:  # a corner that is far away: half of the rectangle and more
        expected = np.zeros(SIZE[::-1], np.uint8)
        expected[20:, 30:] = 1
    assert (drawn(tmp_path, polygon(*points)) == expected).all()


@pytest.mark.parametrize(
    ('corners', 'box'),
    [
        ([(3, 5), (10, 8)], (slice(5, 9), slice(3, 11))),
        ([(10, 8), (3, 5)], (slice(5, 9), slice(3, 11))),
        ([(0, 0), (39, 29)], (slice(None), slice(None))),
        ([(-5, -9), (4, 1000)], (slice(None), slice(0, 5))),
        ([(40, 0), (50, 9)], (slice(0, 0), slice(None))),
    ],
)
def test_rectangle_has_both_its_edges(tmp_path, corners, box):
    expected = np.zeros(SIZE[::-1], np.uint8)
    expected[box] = 1
    points = {'exterior': corners, 'interior': []}
    labels = drawn(tmp_path, shape('rectangle', points=points))
    assert (labels == expected).all()


@pytest.mark.parametrize(
    'file',
    [
        pytest.param(of_the_sdk(STENCIL), id='SDK'),
        pytest.param(saved(STENCIL * 255), id='gray'),
        pytest.param(saved(STENCIL), id='0 and 1'),
        pytest.param(
            saved(np.dstack([STENCIL * 0] * 3 + [STENCIL * 255])), id='alpha'
        ),
        pytest.param(
            saved(Image.fromarray(STENCIL * 255).convert('1')), id='1 bit'
        ),
    ],
)
def test_bitmap_of_any_form(tmp_path, file):
    labels = drawn(tmp_path, bitmap(file))
    assert np.argwhere(labels).tolist() == [[5, 11], [7, 13]]


def test_bitmap_of_another_level_of_compression(tmp_path):
    data = base64.b64encode(zlib.compress(of_the_sdk(STENCIL), 1)).decode()
    labels = drawn(tmp_path, bitmap(data, 36, 27))
    assert np.argwhere(labels).tolist() == [[27, 37], [29, 39]]


def test_background_and_what_has_no_label(tmp_path):
    titles = [{'title': title} for title in ('a', 'bg', 'Unlabeled')]
    square = (2, 2), (11, 2), (11, 11), (2, 11)
    hole = (5, 5), (6, 5), (6, 6), (5, 6)
    export = project(
        tmp_path,
        polygon(*square),
        polygon(*hole, title='bg'),
        polygon((8, 8), (8, 8), (8, 8), title='Unlabeled'),
        classes=titles,
    )
    assert export.classes.names == ('a', 'bg')
    [picture] = export.pictures
    assert export.tally(picture).counts == {0: 95, 1: 1104, 255: 1}
    assert [region.category for region in export.regions(picture)] == [0]


def test_splits_and_what_is_not_used(tmp_path):
    project(tmp_path)
    for name in (
        'train/img/x.jpg',
        'VAL/img/x.png',
        'ds/datasets/b/img/ü.PNG',
    ):
        add(tmp_path, name)
    Image.new('RGB', SIZE).save(tmp_path / 'cover.png')
    (tmp_path / 'ds/ann/lone.png.json').write_text('{}')
    export = found(tmp_path)
    assert [(p.name, p.labels, p.split) for p in export.pictures] == [
        ('VAL/img/x.png', 'VAL/ann/x.png.json', 'val'),
        ('ds/datasets/b/img/ü.PNG', 'ds/datasets/b/ann/ü.PNG.json', None),
        ('ds/img/x.png', 'ds/ann/x.png.json', None),
        ('train/img/x.jpg', 'train/ann/x.jpg.json', 'train'),
    ]
    assert export.ignored == (
        '1 images outside of folders img: cover.png',
        '1 files without image: ds/ann/lone.png.json',
    )


@pytest.mark.parametrize('start', ['', 'data/', 'a/b c/'])
def test_one_data_set(tmp_path, start):
    """``img`` and ``ann`` beside ``meta.json``."""
    add(tmp_path / start, 'img/x.png', bitmap(of_the_sdk(STENCIL)))
    (tmp_path / start / 'meta.json').write_text(
        json.dumps({'classes': CLASSES})
    )
    export = found(tmp_path)
    [picture] = export.pictures
    assert picture.name == f'{start}img/x.png'
    assert export.tally(picture).counts == {0: 1198, 1: 2}


def test_a_list_of_the_user(tmp_path):
    project(tmp_path, bitmap(of_the_sdk(STENCIL)))
    (tmp_path / 'list.txt').write_text('b\na\n')
    export = found(tmp_path, class_list=tmp_path / 'list.txt')
    assert export.classes.names == ('background', 'b', 'a')
    assert export.tally(export.pictures[0]).counts == {0: 1198, 2: 2}


def test_other_folders(tmp_path):
    assert found(tmp_path) is None
    (tmp_path / 'meta.json').write_text('{"names": []}')
    assert found(tmp_path) is None
    add(tmp_path, 'ds/img/x.png')
    (tmp_path / 'meta.json').unlink()
    assert found(tmp_path) is None


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        ('{', 'no file of Supervisely'),
        ('{"names": []}', 'no file of Supervisely: .*classes'),
        ('{"classes": [{"shape": "any"}]}', 'no file of .*title'),
        ('{"classes": []}', 'lists no classes'),
        ('{"classes": [{"title": "a"}, {"title": "a"}]}', "called 'a'"),
    ],
)
def test_meta_that_is_not_right(tmp_path, meta, message):
    project(tmp_path)
    (tmp_path / 'meta.json').write_text(meta)
    with pytest.raises(InvalidExportError, match=rf'meta.json: .*{message}'):
        found(tmp_path)


def test_image_without_labels(tmp_path):
    project(tmp_path)
    Image.new('RGB', SIZE).save(tmp_path / 'ds/img/y.png')
    with pytest.raises(
        InvalidExportError, match=r'y.png: .* expected ds/ann/y.png.json'
    ):
        found(tmp_path)


def test_two_projects(tmp_path):
    project(tmp_path / 'one')
    project(tmp_path / 'two')
    with pytest.raises(
        InvalidExportError, match=r'2 projects .* one/meta.json, two/meta.json'
    ):
        found(tmp_path)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        pytest.param(
            polygon((1, 1), (2, 2), (3, 1), title='c'),
            "class 'c' is not in the list; expected one of a, b",
            id='class',
        ),
        pytest.param(
            shape('line', points={'exterior': [(1, 1), (2, 2)]}),
            "geometryType 'line', class 'a'; expected one of bitmap, polygon",
            id='line',
        ),
        pytest.param(shape('alpha_mask'), "'alpha_mask'", id='alpha_mask'),
        pytest.param(polygon((1, 1), (2, 2)), 'of 2 points', id='points'),
        pytest.param(
            polygon((1, 1), (2, 2), (3, 1), holes=[[(1, 1)]]),
            'a polygon of 1 points',
            id='hole',
        ),
        pytest.param(shape('polygon'), 'of 0 points', id='no points'),
        pytest.param(shape('rectangle'), 'of 0 points', id='no corners'),
        pytest.param(shape('bitmap'), 'bitmap is missing', id='no bitmap'),
        pytest.param(bitmap('!'), 'the bitmap is broken', id='base64'),
        pytest.param(
            bitmap(base64.b64encode(b'no zlib').decode()),
            'the bitmap is broken',
            id='zlib',
        ),
        pytest.param(
            bitmap(packed(of_the_sdk(STENCIL))[:-8]), 'cut off', id='cut'
        ),
        pytest.param(bitmap(b''), 'cannot be read', id='nothing'),
        pytest.param(bitmap(b'no image'), 'cannot be read', id='no image'),
        pytest.param(
            bitmap(of_the_sdk(STENCIL), 37),
            '4x3 pixels at 37, 5 leaves its image of 40x30',
            id='right',
        ),
        pytest.param(
            bitmap(of_the_sdk(STENCIL), -1), 'at -1, 5 leaves', id='left'
        ),
        pytest.param(
            bitmap(saved(np.dstack([STENCIL] * 3))), 'in color', id='color'
        ),
        pytest.param(
            bitmap(bytes(1 << 20)), 'cut off, or has more', id='bomb'
        ),
        pytest.param(
            bitmap(saved(np.zeros((3000, 3000), np.uint8))),
            '3000x3000 pixels at',
            id='large bitmap',
        ),
    ],
)
def test_objects_that_are_not_right(tmp_path, wrong, message):
    export = project(tmp_path, polygon((1, 1), (2, 2), (3, 1)), wrong)
    with pytest.raises(ValueError, match=message) as caught:
        export.tally(export.pictures[0])
    assert str(caught.value).startswith('objects[1]: ')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'truncated'),
        ('{"objects": []}', 'size'),
        ('{"size": {"width": 1, "height": 0}, "objects": []}', 'height 0'),
        (
            '{"size": {"width": 100000, "height": 100000}, "objects": []}',
            'expected 1 to 178956970 pixels',
        ),
        (
            '{"size": {"width": 4, "height": 3}, "objects": [{"classTitle":'
            '"a", "geometryType": "polygon", "points": {"exterior": '
            '[[1e30, 0], [1, 1], [0, 0]]}}]}',
            'exterior',
        ),
    ],
)
def test_labels_that_are_not_right(tmp_path, text, message):
    export = project(tmp_path)
    (tmp_path / 'ds/ann/x.png.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        export.tally(export.pictures[0])


def test_bombs_take_no_memory(tmp_path):
    """128 MiB of zeros in a thousandth of it."""
    bomb = zlib.compress(bytes(1 << 27), 9)
    data = base64.b64encode(bomb).decode()
    export = project(tmp_path, bitmap(data))
    tracemalloc.start()
    with pytest.raises(ValueError, match='has more than the'):
        export.tally(export.pictures[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


@pytest.mark.parametrize('text', [None, 'a\na\n', ''])
def test_lists_of_the_user_that_are_not_right(tmp_path, text):
    project(tmp_path)
    path = tmp_path / 'mine.txt'
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidExportError, match=r'^\S*mine\.txt: '):
        found(tmp_path, class_list=path)


# Writing.


def test_written_and_read(tmp_path):
    image = tmp_path / 'x.png'
    Image.new('RGB', SIZE).save(image)
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[3:20, 5:25] = 1
    mask[6:9, 8:12] = 0
    mask[22:30, 30:40] = 1
    classes = Classes(('sky', 'bg', 'Möwe'), ((1, 2, 3),) * 3, 1)
    square = [2.5, 3.5, 8.5, 3.5, 8.5, 6.5, 2.5, 6.5]
    items = [
        Annotated(
            'a/ü.png', image, SIZE, [region_of_mask(mask, 2, 0, 0, SIZE)]
        ),
        Annotated('y.png', image, SIZE, [Region(0, [square])], split='val'),
        Annotated('z.png', image, SIZE, split='train'),
    ]
    out = tmp_path / 'out'
    write(out, classes, items)
    export = found(out)
    assert export.classes == Classes(
        ('background', 'sky', 'Möwe'), ((0, 0, 0), (1, 2, 3), (1, 2, 3)), 0
    )
    assert [(p.name, p.split) for p in export.pictures] == [
        ('ds/datasets/a/img/ü.png', None),
        ('train/img/z.png', 'train'),
        ('val/img/y.png', 'val'),
    ]
    labels, empty, box = map(export.label_map, export.pictures)
    assert (labels == mask * 2).all()
    assert not empty.any()
    assert np.argwhere(box).min(0).tolist() == [3, 2]
    assert np.argwhere(box).max(0).tolist() == [6, 8]
    assert box.sum() == 7 * 4
    [region] = export.regions(export.pictures[0])
    assert (mask_of(region, SIZE) == mask).all()
    content = json.loads((out / 'val/ann/y.png.json').read_text())
    assert content['objects'][0]['points'] == {
        'exterior': [[2, 3], [8, 3], [8, 6], [2, 6]],
        'interior': [],
    }


def test_bitmaps_are_those_of_the_sdk(tmp_path):
    """As ``Bitmap.base64_2_data`` decodes them: alpha."""
    image = tmp_path / 'x.png'
    Image.new('RGB', SIZE).save(image)
    region = region_of_mask(STENCIL, 1, 7, 9, SIZE)
    classes = Classes(('bg', 'a'), ((0, 0, 0),) * 2, 0)
    write(tmp_path, classes, [Annotated('x.png', image, SIZE, [region])])
    content = json.loads((tmp_path / 'ds/ann/x.png.json').read_text())
    [written] = content['objects']
    assert written['bitmap']['origin'] == [8, 9]
    data = zlib.decompress(base64.b64decode(written['bitmap']['data']))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (pixels[:, :, 3].astype(bool) == STENCIL[:, 1:]).all()


def test_regions_of_no_object(tmp_path):
    image = tmp_path / 'x.png'
    Image.new('RGB', SIZE).save(image)
    classes = Classes(('bg', 'a'), ((0, 0, 0),) * 2, 0)
    item = Annotated('x.png', image, SIZE, [Region(0, [[0, 0, 1, 0, 1, 1]])])
    with pytest.raises(ValueError, match=r'x.png: regions.0. is of class 0'):
        write(tmp_path, classes, [item])
