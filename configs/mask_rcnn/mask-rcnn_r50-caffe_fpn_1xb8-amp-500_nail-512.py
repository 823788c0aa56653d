# Mask R-CNN on nails, from MMDet's COCO weights, trained as the light one is
# on one GPU in mixed precision.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/datasets/nail_crops.py',
    '../_base_/schedules/adamw_cosine.py',
]

head = dict(num_classes=_base_.num_classes)
model = dict(
    data_preprocessor=dict(
        mean=[103.530, 116.280, 123.675], std=[1.0] * 3, bgr_to_rgb=False
    ),
    backbone=dict(
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe'),
    ),
    roi_head=dict(bbox_head=head, mask_head=head),
    test_cfg=dict(rcnn=dict(nms=dict(iou_threshold=0.3))),
)
# Both heads start anew: those of COCO have 80 classes.
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/'
    'mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco/'
    'mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco_bbox_mAP-0.408__'
    'segm_mAP-0.37_20200504_163245-42aa3d00.pth'
)

train_pipeline = _base_.train_pipeline
(crop,) = [step for step in train_pipeline if step['type'] == 'RandomCrop']
crop['crop_size'] = (512, 512)
train_dataloader = dict(
    batch_size=8, num_workers=8, dataset=dict(pipeline=train_pipeline)
)
# Neck and RPN know nails' like already.
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(lr=2e-4))
max_iters = 500
train_cfg = dict(max_iters=max_iters, val_interval=250)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
default_hooks = dict(visualization=dict(draw=True, interval=1, score_thr=0.5))
