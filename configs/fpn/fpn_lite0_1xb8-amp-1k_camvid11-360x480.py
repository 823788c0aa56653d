# The same on one GPU: mixed precision, and more and larger crops.
_base_ = './fpn_lite0_1xb4-1k_camvid11-240x320.py'

crop_size = (360, 480)  # (height, width)
model = dict(data_preprocessor=dict(size=crop_size))
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=(720, 540))
train_pipeline[3].crop_size = crop_size
train_dataloader = dict(
    batch_size=8, num_workers=8, dataset=dict(pipeline=train_pipeline)
)
test_pipeline = _base_.test_pipeline
test_pipeline.insert(
    1, dict(type='Resize', scale=(720, 540), keep_ratio=True)
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(type='AmpOptimWrapper')
