"""Configs of a plan are read by MMEngine, and what they say is compared."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS

from helpers.doctor import STREET, write_shapes, write_street
from mmseg_ext.doctor.child_configs import base_of
from mmseg_ext.launch.configs import load_config
from mmseg_ext.launch.options import stale_names
from mmseg_ext.launch.runs import run_training
from mmseg_ext.planning.config_text import config_text
from mmseg_ext.planning.plan import Choice, Plan
from mmseg_ext.planning.prepare import Prepared, Written

ROOT = Path(__file__).parents[2]
SEMANTIC = 'mmseg_ext::own_data/semantic.py'
INSTANCE = 'mmseg_ext::own_data/instance.py'
PSPNET = 'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'
SEGFORMER = (
    'mmseg::segformer/segformer_mit-b2_8xb1-160k_cityscapes-1024x1024.py'
)
MASK2FORMER = 'mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py'
BISENET = (
    'mmseg::bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py'
)
MASK_RCNN = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
CASCADE = 'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'
RTMDET = 'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py'
QUERIES = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
FUSED = 'mmseg_ext::fpn/fpn_lite0_1xb8-amp-1k_camvid11-360x480.py'
COLORS = [(10 * k, 20, 30) for k in range(5)]
IMPORTED = {'imports': ['mmseg_ext'], 'allow_failed_imports': False}

#: What the streets and shapes of the doctor's tests are.
MASKS = Prepared(
    {
        'type': 'PairedDataset',
        'metainfo': {'classes': tuple(STREET), 'palette': COLORS},
        'img_suffix': '.png',
        'seg_map_suffix': '.png',
    },
    {
        split: {
            'data_prefix': {
                'img_path': split,
                'seg_map_path': Written(f'{split}_labels'),
            },
            'ann_file': Written(f'{split}.txt'),
        }
        for split in ('train', 'val')
    },
)
OBJECTS = Prepared(
    {
        'type': 'CocoDataset',
        'metainfo': {'classes': ('box', 'disk'), 'palette': COLORS[:2]},
    },
    {
        split: {
            'data_prefix': {'img': split},
            'ann_file': Written(f'annotations/{split}.json'),
        }
        for split in ('train', 'val')
    },
)


def make_plan(base=SEMANTIC, **changes):
    """Return a plan; a reason is ``name: why``."""
    values = {
        'scale': (96, 72),
        'scale_factor': None,
        'crop_size': (32, 64),
        'batch_size': 2,
        'accumulate': 1,
        'batch_norm': True,
        'max_iters': 1000,
        'val_interval': 200,
        'class_weight': None,
        'mean_std': None,
        'num_workers': 0,
        'amp': False,
        **changes,
    }
    objects = base == INSTANCE or base.startswith('mmdet')
    return Plan(
        values.pop('task', 'instance' if objects else 'semantic'),
        Choice(base, 'base: why'),
        **{k: Choice(v, f'{k}: why') for k, v in values.items()},
    )


def text_of(base=SEMANTIC, prepared=None, root='data/mine', **changes):
    """Return the text of a config."""
    plan = make_plan(base, **changes)
    known = OBJECTS if plan.task == 'instance' else MASKS
    return config_text(plan, prepared or known, str(root), 'mine', 'Mine.')


def save(path, *args, **changes):
    """Write a config; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(*args, **changes), 'utf-8')
    return path


@pytest.fixture
def read(tmp_path):
    """Return a function that reads the text of a config."""

    def reads(*args, **changes):
        path = save(tmp_path / 'mine.py', *args, **changes)
        return Config.fromfile(path, import_custom_modules=False)

    return reads


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    """Return the root of images whose masks lie beside a config."""
    folder = tmp_path_factory.mktemp('street')
    root = write_street(folder / 'data').root
    made = folder / 'mine'
    for split in ('train', 'val'):
        made.mkdir(exist_ok=True)
        (root / f'{split}_labels').rename(made / f'{split}_labels')
        names = sorted(path.stem for path in (root / split).iterdir())
        (made / f'{split}.txt').write_text('\n'.join(names))
    return root


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """Return the root of images whose COCO files lie beside a config."""
    folder = tmp_path_factory.mktemp('shapes')
    root = write_shapes(folder / 'data').root
    (folder / 'mine/annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        name = f'{split}.json'
        (root / name).rename(folder / 'mine/annotations' / name)
    return root


def plain(cfg):
    """Return a part of a config without the scopes that MMEngine adds."""
    if isinstance(cfg, dict):
        return {k: plain(cfg[k]) for k in cfg if k != '_scope_'}
    if isinstance(cfg, list | tuple):
        return [plain(each) for each in cfg]
    return cfg


def kinds(steps):
    return [step.type for step in steps]


# What a person reads.


def test_the_top():
    assert (
        text_of().split('# From here')[0]
        == f"""\
# Mine.
# Model: base: why
# The import makes its name known, in upstream's tools too.
_base_ = __import__('mmseg_ext') and '{SEMANTIC}'

# The folder of the data, which stays as it is.
data_root = 'data/mine'

# Names of the classes, in the order of their values in label maps.
classes = ('sky', 'building', 'plant', 'road', 'thing')

# Image size: scale: why
scale = (96, 72)  # (width, height)

# Crop size: crop_size: why
crop_size = (32, 64)  # (height, width)

# Batch size: batch_size: why
batch_size = 2

# Accumulation: accumulate: why
accumulate = 1

# Iterations: max_iters: why
max_iters = 1000

# Validation: val_interval: why
val_interval = max(1, max_iters // 5)

# Workers: num_workers: why
num_workers = 0

# Mixed precision: amp: why
amp = False

# Colors (red, green, blue) in pictures.
palette = [
    (0, 20, 30),  # sky
    (10, 20, 30),  # building
    (20, 20, 30),  # plant
    (30, 20, 30),  # road
    (40, 20, 30),  # thing
]

"""
    )


def test_validations_follow_the_iterations(read):
    text = text_of(val_interval=250)
    assert 'val_interval = max(1, max_iters // 4)' in text.splitlines()
    assert read(val_interval=250).val_interval == 250


#: Changes of a plan that change most of a text.
CHANGES = (
    {},
    {
        'batch_norm': False,
        'class_weight': 'sqrt_median_frequency',
        'mean_std': ((1.5, 2.25, 3.0), (4.0, 5.0, 6.0)),
    },
    {'amp': True},
)


def test_texts_are_formatted(tmp_path):
    names = tuple(f'a class "{k}" that isn\'t short' for k in range(9))
    long = MASKS._replace(
        dataset={
            **MASKS.dataset,
            'type': 'ColorMaskDataset',
            'metainfo': {'classes': names},
            'class_dict': {'dog': (1, 2, 3), "the dog's": [3, 2, 1]},
        },
        loader='LoadColorMasks',
    )
    bases = (SEMANTIC, BISENET, MASK2FORMER, INSTANCE, CASCADE, RTMDET)
    for number, base in enumerate(bases):
        changes = CHANGES[number % len(CHANGES)]
        save(tmp_path / f'{number}.py', base, **changes)
    save(tmp_path / 'long.py', prepared=long)
    ruff = Path(sys.executable).with_name('ruff')
    if not ruff.exists():
        pytest.skip('ruff is not installed')
    found = subprocess.run(
        [
            *(ruff, 'format', '--diff', '--no-cache', '--config'),
            *(ROOT / 'pyproject.toml', tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, '')


# What MMEngine reads.


def test_index_masks_with_the_light_net(read):
    cfg = read()
    data = cfg.train_dataloader.dataset
    assert plain(data) == {
        'type': 'PairedDataset',
        'data_root': 'data/mine',
        'metainfo': {
            'classes': [*STREET],
            'palette': [[*color] for color in COLORS],
        },
        'img_suffix': '.png',
        'seg_map_suffix': '.png',
        'data_prefix': {
            'img_path': 'train',
            'seg_map_path': f'{Path(cfg.filename).parent}/mine/train_labels',
        },
        'ann_file': f'{Path(cfg.filename).parent}/mine/train.txt',
        'pipeline': plain(cfg.train_pipeline),
    }
    assert kinds(data.pipeline) == [
        *('LoadImageFromFile', 'FastLoadAnnotations', 'RandomResize'),
        *('FastRandomCrop', 'RandomFlip', 'FastPhotoMetricDistortion'),
        'PackSegInputs',
    ]
    assert plain(data.pipeline[2:4]) == [
        {
            'type': 'RandomResize',
            'scale': [96, 72],
            'ratio_range': [0.5, 2.0],
            'keep_ratio': True,
        },
        {
            'type': 'FastRandomCrop',
            'crop_size': [32, 64],
            'cat_max_ratio': 0.75,
        },
    ]
    assert plain(cfg.val_dataloader.dataset.pipeline[:3]) == [
        {'type': 'LoadImageFromFile'},
        {'type': 'Resize', 'scale': [96, 72], 'keep_ratio': True},
        {'type': 'FastLoadAnnotations'},
    ]
    assert plain(cfg.test_dataloader) == plain(cfg.val_dataloader)
    assert plain(cfg.tta_pipeline[1]) == plain(cfg.test_pipeline[1])
    assert (cfg.train_dataloader.batch_size, cfg.num_classes) == (2, 5)
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.model.decode_head.num_classes == 5
    assert plain(cfg.model.decode_head.loss_decode) == [
        {'type': 'BalancedCrossEntropy', 'class_weight': None},
        {'type': 'FastLovaszLoss'},
    ]
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.auto_scale_lr.base_batch_size == 2
    assert plain(cfg.train_cfg) == {
        'type': 'IterBasedTrainLoop',
        'max_iters': 1000,
        'val_interval': 200,
    }
    rise, fall = cfg.param_scheduler
    assert (rise.begin, rise.end, fall.begin, fall.end) == (0, 50, 50, 1000)
    assert cfg.param_scheduler[1].eta_min == 1e-5
    assert cfg.default_hooks.checkpoint.interval == 200
    assert cfg.default_hooks.logger.interval == 25
    assert [*stale_names(cfg, Path(cfg.filename), {})] == []


def test_color_masks(read):
    colors = {
        name: color for name, color in zip(STREET, COLORS, strict=True)
    } | {'Void': (9, 9, 9)}
    prepared = MASKS._replace(
        dataset={
            **MASKS.dataset,
            'type': 'ColorMaskDataset',
            'metainfo': {'classes': tuple(STREET)},
            'class_dict': colors,
        },
        loader='LoadColorMasks',
    )
    for base in (SEMANTIC, PSPNET):
        cfg = read(base, prepared)
        assert 'palette' not in cfg
        dataset = cfg.val_dataloader.dataset
        assert plain(dataset.class_dict) == {
            k: [*v] for k, v in colors.items()
        }
        assert 'reduce_zero_label' not in str(cfg.train_pipeline)
        loaders = [
            kind
            for steps in (cfg.train_pipeline, cfg.test_pipeline)
            for kind in kinds(steps)
            if kind.endswith(('Annotations', 'ColorMasks'))
        ]
        assert loaders == ['LoadColorMasks'] * 2
        last = [steps[0].type for steps in cfg.tta_pipeline[-1].transforms]
        assert last[-2:] == ['LoadColorMasks', 'PackSegInputs']
        assert cfg.model.decode_head.num_classes == 5


def test_values_of_masks_are_numbers(read):
    prepared = MASKS._replace(
        dataset={**MASKS.dataset, 'label_map': {0: 0, 255: 1}},
    )
    cfg = read(prepared=prepared)
    assert cfg.train_dataloader.dataset.label_map == {0: 0, 255: 1}


def test_instances_with_the_light_net(read):
    cfg = read(INSTANCE, batch_size=1)
    root = f'{Path(cfg.filename).parent}/mine/annotations'
    dataset = cfg.train_dataloader.dataset
    assert dataset.ann_file == f'{root}/train.json'
    assert plain(dataset.filter_cfg) == {'filter_empty_gt': True}
    assert dataset.data_prefix.img == 'train'
    assert 'test_mode' not in dataset
    assert cfg.val_dataloader.dataset.test_mode is True
    assert cfg.val_evaluator.ann_file == f'{root}/val.json'
    assert plain(cfg.test_evaluator) == plain(cfg.val_evaluator)
    heads = cfg.model.roi_head
    assert (heads.bbox_head.num_classes, heads.mask_head.num_classes) == (2, 2)
    assert plain(cfg.train_pipeline[2:5]) == [
        {
            'type': 'RandomResize',
            'scale': [96, 72],
            'ratio_range': [0.5, 1.5],
            'keep_ratio': True,
        },
        {
            'type': 'RandomCrop',
            # Width, then height.
            'crop_size': [64, 32],
            'recompute_bbox': True,
        },
        {'type': 'FilterAnnotations', 'min_gt_bbox_wh': [3, 3]},
    ]
    assert cfg.test_pipeline[1].scale == (96, 72)
    assert cfg.optim_wrapper.optimizer.lr == 1e-3


def test_images_of_their_own_size(read):
    cfg = read(scale_factor=1.25)
    assert plain(cfg.train_pipeline[2]) == {
        'type': 'RandomChoice',
        'transforms': [
            [
                {
                    'type': 'Resize',
                    'scale_factor': factor * 1.25,
                    'keep_ratio': True,
                }
            ]
            for factor in (0.5, 0.75, 1.0, 1.5, 2.0)
        ],
    }
    assert plain(cfg.test_pipeline[1]) == {
        'type': 'Resize',
        'scale_factor': 1.25,
        'keep_ratio': True,
    }
    assert plain(cfg.tta_pipeline[1]) == plain(cfg.test_pipeline[1])
    assert 'scale' not in cfg
    assert 'scale_factor = 1.25' in Path(cfg.filename).read_text()


def test_all_in_one_step_with_images_of_their_own_size(read):
    cfg = read(FUSED, scale_factor=2.0)
    (fused,) = (
        step
        for step in cfg.train_pipeline
        if step.type == 'FusedResizeCropFlip'
    )
    assert fused.scale_factors == [1.0, 1.5, 2.0, 3.0, 4.0]
    assert 'scale' not in fused
    assert 'ratio_range' not in fused


def test_a_split_for_the_test(read):
    made = 'train', 'val', 'test'
    prepared = OBJECTS._replace(
        splits={
            split: {
                'data_prefix': {'img': ''},
                'ann_file': Written(f'{split}.json'),
            }
            for split in made
        },
    )
    for base in (INSTANCE, MASK_RCNN):
        cfg = read(base, prepared)
        found = [cfg[f'{split}_dataloader'].dataset.ann_file for split in made]
        folder = Path(cfg.filename).parent / 'mine'
        assert found == [f'{folder}/{split}.json' for split in made]
        assert cfg.test_evaluator.ann_file == f'{folder}/test.json'
        assert cfg.val_evaluator.ann_file == f'{folder}/val.json'
    prepared = MASKS._replace(splits={**MASKS.splits, 'test': {'indices': 3}})
    cfg = read(prepared=prepared)
    assert cfg.test_dataloader.dataset.indices == 3
    assert 'indices' not in cfg.val_dataloader.dataset


# Names at the top, changed.


def test_the_top_changes_the_training(tmp_path):
    path = save(tmp_path / 'mine.py', SEGFORMER)
    for old, new in (
        ('max_iters = 1000', 'max_iters = 10'),
        ('batch_size = 2', 'batch_size = 4'),
        ('crop_size = (32, 64)', 'crop_size = (96, 32)'),
        ("'road', 'thing')", "'road')"),
        ('    (40, 20, 30),  # thing\n', ''),
        ('scale = (96, 72)', 'scale = (50, 40)'),
        ('num_workers = 0', 'num_workers = 3'),
        ('accumulate = 1', 'accumulate = 2'),
        ('amp = False', 'amp = True'),
    ):
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
    cfg = Config.fromfile(path, import_custom_modules=False)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 10
    assert cfg.train_cfg.val_interval == 2
    assert cfg.default_hooks.checkpoint.interval == 2
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 1
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.model.data_preprocessor.size == (96, 32)
    assert cfg.model.test_cfg.crop_size == (96, 32)
    assert cfg.model.test_cfg.stride == (64, 21)
    assert cfg.train_pipeline[3].crop_size == (96, 32)
    assert cfg.model.decode_head.num_classes == 4
    assert cfg.train_pipeline[2].scale == cfg.test_pipeline[1].scale
    assert cfg.train_pipeline[2].scale == (50, 40)
    assert cfg.train_dataloader.persistent_workers is True
    assert cfg.optim_wrapper.accumulative_counts == 2
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    # Meant for 8 images.
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(6e-5)


@pytest.mark.parametrize('base', [SEMANTIC, MASK_RCNN])
def test_options_change_the_training(base, tmp_path):
    path = save(tmp_path / 'mine.py', base)
    told, changed = [], []
    options = {'max_iters': 4, 'batch_size': 3, 'crop_size': (96, 64)}
    cfg = load_config(str(path), None, options, told.append, changed.append)
    assert told == []
    assert len(changed) == 3
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (4, 4)
    assert cfg.default_hooks.checkpoint.interval == 4
    assert cfg.param_scheduler[0].end == 2
    points = cfg.param_scheduler[1].get('milestones')
    assert points == [3, 4] or cfg.param_scheduler[1].end == 4
    assert cfg.train_dataloader.batch_size == 3
    order = -1 if base == MASK_RCNN else 1
    steps = cfg.train_dataloader.dataset.pipeline
    sizes = [step.crop_size for step in steps if 'crop_size' in step]
    assert sizes == [(96, 64)[::order]]


# What is inherited.


def test_a_net_with_windows(read):
    cfg = read(PSPNET, mean_std=((1.5, 2.0, 3.0), (4.0, 5.0, 6.0)))
    assert plain(cfg.custom_imports) == IMPORTED
    before = cfg.model.data_preprocessor
    assert (before.size, before.bgr_to_rgb) == ((32, 64), True)
    assert (before.mean, before['std']) == ([1.5, 2, 3], [4, 5, 6])
    for part in (cfg.model.backbone, cfg.model.auxiliary_head):
        assert part.norm_cfg.type == 'BN'
    assert cfg.model.auxiliary_head.num_classes == 5
    assert cfg.model.auxiliary_head.loss_decode.loss_weight == 0.4
    assert cfg.model.decode_head.loss_decode.type == 'CrossEntropyLoss'
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.01 * 2 / 8)
    assert cfg.optim_wrapper.optimizer.type == 'SGD'
    assert plain(cfg.val_evaluator) == {
        'type': 'IoUMetric',
        'iou_metrics': ['mIoU'],
    }
    hooks = cfg.default_hooks
    assert hooks.label_check.type == 'LabelCheckHook'
    assert hooks.panels.type == 'SegVisHook'
    assert 'class_weights' not in hooks
    assert hooks.checkpoint.type == 'CheckpointHook'
    assert kinds(cfg.train_pipeline) == [
        *('LoadImageFromFile', 'LoadAnnotations', 'RandomResize'),
        *('RandomCrop', 'RandomFlip', 'PhotoMetricDistortion'),
        'PackSegInputs',
    ]
    assert cfg.train_pipeline[2].ratio_range == (0.5, 2.0)


def test_weights_of_classes(read):
    rule = 'sqrt_median_frequency'
    cfg = read(PSPNET, class_weight=rule)
    assert plain(cfg.model.decode_head.loss_decode) == {
        'type': 'BalancedCrossEntropy',
        'class_weight': rule,
    }
    assert cfg.model.auxiliary_head.loss_decode.type == 'CrossEntropyLoss'
    assert cfg.default_hooks.class_weights.type == 'ClassWeightsHook'
    cfg = read(class_weight=rule)
    loss = cfg.model.decode_head.loss_decode[0]
    assert loss.class_weight == rule
    cfg = read(MASK2FORMER, class_weight=rule)
    assert 'class_weight' not in cfg
    assert f'{rule} is left out' in Path(cfg.filename).read_text()


def test_small_batches_have_no_batch_norm(read):
    cfg = read(PSPNET, batch_norm=False)
    assert plain(cfg.model.backbone.norm_cfg) == {
        'type': 'BN',
        'requires_grad': True,
    }
    assert cfg.model.backbone.norm_eval is True
    groups = {'type': 'GN', 'num_groups': 16, 'requires_grad': True}
    assert plain(cfg.model.decode_head.norm_cfg) == groups
    assert 'Group norm, not batch norm: batch_norm: why' in cfg.text
    assert read(batch_norm=False).model.backbone.norm_eval is True
    cfg = read(RTMDET, batch_norm=False)
    assert plain(cfg.model.neck.norm_cfg) == groups
    # A net within the backbone.
    cfg = read(BISENET, batch_norm=False)
    assert cfg.model.backbone.backbone_cfg.norm_eval is True
    assert [plain(h.norm_cfg) for h in cfg.model.auxiliary_head] == [
        groups
    ] * 2
    assert cfg.model.auxiliary_head[1].in_index == 2


def test_queries_weigh_what_is_no_object(read):
    cfg = read(MASK2FORMER)
    assert cfg.model.decode_head.loss_cls.class_weight == [1.0] * 5 + [0.1]
    assert cfg.custom_imports.imports == ['mmdet.models', 'mmseg_ext']
    cfg = read(QUERIES)
    head = cfg.model.panoptic_head
    assert (head.num_things_classes, head.num_stuff_classes) == (2, 0)
    assert head.loss_cls.class_weight == [1.0, 1.0, 0.1]
    assert cfg.model.panoptic_fusion_head.num_things_classes == 2
    assert cfg.model.data_preprocessor.batch_augments[0].size == (32, 64)
    assert cfg.train_cfg.type == 'IterBasedTrainLoop'
    assert 'dynamic_intervals' not in cfg.train_cfg


def test_epochs_become_iterations(read):
    cfg = read(MASK_RCNN)
    assert plain(cfg.train_cfg) == {
        'type': 'IterBasedTrainLoop',
        'max_iters': 1000,
        'val_interval': 200,
    }
    assert plain(cfg.param_scheduler[1]) == {
        'type': 'MultiStepLR',
        'gamma': 0.1,
        'milestones': [666, 916],
        'by_epoch': False,
    }
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.02 * 2 / 16)
    assert cfg.default_hooks.checkpoint.by_epoch is False
    assert cfg.default_hooks.logger.log_metric_by_epoch is False
    assert cfg.default_hooks.class_check.type == 'NumClassCheckHook'
    assert cfg.log_processor.by_epoch is False
    assert cfg.train_dataloader.sampler.type == 'InfiniteSampler'
    assert [k for k in kinds(cfg.train_pipeline) if 'Crop' in k]


def test_mixed_images_are_left_out(read):
    cfg = read(RTMDET)
    assert kinds(cfg.train_pipeline) == [
        *('LoadImageFromFile', 'LoadAnnotations', 'RandomResize'),
        *('RandomCrop', 'FilterAnnotations', 'YOLOXHSVRandomAug'),
        *('RandomFlip', 'Pad', 'PackDetInputs'),
    ]
    # Width, then height.
    assert cfg.train_pipeline[-2].size == (64, 32)
    assert kinds(cfg.custom_hooks) == ['EMAHook']
    assert cfg.test_pipeline[2].size_divisor == 32
    assert 'size' not in cfg.test_pipeline[2]
    # 8 GPUs with 32 images.
    lr = 0.004 * (2 / 256) ** 0.5
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(lr)
    assert cfg.param_scheduler[1].eta_min == pytest.approx(lr * 0.05)


def test_images_in_reverse_order(read):
    cfg = read(RTMDET, mean_std=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    before = cfg.model.data_preprocessor
    assert before.bgr_to_rgb is False
    assert (before.mean, before['std']) == ([3, 2, 1], [6, 5, 4])


def test_a_wrapped_data_set(read, tmp_path):
    """With values in the place of what the base has of its own data."""
    base = tmp_path / 'base.py'
    base.write_text(
        f"""\
_base_ = '{BISENET}'
loss = dict(type='CrossEntropyLoss', class_weight=[0.5 + k for k in range(19)])
model = dict(
    decode_head=dict(loss_decode=loss),
    test_cfg=dict(mode='slide', crop_size=(9, 9), stride=(9, 9)),
)
train_dataloader = dict(
    sampler=dict(type='RareClassSampler'),
    prefetch_factor=2,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=9,
        dataset=dict(
            type='CityscapesDataset',
            reduce_zero_label=True,
            pipeline=[
                dict(type='LoadImageFromFile', backend_args=None),
                dict(type='LoadAnnotations', reduce_zero_label=True),
                dict(type='Resize', scale=(7, 7)),
                dict(type='PackSegInputs'),
            ],
        ),
    ),
)
val_evaluator = [dict(type='CityscapesMetric', output_dir='x')]
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
train_cfg = dict(
    _delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_begin=2)
param_scheduler = dict(
    _delete_=True, type='OneCycleLR', eta_max=1, total_steps=9)
default_hooks = dict(checkpoint=None)
load_from = 'https://example.com/some.pth'
"""
    )
    cfg = read(str(base))
    assert plain(cfg.train_dataloader.sampler) == {
        'type': 'InfiniteSampler',
        'shuffle': True,
    }
    assert 'prefetch_factor' not in cfg.train_dataloader
    dataset = cfg.train_dataloader.dataset
    assert dataset.type == 'PairedDataset'
    assert 'times' not in dataset
    assert plain(dataset.pipeline) == [
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations'},
        {
            'type': 'RandomResize',
            'scale': [96, 72],
            'ratio_range': [0.5, 2.0],
            'keep_ratio': True,
        },
        {
            'type': 'RandomCrop',
            'crop_size': [32, 64],
            'cat_max_ratio': 0.75,
        },
        {'type': 'PackSegInputs'},
    ]
    assert cfg.model.decode_head.loss_decode.class_weight is None
    assert cfg.model.test_cfg.stride == (32, 64)
    assert cfg.val_evaluator.type == 'IoUMetric'
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert 'loss_scale' not in cfg.optim_wrapper
    assert cfg.optim_wrapper.accumulative_counts == 1
    assert 'val_begin' not in cfg.train_cfg
    assert cfg.param_scheduler[1].type == 'PolyLR'
    assert cfg.default_hooks.checkpoint.type == 'CheckpointHook'
    assert cfg.load_from == 'https://example.com/some.pth'
    assert '# load_from of the inherited config stays' in cfg.text
    assert f"'{base}'" in cfg.text


@pytest.mark.parametrize(
    ('base', 'changes', 'said'),
    [
        pytest.param('mmseg::no.py', {}, 'there is no config', id='none'),
        pytest.param(MASK_RCNN, {'task': 'semantic'}, 'mmdet', id='objects'),
        pytest.param(PSPNET, {'task': 'instance'}, 'mmseg', id='maps'),
        pytest.param(
            'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
            {},
            'with_mask=True',
            id='boxes',
        ),
        pytest.param(
            'mmdet::htc/htc_r50_fpn_1x_coco.py',
            {},
            'with_seg',
            id='with label maps',
        ),
        pytest.param(
            'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
            {},
            'LoadPanopticAnnotations',
            id='panoptic',
        ),
        pytest.param(
            'mmdet::masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e'
            '_youtubevis2019.py',
            {},
            'no LoadImageFromFile',
            id='videos',
        ),
        pytest.param(
            'mmseg::san/san-vit-b16_coco-stuff164k-640x640.py',
            {},
            'model.text_encoder',
            id='texts',
        ),
        pytest.param(
            'mmseg::_base_/models/fcn_r50-d8.py',
            {},
            'has no train_dataloader',
            id='part',
        ),
    ],
)
def test_what_cannot_be_fitted(base, changes, said):
    with pytest.raises(ValueError, match=said):
        text_of(base, **changes)


def test_a_config_of_the_new_style(tmp_path):
    (tmp_path / 'part.py').write_text("default_scope = 'mmdet'\n")
    base = tmp_path / 'new.py'
    base.write_text(
        'from mmengine.config import read_base\n\nwith read_base():\n'
        '    from .part import *\n'
    )
    with pytest.raises(ValueError, match='new style'):
        text_of(str(base), task='instance')


# The files beside it.


def test_folders_of_any_name(tmp_path):
    folder = tmp_path / 'it\'s a {b}c{{d}} "so" a\u0308'
    path = save(folder / 'mine.py')
    other = tmp_path / 'elsewhere/child.py'
    other.parent.mkdir()
    head = base_of(path, other).head
    other.write_text(head, 'utf-8')
    expected = f'{folder}/mine/train.txt'
    for file in (path, other):
        for cfg in (Config.fromfile(file), load_config(str(file))):
            assert cfg.train_dataloader.dataset.ann_file == expected


# It runs.


@pytest.mark.parametrize(
    ('base', 'heads'),
    [
        pytest.param(
            BISENET,
            'decode_head auxiliary_head.0 auxiliary_head.1',
            id='bisenet',
        ),
        pytest.param(MASK2FORMER, 'decode_head', id='mask2former'),
        pytest.param(
            CASCADE,
            ' '.join(
                f'roi_head.{kind}_head.{k}'
                for kind in ('bbox', 'mask')
                for k in range(3)
            ),
            id='cascade',
        ),
        pytest.param(RTMDET, 'bbox_head', id='rtmdet'),
    ],
)
def test_models_are_built(base, heads, tmp_path):
    cfg = load_config(str(save(tmp_path / 'mine.py', base, batch_norm=False)))
    with (
        torch.device('meta'),
        MODELS.switch_scope_and_registry(cfg.default_scope) as registry,
    ):
        model = registry.build(cfg.model)
    classes = len(cfg.classes)
    for name in heads.split():
        head = model.get_submodule(name)
        assert head.num_classes == classes
    sizes = {
        'mmseg': lambda: model.decode_head.conv_seg.out_channels,
        'mask2former': lambda: model.decode_head.cls_embed.out_features - 1,
        'cascade': lambda: model.roi_head.bbox_head[2].fc_cls.out_features - 1,
        'rtmdet': lambda: model.bbox_head.rtm_cls[0].out_channels,
    }
    name = next((n for n in sizes if n in base.split('/')[-1]), 'mmseg')
    assert sizes[name]() == classes
    assert not [
        layer
        for layer in model.modules()
        if isinstance(layer, torch.nn.SyncBatchNorm)
    ]


def beside(data, path):
    """Put the files that were made of the data beside a config."""
    shutil.copytree(data.parent / 'mine', path.parent / 'mine')
    return path


def test_label_maps_train(street, tmp_path):
    changes = {'class_weight': 'sqrt_median_frequency', 'batch_norm': False}
    path = save(tmp_path / "it's/mine.py", root=street, **changes)
    beside(street, path)
    done = run_training(
        str(path), str(tmp_path / 'work'), cfg_options={'max_iters': 2}
    )
    assert done.model.decode_head.conv_seg.out_channels == 5
    assert (tmp_path / 'work/iter_2.pth').exists()
    assert [*(tmp_path / 'work').glob('*/seg_vis/**/*.png')]


@pytest.mark.parametrize('base', [PSPNET, MASK_RCNN])
def test_upstream_reads_the_data(base, street, shapes, tmp_path):
    data = shapes if base == MASK_RCNN else street
    path = beside(data, save(tmp_path / 'mine.py', base, root=data))
    cfg = load_config(str(path))
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        train = registry.build(cfg.train_dataloader.dataset)
        val = registry.build(cfg.val_dataloader.dataset)
    assert (len(train), len(val)) == (6, 3)
    assert train.metainfo['classes'] == cfg.classes
    sample = train[0]
    # As large as a crop, or as the image that was made smaller.
    height, width = sample['inputs'].shape[1:]
    assert (height, width) in ((32, 64), (32, width))
    assert 48 <= width <= 64
    assert val[0]['data_samples'].ori_shape == (72, 96)
