# nuImages, 25 classes at 1600x900. Validation and test use the 2,400 images
# of the val split that the converter chooses.
_base_ = './segmentation.py'

num_classes = 25
crop_size = (512, 1024)  # (height, width)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (2048, 1024)
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (1024, 512)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=scale, keep_ratio=True)
    for scale in ((768, 384), (1024, 512), (1280, 640))
]

train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='NuImagesDataset',
        data_root='data/nuimages',
        ann_file='annotations/nuimages_v1.0-train.json',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='NuImagesDataset',
        data_root='data/nuimages',
        ann_file='annotations/nuimages_v1.0-val2400.json',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
