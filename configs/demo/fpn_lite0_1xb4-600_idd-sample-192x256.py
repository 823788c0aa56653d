# IDD sample scenes at 480x360, some minutes on two CPU cores: Semantic
# FPN on EfficientNet-Lite 0. Most objects are small and rare.
_base_ = [
    '../_base_/models/fpn_lite0.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/schedules/adamw_poly_pretrained.py',
    '../_base_/datasets/idd.py',
]

max_iters = 600
crop_size = (192, 256)  # (height, width)
# Larger than the images are: poles and signs are few pixels wide.
scale = (640, 480)
data_root = 'data/sample_idd/idd'
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=scale, ratio_range=(0.5, 1.5))
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale
# Around the test's size, where the base has that of the file.
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(
        type='Resize',
        scale=tuple(int(side * ratio) for side in scale),
        keep_ratio=True,
    )
    for ratio in (0.75, 1.0, 1.25)
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
default_hooks = dict(checkpoint=dict(interval=max_iters))
custom_hooks = [dict(type='SegVisHook', vis_num=6)]
