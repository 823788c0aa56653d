# The demo: sample scenes at 320x240, a few minutes on two CPU cores.
_base_ = '../bisenetv1/bisenetv1_r18-d32_1xb4-1k_camvid11-240x320.py'

max_iters = 250
crop_size = (192, 256)  # (height, width)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(320, 240), ratio_range=(0.8, 1.5))
train_pipeline[3] = dict(type='FastRandomCrop', crop_size=crop_size)
model = dict(data_preprocessor=dict(size=crop_size))
train_dataloader = dict(
    batch_size=4,
    dataset=dict(data_root='data/sample_camvid', pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(data_root='data/sample_camvid'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = param_scheduler[1].begin = 20
param_scheduler[1].end = max_iters
default_hooks = dict(checkpoint=dict(interval=max_iters))
custom_hooks = [dict(type='SegVisHook', vis_num=6)]
