# Nails as nail_instance.py has them, for training on few photographs: turned,
# of many sizes, and cut to squares. Tested whole.
_base_ = './nail_instance.py'

# Of the whole image: what is tested, and the mean of what crops are cut from.
size = (512, 512)
crop_size = (320, 320)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Rotate', prob=0.5, max_mag=30.0),
    dict(
        type='RandomResize',
        scale=size,
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    # Boxes are those of the masks: turned boxes would be too large.
    dict(type='RandomCrop', crop_size=crop_size, recompute_bbox=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(3, 3)),
    # Skin keeps its color: PhotoMetricDistortion would exchange channels.
    dict(type='YOLOXHSVRandomAug'),
    dict(
        type='RandomFlip',
        prob=[0.25] * 3,
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
    ),
]
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
