import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmseg_ext.inference.crops import crop_instances, parse_background

SHAPE = (60, 80)
RED, WHITE = (255, 0, 0), (255, 255, 255)

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 255, (*SHAPE, 3), np.uint8)


def rectangle(x1, y1, x2, y2):
    mask = np.zeros(SHAPE, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def ellipse(lean, center=(40, 30), long=20, short=8, shape=SHAPE):
    """Draw an ellipse whose top leans to the right by some degrees."""
    y, x = np.indices(shape)
    x, y = x - center[0], center[1] - y
    turned = np.radians(lean)
    along = x * np.sin(turned) + y * np.cos(turned)
    across = x * np.cos(turned) - y * np.sin(turned)
    return (along / long) ** 2 + (across / short) ** 2 <= 1


def box_of(mask):
    y, x = np.nonzero(mask)
    if not len(y):
        return [3, 3, 9, 9]
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def make_sample(*masks, scores=None, boxes=None, labels=None, form=None):
    """Make what a detector gives, by default best first, with exact boxes."""
    boxes = boxes or [box_of(mask) for mask in masks]
    number = len(boxes)
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores or np.linspace(0.9, 0.6, number)),
        labels=torch.tensor(labels or [0] * number, dtype=torch.long),
    )
    if masks or not number:
        stack = np.array(masks, bool).reshape(-1, *SHAPE)
        found.masks = (form or torch.from_numpy)(stack)
    return DetDataSample(pred_instances=found)


def to_rle(masks):
    return [
        coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks
    ]


def to_text_rle(masks):
    return [{**rle, 'counts': rle['counts'].decode()} for rle in to_rle(masks)]


def test_values(image):
    sample = make_sample(
        rectangle(50, 10, 70, 20),
        rectangle(10, 20, 30, 60),
        rectangle(40, 40, 44, 44),
        scores=[0.6, 0.8, 0.4],
        labels=[3, 1, 2],
    )
    best, other = crop_instances(image, sample, score_thr=0.5, pad=0.1)
    # 10 percent of 20 and of 40; the box touches the lower border.
    np.testing.assert_array_equal(best.image, image[16:60, 8:32])
    assert best.box == (10, 20, 30, 60)
    assert best.score == pytest.approx(0.8)
    assert (best.label, best.area, best.angle) == (1, 800, 0)
    np.testing.assert_array_equal(other.image, image[9:21, 48:72])
    assert (other.label, other.area, other.angle) == (3, 200, 90)


def test_fractions_of_pixels_are_taken_in(image):
    sample = make_sample(boxes=[[10.5, 20.2, 29.5, 40.8]])
    (crop,) = crop_instances(image, sample, pad=0)
    np.testing.assert_array_equal(crop.image, image[20:41, 10:30])
    assert (crop.area, crop.angle) == (None, None)


def test_padding_ends_at_the_border(image):
    sample = make_sample(rectangle(0, 0, 20, 10), rectangle(70, 50, 80, 60))
    first, last = crop_instances(image, sample, pad=0.5)
    np.testing.assert_array_equal(first.image, image[:15, :30])
    np.testing.assert_array_equal(last.image, image[45:, 65:])


def test_image_that_is_one_instance(image):
    sample = make_sample(np.ones(SHAPE, bool))
    for upright in (False, True):
        (crop,) = crop_instances(
            image, sample, pad=0, background=WHITE, upright=upright
        )
        expected = np.rot90(image) if upright else image
        np.testing.assert_array_equal(crop.image, expected)
        assert crop.area == image.size // 3


def test_transparent_background(image):
    mask = ellipse(30) & rectangle(30, 20, 50, 40)
    (crop,) = crop_instances(
        image, make_sample(mask), background='transparent'
    )
    region = np.s_[18:42, 28:52]
    np.testing.assert_array_equal(crop.image[..., 3], mask[region] * 255)
    np.testing.assert_array_equal(
        crop.image[..., :3], image[region] * mask[region][..., None]
    )


def test_filled_background(image):
    mask = rectangle(20, 20, 30, 40)
    (crop,) = crop_instances(image, make_sample(mask), pad=0.5, background=RED)
    expected = np.zeros((40, 20, 3), np.uint8) + np.uint8([0, 0, 255])
    expected[10:30, 5:15] = image[20:40, 20:30]
    np.testing.assert_array_equal(crop.image, expected)


def test_overlap_belongs_to_the_higher_score(image):
    masks = rectangle(10, 10, 30, 30), rectangle(20, 10, 40, 30)
    sample = make_sample(*masks, scores=[0.6, 0.9])
    best, other = crop_instances(
        image, sample, pad=0, background='transparent'
    )
    assert (best.image[..., 3] == 255).all()
    np.testing.assert_array_equal(
        other.image[..., 3], [[255] * 10 + [0] * 10] * 20
    )
    # Its box is the detector's, area and angle are those of what is left.
    assert other.box == (10, 10, 30, 30)
    assert (best.area, other.area) == (400, 200)
    assert other.angle == 0


def test_below_the_threshold_nothing_is_taken_away(image):
    masks = rectangle(10, 10, 30, 30), rectangle(10, 10, 30, 20)
    sample = make_sample(*masks, scores=[0.6, 0.4])
    (crop,) = crop_instances(image, sample)
    assert crop.area == 400


@pytest.mark.parametrize('background', ['keep', 'transparent'])
def test_nothing_of_its_own(image, background):
    hidden = make_sample(
        rectangle(10, 10, 40, 40),
        rectangle(20, 20, 30, 30),
        np.zeros(SHAPE, bool),
        rectangle(50, 50, 60, 60),
    )
    crops = crop_instances(image, hidden, background=background)
    assert [crop.area for crop in crops] == [900, 100]
    assert crops[1].box == (50, 50, 60, 60)


@pytest.mark.parametrize('upright', [False, True])
def test_no_instances(image, upright):
    assert crop_instances(image, make_sample(), upright=upright) == []


def test_one_pixel(image):
    sample = make_sample(rectangle(33, 22, 34, 23))
    for upright in (False, True):
        (crop,) = crop_instances(image, sample, pad=0, upright=upright)
        np.testing.assert_array_equal(crop.image, image[22:23, 33:34])
        assert (crop.area, crop.angle) == (1, 0)


@pytest.mark.parametrize('lean', [-85, -60, -31, -2, 0, 10, 45, 77, 90])
def test_angle(image, lean):
    mask = ellipse(lean)
    (crop,) = crop_instances(image, make_sample(mask))
    assert crop.angle == pytest.approx(lean, abs=1)
    assert crop.area == mask.sum()


@pytest.mark.parametrize('lean', [-60, -31, 0, 10, 45, 77])
def test_upright(lean):
    """The upper end is red, and stays above."""
    mask = ellipse(lean, long=24, short=8)
    y, x = np.indices(SHAPE)
    turned = np.radians(lean)
    end = (x - 40) * np.sin(turned) + (30 - y) * np.cos(turned) > 4
    image = np.where(end[..., None], np.uint8([0, 0, 255]), np.uint8(200))
    (crop,) = crop_instances(
        image,
        make_sample(mask),
        pad=0,
        background='transparent',
        upright=True,
    )
    height, width = crop.image.shape[:2]
    assert height == pytest.approx(49, abs=2)
    assert width == pytest.approx(17, abs=2)
    expected = ellipse(
        0, ((width - 1) / 2, (height - 1) / 2), 24, 8, (height, width)
    )
    wrong = (crop.image[..., 3] == 255) != expected
    assert wrong.mean() < 0.06
    blue = crop.image[:, width // 2, 0]
    assert (blue[2:17] == 0).all()
    assert (blue[24:-3] == 200).all()


def test_upright_by_right_angles_keeps_the_pixels(image):
    lying, standing = rectangle(20, 10, 40, 18), rectangle(50, 20, 60, 50)
    first, second = crop_instances(
        image, make_sample(lying, standing), pad=0.25, upright=True
    )
    np.testing.assert_array_equal(first.image, np.rot90(image[8:20, 15:45]))
    np.testing.assert_array_equal(second.image, image[12:58, 47:63])


def test_upright_beyond_the_image(image):
    """Where there is no image, there is background."""
    sample = make_sample(rectangle(0, 0, 10, 20))
    (kept,) = crop_instances(image, sample, pad=0.5, upright=True)
    (filled,) = crop_instances(
        image, sample, pad=0.5, background=RED, upright=True
    )
    inside = np.s_[10:30, 5:15]
    np.testing.assert_array_equal(kept.image[10:, 5:], image[:30, :15])
    assert not kept.image[:10].any()
    assert not kept.image[:, :5].any()
    np.testing.assert_array_equal(filled.image[inside], image[:20, :10])
    filled.image[inside] = (0, 0, 255)
    assert (filled.image == (0, 0, 255)).all()


@pytest.mark.parametrize(
    'form',
    [
        pytest.param(np.asarray, id='array'),
        pytest.param(to_rle, id='RLE'),
        pytest.param(to_text_rle, id='RLE as text'),
    ],
)
def test_forms_of_masks(image, form):
    masks = ellipse(30), ellipse(-50, (55, 25))
    options = {'background': 'transparent', 'upright': True}
    expected = crop_instances(image, make_sample(*masks), **options)
    crops = crop_instances(image, make_sample(*masks, form=form), **options)
    assert len(crops) == 2
    for crop, other in zip(crops, expected, strict=True):
        np.testing.assert_array_equal(crop.image, other.image)
        assert (crop.area, crop.angle) == (other.area, other.angle)


def test_boxes_that_a_detector_lacks(image):
    """Such as SOLO."""
    sample = make_sample(rectangle(12, 20, 30, 44), boxes=[[0, 0, 0, 0]])
    (crop,) = crop_instances(image, sample, pad=0)
    assert crop.box == (12, 20, 30, 44)
    np.testing.assert_array_equal(crop.image, image[20:44, 12:30])


def test_boxes_without_size_and_masks(image):
    sample = make_sample(boxes=[[5, 5, 5, 9], [90, 10, 99, 20]])
    assert crop_instances(image, sample) == []


@pytest.mark.parametrize(
    'options', [{'upright': True}, {'background': 'transparent'}]
)
def test_masks_that_are_needed(image, options):
    sample = make_sample(boxes=[[5, 5, 15, 9]])
    with pytest.raises(ValueError, match='gives boxes but no masks'):
        crop_instances(image, sample, **options)


def test_the_image_is_left_alone(image):
    before = image.copy()
    (crop,) = crop_instances(image, make_sample(ellipse(0)))
    crop.image[:] = 0
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('form', [torch.from_numpy, to_rle])
def test_masks_of_another_size(image, form):
    sample = make_sample(ellipse(0), form=form)
    with pytest.raises(
        ValueError, match=r'height x width 60x80, its image of 59x80'
    ):
        crop_instances(image[1:], sample)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'image': np.zeros(SHAPE, np.uint8)}, r'\(60, 80\); expected uint8'),
        ({'image': np.zeros((*SHAPE, 3))}, 'image is float64'),
        ({'score_thr': 50}, 'score_thr=50: expected 0 to 1'),
        ({'pad': -0.1}, 'pad=-0.1: expected 0 or more'),
        ({'background': 'red'}, "background='red': expected 'keep'"),
        ({'background': (300, 0, 0)}, r'background=\(300, 0, 0\): expec'),
        ({'background': (1, 2)}, r'background=\(1, 2\): expected'),
    ],
)
def test_wrong_arguments(image, change, message):
    options = {'image': image, 'sample': make_sample(ellipse(0)), **change}
    with pytest.raises(ValueError, match=message):
        crop_instances(**options)


def test_parse_background():
    texts = ['keep', 'transparent', 'red', '#0a141e']
    parsed = ['keep', 'transparent', (255, 0, 0), (10, 20, 30)]
    assert [parse_background(text) for text in texts] == parsed
    with pytest.raises(ValueError, match="'blurred' is no background"):
        parse_background('blurred')
