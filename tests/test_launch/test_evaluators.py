import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import METRICS

from mmseg_ext.launch.evaluators import (
    LabelMapWriter,
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
            '--eval miou: expected one or more of mIoU, mDice, mFscore, bbox,',
            id='unknown',
        ),
        pytest.param(
            _seg(), ['mIoU', 'bbox'], '--eval mIoU bbox mixes', id='mixed'
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
        '--eval mIoU: the test evaluator is IoU(ignore_index=0, '
        "iou_metrics=['mIoU']) in place of IoUMetric"
    )
    assert cfg.test_evaluator == dict(
        type='IoU', ignore_index=0, iou_metrics=['mIoU']
    )
    # Once more: nothing is replaced any longer.
    assert 'in place of' not in set_evaluator(cfg, ['mIoU'])


def _sample(path, label_map, **more):
    data = torch.as_tensor(label_map)[None]
    return dict(img_path=str(path), pred_sem_seg=dict(data=data), **more)


def test_label_maps_keep_values_and_folders(tmp_path):
    maps = {
        'a/1.jpg': np.array([[0, 1], [2, 255]]),
        'b/1.jpg': np.array([[3, 3], [3, 3]]),
    }
    root, out = tmp_path / 'data' / 'images', tmp_path / 'out'
    writer = LabelMapWriter(out, [str(tmp_path / 'more'), str(root)])
    writer.process(
        {}, [_sample(root / name, values) for name, values in maps.items()]
    )
    writer.process({}, [_sample('/elsewhere/c/2.png', maps['a/1.jpg'])])
    files = {
        str(path.relative_to(out)): cv2.imread(str(path), -1)
        for path in out.rglob('*.png')
    }
    assert set(files) == {'a/1.png', 'b/1.png', '2.png'}
    np.testing.assert_array_equal(files['a/1.png'], maps['a/1.jpg'])
    np.testing.assert_array_equal(files['b/1.png'], maps['b/1.jpg'])
    np.testing.assert_array_equal(files['2.png'], maps['a/1.jpg'])
    assert len(writer.results) == 3


def test_reduced_zero_label_is_undone(tmp_path):
    writer = LabelMapWriter(tmp_path)
    sample = _sample('x.png', np.array([[0, 149]]), reduce_zero_label=True)
    writer.process({}, [sample])
    np.testing.assert_array_equal(
        cv2.imread(str(tmp_path / 'x.png'), -1), [[1, 150]]
    )


@pytest.mark.parametrize(
    ('samples', 'message'),
    [
        pytest.param(
            [_sample('x.png', np.array([[256]]))],
            'x.png: class 256 does not fit',
            id='more than 8 bits',
        ),
        pytest.param(
            [dict(img_path='x.png')], 'x.png: .*no pred_sem_seg', id='absent'
        ),
        pytest.param(
            [_sample(f'{n}/x.png', np.array([[0]])) for n in 'ab'],
            'hold the label maps of both a/x.png and b/x.png',
            id='same file',
        ),
    ],
)
def test_label_maps_refused(tmp_path, samples, message):
    with pytest.raises(ValueError, match=message):
        LabelMapWriter(tmp_path).process({}, samples)


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
