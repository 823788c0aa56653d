import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmseg_ext.sample_data import KINDS, Scene, SceneObject
from mmseg_ext.sample_data.scenes.scene import Rasterizer

INDICES = {kind: index for index, kind in enumerate(KINDS)}


def box(x0, y0, x1, y1):
    """Corners of a rectangle, last column and row included."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


@pytest.fixture
def squares():
    """A road with two cars, the nearer one over the other, and a person.

    The second car reaches out of the image.
    """
    objects = [
        SceneObject('road', box(0, 4, 19, 11)),
        SceneObject('car', box(2, 2, 7, 7), 30.0),
        SceneObject('car', box(5, 5, 10, 14), 20.0),
        SceneObject('person', box(15.4, 0.6, 16.4, 5.4), 10.0),
    ]
    return Scene(np.zeros((12, 20, 3), np.uint8), objects)


def test_later_objects_hide_earlier_ones(squares):
    areas = [int((squares.object_map == index).sum()) for index in range(4)]
    # 6 x 7 pixels of the near car are inside; it hides 3 x 3 of the far one.
    # Of the road's 20 x 8 pixels the cars hide 24 + 42 - 9 and the person,
    # which rounding puts on columns 15 to 16 and rows 1 to 5, hides 4.
    assert areas == [160 - (24 + 42 - 9) - 4, 36 - 9, 42, 10]
    assert squares.object_map[6, 6] == 2
    assert (squares.object_map == -1).sum() == 20 * 12 - sum(areas)


def test_label_map_of_squares(squares):
    labels = squares.label_map({'road': 7, 'car': 3, 'person': 9}, fill=200)
    assert labels.dtype == np.uint8
    assert np.bincount(labels.ravel()).nonzero()[0].tolist() == [3, 7, 9, 200]
    assert (labels == 3).sum() == 27 + 42
    assert (labels[5:12, 5:11] == 3).all()


def test_window_of_the_rasterizer():
    rasterizer = Rasterizer((20, 12))
    for corners, rows, columns in (
        (box(2, 2, 7, 7), (2, 8), (2, 8)),
        (box(5, 5, 10, 14), (5, 12), (5, 11)),
    ):
        window, mask = rasterizer.mask(np.array(corners))
        assert window == (slice(*rows), slice(*columns))
        assert mask.shape == (rows[1] - rows[0], columns[1] - columns[0])
        assert (mask == 255).all()
    window, mask = rasterizer.mask(np.array(box(30, 2, 40, 9)))
    assert mask.size == 0
    assert np.zeros((12, 20))[window].size == 0


def test_missing_kind_is_named(squares):
    with pytest.raises(ValueError, match='no class index for person'):
        squares.label_map({'road': 0, 'car': 1})


@pytest.mark.parametrize(
    ('indices', 'fill', 'name'),
    [
        pytest.param({'car': 256}, 255, 'car', id='index'),
        pytest.param({'car': 1}, -1, 'fill', id='fill'),
    ],
)
def test_index_must_fit_eight_bits(squares, indices, fill, name):
    with pytest.raises(ValueError, match=f'index of {name}'):
        squares.label_map({'road': 0, 'person': 2, **indices}, fill)


@pytest.mark.parametrize(
    'polygon',
    [
        pytest.param([(0, 0), (1, 1)], id='two-points'),
        pytest.param([(0, 0), (1, np.nan), (2, 2)], id='nan'),
        pytest.param([(0, 0, 0)] * 3, id='three-coordinates'),
    ],
)
def test_bad_polygon(polygon):
    with pytest.raises(ValueError, match='polygon of a car'):
        SceneObject('car', polygon)


def test_vertices_are_whole_pixels():
    item = SceneObject('car', [(-0.4, 1.5), (9.51, 2.49), (3, -7.6)])
    assert item.polygon.tolist() == [[0, 2], [10, 2], [3, -8]]
    assert '-0.0' not in str(item.polygon.tolist())


def whole_mask(scene, index):
    """Fill an object with its hidden parts."""
    mask = np.zeros(scene.image.shape[:2], bool)
    window, pixels = Rasterizer(scene.size).mask(scene.objects[index].polygon)
    mask[window] = pixels > 0
    return mask


def distance_inside(polygon, width, height):
    """Signed distance of pixel centers from the outline, naively.

    Positive inside, by the crossing number.
    """
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    inside = np.zeros((height, width), bool)
    nearest = np.full((height, width), np.inf)
    for (x0, y0), (x1, y1) in zip(
        polygon, np.roll(polygon, -1, 0), strict=True
    ):
        if (x0, y0) != (x1, y1):
            along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / (
                (x1 - x0) ** 2 + (y1 - y0) ** 2
            )
            along = np.clip(along, 0, 1)
            gap = np.hypot(
                x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)
            )
            nearest = np.minimum(nearest, gap)
        if y0 != y1:
            crosses = (y0 <= y) != (y1 <= y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return np.where(inside, nearest, -nearest)


def test_masks_against_point_in_polygon(scenes):
    checked = 0
    for index, item in enumerate(scenes[0].objects):
        mask = whole_mask(scenes[0], index)
        distance = distance_inside(item.polygon, *scenes[0].size)
        assert mask[distance >= 0].all()
        # Beside the outline, at most the pixels that it runs through.
        assert not mask[distance < -1].any()
        checked += int(mask.sum())
    assert checked > 240 * 180


def test_labels_against_drawing_all_polygons(scenes):
    """As the tools of Cityscapes do it: one image, all objects in order."""
    for scene in scenes:
        image = Image.new('L', scene.size, 255)
        draw = ImageDraw.Draw(image)
        for item in scene.objects:
            points = [tuple(point) for point in item.polygon.tolist()]
            draw.polygon(points, fill=INDICES[item.kind])
        assert (scene.label_map(INDICES) == np.asarray(image)).all()


def test_visible_masks_are_disjoint_and_cover(scenes):
    for scene in scenes:
        total = np.zeros(scene.image.shape[:2], int)
        for index in range(len(scene.objects)):
            mask = scene.object_map == index
            assert not (mask & ~whole_mask(scene, index)).any()
            total += mask
        assert (total == 1).all()
