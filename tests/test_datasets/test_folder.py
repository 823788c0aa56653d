"""A data set that the config describes, value by value."""

import copy
import gc
import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_ext.datasets import FolderDataset
from mmseg_ext.engine.class_counts import count_classes
from mmseg_ext.engine.label_checks import (
    first_labels,
    may_be_black_and_white,
    value_fault,
)

CLASSES = ('road', 'pothole', 'water')
PALETTE = [[128, 64, 128], [255, 0, 0], [0, 0, 255]]
#: Two values change places, one moves, one is ignored, and one stays.
LABEL_MAP = {0: 1, 1: 0, 7: 2, 9: 255, 255: 2, 2: 2}
LOAD = [{'type': 'LoadImageFromFile'}]
PACK = [{'type': 'PackSegInputs'}]


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    """Mmengine collects garbage with each data set: most of the time here."""
    monkeypatch.setattr(gc, 'collect', lambda *generation: 0)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def become(values, label_map=LABEL_MAP):
    """Return what values become, one by one."""
    flat = [label_map.get(int(value), int(value)) for value in values.ravel()]
    return np.array(flat, np.uint8).reshape(values.shape)


@pytest.fixture
def root(tmp_path):
    """Four images and masks of all values, in folders and below."""
    rng = np.random.default_rng(0)
    for name in ('a.jpg', 'b.PNG', 'below/c d.tif', 'e.webp'):
        image = tmp_path / 'images' / name
        label = (tmp_path / 'masks' / name).with_suffix('.png')
        for path, shape in ((image, (24, 36, 3)), (label, (24, 36))):
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.choice([0, 1, 2, 7, 9, 255], shape)
            cv2.imwrite(str(path), pixels.astype(np.uint8))
    return tmp_path


def build(root, **options):
    return DATASETS.build(
        {
            'type': 'FolderDataset',
            'data_root': str(root),
            'data_prefix': {'img_path': 'images', 'seg_map_path': 'masks'},
            'metainfo': {'classes': CLASSES, 'palette': PALETTE},
            'label_map': LABEL_MAP,
            'pipeline': [*LOAD, {'type': 'LoadAnnotations'}, *PACK],
            **options,
        }
    )


def stored(dataset, index):
    path = dataset.get_data_info(index)['seg_map_path']
    return np.array(Image.open(path))


def loaded(dataset, index):
    return dataset[index]['data_samples'].gt_sem_seg.data[0].numpy()


def test_all_kinds_of_images_are_found(root):
    dataset = build(root)
    paths = [
        dataset.get_data_info(index)['img_path'].removeprefix(f'{root}/')
        for index in range(len(dataset))
    ]
    assert paths == [
        'images/a.jpg',
        'images/b.PNG',
        'images/below/c d.tif',
        'images/e.webp',
    ]
    assert dataset.metainfo['classes'] == CLASSES
    assert dataset.metainfo['palette'] == PALETTE
    assert dataset.metainfo['label_map'] == LABEL_MAP


@pytest.mark.parametrize('loader', ['LoadAnnotations', 'FastLoadAnnotations'])
@pytest.mark.parametrize(
    'label_map',
    [
        pytest.param(LABEL_MAP, id='many'),
        pytest.param({0: 0, 255: 1}, id='black and white'),
        pytest.param({0: 0, 1: 1}, id='none changes'),
        pytest.param({}, id='empty'),
        pytest.param(None, id='none'),
    ],
)
def test_labels_are_those_of_the_map(root, loader, label_map):
    dataset = build(
        root,
        label_map=label_map,
        pipeline=[*LOAD, {'type': loader}, *PACK],
    )
    for index in range(len(dataset)):
        expected = become(stored(dataset, index), label_map or {})
        np.testing.assert_array_equal(loaded(dataset, index), expected)
    changes = any(old != new for old, new in (label_map or {}).items())
    assert dataset.label_map == (label_map if changes else None)


def test_fused_and_fast_transforms(root):
    """Of its own size, so that the crop alone moves pixels."""
    steps = [
        {'type': 'FastLoadAnnotations'},
        {
            'type': 'FusedResizeCropFlip',
            'scale': (36, 24),
            'ratio_range': (1.0, 1.0),
            'crop_size': (24, 36),
            'prob': 0.0,
        },
        {'type': 'FastPackSegInputs'},
    ]
    dataset = build(root, pipeline=[*LOAD, *steps])
    for index in range(len(dataset)):
        np.testing.assert_array_equal(
            loaded(dataset, index), become(stored(dataset, index))
        )


@pytest.mark.parametrize(
    'step',
    [
        {'type': 'RareClassCrop', 'crop_size': (24, 36)},
        {'type': 'MapLabels', 'label_map': {3: 3}},
    ],
)
def test_what_follows_sees_indices(root, step):
    dataset = build(
        root, pipeline=[*LOAD, {'type': 'LoadAnnotations'}, step, *PACK]
    )
    np.testing.assert_array_equal(
        loaded(dataset, 0), become(stored(dataset, 0))
    )


def test_classes_are_counted_as_they_are_trained(root):
    dataset = build(root)
    counts = count_classes(dataset, 3, progress=False)
    expected = [
        [(become(stored(dataset, k)) == index).sum() for index in range(3)]
        for k in range(len(dataset))
    ]
    assert counts.tolist() == expected


def test_labels_are_checked_as_they_are_trained(root):
    """By the functions of ``LabelCheckHook``."""
    dataset = build(root)
    for number, first in enumerate(first_labels(dataset, 9)):
        np.testing.assert_array_equal(
            first.label, become(stored(dataset, number))
        )
    assert value_fault(first_labels(dataset, 9), [], 3) is None
    assert not may_be_black_and_white(dataset)
    fewer = build(root, label_map={old: 0 for old in LABEL_MAP if old != 9})
    fault = value_fault(first_labels(fewer, 9), [], 3)
    assert 'a.png holds the value(s) 9: expected class indices 0 to 2' in fault


def test_subsets_and_copies(root):
    part = copy.deepcopy(build(root).get_subset([2]))
    np.testing.assert_array_equal(loaded(part, 0), become(stored(part, 0)))


def test_any_names_by_a_list_of_two_columns(root):
    for old, new in (
        ('images/a.jpg', 'images/img_001.jpg'),
        ('masks/a.png', 'masks/mask 001.png'),
    ):
        (root / old).rename(root / new)
    (root / 'some.txt').write_bytes(
        b'\xef\xbb\xbfimg_001.jpg mask 001.png\r\nbelow/c d.tif\tbelow/c d.png'
    )
    dataset = build(root, ann_file='some.txt')
    labels = [dataset.get_data_info(k)['seg_map_path'] for k in range(2)]
    assert labels == [
        f'{root}/masks/mask 001.png',
        f'{root}/masks/below/c d.png',
    ]
    assert len(dataset) == 2


def test_masks_among_the_images(root):
    for path in (root / 'masks').glob('*.png'):
        path.rename(root / 'images' / path.name)
    (root / 'images/b.PNG').unlink()
    (root / 'images/b.png').unlink()
    (root / 'images/below/c d.tif').unlink()
    both = {'img_path': 'images', 'seg_map_path': 'images'}
    dataset = build(root, data_prefix=both)
    assert [
        (info['img_path'], info['seg_map_path'])
        for info in map(dataset.get_data_info, range(len(dataset)))
    ] == [
        (f'{root}/images/{name}', f'{root}/images/{name[0]}.png')
        for name in ('a.jpg', 'e.webp')
    ]


def test_keys_that_are_texts(root, tmp_path):
    """As JSON has them, and the command line gives them."""
    label_map = json.loads(json.dumps(LABEL_MAP))
    assert set(map(type, label_map)) == {str}
    dataset = build(root, label_map=label_map)
    assert dataset.label_map == LABEL_MAP
    (tmp_path / 'config.py').write_text(
        'data = dict(label_map={0: 0, 255: 1}, name="a")\n'
    )
    cfg = Config.fromfile(tmp_path / 'config.py')
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert again.data.label_map == cfg.data.label_map == {0: 0, 255: 1}
    value = DictAction._parse_iterable('2')
    cfg.merge_from_dict({'data.label_map.7': value})
    dataset = build(root, label_map=cfg.data.label_map)
    assert dataset.label_map == {0: 0, 255: 1, 7: 2}
    cfg.merge_from_dict({'data.label_map.255': 2})
    with pytest.raises(ValueError, match='the value 255 twice, as a number'):
        build(root, label_map=cfg.data.label_map)


@pytest.mark.parametrize(
    'label_map',
    [
        pytest.param({256: 0}, id='key above'),
        pytest.param({-1: 0}, id='key below'),
        pytest.param({'-1': 0}, id='text below'),
        pytest.param({'road': 0}, id='name'),
        pytest.param({'': 0}, id='no text'),
        pytest.param({'²': 0}, id='no digit'),
        pytest.param({0.0: 0}, id='float'),
        pytest.param({True: 0}, id='bool'),
        pytest.param({None: 0}, id='nothing'),
        pytest.param({0: 3}, id='no class'),
        pytest.param({0: 254}, id='nearly ignored'),
        pytest.param({0: -1}, id='below'),
        pytest.param({0: '1'}, id='text'),
        pytest.param({0: 1.0}, id='float index'),
        pytest.param({0: None}, id='no index'),
        pytest.param([0, 1], id='list'),
        pytest.param('0:1', id='text for all'),
    ],
)
def test_label_maps_that_are_wrong(root, label_map):
    message = r'^FolderDataset: label_map=.*0 to 255, .*class of each, 0 to 2'
    with pytest.raises(ValueError, match=message):
        build(root, label_map=label_map)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param(
            {'metainfo': None}, 'names no classes: expected', id='no metainfo'
        ),
        pytest.param(
            {'metainfo': {'palette': PALETTE}, 'label_map': None},
            'names no classes: expected',
            id='no classes',
        ),
        pytest.param(
            {'metainfo': {'classes': CLASSES, 'palette': PALETTE[:2]}},
            '3 classes and 2 colors in palette',
            id='few colors',
        ),
        pytest.param(
            {'reduce_zero_label': True},
            'label_map and reduce_zero_label=True are both given',
            id='reduced',
        ),
        pytest.param({'lable_map': {}}, 'lable_map', id='misspelt'),
    ],
)
def test_arguments_that_are_wrong(root, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build(root, **options)


def test_arguments_are_checked_before_files(tmp_path):
    with pytest.raises(ValueError, match='label_map'):
        build(tmp_path / 'nowhere', label_map={0: 3})


def test_a_palette_may_be_missing(root):
    dataset = build(root, metainfo={'classes': CLASSES})
    assert len(dataset.metainfo['palette']) == 3


class Wet(FolderDataset):
    METAINFO = {'classes': CLASSES, 'palette': PALETTE}


def test_a_subclass_chooses_by_one_of_both(root):
    options = {
        'data_root': str(root),
        'data_prefix': {'img_path': 'images', 'seg_map_path': 'masks'},
    }
    chosen = {'classes': ['water', 'road']}
    assert Wet(**options, label_map={9: 2}).label_map == {9: 2}
    part = Wet(**options, metainfo=chosen)
    assert part.label_map == {0: 1, 1: 255, 2: 0}
    assert part.metainfo['palette'] == [PALETTE[2], PALETTE[0]]
    with pytest.raises(ValueError, match='fewer classes than those of METAIN'):
        Wet(**options, metainfo=chosen, label_map={9: 1})


def test_black_and_white_masks_need_no_warning(root, mmlog):
    for path in (root / 'masks').rglob('*.png'):
        cv2.imwrite(str(path), cv2.imread(str(path), 0) // 255 * 255)
    options = {'metainfo': {'classes': ('road', 'pothole')}}
    pipeline = [*LOAD, {'type': 'FastLoadAnnotations'}, *PACK]
    dataset = build(
        root, label_map={0: 0, 255: 1}, pipeline=pipeline, **options
    )
    assert {*np.unique(loaded(dataset, 0))} == {0, 1}
    assert '255 alone' not in mmlog.text
    unmapped = build(root, label_map=None, pipeline=pipeline, **options)
    assert {*np.unique(loaded(unmapped, 0))} == {0, 255}
    assert 'holds 0 and 255 alone' in mmlog.text
