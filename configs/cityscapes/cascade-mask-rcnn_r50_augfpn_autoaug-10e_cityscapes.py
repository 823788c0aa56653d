# Cascade Mask R-CNN with AugFPN as neck and AutoAugment on the instances of
# Cityscapes, 8 GPUs with 1 image each, from weights trained on COCO. The
# layers of 80 classes in the checkpoint are left out, with a warning. An epoch
# sees each image 8 times.
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/cityscapes_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

num_classes = 8
max_epochs = 10
model = dict(
    # The checkpoint below has the backbone too.
    backbone=dict(init_cfg=None),
    neck=dict(type='AugFPN'),
    roi_head=dict(
        # A list replaces that of the base.
        bbox_head=[
            {**head, 'num_classes': num_classes}
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(num_classes=num_classes),
    ),
)
load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/'
    'cascade_mask_rcnn_r50_fpn_1x_coco/'
    'cascade_mask_rcnn_r50_fpn_1x_coco_20200203-9d4dcb24.pth'
)

# The mean of the images, which are BGR here.
fill = (104, 116, 124)
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='AutoAugment',
        policies=[
            [dict(type='Rotate', level=5, prob=0.5, img_border_value=fill)],
            [
                dict(type='Rotate', level=7, prob=0.5, img_border_value=fill),
                dict(
                    type='TranslateXPixels',
                    offset=125,
                    prob=0.5,
                    img_border_value=fill,
                ),
            ],
        ],
    ),
    # Boxes that were moved out of the image. An image without any is kept.
    dict(type='FilterAnnotations', min_gt_bbox_wh=(0, 0), keep_empty=False),
    dict(
        type='RandomResize',
        scale=[(2048, 800), (2048, 1024)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=3,
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
# CityScapesMetric, which the base has too, needs cityscapesscripts.
val_evaluator = dict(_delete_=True, **_base_.val_evaluator[0])
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=None)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500
    ),
    dict(
        type='MultiStepLR',
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[8],
        gamma=0.1,
    ),
]
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(
    checkpoint=dict(type='LeanCheckpointHook'),
    class_check=dict(type='NumClassCheckHook'),
)
randomness = dict(seed=0)
