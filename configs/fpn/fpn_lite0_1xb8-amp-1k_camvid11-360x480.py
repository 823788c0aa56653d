# The same on one GPU: mixed precision, more crops, and all stages trained.
_base_ = './fpn_lite0_1xb2-1500_camvid11-360x480.py'

max_iters = 1000
model = dict(backbone=dict(frozen_stages=-1))
exact = _base_.train_pipeline
fast_pipeline = [
    exact[1],  # loads labels
    {**exact[2], **exact[3], **exact[4], 'type': 'FusedResizeCropFlip'},
    exact[5],
    dict(type='FastPackSegInputs'),
]
train_dataloader = dict(
    batch_size=8, num_workers=8, dataset=dict(pipeline=fast_pipeline)
)
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(type='AmpOptimWrapper')
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
