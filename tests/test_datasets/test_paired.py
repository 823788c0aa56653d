"""The base of data sets of folders, by a class of its own."""

import copy
import os
import shutil

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset

from mmseg_ext.datasets import PairedDataset

LOAD = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadAnnotations'},
    {'type': 'PackSegInputs'},
]
PREFIX = {'img_path': 'images', 'seg_map_path': 'labels'}
METAINFO = {
    'classes': ('road', 'pothole'),
    'palette': [[128, 64, 128], [255, 0, 0]],
}


class Potholes(PairedDataset):
    METAINFO = METAINFO


class Upstream(BaseSegDataset):
    METAINFO = METAINFO


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('a', 'city/b', 'c', 'd'):
        for folder, suffix, shape in (
            ('images', 'jpg', (9, 12, 3)),
            ('labels', 'png', (9, 12)),
        ):
            path = tmp_path / folder / f'{name}.{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 2, shape, np.uint8))
    (tmp_path / 'some.txt').write_text('c\ncity/b\n')
    return tmp_path


def build(root, kind=Potholes, **options):
    return kind(
        **{
            'data_root': str(root),
            'data_prefix': PREFIX,
            'pipeline': LOAD,
            **options,
        }
    )


def infos(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


@pytest.mark.parametrize(
    'options',
    [
        pytest.param({}, id='plain'),
        pytest.param({'ann_file': 'some.txt'}, id='list'),
        pytest.param({'indices': 2}, id='first'),
        pytest.param({'indices': [3, 0]}, id='indices'),
        pytest.param({'test_mode': True}, id='test'),
        pytest.param({'lazy_init': True}, id='lazy'),
        pytest.param({'serialize_data': False}, id='not serialized'),
        pytest.param({'filter_cfg': {'min_size': 3}}, id='filter'),
        pytest.param({'metainfo': {'classes': ['pothole']}}, id='classes'),
        pytest.param({'reduce_zero_label': True}, id='zero label'),
        pytest.param({'backend_args': {'backend': 'local'}}, id='backend'),
    ],
)
def test_equals_upstream(root, options):
    ours, theirs = (
        build(root, kind, **options) for kind in (Potholes, Upstream)
    )
    assert infos(ours) == infos(theirs)
    assert ours.metainfo == theirs.metainfo
    for one, other in zip(ours, theirs, strict=True):
        assert (one['inputs'] == other['inputs']).all()
        labels = [s['data_samples'].gt_sem_seg.data for s in (one, other)]
        assert (labels[0] == labels[1]).all()


def test_subsets_and_wrappers(root):
    dataset = build(root)
    part = dataset.get_subset([2, 0])
    assert infos(copy.deepcopy(part)) == infos(part)
    names = [info['img_path'].rpartition('/')[2] for info in infos(part)]
    assert names == ['b.jpg', 'a.jpg']
    assert len(ConcatDataset([dataset, part])) == 6
    assert len(RepeatDataset(dataset, 3)) == 12


def test_lazy_init_touches_no_file(root):
    dataset = build(root / 'nowhere', lazy_init=True)
    assert dataset.metainfo['classes'] == METAINFO['classes']
    with pytest.raises(FileNotFoundError, match=r'nowhere/images is missing'):
        len(dataset)


def test_list_with_a_byte_order_mark(root):
    (root / 'some.txt').write_bytes(b'\xef\xbb\xbfc\r\na\r\n')
    assert len(build(root, ann_file='some.txt')) == 2


@pytest.mark.parametrize('encoding', ['utf-16', 'cp1252'])
def test_list_in_another_encoding(root, encoding):
    (root / 'some.txt').write_bytes('Straße\n'.encode(encoding))
    message = rf'^ann_file {root}/some\.txt is .*save it as UTF-8$'
    with pytest.raises(ValueError, match=message):
        build(root, ann_file='some.txt')


def test_names_that_are_not_utf8(root):
    name = os.fsdecode('中文'.encode('gbk'))
    for folder, suffix in (('images', 'jpg'), ('labels', 'png')):
        path = root / folder / f'a.{suffix}'
        path.rename(path.with_stem(name))
    dataset = build(root)
    assert len(dataset) == 4
    names = [info['img_path'] for info in infos(dataset)]
    where = names.index(str(root / f'images/{name}.jpg'))
    label = dataset[where]['data_samples'].gt_sem_seg.data
    assert label.shape == (1, 9, 12)
    os.remove(root / f'labels/{name}.png')
    with pytest.raises(FileNotFoundError) as error:
        build(root)
    assert r': \xd6\xd0\xce\xc4; expected names' in str(error.value)


@pytest.mark.parametrize('image', ['caf\u00e9', 'cafe\u0301'])
@pytest.mark.parametrize('label', ['caf\u00e9', 'cafe\u0301'])
@pytest.mark.parametrize('line', ['caf\u00e9', 'cafe\u0301'])
def test_names_of_two_systems_are_paired(root, image, label, line):
    (root / 'images/a.jpg').rename(root / f'images/{image}.jpg')
    (root / 'labels/a.png').rename(root / f'labels/{label}.png')
    (root / 'some.txt').write_text(f'{line}\nd\n')
    for options in ({}, {'ann_file': 'some.txt'}):
        pairs = {
            (info['img_path'], info['seg_map_path'])
            for info in infos(build(root, **options))
        }
        pair = f'images/{image}.jpg', f'labels/{label}.png'
        assert tuple(str(root / name) for name in pair) in pairs


def test_names_that_look_the_same_are_refused(root):
    for name in ('caf\u00e9', 'cafe\u0301'):
        shutil.copy(root / 'images/a.jpg', root / f'images/{name}.jpg')
    message = r'cafe\\u0301\.jpg and .*café\.jpg have the same stem'
    with pytest.raises(ValueError, match=message):
        build(root)


def test_blanks_and_separators_in_names(root):
    for name in ('a ', ' a', 'b\u2028c'):
        shutil.copy(root / 'images/a.jpg', root / f'images/{name}.jpg')
        shutil.copy(root / 'labels/a.png', root / f'labels/{name}.png')
    (root / 'some.txt').write_bytes('a \r\n a\n  c \nb\u2028c'.encode())
    names = [
        os.path.basename(info['img_path'])
        for info in infos(build(root, ann_file='some.txt'))
    ]
    assert names == ['a .jpg', ' a.jpg', 'c.jpg', 'b\u2028c.jpg']


def test_links_bring_nothing_twice(root):
    """To the folder itself, the data set above it, and one elsewhere."""
    for folder, suffix in (('images', 'jpg'), ('labels', 'png')):
        (root / 'nas' / folder).mkdir(parents=True)
        path = root / folder / f'a.{suffix}'
        shutil.copy(path, root / 'nas' / folder / f'z.{suffix}')
        (root / folder / 'l').symlink_to('.')
        (root / folder / 'up').symlink_to('..')
        (root / folder / 'city' / 'top').symlink_to(root)
        (root / folder / 'nas').symlink_to(root / 'nas' / folder)
    names = [
        info['img_path'].removeprefix(f'{root}/images/')
        for info in infos(build(root))
    ]
    assert names == ['a.jpg', 'c.jpg', 'city/b.jpg', 'd.jpg', 'nas/z.jpg']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param(
            {'backend_args': {'backend': 'petrel'}},
            r"Potholes: backend_args=\{'backend': 'petrel'\}: expected None",
            id='backend_args',
        ),
        pytest.param(
            {'data_root': 's3://bucket'},
            r'Potholes: s3://bucket is not on this machine',
            id='data_root',
        ),
        pytest.param(
            {'data_prefix': {'img_path': 'https://x.org/images'}},
            r'https://x\.org/images is not on',
            id='data_prefix',
        ),
    ],
)
def test_other_backends_are_refused(root, options, message):
    with pytest.raises(ValueError, match=message):
        build(root, **options)


def test_label_of_another_name_is_told(root):
    (root / 'labels/a.png').rename(root / 'labels/a_L.jpg')
    (root / 'labels/city/b.png').rename(root / 'labels/city/b.png.txt')
    with pytest.raises(FileNotFoundError) as caught:
        infos(build(root))
    assert str(caught.value).startswith(
        f'2 image(s) without label in {root}/labels: a, city/b; expected '
        'names that end in .png (seg_map_suffix), and there is a_L.jpg; add'
    )


def test_no_other_names(root):
    (root / 'labels/a.png').unlink()
    (root / 'labels/a1.png').touch()
    with pytest.raises(FileNotFoundError) as caught:
        infos(build(root))
    assert '(seg_map_suffix); add the files' in str(caught.value)


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (('road'), "got the text 'road': one name is written ('road',)"),
        (('road', 'pothole', 'road'), "name one twice: 'road'; expected"),
    ],
)
def test_what_are_no_names_of_classes(root, classes, message):
    with pytest.raises(ValueError, match='metainfo classes') as caught:
        build(root, metainfo={'classes': classes})
    assert message in str(caught.value)


def test_file_of_classes(root):
    (root / 'classes.txt').write_text('pothole\n')
    data = build(root, metainfo={'classes': str(root / 'classes.txt')})
    assert list(data.metainfo['classes']) == ['pothole']
