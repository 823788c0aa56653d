# All three parts of AugFPN; masks are supervised on the laterals as well.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

# As the authors: smooth L1 where MMDet has L1, and few points of a RoI, since
# reading RoIs on all levels would take long with more.
extractor = dict(type='SoftRoIExtractor', roi_layer=dict(sampling_ratio=2))
model = dict(
    neck=dict(type='AugFPN'),
    rpn_head=dict(loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9)),
    roi_head=dict(
        type='ConsistentStandardRoIHead',
        bbox_roi_extractor=extractor,
        bbox_head=dict(loss_bbox=dict(type='SmoothL1Loss', beta=1.0)),
        mask_roi_extractor=extractor,
        auxiliary_mask_head=dict(),
    ),
)
default_hooks = dict(
    checkpoint=dict(type='LeanCheckpointHook'),
    class_check=dict(type='NumClassCheckHook'),
)
