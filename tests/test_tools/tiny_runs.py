"""Tiny data sets and configs for real runs of the tools on a CPU."""

import importlib.util
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
from mmengine import DefaultScope

TOOLS = Path(__file__).parents[2] / 'tools'

SEGMENTATION = """
default_scope = 'mmseg'
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)
randomness = dict(seed=0)
norm = dict(type='BN')
num_classes = 3
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[128.0] * 3, std=[64.0] * 3,
        bgr_to_rgb=True, size=(64, 64)),
    backbone=dict(
        type='ResNetV1c', depth=18, base_channels=4, stem_channels=4,
        norm_cfg=norm),
    decode_head=dict(
        type='FCNHead', in_channels=32, channels=8, num_convs=1,
        num_classes=num_classes, norm_cfg=norm, dropout_ratio=0,
        loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='whole'))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)],
        [dict(type='LoadAnnotations')],
        [dict(type='PackSegInputs')],
    ]),
]
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset', data_root={root!r},
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png', seg_map_suffix='.png',
        metainfo=dict(
            classes=('sky', 'wall', 'road'),
            palette=[[0, 0, 255], [255, 0, 0], [0, 255, 0]]),
        pipeline=pipeline))
test_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=train_dataloader['dataset'])
test_evaluator = dict(type='IoUMetric', ignore_index=255, prefix='seg')
test_cfg = dict(type='TestLoop')
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
# A second for each run.
custom_hooks = [dict(type='RunPicturesHook', draw=False)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1),
    visualization=dict(type='SegVisualizationHook'))
log_processor = dict(by_epoch=False)
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""

DETECTION = """
default_scope = 'mmdet'
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)
randomness = dict(seed=0)
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3,
        pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=18, base_channels=4),
    neck=dict(
        type='FPN', in_channels=[4, 8, 16, 32], out_channels=8, start_level=1,
        add_extra_convs='on_input', num_outs=5),
    bbox_head=dict(
        type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1,
            ratios=[1.0], strides=[8, 16, 32, 64, 128])),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4,
            min_pos_iou=0),
        sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(
        # So many that an untrained detector, too, is right somewhere.
        nms_pre=1000, min_bbox_size=0, score_thr=0.0,
        nms=dict(type='nms', iou_threshold=0.95), max_per_img=100))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset', data_root={root!r}, ann_file='boxes.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('disc', 'square')), pipeline=pipeline))
test_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(train_dataloader['dataset'], test_mode=True))
test_evaluator = dict(
    type='CocoMetric', ann_file={root!r} + '/boxes.json',
    metric='proposal_fast')
test_cfg = dict(type='TestLoop')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001))
custom_hooks = [dict(type='RunPicturesHook', draw=False)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook'),
    visualization=dict(type='DetVisualizationHook', score_thr=0.0))
visualizer = dict(
    type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


_numbers = itertools.count()


def run_tool(name, *argv):
    """Run a tool in this process and return what its main does.

    mmengine keeps the scope of the last runner and tells runners of the same
    second apart by their names; neither must reach the next test.
    """
    spec = importlib.util.spec_from_file_location(
        f'tool_{name}', TOOLS / f'{name}.py'
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    argv = [str(part) for part in argv]
    argv += ['--cfg-options', f'experiment_name=tiny{next(_numbers)}']
    with DefaultScope.overwrite_default_scope('mmengine'):
        return tool.main(argv)


def write_segmentation(root):
    """Write four labeled images in two subfolders and a config; return it."""
    rng = np.random.default_rng(0)
    for index in range(4):
        label = np.zeros((64, 64), np.uint8)
        label[20 + 5 * index :] = 1
        label[40:, : 20 + 10 * index] = 2
        image = np.stack([label * 100] * 3, -1)
        image += rng.integers(0, 40, image.shape, dtype=np.uint8)
        # Two pairs of the same name, in different folders.
        name = f'seq{index // 2}/{index % 2}.png'
        for kind, pixels in (('images', image), ('labels', label)):
            path = root / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    return _write_config(root, 'tiny_seg.py', SEGMENTATION)


def write_detection(root):
    """Write three images with boxes and a config; return the config."""
    (root / 'images').mkdir(parents=True)
    images, annotations = [], []
    for index in range(3):
        image = np.full((64, 64, 3), 40, np.uint8)
        boxes = [[4, 4 + index, 24, 24], [34, 30, 20 + index, 28]]
        for category, (x, y, w, h) in enumerate(boxes, 1):
            image[y : y + h, x : x + w] = 90 * category
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=category,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
            )
        name = f'{index}.png'
        cv2.imwrite(str(root / 'images' / name), image)
        images.append(dict(id=index + 1, file_name=name, height=64, width=64))
    categories = [dict(id=1, name='disc'), dict(id=2, name='square')]
    (root / 'boxes.json').write_text(
        json.dumps(
            dict(images=images, annotations=annotations, categories=categories)
        )
    )
    return _write_config(root, 'tiny_det.py', DETECTION)


def _write_config(root, name, text):
    config = root / name
    config.write_text(text.replace('{root!r}', repr(str(root))))
    return config
