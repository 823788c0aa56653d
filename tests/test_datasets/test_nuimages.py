import json

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from helpers.nuimages import SHAPE, tiny_tables, write_tables
from mmseg_ext.converters.nuimages import convert
from mmseg_ext.datasets.nuimages import NuImagesDataset
from references import nuimages as reference

MINI = 'v1.0-mini'
COCO = f'annotations/nuimages_{MINI}.json'
MASKS = 'annotations/semantic_masks'
LOAD = [
    {'type': 'LoadImageFromFile'},
    {'type': 'FastLoadAnnotations'},
    {'type': 'PackSegInputs'},
]

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def root(tmp_path):
    """Four images, converted; the images' gray value is their position."""
    write_tables(tmp_path, tiny_tables())
    for index, row in enumerate(reference.key_frames(tmp_path, MINI)):
        path = tmp_path / row['filename']
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((*SHAPE, 3), index, np.uint8))
    convert(tmp_path, versions=[MINI])
    return tmp_path


def build(root, ann_file=COCO, **options):
    return NuImagesDataset(
        data_root=str(root), ann_file=ann_file, pipeline=LOAD, **options
    )


def write_coco(root, *names):
    images = [{'id': i, 'file_name': name} for i, name in enumerate(names)]
    (root / COCO).write_text(json.dumps({'images': images}))


def labels_of(dataset):
    return [
        sample['data_samples'].gt_sem_seg.data[0].numpy() for sample in dataset
    ]


def test_images_and_labels_equal_reference(root):
    dataset = DATASETS.build(
        {
            'type': 'NuImagesDataset',
            'data_root': str(root),
            'ann_file': COCO,
            'pipeline': LOAD,
        }
    )
    expected = reference.label_maps(root, MINI)
    assert len(dataset) == len(expected) == 4
    for index, (name, label) in enumerate(expected.items()):
        sample = dataset[index]
        assert sample['data_samples'].img_path == str(root / name)
        assert (sample['inputs'] == index).all()
        assert (labels_of([sample])[0] == label).all()
    assert dataset.metainfo['classes'] == tuple(reference.CLASSES)
    palette = dataset.metainfo['palette']
    assert len(palette) == 25
    # Of the development kit's color map.
    assert palette[16] == [255, 158, 0]
    assert palette[23] == [0, 207, 191]


def test_order_of_the_file(root):
    names = [f'samples/CAM_FRONT/{index}.jpg' for index in (2, 0, 3)]
    write_coco(root, *names)
    dataset = build(root)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(3)]
    assert paths == [str(root / name) for name in names]


def test_file_of_the_tutorial(root):
    """Ids from 0, keys that ours lacks, and instances of another form."""
    names = list(reference.label_maps(root, MINI))
    content = {
        'annotations': [{'id': 0, 'image_id': 0, 'bbox': None}],
        'categories': 'of no interest',
        'images': [
            {
                'id': index,
                'token': f'{index}',
                'file_name': name,
                'width': SHAPE[1],
                'height': SHAPE[0],
                'calibrated': {'deep': [[1], {}]},
            }
            for index, name in enumerate(names)
        ],
    }
    ours = build(root)
    (root / 'tutorial.json').write_text(json.dumps(content, indent=1))
    theirs = build(root, ann_file='tutorial.json')
    assert [theirs.get_data_info(i) for i in range(4)] == [
        ours.get_data_info(i) for i in range(4)
    ]


def test_mask_of_a_name_that_repeats_its_suffix(root):
    name = 'samples/CAM_FRONT/a.jpg.jpg'
    (root / 'samples/CAM_FRONT/0.jpg').rename(root / name)
    (root / MASKS / 'samples/CAM_FRONT/0.png').rename(
        root / MASKS / 'samples/CAM_FRONT/a.jpg.png'
    )
    write_coco(root, name)
    assert labels_of(build(root))[0].shape == SHAPE


def test_data_prefix(root):
    (root / 'photographs').mkdir()
    (root / 'samples').rename(root / 'photographs/samples')
    (root / MASKS).rename(root / 'masks')
    prefix = {'img_path': 'photographs', 'seg_map_path': str(root / 'masks')}
    expected = reference.label_maps(root, MINI)
    for label, truth in zip(
        labels_of(build(root, data_prefix=prefix)),
        expected.values(),
        strict=True,
    ):
        assert (label == truth).all()


def test_indices(root):
    dataset = build(root, indices=[2, 0])
    assert [sample['inputs'].max() for sample in dataset] == [2, 0]


def test_custom_classes(root):
    car, road = 'vehicle.car', 'flat.driveable_surface'
    dataset = build(root, metainfo={'classes': (road, car)})
    assert dataset.metainfo['palette'] == [[0, 207, 191], [255, 158, 0]]
    for old, new in zip(
        labels_of(build(root)), labels_of(dataset), strict=True
    ):
        expected = np.select([old == 23, old == 16], [0, 1], 255)
        assert (new == expected).all()


def test_unknown_custom_class(root):
    with pytest.raises(ValueError, match=r'vehicle\.cat'):
        build(root, metainfo={'classes': ('vehicle.cat',)})


def test_labels_that_are_left_out(root):
    sample = build(root, data_prefix={'img_path': ''})[0]
    assert 'gt_sem_seg' not in sample['data_samples']


def test_test_mode_without_masks(root):
    (root / MASKS).rename(root / 'away')
    samples = list(build(root, test_mode=True))
    assert len(samples) == 4
    assert all('gt_sem_seg' not in s['data_samples'] for s in samples)


def test_test_mode_with_masks(root):
    """A test split that has labels can be scored."""
    for one, other in zip(
        labels_of(build(root)),
        labels_of(build(root, test_mode=True)),
        strict=True,
    ):
        assert (one == other).all()


def test_missing_masks_ask_for_the_converter(root):
    (root / MASKS).rename(root / 'away')
    with pytest.raises(
        FileNotFoundError, match=r'0\.png .*mmseg-ext convert nuimages'
    ):
        build(root)


def test_missing_images(root):
    (root / 'samples').rename(root / 'away')
    with pytest.raises(FileNotFoundError, match=r'0\.jpg .*data_root='):
        build(root)


def test_a_later_missing_mask_is_named(root):
    (root / MASKS / 'samples/CAM_FRONT/3.png').unlink()
    dataset = build(root)
    with pytest.raises(FileNotFoundError, match=r'3\.png .*is missing'):
        dataset[3]


@pytest.mark.parametrize('ann_file', ['', 'nothing.json', 'annotations'])
def test_missing_file(root, ann_file):
    with pytest.raises(
        FileNotFoundError, match=r'ann_file .*mmseg-ext convert nuimages'
    ):
        build(root, ann_file=ann_file)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        pytest.param('', 'no COCO file', id='empty file'),
        pytest.param('{"images": [{"file_na', 'no COCO file', id='cut'),
        pytest.param('[]', 'no COCO file', id='list'),
        pytest.param('{"info": {}}', '`images`', id='no images'),
        pytest.param('{"images": []}', 'lists no images', id='none'),
        pytest.param(
            '{"images": [{"id": 1}]}',
            r'`file_name` - at `\$\.images\[',
            id='no name',
        ),
        pytest.param(
            '{"images": [{"file_name": ""}]}', 'length >= 1', id='empty name'
        ),
        pytest.param(
            '{"images": [{"file_name": 3}]}', 'Expected `str`', id='number'
        ),
        pytest.param(
            '{"images": [{"file_name": "../x.jpg"}]}',
            r"'\.\./x\.jpg' leaves its root",
            id='outside',
        ),
        pytest.param(
            '{"images": [{"file_name": "/x.jpg"}]}',
            'leaves its root',
            id='absolute',
        ),
        pytest.param(b'{"images": "\xff"}', 'no COCO file', id='not UTF-8'),
        pytest.param(
            '{"images": []}'.encode('utf-16'), 'as UTF-16', id='utf-16'
        ),
        pytest.param(
            '{"images": [{"file_name": "ß.jpg"}]}'.encode('cp1252'),
            'byte 0xdf in line 1',
            id='cp1252',
        ),
        pytest.param(
            '{"more": ' + '[' * 9000 + ']' * 9000 + '}',
            'nested too deep',
            id='nested',
        ),
    ],
)
def test_wrong_file(root, content, message):
    data = content if isinstance(content, bytes) else content.encode()
    (root / COCO).write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        build(root)
    assert COCO in str(error.value)


def test_paths_stay_inside_without_root(root, monkeypatch):
    monkeypatch.chdir(root)
    write_coco(root, '../x.jpg')
    with pytest.raises(ValueError, match='leaves its root'):
        NuImagesDataset(ann_file=COCO)


def test_mark_of_utf8_is_no_fault(root):
    expected = build(root).get_data_info(0)['img_path']
    path = root / COCO
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert build(root).get_data_info(0)['img_path'] == expected
