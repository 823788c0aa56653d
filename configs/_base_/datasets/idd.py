# IDD 20K, parts I and II, 26 classes and `unlabelled`, mostly 1920x1080.
_base_ = './segmentation.py'

num_classes = 27  # the last has no pixels
crop_size = (512, 512)  # (height, width)
scale = (1920, 1080)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = scale
train_pipeline[3].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = scale

train_dataloader = dict(
    dataset=dict(
        type='IDD_Data',
        data_root='data/idd20kII',
        data_prefix=dict(img_path='train_img', seg_map_path='train_label'),
        ann_file='splits/train.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
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
    exclude=['unlabelled'],
    resize=None,
    classwise=True,  # for mmseg-ext plot
)
test_evaluator = val_evaluator
