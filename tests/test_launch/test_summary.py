import json
from types import SimpleNamespace

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.registry import DefaultScope
from mmseg.models.segmentors import EncoderDecoder
from torch import nn

from mmseg_ext.launch.summary import (
    _data_rows,
    _model_rows,
    _often,
    count_loaded,
)
from mmseg_ext.models import make_lean


def test_images_that_are_left_out_are_counted(tmp_path):
    images = [
        dict(id=n, file_name=f'{n}.png', height=64, width=64) for n in range(5)
    ]
    boxes = [
        dict(id=n, image_id=n, category_id=1, bbox=[0, 0, 9, 9], area=81)
        | dict(iscrowd=0)
        for n in range(2)
    ]
    path = tmp_path / 'boxes.json'
    path.write_text(
        json.dumps(
            dict(
                images=images,
                annotations=boxes,
                categories=[dict(id=1, name='disc')],
            )
        )
    )
    before = BaseDataset.__init__

    def dataset(**options):
        return CocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=''),
            metainfo=dict(classes=('disc',)),
            **options,
        )

    with count_loaded() as loaded:
        filtered = dataset(filter_cfg=dict(filter_empty_gt=True))
        first = dataset(indices=3)
        # As mmengine's dataloaders do.
        late = dataset(lazy_init=True, test_mode=True)
        late.full_init()
    assert [len(d) for d in (filtered, first, late)] == [2, 3, 5]
    assert [loaded[id(d)] for d in (filtered, first)] == [5, 5]
    assert BaseDataset.__init__ is before
    # Processes that load images get it whole.
    assert 'load_data_list' not in vars(filtered)


class _Images(BaseDataset):
    def load_data_list(self):
        return [dict(img_path=f'{n}.png') for n in range(8)]


def test_how_often_images_are_repeated():
    inner = dict(type='RepeatDataset', dataset=_Images(), times=3)
    dataset = ConcatDataset([inner, _Images()])
    rows = [text for _, text in _data_rows('train', dataset, {})]
    assert rows == [
        'ConcatDataset of 32 images',
        '_Images, 8 images, 3 times',
        '_Images, 8 images',
    ]


@pytest.mark.parametrize(
    ('interval', 'total', 'text'),
    [
        (1, 5, 'every epoch'),
        (2, 5, 'every 2 epochs'),
        (5, 5, 'at the end'),
        (1, 1, 'at the end'),
        (-1, 5, 'at the end'),
    ],
)
def test_when_something_happens(interval, total, text):
    assert _often(interval, total, 'epochs') == text


@pytest.mark.parametrize(
    'kind', [EncoderDecoder, type('Mine', (EncoderDecoder,), {})]
)
@pytest.mark.filterwarnings('ignore:``build_loss``')
def test_lean_inference_is_told_in_words(kind):
    options = dict(
        backbone=dict(type='UNet', base_channels=2),
        decode_head=dict(
            type='FCNHead',
            in_channels=2,
            channels=2,
            num_classes=3,
            in_index=4,
            num_convs=0,
            concat_input=False,
        ),
        train_cfg={},
        test_cfg=dict(mode='whole'),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = kind(**options)
    cfg = Config(dict(model=options))
    texts = []
    for _ in range(2):
        runner = SimpleNamespace(model=model)
        rows = _model_rows(cfg, runner, [], train=False)
        texts.append(rows[0][1].partition(',')[0])
        make_lean(model)
    assert texts == [kind.__name__, f'{kind.__name__} with lean inference']


def test_long_names_of_a_model_are_folded():
    names = [letter * 30 for letter in 'ab']
    parts = dict(zip(('backbone', 'neck'), names, strict=True))
    cfg = Config(dict(model={key: {'type': n} for key, n in parts.items()}))
    runner = SimpleNamespace(model=nn.Linear(3, 2))
    rows = dict(_model_rows(cfg, runner, ['random'], train=False)[:1])
    first = rows['model']
    assert first == f'Linear, {names[0]},'
    texts = [text for _, text in _model_rows(cfg, runner, [], train=False)]
    assert ' '.join(texts) == (
        f'Linear, {names[0]}, {names[1]}; 0.00 M parameters'
    )
    assert max(map(len, texts)) <= 79 - 11
