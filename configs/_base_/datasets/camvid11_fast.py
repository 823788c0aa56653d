# camvid11.py, where one step of the training loads an image, resizes, crops
# and flips it: docs/data_sets.md. train_pipeline is still the exact one.
_base_ = './camvid11.py'

exact = _base_.train_pipeline
fast_pipeline = [
    exact[1],  # loads labels
    {**exact[2], **exact[3], **exact[4], 'type': 'FusedResizeCropFlip'},
    exact[5],
    dict(type='FastPackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=fast_pipeline))
