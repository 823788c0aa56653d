"""The hook in runs of MMEngine's runner, as of ``mim train``."""

import itertools

import numpy as np
import pytest
import torch
from mmengine import DefaultScope
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from PIL import Image

from mmseg_ext.engine import ClassWeightsHook
from mmseg_ext.engine.hooks import ClassWeightsError

NAMES = ('sky', 'wall', 'road', 'pole')

#: One line a label: how many pixels each class has; the rest is ignored.
PIXELS = [[512, 256, 0, 0], [256, 256, 0, 0], [0, 512, 16, 0]]

#: 768 of 1280, 1024 of 1808, 16 of 528; no pole.
FREQUENCIES = [768 / 1280, 1024 / 1808, 16 / 528]
MEDIAN = FREQUENCIES[1]
PLAIN = [MEDIAN / FREQUENCIES[0], 1, MEDIAN / FREQUENCIES[2], 1]
ROOTS = [PLAIN[0] ** 0.5, 1, PLAIN[2] ** 0.5, 1]

_runs = itertools.count()


@pytest.fixture(autouse=True)
def scope():
    """Runners change it."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


@pytest.fixture(autouse=True)
def plain_text_of_configs(monkeypatch):
    """To lay it out well takes longer than the training."""
    text = property(lambda config: repr(config.to_dict()))
    monkeypatch.setattr(Config, 'pretty_text', text)


def write(root, pixels=PIXELS):
    rng = np.random.default_rng(0)
    for number, counts in enumerate(pixels):
        label = np.repeat([*range(len(counts))], counts).astype(np.uint8)
        label = np.pad(
            label, (0, 1024 - len(label)), constant_values=255
        ).reshape(32, 32)
        image = rng.integers(0, 255, (32, 32, 3), np.uint8)
        for kind, data in (('images', image), ('labels', label)):
            path = root / kind / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data).save(path)
    return str(root)


def make_config(tmp_path, root, loss=None, **options):
    norm = dict(type='BN')
    loss = loss or dict(
        type='BalancedCrossEntropy', class_weight='sqrt_median_frequency'
    )
    head = dict(
        type='FCNHead',
        in_channels=16,
        channels=4,
        num_convs=1,
        num_classes=4,
        norm_cfg=norm,
        loss_decode=loss,
    )
    dataset = dict(
        type='BaseSegDataset',
        data_root=root,
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        metainfo=dict(classes=NAMES, palette=[[0, 0, 0]] * 4),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomCrop', crop_size=(16, 16)),
            dict(type='PackSegInputs'),
        ],
    )
    config = Config(
        dict(
            default_scope='mmseg',
            experiment_name=f'{tmp_path.name}_{next(_runs)}',
            work_dir=str(tmp_path / 'work'),
            randomness=dict(seed=0),
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(
                    type='SegDataPreProcessor', size=(16, 16)
                ),
                backbone=dict(
                    type='ResNet', depth=18, base_channels=2, norm_cfg=norm
                ),
                decode_head=head,
                test_cfg=dict(mode='whole'),
            ),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='InfiniteSampler', shuffle=True),
                dataset=dataset,
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            train_cfg=dict(by_epoch=False, max_iters=1),
            custom_hooks=[dict(type='ClassWeightsHook')],
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook', by_epoch=False, interval=1
                )
            ),
            log_processor=dict(by_epoch=False),
        )
    )
    config.merge_from_dict(options)
    return config


def train(config, capsys):
    """Train; return the runner and what it logged of weights."""
    runner = Runner.from_cfg(config)
    capsys.readouterr()
    runner.train()
    lines = capsys.readouterr().out.splitlines()
    return (
        runner,
        [line for line in lines if 'weight in model' in line],
        [line for line in lines if 'class weights of' in line],
    )


def test_weights_are_those_of_the_rule(tmp_path, capsys):
    assert HOOKS.get('ClassWeightsHook') is ClassWeightsHook
    root = write(tmp_path / 'data')
    runner, warnings, lines = train(make_config(tmp_path, root), capsys)
    loss = runner.model.decode_head.loss_decode
    assert loss.class_weight == pytest.approx(ROOTS)
    (line,) = lines
    assert line.endswith(
        'class weights of model.decode_head.loss_decode by '
        'sqrt_median_frequency, from the pixels of 3 image(s): '
        f'sky {ROOTS[0]:.4g}, wall 1, road {ROOTS[2]:.4g}, pole 1'
    )
    (warning,) = warnings
    assert 'WARNING' in warning
    assert warning.endswith(
        'no pixel of 3 image(s) has the class(es) pole (3): their weight in '
        'model.decode_head.loss_decode is 1'
    )


def test_all_heads_each_by_its_rule(tmp_path, capsys):
    root = write(tmp_path / 'data')
    config = make_config(tmp_path, root)
    plain = dict(type='BalancedCrossEntropy', class_weight='median_frequency')
    bounded = dict(
        type='BalancedCrossEntropy',
        class_weight='sqrt_median_frequency',
        weight_bounds=(0.99, 2),
        loss_name='loss_bounded',
    )
    config.model.auxiliary_head = [
        dict(config.model.decode_head, loss_decode=plain, in_index=3),
        dict(
            config.model.decode_head,
            loss_decode=[dict(type='CrossEntropyLoss'), bounded],
            in_index=3,
        ),
    ]
    runner, _, lines = train(config, capsys)
    model = runner.model
    assert len(lines) == 3
    assert model.decode_head.loss_decode.class_weight == pytest.approx(ROOTS)
    heads = model.auxiliary_head
    assert heads[0].loss_decode.class_weight == pytest.approx(PLAIN)
    found = heads[1].loss_decode[1].class_weight
    assert found == pytest.approx([0.99, 1, 2, 1])


def test_wrapped_data_sets_models_and_averages(tmp_path, capsys):
    """Each data set counts as often as the training sees it."""
    first = write(tmp_path / 'one', PIXELS[:2])
    second = write(tmp_path / 'two', PIXELS[2:])
    config = make_config(tmp_path, first)
    part = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[part, dict(part, data_root=second)]
    )
    config.custom_hooks.append(dict(type='EMAHook', update_buffers=True))
    runner, _, _ = train(config, capsys)
    loss = runner.model.decode_head.loss_decode
    assert loss.class_weight == pytest.approx(ROOTS)
    saved = torch.load(tmp_path / 'work' / 'iter_1.pth', weights_only=True)[
        'state_dict'
    ]
    assert not [key for key in saved if 'loss' in key]


def test_all_processes_take_what_the_first_counts(
    tmp_path, capsys, monkeypatch
):
    def receive(data, src=0):
        assert src == 0
        data[:] = torch.tensor([8, 8, 8, 0])

    monkeypatch.setattr(
        'mmseg_ext.engine.hooks.class_weights_hook.broadcast', receive
    )
    root = write(tmp_path / 'data')
    runner, _, _ = train(make_config(tmp_path, root), capsys)
    loss = runner.model.decode_head.loss_decode
    assert loss.class_weight == (1, 1, 1, 1)


def test_resumed_training_counts_again(tmp_path, capsys):
    root = write(tmp_path / 'data')
    train(make_config(tmp_path, root), capsys)
    config = make_config(
        tmp_path, root, resume=True, **{'train_cfg.max_iters': 2}
    )
    runner, _, _ = train(config, capsys)
    assert runner.iter == 2
    loss = runner.model.decode_head.loss_decode
    assert loss.class_weight == pytest.approx(ROOTS)


def test_large_data_sets(tmp_path, capsys):
    root = write(tmp_path / 'data', [PIXELS[0]] * 5)
    config = make_config(tmp_path, root)
    config.custom_hooks[0].max_images = 2
    _, warnings, lines = train(config, capsys)
    for line in (*warnings, *lines):
        assert (
            '2 of 5 images, spread over all (max_images of ClassWeightsHook)'
        ) in line


def test_nothing_else_changes(tmp_path, capsys, monkeypatch):
    """As if the weights had been given; then nothing is counted."""
    root = write(tmp_path / 'data')
    runner, _, _ = train(make_config(tmp_path, root), capsys)
    weights = list(runner.model.decode_head.loss_decode.class_weight)

    def fail(*args, **options):
        raise AssertionError('counts')

    monkeypatch.setattr(
        'mmseg_ext.engine.hooks.class_weights_hook.count_classes', fail
    )
    loss = dict(type='BalancedCrossEntropy', class_weight=weights)
    other, _, lines = train(make_config(tmp_path, root, loss), capsys)
    assert lines == []
    for one, two in zip(
        runner.model.parameters(), other.model.parameters(), strict=True
    ):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ('loss', 'head', 'message'),
    [
        (
            dict(class_weight=[1, 2, 3]),
            {},
            'class_weight has 3 numbers, and the head tells 4 classes apart',
        ),
        ({}, dict(num_classes=2, out_channels=1), 'out_channels=1'),
        (
            dict(class_weight='median_frequency'),
            dict(num_classes=3),
            'num_classes=3: expected 4',
        ),
    ],
    ids=['length', 'binary', 'classes'],
)
def test_losses_that_do_not_fit(tmp_path, loss, head, message):
    root = write(tmp_path / 'data')
    config = make_config(
        tmp_path, root, dict(type='BalancedCrossEntropy', **loss)
    )
    config.model.decode_head.update(head)
    runner = Runner.from_cfg(config)
    with pytest.raises(ClassWeightsError) as caught:
        runner.train()
    text = str(caught.value)
    assert text.startswith('model.decode_head.loss_decode: ')
    assert message in text


@pytest.mark.parametrize(
    ('pixels', 'message'),
    [
        ([[0, 0, 0, 0]] * 2, 'no pixel of 4 classes is labeled in 2 image(s)'),
        ([[1, 0, 0, 0, 9]], 'labels'),
    ],
    ids=['ignored', 'values'],
)
def test_labels_that_cannot_be_counted(tmp_path, pixels, message):
    config = make_config(tmp_path, write(tmp_path / 'data', pixels))
    with pytest.raises(ClassWeightsError) as caught:
        Runner.from_cfg(config).train()
    assert message in str(caught.value)


@pytest.mark.parametrize('value', [0, -1, 2.5, True, '9'])
def test_wrong_number_of_images(value):
    with pytest.raises(ValueError, match='max_images must be'):
        ClassWeightsHook(value)
