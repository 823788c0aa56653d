# Mask R-CNN on nails, from MMDet's COCO weights; one GPU with 2 images.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/datasets/nail_instance.py',
]

max_epochs = 40
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
)
# Both heads start anew: those of COCO have 80 classes.
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/'
    'mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco/'
    'mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco_bbox_mAP-0.408__'
    'segm_mAP-0.37_20200504_163245-42aa3d00.pth'
)

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100
    ),
    dict(
        type='MultiStepLR',
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[32, 38],
        gamma=0.1,
    ),
]
# An eighth of what MMDet gives for eight GPUs.
optim_wrapper = dict(optimizer=dict(lr=0.0025))
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(
    checkpoint=dict(
        type='LeanCheckpointHook', max_keep_ckpts=1, save_best='coco/segm_mAP'
    ),
    visualization=dict(draw=True, interval=10, score_thr=0.5),
    class_check=dict(type='NumClassCheckHook'),
)
randomness = dict(seed=0)
