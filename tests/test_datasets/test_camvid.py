import logging

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from helpers.camvid import write_class_dict, write_pair
from mmseg_ext.converters.camvid import convert
from mmseg_ext.datasets.camvid import CamVid
from mmseg_ext.formats.color_masks import ColorClasses
from mmseg_ext.labels.camvid import CAMVID11, CAMVID32
from references import color_masks as reference

LOAD = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadColorMasks'},
    {'type': 'PackSegInputs'},
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def root(tmp_path):
    for seed in range(3):
        write_pair(tmp_path, 'train', f'0001TP_{seed:06d}', seed=seed)
    write_class_dict(tmp_path)
    return tmp_path


def build(root, **options):
    return CamVid(data_root=str(root), pipeline=LOAD, **options)


def labels_of(dataset):
    return [
        sample['data_samples'].gt_sem_seg.data[0].numpy() for sample in dataset
    ]


def test_labels_equal_reference(root):
    dataset = DATASETS.build(
        {'type': 'CamVid', 'data_root': str(root), 'pipeline': LOAD}
    )
    color_map = ColorClasses.from_colors(CAMVID32).color_map
    masks = sorted((root / 'train_labels').iterdir())
    assert len(dataset) == 3
    for label, path in zip(labels_of(dataset), masks, strict=True):
        assert (label == reference.decode(path, color_map)[0]).all()
    assert dataset.metainfo['classes'] == tuple(CAMVID32)
    assert dataset.metainfo['palette'][17] == [128, 64, 128]


def test_eleven_classes(root):
    every, eleven = build(root), build(root, grouping='camvid11')
    assert eleven.metainfo['classes'] == tuple(CAMVID11)
    members = {
        member: index
        for index, (_, names) in enumerate(CAMVID11.values())
        for member in names
    }
    expected = np.full(256, 255)
    for index, name in enumerate(CAMVID32):
        expected[index] = members.get(name, 255)
    for one, other in zip(labels_of(every), labels_of(eleven), strict=True):
        assert (expected[one] == other).all()


@pytest.mark.parametrize('grouping', [None, 'camvid11'])
def test_index_masks_read_the_same(root, grouping):
    convert(root, root / 'index', grouping=grouping)
    prefix = {'img_path': 'train', 'seg_map_path': 'index/train_labels'}
    colors = build(root, grouping=grouping)
    indices = build(root, grouping=grouping, data_prefix=prefix)
    assert colors.metainfo == indices.metainfo
    for one, other in zip(labels_of(colors), labels_of(indices), strict=True):
        assert (one == other).all()


def test_index_masks_know_their_classes(root):
    """Masks of the 11 classes are not read as the first 11 of 32."""
    convert(root, root / 'index', grouping='camvid11')
    prefix = {'img_path': 'train', 'seg_map_path': 'index/train_labels'}
    dataset = build(root, data_prefix=prefix)
    assert dataset.metainfo['classes'] == tuple(CAMVID11)


def test_built_in_classes_without_file(root):
    with_file = build(root)
    (root / 'class_dict.csv').unlink()
    assert build(root).metainfo == with_file.metainfo


def test_index_masks_need_a_list_of_their_indices(root):
    """SegNet's, in which 0 is Sky, and the first of the 32 is Animal."""
    (root / 'class_dict.csv').unlink()
    for path in (root / 'train_labels').iterdir():
        values = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 12
        Image.fromarray(values).save(path)
    for options in ({}, {'masks': 'index'}):
        dataset = build(root, grouping='camvid11', **options)
        with pytest.raises(
            ValueError,
            match=rf'_L\.png .*No class_dict\.csv is in {root}, so the '
            "classes are those of CamVid's release, but index masks need a",
        ):
            dataset[0]


def test_own_masks_without_class_list(root):
    """Black ground and a small object, of which nothing would be trained."""
    (root / 'class_dict.csv').unlink()
    mask = np.zeros((24, 32, 3), np.uint8)
    mask[3:6, 4:9] = (250, 50, 83)
    for path in (root / 'train_labels').iterdir():
        Image.fromarray(mask).save(path)
    with pytest.raises(
        ValueError, match=rf'No class_dict\.csv is in {root}, so .*: add the'
    ):
        build(root)[0]


def test_classes_of_the_file(root):
    colors = {'Sky': (128, 128, 128), 'Car': (64, 0, 128), 'Void': (0, 0, 0)}
    write_class_dict(root, colors)
    (label, *_) = labels_of(
        CamVid(
            data_root=str(root),
            pipeline=[
                LOAD[0],
                {'type': 'LoadColorMasks', 'max_unknown': 1.0},
                LOAD[2],
            ],
        )
    )
    color_map = ColorClasses.from_colors(colors).color_map
    path = root / 'train_labels' / '0001TP_000000_L.png'
    assert (label == reference.decode(path, color_map)[0]).all()


def test_custom_classes(root):
    dataset = build(root, metainfo={'classes': ('Road', 'Car')})
    assert dataset.metainfo['palette'] == [[128, 64, 128], [64, 0, 128]]
    for old, new in zip(
        labels_of(build(root)), labels_of(dataset), strict=True
    ):
        expected = np.select([old == 17, old == 5], [0, 1], 255)
        assert (new == expected).all()


def test_unknown_custom_class(root):
    with pytest.raises(ValueError, match=r"\['Raod'\] are not among"):
        build(root, metainfo={'classes': ('Raod',)})


def test_listed_stems_and_indices(root):
    (root / 'split.txt').write_text('0001TP_000002\n\n0001TP_000000\n')
    dataset = build(root, ann_file='split.txt')
    paths = [dataset.get_data_info(i)['img_path'] for i in range(2)]
    assert [path[-8:] for path in paths] == ['0002.png', '0000.png']
    assert len(build(root, indices=[1])) == 1


def test_images_and_labels_in_one_folder(root):
    for path in [*root.glob('train/*'), *root.glob('train_labels/*')]:
        path.rename(root / path.name)
    prefix = {'img_path': '', 'seg_map_path': ''}
    assert len(build(root, data_prefix=prefix)) == 3


def test_hidden_files_are_left_alone(root):
    for folder, name in (('train', '._a.png'), ('train_labels', '._a_L.png')):
        (root / folder / name).write_bytes(b'no image')
    assert len(build(root)) == 3


def test_without_labels(root):
    dataset = build(root, data_prefix={'img_path': 'train'}, test_mode=True)
    sample = dataset[0]['data_samples']
    assert 'gt_sem_seg' not in sample
    assert sample.img_path.endswith('0001TP_000000.png')


def test_missing_label_is_named(root):
    (root / 'train_labels' / '0001TP_000001_L.png').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'1 image\(s\) without label.*0001TP_000001;'
    ):
        build(root)


def test_label_without_image_is_named(root, mmlog):
    (root / 'train' / '0001TP_000001.png').unlink()
    with mmlog.at_level(logging.WARNING):
        assert len(build(root)) == 2
    assert '0001TP_000001' in mmlog.text
    assert 'have no image' in mmlog.text


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        pytest.param(
            {'data_prefix': {'img_path': 'nowhere'}},
            FileNotFoundError,
            'nowhere is missing',
            id='folder',
        ),
        pytest.param(
            {'data_prefix': {'seg_map_path': 'train_labels'}},
            ValueError,
            'names no img_path',
            id='no image folder',
        ),
        pytest.param(
            {'ann_file': 'nothing.txt'},
            FileNotFoundError,
            r'nothing\.txt is missing',
            id='list',
        ),
        pytest.param(
            {'img_suffix': '.tif'},
            FileNotFoundError,
            r'holds no \*\.tif',
            id='no images',
        ),
        pytest.param(
            {'grouping': 'camvid12'},
            ValueError,
            "'camvid12': expected one of",
            id='grouping',
        ),
        pytest.param(
            {'class_dict': 'none.csv'},
            FileNotFoundError,
            r'none\.csv',
            id='class list',
        ),
    ],
)
def test_wrong_options(root, options, error, message):
    with pytest.raises(error, match=message):
        build(root, **options)


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match='no_such_root'):
        build(tmp_path / 'no_such_root')


def test_empty_folder(root):
    for path in (root / 'train').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r'train holds no \*\.png'):
        build(root)


def test_truncated_image_is_named(root):
    path = root / 'train' / '0001TP_000001.png'
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(AssertionError, match=r'0001TP_000001\.png'):
        build(root)[1]


@pytest.mark.parametrize(
    ('line', 'error', 'message'),
    [
        pytest.param('0009', FileNotFoundError, '0009', id='unknown'),
        pytest.param('../x', ValueError, 'leaves its root', id='outside'),
        pytest.param('', ValueError, 'lists no stems', id='empty'),
    ],
)
def test_wrong_list(root, line, error, message):
    (root / 'split.txt').write_text(line)
    with pytest.raises(error, match=message):
        build(root, ann_file='split.txt')


def test_class_without_group(root):
    write_class_dict(root, {'Sky': (128, 128, 128), 'Ufo': (1, 1, 1)})
    with pytest.raises(ValueError, match=r"class_dict\.csv: .*\['Ufo'\]"):
        build(root, grouping='camvid11')
