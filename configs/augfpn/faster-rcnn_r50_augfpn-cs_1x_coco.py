# Consistent supervision alone.
_base_ = './faster-rcnn_r50_augfpn-none_1x_coco.py'

neck = dict(type='AugFPN', pool_ratios=())
model = dict(neck=neck, roi_head=dict(type='ConsistentStandardRoIHead'))
