# Your own images and a COCO file of their instances, with the light Mask R-CNN
# of configs/mask_rcnn; docs/config_by_hand.md has a config that inherits it.
_base_ = [
    '../_base_/models/mask-rcnn_lite0_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_cosine.py',
]
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

data_root = 'data/mine'  # holds annotations/train.json and val.json
classes = ('object',)  # categories, by the names in these files
crop_size = (320, 320)  # (height, width)
batch_size = 2
max_iters = 800

num_classes = len(classes)
head = dict(num_classes=num_classes)
model = dict(
    # Edges and colors are those of ImageNet; a fifth of the time.
    backbone=dict(frozen_stages=1),
    roi_head=dict(bbox_head=head, mask_head=head),
)

# Images are fitted into it: for test, and in the mean before a crop.
size = (640, 640)
# Masks are drawn from the start, so run-length codes do as well as polygons.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomResize',
        scale=size,
        ratio_range=(0.5, 1.5),
        keep_ratio=True,
    ),
    # MMDet's crop has a width, then a height. Boxes are those of what it
    # leaves of a mask.
    dict(type='RandomCrop', crop_size=crop_size[::-1], recompute_bbox=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(3, 3)),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
dataset = dict(
    data_root=data_root,
    metainfo=dict(classes=classes),
    # File names in the COCO file are relative to the data root.
    data_prefix=dict(img=''),
)
train_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(
        **dataset, ann_file='annotations/train.json', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset, ann_file='annotations/val.json', pipeline=test_pipeline
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root.rstrip("/")}/annotations/val.json')
test_evaluator = val_evaluator

# From one validation to the next.
interval = max(1, max_iters // 5)
warmup = max(1, max_iters // 20)
train_cfg = dict(max_iters=max_iters, val_interval=interval)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = param_scheduler[1].begin = warmup
param_scheduler[1].end = max(warmup + 1, max_iters)
# What --auto-scale-lr scales the learning rate from.
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(
    logger=dict(interval=min(25, interval)),
    checkpoint=dict(interval=interval),
    # Each tenth image of a validation, the first among them where the number
    # of iterations has this divisor.
    visualization=dict(draw=True, interval=min(10, interval)),
)
