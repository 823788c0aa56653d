# The same with ResNet-50 on one GPU in mixed precision, from weights at an
# address.
_base_ = './fpn_lite0_1xb4-500_nuimages-sample-256x448.py'

max_iters = 1000
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    backbone=dict(
        _delete_=True,
        type='ResNetV1c',
        depth=50,
        norm_cfg=norm_cfg,
        norm_eval=False,
        style='pytorch',
        contract_dilation=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='open-mmlab://resnet50_v1c'
        ),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048], out_channels=256),
    decode_head=dict(in_channels=[256] * 4, channels=128),
)
train_dataloader = dict(batch_size=8, num_workers=8)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='AmpOptimWrapper')
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
default_hooks = dict(checkpoint=dict(interval=max_iters))
