# Instances of nails, one class, from the COCO files that the converter writes.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

dataset_type = 'NailDataset'
data_root = 'data/nails/'
train_file = 'annotations/train.json'
val_file = 'annotations/valid.json'
num_classes = 1

# The scales of MMDet's multi-scale recipes. Masks are drawn from the start:
# transforms that keep polygons would ignore those in run-length code.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomChoiceResize',
        scales=[(1333, side) for side in range(640, 801, 32)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=train_file,
        data_prefix=dict(img=''),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=val_file,
        data_prefix=dict(img=''),
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val_file)
test_evaluator = val_evaluator
