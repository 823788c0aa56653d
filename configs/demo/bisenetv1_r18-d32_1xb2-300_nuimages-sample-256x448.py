# nuImages sample scenes at 448x252, a few minutes on two CPU cores.
_base_ = [
    'mmseg::_base_/models/bisenetv1_r18-d32.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_20k.py',
    '../_base_/datasets/nuimages.py',
]

max_iters = 300
crop_size = (256, 448)  # (height, width)
data_root = 'data/sample_nuimages'
norm_cfg = dict(type='BN', requires_grad=True)
head = dict(num_classes=_base_.num_classes, norm_cfg=norm_cfg)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(norm_cfg=norm_cfg, backbone_cfg=dict(norm_cfg=norm_cfg)),
    decode_head=head,
    auxiliary_head=[{**aux, **head} for aux in _base_.model.auxiliary_head],
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='FastLoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(448, 256),
        ratio_range=(1.0, 1.5),
        keep_ratio=True,
    ),
    dict(type='FastRandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 256), keep_ratio=True),
    dict(type='FastLoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(
        type='PolyLR',
        eta_min=1e-5,
        power=0.9,
        begin=20,
        end=max_iters,
        by_epoch=False,
    ),
]
default_hooks = dict(
    checkpoint=dict(interval=max_iters, max_keep_ckpts=1, save_best='mIoU'),
    logger=dict(interval=25),
)
custom_hooks = [dict(type='SegVisHook', vis_num=6)]
randomness = dict(seed=0)
