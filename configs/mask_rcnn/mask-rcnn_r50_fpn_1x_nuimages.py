# Mask R-CNN on the instances of nuImages, 8 GPUs with 2 images each.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
    '../_base_/datasets/nuimages_instance.py',
]

head = dict(num_classes=_base_.num_classes)
model = dict(roi_head=dict(bbox_head=head, mask_head=head))
default_hooks = dict(
    checkpoint=dict(
        type='LeanCheckpointHook', max_keep_ckpts=1, save_best='coco/segm_mAP'
    ),
    class_check=dict(type='NumClassCheckHook'),
)
randomness = dict(seed=0)
