import inspect
from pathlib import Path

import mmdet
import mmseg
import pytest
from mmdet.datasets.transforms import RandomCrop
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.configs import read_config
from mmseg_ext.launch import configs, options

ROOT = Path(__file__).parents[2]
DEMO = 'configs/demo/bisenetv1_r18-d32_1xb4-250_sample-192x256.py'
NAILS = 'configs/mask_rcnn/mask-rcnn_r18_fpn_1xb2-2k_nail-320.py'

#: As those who write configs do it: values at the top, used below.
TINY = """
crop_size = (64, 96)
scale = (128, 100)
max_iters = 100
warmup = 30
norm_cfg = dict(type='BN', eps=0.125)
pipeline = [
    dict(type='Load'),
    dict(type='RandomApply', transforms=[
        dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75)]),
    dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.3, 0.7)),
    dict(type='RandomCrop', crop_type='absolute_range', crop_size=(38, 60)),
    dict(type='Resize', scale=scale),
]
data = dict(type='Data', data_root='data/a', ann_file='x.json',
            pipeline=pipeline)
test_pipeline = [dict(type='CenterCrop', crop_size=crop_size)]
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='MultiSourceSampler', batch_size=2),
    dataset=dict(type='Repeat', dataset=dict(type='Concat', datasets=[
        data, dict(data, data_root='data/a/more')])))
val_dataloader = dict(dataset=dict(
    type='Data', data_root='data/a/', pipeline=test_pipeline))
val_evaluator = [
    dict(type='CocoMetric', ann_file='data/a/val.json', metric='bbox'),
    dict(type='Other', ann_file='data/ab/val.json')]
head = dict(type='Head', num_classes=3, norm_cfg=norm_cfg)
model = dict(
    type='mmseg.EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=crop_size),
    backbone=dict(type='Net', num_classes=1000, norm_cfg=norm_cfg),
    rpn_head=dict(num_classes=1),
    decode_head=[
        dict(head, out_channels=3,
             loss_cls=dict(class_weight=[1.0] * 3 + [0.5])),
        dict(head, out_channels=256)],
    auxiliary_head=dict(head, loss_decode=[dict(class_weight=[1, 2, 3])]),
    roi_head=dict(semantic_head=dict(num_classes=183),
                  bbox_head=[dict(num_classes=3)]),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(32, 64)),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters,
                 val_interval=40)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup,
         end=max_iters, T_max=max_iters - warmup),
    dict(type='MultiStepLR', by_epoch=False, milestones=[60, 80], end=90),
    dict(type='PolyLR', begin=0, end=5),
]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=25),
    logger=dict(type='LoggerHook', interval=5),
    visualization=dict(type='DetVisualizationHook', interval=10))
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / 'tiny.py'
    path.write_text(TINY)
    return path


def load(path, **given):
    """Load a config; return it and what was told of options and of errors."""
    told, warned = [], []
    cfg = configs.load_config(
        str(path), None, given, warned.append, told.append
    )
    return cfg, told, warned


def changed(path, given):
    """Load a config; return what differs from its file, and what was told."""
    before = dict(configs.entries(Config.fromfile(path).to_dict()))
    cfg, told, warned = load(path, **given)
    after = dict(configs.entries(cfg.to_dict()))
    assert set(after) - set(before) <= {'work_dir'}
    assert warned == []
    return {
        key: value
        for key, value in after.items()
        if key in before
        and value != before[key]
        and not key.rpartition('.')[2].isdigit()
        and not isinstance(value, (dict, list))
    }, told


@pytest.mark.parametrize('given', [[32, 48], (32, 48)])
def test_crop_size(tiny, given):
    train = 'train_dataloader.dataset.dataset.datasets'
    pipelines = [f'{train}.{index}.pipeline' for index in (0, 1)]
    differing, told = changed(tiny, {'crop_size': given})
    size, test = 'model.data_preprocessor.size', 'model.test_cfg'
    crops = [f'{line}.1.transforms.0.crop_size' for line in pipelines]
    assert differing == {
        'crop_size': (32, 48),
        **dict.fromkeys(crops, (32, 48)),
        size: (32, 48),
        f'{test}.crop_size': (32, 48),
        f'{test}.stride': (16, 32),
    }
    keys = [*crops, size, f'{test}.crop_size', f'{test}.stride']
    assert told == [f'crop_size=(32, 48): set {", ".join(keys)}']


def test_crop_size_of_instances(tmp_path):
    """MMDet's crop has a width, then a height."""
    path = tmp_path / 'mine.py'
    path.write_text(
        """\
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
crop_size = (32, 64)
steps = _base_.train_pipeline
steps.insert(2, dict(type='RandomCrop', crop_size=crop_size[::-1]))
train_dataloader = dict(dataset=dict(pipeline=steps))
"""
    )
    cfg, told, warned = load(path)
    assert (told, warned) == ([], [])
    cfg, _, _ = load(path, crop_size=(96, 48))
    step = cfg.train_dataloader.dataset.pipeline[2]
    crop = RandomCrop(step.crop_size)
    assert crop._get_crop_size((500, 500)) == (96, 48)


def test_num_classes_but_for_edges(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = 'mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py'\n"
    )
    cfg, _, _ = load(path, num_classes=5)
    heads = [cfg.model.decode_head, *cfg.model.auxiliary_head]
    assert [head.num_classes for head in heads] == [5, 5, 5, 2]


def test_num_classes(tiny):
    model = 'model.decode_head'
    weights = 'model.auxiliary_head.loss_decode.0.class_weight'
    with pytest.raises(ValueError, match='num_classes=5 does not fit') as e:
        load(tiny, num_classes=5)
    assert f'{weights}, which has 3 numbers' in str(e.value)
    cfg, told, _ = load(tiny, num_classes=5, **{weights: [1, 2, 3, 4, 5]})
    heads = [*cfg.model.decode_head, cfg.model.auxiliary_head]
    heads += cfg.model.roi_head.bbox_head
    assert [head.num_classes for head in heads] == [5] * 4
    assert heads[0].out_channels is None
    assert heads[1].out_channels == 256, 'of features, and not of classes'
    assert heads[0].loss_cls.class_weight == [1.0] * 5 + [0.5]
    assert heads[2].loss_decode[0].class_weight == [1, 2, 3, 4, 5]
    model = cfg.model
    assert model.backbone.num_classes == 1000
    assert model.rpn_head.num_classes == 1
    assert model.roi_head.semantic_head.num_classes == 183
    assert len(told) == 1


@pytest.mark.parametrize(
    ('iters', 'ends', 'begins', 'steps', 'length', 'intervals'),
    [
        pytest.param(
            *(200, [30, 200, 180, 5], [0, 30, None, 0]),
            *([120, 160], 170, [40, 25, 5, 10]),
            id='longer',
        ),
        pytest.param(
            *(50, [25, 50, 45, 5], [0, 25, None, 0]),
            *([30, 40], 25, [40, 25, 2, 10]),
            id='half',
        ),
        pytest.param(
            *(3, [1, 3, 3, 5], [0, 1, None, 0], [2], 2, [3, 3, 1, 3]),
            id='short',
        ),
    ],
)
def test_max_iters(tiny, iters, ends, begins, steps, length, intervals):
    cfg, [line], _ = load(tiny, max_iters=iters)
    assert cfg.max_iters == cfg.train_cfg.max_iters == iters
    schedulers = cfg.param_scheduler
    assert [each.end for each in schedulers] == ends
    assert [each.get('begin') for each in schedulers] == begins
    assert schedulers[2].milestones == steps
    assert schedulers[1].T_max == length
    hooks = cfg.default_hooks
    assert intervals == [
        *(cfg.train_cfg.val_interval, hooks.checkpoint.interval),
        *(hooks.logger.interval, hooks.visualization.interval),
    ]
    assert line.startswith(
        f'max_iters={iters}: set train_cfg.max_iters, param_scheduler.'
    )


def test_number_with_an_exponent(tiny):
    cfg, _, _ = load(tiny, max_iters=1e3)
    assert cfg.train_cfg.max_iters == 1000
    assert isinstance(cfg.train_cfg.max_iters, int)


def test_batch_size(tiny):
    loader = 'train_dataloader'
    differing, [line] = changed(tiny, {'batch_size': 7})
    assert differing == {
        f'{loader}.batch_size': 7,
        f'{loader}.sampler.batch_size': 7,
    }
    assert line == f'batch_size=7: set {", ".join(differing)}'


def test_data_root(tiny, tmp_path):
    train = 'train_dataloader.dataset.dataset.datasets'
    differing, [line] = changed(tiny, {'data_root': str(tmp_path)})
    assert differing == {
        f'{train}.0.data_root': str(tmp_path),
        f'{train}.1.data_root': f'{tmp_path}/more',
        'val_dataloader.dataset.data_root': str(tmp_path),
        'val_evaluator.0.ann_file': f'{tmp_path}/val.json',
    }
    assert line.startswith(f"data_root='{tmp_path}': set {train}.0.data_root")


def test_real_keys_win(tiny):
    key = 'train_cfg.max_iters'
    cfg, [line], _ = load(tiny, **{'max_iters': 50, key: 7})
    assert cfg.train_cfg.max_iters == 7
    assert cfg.param_scheduler[1].end == cfg.max_iters == 50
    assert key not in line


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'crop_size': 'abc'}, "crop_size='abc': expected HEIGHT,WIDTH"),
        ({'crop_size': [1, 2, 3]}, 'expected HEIGHT,WIDTH'),
        ({'crop_size': 0}, 'expected HEIGHT,WIDTH'),
        ({'max_iters': 0}, 'max_iters=0: expected an integer from 1 on'),
        ({'batch_size': 1.5}, 'batch_size=1.5: expected an integer'),
        ({'num_classes': True}, 'num_classes=True: expected an integer'),
        ({'data_root': 'gone'}, "data_root='gone': expected a folder"),
        ({'data_root': 3}, 'data_root=3: expected a folder'),
    ],
)
def test_wrong_value(tiny, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(tiny, **given)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', options.OPTIONS)
def test_nothing_to_set(tmp_path, name):
    path = tmp_path / 'base.py'
    path.write_text('x = 1')
    value = {name: str(tmp_path) if name == 'data_root' else 1}
    with pytest.raises(ValueError, match=f'{name}=.* sets nothing in {path}'):
        load(path, **value)


def test_epochs(tmp_path):
    path = tmp_path / 'epochs.py'
    path.write_text('train_cfg = dict(by_epoch=True, max_epochs=3)')
    with pytest.raises(ValueError, match=r'set train_cfg\.max_epochs'):
        load(path, max_iters=10)


def test_configs_of_both_packages():
    """Where what is set lies in real ones: as the model is built."""
    cfg, _, _ = load(
        ROOT / DEMO, crop_size=64, num_classes=4, max_iters=100, batch_size=3
    )
    assert cfg.train_dataloader.dataset.pipeline[3].crop_size == (64, 64)
    assert cfg.model.data_preprocessor.size == (64, 64)
    heads = [cfg.model.decode_head, *cfg.model.auxiliary_head]
    assert [head.num_classes for head in heads] == [4, 4, 4]
    assert [each.end for each in cfg.param_scheduler] == [20, 100]
    assert cfg.train_dataloader.batch_size == 3

    cfg, _, _ = load(ROOT / NAILS, data_root='.', num_classes=4)
    assert cfg.val_dataloader.dataset.data_root == '.'
    name = cfg.val_dataloader.dataset.ann_file
    assert cfg.val_evaluator.ann_file == f'./{name}'
    heads = cfg.model.roi_head
    assert heads.bbox_head.num_classes == heads.mask_head.num_classes == 4


def test_option_as_upstream_merges_it(tiny):
    """What the page says of upstream's tools: it changes nothing there."""
    cfg = Config.fromfile(tiny)
    before = cfg.to_dict()
    cfg.merge_from_dict({'crop_size': [32, 48]})
    assert cfg.crop_size == [32, 48]
    assert {**cfg.to_dict(), 'crop_size': (64, 96)} == before


STEPS = 'train_dataloader.dataset.dataset.datasets.0.pipeline'


@pytest.mark.parametrize(
    ('key', 'value', 'real'),
    [
        pytest.param('scale', (9, 9), f'{STEPS}.4.scale', id='value'),
        pytest.param(
            'pipeline.4.scale', (9, 9), f'{STEPS}.4.scale', id='in a list'
        ),
        pytest.param(
            *('warmup', 9, 'param_scheduler.0.end, param_scheduler.1.begin'),
            id='number',
        ),
        pytest.param(
            *('norm_cfg.type', 'SyncBN', 'model.backbone.norm_cfg.type'),
            id='part',
        ),
    ],
)
def test_key_that_is_used_up(tiny, key, value, real):
    _, told, [line] = load(tiny, **{key: value})
    assert told == []
    shown = str(value).strip('()').replace(', ', ',')
    assert line.startswith(
        f'{key} is used up when the config is read, so {key}={shown} changes '
        f'nothing; set {real}'
    )


def test_keys_that_are_read(tiny):
    _, _, warned = load(
        tiny,
        **{'train_cfg.val_interval': 3, 'auto_scale_lr': {'enable': False}},
    )
    assert warned == []
    assert {'train_cfg', 'env_cfg', 'load_from'} < set(
        inspect.signature(Runner.__init__).parameters
    )


def test_preprocessor_that_the_model_does_not_take(tiny):
    top = "data_preprocessor = dict(type='SegDataPreProcessor', size=(64, 96))"
    tiny.write_text(f'{TINY}\n{top}\n')
    _, _, [line] = load(tiny, **{'data_preprocessor.size': 3})
    assert 'set model.data_preprocessor.size' in line


@pytest.mark.parametrize(
    ('text', 'key'),
    [
        ('max_iters = 300', 'train_cfg.max_iters is 100'),
        ('crop_size = (32, 32)', 'pipeline.1.transforms.0.crop_size is (64'),
        ('num_classes = 9', 'model.decode_head.0.num_classes is 3'),
        ('batch_size = 9', 'train_dataloader.batch_size is 2'),
        ("data_root = 'data/b'", "data_root is 'data/a'"),
    ],
)
def test_name_that_a_config_assigns_to_no_effect(tiny, text, key):
    path = tiny.parent / 'child.py'
    path.write_text(f"_base_ = './tiny.py'\n{text}")
    _, _, [line] = load(path)
    name, _, value = text.partition(' = ')
    assert line.startswith(f'{path} assigns {name} = {value}, but ')
    assert key in line
    assert f'or give the option {name}=' in line


def test_name_that_a_config_uses(tiny):
    path = tiny.parent / 'child.py'
    path.write_text(
        "_base_ = './tiny.py'\nmax_iters = 300\n"
        'train_cfg = dict(max_iters=max_iters)'
    )
    assert load(path)[2] == []
    path.write_text("_base_ = './tiny.py'\nmax_iters = 300\n")
    assert load(path, max_iters=20)[2] == [], 'the option sets both'


def test_nothing_is_said_of_what_a_run_writes(tiny):
    """It assigns all names of its bases, as they were left."""
    path = tiny.parent / 'child.py'
    path.write_text(
        "_base_ = './tiny.py'\nnum_classes = 9\n"
        'model = dict(decode_head=[dict(num_classes=7), dict(num_classes=7)])'
    )
    assert load(path)[2], 'the config itself'
    dump = tiny.parent / 'dump.py'
    Config.fromfile(path).dump(dump)
    assert Config.fromfile(dump).num_classes == 9
    assert load(dump)[2] == []


def test_no_warning_of_configs_that_are_whole():
    ours = (ROOT / 'configs').glob('[!_]*/*.py')
    mim = [
        Path(package.__file__).parent / '.mim' for package in (mmseg, mmdet)
    ]
    upstream = [
        mim[0] / 'configs/mask2former'
        '/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
        mim[1] / 'configs/mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
        mim[1] / 'configs/htc/htc_r50_fpn_1x_coco.py',
    ]
    told = [
        line
        for path in (*ours, *upstream)
        for line in options.stale_names(read_config(path), path, {})
    ]
    assert told == []
