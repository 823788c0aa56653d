# The same for a pretrained backbone, and losses that weigh classes.
_base_ = './adamw_poly.py'

# What is pretrained learns more slowly.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3)))
)
default_hooks = dict(
    # The last is taken: choosing the best would tune on what is quoted.
    checkpoint=dict(max_keep_ckpts=1),
    label_check=dict(type='LabelCheckHook'),
    class_weights=dict(type='ClassWeightsHook'),
)
randomness = dict(seed=0)
