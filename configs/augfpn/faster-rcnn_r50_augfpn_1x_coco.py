# All three parts of AugFPN.
_base_ = './faster-rcnn_r50_augfpn-none_1x_coco.py'

model = dict(
    neck=dict(type='AugFPN'),
    roi_head=dict(
        type='ConsistentStandardRoIHead',
        bbox_roi_extractor=dict(type='SoftRoIExtractor'),
    ),
)
