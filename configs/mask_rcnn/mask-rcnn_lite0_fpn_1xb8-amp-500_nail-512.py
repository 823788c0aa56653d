# The light Mask R-CNN for nails on one GPU: mixed precision, larger crops and
# batches, and all stages trained.
_base_ = './mask-rcnn_lite0_fpn_1xb2-800_nail-320.py'

model = dict(backbone=dict(frozen_stages=-1))
train_pipeline = _base_.train_pipeline
(crop,) = [step for step in train_pipeline if step['type'] == 'RandomCrop']
crop['crop_size'] = (512, 512)
train_dataloader = dict(
    batch_size=8, num_workers=8, dataset=dict(pipeline=train_pipeline)
)
optim_wrapper = dict(type='AmpOptimWrapper')
max_iters = 500
train_cfg = dict(max_iters=max_iters, val_interval=250)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
