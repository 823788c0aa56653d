# The 11 classes of the CamVid benchmark at 480x360.
_base_ = './camvid.py'

num_classes = 11
crop_size = (240, 320)  # (height, width)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadColorMasks'),
    dict(
        type='RandomResize',
        scale=(480, 360),
        ratio_range=(0.75, 1.5),
        keep_ratio=True,
    ),
    dict(type='FastRandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    dataset=dict(grouping='camvid11', pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(grouping='camvid11'))
test_dataloader = val_dataloader
val_evaluator = dict(exclude=[])
test_evaluator = val_evaluator
