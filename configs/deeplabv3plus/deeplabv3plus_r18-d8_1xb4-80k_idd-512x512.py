# The light DeepLabV3+ on IDD.
_base_ = './deeplabv3plus_r101-d8_1xb4-80k_idd-512x512.py'

model = dict(
    pretrained='open-mmlab://resnet18_v1c',
    backbone=dict(depth=18),
    decode_head=dict(
        in_channels=512, channels=128, c1_in_channels=64, c1_channels=12
    ),
    auxiliary_head=dict(in_channels=256, channels=64),
)
load_from = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3plus/'
    'deeplabv3plus_r18-d8_512x1024_80k_cityscapes/'
    'deeplabv3plus_r18-d8_512x1024_80k_cityscapes_'
    '20201226_080942-cff257fe.pth'
)
