# BiSeNet V1 from scratch on the 11 classes: light enough to train on a CPU.
_base_ = [
    'mmseg::_base_/models/bisenetv1_r18-d32.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/schedules/adamw_poly.py',
    '../_base_/datasets/camvid11.py',
]

max_iters = 1000
norm_cfg = dict(type='BN', requires_grad=True)
head = dict(num_classes=_base_.num_classes, norm_cfg=norm_cfg)
model = dict(
    type='LeanEncoderDecoder',
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(norm_cfg=norm_cfg, backbone_cfg=dict(norm_cfg=norm_cfg)),
    decode_head=head,
    auxiliary_head=[{**aux, **head} for aux in _base_.model.auxiliary_head],
)

train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=max_iters, val_interval=250)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = param_scheduler[1].begin = 50
param_scheduler[1].end = max_iters
default_hooks = dict(
    checkpoint=dict(
        type='LeanCheckpointHook',
        interval=250,
        max_keep_ckpts=1,
        save_best='mIoU',
    ),
    label_check=dict(type='LabelCheckHook'),
)
randomness = dict(seed=0)
