# The demo: sample scenes at 320x240, a few minutes on two CPU cores.
_base_ = '../bisenetv1/bisenetv1_r18-d32_1xb4-1k_camvid11-240x320.py'

max_iters = 250
crop_size = (192, 256)  # (height, width)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadColorMasks'),
    dict(
        type='RandomResize',
        scale=(320, 240),
        ratio_range=(0.8, 1.5),
        keep_ratio=True,
    ),
    dict(type='FastRandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
model = dict(data_preprocessor=dict(size=crop_size))
train_dataloader = dict(
    batch_size=4,
    dataset=dict(data_root='data/sample_camvid', pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(data_root='data/sample_camvid'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
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
default_hooks = dict(checkpoint=dict(interval=max_iters))
custom_hooks = [dict(type='SegVisHook', vis_num=6)]
