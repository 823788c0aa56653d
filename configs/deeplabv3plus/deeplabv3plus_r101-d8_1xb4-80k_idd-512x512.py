# DeepLabV3+ on IDD from Cityscapes weights, one GPU. The layers of 19 classes
# in the checkpoint are left out, with a warning.
#
# Without the checkpoint, from ImageNet weights: --cfg-options load_from=None;
# from scratch: --cfg-options load_from=None model.pretrained=None
_base_ = [
    'mmseg::_base_/models/deeplabv3plus_r50-d8.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_80k.py',
    '../_base_/datasets/idd_fast.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
head = dict(num_classes=_base_.num_classes, norm_cfg=norm_cfg)
model = dict(
    type='LeanEncoderDecoder',
    data_preprocessor=dict(size=_base_.crop_size),
    pretrained='open-mmlab://resnet101_v1c',
    backbone=dict(depth=101, norm_cfg=norm_cfg),
    decode_head=head,
    auxiliary_head=head,
)
load_from = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/deeplabv3plus/'
    'deeplabv3plus_r101-d8_512x1024_80k_cityscapes/'
    'deeplabv3plus_r101-d8_512x1024_80k_cityscapes_'
    '20200606_114143-068fcfe9.pth'
)

interval = 10000
train_cfg = dict(val_interval=interval)
default_hooks = dict(
    checkpoint=dict(
        type='LeanCheckpointHook',
        interval=interval,
        max_keep_ckpts=1,
        save_best='mIoU',
    ),
    label_check=dict(type='LabelCheckHook'),
)
randomness = dict(seed=0)
