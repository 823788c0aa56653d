# AdamW with a short warm-up and polynomial decay, for short trainings from
# scratch; a config says where both end.
_base_ = 'mmseg::_base_/schedules/schedule_20k.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(type='PolyLR', eta_min=1e-5, power=0.9, begin=20, by_epoch=False),
]
default_hooks = dict(
    logger=dict(interval=25), checkpoint=dict(type='LeanCheckpointHook')
)
