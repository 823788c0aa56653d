# The same with Mask R-CNN on ResNet-50, from MMDet's COCO weights, for a GPU.
_base_ = './instance.py'

channels = 256
strides = [4, 8, 16, 32, 64]
roi = dict(out_channels=channels, featmap_strides=strides[:4])
model = dict(
    data_preprocessor=dict(
        mean=[103.530, 116.280, 123.675], std=[1.0] * 3, bgr_to_rgb=False
    ),
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='caffe',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='open-mmlab://detectron2/resnet50_caffe',
        ),
    ),
    neck=dict(
        in_channels=[256, 512, 1024, 2048],
        out_channels=channels,
        num_outs=len(strides),
        norm_cfg=None,
    ),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=roi,
        bbox_head=dict(in_channels=channels, fc_out_channels=1024),
        mask_roi_extractor=roi,
        mask_head=dict(
            in_channels=channels, conv_out_channels=channels, norm_cfg=None
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=2000, max_per_img=1000),
        rcnn=dict(sampler=dict(num=512)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=1000)),
)
# Both heads start anew: those of COCO have 80 classes.
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/'
    'mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco/'
    'mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco_bbox_mAP-0.408__'
    'segm_mAP-0.37_20200504_163245-42aa3d00.pth'
)
# Neck and RPN know objects already.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
