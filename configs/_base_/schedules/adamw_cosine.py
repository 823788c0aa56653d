# AdamW with a short warm-up and a cosine decay, for detectors whose backbone
# is pretrained. A config that trains longer or shorter sets max_iters in
# train_cfg and where the last scheduler ends.
_base_ = 'mmdet::_base_/default_runtime.py'

max_iters = 800
warmup = 50
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=200
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    # The backbone keeps what it knows.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=False,
        begin=0,
        end=warmup,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=False,
        begin=warmup,
        end=max_iters,
    ),
]
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    # The last is taken: choosing the best would tune on what is quoted.
    checkpoint=dict(
        type='LeanCheckpointHook',
        by_epoch=False,
        interval=200,
        max_keep_ckpts=1,
    ),
    class_check=dict(type='NumClassCheckHook'),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
