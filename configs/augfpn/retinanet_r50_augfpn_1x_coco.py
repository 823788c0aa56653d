# Residual feature augmentation and consistent supervision.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

# As the authors: smooth L1 where MMDet has L1.
model = dict(
    neck=dict(type='AugFPN'),
    bbox_head=dict(
        type='ConsistentRetinaHead',
        loss_bbox=dict(type='SmoothL1Loss', beta=0.11),
    ),
)
default_hooks = dict(
    checkpoint=dict(type='LeanCheckpointHook'),
    class_check=dict(type='NumClassCheckHook'),
)
