# Residual feature augmentation in place of FPN.
_base_ = './cascade-mask-rcnn_r18_fpn_1xb2-300_cityscapes-sample-256x512.py'

model = dict(neck=dict(type='AugFPN'))
