from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.formats.image_facts import Kind, LabeledImage
from mmseg_ext.formats.mask_folders import LabeledSet
from mmseg_ext.visualization import contact_sheets, mask_sheets
from mmseg_ext.visualization.contact_sheets import (
    SheetOptions,
    distinct_color,
    draw_label,
)
from mmseg_ext.visualization.mask_sheets import draw_mask_sheets


def luminance(color):
    """Return the relative luminance of WCAG 2.2."""
    parts = np.array(color) / 255
    linear = np.where(
        parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
    )
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize(
    'color',
    [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 0, 0), (9, 99, 250)],
)
def test_white_text_can_be_read(color):
    """On any image, at a contrast of 4.5 to 1 and within its edges."""
    for background in (0, 255):
        picture = Image.new('RGB', (120, 60), (background,) * 3)
        draw_label(picture, (200, -5), 'car', color)
        pixels = np.asarray(picture).astype(int)
        box = pixels[1, 100]
        assert np.array_equal(pixels[0, 119], box)
        assert 1.05 / (luminance(box) + 0.05) > 4.3
        letters = (pixels[:16, 90:] > 190).all(axis=2)
        assert letters.sum() > 20
        assert (pixels[17:] == background).all()


def test_colors_differ():
    colors = np.array([distinct_color(number) for number in range(20)])
    apart = np.abs(colors[:, None] - colors[None]).max(axis=2)
    assert apart[~np.eye(20, dtype=bool)].min() > 30


@dataclass
class Shown:
    """What stands on sheets, in place of their pixels."""

    tiles: list
    legend: contact_sheets.Legend


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Return a function that draws label maps and returns what is shown."""

    def draw(labels, names=('road', 'car'), size=(5, 4), **options):
        path = tmp_path / 'image.png'
        cv2.imwrite(str(path), np.full((*size[::-1], 3), 128, np.uint8))

        def reader(label):
            return lambda: (np.array(label, np.uint8), None)

        images = [
            LabeledImage(f'{number}.png', path, reader(label))
            for number, label in enumerate(labels)
        ]
        seen = []

        def keep(out_dir, stem, jobs, options, legend):
            seen.append(Shown([job() for job in jobs], legend))

        monkeypatch.setattr(mask_sheets, 'write_sheets', keep)
        labeled = LabeledSet('set', images, names)
        draw_mask_sheets(labeled, tmp_path / 'vis', SheetOptions(**options))
        return seen[0]

    return draw


HALF = [[0, 0, 0, 0, 0]] * 2 + [[1, 1, 1, 1, 1]] * 2
EMPTY = [[0] * 5] * 4
IGNORED = [[255] * 5] * 4
STRANGE = [[0, 1, 9, 9, 255]] * 4


def test_the_worst_and_what_is_said_of_them(shown):
    drawn = shown([HALF, EMPTY, IGNORED, HALF, STRANGE])
    assert [(t.name, t.text, t.reason) for t in drawn.tiles] == [
        (
            '4.png',
            '5x4, road: 33.3%, car: 33.3%, ignored: 33.3%',
            '40.0% with values that are no class: 9',
        ),
        ('2.png', '5x4, ignored: 100.0%', 'every pixel is ignored'),
        ('1.png', '5x4, road: 100.0%', 'nothing but road'),
        ('0.png', '5x4, road: 50.0%, car: 50.0%', ''),
        ('3.png', '5x4, road: 50.0%, car: 50.0%', ''),
    ]
    texts = [text for _, text in drawn.legend.entries]
    # 44 pixels of road, 24 of car.
    assert texts == [
        *('road  64.71% in 4', 'car  35.29% in 3'),
        *('ignored  in 2', 'no class  in 1'),
    ]
    num = shown([HALF, EMPTY, IGNORED, HALF], num=2)
    assert [tile.name for tile in num.tiles] == ['2.png', '1.png']
    spread = shown([HALF, EMPTY, IGNORED, HALF], num=2, order='name')
    assert [tile.name for tile in spread.tiles] == ['0.png', '2.png']


def test_classes_that_nobody_named(shown):
    drawn = shown([[[0, 7, 7, 7, 7]] * 4], names=None)
    assert [text for _, text in drawn.legend.entries] == [
        *('class 0  20.00% in 1', 'class 7  80.00% in 1')
    ]
    assert drawn.tiles[0].text == '5x4, class 7: 80.0%, class 0: 20.0%'
    assert drawn.legend.title.startswith('set: 1 image. Of each')
    assert shown([EMPTY], names=None).tiles[0].reason == 'nothing but class 0'
    pixels = np.asarray(drawn.tiles[0].picture).astype(int)
    assert np.abs(pixels[100, 40] - pixels[100, 300]).max() > 60


def test_absent_classes_and_wrong_sizes(shown):
    drawn = shown([HALF, EMPTY], names=('road', 'car', 'pole'), size=(4, 4))
    assert drawn.legend.entries[2][1] == 'pole  absent'
    assert [tile.reason for tile in drawn.tiles] == [
        'image 4x4, label 5x4; nothing but road',
        'image 4x4, label 5x4',
    ][::-1]


def test_there_is_nothing_to_show(tmp_path):
    def broken():
        raise ValueError('label a.png is broken')

    labeled = LabeledSet(
        'x', [LabeledImage('a', tmp_path / 'none.png', broken)]
    )
    with pytest.raises(
        ValueError, match='x: its only image cannot be shown: the'
    ):
        draw_mask_sheets(labeled, tmp_path / 'vis')
    with pytest.raises(ValueError, match='x has no images'):
        draw_mask_sheets(LabeledSet('x', []), tmp_path / 'vis')
    with pytest.raises(ValueError, match="order='best': expected worst or na"):
        draw_mask_sheets(labeled, tmp_path, SheetOptions(order='best'))
    assert not (tmp_path / 'vis').exists()


def test_kinds_are_in_the_order_that_users_are_told():
    """Broken files, sizes, values, nothing labeled, odd ones, rare ones."""
    assert [kind.name for kind in sorted(Kind)] == [
        *('UNREADABLE', 'OTHER_SIZE', 'NO_CLASS', 'IGNORED', 'BROKEN'),
        *('EMPTY', 'ODD_SIZE', 'TINY', 'RARE'),
    ]
