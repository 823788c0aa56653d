import itertools
import json
import random
import warnings

import numpy as np
import pytest
import torch
from mmengine import DefaultScope
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset, MultiImageMixDataset
from mmseg.models.decode_heads import FCNHead
from mmseg.models.segmentors import BaseSegmentor, SegTTAModel
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import multiprocessing, nn

from mmseg_ext.datasets import ColorMaskDataset
from mmseg_ext.engine.label_checks import (
    ClassHead,
    FirstLabel,
    SeenClasses,
    class_heads,
    classes_in,
    count_within,
    first_labels,
    ignored_fault,
    label_fault,
    may_be_black_and_white,
    misfit,
    sample_info,
    samples_of,
    trained_classes,
    value_fault,
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


NAMES = ('sky', 'wall', 'road', 'pole')


def make_head(kind='FCNHead', **options):
    return dict(
        type=kind,
        in_channels=8,
        channels=4,
        num_convs=1,
        in_index=-1,
        norm_cfg=dict(type='BN'),
        **options,
    )


def make_model(kind='EncoderDecoder', **options):
    """Return a segmentor with the smallest backbone."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return MODELS.build(
            dict(
                type=kind,
                backbone=dict(type='ResNet', depth=18, base_channels=1),
                **options,
            )
        )


class Plain(BaseSegmentor):
    """A segmentor without the heads of MMSeg."""

    def __init__(self):
        super().__init__()
        self.num_classes = 5

    def _refuse(self, *args, **kwargs):
        raise NotImplementedError

    extract_feat = encode_decode = loss = predict = _forward = _refuse


#: Options of a model, and its heads by name with their numbers of classes.
MODELS_AND_HEADS = {
    'auxiliary head': (
        dict(
            decode_head=make_head(num_classes=4),
            auxiliary_head=make_head(num_classes=3),
        ),
        {'decode_head': 4, 'auxiliary_head': 3},
    ),
    'auxiliary heads, one of them for edges': (
        dict(
            decode_head=make_head(num_classes=4),
            auxiliary_head=[
                make_head('STDCHead', num_classes=2),
                make_head(num_classes=19),
            ],
        ),
        {'decode_head': 4, 'auxiliary_head.1': 19},
    ),
    'cascade': (
        dict(
            kind='CascadeEncoderDecoder',
            num_stages=2,
            decode_head=[
                make_head(num_classes=4),
                dict(
                    type='PointHead',
                    in_channels=[8],
                    in_index=[-1],
                    channels=4,
                    num_fcs=1,
                    num_classes=7,
                ),
            ],
        ),
        {'decode_head.0': 4, 'decode_head.1': 7},
    ),
}


@pytest.mark.parametrize(
    ('options', 'expected'), MODELS_AND_HEADS.values(), ids=MODELS_AND_HEADS
)
def test_heads(options, expected):
    model = make_model(**options)
    wrapped = [SegTTAModel(module=model), nn.DataParallel(model)]
    for given in (model, *wrapped):
        heads = class_heads(given)
        assert {head.name: head.num_classes for head in heads} == expected
        assert {head.ignore_index for head in heads} == {255}
    assert [head.key for head in class_heads(model)] == [
        f'model.{name}.num_classes' for name in expected
    ]


@MODELS.register_module()
class SceneHead(FCNHead):
    """A head that tells apart kinds of scenes as well."""

    def __init__(self, **options):
        super().__init__(**options)
        self.scene = nn.Linear(4, 365)
        self.scene.num_classes = 365
        self.coarse = FCNHead(
            in_channels=8, channels=4, num_convs=1, num_classes=3
        )


def test_parts_of_a_head_are_for_other_classes():
    model = make_model(decode_head=make_head('SceneHead', num_classes=4))
    heads = {head.name: head.num_classes for head in class_heads(model)}
    assert heads == {'decode_head': 4, 'decode_head.coarse': 3}


def test_a_model_without_heads_stands_for_itself():
    assert class_heads(Plain()) == [ClassHead('', 5)]
    assert class_heads(Plain())[0].key == 'model.num_classes'
    assert class_heads(nn.Conv2d(1, 1, 1)) == []


@pytest.mark.parametrize(
    ('options', 'fitting'),
    [
        (dict(num_classes=2), {2}),
        (dict(num_classes=2, out_channels=1, threshold=0.5), {1, 2}),
        (dict(num_classes=1, threshold=0.5), {1, 2}),
        (dict(num_classes=3), {3}),
    ],
)
def test_one_output_is_for_one_class_and_the_background(options, fitting):
    [head] = class_heads(make_model(decode_head=make_head(**options)))
    assert {count for count in range(1, 5) if head.fits(count)} == fitting


def test_misfit_says_key_numbers_and_data_set():
    heads = [
        ClassHead('decode_head', 4),
        ClassHead('auxiliary_head.0', 2),
        ClassHead('auxiliary_head.1', 9),
    ]
    said = misfit(heads, NAMES, 'Roads of train_dataloader')
    assert said.startswith(
        'model.auxiliary_head.0.num_classes=2 and '
        'model.auxiliary_head.1.num_classes=9, but Roads of train_dataloader '
        'has 4 classes (sky, wall, road, pole): set num_classes=4 '
    )
    assert misfit(heads[:1], NAMES, '') is None


def test_void_at_the_end_needs_no_output():
    """So in MMSeg's config for Mapillary, of 66 classes with 65 outputs."""
    names = (*NAMES, 'Unlabeled')
    assert misfit([ClassHead('', 4)], names, '') is None
    assert misfit([ClassHead('', 5)], names, '') is None
    assert '=3, but' in misfit([ClassHead('', 3)], names, '')
    assert '=4, but' in misfit([ClassHead('', 4)], (*NAMES, 'van'), '')


@TRANSFORMS.register_module()
class LoadByItself:
    """A loader of a user's, which needs what the image's loader gives."""

    def __call__(self, results):
        assert results['img'].shape[:2] == (6, 8)
        results['gt_seg_map'] = np.array(Image.open(results['seg_map_path']))
        results['seg_fields'].append('gt_seg_map')
        return results


@TRANSFORMS.register_module()
class WhiteToOne:
    """A step of a user's that changes values after they were loaded."""

    def __call__(self, results):
        results['gt_seg_map'] = (results['gt_seg_map'] == 255).astype(np.uint8)
        return results


def write(root, labels):
    """Write images and labels ``00.png`` and so on."""
    for number, label in enumerate(labels):
        label = np.asarray(label, np.uint8)
        for kind, pixels in (
            ('images', np.zeros((6, 8, 3), np.uint8)),
            ('labels', label),
        ):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / kind / f'{number:02}.png')


def full(*values):
    """Return a label with these values, row by row."""
    return np.resize(np.array(values, np.uint8), (8, 6)).T.copy()


def load(root, *loaders, kind=BaseSegDataset, **options):
    options.setdefault('metainfo', dict(classes=NAMES))
    return kind(
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        seg_map_suffix='.png',
        pipeline=[
            dict(type='LoadImageFromFile'),
            *(
                dict(type=loader) if isinstance(loader, str) else loader
                for loader in loaders or ['LoadAnnotations']
            ),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
        **options,
    )


def numbers(labels):
    return [int(label.path[-6:-4]) for label in labels]


@pytest.mark.parametrize(
    ('size', 'num', 'expected'),
    [(3, 8, [0, 1, 2]), (20, 4, [0, 1, 2, 3]), (3, 1, [0]), (3, 0, [])],
)
@pytest.mark.parametrize('whole', [False, True])
def test_labels_are_spread_over_the_data_set(
    tmp_path, size, num, expected, whole
):
    """One of each of equal parts."""
    write(tmp_path, [full(i % 4) for i in range(size)])
    loader = 'LoadByItself' if whole else 'LoadAnnotations'
    labels = first_labels(load(tmp_path, loader), num)
    found = numbers(labels)
    parts = max(min(size, num), 1)
    assert [number * parts // size for number in found] == expected
    assert [label.label.max() for label in labels] == [i % 4 for i in found]


@pytest.mark.parametrize('step', [2, 4, 8])
def test_labels_at_a_regular_step(tmp_path, step):
    """So in video, or where one of so many frames is labeled."""
    write(tmp_path, [full(255 if i % step else 1) for i in range(64)])
    dataset = load(tmp_path)
    found = numbers(first_labels(dataset, 8))
    assert len({b - a for a, b in itertools.pairwise(found)}) > 2
    assert count_within(dataset, 64, [255]) == 0
    assert count_within(dataset, 64, [255, 1]) == 64
    assert count_within(dataset, 9, [255, 1]) == 9


def test_labels_of_wrapped_data_sets(tmp_path):
    for name, value in (('a', 1), ('b', 2)):
        write(tmp_path / name, [full(value)] * 6)
    one, two = load(tmp_path / 'a'), load(tmp_path / 'b')
    both = ConcatDataset([one, two])
    for dataset in (both, MultiImageMixDataset(both, pipeline=[])):
        labels = first_labels(dataset, 4)
        assert [number // 3 for number in numbers(labels)] == [0, 1, 0, 1]
        assert [label.label[0, 0] for label in labels] == [1, 1, 2, 2]
    labels = first_labels(RepeatDataset(one, times=3), 4)
    assert [number * 4 // 6 for number in numbers(labels)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ('loaders', 'expected'),
    [
        (['LoadAnnotations'], {0, 255}),
        (['FastLoadAnnotations'], {0, 255}),
        (['LoadByItself'], {0, 255}),
        (['LoadAnnotations', 'WhiteToOne'], {0, 1}),
        (
            [
                'LoadAnnotations',
                dict(type='MapLabels', label_map={255: 1}),
                dict(type='MapLabels', label_map={0: 2, 2: 0}),
            ],
            {1, 2},
        ),
    ],
)
def test_labels_are_what_the_pipeline_makes_of_them(
    tmp_path, loaders, expected
):
    write(tmp_path, [full(0, 255)])
    [found] = first_labels(load(tmp_path, *loaders), 8)
    assert set(np.unique(found.label)) == expected


APPLY = dict(type='WhiteToOne')

#: Transforms that have others within them.
AROUND = {
    'RandomApply': dict(prob=1.0, transforms=[APPLY]),
    'RandomChoice': dict(transforms=[[APPLY]]),
    'KeyMapper': dict(transforms=[APPLY]),
    'TransformBroadcaster': dict(
        auto_remap=True,
        mapping=dict(gt_seg_map=['gt_seg_map']),
        transforms=[APPLY],
    ),
    'Compose': dict(transforms=[APPLY]),
}


@pytest.mark.parametrize('kind', [*AROUND, 'MultiImageMixDataset'])
def test_steps_within_others_are_seen(tmp_path, kind):
    write(tmp_path, [full(0, 255)] * 2)
    dataset = load(tmp_path)
    own = [APPLY, dict(type='PackSegInputs')]
    if kind in AROUND:
        options = dict(type=kind, **AROUND[kind])
        dataset.pipeline.transforms.insert(2, TRANSFORMS.build(options))
    else:
        del dataset.pipeline.transforms[-1]
        dataset = MultiImageMixDataset(ConcatDataset([dataset]), own)
    found = first_labels(dataset, 8)
    assert [set(np.unique(f.label)) for f in found] == [{0, 1}] * 2
    assert numbers(found) == [0, 1]
    assert may_be_black_and_white(dataset)


@TRANSFORMS.register_module()
class DrawLabel:
    """A step of a user's that makes labels, with a state of its own."""

    def __init__(self):
        self.chance = np.random.default_rng(0)

    def __call__(self, results):
        shape = results['img'].shape[:2]
        results['gt_seg_map'] = self.chance.integers(0, 2, shape, np.uint8)
        results['seg_fields'].append('gt_seg_map')
        return results


class OwnKey(BaseSegDataset):
    """A data set that names its labels otherwise."""

    def load_data_list(self):
        rows = super().load_data_list()
        return [{'mask': row.pop('seg_map_path'), **row} for row in rows]


@TRANSFORMS.register_module()
class LoadOwnKey:
    def __call__(self, results):
        results['gt_seg_map'] = np.array(Image.open(results['mask']))
        results['seg_fields'].append('gt_seg_map')
        return results


def test_labels_of_another_key(tmp_path):
    write(tmp_path, [full(0, 2)] * 2)
    dataset = load(tmp_path, 'LoadOwnKey', kind=OwnKey)
    found = first_labels(dataset, 8)
    assert [np.unique(f.label).tolist() for f in found] == [[0, 2]] * 2
    assert found[0].path == f'of {tmp_path}/images/00.png'
    assert label_fault(dataset) is None
    assert label_fault(dataset, evaluated=True) is None


def test_labels_that_the_pipeline_makes(tmp_path):
    """What it would give in the training is not used up."""
    write(tmp_path, [full(0)] * 3)
    dataset = load(tmp_path, 'DrawLabel')
    dataset.data_prefix.pop('seg_map_path')
    dataset._fully_initialized = False
    dataset.full_init()
    draw = dataset.pipeline.transforms[1]
    before = draw.chance.bit_generator.state
    assert label_fault(dataset) is None
    assert label_fault(dataset, evaluated=True) is None
    assert len(first_labels(dataset, 8)) == 3
    assert count_within(dataset, 300, [0, 1]) == 3
    assert draw.chance.bit_generator.state == before


def test_a_data_set_with_a_way_of_its_own(tmp_path):
    class Halved(BaseSegDataset):
        def prepare_data(self, idx):
            sample = super().prepare_data(idx)
            sample['data_samples'].gt_sem_seg.data //= 2
            return sample

    write(tmp_path, [full(2, 6)])
    [found] = first_labels(load(tmp_path, kind=Halved), 8)
    assert np.unique(found.label).tolist() == [1, 3]


@pytest.mark.parametrize(
    ('loader', 'trained', 'compared'),
    [
        ('LoadAnnotations', True, True),
        ('FastLoadAnnotations', True, True),
        # Nothing says that there are to be any.
        ('RandomFlip', False, True),
    ],
)
def test_no_labels_at_all(tmp_path, loader, trained, compared):
    write(tmp_path, [full(0)])
    labeled = load(tmp_path)
    dataset = load(tmp_path)
    step = TRANSFORMS.build(
        dict(type=loader, **dict(prob=0.5) if 'Flip' in loader else {})
    )
    dataset.pipeline.transforms[1] = step
    dataset.data_prefix.pop('seg_map_path')
    dataset._fully_initialized = False
    dataset.full_init()
    said = 'BaseSegDataset: there are no labels to '
    for evaluated, sure in ((False, trained), (True, compared)):
        fault = label_fault(dataset, evaluated)
        assert (fault or '').startswith(said * sure)
        assert (fault is not None) == sure
    # A training that mixes images with and without labels may be meant.
    both = ConcatDataset([labeled, dataset])
    assert (label_fault(both) is None) == (loader != 'LoadAnnotations')
    # To score it is not: the one without is named.
    assert (label_fault(both, evaluated=True) or '').startswith(said)


def test_random_numbers_stay_as_they_are(tmp_path):
    write(tmp_path, [full(0, 255)] * 3)
    dataset = load(tmp_path, 'LoadAnnotations', 'WhiteToOne')

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    expected = draw()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    assert len(first_labels(dataset, 8)) == 3
    assert draw() == expected


def test_colors_are_classes(tmp_path):
    colors = dict(sky=(0, 0, 0), void=(9, 9, 9), road=(1, 2, 3))
    rgb = np.array(list(colors.values()), np.uint8)
    write(tmp_path, [rgb[np.resize([0, 1, 2], (6, 8))]])
    dataset = load(
        tmp_path,
        'LoadColorMasks',
        kind=ColorMaskDataset,
        class_dict=colors,
        metainfo=None,
    )
    [found] = first_labels(dataset, 8)
    assert np.unique(found.label).tolist() == [0, 2, 255]
    # Void has a place in the list, and no pixels.
    assert trained_classes(
        sample_info(dataset), dataset.metainfo['classes']
    ) == {*(0, 2)}
    assert not may_be_black_and_white(dataset)


def test_classes_that_were_chosen(tmp_path):
    class Roads(BaseSegDataset):
        METAINFO = dict(classes=NAMES)

    write(tmp_path, [full(0, 1, 2, 3)])
    chosen = dict(classes=('road', 'sky'))
    dataset = load(tmp_path, kind=Roads, metainfo=chosen)
    [found] = first_labels(dataset, 8)
    assert np.unique(found.label).tolist() == [0, 1, 255]
    assert trained_classes(sample_info(dataset), chosen['classes']) == {0, 1}
    assert not may_be_black_and_white(dataset)
    assert may_be_black_and_white(load(tmp_path, kind=Roads))
    # It tells of them itself.
    fast = load(tmp_path, 'FastLoadAnnotations', kind=Roads)
    assert not may_be_black_and_white(fast)


def test_void_is_not_looked_for():
    """As IDD's class 26, which labels have as 255."""
    assert trained_classes({}, ('road', 'unlabelled', 'sky')) == {0, 2}


def test_images_without_labels(tmp_path):
    write(tmp_path, [full(0)])
    dataset = load(tmp_path, serialize_data=False)
    for info in dataset.data_list:
        del info['seg_map_path']
    assert first_labels(dataset, 8) == []
    assert first_labels([1, 2], 8) == []


@pytest.mark.parametrize('loader', ['LoadAnnotations', 'FastLoadAnnotations'])
@pytest.mark.parametrize('content', [None, b'', b'no image'])
def test_a_file_that_cannot_be_read_is_named(tmp_path, loader, content):
    write(tmp_path, [full(0), full(1)])
    path = tmp_path / 'labels/01.png'
    dataset = load(tmp_path, loader)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((OSError, ValueError), match=r'01\.png'):
        first_labels(dataset, 8)


def first(*labels):
    return [
        FirstLabel(f'{number}.png', np.asarray(label))
        for number, label in enumerate(labels)
    ]


def test_ignored_labels():
    ignored, some = full(255), full(255, 255, 3)
    heads = [ClassHead('decode_head', 4)]
    assert ignored_fault(first(ignored, ignored), heads).startswith(
        'every pixel is ignored (255) in all 2 label(s) that were read, '
        '0.png, 1.png: the training would learn nothing'
    )
    assert ignored_fault(first(ignored, some), heads) is None
    assert ignored_fault([], heads) is None
    other = [ClassHead('decode_head', 4, ignore_index=0)]
    assert ignored_fault(first(ignored), other) is None
    assert '(0) in all' in ignored_fault(first(full(0)), other)


@pytest.mark.parametrize(
    ('values', 'head', 'count', 'said'),
    [
        ([0, 3, 255], ClassHead('', 4), 4, None),
        (
            [0, 4, 7],
            ClassHead('', 4),
            4,
            '4, 7: expected class indices 0 to 3',
        ),
        ([0, 9], ClassHead('', 4), 0, '9: expected class indices 0 to 3'),
        # Void at the end of the list, without an output.
        ([0, 4], ClassHead('', 4), 5, '4: expected class indices 0 to 3'),
        ([0, 4], None, 4, '4: expected class indices 0 to 3'),
        ([0, 4], None, 0, None),
        ([0, 9, 255], ClassHead('', 4, ignore_index=9), 4, '255: expected'),
        ([0, 9], ClassHead('', 4, ignore_index=9), 4, None),
        # Such losses leave nothing out.
        ([0, 255], ClassHead('', 4, ignore_index=None), 4, None),
        # The one class of a head with one output is 1.
        ([0, 1], ClassHead('', 1, single=True), 1, None),
        ([0, 2], ClassHead('', 1, single=True), 1, '2: expected class indi'),
        ([0, 1], ClassHead('', 1), 1, '1: expected class indices 0 to 0'),
    ],
)
def test_values_that_are_no_classes(values, head, count, said):
    found = value_fault(
        first(full(0), full(*values)), [head] if head else [], count
    )
    if said is None:
        assert found is None
    else:
        assert found.startswith('label 1.png holds the value(s) ')
        assert said in found


def test_labels_of_several_channels():
    rgb = np.zeros((6, 8, 3), np.uint8)
    said = value_fault(first(full(0), rgb), [ClassHead('', 4)], 4)
    assert said.startswith('label 1.png has 3 channels: expected one')


def make_sample(values):
    """Return a sample with these values in its label."""
    label = torch.from_numpy(np.resize(np.array(values), (1, 5, 7)))
    sample = SegDataSample()
    sample.gt_sem_seg = PixelData(data=label)
    return sample


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64])
def test_classes_of_a_label(dtype):
    sample = make_sample([0, 5, 255])
    sample.gt_sem_seg.data = sample.gt_sem_seg.data.to(dtype)
    assert classes_in(sample, [0, 1, 5, 6, 255]) == {0, 5, 255}
    assert classes_in(sample, []) == set()


def test_negative_labels_are_no_classes():
    sample = make_sample([-1, 0, 256 + 7])
    assert classes_in(sample, [0, 1, 7, 255]) == {0}


def test_classes_beyond_eight_bits():
    sample = make_sample([0, 300])
    assert classes_in(sample, {0, 44, 300, 301}) == {0, 300}


def test_batches():
    sample = make_sample([0])
    unlabeled = make_sample([0])
    del unlabeled.gt_sem_seg
    assert samples_of(dict(data_samples=[sample, unlabeled])) == [sample]
    for other in (None, [sample], dict(inputs=1), dict(data_samples={})):
        assert samples_of(other) == []


#: What each of two processes sees, one label after another.
SEEN = ([[0, 1], [1, 3]], [[3, 255], [7, 7], [0, 0]])


def see_labels(rank, folder):
    """See labels as one of two ranks, and write what both have seen."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    seen = SeenClasses([0, 1, 2, 3, 7, 8, 255])
    for values in SEEN[rank]:
        seen.add([make_sample(values)])
    images, classes = seen.result()
    torch.distributed.destroy_process_group()
    (folder / f'{rank}.json').write_text(json.dumps([images, sorted(classes)]))


def test_two_processes_see_what_either_has_seen(tmp_path):
    multiprocessing.start_processes(
        see_labels, (tmp_path,), nprocs=len(SEEN), start_method='fork'
    )
    for rank in range(len(SEEN)):
        result = json.loads((tmp_path / f'{rank}.json').read_text())
        assert result == [5, [0, 1, 3, 7, 255]]
