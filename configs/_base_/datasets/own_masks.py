# Anybody's images and masks in folders train, train_labels, val, val_labels.
# They may be of any size, and keep it.
_base_ = './segmentation.py'

train_pipeline = _base_.train_pipeline
# Sizes relative to that of each image.
train_pipeline[2] = dict(
    type='RandomChoice',
    transforms=[
        [dict(type='Resize', scale_factor=ratio, keep_ratio=True)]
        for ratio in (0.5, 0.75, 1.0, 1.25, 1.5)
    ],
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='FastLoadAnnotations'),
    dict(type='PackSegInputs'),
]
img_suffix = ('.jpg', '.jpeg', '.png')
train_dataloader = dict(
    num_workers=2,
    dataset=dict(
        img_suffix=img_suffix,
        data_prefix=dict(img_path='train', seg_map_path='train_labels'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        img_suffix=img_suffix,
        data_prefix=dict(img_path='val', seg_map_path='val_labels'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
