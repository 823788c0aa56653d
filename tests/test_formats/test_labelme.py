import base64
import json

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Outline

from helpers.label_files import in_all_forms
from helpers.mask_files import saved
from mmseg_ext.formats.labelme import (
    decode_labelme,
    draw,
    listed_classes,
    outlines,
    read_labelme,
    read_labels,
)
from mmseg_ext.utils.images import encode_png

SIZE = (40, 30)


def labelme(*shapes, size=SIZE, **changes):
    """Return the content of a file as labelme writes it."""
    content = {
        'version': '5.4.1',
        'flags': {},
        'shapes': [
            {
                'label': label,
                'points': points,
                'group_id': None,
                'shape_type': kind,
                'flags': {},
                **more,
            }
            for label, kind, points, *rest in shapes
            for more in (rest[0] if rest else {},)
        ],
        'imagePath': 'x.jpg',
        'imageData': None,
        'imageHeight': size[1],
        'imageWidth': size[0],
    }
    return json.dumps(content | changes).encode()


def drawn(*shapes, indices=None, background=0):
    indices = indices or {'a': 1, 'b': 2, '__ignore__': 255}
    return draw(decode_labelme(labelme(*shapes)), indices, background)


def png(mask):
    return {'mask': base64.b64encode(encode_png(mask)).decode()}


@pytest.mark.parametrize(
    'corners', [[(3, 5), (10, 8)], [(10, 8), (3, 5)], [(10, 5), (3, 8)]]
)
def test_rectangle_has_both_its_edges(corners):
    expected = np.zeros((30, 40), np.uint8)
    expected[5:9, 3:11] = 1
    assert (drawn(('a', 'rectangle', corners)) == expected).all()


def test_later_shapes_cover_earlier_ones():
    labels = drawn(
        ('a', 'rectangle', [(0, 0), (9, 9)]),
        ('__ignore__', 'rectangle', [(2, 2), (4, 4)]),
        ('b', 'rectangle', [(4, 4), (12, 12)]),
        background=255,
    )
    assert labels[3, 3] == 255
    assert labels[4, 4] == labels[9, 9] == 2
    assert labels[0, 0] == labels[9, 3] == 1
    assert labels[20, 20] == 255
    assert labels.dtype == np.uint8


def test_polygon_covers_what_lies_inside():
    points = [(4.2, 3.1), (35.7, 8.4), (30.3, 26.9), (18.0, 12.5), (6.5, 25.2)]
    labels = drawn(('a', 'polygon', points))
    y, x = np.mgrid[:30, :40]
    centers = np.stack([x.ravel(), y.ravel()], 1)
    inside = Outline([*points, points[0]], closed=True)
    sure = inside.contains_points(centers).reshape(30, 40)
    edge = np.zeros((30, 40), np.uint8)
    outline = np.round(points).astype(np.int32)
    cv2.polylines(edge, [outline], isClosed=True, color=1, thickness=3)
    far = edge == 0
    assert (labels[far] == sure[far]).all()
    assert sure[far].sum() > 150


def test_circle_and_point():
    labels = drawn(('a', 'circle', [(20, 15), (20, 7)]))
    y, x = np.mgrid[:30, :40]
    distance = np.hypot(x - 20, y - 15)
    assert (labels[distance < 7] == 1).all()
    assert (labels[distance > 9] == 0).all()
    point = drawn(('b', 'point', [(20, 15)]))
    assert (point[distance < 4] == 2).all()
    assert (point[distance > 6] == 0).all()


@pytest.mark.parametrize('kind', ['line', 'linestrip'])
def test_lines_are_ten_pixels_wide(kind):
    labels = drawn(('a', kind, [(5, 15), (34, 15)]))
    assert (labels[:, 20] == 1).sum() == 10
    assert labels[15, 20] == 1


def test_mask_fills_its_box():
    mask = np.zeros((3, 4), np.uint8)
    mask[0, 1] = mask[2, 3] = 1
    labels = drawn(('a', 'mask', [(10.0, 5.0), (13.0, 7.0)], png(mask)))
    assert np.argwhere(labels).tolist() == [[5, 11], [7, 13]]


STENCIL = np.zeros((3, 4), np.uint8)
STENCIL[0, 1] = STENCIL[2, 3] = 1


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(data, id=f'{form}, {high}')
        for high in (1, 255)
        for form, data in in_all_forms(STENCIL * np.uint8(high)).items()
    ],
)
def test_mask_of_any_form(data):
    """Other programs write it as 0 and 255, or with a palette."""
    code = {'mask': base64.b64encode(data).decode()}
    labels = drawn(('a', 'mask', [(10.0, 5.0), (13.0, 7.0)], code))
    assert np.argwhere(labels).tolist() == [[5, 11], [7, 13]]


@pytest.mark.parametrize(
    ('pixels', 'message'),
    [
        (np.arange(48).reshape(3, 4, 4), r'\(RGBA PNG\) has 1 transparent'),
        (np.arange(36).reshape(3, 4, 3), r'\(RGB PNG\) is in color'),
    ],
)
def test_mask_that_is_none(pixels, message):
    pixels[0, 0] = 0
    code = base64.b64encode(saved(pixels.astype(np.uint8))).decode()
    with pytest.raises(ValueError, match=rf'shapes\[0\]: the mask {message}'):
        drawn(('a', 'mask', [(10.0, 5.0), (13.0, 7.0)], {'mask': code}))


def test_shapes_may_leave_the_image():
    labels = drawn(('a', 'rectangle', [(-5, -5), (1000, 2)]))
    assert (labels[:3] == 1).all()
    assert (labels[3:] == 0).all()


def test_backslashes_of_windows():
    content = decode_labelme(labelme(imagePath='..\\images\\x.jpg'))
    assert content.image == '../images/x.jpg'


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        pytest.param(b'', 'no labelme file', id='empty'),
        pytest.param(b'\xff{}', 'no labelme file', id='bytes'),
        pytest.param(b'[]', 'no labelme file', id='list'),
        pytest.param(labelme()[:-9], 'no labelme file', id='cut'),
        pytest.param(labelme(shapes=None), 'shapes', id='no-shapes'),
        pytest.param(labelme(imageWidth=0), 'imageWidth', id='width'),
        pytest.param(labelme(imageHeight='30'), 'imageHeight', id='height'),
        pytest.param(labelme(imageWidth=10**9), 'imageWidth', id='huge'),
        pytest.param(
            labelme(('a', 'cuboid', [(1, 1)])),
            r"shapes\[0\]: shape_type 'cuboid'; expected one of polygon",
            id='kind',
        ),
        pytest.param(
            labelme(('a', 'point', [(1, 1)]), ('a', 'polygon', [(1, 1)] * 2)),
            r'shapes\[1\]: 2 points; a polygon has at least 3',
            id='points',
        ),
        pytest.param(
            labelme(('a', 'point', [(1e30, 1)])), 'points', id='coordinate'
        ),
    ],
)
def test_broken_files(data, message):
    with pytest.raises(ValueError, match=message):
        decode_labelme(data)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        pytest.param(
            ('c', 'point', [(1, 1)]),
            r"shapes\[0\]: label 'c' is not in the list",
            id='label',
        ),
        pytest.param(
            ('a', 'mask', [(0, 0), (3, 3)], png(np.ones((3, 4), np.uint8))),
            r'shapes\[0\]: the mask has 4x3 pixels, its box 4x4',
            id='size',
        ),
        pytest.param(
            ('a', 'mask', [(0, 0), (3, 3)], {'mask': '!'}),
            r'shapes\[0\]: the mask has broken base64',
            id='base64',
        ),
        pytest.param(
            ('a', 'mask', [(0, 0), (3, 3)], {'mask': 'AAAA'}),
            r'shapes\[0\]: the mask cannot be read',
            id='no-image',
        ),
        pytest.param(
            ('a', 'mask', [(0, 0), (3, 3)]),
            r'shapes\[0\]: the mask cannot be read',
            id='no-mask',
        ),
    ],
)
def test_what_cannot_be_drawn(shape, message):
    with pytest.raises(ValueError, match=message):
        drawn(shape)


def test_outlines():
    """Polygons, and pieces of lines, of ten pixels in width."""
    content = labelme(
        ('a', 'polygon', [(1.5, 2), (9, 2), (5, 7)]),
        ('a', 'linestrip', [(10, 15), (20, 15), (20, 5), (20, 5)]),
        ('a', 'rectangle', [(3, 5), (10, 8)]),
        ('b', 'circle', [(3, 5), (10, 8)]),
        ('b', 'point', [(3, 5)]),
    )
    assert list(map(list, outlines(decode_labelme(content)))) == [
        [(1.5, 2), (9, 2), (5, 7)],
        [(10, 10), (20, 10), (20, 20), (10, 20)],
        [(15, 15), (15, 5), (25, 5), (25, 15)],
        [(20, 5)] * 4,
    ]


# Reading without the photograph.

PHOTO = base64.b64encode(bytes(range(256)) * 4000).decode()
BOXES = [('a', 'rectangle', [(0, 0), (9, 9)])] * 3


def rearranged(data, keys):
    content = json.loads(data)
    return json.dumps({key: content[key] for key in keys}, indent=2).encode()


@pytest.mark.parametrize(
    'keys',
    [
        ['shapes', 'imagePath', 'imageData', 'imageHeight', 'imageWidth'],
        ['imagePath', 'imageData', 'imageHeight', 'imageWidth', 'shapes'],
        ['imageHeight', 'imageWidth', 'shapes', 'imagePath', 'imageData'],
    ],
    ids=['labelme', 'shapes behind', 'last'],
)
@pytest.mark.parametrize(
    'photo', [PHOTO, '', None, f'{PHOTO[:999_999]} {PHOTO}']
)
def test_photograph_is_passed_over(tmp_path, keys, photo):
    data = labelme(*BOXES, imageData=photo)
    path = tmp_path / 'x.json'
    path.write_bytes(rearranged(data, keys))
    assert decode_labelme(read_labelme(path)) == decode_labelme(data)


def test_only_its_beginning_and_end_are_read(tmp_path):
    path = tmp_path / 'x.json'
    path.write_bytes(labelme(*BOXES, imageData=PHOTO))
    assert len(read_labelme(path)) < 600_000 < path.stat().st_size


@pytest.mark.parametrize('behind', [0, 300_000, 600_000])
def test_large_masks_behind_the_photograph(tmp_path, behind):
    """What looks like the end of the photograph may be that of a mask."""
    content = json.loads(labelme(*BOXES, imageData=PHOTO))
    content['more'] = {'mask': 'A' * behind}
    path = tmp_path / 'x.json'
    path.write_text(json.dumps(content))
    assert decode_labelme(read_labelme(path)) == decode_labelme(
        labelme(*BOXES)
    )


def test_many_shapes(tmp_path):
    path = tmp_path / 'x.json'
    path.write_bytes(labelme(*BOXES * 3000, imageData=PHOTO))
    assert len(decode_labelme(read_labelme(path)).shapes) == 9000


def test_list_of_labels(tmp_path):
    path = tmp_path / 'labels.txt'
    path.write_bytes('\ufeff__ignore__\r\n b \r\n\r\na\r\nb\r\n'.encode())
    assert read_labels(path) == ['__ignore__', 'b', 'a', 'b']
    assert listed_classes(read_labels(path), ['c']) == ['b', 'a']
    assert listed_classes([], ['c', '__ignore__', 'a']) == [
        '_background_',
        'a',
        'c',
    ]
