"""The same five nails, saved in the ways that masks are saved."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.converters.nail_ids import read_nails
from mmseg_ext.formats.masks import read_mask
from references import nails as reference

VOC = reference.voc_palette()
SIZE = 60, 120


def draw(values, dtype=np.uint8, step=22):
    """Return five nails, 15 pixels wide, with these values."""
    mask = np.zeros(SIZE, dtype)
    for number, value in enumerate(values):
        left = 5 + step * number
        mask[10:40, left : left + 15] = value
    return mask


WHITE = draw([255] * 5)
ONES = draw([1] * 5)
INSTANCES = draw([1, 2, 3, 4, 5])
GRAYS = draw([40, 80, 120, 160, 200])
TOUCHING = draw([40, 80, 120, 160, 200], step=15)
NAILS = reference.components(WHITE > 0)


def save(image, kind='PNG', **options):
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def palette(values, colors):
    image = Image.fromarray(values)
    image.putpalette(np.array(colors, np.uint8).tobytes())
    return image


def with_alpha(color, alpha):
    colors = np.full((*SIZE, 3), color, np.uint8)
    return np.dstack([colors, alpha])


def on_white(color):
    return np.where(WHITE[..., None] > 0, color, 255).astype(np.uint8)


def read(data, *args, **options):
    mask = read_mask(data, 'it', photographic=True)
    return read_nails(mask, *args, **options)


def masks(nails, shape=SIZE):
    found = []
    for region in nails.regions:
        mask = np.zeros(shape, bool)
        height, width = region.mask.shape
        rows = slice(region.top, region.top + height)
        columns = slice(region.left, region.left + width)
        mask[rows, columns] = region.mask
        found.append(mask)
    return found


def same(found, expected):
    return sorted(map(np.ndarray.tobytes, found)) == sorted(
        map(np.ndarray.tobytes, expected)
    )


def bordered():
    """Return ids with VOC's border, and how many pixels it has."""
    edge = cv2.morphologyEx(ONES, cv2.MORPH_GRADIENT, np.ones((5, 5)))
    return np.where(edge > 0, np.uint8(255), INSTANCES), int(edge.sum())


@pytest.mark.parametrize(
    ('data', 'said'),
    [
        pytest.param(save(WHITE), {}, id='gray'),
        pytest.param(save(WHITE, 'JPEG', quality=95), {}, id='jpeg'),
        pytest.param(save(np.dstack([WHITE] * 3)), {}, id='rgb'),
        pytest.param(save(Image.fromarray(WHITE).convert('1')), {}, id='bit'),
        pytest.param(
            save(draw([65535] * 5, np.uint16)), {}, id='16-bit-white'
        ),
        pytest.param(save(draw([255] * 5, np.uint16)), {}, id='16-bit-255'),
        pytest.param(save(np.maximum(WHITE, 20)), {}, id='on-dark-gray'),
        pytest.param(save(draw([200] * 5), 'JPEG'), {}, id='light-jpeg'),
        pytest.param(
            save(palette(ONES, [[0] * 3, [255] * 3])), {}, id='palette-0-1'
        ),
        pytest.param(
            save(palette(1 - ONES, [[255] * 3, [0] * 3])), {}, id='palette-1-0'
        ),
        pytest.param(
            save(palette(1 - ONES, [[255, 0, 0], [0] * 3])),
            {},
            id='palette-red-first',
        ),
        pytest.param(save(palette(ONES, VOC)), {}, id='one-class'),
        pytest.param(save(ONES), {'single': True}, id='0-1'),
        pytest.param(
            save(draw([1] * 5, np.uint16)), {'single': True}, id='16-bit-0-1'
        ),
        pytest.param(save(draw([100] * 5)), {'single': True}, id='dark'),
        pytest.param(
            save(palette(draw([16] * 5), VOC)),
            {'single': True},
            id='one-dark-class',
        ),
        pytest.param(
            save(with_alpha((255, 255, 255), WHITE)),
            {'in_alpha': True},
            id='alpha-white',
        ),
        pytest.param(
            save(with_alpha((0, 0, 0), WHITE)),
            {'in_alpha': True},
            id='alpha-black',
        ),
        pytest.param(
            save(with_alpha((255, 0, 0), WHITE // 255 * 100)),
            {'in_alpha': True},
            id='alpha-faint',
        ),
        pytest.param(
            save(np.dstack([WHITE * 0, WHITE])), {'in_alpha': True}, id='la'
        ),
        pytest.param(save(INSTANCES), {'ids': True}, id='1-to-5'),
        pytest.param(
            save(np.dstack([INSTANCES] * 3)), {'ids': True}, id='rgb-1-to-5'
        ),
        pytest.param(
            save(draw(range(1, 6), np.uint16)), {'ids': True}, id='16-bit'
        ),
        pytest.param(
            save(draw([256, 512, 768, 1024, 1280], np.uint16)),
            {'ids': True},
            id='16-bit-256',
        ),
        pytest.param(save(GRAYS), {'ids': True}, id='grays'),
        pytest.param(
            save(draw([51, 102, 153, 204, 255])), {'ids': True}, id='to-255'
        ),
        pytest.param(
            save(np.dstack([INSTANCES, WHITE])), {'ids': True}, id='la-ids'
        ),
        pytest.param(save(palette(INSTANCES, VOC)), {'ids': True}, id='voc'),
        pytest.param(
            save(palette(INSTANCES, VOC), bits=4), {'ids': True}, id='voc-4'
        ),
        pytest.param(
            save(palette(INSTANCES, VOC), 'BMP'), {'ids': True}, id='voc-bmp'
        ),
        pytest.param(
            save(palette(INSTANCES, [[255] * 3, *VOC[1:]]), transparency=0),
            {'ids': True},
            id='voc-transparent',
        ),
        pytest.param(
            save(np.uint8(VOC)[draw([1, 8, 16, 2, 3])]),
            {'ids': True},
            id='dark-colors',
        ),
        pytest.param(
            save(np.uint8(VOC)[INSTANCES]), {'colored': True}, id='colors'
        ),
    ],
)
def test_ways_to_save_five_nails(data, said):
    nails = read(data)
    assert same(masks(nails), NAILS)
    for name in ('ids', 'single', 'in_alpha', 'colored'):
        assert getattr(nails, name) == said.get(name, False), name
    counts = nails.lost, nails.dropped, nails.broken, nails.border
    assert counts == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        pytest.param(255 - WHITE, 'all four edges', id='inverted'),
        pytest.param(on_white((255, 0, 0)), 'all four edges', id='on-white'),
        pytest.param(
            palette(ONES, [[255] * 3, [255, 0, 0]]),
            'all four edges',
            id='palette-on-white',
        ),
        pytest.param(
            with_alpha((255,) * 3, 255 - WHITE), 'all four edges', id='alpha'
        ),
        pytest.param(
            with_alpha((255,) * 3, WHITE * 0 + 255),
            'all four edges',
            id='opaque',
        ),
        pytest.param(
            draw([255, 1, 1, 1, 1]), 'value 1 in 1800 pix.*yes.*no', id='1-255'
        ),
        pytest.param(
            draw([60, 255, 255, 255, 255]),
            "2 values, of which 255 lies in 4 places.*ids='yes'.*ids='no'",
            id='60-255',
        ),
        pytest.param(
            palette(draw([1, 2, 1, 2, 2]), VOC),
            "2 values, of which 1 lies in 2 places.*ids='yes'.*ids='no'",
            id='classes',
        ),
        pytest.param(
            bordered()[0], 'value 1 in .*white besides', id='gray-border'
        ),
        pytest.param(
            cv2.GaussianBlur(GRAYS, (5, 5), 0),
            'pixels of values that hardly',
            id='smooth-ids',
        ),
        pytest.param(WHITE * 0, 'no nail: .* has 0 of 255', id='black'),
        pytest.param(WHITE * 0 + 5, 'all four edges', id='all-of-one-id'),
    ],
)
def test_masks_that_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        read(save(image))


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        pytest.param(GRAYS, 'pixels of values that hardly', id='grays'),
        pytest.param(
            np.uint8(VOC)[draw([1, 2, 3, 8, 16])],
            'neither near black nor in a nail, such as .* at column 7',
            id='colors',
        ),
    ],
)
def test_ids_in_jpeg_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        read(save(image, 'JPEG', quality=90))


@pytest.mark.parametrize('value', [5, 20])
def test_dark_values_of_lossy_formats_are_refused(value):
    """JPEG's noise is as strong."""
    image = draw([value] * 5)
    assert len(read(save(image)).regions) == 5
    with pytest.raises(ValueError, match=r'no value above .* changes pixels'):
        read(save(image, 'JPEG'))


def test_touching_ids_are_told_apart():
    nails = read(save(TOUCHING))
    assert same(masks(nails), reference.ids(TOUCHING))
    assert len(nails.regions) == 5


def test_an_id_in_two_places_is_one_nail_if_that_is_said():
    mask = GRAYS.copy()
    mask[22:24, :25] = 0
    with pytest.raises(ValueError, match='of which 40 lies in 2 places'):
        read(save(mask))
    nails = read(save(mask), 'yes')
    assert same(masks(nails), reference.ids(mask))
    areas = sorted(int(region.mask.sum()) for region in nails.regions)
    assert areas == [420, 450, 450, 450, 450]
    assert nails.broken == 1


def test_smooth_alpha_ends_at_its_half():
    alpha = cv2.GaussianBlur(WHITE, (5, 5), 0)
    nails = read(save(with_alpha((9, 9, 9), alpha)))
    assert same(masks(nails), reference.components(alpha > 127.5))
    assert nails.in_alpha


def test_an_id_with_a_speck_beside_lies_in_one_place():
    mask = INSTANCES.copy()
    mask[50:55, 5:14] = 1  # 45 of 495 pixels: 90.9 % are elsewhere
    assert same(masks(read(save(mask))), reference.ids(mask))
    mask[55, 5:11] = 1  # 51 of 501: 89.8 %
    with pytest.raises(ValueError, match='2 places'):
        read(save(mask))


def test_small_ids_are_left_out():
    mask = INSTANCES.copy()
    mask[50:54, 60:64] = 6
    nails = read(save(mask))
    assert same(masks(nails), reference.ids(INSTANCES))
    assert nails.dropped == 1
    assert len(read(save(mask), min_area=16).regions) == 6


def test_borders_are_in_no_nail():
    mask, number = bordered()
    inner = reference.ids(np.where(mask == 255, 0, mask))
    for image, ids in ((palette(mask, VOC), 'auto'), (mask, 'yes')):
        nails = read(save(image), ids)
        assert same(masks(nails), inner)
        assert nails.border == number
    ones = np.where(mask == 255, mask, mask > 0).astype(np.uint8)
    nails = read(save(palette(ones, VOC)))
    assert same(masks(nails), inner)
    assert nails.border == number


def test_255_is_an_id_where_it_can_be_no_border():
    mask = draw([1, 2, 4, 255, 0])
    nails = read(save(mask), 'yes')
    assert same(masks(nails), reference.ids(mask))
    assert nails.border == 0


def test_no_ids_by_choice():
    nails = read(save(GRAYS), 'no')
    assert same(masks(nails), reference.components(GRAYS > 127))
    assert nails.lost == 3 * 450
    assert not nails.ids


def test_colors_may_repeat_if_all_are_bright():
    mask = np.uint8(VOC)[draw([1, 2, 1, 2, 2])]
    nails = read(save(mask))
    assert same(masks(nails), NAILS)
    assert not nails.ids
    assert len(read(save(mask), 'yes').regions) == 2


def test_smooth_edges_are_not_lost():
    mask = cv2.GaussianBlur(WHITE, (7, 7), 0)
    nails = read(save(mask))
    assert same(masks(nails), reference.components(mask > 127))
    assert nails.lost == 0


def test_few_dark_pixels_are_counted_and_many_stop():
    """Many are 20, and a hundredth of the nails' 2025."""
    mask = np.zeros((100, 100, 3), np.uint8)
    mask[10:55, 10:55] = (0, 0, 255)
    mask[70:73, 70:76] = (90, 0, 0)
    nails = read(save(mask))
    assert nails.lost == 18
    assert nails.lost_at == (70, 70)
    assert len(nails.regions) == 1
    mask[70:73, 70:95] = 0
    mask[70:73, 70:77] = (90, 0, 0)
    nails = read(save(mask))  # colors are ids then
    assert nails.ids
    assert [region.mask.shape for region in nails.regions] == [
        (45, 45),
        (3, 7),
    ]
    assert read(save(mask), 'no').lost == 21
    noise = np.random.default_rng(0).integers(0, 2, mask.shape, np.uint8)
    with pytest.raises(ValueError, match=r'neither near black .* column 70,'):
        read(save(mask + noise * (mask > 0)))


def test_only_a_frame_has_more_than_half_of_the_edges():
    """A nail may reach all four edges, as in a picture of that nail alone."""
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40] = mask[:, 20:40] = 255  # 80 of 236 pixels
    mask[0, :58] = 255  # 118
    assert len(read(save(mask)).regions) == 1
    mask[0, 58] = 255  # 119
    for ids in ('auto', 'yes', 'no'):
        with pytest.raises(ValueError, match='more than half of its outerm'):
            read(save(mask), ids)


def test_ids_are_255_at_most():
    mask = np.arange(300, dtype=np.uint16).reshape(15, 20)
    mask = mask.repeat(5, 0).repeat(5, 1)
    with pytest.raises(ValueError, match='more than 255 values'):
        read(save(mask), 'yes')
    mask[mask > 255] = 0
    assert len(read(save(mask), 'yes').regions) == 255


def test_many_ids_take_little_time():
    """Each id is looked at within its box alone."""
    values = np.arange(1, 226, dtype=np.uint8).reshape(15, 15)
    mask = np.zeros((300, 300), np.uint8)
    mask[:, :] = values.repeat(20, 0).repeat(20, 1)
    mask[::20] = mask[:, ::20] = 0
    nails = read(save(mask))
    assert len(nails.regions) == 225
    assert {region.mask.shape for region in nails.regions} == {(19, 19)}


def circles(*places, size=(120, 160)):
    """Return filled circles, each (column, row, radius, value)."""
    mask = np.zeros(size, np.int32)
    for column, row, radius, value in places:
        cv2.circle(mask, (column, row), radius, value, -1)
    return mask


UNEVEN = circles((50, 60, 45, 1), (120, 30, 4, 2), (120, 90, 6, 3))
THIN = np.zeros((60, 120), np.uint8)
for top, number, high in ((5, 1, 2), (25, 2, 2), (40, 3, 15)):
    THIN[top : top + high, 10:110] = number


def colored(instances, *colors):
    """Return instances in gray or color; 0 is black."""
    table = np.array(colors, np.uint8)
    return np.concatenate([table[:1] * 0, table])[instances]


@pytest.mark.parametrize(
    'colors',
    [
        (100, 40, 20),
        (120, 60, 50),
        (10, 4, 3),
        (200, 40, 90),
        (100, 200, 30),
        (255, 40, 90),
        ((120, 0, 0), (0, 50, 0), (0, 0, 60)),
        (VOC[8], VOC[64], VOC[72]),
        ((0, 0, 255), (255, 0, 0), (90, 90, 90)),
    ],
)
@pytest.mark.parametrize('instances', [UNEVEN, THIN], ids=['sizes', 'thin'])
def test_no_id_is_too_small_dark_or_thin(instances, colors):
    nails = read(save(colored(instances, *colors)))
    assert same(masks(nails, instances.shape), reference.ids(instances))


@pytest.mark.parametrize('colors', [(1, 2), (100, 110), (30, 60), (254, 255)])
def test_touching_ids_of_uneven_sizes(colors):
    mask = circles((70, 60, 45, 1), (116, 60, 5, 2))
    nails = read(save(colored(mask, *colors)))
    assert same(masks(nails, mask.shape), reference.ids(mask))


def test_thin_ids_in_a_small_picture():
    mask = np.zeros((8, 12), np.uint8)
    mask[1:3, 1:11], mask[5:7, 1:11] = 40, 255
    nails = read(save(mask))
    assert same(masks(nails, mask.shape), reference.ids(mask))


@pytest.mark.parametrize(
    'colors',
    [
        [(255, 50 * i, 0) for i in range(5)],
        [(130 + 10 * i, 200, 255 - 10 * i) for i in range(5)],
        [(150 + 20 * i,) * 3 for i in range(5)],
        [225, 232, 240, 248, 255],
    ],
)
def test_near_colors_that_touch(colors):
    instances = draw([1, 2, 3, 4, 5], step=15)
    nails = read(save(colored(instances, *colors)))
    assert same(masks(nails), reference.ids(instances))


@pytest.mark.parametrize('sigma', [0.7, 1.5, 2.5])
@pytest.mark.parametrize('color', [(255, 0, 0), (200, 30, 30), (255, 255, 0)])
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_soft_edges_of_one_color_are_no_nails(kind, color, sigma):
    instances = circles((30, 40, 20, 1), (80, 60, 25, 1), (130, 80, 22, 1))
    mask = cv2.GaussianBlur(colored(instances, color), (0, 0), sigma)
    found = masks(read(save(mask, kind)), instances.shape)
    assert len(found) == 3
    expected = instances > 0
    union = np.any(found, axis=0)
    assert (union & expected).sum() > 0.9 * (union | expected).sum()


def test_shades_made_larger_are_no_nails():
    """Ramps are wide in a mask that was small and is made larger."""
    instances = circles((30, 40, 20, 1), (80, 60, 25, 1), (130, 80, 22, 1))
    small = cv2.resize(
        colored(instances, (255, 0, 0)),
        None,
        fx=0.25,
        fy=0.25,
        interpolation=cv2.INTER_AREA,
    )
    for kind in ('PNG', 'JPEG'):
        mask = cv2.resize(small, instances.shape[::-1])
        assert len(read(save(mask, kind)).regions) == 3


@pytest.mark.parametrize('quality', [50, 75, 95])
@pytest.mark.parametrize(
    'color', [(128, 0, 0), (128,) * 3, 140, 128, (100, 0, 0), 110]
)
def test_lossy_values_near_the_threshold(color, quality):
    instances = circles((30, 40, 20, 1), (80, 60, 25, 1), (130, 80, 22, 1))
    mask = colored(instances, color)
    nails = read(save(mask, 'JPEG', quality=quality))
    found = masks(nails, instances.shape)
    assert len(found) == 3
    union = np.any(found, axis=0)
    expected = instances > 0
    assert (union & expected).sum() > 0.9 * (union | expected).sum()


def background(case):
    """Return an inverted mask with a black border."""
    mask = 255 - colored(draw([1] * 5), 255)
    if case == 'frame':
        mask[:1] = mask[-1:] = 0
        mask[:, :1] = mask[:, -1:] = 0
    elif case == 'letterbox':
        mask[:5] = mask[-5:] = 0
    elif case == 'row':
        mask[-1] = 0
    else:
        turn = cv2.getRotationMatrix2D((60, 30), 8, 1)
        mask = cv2.warpAffine(mask, turn, SIZE[::-1])
    return mask


@pytest.mark.parametrize('case', ['frame', 'letterbox', 'row', 'turned'])
@pytest.mark.parametrize('ids', ['auto', 'no'])
def test_backgrounds_within_a_border(case, ids):
    with pytest.raises(ValueError, match='background'):
        read(save(background(case)), ids)


def test_one_nail_may_fill_most_of_the_picture():
    mask = np.zeros(SIZE, np.uint8)
    mask[5:55, 10:110] = 255
    mask[30, 50:60] = 0  # as small as no nail
    assert same(masks(read(save(mask))), [mask > 0])


@pytest.mark.parametrize('soft', [0, 1.5])
def test_photographs_cut_out(soft):
    rng = np.random.default_rng(0)
    photograph = cv2.resize(
        rng.integers(60, 256, (8, 15, 3), np.uint8), SIZE[::-1]
    )
    alpha = cv2.GaussianBlur(WHITE, (0, 0), soft) if soft else WHITE
    nails = read(save(np.dstack([photograph, alpha])))
    assert nails.in_alpha
    assert same(masks(nails), reference.components(alpha > 127.5))
    gray = np.dstack([photograph[..., 0], alpha])
    assert same(masks(read(save(gray))), masks(nails))


@pytest.mark.parametrize(
    ('hand', 'nail'),
    [
        ((200, 150, 120), (255, 255, 255)),
        ((0, 255, 0), (255, 0, 0)),
        (230, 255),
        (1, 2),
        (100, 200),
        (80, 255),
        (128, 255),
    ],
)
@pytest.mark.parametrize('number', [1, 3])
def test_hands_around_nails_are_refused(hand, nail, number):
    nails = [(40 + 40 * i, 45 + 10 * i, 9, 2) for i in range(number)]
    mask = circles((80, 60, 55, 1), *nails)
    with pytest.raises(ValueError, match=r"ids='yes'.*ids='no'"):
        read(save(colored(mask, hand, nail)))


def test_a_nail_at_the_edge_of_a_finger():
    """It is not closed in, but most of it is within the finger's outline."""
    mask = np.zeros((120, 160), np.uint8)
    mask[20:60, 20:140] = 1
    mask[40:60, 60:80] = 2
    with pytest.raises(ValueError, match='nail within a finger'):
        read(save(mask))
    assert len(read(save(mask), 'yes').regions) == 2


@pytest.mark.parametrize('radius', [3, 4, 8])
@pytest.mark.parametrize('one', [False, True], ids=['ids', 'class'])
def test_white_borders_are_not_the_nails(radius, one):
    instances = circles(*((20 + 25 * i, 40, radius, i + 1) for i in range(5)))
    mask = np.minimum(instances, 1 if one else 5).astype(np.uint8)
    around = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    mask[around & (mask == 0)] = 255
    with pytest.raises(ValueError, match='ids and their border'):
        read(save(mask))
    found = masks(read(save(mask), 'yes'), mask.shape)
    expected = [instances > 0] if one else reference.ids(instances)
    assert same(found, expected)


@pytest.mark.parametrize('ids', ['auto', 'yes', 'no'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_empty_masks_have_no_nail(ids, dtype):
    for image in (draw([0], dtype), np.zeros((*SIZE, 3), np.uint8)):
        with pytest.raises(ValueError, match=r'no nail.*min_area=20'):
            read(save(image), ids)


def test_colors_are_cut_apart_as_well():
    mask = circles(
        *((20, 30, 12, 1), (41, 30, 12, 1)),
        *((100, 30, 12, 2), (121, 30, 12, 2)),
    )
    image = save(colored(mask, (255, 0, 0), (0, 255, 0)))
    assert len(read(image).regions) == 2
    nails = read(image, split_touching=True)
    assert len(nails.regions) == 4
    assert nails.cut == 2


def test_mixed_values_are_no_ids():
    """Too few to stop for, but some have as many pixels as a nail."""
    mask = np.zeros((600, 900), np.uint8)
    mask[50:550, 50:400], mask[50:550, 500:850] = 100, 200
    columns = np.arange(60, 840, 30)
    mask[50, columns[columns < 390]] = 50
    mask[50, columns[columns > 510]] = 150
    mask[549, columns[columns > 510]] = 150
    nails = read(save(mask), 'yes')
    assert len(nails.regions) == 2
    assert nails.dropped == 2
    mask[50, 100:140] = 50
    with pytest.raises(ValueError, match='hardly lie amidst'):
        read(save(mask), 'yes')
