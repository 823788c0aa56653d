import contextlib
import io
import json
import os
import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from helpers.command_lines import error_of
from mmseg_ext.converters.nails import convert
from mmseg_ext.sample_data.nails import write_nails
from mmseg_ext.visualization.contact_sheets import draw_sheets

TOOL = Path(__file__).parents[2] / 'tools/browse_coco.py'

#: Where the first image of a sheet is, and how often it is enlarged.
EDGE, SCALE = 8, 4


def run_tool(*argv):
    runpy.run_path(str(TOOL))['main']([str(part) for part in argv])


def mask_of(box):
    left, top, width, height = box
    mask = np.zeros((60, 100), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def as_polygon(box):
    left, top, width, height = box
    right, bottom = left + width, top + height
    return [[left, top, right, top, right, bottom, left, bottom]]


def as_rle(box):
    code = coco_mask.encode(np.asfortranarray(mask_of(box)))
    return {'size': code['size'], 'counts': code['counts'].decode()}


def as_counts(box):
    pixels = mask_of(box).ravel(order='F').tolist()
    counts, value = [0], 0
    for pixel in pixels:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {'size': [60, 100], 'counts': counts}


def write_coco(root, segmentations, boxes, categories=('nail',), images=1):
    """Write gray images of 100x60 and the same instances in each."""
    (root / 'photos').mkdir(parents=True, exist_ok=True)
    rows, annotations = [], []
    for number in range(images):
        name = f'photos/{number}.png'
        cv2.imwrite(str(root / name), np.full((60, 100, 3), 128, np.uint8))
        rows.append(
            {'id': number, 'file_name': name, 'width': 100, 'height': 60}
        )
        annotations += [
            {
                'id': 1,
                'image_id': number,
                'category_id': 7 + index % len(categories),
                'bbox': box,
                'segmentation': segmentation,
            }
            for index, (box, segmentation) in enumerate(
                zip(boxes, segmentations, strict=True)
            )
        ]
    coco = {
        'images': rows,
        'annotations': annotations,
        'categories': [
            {'id': 7 + index, 'name': name}
            for index, name in enumerate(categories)
        ],
    }
    path = root / 'annotations' / 'train.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(coco))
    return path


def first_image(sheet):
    """Cut the first image out of a sheet; float RGB (240, 400, 3)."""
    pixels = cv2.imread(str(sheet))[..., ::-1].astype(float)
    return pixels[EDGE : EDGE + 60 * SCALE, EDGE : EDGE + 100 * SCALE]


def middle(pixels, box):
    """Return the color in the middle of a box."""
    left, top, width, height = (SCALE * side for side in box)
    x, y = left + width // 2, top + height // 2
    return pixels[y - 3 : y + 4, x - 3 : x + 4].mean(axis=(0, 1))


@pytest.mark.parametrize('form', [as_polygon, as_rle, as_counts])
def test_masks_are_drawn(tmp_path, form):
    """In color where they are, and not elsewhere."""
    boxes = [[10, 10, 20, 30], [60, 20, 30, 20]]
    path = write_coco(tmp_path, list(map(form, boxes)), boxes)
    [sheet] = draw_sheets(path, tmp_path / 'vis')
    pixels = first_image(sheet)
    colored = np.ptp(pixels, axis=2) > 40
    truth = sum(map(mask_of, boxes)).repeat(SCALE, 0).repeat(SCALE, 1) > 0
    core = cv2.erode(truth.astype(np.uint8), np.ones((9, 9))) > 0
    rim = cv2.dilate(truth.astype(np.uint8), np.ones((13, 13))) > 0
    assert colored[core].mean() > 0.99
    assert colored[~rim].mean() < 0.01
    colors = [middle(pixels, box) for box in boxes]
    assert np.abs(colors[0] - colors[1]).max() > 60


def test_boxes_without_masks(tmp_path):
    box = [10, 10, 50, 30]
    path = write_coco(tmp_path, [[]], [box])
    [sheet] = draw_sheets(path, tmp_path / 'vis')
    pixels = first_image(sheet)
    assert np.ptp(middle(pixels, box)) < 10
    for side in (pixels[100, 40], pixels[100, 240], pixels[40, 140]):
        assert np.ptp(side) > 40


def test_classes_have_colors(tmp_path):
    boxes = [[5 + 24 * n, 10, 20, 40] for n in range(4)]
    segmentations = list(map(as_rle, boxes))
    path = write_coco(tmp_path, segmentations, boxes, ('nail', 'ring'))
    [sheet] = draw_sheets(path, tmp_path / 'vis')
    pixels = first_image(sheet)
    colors = [middle(pixels, box) for box in boxes]
    assert np.abs(colors[0] - colors[2]).max() < 10
    assert np.abs(colors[1] - colors[3]).max() < 10
    assert np.abs(colors[0] - colors[1]).max() > 60


def test_sheets(tmp_path):
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box], images=14)
    sheets = draw_sheets(path, tmp_path / 'vis')
    assert [sheet.name for sheet in sheets] == [
        'train_001.jpg',
        'train_002.jpg',
    ]
    shapes = [cv2.imread(str(sheet)).shape for sheet in sheets]
    assert shapes[0][1] == shapes[1][1] == 4 * 408 + 8
    assert shapes[0][0] > 3 * 240 > shapes[1][0] > 240
    [sheet] = draw_sheets(path, tmp_path / 'few', columns=2, num=2)
    assert cv2.imread(str(sheet)).shape[1] == 2 * 408 + 8


def test_tool_finds_the_images(tmp_path, capsys):
    write_nails(tmp_path / 'set', num=8, size=(120, 90), progress=False)
    annotations = tmp_path / 'set' / 'annotations'
    for segmentation in ('rle', 'polygon'):
        convert(tmp_path / 'set', annotations, segmentation=segmentation)
        run_tool(annotations / 'train.json', '--out-dir', tmp_path / 'vis')
        printed = capsys.readouterr().out.split()
        assert printed == [str(tmp_path / 'vis' / 'train_001.jpg')]
        assert np.ptp(cv2.imread(printed[0])) > 200
    moved = tmp_path / 'elsewhere.json'
    (annotations / 'train.json').rename(moved)
    argv = [moved, '--out-dir', tmp_path / 'other']
    message = error_of(capsys, run_tool, *argv)
    assert re.match(r'image .* --img-dir', message)
    assert not (tmp_path / 'other').exists()
    images = ['--img-dir', tmp_path / 'set']
    run_tool(moved, '--out-dir', tmp_path / 'other', *images)
    assert [path.name for path in (tmp_path / 'other').iterdir()] == [
        'elsewhere_001.jpg'
    ]


def edited(path, kind, **changes):
    coco = json.loads(path.read_text())
    coco[kind][0].update(changes)
    path.write_text(json.dumps(coco))


@pytest.mark.parametrize(
    ('kind', 'changes', 'message'),
    [
        pytest.param(
            'images', {'width': 60}, r'100x60 pixels, .* 60x60', id='size'
        ),
        pytest.param(
            'images', {'file_name': '../x.png'}, 'leaves its root', id='out'
        ),
        pytest.param('images', {'height': 'x'}, 'no COCO file', id='type'),
        pytest.param(
            'annotations', {'bbox': [1, 2, 3]}, 'bbox of 3 numb', id='box'
        ),
        pytest.param(
            'annotations',
            {'segmentation': [[-1e5, 0, 1e5, 1, -1e5, 2, 1e5, 3] * 9]},
            r'photos/0\.png: a polygon with an outline of',
            id='outline',
        ),
        pytest.param(
            'annotations', {'image_id': [1]}, 'no COCO file', id='list-as-id'
        ),
        pytest.param(
            'images',
            {'file_name': '/etc/x.png'},
            '/etc/x.png does not lie in .*img_dir',
            id='elsewhere',
        ),
        pytest.param(
            'annotations',
            {'segmentation': {'size': [60, 100], 'counts': '01'}},
            r'photos/0\.png: broken RLE',
            id='rle',
        ),
        pytest.param(
            'annotations',
            {'segmentation': {'size': [60, 100], 'counts': [5]}},
            'cover 5 pixels, expected 6000',
            id='counts',
        ),
        pytest.param(
            'annotations',
            {'segmentation': {'size': [100, 60], 'counts': [6000]}},
            r'\(100, 60\), its image has \(60, 100\)',
            id='mask-size',
        ),
        pytest.param(
            'annotations',
            {'segmentation': [[1, 2, 3, 4]]},
            'a polygon of 4 numbers',
            id='polygon',
        ),
    ],
)
def test_broken_coco_file(tmp_path, kind, changes, message):
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box])
    edited(path, kind, **changes)
    with pytest.raises(ValueError, match=message):
        draw_sheets(path, tmp_path / 'vis', tmp_path)
    assert not (tmp_path / 'vis').exists()


@pytest.mark.parametrize(
    'edit',
    [
        pytest.param(lambda c: c.pop('categories'), id='no-categories'),
        pytest.param(lambda c: c.update(categories=[]), id='none-of-them'),
        pytest.param(
            lambda c: (
                c.pop('categories'),
                c['annotations'][0].pop('category_id'),
            ),
            id='no-class',
        ),
        pytest.param(
            lambda c: (
                c['categories'][0].update(id='x'),
                c['annotations'][0].update(category_id='x'),
            ),
            id='texts',
        ),
        pytest.param(
            lambda c: (
                c['images'][0].update(id='u1'),
                c['annotations'][0].update(image_id='u1'),
            ),
            id='image-text',
        ),
        pytest.param(
            lambda c: c['annotations'][0].update(image_id=0.0), id='image-0.0'
        ),
        pytest.param(
            lambda c: c['images'][0].update(width=100.0, height=60.0),
            id='float-sizes',
        ),
        pytest.param(lambda c: c['images'][0].pop('width'), id='no-width'),
        pytest.param(
            lambda c: c['images'][0].update(height=None), id='null-height'
        ),
        pytest.param(lambda c: c['annotations'][0].pop('bbox'), id='no-box'),
        pytest.param(
            lambda c: c['annotations'][0].update(bbox=None), id='null-box'
        ),
        pytest.param(
            lambda c: c['annotations'][0].update(bbox=[]), id='empty-box'
        ),
    ],
)
@pytest.mark.parametrize('form', [as_polygon, as_rle])
def test_what_pycocotools_reads(tmp_path, form, edit):
    """It is drawn as what is complete is, but for the text at the box."""
    box = [10, 10, 50, 30]
    path = write_coco(tmp_path, [form(box)], [box])
    [sheet] = draw_sheets(path, tmp_path / 'whole')
    expected = first_image(sheet)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(path)
    [annotation] = api.loadAnns(api.getAnnIds(api.getImgIds()))
    assert annotation['segmentation'] == form(box)
    [sheet] = draw_sheets(path, tmp_path / 'vis')
    found = first_image(sheet)
    assert np.abs(found - expected)[80:].max() < 30
    assert np.abs(found - expected).mean() < 1


def test_category_that_is_not_listed(tmp_path):
    """It has a color, and its id at the box."""
    boxes = [[5, 10, 40, 40], [55, 10, 40, 40]]
    path = write_coco(tmp_path, list(map(as_rle, boxes)), boxes)
    edited(path, 'annotations', category_id=99)
    [sheet] = draw_sheets(path, tmp_path / 'vis')
    found = first_image(sheet)
    colors = [middle(found, box) for box in boxes]
    assert np.abs(colors[0] - colors[1]).max() > 60
    assert min(map(np.ptp, colors)) > 40
    edited(path, 'annotations', category_id='')
    [sheet] = draw_sheets(path, tmp_path / 'vis')
    text = np.abs(found - first_image(sheet)).max(axis=2) > 60
    rows, columns = np.nonzero(text)
    assert SCALE * 10 < rows.min() < rows.max() < SCALE * 10 + 20
    assert SCALE * 5 < columns.min() < columns.max() < SCALE * 5 + 30


def test_images_alone(tmp_path):
    path = write_coco(tmp_path, [], [])
    content = json.loads(path.read_text())
    path.write_text(json.dumps({'images': content['images']}))
    [sheet] = draw_sheets(path, tmp_path / 'vis')
    assert np.ptp(first_image(sheet), axis=2).max() < 10


@pytest.mark.parametrize('given', [True, False])
def test_absolute_names(tmp_path, given):
    box = [10, 10, 50, 30]
    path = write_coco(tmp_path / 'set', [as_rle(box)], [box])
    photo = tmp_path / 'set' / 'photos' / '0.png'
    edited(path, 'images', file_name=str(photo))
    folder = tmp_path / 'set' if given else None
    assert len(draw_sheets(path, tmp_path / 'vis', folder)) == 1
    for name in ('/etc/passwd', f'{tmp_path}/set/photos/../../x.png'):
        edited(path, 'images', file_name=name)
        with pytest.raises((ValueError, FileNotFoundError), match='img_dir'):
            draw_sheets(path, tmp_path / 'other', folder)
    assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize(
    ('encoding', 'reason'),
    [('utf-16', 'encoded as UTF-16'), ('cp1252', 'byte 0xdf in line 1')],
)
def test_encodings(tmp_path, encoding, reason):
    box = [10, 10, 50, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box], ('Straße',))
    text = path.read_text().replace('\\u00df', 'ß')
    path.write_bytes(text.encode('utf-8-sig'))
    assert len(draw_sheets(path, tmp_path / 'vis')) == 1
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=rf'train\.json .*{reason}'):
        draw_sheets(path, tmp_path / 'vis')


def test_pipe(tmp_path):
    path = tmp_path / 'x.json'
    os.mkfifo(path)
    with pytest.raises(OSError, match=r'x\.json is a pipe; expected a file'):
        draw_sheets(path, tmp_path / 'vis')


def test_missing_and_broken_images(tmp_path):
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box], images=2)
    (tmp_path / 'photos/1.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'photos/1\.png cannot be read'):
        draw_sheets(path, tmp_path / 'vis')
    (tmp_path / 'photos/1.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'photos/1\.png is missing'):
        draw_sheets(path, tmp_path / 'vis')
    assert not (tmp_path / 'vis').exists()


@pytest.mark.parametrize('name', ['columns', 'num'])
def test_wrong_arguments(tmp_path, name):
    with pytest.raises(ValueError, match=f'^{name}=0: expected 1 or more'):
        draw_sheets(tmp_path / 'x.json', tmp_path, **{name: 0})
