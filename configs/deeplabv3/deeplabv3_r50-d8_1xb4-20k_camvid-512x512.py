# MMSeg's own DeepLabV3 on CamVid, one GPU.
_base_ = [
    'mmseg::_base_/models/deeplabv3_r50-d8.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_20k.py',
    '../_base_/datasets/camvid_fast.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
head = dict(num_classes=_base_.num_classes, norm_cfg=norm_cfg)
model = dict(
    type='LeanEncoderDecoder',
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=head,
    auxiliary_head=head,
)
train_dataloader = dict(batch_size=4)
default_hooks = dict(
    checkpoint=dict(
        type='LeanCheckpointHook', max_keep_ckpts=1, save_best='mIoU'
    ),
    label_check=dict(type='LabelCheckHook'),
)
randomness = dict(seed=0)
