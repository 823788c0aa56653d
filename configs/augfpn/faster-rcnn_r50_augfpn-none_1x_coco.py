# The baseline of the ablation: FPN. The other four, `-rfa`, `-cs`, `-srs` and,
# with all parts, `faster-rcnn_r50_augfpn_1x_coco.py`, change one line each.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

# As the authors: smooth L1 where MMDet has L1, and few points of a RoI, since
# reading RoIs on all levels would take long with more.
roi_layer = dict(sampling_ratio=2)
model = dict(
    rpn_head=dict(loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9)),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=roi_layer),
        bbox_head=dict(loss_bbox=dict(type='SmoothL1Loss', beta=1.0)),
    ),
)
default_hooks = dict(
    checkpoint=dict(type='LeanCheckpointHook'),
    class_check=dict(type='NumClassCheckHook'),
)
