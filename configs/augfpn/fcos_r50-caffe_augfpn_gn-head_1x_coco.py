# Residual feature augmentation and consistent supervision.
_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

model = dict(
    neck=dict(type='AugFPN'), bbox_head=dict(type='ConsistentFCOSHead')
)
default_hooks = dict(
    checkpoint=dict(type='LeanCheckpointHook'),
    class_check=dict(type='NumClassCheckHook'),
)
