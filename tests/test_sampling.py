"""What docs/sampling.md says of upstream's parts, in runs and by pixels."""

import inspect
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet import registry as mmdet_registries
from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from mmseg.registry import registry as mmseg_registries
from PIL import Image

from mmseg_ext.engine.samplers import RareClassSampler

MOMENTUM = 0.3
BEGIN = 2


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    """A folder of 6 images and labels, one of which has class 2."""
    folder = tmp_path_factory.mktemp('street')
    rng = np.random.default_rng(0)
    for index in range(6):
        label = rng.integers(0, 2, (32, 32)).astype(np.uint8)
        label[:8] = 2 if index == 4 else 0
        for name in ('images', 'labels'):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(label * 100 if name == 'images' else label).save(
                folder / name / f'{index}.png'
            )
    return folder


class Record(Hook):
    """What was drawn, and the weights after each iteration."""

    def __init__(self):
        self.drawn, self.weights = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.drawn.append([s.img_path for s in data_batch['data_samples']])

    def after_train_iter(self, runner, batch_idx, **_):
        self.weights.append(weights_of(runner.model))


def weights_of(model):
    """Copy parameters and averages of batches, which are floats."""
    return {
        key: value.clone()
        for key, value in model.state_dict().items()
        if value.is_floating_point()
    }


def make_runner(street, work_dir, **options):
    data = dict(
        type='BaseSegDataset',
        data_root=str(street),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        metainfo=dict(
            classes=('a', 'b', 'c'), palette=[[0] * 3, [9] * 3, [90] * 3]
        ),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='FastLoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )
    loader = dict(batch_size=2, num_workers=0, dataset=data)
    val_loader = loader | dict(sampler=dict(type='DefaultSampler'))
    return Runner(
        model=dict(
            type='EncoderDecoder',
            test_cfg=ConfigDict(mode='whole'),
            data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
            backbone=dict(type='ResNet', depth=18, base_channels=2),
            decode_head=dict(
                type='FCNHead',
                in_channels=16,
                channels=4,
                num_convs=1,
                num_classes=3,
                dropout_ratio=0,
                norm_cfg=dict(type='BN'),
                loss_decode=dict(type='CrossEntropyLoss'),
            ),
        ),
        work_dir=str(work_dir),
        train_dataloader=loader
        | dict(sampler=dict(type='RareClassSampler', shuffle=True)),
        val_dataloader=val_loader,
        test_dataloader=val_loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        train_cfg=dict(by_epoch=False, max_iters=6, val_interval=6),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=dict(type='IoU'),
        test_evaluator=dict(type='IoU'),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3)
        ),
        custom_hooks=[
            dict(type='LabelCheckHook'),
            dict(type='SegVisHook', vis_num=1),
            dict(
                type='EMAHook',
                momentum=MOMENTUM,
                begin_iter=BEGIN,
                update_buffers=True,
            ),
        ],
        default_scope='mmseg',
        log_level='ERROR',
        randomness=dict(seed=0),
        experiment_name=str(work_dir),
        **options,
    )


def run(runner):
    record = Record()
    runner.register_hook(record)
    runner.train()
    return record


def average(weights):
    """Return the moving average, which starts with its first weights."""
    result = weights[BEGIN - 1]
    for new in weights[BEGIN:]:
        result = {
            key: (1 - MOMENTUM) * old + MOMENTUM * new[key]
            for key, old in result.items()
        }
    return result


def close(weights, others):
    assert weights.keys() == others.keys()
    return all(
        torch.allclose(value, others[key], rtol=1e-4, atol=1e-6)
        for key, value in weights.items()
    )


def test_averaged_weights_and_draws_of_a_run_and_its_resumption(
    street, tmp_path
):
    runner = make_runner(street, tmp_path / 'a')
    whole = run(runner)
    assert not close(whole.weights[-1], average(whole.weights))

    # Checkpoints have the average where others have the weights.
    path = tmp_path / 'a' / 'iter_6.pth'
    saved = torch.load(path, weights_only=True)
    stored = {key: saved['state_dict'][key] for key in whole.weights[-1]}
    assert close(stored, average(whole.weights))
    # The training itself goes on with its own.
    assert close(weights_of(runner.model), whole.weights[-1])

    # A validation sees the average; so does a test of the checkpoint without
    # the hook.
    score = runner.message_hub.get_scalar('val/mIoU').current()
    plain = make_runner(street, tmp_path / 'b', load_from=str(path))
    plain._hooks = [h for h in plain.hooks if type(h).__name__ != 'EMAHook']
    assert plain.test()['mIoU'] == pytest.approx(score)
    assert [p.parent.parent.name for p in (tmp_path / 'a').rglob('panel.png')]

    # A resumed run draws the same images, and ends with the same weights.
    middle = str(tmp_path / 'a' / 'iter_3.pth')
    again = make_runner(street, tmp_path / 'c', load_from=middle, resume=True)
    rest = run(again)
    assert rest.drawn == whole.drawn[3:]
    assert close(rest.weights[-1], whole.weights[-1])
    resumed = torch.load(tmp_path / 'c' / 'iter_6.pth', weights_only=True)
    assert close({key: resumed['state_dict'][key] for key in stored}, stored)

    sampler = again.train_dataloader.sampler
    assert isinstance(sampler, RareClassSampler)
    # Class 2 is in one of 6 images, so 6 times the mean is there.
    expected = [1, 1, 1, 1, np.sqrt(6), 1]
    assert sampler.factors.tolist() == pytest.approx(expected)


@pytest.fixture
def hands(tmp_path):
    """Two images of one color each; nails of 8x6 pixels at their places."""
    places = [[(4, 3), (40, 30)], [(6, 5), (20, 12), (50, 2)]]
    images, nails = [], []
    for index, boxes in enumerate(places):
        name = f'{index}.png'
        color = np.full((48, 64, 3), 50 + 100 * index, np.uint8)
        cv2.imwrite(str(tmp_path / name), color)
        images.append(dict(id=index, file_name=name, width=64, height=48))
        nails += [
            dict(
                image_id=index,
                category_id=1,
                bbox=[x, y, 8, 6],
                area=48,
                iscrowd=0,
                segmentation=[[x, y, x + 8, y, x + 8, y + 6, x, y + 6]],
            )
            for x, y in boxes
        ]
    for index, nail in enumerate(nails):
        nail['id'] = index + 1
    content = dict(
        images=images,
        annotations=nails,
        categories=[dict(id=1, name='nail')],
    )
    (tmp_path / 'train.json').write_text(json.dumps(content))
    return tmp_path


def copy_paste(hands, size=(64, 64), **options):
    """Return NailDataset with MMDet's CopyPaste, as the page sets it."""
    config = dict(
        type='MultiImageMixDataset',
        dataset=dict(
            type='NailDataset',
            data_root=str(hands),
            ann_file='train.json',
            data_prefix=dict(img=''),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='Pad', size=size),
            ],
        ),
        pipeline=[
            dict(type='CopyPaste', **options),
            dict(
                type='FilterAnnotations', min_gt_bbox_wh=(1, 1), by_mask=True
            ),
            dict(type='PackDetInputs'),
        ],
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(config)


@pytest.mark.parametrize('selected', [True, False])
def test_boxes_and_masks_agree_after_copy_paste(hands, selected):
    dataset = copy_paste(hands, selected=selected)
    np.random.seed(0)
    numbers = set()
    for _ in range(30):
        packed = dataset[0]
        truth = packed['data_samples'].gt_instances
        masks = truth.masks.masks.astype(bool)
        boxes = truth.bboxes.numpy()
        numbers.add(len(masks))
        assert masks.sum(axis=0).max() == 1
        for mask, box in zip(masks, boxes, strict=True):
            y, x = np.nonzero(mask)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        # What is of the other image's color is nail.
        pasted = packed['inputs'][0].numpy() == 150
        assert (masks.any(axis=0) | ~pasted).all()
    # None or some of the other image's three; or all three, or the own ones
    # once more. One of the own is always partly covered, and stays.
    assert numbers == ({2, 3, 4, 5} if selected else {2 + 3, 2})


def blocks(page):
    return re.findall(r'^```python\n(.*?)^```', page.read_text(), re.M | re.S)


#: The parts of upstream and ours that configs of the page name, by registry.
BUILT = {'mmseg': mmseg_registries, 'mmdet': mmdet_registries}


def test_configs_of_the_page():
    """Every class is found, and takes the options that it is given."""
    page = Path(__file__).parents[1] / 'docs/sampling.md'
    named = set()
    for block in blocks(page):
        if 'import' in block:
            compile(block, str(page), 'exec')
            continue
        scope = 'mmdet' if 'NailDataset' in block else 'mmseg'
        for step in steps_in(Config.fromstring(block, '.py').to_dict()):
            step = dict(step)
            kind = step.pop('type')
            named.add(kind)
            found = find(BUILT[scope], kind)
            step.pop('_delete_', None)
            # The runner gives samplers more.
            inspect.signature(found).bind_partial(**step)
    assert {'RareClassSampler', 'RareClassCrop', 'EMAHook'} <= named
    assert {'SemanticCopyPaste', 'CopyPaste', 'CamVid'} <= named


def steps_in(value):
    """Yield all dictionaries with a type, however deep."""
    if isinstance(value, dict):
        if 'type' in value:
            yield value
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from steps_in(part)


def find(registries, kind):
    for name, registry in vars(registries).items():
        # The parents are there as well, with other classes of these names.
        own = isinstance(registry, Registry) and 'MMENGINE' not in name
        if own and (found := registry.get(kind)):
            return found
    raise AssertionError(f'{kind} is in no registry')
