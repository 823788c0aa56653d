"""Small parts of detectors, their inputs, and what is expected of both."""

import torch
from mmcv.ops import roi_align
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmseg_ext.models.feature_pyramid import FeaturePyramid
from references import aug_fpn

STRIDES = [4, 8, 16, 32]
CLASSES = 3
CHANNELS = 4
#: Height and width of the images.
SIZE = (96, 128)
TRUTH = torch.tensor([[8, 8, 40, 48], [50.0, 20, 118, 84]])
LABELS = torch.tensor([2, 0])


def train_cfg(**options):
    """How RoIs get targets; as many are sampled as there are."""
    config = {
        'assigner': {
            'type': 'MaxIoUAssigner',
            'pos_iou_thr': 0.5,
            'neg_iou_thr': 0.5,
            'min_pos_iou': 0.5,
            'match_low_quality': False,
        },
        'sampler': {
            'type': 'RandomSampler',
            'num': 10_000,
            'pos_fraction': 0.5,
            'add_gt_as_proposals': True,
        },
        'pos_weight': -1,
        'mask_size': 6,
    }
    return ConfigDict({**config, **options})


def extractor(size, **options):
    return {
        'type': 'SingleRoIExtractor',
        'roi_layer': {
            'type': 'RoIAlign',
            'output_size': size,
            'sampling_ratio': 2,
        },
        'out_channels': CHANNELS,
        'featmap_strides': STRIDES,
        **options,
    }


def bbox_head(**options):
    return {
        'type': 'Shared2FCBBoxHead',
        'in_channels': CHANNELS,
        'fc_out_channels': 8,
        'roi_feat_size': 3,
        'num_classes': CLASSES,
        'loss_bbox': {'type': 'L1Loss'},
        **options,
    }


def mask_head(**options):
    return {
        'type': 'FCNMaskHead',
        'num_convs': 1,
        'in_channels': CHANNELS,
        'conv_out_channels': CHANNELS,
        'num_classes': CLASSES,
        'loss_mask': {'type': 'CrossEntropyLoss', 'use_mask': True},
        **options,
    }


def make_pyramid(strides=STRIDES, levels=4):
    """Maps for all strides, and laterals for the first levels."""
    generator = torch.Generator().manual_seed(1)
    maps, laterals = (
        [
            torch.randn(
                1,
                CHANNELS,
                -(-SIZE[0] // stride),
                -(-SIZE[1] // stride),
                generator=generator,
            ).requires_grad_()
            for stride in strides
        ]
        for _ in range(2)
    )
    return FeaturePyramid(maps, laterals[:levels])


def make_sample():
    """One image with two objects; one mask is all set, the other empty."""
    sample = DetDataSample(
        metainfo={
            'img_shape': SIZE,
            'ori_shape': SIZE,
            'pad_shape': SIZE,
            'scale_factor': (1.0, 1.0),
        }
    )
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8)
    masks[0] = 1
    sample.gt_instances = InstanceData(
        bboxes=TRUTH.clone(),
        labels=LABELS.clone(),
        masks=BitmapMasks(masks.numpy(), *SIZE),
    )
    return sample


def make_proposals():
    """Boxes of the second stage: close to an object, and far from any."""
    boxes = torch.tensor(
        [
            [10.5, 7, 41, 50],
            [55, 25, 110, 84],
            [0, 50, 30, 90],
            [60, 2, 90, 12],
            [9, 12, 36, 46],
        ]
    )
    return [InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)))]


def fill(module):
    """Fill a module with random weights that matter."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def expected_box_losses(head, laterals, strides, boxes, stds):
    """Losses over all levels, of boxes and the true ones."""
    boxes = torch.cat([TRUTH, boxes])
    matches, labels = aug_fpn.match(boxes, TRUTH, LABELS, CLASSES)
    assert set(labels.tolist()) == {0, 2, CLASSES}
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    state = dict(head.named_parameters())
    totals = [0, 0]
    for lateral, stride in zip(laterals, strides, strict=False):
        features = roi_align(lateral, rois, head.roi_feat_size, 1 / stride, 2)
        losses = aug_fpn.box_losses(
            features, boxes, matches, labels, state, stds
        )
        totals = [a + b for a, b in zip(totals, losses, strict=True)]
    return totals
