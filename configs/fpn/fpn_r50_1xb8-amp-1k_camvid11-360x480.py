# The same on ResNet-50, from weights at an address.
_base_ = './fpn_lite0_1xb8-amp-1k_camvid11-360x480.py'

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
