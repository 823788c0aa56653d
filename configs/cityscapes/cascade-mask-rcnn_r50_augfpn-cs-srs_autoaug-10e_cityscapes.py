# All three parts of AugFPN: the neck, consistent supervision and soft RoI
# selection. Masks are supervised on the laterals as well.
_base_ = './cascade-mask-rcnn_r50_augfpn_autoaug-10e_cityscapes.py'

# As the authors; reading RoIs on all levels would take long with more points.
extractor = dict(type='SoftRoIExtractor', roi_layer=dict(sampling_ratio=2))
model = dict(
    roi_head=dict(
        type='ConsistentCascadeRoIHead',
        bbox_roi_extractor=extractor,
        mask_roi_extractor=extractor,
        auxiliary_mask_head=dict(),
    )
)
