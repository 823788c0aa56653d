# Your own images and color masks, whose classes class_dict.csv lists, with the
# light net of configs/fpn; docs/config_by_hand.md has a config that inherits it.
_base_ = [
    '../_base_/models/fpn_lite0.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/schedules/adamw_poly_pretrained.py',
    '../_base_/datasets/own_masks.py',
]

data_root = 'data/mine'  # the same four folders, and class_dict.csv
num_classes = 2  # rows of class_dict.csv
crop_size = (256, 256)  # (height, width)
batch_size = 4
max_iters = 1000

model = dict(
    # Not the crop's size, which would have to be changed in two places.
    data_preprocessor=dict(size_divisor=32),
    decode_head=dict(num_classes=num_classes),
)
dataset = dict(
    type='ColorMaskDataset', data_root=data_root, seg_map_suffix='.png'
)
train_pipeline = _base_.train_pipeline
train_pipeline[1].type = 'LoadColorMasks'
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].type = 'LoadColorMasks'
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[2][0].type = 'LoadColorMasks'
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(**dataset, pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader

# From one validation to the next.
interval = max(1, max_iters // 5)
warmup = max(1, max_iters // 20)
train_cfg = dict(max_iters=max_iters, val_interval=interval)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = param_scheduler[1].begin = warmup
param_scheduler[1].end = max(warmup + 1, max_iters)
# What --auto-scale-lr scales the learning rate from.
auto_scale_lr = dict(base_batch_size=4)
# A dict, to which others add by name: a list would be replaced as a whole.
default_hooks = dict(
    logger=dict(interval=min(25, interval)),
    checkpoint=dict(interval=interval),
    panels=dict(type='SegVisHook'),
)
custom_hooks = []
