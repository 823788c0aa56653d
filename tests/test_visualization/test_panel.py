import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mmseg_ext.visualization.panel import (
    class_map,
    draw_panel,
    fit_tile,
    flow,
    read_style,
    write_indexed_png,
)

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


def paint(indices):
    """Color a map, RGB, with black for pixels of no class."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(PALETTE)] = PALETTE
    return colors[indices]


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


def test_panel_shows_image_label_and_prediction_in_order():
    image, maps = random_scene((60, 330))
    panel = draw_panel('a.png', image, maps, make_style())
    lefts = [
        find(picture, panel) for picture in (image, *map(paint, maps.values()))
    ]
    assert [len(found) for found in lefts] == [1, 1, 1]
    assert lefts == sorted(lefts)


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
    texts = []
    draw_text = ImageDraw.ImageDraw.text

    def text(self, position, value, *args, **options):
        texts.append(value)
        return draw_text(self, position, value, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, 'text', text)
    image, maps = random_scene((100, 320))
    maps['label'][:] = label
    maps['prediction'][:] = prediction
    panel = draw_panel('a.png', image, maps, make_style())

    names = {CLASSES[i] if i != 'ignored' else i for i in shown}
    assert texts[:4] == ['a.png', 'image', 'label', 'prediction']
    assert set(texts[4:]) == names
    colors = {tuple(color) for color in panel[-40:].reshape(-1, 3).tolist()}
    for index, color in enumerate(PALETTE):
        assert (tuple(color) in colors) is (index in shown)
    assert ((0, 0, 0) in colors) is ('ignored' in shown)


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
    names = [f'vehicle.with.a.very.long.name.{n}' for n in range(4)]
    image, maps = random_scene((300, 20))
    panel = draw_panel('a.png', image, maps, make_style(classes=names))
    for edge in (panel[0], panel[-1], panel[:, 0], panel[:, -1]):
        assert (edge == 255).all()
    bottom = panel[-130:]
    dark = (bottom.max(axis=-1) < 100).any(axis=0)
    assert dark.sum() > 100


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
