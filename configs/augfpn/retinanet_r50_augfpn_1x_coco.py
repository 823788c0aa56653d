# Residual feature augmentation and consistent supervision.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

model = dict(
    neck=dict(type='AugFPN'), bbox_head=dict(type='ConsistentRetinaHead')
)
