# The same on SegNet's copy of CamVid, 367 images with index masks: under an
# hour on two CPU cores. Its folders are looked for in data_root.
_base_ = './fpn_lite0_1xb2-1500_camvid11-360x480.py'

max_iters = 4000
segnet = dict(
    data_root='data/segnet/CamVid',
    # The index of a class is its row; the last one is ignored.
    class_dict=dict(
        Sky=(128, 128, 128),
        Building=(128, 0, 0),
        Pole=(192, 192, 128),
        Road=(128, 64, 128),
        Pavement=(60, 40, 222),
        Tree=(128, 128, 0),
        SignSymbol=(192, 128, 128),
        Fence=(64, 64, 128),
        Car=(64, 0, 128),
        Pedestrian=(64, 64, 0),
        Bicyclist=(0, 128, 192),
        Unlabelled=(0, 0, 0),
    ),
    seg_map_suffix='.png',
    masks='index',
)
train_dataloader = dict(
    dataset=dict(
        **segnet,
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
    )
)
val_dataloader = dict(
    dataset=dict(
        **segnet, data_prefix=dict(img_path='val', seg_map_path='valannot')
    )
)
test_dataloader = dict(
    dataset=dict(
        **segnet, data_prefix=dict(img_path='test', seg_map_path='testannot')
    )
)
train_cfg = dict(max_iters=max_iters, val_interval=500)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
default_hooks = dict(checkpoint=dict(interval=500))
