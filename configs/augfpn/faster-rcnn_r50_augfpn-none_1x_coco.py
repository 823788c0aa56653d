# The baseline of the ablation: FPN. The other four, `-rfa`, `-cs`, `-srs` and,
# with all parts, `faster-rcnn_r50_augfpn_1x_coco.py`, change one line each.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

# As the authors; reading RoIs on all levels would take long with more points.
roi_layer = dict(sampling_ratio=2)
model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=roi_layer)))
