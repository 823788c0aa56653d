import itertools
from collections import Counter
from math import sqrt

import numpy as np
import pytest
from mmengine import DefaultScope
from mmengine.registry import DATA_SAMPLERS
from mmseg.datasets import BaseSegDataset
from PIL import Image
from torch.utils.data import BatchSampler

from mmseg_ext.engine.samplers import RareClassSampler
from mmseg_ext.engine.samplers.rare_class_sampler import repeat_factors

NAMES = ('road', 'sky', 'car', 'bus', 'bike')

#: Pixels of each class in 16 images of 10 pixels; there is no bike.
COUNTS = [[5, 5, 0, 0]] * 12 + [[4, 4, 2, 0]] * 3 + [[1, 0, 4, 5]]

#: By hand. The mean shares are 0.456, 0.45, (3 x 0.2 + 0.4) / 16 = 0.0625 of
#: cars and 0.5 / 16 = 0.03125 of buses; these two are below the median. Cars
#: are 3.2 times as many as on average in three images. The last has 6.4 times
#: as many, and 16 times as many buses.
FACTORS = [1] * 12 + [sqrt(3.2)] * 3 + [4]


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with these images and labels."""
    folder = tmp_path_factory.mktemp('images')
    for index, counts in enumerate(COUNTS):
        label = np.repeat(range(4), counts).astype(np.uint8).reshape(2, 5)
        for name in ('images', 'labels'):
            path = folder / name / f'{index:02}.png'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(label).save(path)
    return folder


@pytest.fixture(scope='module')
def dataset(folder):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return make_set(folder)


def make_set(folder, names=NAMES, **options):
    return BaseSegDataset(
        data_root=str(folder),
        **{
            'data_prefix': dict(img_path='images', seg_map_path='labels'),
            'img_suffix': '.png',
            'metainfo': dict(classes=names),
            'pipeline': [dict(type='LoadAnnotations')],
            **options,
        },
    )


def take(sampler, count):
    return list(itertools.islice(sampler, count))


def set_rank(monkeypatch, rank, world_size):
    monkeypatch.setattr(
        'mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size)
    )


def test_factors_by_hand(dataset):
    sampler = RareClassSampler(dataset, seed=0)
    assert sampler.factors.tolist() == pytest.approx(FACTORS)


def test_classes_can_be_chosen(dataset):
    sampler = RareClassSampler(dataset, seed=0, classes=['car'])
    assert sampler.factors.tolist() == pytest.approx(
        [1] * 12 + [sqrt(3.2)] * 3 + [sqrt(6.4)]
    )


def test_factors_are_bounded(dataset):
    sampler = RareClassSampler(dataset, seed=0, max_factor=1.5)
    assert sampler.factors.tolist() == [1] * 12 + [1.5] * 4


def test_large_images_and_ignored_pixels_are_no_more():
    small = np.array([[8, 2], [9, 1], [9, 0], [0, 0]])
    large = small * [[1], [100], [7], [1]]
    factors = repeat_factors(small)
    # The mean of 0.2, 0.1, 0 and 0 is 0.075.
    assert factors.tolist() == pytest.approx(
        [sqrt(0.2 / 0.075), sqrt(0.1 / 0.075), 1, 1]
    )
    assert repeat_factors(large).tolist() == pytest.approx(factors.tolist())


def test_nothing_is_rare_where_nothing_occurs():
    assert repeat_factors(np.zeros((3, 2), int)).tolist() == [1] * 3
    assert repeat_factors(np.ones((3, 1), int), [0]).tolist() == [1] * 3


def test_draws_come_as_often_as_the_rule_says(dataset):
    rounds = 2000
    total = round(rounds * sum(FACTORS))
    counts = Counter(take(RareClassSampler(dataset, seed=1), total))
    for index, factor in enumerate(FACTORS):
        # The deviation of a chance of one half over as many rounds is 22;
        # the number of rounds itself varies by less than as much.
        assert abs(counts[index] - rounds * factor) < 120


def test_each_round_has_every_image_and_none_too_often(dataset):
    sampler = RareClassSampler(dataset, seed=2)
    # A factor of 1.79 is once or twice, so a round has 19 to 22 images.
    counts = Counter(take(sampler, 22))
    assert set(counts) == set(range(16))
    first = Counter(take(RareClassSampler(dataset, seed=2), 19))
    assert all(first[index] <= 1 for index in range(12))
    assert all(first[index] <= 2 for index in range(12, 15))
    assert first[15] <= 4


def test_without_rare_classes_it_is_a_shuffled_infinite_sampler(dataset):
    sampler = RareClassSampler(dataset, seed=3, max_factor=1)
    assert sampler.factors.tolist() == [1] * 16
    drawn = take(sampler, 48)
    for start in (0, 16, 32):
        assert sorted(drawn[start : start + 16]) == list(range(16))
    assert drawn[:16] != drawn[16:32]


def test_same_seed_same_order(dataset):
    first, again, other = (
        take(RareClassSampler(dataset, seed=seed), 200) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_together_draw_what_one_process_would(
    dataset, monkeypatch, world_size
):
    alone = take(RareClassSampler(dataset, seed=7), 120)
    parts = []
    for rank in range(world_size):
        set_rank(monkeypatch, rank, world_size)
        sampler = RareClassSampler(dataset, seed=7)
        parts.append(take(sampler, 120 // world_size))
    together = [index for step in zip(*parts, strict=True) for index in step]
    assert together == alone


def test_resumes_by_taking_what_was_taken(dataset):
    """As mmengine's loop does: it takes the batches again."""
    whole = take(BatchSampler(RareClassSampler(dataset, seed=8), 4, True), 30)
    resumed = iter(BatchSampler(RareClassSampler(dataset, seed=8), 4, True))
    for _ in range(13):
        next(resumed)
    assert take(resumed, 17) == whole[13:]


def test_configs_find_it_and_keep_shuffle(dataset):
    config = dict(type='RareClassSampler', shuffle=True)
    sampler = DATA_SAMPLERS.build(
        config, default_args=dict(dataset=dataset, seed=5)
    )
    assert take(sampler, 50) == take(RareClassSampler(dataset, seed=5), 50)


def test_classes_that_are_never_seen_are_named(folder, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmseg_ext.engine.samplers.rare_class_sampler.print_log',
        lambda text, **_: said.append(text),
    )
    RareClassSampler(make_set(folder, (*NAMES, 'van', 'void')), seed=0)
    (text,) = said
    assert 'none of the 16 images has the class(es) bike, van, so' in text
    RareClassSampler(make_set(folder, NAMES[:4]), seed=0)
    assert len(said) == 1


def test_a_data_set_without_labels_is_refused(folder):
    unlabeled = make_set(folder, data_prefix=dict(img_path='images'))
    with pytest.raises(ValueError, match=r'BaseSegDataset.*00\.png.*no label'):
        RareClassSampler(unlabeled)


def test_a_data_set_without_classes_is_refused():
    with pytest.raises(ValueError, match='list has no classes'):
        RareClassSampler([1, 2, 3])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(max_factor=0.5), 'max_factor=0.5: expected a number of 1'),
        (dict(max_factor=float('nan')), 'max_factor=nan: expected a number'),
        (dict(max_factor='a'), "max_factor='a': expected a number of 1"),
        (dict(classes=2), 'classes=2: expected a list of names'),
        (dict(ignore_index=None), 'ignore_index=None: expected an integer'),
        (dict(classes=['car', 'boat']), "'boat'.*out of road, sky, car, bus"),
        (dict(classes=[]), 'expected a list of names'),
        (dict(classes='car'), "classes='car': expected a list"),
        (dict(shuffle=False), 'shuffle=False.*InfiniteSampler'),
    ],
)
def test_arguments_out_of_range(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        RareClassSampler(dataset, **options)
