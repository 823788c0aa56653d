# PSPNet on nuImages from Cityscapes weights, 8 GPUs with 2 images each. The
# layers of 19 classes in the checkpoint are left out, with a warning.
_base_ = [
    'mmseg::_base_/models/pspnet_r50-d8.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_80k.py',
    '../_base_/datasets/nuimages_fast.py',
]

num_classes = _base_.num_classes
model = dict(
    type='LeanEncoderDecoder',
    data_preprocessor=dict(size=_base_.crop_size),
    pretrained='open-mmlab://resnet18_v1c',
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128, num_classes=num_classes),
    auxiliary_head=dict(in_channels=256, channels=64, num_classes=num_classes),
)
load_from = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/'
    'pspnet_r18-d8_512x1024_80k_cityscapes/'
    'pspnet_r18-d8_512x1024_80k_cityscapes_20201225_021458-09ffa746.pth'
)
default_hooks = dict(
    checkpoint=dict(
        type='LeanCheckpointHook', max_keep_ckpts=1, save_best='mIoU'
    ),
    label_check=dict(type='LabelCheckHook'),
)
randomness = dict(seed=0)
