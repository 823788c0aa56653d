# A light Cascade Mask R-CNN with FPN on Cityscapes sample scenes of 1024x512,
# from scratch on crops of half their sides, some minutes on two CPU cores.
# The configs beside it replace FPN by parts of AugFPN and nothing else.
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/cityscapes_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

# For the checkpoints that torch loads with `weights_only`.
custom_imports = dict(imports=['mmseg_ext'], allow_failed_imports=False)

num_classes = 8
max_iters = 300
data_root = 'data/sample_cityscapes/'
base_channels, channels = 32, 64  # of R18, which has 64, and above it
num_proposals = 256
head = dict(in_channels=channels, fc_out_channels=256, num_classes=num_classes)
# As in the configs with soft RoI selection, which is slow with more points.
extractor = dict(out_channels=channels, roi_layer=dict(sampling_ratio=2))
proposals = dict(nms_pre=2 * num_proposals, max_per_img=num_proposals)
sampler = dict(num=128)
model = dict(
    backbone=dict(
        depth=18,
        stem_channels=base_channels,
        base_channels=base_channels,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(
        in_channels=[base_channels * 2**stage for stage in range(4)],
        out_channels=channels,
    ),
    rpn_head=dict(in_channels=channels, feat_channels=channels),
    roi_head=dict(
        bbox_roi_extractor=extractor,
        # A list replaces that of the base.
        bbox_head=[{**b, **head} for b in _base_.model.roi_head.bbox_head],
        mask_roi_extractor=extractor,
        mask_head=dict(
            num_convs=2,
            in_channels=channels,
            conv_out_channels=channels,
            num_classes=num_classes,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=proposals,
        rcnn=[
            {**stage, 'sampler': {**stage.sampler, **sampler}}
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    test_cfg=dict(rpn=proposals),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomCrop', crop_size=(512, 256)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (1024, 512)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(dataset=dict(data_root=data_root, pipeline=train_pipeline)),
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file=f'{data_root}{_base_.val_dataloader.dataset.ann_file}',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator

train_cfg = dict(
    _delete_=True,
    type='IterBasedTrainLoop',
    max_iters=max_iters,
    val_interval=max_iters,
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=20, by_epoch=False),
    dict(
        type='PolyLR',
        eta_min=1e-5,
        power=0.9,
        begin=20,
        end=max_iters,
        by_epoch=False,
    ),
]
default_hooks = dict(
    checkpoint=dict(
        type='LeanCheckpointHook',
        by_epoch=False,
        interval=max_iters,
        max_keep_ckpts=1,
    ),
    logger=dict(interval=25),
    class_check=dict(type='NumClassCheckHook'),
    visualization=dict(draw=True, interval=2),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
