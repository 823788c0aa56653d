# CamVid, 32 classes at 960x720.
_base_ = './segmentation.py'

num_classes = 32  # rows of class_dict.csv; Void's pixels are ignored
crop_size = (512, 512)  # (height, width)
train_pipeline = _base_.train_pipeline
train_pipeline[1].type = 'LoadColorMasks'
train_pipeline[2].scale = (960, 720)
train_pipeline[3].crop_size = crop_size
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadColorMasks'),
    dict(type='PackSegInputs'),
]
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[2][0].type = 'LoadColorMasks'

train_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type='CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='train', seg_map_path='train_labels'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type='CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='val', seg_map_path='val_labels'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(exclude=['Void'])
test_evaluator = val_evaluator
