# The 11 classes of the CamVid benchmark at 480x360.
_base_ = './camvid.py'

num_classes = 11
crop_size = (240, 320)  # (height, width)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(480, 360), ratio_range=(0.75, 1.5))
train_pipeline[3].crop_size = crop_size
train_dataloader = dict(
    dataset=dict(grouping='camvid11', pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(grouping='camvid11'))
test_dataloader = val_dataloader
val_evaluator = dict(exclude=[])
test_evaluator = val_evaluator
