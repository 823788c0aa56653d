"""A segmentor that trains in a moment.

Nothing is random in its data: what is resumed has to end in the same weights.
"""

default_scope = 'mmseg'
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)
randomness = dict(seed=0)
num_classes = 32
norm_cfg = dict(type='BN')
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[128.0] * 3,
        std=[64.0] * 3,
        size=(96, 128),
    ),
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        base_channels=4,
        stem_channels=4,
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=32,
        channels=8,
        num_convs=1,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        dropout_ratio=0,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    test_cfg=dict(mode='whole'),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CamVid',
        data_root='data/camvid',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadColorMasks'),
            dict(type='PackSegInputs'),
        ],
    ),
)
max_iters = 6
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9)
)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1),
)
log_processor = dict(by_epoch=False)
