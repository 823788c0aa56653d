"""The configs of Cityscapes say what the tutorial for MMDet 2.x says."""

import json
import math
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from helpers.configs import make_small, read_config
from mmseg_ext.converters.cityscapes import convert
from mmseg_ext.datasets.transforms.translate_x_pixels import TranslateXPixels
from mmseg_ext.models.necks.aug_fpn import AugFPN
from mmseg_ext.models.roi_extractors.soft_roi_extractor import SoftRoIExtractor
from mmseg_ext.models.roi_heads.consistent_cascade_roi_head import (
    ConsistentCascadeRoIHead,
)
from mmseg_ext.sample_data.cityscapes import write_cityscapes

FOLDER = Path(__file__).parents[1] / 'configs' / 'cityscapes'
TUTORIAL = 'cascade-mask-rcnn_r50_{}_autoaug-10e_cityscapes.py'
LIGHT = 'cascade-mask-rcnn_r18_{}_1xb2-300_cityscapes-sample-256x512.py'
NAMES = sorted(path.name for path in FOLDER.glob('*.py'))
FILL = (104, 116, 124)
AUX = ('cls', 'bbox', 'mask')

pytestmark = [
    # pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
    pytest.mark.filterwarnings(
        'ignore:__array__ implementation:DeprecationWarning'
    ),
    # MMDet's grids.
    pytest.mark.filterwarnings('ignore:torch.meshgrid:UserWarning'),
]


def load(pattern, parts):
    return read_config(FOLDER / pattern.format(parts))


@pytest.fixture(scope='module')
def cfg():
    return load(TUTORIAL, 'augfpn')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('cityscapes')
    write_cityscapes(root, num=3, size=(1024, 512), progress=False)
    convert(root)
    return root


@pytest.fixture(autouse=True)
def _scope():
    """Configs are built from a runner's scope."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def without_scope(value):
    """Take out what configs note about where they come from."""
    if isinstance(value, dict):
        return {
            k: without_scope(v) for k, v in value.items() if k != '_scope_'
        }
    if isinstance(value, list | tuple):
        return type(value)(map(without_scope, value))
    return value


# The tutorial's settings.


def test_model(cfg):
    assert cfg.model.type == 'CascadeRCNN'
    assert cfg.model.backbone.depth == 50
    assert cfg.model.backbone.init_cfg is None
    assert without_scope(cfg.model.neck) == {
        'type': 'AugFPN',
        'in_channels': [256, 512, 1024, 2048],
        'out_channels': 256,
        'num_outs': 5,
    }
    heads = cfg.model.roi_head.bbox_head
    assert [head.type for head in heads] == ['Shared2FCBBoxHead'] * 3
    assert [head.num_classes for head in heads] == [8, 8, 8]
    assert [head.reg_class_agnostic for head in heads] == [True] * 3
    assert [head.bbox_coder.target_stds for head in heads] == [
        [0.1, 0.1, 0.2, 0.2],
        [0.05, 0.05, 0.1, 0.1],
        [0.033, 0.033, 0.067, 0.067],
    ]
    for head in heads:
        loss = {'type': 'SmoothL1Loss', 'beta': 1.0, 'loss_weight': 1.0}
        assert without_scope(head.loss_bbox) == loss
    assert cfg.model.roi_head.mask_head.num_classes == 8
    assert cfg.model.roi_head.mask_head.num_convs == 4


def test_preprocessor(cfg):
    assert without_scope(cfg.model.data_preprocessor) == {
        'type': 'DetDataPreprocessor',
        'mean': [123.675, 116.28, 103.53],
        'std': [58.395, 57.12, 57.375],
        'bgr_to_rgb': True,
        'pad_mask': True,
        'pad_size_divisor': 32,
    }


def test_train_data(cfg):
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.num_workers) == (1, 3)
    assert loader.dataset.type == 'RepeatDataset'
    assert loader.dataset.times == 8
    inner = loader.dataset.dataset
    assert inner.type == 'CityscapesDataset'
    assert inner.ann_file == (
        'annotations/instancesonly_filtered_gtFine_train.json'
    )
    assert inner.data_prefix == {'img': 'leftImg8bit/train/'}
    rotate = {'type': 'Rotate', 'prob': 0.5, 'img_border_value': FILL}
    move = {
        'type': 'TranslateXPixels',
        'offset': 125,
        'prob': 0.5,
        'img_border_value': FILL,
    }
    assert without_scope(inner.pipeline) == [
        {'type': 'LoadImageFromFile', 'backend_args': None},
        {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
        {
            'type': 'AutoAugment',
            'policies': [
                [{**rotate, 'level': 5}],
                [{**rotate, 'level': 7}, move],
            ],
        },
        {
            'type': 'FilterAnnotations',
            'min_gt_bbox_wh': (0, 0),
            'keep_empty': False,
        },
        {
            'type': 'RandomResize',
            'scale': [(2048, 800), (2048, 1024)],
            'keep_ratio': True,
        },
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'PackDetInputs'},
    ]


def test_validation_and_test(cfg):
    for name in ('val', 'test'):
        inner = cfg[f'{name}_dataloader'].dataset
        assert inner.ann_file == (
            'annotations/instancesonly_filtered_gtFine_val.json'
        )
        assert [step.type for step in inner.pipeline] == [
            'LoadImageFromFile',
            'Resize',
            'LoadAnnotations',
            'PackDetInputs',
        ]
        assert inner.pipeline[1].scale == (2048, 1024)
        # A list would also hold the metric that needs cityscapesscripts.
        evaluator = cfg[f'{name}_evaluator']
        assert evaluator.type == 'CocoMetric'
        assert evaluator.metric == ['bbox', 'segm']
        assert evaluator.ann_file == inner.data_root + inner.ann_file
        assert without_scope(cfg[f'{name}_cfg']).keys() == {'type'}


def test_schedule(cfg):
    assert without_scope(cfg.train_cfg) == {
        'type': 'EpochBasedTrainLoop',
        'max_epochs': 10,
        'val_interval': 1,
    }
    assert without_scope(cfg.optim_wrapper) == {
        'type': 'OptimWrapper',
        'optimizer': {
            'type': 'SGD',
            'lr': 0.01,
            'momentum': 0.9,
            'weight_decay': 0.0001,
        },
        'clip_grad': None,
    }
    assert without_scope(cfg.param_scheduler) == [
        {
            'type': 'LinearLR',
            'start_factor': 0.001,
            'by_epoch': False,
            'begin': 0,
            'end': 500,
        },
        {
            'type': 'MultiStepLR',
            'begin': 0,
            'end': 10,
            'by_epoch': True,
            'milestones': [8],
            'gamma': 0.1,
        },
    ]
    # One image on each of eight GPUs.
    assert cfg.auto_scale_lr == {'enable': False, 'base_batch_size': 8}
    assert cfg.default_hooks.checkpoint.interval == 1


def test_starts_from_the_detector_trained_on_coco(cfg):
    assert cfg.load_from == (
        'https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/'
        'cascade_mask_rcnn_r50_fpn_1x_coco/'
        'cascade_mask_rcnn_r50_fpn_1x_coco_20200203-9d4dcb24.pth'
    )


# What the settings do.


@pytest.mark.parametrize(
    ('policy', 'degrees'), [(0, 15.0), (1, 21.0)], ids=['one', 'two']
)
def test_angles(cfg, policy, degrees):
    rotate = TRANSFORMS.build(cfg.train_pipeline[2].policies[policy][0])
    assert abs(rotate._get_mag()) == degrees
    assert rotate.prob == 0.5


def test_fill_is_the_mean_in_the_order_of_the_images(cfg):
    config = {**cfg.train_pipeline[2].policies[0][0], 'prob': 1.0}
    image = np.zeros((60, 80, 3), np.uint8)
    rotated = TRANSFORMS.build(config)({'img': image, 'img_shape': (60, 80)})
    assert tuple(rotated['img'][0, 0]) == FILL
    mean = cfg.model.data_preprocessor.mean
    assert tuple(round(value) for value in reversed(mean)) == FILL


def test_what_is_moved_out_is_dropped(cfg, root):
    """MMDet 2.x did so in each step; 3.x keeps empty boxes."""
    steps = [
        *cfg.train_pipeline[:2],
        {'type': 'TranslateXPixels', 'offset': 1000, 'reversal_prob': 0.0},
        cfg.train_pipeline[3],
    ]
    results = load_sample(cfg, root)
    before = results['instances']
    left = [row['bbox'][0] for row in before]
    results = Compose([TRANSFORMS.build(step) for step in steps])(results)
    assert len(results['gt_bboxes']) == sum(side < 24 for side in left)
    assert len(results['gt_bboxes']) < len(before)
    assert len(results['gt_masks']) == len(results['gt_bboxes'])


def load_sample(cfg, root):
    """Return what the train set says of an image with many objects."""
    dataset = DATASETS.build(
        {
            **cfg.train_dataloader.dataset.dataset,
            'data_root': str(root),
            'pipeline': [],
        }
    )
    assert len(dataset) == 1
    results = dataset[0]
    path = root / 'annotations/instancesonly_filtered_gtFine_train.json'
    rows = json.loads(path.read_text())['annotations']
    assert len(results['instances']) == len(rows) > 10
    return results


def test_policies_are_chosen_as_often(cfg):
    augment = TRANSFORMS.build(cfg.train_pipeline[2])
    assert isinstance(augment.transforms[1].transforms[1], TranslateXPixels)
    np.random.seed(0)
    degrees = Counter()
    for _ in range(1000):
        image = np.zeros((8, 300, 3), np.uint8)
        results = augment({'img': image, 'img_shape': (8, 300)})
        matrix = results.get('homography_matrix', np.eye(3))
        degrees[round(np.rad2deg(np.arcsin(matrix[0, 1])))] += 1
    assert set(degrees) == {-21, -15, 0, 15, 21}
    for angle, count in degrees.items():
        share = 1 / 8 if angle else 1 / 2
        assert count / 1000 == pytest.approx(share, abs=0.04)


def test_train_pipeline_on_an_image(cfg, root):
    pipeline = Compose([TRANSFORMS.build(s) for s in cfg.train_pipeline])
    np.random.seed(0)
    heights = set()
    for _ in range(4):
        packed = pipeline(load_sample(cfg, root))
        truth = packed['data_samples'].gt_instances
        height, width = packed['inputs'].shape[1:]
        assert 800 <= height <= 1024
        assert width == pytest.approx(2 * height, abs=1)
        boxes = truth.bboxes.tensor
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()
        assert truth.masks.masks.shape == (len(boxes), height, width)
        assert truth.masks.masks.any()
        assert set(truth.labels.tolist()) <= set(range(8))
        heights.add(height)
    assert len(heights) > 1


# All three parts.


def test_second_config_adds_the_other_two_parts(cfg):
    other = load(TUTORIAL, 'augfpn-cs-srs')
    changed = dict(differences(cfg.to_dict(), other.to_dict()))
    head = 'model.roi_head'
    extractors = [f'{head}.{kind}_roi_extractor' for kind in ('bbox', 'mask')]
    assert changed.pop('extractor')['type'] == 'SoftRoIExtractor'
    assert changed == {
        f'{head}.type': 'ConsistentCascadeRoIHead',
        f'{head}.auxiliary_mask_head': {},
        **{f'{name}.type': 'SoftRoIExtractor' for name in extractors},
        **{f'{name}.roi_layer.sampling_ratio': 2 for name in extractors},
    }


def differences(one, other, prefix=''):
    """Yield what the second has that the first has not or has otherwise."""
    assert not one.keys() - other.keys()
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(one.get(key), dict):
            yield from differences(one[key], value, f'{prefix}{key}.')
        elif key not in one or one[key] != value:
            yield f'{prefix}{key}', value


@pytest.mark.parametrize('parts', ['augfpn', 'augfpn-cs-srs'])
def test_checkpoint_of_coco_fits_but_for_classes_and_new_parts(parts):
    base = get_config(
        'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'
    )
    base.model.backbone.init_cfg = None
    trained, own = (
        {key: value.shape for key, value in model.state_dict().items()}
        for model in map(
            MODELS.build, (base.model, load(TUTORIAL, parts).model)
        )
    )
    assert not trained.keys() - own.keys()
    new = {'neck.high_lateral_conv', 'neck.high_lateral_conv_attention'}
    if parts == 'augfpn-cs-srs':
        new |= {
            f'roi_head.{kind}_roi_extractor.{stage}.spatial_attention_conv'
            for kind in ('bbox', 'mask')
            for stage in range(3)
        }
        new |= {f'roi_head.auxiliary_{kind}_head' for kind in ('bbox', 'mask')}
    for key in own.keys() - trained.keys():
        assert any(key.startswith(f'{name}.') for name in new)
    other = {key for key in trained if trained[key] != own[key]}
    assert other == {
        f'roi_head.{name}.{kind}'
        for stage in range(3)
        for name in (
            f'bbox_head.{stage}.fc_cls',
            f'mask_head.{stage}.conv_logits',
        )
        for kind in ('weight', 'bias')
    }


# The light ones.


def test_light_configs_differ_in_the_parts_only():
    fpn, augfpn, whole = (
        load(LIGHT, parts).to_dict()
        for parts in ('fpn', 'augfpn', 'augfpn-cs-srs')
    )
    neck = {'model.neck.type': 'AugFPN'}
    assert dict(differences(fpn, augfpn)) == neck
    assert dict(differences(fpn, whole)) == {
        **neck,
        'extractor.type': 'SoftRoIExtractor',
        'model.roi_head.type': 'ConsistentCascadeRoIHead',
        'model.roi_head.bbox_roi_extractor.type': 'SoftRoIExtractor',
        'model.roi_head.mask_roi_extractor.type': 'SoftRoIExtractor',
        'model.roi_head.auxiliary_mask_head': {},
    }
    assert fpn['model']['neck']['type'] == 'FPN'
    assert fpn['randomness'] == {'seed': 0}


@pytest.mark.parametrize('name', [n for n in NAMES if 'sample' in n])
def test_light_configs_draw(name):
    assert read_config(FOLDER / name).default_hooks.visualization.draw


def test_light_config_has_the_parts():
    detector = MODELS.build(load(LIGHT, 'augfpn-cs-srs').model)
    assert isinstance(detector.neck, AugFPN)
    assert isinstance(detector.roi_head, ConsistentCascadeRoIHead)
    extractors = (
        *detector.roi_head.bbox_roi_extractor,
        *detector.roi_head.mask_roi_extractor,
    )
    assert len(extractors) == 6
    for extractor in extractors:
        assert isinstance(extractor, SoftRoIExtractor)
    for head in detector.roi_head.bbox_head:
        assert head.num_classes == 8


# All of them.


@pytest.mark.parametrize('name', NAMES)
def test_one_iteration_and_validation(name, root, tmp_path):
    config = read_config(FOLDER / name)
    make_small(config, root, tmp_path, size=(256, 128))
    for stage in config.model.train_cfg.rcnn:
        stage.sampler.num = 24
    config.model.test_cfg.rpn.max_per_img = 24
    train_set = config.train_dataloader.dataset
    train_set.times = 2  # the one image, twice, is a batch
    for step in train_set.dataset.pipeline:
        if step.type == 'RandomResize':
            step.scale = [(256, 100), (256, 128)]
    if config.train_cfg.type == 'EpochBasedTrainLoop':
        config.train_cfg.max_epochs = 1
    else:
        config.train_cfg.update(max_iters=1, val_interval=1)
    config.experiment_name = name
    runner = Runner.from_cfg(config)
    finite = {}
    for key, value in runner.model.named_parameters():
        if value.requires_grad:
            finite[key] = False
            value.register_hook(partial(note_finite, finite, key))
    runner.train()
    assert runner.iter == 1
    assert [key for key, value in finite.items() if not value] == []
    scalars = {
        key: value.current()
        for key, value in runner.message_hub.log_scalars.items()
    }
    losses = {key: value for key, value in scalars.items() if 'loss' in key}
    assert all(0 <= value < math.inf for value in losses.values())
    auxiliary = {f's{stage}.loss_aux_{x}' for stage in range(3) for x in AUX}
    found = {key.removeprefix('train/') for key in losses if 'aux' in key}
    assert found == (auxiliary if '-cs' in name else set())
    for metric in ('bbox_mAP', 'segm_mAP'):
        assert 0 <= scalars[f'val/coco/{metric}'] <= 1


def note_finite(finite, key, gradient):
    finite[key] = bool(gradient.isfinite().all())
