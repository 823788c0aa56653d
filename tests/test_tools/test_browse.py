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
from mmseg_ext.sample_data.camvid import write_camvid
from mmseg_ext.sample_data.nails import write_nails
from mmseg_ext.visualization.coco_sheets import draw_coco_file
from mmseg_ext.visualization.contact_sheets import SheetOptions

TOOL = Path(__file__).parents[2] / 'tools/browse.py'

#: How far the images of a sheet are from its edge, and how often these are
#: enlarged.
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
    pixels = pixels[:, EDGE : EDGE + 100 * SCALE]
    # What is above it is text on white paper.
    [top, *_] = np.flatnonzero((pixels < 230).all(axis=2).mean(axis=1) > 0.7)
    return pixels[top : top + 60 * SCALE]


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
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
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
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    pixels = first_image(sheet)
    assert np.ptp(middle(pixels, box)) < 10
    for side in (pixels[100, 40], pixels[100, 240], pixels[40, 140]):
        assert np.ptp(side) > 40


def test_classes_have_colors(tmp_path):
    boxes = [[5 + 24 * n, 10, 20, 40] for n in range(4)]
    segmentations = list(map(as_rle, boxes))
    path = write_coco(tmp_path, segmentations, boxes, ('nail', 'ring'))
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    pixels = first_image(sheet)
    colors = [middle(pixels, box) for box in boxes]
    assert np.abs(colors[0] - colors[2]).max() < 10
    assert np.abs(colors[1] - colors[3]).max() < 10
    assert np.abs(colors[0] - colors[1]).max() > 60


def test_sheets(tmp_path):
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box], images=14)
    sheets = draw_coco_file(path, tmp_path / 'vis')
    assert [sheet.name for sheet in sheets] == [
        'train_001.jpg',
        'train_002.jpg',
    ]
    shapes = [cv2.imread(str(sheet)).shape for sheet in sheets]
    assert shapes[0][1] == shapes[1][1] == 4 * 408 + 8
    assert shapes[0][0] > 3 * 240 > shapes[1][0] > 240
    [sheet] = draw_coco_file(
        path, tmp_path / 'few', options=SheetOptions(columns=2, num=2)
    )
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
    moved = tmp_path / 'far' / 'away' / 'elsewhere.json'
    moved.parent.mkdir(parents=True)
    (annotations / 'train.json').rename(moved)
    argv = [moved, '--out-dir', tmp_path / 'other']
    message = error_of(capsys, run_tool, *argv)
    assert re.match(rf'image .*{moved.parent}, .* --img-dir', message)
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
            'images', {'file_name': '../x.png'}, 'leaves its root', id='out'
        ),
        pytest.param('images', {'height': 'x'}, 'no COCO file', id='type'),
        pytest.param(
            'annotations', {'bbox': [1, 2, 3]}, 'bbox of 3 numb', id='box'
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
    ],
)
def test_broken_coco_file(tmp_path, kind, changes, message):
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box])
    edited(path, kind, **changes)
    with pytest.raises(ValueError, match=message):
        draw_coco_file(path, tmp_path / 'vis', tmp_path)
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
    [sheet] = draw_coco_file(path, tmp_path / 'whole')
    expected = first_image(sheet)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(path)
    [annotation] = api.loadAnns(api.getAnnIds(api.getImgIds()))
    assert annotation['segmentation'] == form(box)
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    found = first_image(sheet)
    assert np.abs(found - expected)[80:].max() < 30
    assert np.abs(found - expected).mean() < 1


def test_category_that_is_not_listed(tmp_path):
    """It has a color, and its id at the box."""
    boxes = [[5, 10, 40, 40], [55, 10, 40, 40]]
    path = write_coco(tmp_path, list(map(as_rle, boxes)), boxes)
    edited(path, 'annotations', category_id=99)
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    found = first_image(sheet)
    colors = [middle(found, box) for box in boxes]
    assert np.abs(colors[0] - colors[1]).max() > 60
    assert min(map(np.ptp, colors)) > 40
    edited(path, 'annotations', category_id='')
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    text = np.abs(found - first_image(sheet)).max(axis=2) > 60
    rows, columns = np.nonzero(text)
    assert SCALE * 10 - 20 < rows.min() < rows.max() < SCALE * 10
    assert SCALE * 5 <= columns.min() < columns.max() < SCALE * 5 + 30


def test_images_alone(tmp_path):
    path = write_coco(tmp_path, [], [])
    content = json.loads(path.read_text())
    path.write_text(json.dumps({'images': content['images']}))
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    assert np.ptp(first_image(sheet), axis=2).max() < 10


@pytest.mark.parametrize('given', [True, False])
def test_absolute_names(tmp_path, given):
    box = [10, 10, 50, 30]
    path = write_coco(tmp_path / 'set', [as_rle(box)], [box])
    photo = tmp_path / 'set' / 'photos' / '0.png'
    edited(path, 'images', file_name=str(photo))
    folder = tmp_path / 'set' if given else None
    assert len(draw_coco_file(path, tmp_path / 'vis', folder)) == 1
    for name in ('/etc/passwd', f'{tmp_path}/set/photos/../../x.png'):
        edited(path, 'images', file_name=name)
        with pytest.raises((ValueError, FileNotFoundError), match='img_dir'):
            draw_coco_file(path, tmp_path / 'other', folder)
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
    assert len(draw_coco_file(path, tmp_path / 'vis')) == 1
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=rf'train\.json .*{reason}'):
        draw_coco_file(path, tmp_path / 'vis')


def test_pipe(tmp_path):
    path = tmp_path / 'x.json'
    os.mkfifo(path)
    with pytest.raises(OSError, match=r'x\.json is a pipe; expected a file'):
        draw_coco_file(path, tmp_path / 'vis')


def caption_colors(sheet):
    """Return the colors of the rows below the only image of a sheet."""
    pixels = cv2.imread(str(sheet))[..., ::-1].astype(float)
    return pixels[:, EDGE + 398]


def is_alarm(colors):
    """Return which colors are those of a box with a reason."""
    return (colors[:, 0] > 120) & (colors[:, 1:] < 60).all(axis=1)


def test_what_is_wrong_with_an_image_is_told_below_it(tmp_path):
    """There, and not in an error."""
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box])
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    assert not is_alarm(caption_colors(sheet)).any()
    edited(path, 'images', width=60)
    [sheet] = draw_coco_file(path, tmp_path / 'vis')
    assert is_alarm(caption_colors(sheet)).sum() >= 14
    # Its instances are of another image.
    assert np.ptp(first_image(sheet), axis=2).max() < 10


def test_missing_and_broken_images(tmp_path):
    """Each is a gray one that says so, unless none is left."""
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box], images=3)
    (tmp_path / 'photos/1.png').write_bytes(b'no image')
    (tmp_path / 'photos/2.png').unlink()
    options = SheetOptions(columns=1)
    [sheet] = draw_coco_file(path, tmp_path / 'vis', options=options)
    assert is_alarm(caption_colors(sheet)).sum() >= 2 * 14
    assert np.ptp(first_image(sheet), axis=2).max() < 10
    options = SheetOptions(columns=1, order='name')
    [sheet] = draw_coco_file(path, tmp_path / 'vis', options=options)
    assert np.ptp(middle(first_image(sheet), box)) > 40
    (tmp_path / 'photos/0.png').write_bytes(b'')
    with pytest.raises(
        ValueError, match=r'none of 3 images can be shown.*0\.png'
    ):
        draw_coco_file(path, tmp_path / 'other')
    for photo in (tmp_path / 'photos').iterdir():
        photo.unlink()
    with pytest.raises(FileNotFoundError, match=r'photos/0\.png.*img_dir'):
        draw_coco_file(path, tmp_path / 'other', tmp_path)
    assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize(
    'place',
    ['annotations', 'images', 'annotations/JPEGImages', 'train', 'x/y'],
)
def test_images_beside_the_file(tmp_path, place):
    box = [10, 10, 50, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box], images=3)
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    # Another set, with files of the same names but not all of them.
    (tmp_path / 'aaa/photos').mkdir(parents=True)
    (tmp_path / 'aaa/photos/0.png').write_bytes(b'')
    (tmp_path / 'photos').rename(tmp_path / place / 'photos')
    notes = []
    [sheet] = draw_coco_file(path, tmp_path / 'vis', on_note=notes.append)
    above = place == 'annotations'
    assert notes == [f'images: {tmp_path / place}'] * (not above)
    assert np.ptp(middle(first_image(sheet), box)) > 40


def test_the_search_for_images_is_bounded(tmp_path, monkeypatch):
    path = write_coco(tmp_path, [], [])
    (tmp_path / 'photos/0.png').unlink()
    for number in range(30):
        (tmp_path / f'{number:02}').mkdir()
    sheets = 'mmseg_ext.visualization.coco_sheets._MOST_FOLDERS'
    monkeypatch.setattr(sheets, 20)
    above = len(path.parents)
    with pytest.raises(FileNotFoundError, match=f'of the {above + 20} folder'):
        draw_coco_file(path, tmp_path / 'vis')


@pytest.mark.parametrize('name', ['columns', 'num'])
def test_wrong_arguments(tmp_path, name):
    with pytest.raises(ValueError, match=f'^{name}=0: expected 1 or more'):
        draw_coco_file(
            tmp_path / 'x.json', tmp_path, options=SheetOptions(**{name: 0})
        )


def write_masks(root, values=((0, 1), (0, 2))):
    """Write gray images of 100x60, each with a mask of two halves."""
    for name in ('img', 'ann'):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, (left, right) in enumerate(values):
        image = np.full((60, 100, 3), 128, np.uint8)
        cv2.imwrite(str(root / f'img/{number}.png'), image)
        mask = np.full((60, 100), left, np.uint8)
        mask[:, 50:] = right
        cv2.imwrite(str(root / f'ann/{number}_L.png'), mask)
    return root / 'img', root / 'ann'


def test_folders_of_images_and_masks(tmp_path, capsys):
    images, masks = write_masks(tmp_path)
    text = 'name,r,g,b\nroad,255,0,0\ncar,0,255,0\npole,0,0,255\n'
    (tmp_path / 'class_dict.csv').write_text(text)
    argv = [images, '--masks', masks, '--order', 'name']
    run_tool(*argv, '--out-dir', tmp_path / 'vis')
    printed = capsys.readouterr()
    assert printed.out.split() == [str(tmp_path / 'vis/img_001.jpg')]
    assert f'note: classes: {tmp_path}/class_dict.csv' in printed.err
    halves = [[10, 10, 30, 40], [60, 10, 30, 40]]
    pixels = first_image(tmp_path / 'vis/img_001.jpg')
    for half, color in zip(halves, ([255, 0, 0], [0, 255, 0]), strict=True):
        # 45 percent of the color over the gray of 128.
        expected = 128 + 0.45 * (np.array(color) - 128)
        assert np.abs(middle(pixels, half) - expected).max() < 12


def test_ignored_pixels_look_like_no_class(tmp_path):
    images, masks = write_masks(tmp_path, [(0, 255)])
    (tmp_path / 'classes.txt').write_text('black\n')
    run_tool(images, '--masks', masks, '--out-dir', tmp_path / 'vis')
    pixels = first_image(tmp_path / 'vis/img_001.jpg')
    ignored, labeled = pixels[20:-20, 220:-20], pixels[20:-20, 20:180]
    # Squares of two grays, and both over the gray of the image.
    assert (ignored < 155).mean() > 0.3
    assert (ignored > 195).mean() > 0.3
    assert np.ptp(labeled) < 12


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['img'], 'img is a folder: expected --masks'),
        (['x.json', '--masks', 'm'], '--masks goes with a folder, and x.json'),
        (['img', '--img-dir', 'x'], '--img-dir goes with a COCO file, and'),
        (['img', '--split', 'val'], '--split goes with a config, and'),
        (['img', '--masks', 'x'], "masks='x': there is no such folder"),
        (['no_such_config'], 'there is no config no_such_config'),
        (['x.json'], "error: No such file or directory: 'x.json'"),
        (['img', '--masks', 'ann', '--columns', '100000'], '--columns 100000'),
        (['img', '--masks', 'ann', '--out-dir', 'ann'], '--out-dir ann lies '),
        (['img', '--masks', 'ann', '--out-dir', 'img/vis'], 'lies in img, wh'),
        (['img', '--masks', 'ann', '--out-dir', 'a.txt'], 'a.txt is a file'),
    ],
)
def test_sources_and_their_options(
    tmp_path, capsys, monkeypatch, argv, message
):
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path)
    (tmp_path / 'a.txt').touch()
    with pytest.raises(SystemExit) as ended:
        run_tool(*argv)
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last.replace('--masks x', "masks='x'")
    assert not (tmp_path / 'vis').exists()


def test_configs(tmp_path, capsys):
    """The labels are those of the data set: here CamVid's eleven classes."""
    write_camvid(tmp_path / 'set', num=5, size=(64, 48), progress=False)
    name = 'fpn_lite0_1xb4-400_sample-192x256'
    option = f'val_dataloader.dataset.data_root={tmp_path / "set"}'
    argv = [name, '--split', 'val', '--cfg-options', option]
    run_tool(*argv, '--out-dir', tmp_path / 'vis')
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / f'vis/{name}_val_001.jpg')]
    assert np.ptp(cv2.imread(printed[0])) > 200


def test_sheets_of_an_earlier_run_are_told(tmp_path, capsys):
    """They stay, as may what only looks like one."""
    images, masks = write_masks(tmp_path, [(0, 1)] * 13)
    argv = [images, '--masks', masks, '--out-dir', tmp_path / 'vis']
    run_tool(*argv)
    assert 'earlier' not in capsys.readouterr().err
    for name in ('img_x.jpg', 'img_01.jpg', 'ximg_003.jpg'):
        (tmp_path / 'vis' / name).touch()
    run_tool(*argv, '--num', 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        f'note: sheets of an earlier run are in {tmp_path}/vis, too: '
        'img_002.jpg'
    )
    assert len(list((tmp_path / 'vis').iterdir())) == 5


def test_no_sheet_is_wider_than_its_images(tmp_path):
    images, masks = write_masks(tmp_path, [(0, 1)] * 6)
    argv = [images, '--masks', masks, '--columns', 100]
    run_tool(*argv, '--out-dir', tmp_path / 'vis')
    [sheet] = (tmp_path / 'vis').iterdir()
    assert cv2.imread(str(sheet)).shape[1] == 6 * 408 + 8


def test_an_image_with_the_name_of_a_sheet_stays(tmp_path):
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box])
    photo = tmp_path / 'photos/train_001.jpg'
    (tmp_path / 'photos/0.png').rename(photo)
    edited(path, 'images', file_name='photos/train_001.jpg')
    before = photo.read_bytes()
    with pytest.raises(ValueError, match='is read and has the name of a she'):
        draw_coco_file(path, tmp_path / 'photos')
    assert photo.read_bytes() == before
    assert len(draw_coco_file(path, tmp_path)) == 1


def test_unknown_colors_are_drawn_as_no_class(tmp_path):
    """Red and white, and void as ignored."""
    images, masks = write_masks(tmp_path, [(0, 7)])
    color = np.zeros((60, 100, 3), np.uint8)
    color[:, 50:] = 10, 20, 30
    color[:, 80:] = 64
    cv2.imwrite(str(masks / '0_L.png'), color)
    text = 'name,r,g,b\nroad,0,0,0\nvoid,64,64,64\n'
    (tmp_path / 'class_dict.csv').write_text(text)
    run_tool(images, '--masks', masks, '--out-dir', tmp_path / 'vis')
    pixels = first_image(tmp_path / 'vis/img_001.jpg')
    strange, void = pixels[20:-20, 220:300], pixels[20:-20, 340:380]
    assert (np.ptp(strange, axis=2) > 100).mean() > 0.3
    assert np.ptp(void, axis=2).max() < 40


@pytest.fixture
def drawn(monkeypatch):
    """What stands on the sheets that are drawn, in place of their pixels."""
    seen = []

    def keep(out_dir, stem, jobs, options, legend):
        seen.append(([job() for job in jobs], legend))

    name = 'mmseg_ext.visualization.coco_sheets.write_sheets'
    monkeypatch.setattr(name, keep)
    return seen


def test_images_of_one_id(tmp_path, drawn):
    """Their instances are counted once, on the last, as pycocotools does."""
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box], images=3)
    edited(path, 'images', id=2)
    with contextlib.redirect_stdout(io.StringIO()):
        assert COCO(path).imgs[2]['file_name'] == 'photos/2.png'
    draw_coco_file(path, tmp_path / 'vis')
    [(tiles, legend)] = drawn
    reason = (
        '2 images have the id 2: its instances are drawn on the last of them'
    )
    assert [(tile.name, tile.text, tile.reason) for tile in tiles] == [
        ('photos/2.png', '100x60, nail: 1', reason),
        ('photos/0.png', '100x60', reason),
        ('photos/1.png', '100x60, nail: 1', ''),
    ]
    assert [text for _, text in legend.entries] == ['nail  2 in 2']


def test_categories_that_are_there_twice(tmp_path, drawn):
    boxes = [[5, 10, 40, 40], [55, 10, 40, 40]]
    names = ('nail', 'nail', 'ring')
    path = write_coco(tmp_path, list(map(as_rle, boxes)), boxes, names)
    content = json.loads(path.read_text())
    content['categories'].append({'id': 9, 'name': 'toe'})
    path.write_text(json.dumps(content))
    notes = []
    draw_coco_file(path, tmp_path / 'vis', on_note=notes.append)
    assert notes == [
        '2 categories have the id 9, with the names ring, toe, of which the '
        'last is shown',
        '2 categories have the name nail, with the ids 7, 8',
    ]


def test_classes_without_names_are_no_numbers(tmp_path, drawn):
    box = [10, 10, 20, 30]
    path = write_coco(tmp_path, [as_rle(box)], [box])
    content = json.loads(path.read_text())
    del content['categories']
    path.write_text(json.dumps(content))
    draw_coco_file(path, tmp_path / 'vis')
    [([tile], legend)] = drawn
    assert tile.text == '100x60, class 7: 1'
    assert [text for _, text in legend.entries] == ['class 7  1 in 1']
