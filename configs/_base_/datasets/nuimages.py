# nuImages, 25 classes at 1600x900. Validation and test use the 2,400 images
# of the val split that the converter chooses.
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

num_classes = 25
crop_size = (512, 1024)  # (height, width)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='FastLoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(2048, 1024),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='FastRandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
# Labels are loaded after Resize: predictions are compared at full size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1024, 512), keep_ratio=True),
    dict(type='FastLoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=scale, keep_ratio=True)
                for scale in ((768, 384), (1024, 512), (1280, 640))
            ],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='FastLoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='NuImagesDataset',
        data_root='data/nuimages',
        ann_file='annotations/nuimages_v1.0-train.json',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='NuImagesDataset',
        data_root='data/nuimages',
        ann_file='annotations/nuimages_v1.0-val2400.json',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='IoU', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

# Pictures of the first batch of each validation, beside image and label.
custom_hooks = [dict(type='SegVisHook', vis_num=1)]
