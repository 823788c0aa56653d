# IDD 20K, parts I and II, 26 classes and `unlabelled`, mostly 1920x1080.
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

num_classes = 27  # the last has no pixels
crop_size = (512, 512)  # (height, width)
scale = (1920, 1080)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='FastLoadAnnotations'),
    dict(
        type='RandomResize',
        scale=scale,
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
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='FastLoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale_factor=ratio, keep_ratio=True)
                for ratio in (0.75, 1.0, 1.25)
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
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='IDD_Data',
        data_root='data/idd20kII',
        data_prefix=dict(img_path='train_img', seg_map_path='train_label'),
        ann_file='splits/train.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='IDD_Data',
        data_root='data/idd20kII',
        data_prefix=dict(img_path='val_img', seg_map_path='val_label'),
        ann_file='splits/val.txt',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# The mean over the 26 classes, at the images' own size. The benchmark resizes
# first: --cfg-options test_evaluator.resize=1280,720
val_evaluator = dict(
    type='IoU',
    iou_metrics=['mIoU'],
    exclude=['unlabelled'],
    resize=None,
    classwise=True,  # for tools/analysis/plot_log.py
)
test_evaluator = val_evaluator

# Pictures of the first batch of each validation, beside image and label.
custom_hooks = [dict(type='SegVisHook', vis_num=1)]
