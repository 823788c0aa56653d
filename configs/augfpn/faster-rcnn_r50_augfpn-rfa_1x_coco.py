# Residual feature augmentation alone.
_base_ = './faster-rcnn_r50_augfpn-none_1x_coco.py'

model = dict(neck=dict(type='AugFPN'))
