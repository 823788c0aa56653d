import pytest
from mmengine.config import Config
from mmseg.registry import METRICS

from mmseg_ext.launch.evaluators import (
    choose_evaluator,
    prediction_writer,
    set_evaluator,
)


def _seg(evaluator=None, scope='mmseg'):
    return Config(dict(default_scope=scope, test_evaluator=evaluator))


def _det(evaluator=None, dataset=None):
    cfg = Config(dict(default_scope='mmdet', test_evaluator=evaluator))
    cfg.test_dataloader = dict(dataset=dataset or {})
    return cfg


@pytest.fixture
def boxes(tmp_path):
    path = tmp_path / 'boxes.json'
    path.write_text('{}')
    return path


@pytest.mark.parametrize(
    ('evaluator', 'kept'),
    [
        pytest.param(None, {}, id='none'),
        pytest.param(
            dict(
                type='IoUMetric',
                iou_metrics=['mIoU'],
                ignore_index=7,
                prefix='seg',
                beta=2,
                output_dir='out',
            ),
            dict(ignore_index=7, prefix='seg', beta=2),
            id='IoUMetric',
        ),
        pytest.param(
            dict(type='mmseg.IoU', exclude=['Void'], classwise=True),
            dict(exclude=['Void'], classwise=True),
            id='IoU with its scope',
        ),
        pytest.param(
            dict(type='IoU', format_only=True, ignore_index=3),
            dict(ignore_index=3),
            id='IoU without scores',
        ),
        pytest.param(
            [
                dict(type='IoUMetric', ignore_index=7),
                dict(type='IoU', exclude=['Void']),
            ],
            dict(exclude=['Void']),
            id='IoU before IoUMetric',
        ),
        pytest.param(dict(type='CityscapesMetric'), {}, id='another'),
    ],
)
def test_segmentation(evaluator, kept):
    cfg = _seg(evaluator)
    chosen = choose_evaluator(cfg, ['mDice', 'mIoU', 'mDice'])
    assert chosen == dict(type='IoU', iou_metrics=['mDice', 'mIoU'], **kept)
    metric = METRICS.build(dict(chosen, _scope_='mmseg'))
    assert metric.iou_metrics == ['mDice', 'mIoU']
    assert metric.ignore_index == kept.get('ignore_index', 255)
    # The config is only read.
    assert cfg.test_evaluator == evaluator


def test_scope_of_this_package_is_segmentation():
    chosen = choose_evaluator(_seg(scope='mmseg_ext'), ['mFscore'])
    assert chosen == dict(type='IoU', iou_metrics=['mFscore'])


def test_detection_keeps_the_own_options(boxes):
    own = dict(
        type='CocoMetric',
        ann_file=str(boxes),
        metric='proposal_fast',
        classwise=True,
        format_only=True,
        outfile_prefix='work/results',
    )
    other = dict(type='CityScapesMetric', seg_prefix='gtFine')
    assert choose_evaluator(_det([other, own]), ['bbox', 'segm']) == dict(
        type='CocoMetric',
        ann_file=str(boxes),
        metric=['bbox', 'segm'],
        classwise=True,
        format_only=False,
        outfile_prefix='work/results',
    )


@pytest.mark.parametrize(
    'wrap',
    [
        pytest.param(lambda d: d, id='plain'),
        pytest.param(
            lambda d: dict(type='RepeatDataset', times=2, dataset=d),
            id='RepeatDataset',
        ),
        pytest.param(
            lambda d: dict(type='ConcatDataset', datasets=[d, dict(d)]),
            id='ConcatDataset',
        ),
    ],
)
def test_annotations_of_the_data_set(boxes, wrap):
    relative = dict(data_root=str(boxes.parent), ann_file=boxes.name)
    absolute = dict(data_root='/elsewhere', ann_file=str(boxes))
    for data_set in (relative, absolute):
        chosen = choose_evaluator(_det(None, wrap(data_set)), ['bbox'])
        assert chosen == dict(
            type='CocoMetric',
            ann_file=str(boxes),
            metric=['bbox'],
            format_only=False,
        )


def test_remote_annotations_are_not_looked_for():
    backend = dict(backend='petrel')
    data_set = dict(
        data_root='s3://data/', ann_file='val.json', backend_args=backend
    )
    chosen = choose_evaluator(_det(None, data_set), ['bbox'])
    assert chosen['ann_file'] == 's3://data/val.json'
    assert chosen['backend_args'] == backend


@pytest.mark.parametrize(
    ('cfg', 'names', 'message'),
    [
        pytest.param(
            _seg(),
            ['mIoU', 'miou'],
            'metrics=.*miou.*: expected one or more of mIoU, .*, bbox, segm',
            id='unknown',
        ),
        pytest.param(
            _seg(),
            ['mIoU', 'bbox'],
            r"^metrics=\['mIoU', 'bbox'\] mixes",
            id='mixed',
        ),
        pytest.param(
            _seg(),
            ['bbox'],
            'configs with default_scope mmdet; this one has mmseg',
            id='detection of a segmentor',
        ),
        pytest.param(
            _det(),
            ['mIoU'],
            'configs with default_scope mmseg; this one has mmdet',
            id='segmentation of a detector',
        ),
        pytest.param(
            Config({}),
            ['mIoU'],
            'this one has mmengine',
            id='no scope',
        ),
        pytest.param(
            _det(),
            ['bbox'],
            'need one COCO annotation file.*gives none',
            id='no annotations',
        ),
        pytest.param(
            _det(None, dict(data_root='VOC', ann_file='test.txt')),
            ['bbox'],
            'need one COCO annotation file.*gives none',
            id='annotations of another kind',
        ),
        pytest.param(
            _det(
                None, dict(datasets=[dict(ann_file=f'{n}.json') for n in 'ab'])
            ),
            ['bbox'],
            r'need one COCO annotation file.*gives a\.json, b\.json',
            id='two annotation files',
        ),
        pytest.param(
            _det(dict(type='CocoMetric', ann_file='gone/val.json')),
            ['segm'],
            'there is no annotation file gone/val.json',
            id='absent file',
        ),
    ],
)
def test_refused(cfg, names, message):
    with pytest.raises(ValueError, match=message) as caught:
        choose_evaluator(cfg, names)
    assert '\n' not in str(caught.value)


def test_says_what_it_sets():
    cfg = _seg(dict(type='IoUMetric', ignore_index=0))
    line = set_evaluator(cfg, ['mIoU'])
    assert line == (
        'the test evaluator is IoU(ignore_index=0, '
        "iou_metrics=['mIoU']) in place of IoUMetric"
    )
    assert cfg.test_evaluator == dict(
        type='IoU', ignore_index=0, iou_metrics=['mIoU']
    )
    # Once more: nothing is replaced any longer.
    assert 'in place of' not in set_evaluator(cfg, ['mIoU'])


@pytest.mark.parametrize(
    ('cfg', 'name', 'message'),
    [
        pytest.param(_det(), 'results', r'ends in \.pkl', id='detector'),
        pytest.param(_seg(), 'maps.pkl', 'expected a folder', id='segmentor'),
        pytest.param(_seg(), 'boxes.json', 'expected a folder', id='a file'),
    ],
)
def test_wrong_kind_of_output(boxes, cfg, name, message):
    with pytest.raises(ValueError, match=message):
        prediction_writer(cfg, str(boxes.parent / name))


def test_home_of_the_user_in_paths(tmp_path, monkeypatch, boxes):
    monkeypatch.setenv('HOME', str(tmp_path))
    dataset = dict(data_root='~', ann_file='boxes.json')
    chosen = choose_evaluator(_det(dataset=dataset), ['bbox'])
    assert chosen['ann_file'] == str(boxes)
    cfg = _seg()
    cfg.test_dataloader = dict(
        dataset=dict(data_root='~/data', data_prefix=dict(img_path='val'))
    )
    writer = prediction_writer(cfg, str(tmp_path / 'out'))
    assert writer.image_roots == [str(tmp_path / 'data' / 'val')]
