"""The hook in runs of MMEngine's runner, as of ``mim train``."""

import itertools
import random

import numpy as np
import pytest
import torch
from mmengine import DefaultScope
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, HOOKS, TRANSFORMS
from PIL import Image

from mmseg_ext.engine import LabelCheckHook
from mmseg_ext.engine.hooks import LabelCheckError

NAMES = ('sky', 'wall', 'road', 'pole')


@DATASETS.register_module()
class Depths(BaseSegDataset):
    """As MMSeg's ``NYUDataset``."""

    def load_data_list(self):
        rows = super().load_data_list()
        return [
            {'depth_map_path': row.pop('seg_map_path'), **row} for row in rows
        ]


_runs = itertools.count()


@pytest.fixture(autouse=True)
def scope():
    """Runners change it."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


@pytest.fixture
def write(tmp_path):
    """Return a function that writes images, and labels of some values."""

    def write(*labels, folder='data'):
        rng = np.random.default_rng(0)
        for number, values in enumerate(labels):
            label = np.resize(np.array(values, np.uint8), (32, 32)).T.copy()
            image = rng.integers(0, 255, (32, 32, 3), np.uint8)
            for kind, pixels in (('images', image), ('labels', label)):
                path = tmp_path / folder / kind / f'{number}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        return str(tmp_path / folder)

    return write


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes a config of a tiny model."""

    def make(root, steps=(), **options):
        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            *steps,
            dict(type='PackSegInputs'),
        ]

        def loader(shuffle):
            kind = 'InfiniteSampler' if shuffle else 'DefaultSampler'
            return dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type=kind, shuffle=shuffle),
                dataset=dict(
                    type='BaseSegDataset',
                    data_root=root,
                    data_prefix=dict(img_path='images', seg_map_path='labels'),
                    img_suffix='.png',
                    seg_map_suffix='.png',
                    metainfo=dict(classes=NAMES, palette=[[0, 0, 0]] * 4),
                    pipeline=pipeline,
                ),
            )

        norm = dict(type='BN')
        config = Config(
            dict(
                default_scope='mmseg',
                experiment_name=f'{tmp_path.name}_{next(_runs)}',
                work_dir=str(tmp_path / 'work'),
                randomness=dict(seed=0),
                model=dict(
                    type='EncoderDecoder',
                    data_preprocessor=dict(
                        type='SegDataPreProcessor', size=(32, 32)
                    ),
                    backbone=dict(
                        type='ResNet', depth=18, base_channels=2, norm_cfg=norm
                    ),
                    decode_head=dict(
                        type='FCNHead',
                        in_channels=16,
                        channels=4,
                        num_convs=1,
                        num_classes=4,
                        norm_cfg=norm,
                    ),
                    test_cfg=dict(mode='whole'),
                ),
                train_dataloader=loader(shuffle=True),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
                train_cfg=dict(by_epoch=False, max_iters=2),
                default_hooks=dict(
                    label_check=dict(type='LabelCheckHook'),
                    logger=dict(type='LoggerHook', interval=1),
                    checkpoint=dict(
                        type='CheckpointHook', by_epoch=False, interval=1
                    ),
                ),
                log_processor=dict(by_epoch=False),
            )
        )
        evaluation = dict(
            val_dataloader=loader(shuffle=False),
            val_cfg=dict(type='ValLoop'),
            val_evaluator=dict(type='IoUMetric'),
        )
        if options.pop('validate', False):
            config.merge_from_dict(evaluation)
        config.merge_from_dict(options)
        return config

    return make


@pytest.fixture
def train(capsys):
    """Return a function that trains and returns runner and warnings."""

    def train(config):
        runner = Runner.from_cfg(config)
        capsys.readouterr()
        runner.train()
        lines = capsys.readouterr().out.splitlines()
        return runner, [
            line
            for line in lines
            if 'WARNING' in line
            and ('labeled in no' in line or '0 and 255' in line)
        ]

    return train


GOOD = [[0, 1], [2, 3], [0, 255], [1, 1]]


def losses(runner):
    history, _ = runner.message_hub.get_scalar('train/loss').data
    return history.tolist()


def weights(runner):
    return torch.cat([p.flatten() for p in runner.model.parameters()])


@TRANSFORMS.register_module()
class Shift:
    """A step of a user's, by random numbers of its own and of all."""

    def __init__(self):
        self.chance = np.random.default_rng(0)

    def __call__(self, results):
        brighter = self.chance.normal(0, 9) + np.random.normal(0, 9)
        brighter += torch.rand(1).item() + random.random()
        results['img'] = (results['img'] + brighter).astype(np.float32)
        return results


@pytest.mark.parametrize('own', [[], [dict(type='Shift')]], ids=['', 'own'])
def test_nothing_changes_where_nothing_is_wrong(
    write, make_config, train, own
):
    """Also the random numbers of a pipeline in the same process."""
    root = write(*GOOD)
    steps = [
        dict(type='RandomCrop', crop_size=(20, 20)),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        *own,
    ]
    assert HOOKS.get('LabelCheckHook') is LabelCheckHook
    config = make_config(root, steps, **{'train_cfg.max_iters': 3})
    checked, _ = train(config)
    without = make_config(root, steps, **{'train_cfg.max_iters': 3})
    del without.default_hooks.label_check
    plain, _ = train(without)
    assert not any(isinstance(h, LabelCheckHook) for h in plain.hooks)
    assert len(losses(checked)) == 3
    assert losses(checked) == losses(plain)
    assert torch.equal(weights(checked), weights(plain))


@pytest.mark.parametrize('mode', ['train', 'val'])
def test_heads_of_other_classes(write, make_config, tmp_path, mode):
    names = ['sky', 'wall', 'road', 'pole', 'car']
    config = make_config(
        write(*GOOD),
        validate=True,
        **{
            f'{mode}_dataloader.dataset.metainfo.classes': names,
            f'{mode}_dataloader.dataset.metainfo.palette': [[0, 0, 0]] * 5,
        },
    )
    runner = Runner.from_cfg(config)
    with pytest.raises(LabelCheckError) as caught:
        runner.train()
    assert str(caught.value).startswith(
        'model.decode_head.num_classes=4, but BaseSegDataset of '
        f'{mode}_dataloader has 5 classes (sky, wall, road, pole, car): '
    )
    assert not list(tmp_path.rglob('*.pth'))


def test_heads_of_other_classes_in_validation_alone(write, make_config):
    config = make_config(write(*GOOD), validate=True)
    config.model.decode_head.num_classes = 3
    runner = Runner.from_cfg(config)
    with pytest.raises(LabelCheckError, match='BaseSegDataset of val_datal'):
        runner.val()
    # The training set, which may not be there, was not looked at.
    assert isinstance(runner._train_loop, dict)


def test_heads_that_are_meant_to_differ(write, make_config, train):
    config = make_config(write(*GOOD))
    config.model.auxiliary_head = dict(config.model.decode_head, num_classes=9)
    with pytest.raises(LabelCheckError, match='auxiliary_head'):
        train(config)
    config.experiment_name += '_again'
    config.default_hooks.label_check.skip_heads = ['auxiliary_head']
    runner, _ = train(config)
    assert runner.iter == 2


#: Labels -> what is said of them before the first iteration.
UNUSABLE = {
    'all pixels ignored': (
        [[255]] * 4,
        'every pixel is ignored (255) in all 4 label(s) that were read, ',
    ),
    'no class': (
        [[0, 1], [2, 4], [0, 1], [2, 3]],
        '1.png holds the value(s) 4: expected class indices 0 to 3, or 255',
    ),
}


@pytest.mark.parametrize(
    ('labels', 'said'), UNUSABLE.values(), ids=UNUSABLE.keys()
)
def test_unusable_labels(write, make_config, tmp_path, labels, said):
    runner = Runner.from_cfg(make_config(write(*labels)))
    with pytest.raises(LabelCheckError) as caught:
        runner.train()
    assert said in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (
            dict(
                type='RareClassCrop',
                crop_size=16,
                class_weights=[1, 1, 1, 1, 1],
            ),
            r'class_weights of RareClassCrop has 5 numbers: expected 4, one',
        ),
        (
            dict(type='SemanticCopyPaste', classes=[4]),
            'classes of SemanticCopyPaste has 4: expected indices below 4',
        ),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else '',
)
def test_transforms_for_other_classes(write, make_config, step, message):
    config = make_config(write(*GOOD))
    config.train_dataloader.dataset.pipeline.insert(2, step)
    with pytest.raises(LabelCheckError, match=message):
        Runner.from_cfg(config).train()


def test_no_labels(write, make_config):
    """Else the loss fails for want of `_gt_sem_seg`."""
    config = make_config(write(*GOOD))
    del config.train_dataloader.dataset.data_prefix.seg_map_path
    with pytest.raises(
        LabelCheckError, match=r'no labels to train with: .*seg_map_path in it'
    ):
        Runner.from_cfg(config).train()


def test_a_class_without_labels_is_told_once(write, make_config, train):
    root = write([0, 2], [2, 2], [0, 255], [2, 0])
    _, told = train(make_config(root, **{'train_cfg.max_iters': 5}))
    [line] = told
    assert line.endswith(
        '2 of 4 classes of BaseSegDataset are labeled in no pixel of the 4 '
        'image(s) of the first epoch: wall (1), pole (3); check that the list '
        'of classes is that of the masks, index by index; else they are rare, '
        'or crops leave them out, and the model does not learn them'
    )


def test_images_that_are_drawn_again_count_once(write, make_config, train):
    """The last batch of an epoch is filled up."""
    _, told = train(make_config(write(*[[0, 1]] * 3)))
    [line] = told
    assert 'in no pixel of the 3 image(s) of the first epoch: road' in line


@pytest.mark.parametrize(
    ('labels', 'names_it'), [([0, 1, 3], True), ([1, 2, 4], False)]
)
def test_a_zero_that_is_a_class(write, make_config, train, labels, names_it):
    """Labels of 0 to 3 have no pole, which would be 4."""
    config = make_config(write(*[labels] * 4))
    config.train_dataloader.dataset.reduce_zero_label = True
    _, told = train(config)
    [line] = told
    mend = (
        'reduce_zero_label=True ignores 0 and makes 1 sky: set it to False if '
        'the masks mean that by 0'
    )
    assert (mend in line) == names_it


def test_the_first_epoch_counts(write, make_config, train):
    """Its end is told by the loop, or by the number of images."""
    root = write(*GOOD)
    _, told = train(make_config(root, **{'train_cfg.max_iters': 4}))
    assert told == []
    # Of three images the last one is left over.
    config = make_config(write([0, 1], [0, 2], [0, 2], folder='three'))
    config.train_cfg = dict(by_epoch=True, max_epochs=2)
    config.train_dataloader.sampler.type = 'DefaultSampler'
    config.train_dataloader.sampler.shuffle = False
    config.train_dataloader.drop_last = True
    _, told = train(config)
    [line] = told
    assert 'the 2 image(s) of the first epoch: pole (3); check' in line


def test_a_training_that_ends_before(write, make_config, train):
    root = write(*[[0, 1]] * 3)
    _, told = train(make_config(root, **{'train_cfg.max_iters': 1}))
    [line] = told
    assert (
        'in no pixel of the 2 image(s) of a training that ended before its '
        'first epoch: road (2), pole (3); check'
    ) in line


def test_a_resumed_training_is_not_looked_through(
    write, make_config, train, tmp_path
):
    root = write(*[[0, 1]] * 6)
    _, told = train(make_config(root))
    assert len(told) == 1
    config = make_config(root, **{'train_cfg.max_iters': 4})
    config.load_from = str(tmp_path / 'work/iter_2.pth')
    config.resume = True
    runner, told = train(config)
    assert runner.iter == 4
    assert told == []


@pytest.mark.parametrize('collate', ['pseudo_collate', 'default_collate'])
def test_masks_of_black_and_white(write, make_config, train, collate):
    config = make_config(write(*[[0, 255]] * 4, [0, 0]))
    config.train_dataloader.collate_fn = dict(type=collate)
    config.train_cfg.max_iters = 4
    _, told = train(config)
    [line] = told
    assert 'the 5 label(s) read, ' in line
    assert (
        'hold 0 and 255 alone, and 255 means ignored: if all are so, no other '
        'class than sky (0) is trained or scored; save the masks again with 1 '
        'in place of 255, put MapLabels(label_map={255: 1}) after the '
        'transform that loads them, or read'
    ) in line
    assert 'reduce_zero_label' not in line


def test_masks_of_0_and_1_without_their_zeros(write, make_config, train):
    config = make_config(write(*[[0, 1]] * 4))
    config.train_dataloader.dataset.reduce_zero_label = True
    config.train_cfg.max_iters = 4
    _, told = train(config)
    [line] = told
    assert 'is what reduce_zero_label=True makes of masks of 0 and 1' in line
    assert '1 in place of 255' not in line


def test_few_masks_of_many_have_an_object(write, make_config, train):
    """One of 64, which is not among the first 8 that are read."""
    labels = [[0, 255]] * 64
    labels[5] = [1, 0]
    _, told = train(make_config(write(*labels)))
    assert ['label(s) read' in line for line in told] == [False] * len(told)


def test_few_files_of_many_are_labeled(write, make_config, train):
    labels = [[255]] * 64
    labels[5] = [1, 0]
    runner, _ = train(make_config(write(*labels)))
    assert runner.iter == 2


@TRANSFORMS.register_module()
class MakeLabel:
    def __call__(self, results):
        results['gt_seg_map'] = np.ones(results['img'].shape[:2], np.uint8)
        results['seg_fields'].append('gt_seg_map')
        return results


def test_labels_of_the_pipeline(write, make_config, train):
    config = make_config(write(*GOOD))
    dataset = config.train_dataloader.dataset
    del dataset.data_prefix.seg_map_path
    dataset.pipeline[1].type = 'MakeLabel'
    runner, _ = train(config)
    assert runner.iter == 2


def test_no_files_are_loaded(write, make_config):
    """Then the training fails where it wants the first label."""
    config = make_config(write(*GOOD))
    config.default_hooks.label_check.num_files = 0
    del config.train_dataloader.dataset.data_prefix.seg_map_path
    with pytest.raises(KeyError, match='seg_map_path'):
        Runner.from_cfg(config).train()


@pytest.mark.parametrize('evaluator', ['IoU', 'IoUMetric'])
@pytest.mark.parametrize('loader', ['LoadAnnotations', 'FastLoadAnnotations'])
def test_no_labels_to_validate_with(write, make_config, loader, evaluator):
    """It is said before the training, not after hours of it."""
    config = make_config(write(*GOOD), validate=True)
    config.val_evaluator.type = evaluator
    dataset = config.val_dataloader.dataset
    dataset.data_prefix = dict(img_path='images', seg_map='labels')
    dataset.pipeline[1].type = loader
    runner = Runner.from_cfg(config)
    with pytest.raises(
        LabelCheckError, match=r'val_dataloader: .* no labels to compare with:'
    ):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize('format_only', [False, True])
def test_labels_of_a_test(write, make_config, tmp_path, format_only):
    config = make_config(write(*GOOD))
    test = config.train_dataloader.copy()
    test.sampler = dict(type='DefaultSampler', shuffle=False)
    test.dataset.data_prefix = dict(img_path='images')
    del test.dataset.pipeline[1]
    config.merge_from_dict(
        dict(
            test_dataloader=test,
            test_cfg=dict(type='TestLoop'),
            test_evaluator=dict(
                type='IoU',
                format_only=format_only,
                output_dir=str(tmp_path / 'out'),
            ),
        )
    )
    runner = Runner.from_cfg(config)
    if format_only:
        runner.test()
    else:
        with pytest.raises(LabelCheckError, match='test_dataloader: '):
            runner.test()
    files = list((tmp_path / 'out').glob('*.png'))
    assert len(files) == len(GOOD) * format_only


@pytest.mark.parametrize('count', [1, 4])
@pytest.mark.parametrize('loader', ['LoadAnnotations', 'FastLoadAnnotations'])
def test_a_test_of_black_and_white(write, make_config, capsys, count, loader):
    config = make_config(write(*[[0, 255]] * count))
    config.train_dataloader.dataset.pipeline[1].type = loader
    test = config.train_dataloader.copy()
    test.sampler = dict(type='DefaultSampler', shuffle=False)
    config.merge_from_dict(
        dict(
            test_dataloader=test,
            test_cfg=dict(type='TestLoop'),
            test_evaluator=dict(type='IoU'),
        )
    )
    Runner.from_cfg(config).test()
    assert capsys.readouterr().out.count('0 and 255 alone') == 1


def test_a_data_set_of_depths(write, make_config, train):
    """Its classes are kinds of rooms, and its heads have none of them."""
    config = make_config(write(*GOOD))
    config.model.decode_head.num_classes = 2
    dataset = config.train_dataloader.dataset
    dataset.type = 'Depths'
    dataset.pipeline[1].type = 'MakeLabel'
    runner, _ = train(config)
    assert runner.iter == 2


def test_masks_of_black_and_white_in_the_first_epoch(
    write, make_config, train
):
    """Where the files before training do not show it."""
    config = make_config(write([0, 0], [0, 255], [0, 0], [0, 0]))
    config.default_hooks.label_check.num_files = 1
    _, told = train(config)
    [line] = told
    assert 'the labels of the 4 image(s) of the first epoch hold 0 and' in line


def test_a_loader_that_tells_of_black_and_white_itself(
    write, make_config, train
):
    """Then the hook says which classes that leaves without labels."""
    config = make_config(write(*[[0, 255]] * 4))
    config.train_dataloader.dataset.pipeline[1].type = 'FastLoadAnnotations'
    _, told = train(config)
    assert '3 of 4 classes of BaseSegDataset are labeled in no' in told[-1]
    assert sum('no other class than' in line for line in told) == 0


def test_the_options_turn_it_off(write, make_config, train):
    config = make_config(write(*[[0, 255]] * 4))
    config.default_hooks.label_check.update(num_files=0, first_epoch=False)
    runner, told = train(config)
    assert (runner.iter, told) == (2, [])


@pytest.mark.parametrize('num_files', [-1, 2.0, True, None])
def test_wrong_options(num_files):
    with pytest.raises(ValueError, match='num_files must be a number of'):
        LabelCheckHook(num_files=num_files)
