# All three parts of AugFPN, as in the config at full size.
_base_ = './cascade-mask-rcnn_r18_augfpn_1xb2-300_cityscapes-sample-256x512.py'

extractor = dict(type='SoftRoIExtractor')
model = dict(
    roi_head=dict(
        type='ConsistentCascadeRoIHead',
        bbox_roi_extractor=extractor,
        mask_roi_extractor=extractor,
        auxiliary_mask_head=dict(),
    )
)
