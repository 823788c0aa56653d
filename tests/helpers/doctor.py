"""Small healthy data with a config, for tests that make them ill."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from mmseg_ext.doctor.examine import examine
from mmseg_ext.doctor.suggest import write_suggestion
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.utils.files import write_text

#: Classes of the scenes, and the kinds of objects that show them.
STREET = {
    'sky': ('sky',),
    'building': ('building', 'wall', 'fence'),
    'plant': ('vegetation', 'terrain'),
    'road': ('road', 'lane_marking', 'sidewalk', 'ego'),
    'thing': (
        *('pole', 'traffic_sign', 'traffic_light', 'traffic_cone', 'car'),
        *('truck', 'bus', 'motorcycle', 'bicycle', 'rider', 'person'),
    ),
}
SIZE = (96, 72)  # (width, height)
NUM = {'train': 6, 'val': 3}

_SEMANTIC = """\
# MMSeg's own classes alone.
default_scope = 'mmseg'
classes = ('sky', 'building', 'plant', 'road', 'thing')
num_classes = 5
reduce_zero_label = False
crop_size = (64, 64)
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=mean, std=std, bgr_to_rgb=True,
        pad_val=0, seg_pad_val=255, size=crop_size),
    backbone=dict(
        type='ResNetV1c', depth=18, base_channels=8, num_stages=4,
        out_indices=(0, 1, 2, 3), norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead', in_channels=64, channels=8, in_index=3, num_convs=1,
        concat_input=False, num_classes=num_classes, norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False)),
    auxiliary_head=dict(
        type='FCNHead', in_channels=32, channels=8, in_index=2, num_convs=1,
        concat_input=False, num_classes=num_classes, norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False)),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(96, 72), ratio_range=(1.0, 1.5),
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 72), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='BaseSegDataset', data_root='{root}',
    metainfo=dict(classes=classes), img_suffix='.png', seg_map_suffix='.png',
    reduce_zero_label=reduce_zero_label)
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset, pipeline=train_pipeline,
        data_prefix=dict(img_path='train', seg_map_path='train_labels')))
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset, pipeline=test_pipeline, test_mode=True,
        data_prefix=dict(img_path='val', seg_map_path='val_labels')))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
"""

_INSTANCES = """\
# MMDet's own classes alone.
default_scope = 'mmdet'
classes = ('box', 'disk')
num_classes = 2
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=mean, std=std, bgr_to_rgb=True,
        pad_mask=True, pad_size_divisor=32),
    backbone=dict(
        type='ResNet', depth=18, base_channels=8, num_stages=4,
        out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN')),
    neck=dict(
        type='FPN', in_channels=[8, 16, 32, 64], out_channels=16,
        num_outs=5),
    rpn_head=dict(
        type='RPNHead', in_channels=16, feat_channels=16,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0],
            strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss')),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
            out_channels=16, featmap_strides=[4, 8, 16, 32]),
        bbox_head=dict(
            type='Shared2FCBBoxHead', in_channels=16, fc_out_channels=32,
            roi_feat_size=7, num_classes=num_classes,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
            loss_bbox=dict(type='L1Loss')),
        mask_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=16, featmap_strides=[4, 8, 16, 32]),
        mask_head=dict(
            type='FCNMaskHead', num_convs=1, in_channels=16,
            conv_out_channels=16, num_classes=num_classes,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True))),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3,
                min_pos_iou=0.3),
            sampler=dict(
                type='RandomSampler', num=32, pos_fraction=0.5,
                add_gt_as_proposals=False),
            allowed_border=-1, pos_weight=-1),
        rpn_proposal=dict(
            nms_pre=100, max_per_img=50,
            nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5,
                min_pos_iou=0.5),
            sampler=dict(
                type='RandomSampler', num=32, pos_fraction=0.25,
                add_gt_as_proposals=True),
            mask_size=28, pos_weight=-1)),
    test_cfg=dict(
        rpn=dict(
            nms_pre=100, max_per_img=50,
            nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=20, mask_thr_binary=0.5)))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(96, 72), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 72), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
dataset = dict(
    type='CocoDataset', data_root='{root}', metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **dataset, ann_file='train.json', data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset, ann_file='val.json', data_prefix=dict(img='val/'),
        test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric', ann_file='{root}/val.json', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
"""


class Patient(NamedTuple):
    """Data with a config.

    Attributes:
        root: ``train``, ``val`` with images; semantic: ``train_labels``,
            ``val_labels`` with masks of the same names; instances:
            ``train.json``, ``val.json``.
        config: The config, a text file.
    """

    root: Path
    config: Path

    def change(self, old: str, new: str) -> None:
        """Replace a text of the config, which has to be in it."""
        text = self.config.read_text()
        assert old in text, old
        self.config.write_text(text.replace(old, new))

    def examine(self, **options):
        """Let the doctor look at it; return the diagnosis."""
        return examine(str(self.config), **options)

    def files(self, folder: str) -> list[Path]:
        """Return the files of a folder, by name."""
        return sorted((self.root / folder).iterdir())

    def label(self, path: Path) -> np.ndarray:
        """Return a label map, uint8 (H, W)."""
        return np.array(Image.open(path))

    def coco(self, split: str) -> dict:
        """Return a COCO file."""
        return json.loads((self.root / f'{split}.json').read_text())

    def write_coco(self, split: str, coco: dict) -> None:
        """Write a COCO file."""
        (self.root / f'{split}.json').write_text(json.dumps(coco))


def write_street(folder: Path) -> Patient:
    """Write street scenes with index masks of five classes."""
    indices = {
        kind: number
        for number, kinds in enumerate(STREET.values())
        for kind in kinds
    } | {'unlabeled': 255}
    number = 0
    for split, count in NUM.items():
        for name in (split, f'{split}_labels'):
            (folder / name).mkdir(parents=True)
        for _ in range(count):
            scene = render_scene(SIZE, 3, number)
            label = scene.label_map(indices, fill=255).astype(np.uint8)
            cv2.imwrite(str(folder / split / f'{number}.png'), scene.image)
            cv2.imwrite(str(folder / f'{split}_labels/{number}.png'), label)
            number += 1
    return _with_config(folder, _SEMANTIC)


def write_shapes(folder: Path) -> Patient:
    """Write COCO files of boxes and disks, on street scenes."""
    categories = [
        {'id': 1, 'name': 'box'},
        {'id': 2, 'name': 'disk'},
    ]
    number = 0
    for split, count in NUM.items():
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for _ in range(count):
            scene = render_scene(SIZE, 4, number)
            image = scene.image.copy()
            name = f'{number}.png'
            images.append(
                {
                    'id': number + 1,
                    'file_name': name,
                    'width': SIZE[0],
                    'height': SIZE[1],
                }
            )
            for kind in (1, 2):
                annotations.append(
                    {
                        'id': 2 * number + kind,
                        'image_id': number + 1,
                        'category_id': kind,
                        'iscrowd': 0,
                        **_shape(image, kind, number),
                    }
                )
            cv2.imwrite(str(folder / split / name), image)
            number += 1
        data = {
            'images': images,
            'annotations': annotations,
            'categories': categories,
        }
        (folder / f'{split}.json').write_text(json.dumps(data))
    return _with_config(folder, _INSTANCES)


def _shape(image: np.ndarray, kind: int, number: int) -> dict:
    """Draw a box or a disk; return its polygon, box and area."""
    left, top, side = 8 + 40 * (kind - 1) + 2 * number, 10 + 3 * number, 28
    half = side / 2
    if kind == 1:
        corners = [(0, 0), (side, 0), (side, side), (0, side)]
    else:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        corners = [
            (half + half * np.cos(a), half + half * np.sin(a)) for a in angles
        ]
    points = np.array([(left + x, top + y) for x, y in corners])
    color = [(40, 60, 200), (200, 160, 40)][kind - 1]
    cv2.fillPoly(image, [np.rint(points).astype(np.int32)], color)
    polygon = [round(float(v), 2) for v in points.ravel()]
    codes = coco_mask.frPyObjects([polygon], SIZE[1], SIZE[0])
    return {
        'segmentation': [polygon],
        'bbox': [float(left), float(top), float(side), float(side)],
        'area': float(coco_mask.area(codes)[0]),
    }


def _with_config(folder: Path, text: str) -> Patient:
    config = folder / 'config.py'
    write_text(config, text.replace('{root}', str(folder)))
    return Patient(folder, config)


def semantic_patient(
    root: Path, classes: tuple[str, ...], size: tuple[int, int]
) -> Patient:
    """Write a config for images and index masks in the street's layout."""
    patient = _with_config(root, _SEMANTIC)
    patient.change(str(tuple(STREET)), str(classes))
    patient.change('num_classes = 5', f'num_classes = {len(classes)}')
    patient.change('scale=(96, 72)', f'scale={size}')
    return patient


def moved(patient: Patient, folder: Path) -> Patient:
    """Return a copy of data and config in another folder."""
    shutil.copytree(patient.root, folder, dirs_exist_ok=True)
    config = folder / 'config.py'
    text = config.read_text().replace(str(patient.root), str(folder))
    config.write_text(text)
    return Patient(folder, config)


def assert_only(diagnosis, code: str, file=None, split=None) -> list:
    """Check that a code is found, and nothing else is an error.

    Where the findings say how a config mends them, it has to.

    Args:
        diagnosis: What the doctor says.
        code: The code.
        file: The one file that it is found in; None for any or none.
        split: The one split.

    Returns:
        The findings of the code.
    """
    found = [each for each in diagnosis.findings if each.code == code]
    assert found, [(f.code, f.text) for f in diagnosis.findings]
    others = [
        (each.code, each.text)
        for each in diagnosis.findings
        if each.level == 2 and each.code != code
    ]
    assert others == [], others
    if file is not None:
        assert {each.file for each in found} == {str(file)}
    if split is not None:
        assert {each.split for each in found} == {split}
    for each in found:
        assert each.text
        assert each.symptom
        assert each.mend
    _assert_mended(diagnosis, found)
    return found


def _assert_mended(diagnosis, found: list) -> None:
    """Check that what is suggested mends findings that have a change."""
    if not any(each.change for each in found):
        return
    config = Path(diagnosis.case.cfg.filename)
    result = write_suggestion(
        diagnosis,
        config.with_name('mended.py'),
        {},
        splits=list(diagnosis.case.splits),
    )
    assert result.mended, [each.text for each in found]
    left = [(each.code, each.text) for each in result.left if each.change]
    assert left == [], left
    passes = result.passes or not all(each.change for each in found)
    assert passes, [(each.code, each.text) for each in result.left]


def plants(*codes: str):
    """Mark a test of a code; ``test_codes.py`` looks for all of them."""

    def mark(function):
        function.plants = codes
        return function

    return mark
