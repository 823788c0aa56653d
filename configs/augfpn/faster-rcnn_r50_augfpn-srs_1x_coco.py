# Soft RoI selection alone.
_base_ = './faster-rcnn_r50_augfpn-none_1x_coco.py'

extractor = dict(type='SoftRoIExtractor')
model = dict(roi_head=dict(bbox_roi_extractor=extractor))
