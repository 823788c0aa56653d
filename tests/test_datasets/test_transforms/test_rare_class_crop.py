from itertools import product

import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmengine import DefaultScope
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets import FastRandomCrop, RareClassCrop

#: Crops of 4 x 5 from 4 x 20 pixels: one at each of 16 places.
SIZE = (4, 5)
PLACES = range(16)


def make_label():
    """Return a label of class 0 with one pixel of class 2 in column 2."""
    label = np.zeros((4, 20), np.uint8)
    label[1, 2] = 2
    return label


def make_results(label):
    """Return an image that holds the label, and the label."""
    img = np.dstack([label] * 3)
    return dict(img=img, gt_seg_map=label, seg_fields=['gt_seg_map'])


def boxes_of(crop, label, num):
    np.random.seed(0)
    results = make_results(label)
    return [crop.crop_bbox(results) for _ in range(num)]


def share_with(crop, wanted, label, num=3000):
    """Return the share of crops that have a class."""
    boxes = boxes_of(crop, label, num)
    return np.mean([(crop.crop(label, box) == wanted).any() for box in boxes])


def expected_share(label, weights, wanted):
    """Return that share where each crop looks for a class, by enumeration."""
    weights = {c: w for c, w in weights.items() if (label == c).any()}
    share = 0
    for index, weight in weights.items():
        pixels = np.argwhere(label == index)
        for _, column in pixels:
            around = [x for x in PLACES if x <= column < x + SIZE[1]]
            good = [x for x in around if wanted in label[:, x : x + SIZE[1]]]
            share += weight * len(good) / len(around) / len(pixels)
    return share / sum(weights.values())


#: More than four deviations of the share in 3000 crops.
MARGIN = 0.04


def test_plain_crops_have_the_class_by_chance():
    share = share_with(FastRandomCrop(SIZE), 2, make_label())
    assert share == pytest.approx(3 / 16, abs=MARGIN)


def test_a_class_that_is_looked_for_is_in_each_crop():
    crop = RareClassCrop(SIZE, prob=1.0, class_weights=[0, 0, 1])
    assert share_with(crop, 2, make_label()) == 1


def test_looking_now_and_then():
    crop = RareClassCrop(SIZE, prob=0.5, class_weights=[0, 0, 1])
    share = share_with(crop, 2, make_label())
    assert share == pytest.approx(0.5 + 0.5 * 3 / 16, abs=MARGIN)


def test_without_weights_the_root_of_the_pixels_counts():
    label = make_label()
    share = share_with(RareClassCrop(SIZE, prob=1.0), 2, label)
    expected = expected_share(label, {0: 1 / np.sqrt(79), 2: 1}, 2)
    assert 0.9 < expected < 0.95
    assert share == pytest.approx(expected, abs=MARGIN)


def test_weights_are_relative_to_the_classes_in_the_image():
    label = make_label()
    label[:, 10:] = 1
    weights = [3, 1, 1, 50]  # no pixel of class 3
    crop = RareClassCrop(SIZE, prob=1.0, class_weights=weights)
    share = share_with(crop, 2, label)
    expected = expected_share(label, dict(enumerate(weights)), 2)
    assert share == pytest.approx(expected, abs=MARGIN)


def test_all_crops_around_a_pixel_are_alike():
    crop = RareClassCrop(SIZE, prob=1.0, class_weights=[0, 0, 1])
    label = np.zeros((4, 20), np.uint8)
    label[0, 9] = 2
    columns = [box[2] for box in boxes_of(crop, label, 2000)]
    counts = np.bincount(columns, minlength=16)
    assert set(np.flatnonzero(counts)) == {5, 6, 7, 8, 9}
    assert np.all(abs(counts[5:10] - 400) < 90)


@pytest.mark.parametrize('place', [*product((0, 6), (0, 8)), (3, 4)])
def test_crops_stay_in_the_image(place):
    label = np.full((7, 9), 255, np.uint8)
    label[place] = 1
    crop = RareClassCrop((3, 4), prob=1.0)
    for y0, y1, x0, x1 in boxes_of(crop, label, 60):
        assert 0 <= y0 <= place[0] < y1 <= 7
        assert 0 <= x0 <= place[1] < x1 <= 9
        assert (y1 - y0, x1 - x0) == (3, 4)


@pytest.mark.parametrize('shape', [(3, 20), (9, 3), (2, 2)])
def test_smaller_images_are_whole(shape):
    label = np.full(shape, 255, np.uint8)
    label[-1, -1] = 1
    results = RareClassCrop((4, 5), prob=1.0)(make_results(label))
    expected = min(shape[0], 4), min(shape[1], 5)
    assert results['gt_seg_map'].shape == expected
    assert results['gt_seg_map'][-1, -1] == 1
    assert results['img_shape'] == expected


def test_image_and_label_are_cut_alike():
    label = np.random.default_rng(0).integers(0, 3, (30, 40)).astype(np.uint8)
    results = RareClassCrop((7, 9), prob=1.0)(make_results(label))
    assert results['gt_seg_map'].shape == (7, 9)
    assert (results['img'] == results['gt_seg_map'][..., None]).all()


@pytest.mark.parametrize('ignored', [255, 0])
def test_what_is_all_ignored_is_cut_at_random(ignored):
    label = np.full((4, 20), ignored, np.uint8)
    crop = RareClassCrop(SIZE, prob=1.0, ignore_index=ignored)
    columns = [box[2] for box in boxes_of(crop, label, 400)]
    assert set(columns) == set(PLACES)


def test_without_label_it_cuts_at_random():
    results = dict(img=np.zeros((4, 20, 3), np.uint8), seg_fields=[])
    assert RareClassCrop(SIZE, prob=1.0)(results)['img'].shape == (4, 5, 3)


def test_classes_without_weight_are_not_looked_for():
    crop = RareClassCrop(SIZE, prob=1.0, class_weights=[0, 1, 0])
    share = share_with(crop, 2, make_label())
    assert share == pytest.approx(3 / 16, abs=MARGIN)


def test_without_looking_it_is_a_fast_random_crop():
    label = np.random.default_rng(1).integers(0, 3, (50, 60)).astype(np.uint8)
    rare = boxes_of(RareClassCrop(9, prob=0.0, cat_max_ratio=0.4), label, 1)
    np.random.seed(0)
    np.random.random()  # whether to look
    plain = FastRandomCrop(9, cat_max_ratio=0.4)
    assert [plain.crop_bbox(make_results(label))] == rare


@pytest.mark.parametrize('kind', [np.uint8, np.int64])
def test_crops_that_one_class_fills_are_drawn_again(kind):
    label = np.zeros((4, 20), kind)
    label[:, 10:] = 1
    weights = [0, 1]
    crop = RareClassCrop(4, 1.0, weights, cat_max_ratio=0.7)
    # Of 13 places around class 1 only 8 has both by halves, and is drawn
    # where the pixel is in column 10 or 11: 4 places around each.
    chance = 2 / 10 / 4
    boxes = boxes_of(crop, label, 2000)
    mixed = np.mean([box[2] == 8 for box in boxes])
    assert mixed == pytest.approx(1 - (1 - chance) ** 11, abs=0.05)
    assert all((crop.crop(label, box) == 1).any() for box in boxes)


def test_draws_can_be_shared():
    crop = RareClassCrop(SIZE, prob=1.0)
    label = make_label()
    with cache_random_params(crop):
        boxes = {crop.crop_bbox(make_results(label)) for _ in range(20)}
    assert len(boxes) == 1


def test_configs_find_it():
    with DefaultScope.overwrite_default_scope('mmseg'):
        crop = TRANSFORMS.build(dict(type='RareClassCrop', crop_size=(4, 5)))
    assert (crop.prob, crop.class_weights) == (0.5, None)


def test_a_class_without_a_number_is_named():
    crop = RareClassCrop(SIZE, prob=1.0, class_weights=[1, 1])
    with pytest.raises(ValueError, match=r'has 2 numbers.*holds class 2'):
        crop(make_results(make_label()))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(prob=1.1), 'prob=1.1: expected a number from 0 to 1'),
        (dict(prob=-1), 'prob=-1: expected a number from 0 to 1'),
        (dict(prob='a'), "prob='a': expected a number from 0 to 1"),
        (dict(cat_max_ratio=-1), 'cat_max_ratio=-1: expected a number'),
        (dict(ignore_index=None), 'ignore_index=None: expected an integer'),
        (
            dict(class_weights='sqrt_median_frequency'),
            "class_weights='sqrt_median_frequency': expected one number .*rul",
        ),
        (dict(class_weights=['1', '2']), 'class_weights='),
        (dict(class_weights=[]), 'class_weights='),
        (dict(class_weights=[0, 0]), 'at least one above 0'),
        (dict(class_weights=[1, -1]), '0 or more'),
        (dict(class_weights=[1, float('inf')]), 'class_weights='),
        (dict(class_weights=[[1, 2]]), 'one number for each'),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        RareClassCrop(SIZE, **options)


def test_weights_of_another_number_of_classes():
    crop = RareClassCrop(SIZE, class_weights=[1, 2, 3])
    crop.check_classes({3, 4})
    RareClassCrop(SIZE).check_classes({4})
    for number in (2, 4):
        message = f'class_weights .* has 3 numbers: expected {number}'
        with pytest.raises(ValueError, match=message):
            crop.check_classes({number})


@pytest.mark.parametrize('weights', [None, [1, 1, 1]])
@pytest.mark.parametrize(('odd', 'ignored'), [(255, 2), (255, -1), (-1, 255)])
def test_what_is_no_class_is_not_looked_for(odd, ignored, weights):
    label = np.full((4, 20), ignored, np.int16)
    label[0, :10] = odd
    label[1, 18] = 1
    crop = RareClassCrop(SIZE, 1.0, weights, 0.9, ignored)
    assert share_with(crop, 1, label, 100) == 1
