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

NAMES = ('road', 'car', 'bus', 'bike')

#: Classes of 16 images: all have road, 4 a car, and one of these a bus.
IMAGES = [{0}] * 12 + [{0, 1}] * 3 + [{0, 1, 2}]

#: By hand, with the threshold 0.5: 1, sqrt(0.5 / (4 / 16)), and
#: sqrt(0.5 / (1 / 16)).
FACTORS = [1] * 12 + [sqrt(2)] * 3 + [sqrt(8)]


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder whose labels have 2 pixels of each class of the image."""
    folder = tmp_path_factory.mktemp('images')
    for index, classes in enumerate(IMAGES):
        label = np.full((2, 5), 255, np.uint8)
        label[:, : len(classes)] = sorted(classes)
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


def test_factors_of_another_threshold():
    present = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], bool)
    factors = repeat_factors(present, 1.0)
    assert factors.tolist() == pytest.approx([sqrt(4 / 3), sqrt(4 / 3), 2, 1])


def test_draws_come_as_often_as_the_rule_says(dataset):
    rounds = 2000
    total = round(rounds * sum(FACTORS))
    counts = Counter(take(RareClassSampler(dataset, seed=1), total))
    for index, factor in enumerate(FACTORS):
        # The deviation of a chance of one half over as many rounds is 22;
        # the number of rounds itself varies by less than as much.
        assert abs(counts[index] - rounds * factor) < 120
    with_bus = counts[15] / total
    assert with_bus > 2 * len([i for i in IMAGES if 2 in i]) / len(IMAGES)


def test_each_round_has_every_image_and_none_too_often(dataset):
    sampler = RareClassSampler(dataset, seed=2)
    # No round is longer, so these are the first of one.
    longest = sum(int(factor) + (factor % 1 > 0) for factor in FACTORS)
    counts = Counter(take(sampler, longest))
    assert set(counts) == set(range(16))
    assert all(counts[index] <= 2 for index in range(12)), counts


def test_without_rare_classes_it_is_a_shuffled_infinite_sampler(dataset):
    sampler = RareClassSampler(dataset, seed=3, threshold=1 / 16)
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


def test_few_pixels_do_not_count(dataset):
    sampler = RareClassSampler(dataset, seed=0, min_pixels=3)
    assert sampler.factors.tolist() == [1] * 16


def test_classes_that_are_never_seen_are_named(folder, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmseg_ext.engine.samplers.rare_class_sampler.print_log',
        lambda text, **_: said.append(text),
    )
    RareClassSampler(make_set(folder, (*NAMES, 'van', 'void')), seed=0)
    (text,) = said
    assert 'none of the 16 images has the class(es) bike, van, so' in text
    RareClassSampler(make_set(folder, NAMES[:3]), seed=0)
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
        (dict(threshold=0), 'threshold=0: expected a share'),
        (dict(threshold=1.5), 'threshold=1.5: expected a share'),
        (dict(threshold=float('nan')), 'threshold=nan: expected a share'),
        (dict(min_pixels=0), 'min_pixels=0: expected 1'),
        (dict(shuffle=False), 'shuffle=False.*InfiniteSampler'),
    ],
)
def test_arguments_out_of_range(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        RareClassSampler(dataset, **options)
