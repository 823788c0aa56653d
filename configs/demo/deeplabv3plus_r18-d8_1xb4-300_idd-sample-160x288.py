# IDD sample scenes at 320x180, some minutes on two CPU cores.
_base_ = '../deeplabv3plus/deeplabv3plus_r18-d8_1xb4-80k_idd-512x512.py'

max_iters = 300
crop_size = (160, 288)  # (height, width)
scale = (320, 180)
data_root = 'data/sample_idd/idd'
model = dict(data_preprocessor=dict(size=crop_size), pretrained=None)
load_from = None

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=scale, ratio_range=(1.0, 1.5))
train_pipeline[3] = dict(type='FastRandomCrop', crop_size=crop_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale
train_dataloader = dict(
    num_workers=2,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=2, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

train_cfg = dict(max_iters=max_iters, val_interval=100)
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
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=25))
custom_hooks = [dict(type='SegVisHook', vis_num=6)]
