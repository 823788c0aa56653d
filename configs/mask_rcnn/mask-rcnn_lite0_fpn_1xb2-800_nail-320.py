# A light Mask R-CNN for nails on a CPU, from ImageNet weights: trained on
# crops of 320 pixels.
_base_ = [
    '../_base_/models/mask-rcnn_lite0_fpn.py',
    '../_base_/datasets/nail_crops.py',
    '../_base_/schedules/adamw_cosine.py',
]

head = dict(num_classes=_base_.num_classes)
model = dict(
    # Edges and colors are the same as in ImageNet; a fifth of the time.
    backbone=dict(frozen_stages=1),
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    roi_head=dict(bbox_head=head, mask_head=head),
    # Nails hardly overlap: more would be second crops of the same.
    test_cfg=dict(rcnn=dict(nms=dict(iou_threshold=0.3))),
)
default_hooks = dict(visualization=dict(draw=True, interval=1, score_thr=0.5))
