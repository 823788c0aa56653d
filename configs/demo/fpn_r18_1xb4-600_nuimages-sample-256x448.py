# nuImages sample scenes at 448x252, some minutes on two CPU cores: Semantic
# FPN on a ResNet-18 of half the channels. Most objects are small and rare;
# Lovasz' loss counts them by class.
_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/schedules/adamw_poly.py',
    '../_base_/datasets/nuimages.py',
]

max_iters = 600
crop_size = (256, 448)  # (height, width)
data_root = 'data/sample_nuimages'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='LeanEncoderDecoder',
    data_preprocessor=dict(size=crop_size),
    pretrained=None,
    backbone=dict(
        depth=18, base_channels=32, stem_channels=32, norm_cfg=norm_cfg
    ),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    decode_head=dict(
        in_channels=[64] * 4,
        channels=64,
        dropout_ratio=0,
        num_classes=_base_.num_classes,
        norm_cfg=norm_cfg,
        loss_decode=[
            dict(type='CrossEntropyLoss', avg_non_ignore=True),
            dict(type='LovaszLoss', reduction='none', loss_weight=2.0),
        ],
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(448, 256), ratio_range=(1.0, 2.0))
train_pipeline[3] = dict(type='FastRandomCrop', crop_size=crop_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (448, 256)
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

train_cfg = dict(max_iters=max_iters, val_interval=200)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
default_hooks = dict(
    checkpoint=dict(interval=max_iters, max_keep_ckpts=1, save_best='mIoU'),
    label_check=dict(type='LabelCheckHook'),
)
custom_hooks = [dict(type='SegVisHook', vis_num=6)]
randomness = dict(seed=0)
