# The same with ResNet-50 on one GPU in mixed precision, from weights at an
# address.
_base_ = [
    './fpn_lite0_1xb4-600_idd-sample-192x256.py',
    '../_base_/models/fpn_r50.py',
]

max_iters = 1000
model = _base_.r50
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
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='AmpOptimWrapper')
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
default_hooks = dict(checkpoint=dict(interval=max_iters))
