import numpy as np
import PIL
import pytest

from mmseg_ext.utils import polygons
from mmseg_ext.utils.polygons import (
    Filled,
    edge_pixels,
    fill,
    filled_otherwise,
    rasterizer,
    redrawn_line,
)

SIZE = (40, 30)
SQUARE = Filled(1, [(10, 5), (30, 5), (30, 20), (10, 20)])


def canvas():
    return np.zeros(SIZE[::-1], np.uint8)


def test_later_polygons_cover_earlier_ones():
    line = Filled(7, [(20, 12), (99, 12), (99, 12)])
    expected = np.full(SIZE[::-1], 9, np.uint8)
    expected[5:21, 10:31] = 1
    expected[12, 20:] = 7
    np.testing.assert_array_equal(fill(SIZE, [SQUARE, line], 9), expected)


def test_rasterizer_tells_other_rules_apart(monkeypatch):
    """Of 560 triangles, five pixels instead of four of this one."""
    found = rasterizer()
    assert found == rasterizer()
    assert found.pillow == PIL.__version__
    triangle = [(0, 0), (2, 1), (3, 1)]
    seen = []

    def other(size, shapes, background):
        pixels = fill(size, shapes, background).copy()
        if shapes[0].points == triangle:
            seen.append(shapes)
            pixels[0, 1] ^= 1
        return pixels

    monkeypatch.setattr(polygons, 'fill', other)
    assert rasterizer().digest != found.digest
    assert len(seen) == 1


@pytest.mark.parametrize(
    ('rows', 'columns', 'expected'),
    [
        pytest.param((0, 0), (0, 0), 0, id='none'),
        pytest.param((5, 7), (10, 31), 2 * 21, id='inner-edge'),
        pytest.param((3, 5), (10, 31), 2 * 21, id='outer-edge'),
        pytest.param((12, 13), (10, 31), 21, id='one-row'),
        pytest.param((12, 14), (18, 20), None, id='two-rows'),
        pytest.param((5, 10), (10, 31), None, id='from-the-edge'),
        pytest.param((24, 26), (0, 2), None, id='outside'),
    ],
)
def test_edge_pixels(rows, columns, expected):
    one = fill(SIZE, [SQUARE], 0)
    other = one.copy()
    other[slice(*rows), slice(*columns)] ^= 1
    assert edge_pixels(one, other, [SQUARE.points]) == expected
    assert edge_pixels(other, one, [SQUARE.points]) == expected


def test_edges_far_out_of_the_image():
    one = canvas()
    far = Filled(1, [(-1e6, 10.9), (1e6, 10.2), (1e6, 1e6), (-1e6, 1e6)])
    one[10:] = 1
    other = one.copy()
    other[8:10] = 1
    assert edge_pixels(one, other, [far.points]) == 2 * SIZE[0]
    other[6:8] = 1
    assert edge_pixels(one, other, [far.points]) is None


def test_edges_just_out_of_the_image():
    beside = Filled(1, [(-9, -9), (-2, -9), (-2, 50), (-9, 50)])
    other = canvas()
    other[:, 0] = 1
    assert edge_pixels(canvas(), other, [beside.points]) == SIZE[1]
    other[:, 1] = 1
    assert edge_pixels(canvas(), other, [beside.points]) is None


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        pytest.param(lambda pixels: pixels, False, id='same'),
        pytest.param(lambda pixels: np.roll(pixels, 1, 0), True, id='edges'),
        pytest.param(lambda pixels: np.roll(pixels, 9, 0), False, id='more'),
        pytest.param(lambda pixels: pixels[1:], False, id='size'),
        pytest.param(lambda pixels: None, False, id='missing'),
    ],
)
def test_filled_otherwise(change, expected):
    drawn = fill(SIZE, [SQUARE], 0)
    there = change(drawn)
    assert filled_otherwise(there, drawn, [SQUARE.points]) == expected


def test_line_about_what_was_drawn_again():
    assert redrawn_line(3) == (
        '3 label maps drawn again: another release of Pillow than '
        f'{PIL.__version__} had filled them'
    )
