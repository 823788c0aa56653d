# Instances of nuImages, 10 classes at 1600x900. MMDet's own classes read the
# COCO files that the converter writes.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

# For the checkpoints that torch loads with `weights_only`.
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

data_root = 'data/nuimages/'
val_file = 'annotations/nuimages_v1.0-val2400.json'
scale = (1600, 900)
# The order is that of the category ids.
colors = dict(
    car=(255, 158, 0),
    truck=(255, 99, 71),
    trailer=(255, 140, 0),
    bus=(255, 69, 0),
    construction_vehicle=(233, 150, 70),
    bicycle=(220, 20, 60),
    motorcycle=(255, 61, 99),
    pedestrian=(0, 0, 230),
    traffic_cone=(47, 79, 79),
    barrier=(112, 128, 144),
)
metainfo = dict(classes=tuple(colors), palette=list(colors.values()))
num_classes = len(colors)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
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
    num_workers=4,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/nuimages_v1.0-train.json',
        data_prefix=dict(img=''),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=4,
    dataset=dict(
        data_root=data_root,
        ann_file=val_file,
        data_prefix=dict(img=''),
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val_file)
test_evaluator = val_evaluator
