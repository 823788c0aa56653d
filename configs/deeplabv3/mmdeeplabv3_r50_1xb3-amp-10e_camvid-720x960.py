# torchvision's DeepLabV3 on whole CamVid images, mixed precision, one GPU.
_base_ = [
    'mmseg::_base_/default_runtime.py',
    '../_base_/datasets/camvid.py',
]

model = dict(
    type='LeanEncoderDecoder',
    segmentor='MMDeeplabV3',
    num_classes=_base_.num_classes,
    network='deeplabv3_resnet50',
    backbone_init='torchvision://resnet50',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        seg_pad_val=255,
        size_divisor=16,
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadColorMasks'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=3,
    drop_last=True,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)

epochs = 10
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='AmpOptimWrapper', optimizer=dict(type='AdamW', lr=2e-4)
)
param_scheduler = [
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=1e-6,
        begin=0,
        end=epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
log_processor = dict(by_epoch=True)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='LeanCheckpointHook',
        interval=1,
        max_keep_ckpts=1,
        save_best='mIoU',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    label_check=dict(type='LabelCheckHook'),
)
randomness = dict(seed=0)
