import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mmseg_ext.visualization.fonts import text_length
from mmseg_ext.visualization.panel import (
    class_map,
    draw_panel,
    fit_tile,
    flow,
    grid_columns,
    mean_iou,
    paint,
    read_style,
    write_indexed_png,
)
from tests.references import confusion

CLASSES = ('road', 'sky', 'tree', 'car')
PALETTE = [[200, 10, 20], [30, 200, 40], [50, 60, 200], [210, 220, 30]]


def make_style(classes=CLASSES, palette=PALETTE):
    metainfo = {'classes': classes, 'palette': palette}
    return read_style(SimpleNamespace(metainfo=metainfo))


def random_scene(size, seed=0):
    """An image, its label with ignored pixels, and a prediction."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (*size, 3), np.uint8)
    label, prediction = generator.integers(
        0, len(CLASSES), (2, *size), np.uint8
    )
    label[2:5, 3:9] = 255
    return image, {'label': label, 'prediction': prediction}


@pytest.mark.parametrize(
    ('palette', 'ignored'),
    [
        pytest.param(PALETTE, 0, id='black'),
        pytest.param(np.array(PALETTE), 0, id='array'),
        pytest.param([[0, 0, 0], *PALETTE[1:]], 255, id='white'),
        pytest.param(
            [[0, 0, 0], [255, 255, 255], [1, 1, 1], [2, 2, 2]], 3, id='gray'
        ),
    ],
)
def test_ignored_pixels_have_no_color_of_a_class(tmp_path, palette, ignored):
    _, maps = random_scene((12, 20))
    path = tmp_path / 'new' / 'label.png'
    write_indexed_png(path, maps['label'], make_style(palette=palette))
    assert np.array_equal(np.asarray(Image.open(path)), maps['label'])
    label = cv2.imread(str(path))
    assert (label[2:5, 3:9] == ignored).all()
    outside = np.ones(label.shape[:2], bool)
    outside[2:5, 3:9] = False
    assert not (label[outside] == ignored).all(axis=1).any()


@pytest.mark.parametrize('dtype', [torch.long, torch.float])
@pytest.mark.parametrize('lead', [(), (1,)], ids=['HW', '1HW'])
def test_values_beyond_the_classes_are_no_class(dtype, lead):
    values = torch.tensor([[0, 3, 1], [4, 300, -1]], dtype=dtype)
    indices = class_map(values.reshape(*lead, 2, 3), 4)
    assert indices.dtype == np.uint8
    assert indices.tolist() == [[0, 3, 1], [255, 255, 255]]


@pytest.mark.parametrize('value', [0.5, -0.5, float('nan'), float('inf')])
def test_floats_that_are_no_class(value):
    with pytest.raises(ValueError, match=f'the value {value}; expected'):
        class_map(torch.tensor([[0, value]]), 4)


@pytest.mark.parametrize('shape', [(3, 4, 5), (4, 5, 3), (4, 5, 1), (5,)])
def test_maps_of_other_shapes(shape):
    with pytest.raises(ValueError, match=re.escape(f'of shape {shape}; ')):
        class_map(torch.zeros(shape), 4)


def find(picture, whole):
    """Left edges where ``picture`` occurs in ``whole``, pixel for pixel."""
    height, width = picture.shape[:2]
    rows, columns = np.nonzero((whole == picture[0, 0]).all(axis=-1))
    return [
        column
        for row, column in zip(rows, columns, strict=True)
        if np.array_equal(
            whole[row : row + height, column : column + width], picture
        )
    ]


def tile_at(panel, picture):
    """Where a picture is in a panel, by row and column; it is there once."""
    height, width = picture.shape[:2]
    rows, columns = np.nonzero((panel == picture[0, 0]).all(axis=-1))
    (place,) = (
        place
        for place in zip(rows.tolist(), columns.tolist(), strict=True)
        if np.array_equal(
            panel[place[0] : place[0] + height, place[1] : place[1] + width],
            picture,
        )
    )
    return place


def tiles_of(panel, image, count):
    """Cut the tiles out of a panel, by the place of its first, the image."""
    height, width = image.shape[:2]
    top, left = tile_at(panel, image)
    columns = grid_columns(count, width, height)
    # Frames are lines of their own: the next tile begins after a gap of one
    # em, and below a caption of an em and a half.
    em = left
    return [
        panel[
            top + number // columns * (height + em + 3 * em // 2) :,
            left + number % columns * (width + em) :,
        ][:height, :width]
        for number in range(count)
    ]


def naive_tiles(image, label, prediction):
    """Overlay, maps and errors, pixel by pixel; None where not told here."""
    overlay, errors = np.zeros((2, *image.shape))
    maps = np.zeros((2, *image.shape))
    for place in np.ndindex(label.shape):
        maps[0][place] = PALETTE[label[place]] if label[place] < 4 else -1
        maps[1][place] = PALETTE[prediction[place]]
        overlay[place] = 0.45 * image[place] + 0.55 * maps[1][place]
        gray = image[place] @ [0.299, 0.587, 0.114]
        errors[place] = 200 + gray / 255 * 50
        if label[place] == 255:
            errors[place] = -1
        elif label[place] != prediction[place]:
            errors[place] = 230, 20, 60
    return image, overlay, *maps, errors


def test_panel_shows_all_tiles():
    image, maps = random_scene((60, 330))
    panel = draw_panel('a.png', image, maps, make_style())
    tiles = tiles_of(panel, image, 5)
    for tile, expected in zip(tiles, naive_tiles(image, **maps), strict=True):
        told = expected != -1
        assert np.abs(tile.astype(float) - expected)[told].max() <= 1
    ignored = maps['label'] == 255
    for number in (2, 4):
        assert np.array_equal(
            tiles[number][ignored], paint(maps['label'], make_style())[ignored]
        )


def test_no_label_no_errors():
    image, maps = random_scene((60, 330))
    del maps['label']
    panel = draw_panel('a.png', image, maps, make_style())
    tiles = tiles_of(panel, image, 3)
    image, overlay, _, prediction, _ = naive_tiles(
        image, **maps, label=maps['prediction']
    )
    for tile, expected in zip(
        tiles, (image, overlay, prediction), strict=True
    ):
        assert np.abs(tile.astype(float) - expected).max() <= 1
    assert not (panel == (230, 20, 60)).all(axis=-1).any()


@pytest.mark.parametrize(
    'palette',
    [
        pytest.param(PALETTE, id='colors'),
        pytest.param([[0, 0, 0], *PALETTE[1:]], id='black'),
        pytest.param([[n] * 3 for n in (144, 236, 145, 237)], id='its grays'),
        pytest.param([[n] * 3 for n in range(255)], id='all grays but one'),
    ],
)
def test_no_class_looks_like_ignored(palette):
    """Where pixels are ignored, two grays alternate; classes are flat."""
    style = make_style([f'{n}' for n in range(len(palette))], palette)
    indices = np.zeros((40, 60), np.uint8)
    indices[:, 30:] = 255
    colors = paint(indices, style)
    assert (colors[:, :30] == palette[0]).all()
    shown = {tuple(color) for color in colors[:, 30:].reshape(-1, 3).tolist()}
    assert not shown & {tuple(color) for color in palette}
    if len(palette) == 255:  # one gray is left
        return
    light, dark = sorted(shown, reverse=True)
    assert light[0] - dark[0] > 80
    for row in range(0, 34):  # any block of 6 x 6 pixels
        for column in range(30, 54):
            block = colors[row : row + 6, column : column + 6, 0]
            assert {*block.ravel().tolist()} == {light[0], dark[0]}


@pytest.mark.parametrize('classes', [1, 2, 4])
def test_mean_iou_of_an_image(classes):
    generator = np.random.default_rng(classes)
    label, prediction = generator.integers(0, classes, (2, 7, 9), np.uint8)
    label[1:3] = 255
    # Where the label is ignored alone, a class is predicted.
    prediction[1, 1] = 7
    matrix = confusion.count(prediction.tolist(), label.tolist(), 8, 255)
    assert mean_iou(label, prediction) == pytest.approx(
        confusion.mean_iou(matrix)
    )


def test_mean_iou_where_little_is_told():
    label = np.full((2, 2), 255, np.uint8)
    assert mean_iou(label, np.zeros_like(label)) is None
    label[0] = 3
    prediction = np.array([[3, 255], [0, 0]], np.uint8)
    assert mean_iou(label, prediction) == 0.5


def drawn_texts(monkeypatch):
    """Collect what is written into pictures."""
    texts = []
    draw_text = ImageDraw.ImageDraw.text

    def text(self, position, value, *args, **options):
        texts.append(value)
        return draw_text(self, position, value, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, 'text', text)
    return texts


def test_title_tells_iteration_and_score(monkeypatch):
    texts = drawn_texts(monkeypatch)
    image, maps = random_scene((10, 10))
    maps['label'][:] = 0
    maps['prediction'][:] = 0
    maps['prediction'][0, 0] = 1  # 99 of 100, and 0 of 1
    draw_panel('a.png', image, maps, make_style(), 'iteration 500')
    assert texts[:2] == [
        'a.png',
        'iteration 500, mIoU of this image 49.50 %',
    ]
    texts.clear()
    maps['label'][:] = 255
    draw_panel('a.png', image, maps, make_style(), 'iteration 500')
    assert texts[:2] == ['a.png', 'iteration 500']
    texts.clear()
    del maps['label']
    draw_panel('a.png', image, maps, make_style())
    assert texts[:2] == ['a.png', 'image']


@pytest.mark.parametrize(
    ('label', 'prediction', 'shown'),
    [
        pytest.param(2, 2, {2}, id='one'),
        pytest.param(0, 3, {0, 3}, id='two'),
        pytest.param(255, 1, {1, 'ignored'}, id='ignored'),
    ],
)
def test_legend_names_the_classes_present(
    monkeypatch, label, prediction, shown
):
    texts = drawn_texts(monkeypatch)
    image, maps = random_scene((100, 320))
    maps['label'][:] = label
    maps['prediction'][:] = prediction
    panel = draw_panel('a.png', image, maps, make_style())

    names = {CLASSES[i] if i != 'ignored' else i for i in shown}
    assert texts[0] == 'a.png'
    tiles = ['image', 'overlay', 'label', 'prediction', 'errors']
    start = texts.index('image')
    assert texts[start : start + 5] == tiles
    assert set(texts[start + 5 : -3]) == names
    assert texts[-3:] == ['errors:', 'right', 'wrong']
    colors = {tuple(color) for color in panel[-50:].reshape(-1, 3).tolist()}
    for index, color in enumerate(PALETTE):
        assert (tuple(color) in colors) is (index in shown)
    dark = int((panel[-50:] == 144).all(axis=-1).sum())
    # Half of a square of 15 pixels; smooth letters have a few of all grays.
    assert (dark > 90) is ('ignored' in shown)


@pytest.mark.parametrize(
    ('size', 'tile'),
    [
        pytest.param((3, 5), (192, 320), id='tiny'),
        pytest.param((400, 500), (400, 500), id='as-it-is'),
        pytest.param((1000, 2000), (400, 800), id='large'),
        pytest.param((4, 4000), (1, 800), id='strip'),
    ],
)
def test_tile_size(size, tile):
    image = np.zeros((*size, 3), np.uint8)
    assert fit_tile(image, cv2.INTER_AREA).shape[:2] == tile


def test_tiles_of_maps_hold_no_new_values():
    indices = np.random.default_rng(0).choice([0, 7, 200], (10, 32))
    indices = indices.astype(np.uint8)
    enlarged = fit_tile(indices, cv2.INTER_NEAREST)
    assert np.array_equal(enlarged, np.kron(indices, np.ones((10, 10))))
    reduced = fit_tile(
        np.kron(indices, np.ones((50, 50), np.uint8)), cv2.INTER_NEAREST
    )
    assert np.array_equal(reduced, np.kron(indices, np.ones((25, 25))))


def test_legend_wraps():
    places, lines = flow([40, 50, 20, 100, 1], 100)
    assert places == [(0, 0), (40, 0), (0, 1), (0, 2), (0, 3)]
    assert lines == 4


def test_narrow_image_with_many_long_names():
    """The whole legend is in the panel: nothing is drawn past its edges."""
    names = [f'vehicle.with.a.very.long.name.{n}' * 3 for n in range(4)]
    image, maps = random_scene((300, 20))
    title = f'{"a" * 250}.png'
    panel = draw_panel(title, image, maps, make_style(classes=names))
    assert panel.shape[1] <= 42 * 15  # of text, and a margin
    for edge in (panel[0], panel[-1], panel[:, 0], panel[:, -1]):
        assert (edge == 255).all()
    bottom = panel[-130:]
    dark = (bottom.max(axis=-1) < 100).any(axis=0)
    assert dark.sum() > 100


@pytest.mark.parametrize(
    ('size', 'columns'),
    [
        pytest.param((320, 240), 3, id='usual'),
        pytest.param((800, 400), 2, id='wide'),
        pytest.param((800, 100), 1, id='strip'),
        pytest.param((100, 800), 5, id='tall'),
    ],
)
def test_grid_is_like_a_screen(size, columns):
    assert grid_columns(5, *size) == columns


@pytest.mark.parametrize('size', [(8, 4000), (4000, 8), (1, 1)])
def test_panels_of_odd_sizes_can_be_looked_at(size):
    image, maps = random_scene(size)
    panel = draw_panel('a.png', image, maps, make_style())
    assert max(panel.shape) < 1600


def test_legend_of_many_classes():
    """A line for each few; none runs over the edge."""
    names = [f'class number {n}' for n in range(150)]
    palette = [[n, 255 - n, n] for n in range(150)]
    image = np.zeros((240, 320, 3), np.uint8)
    label = np.arange(240 * 320, dtype=np.int64).reshape(240, 320) % 150
    maps = {'label': label.astype(np.uint8)}
    maps['prediction'] = maps['label']
    panel = draw_panel('a.png', image, maps, make_style(names, palette))
    entry = text_length('class number 100', 15) + 3 * 15
    lines = 150 // ((panel.shape[1] - 30) // entry)
    assert panel.shape[1] == 3 * 320 + 4 * 15
    assert panel.shape[0] > 2 * 240 + lines * 22
    assert (panel[:, -1] == 255).all()


@pytest.mark.parametrize(
    ('classes', 'palette', 'message'),
    [
        pytest.param(None, None, 'SimpleNamespace, got 0 and 0', id='none'),
        pytest.param(CLASSES, [], 'got 4 and 0', id='no-palette'),
        pytest.param(CLASSES, PALETTE[:3], 'got 4 and 3', id='short'),
        pytest.param(range(256), PALETTE * 64, 'got 256', id='too-many'),
        pytest.param(
            CLASSES,
            [*PALETTE[:3], [255]],
            r'three values of 0 to 255 for car, got \[255\]',
            id='one-value',
        ),
        pytest.param(
            CLASSES,
            [*PALETTE[:3], [0, 0, 256]],
            r'for car, got \[0, 0, 256\]',
            id='beyond-8-bits',
        ),
    ],
)
def test_wrong_metainfo(classes, palette, message):
    with pytest.raises(ValueError, match=message):
        make_style(classes, palette)
