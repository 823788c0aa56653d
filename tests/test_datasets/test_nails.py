import json

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from mmseg_ext.datasets.nails import NailDataset
from mmseg_ext.labels.nails import NAILS

COCO = 'annotations/train.json'
LOAD = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'PackDetInputs'},
]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def coco_of(*names, category='nail'):
    """Two images; the first has a nail of 6x4 pixels at (3, 2)."""
    runs = [3 * 10 + 2, 4, *[6, 4] * 5]
    runs.append(200 - sum(runs))
    return {
        'images': [
            {'id': i, 'file_name': name, 'width': 20, 'height': 10}
            for i, name in enumerate(names, 1)
        ],
        'annotations': [
            {
                'id': 1,
                'image_id': 1,
                'category_id': 7,
                'bbox': [3, 2, 6, 4],
                'area': 24,
                'iscrowd': 0,
                'segmentation': {'size': [10, 20], 'counts': runs},
            }
        ],
        'categories': [
            {'id': 3, 'name': 'hand'},
            {'id': 7, 'name': category},
        ],
    }


@pytest.fixture
def root(tmp_path):
    names = ['images/a.png', 'images/b.png']
    for index, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((10, 20, 3), index, np.uint8))
    write(tmp_path, coco_of(*names))
    return tmp_path


def write(root, content):
    path = root / COCO
    path.parent.mkdir(exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def build(root, **options):
    return NailDataset(
        **{
            'data_root': str(root),
            'ann_file': COCO,
            'data_prefix': {'img': ''},
            'pipeline': LOAD,
            **options,
        }
    )


def test_images_and_instances(root):
    dataset = DATASETS.build(
        {
            'type': 'NailDataset',
            'data_root': str(root),
            'ann_file': COCO,
            'data_prefix': {'img': ''},
            'pipeline': LOAD,
        }
    )
    assert len(dataset) == 2
    assert dataset.metainfo['classes'] == ('nail',)
    assert dataset.metainfo['palette'] == [NAILS['nail']]
    first, second = (sample['data_samples'] for sample in dataset)
    assert first.img_path == str(root / 'images/a.png')
    found = first.gt_instances
    assert found.bboxes.tensor.tolist() == [[3, 2, 9, 6]]
    assert found.labels.tolist() == [0]
    expected = np.zeros((1, 10, 20))
    expected[0, 2:6, 3:9] = 1
    np.testing.assert_array_equal(found.masks.masks, expected)
    assert len(second.gt_instances) == 0
    assert (dataset[1]['inputs'] == 1).all()


def test_images_without_nails_can_be_left_out(root):
    dataset = build(root, filter_cfg={'filter_empty_gt': True})
    assert [sample['data_samples'].img_id for sample in dataset] == [1]


def test_a_category_of_another_name(root):
    write(root, coco_of('images/a.png', category='fingernail'))
    with pytest.raises(ValueError, match=r"no category 'nail'.*'fingernail'"):
        build(root)
    dataset = build(root, metainfo={'classes': ('fingernail',)})
    labels = dataset[0]['data_samples'].gt_instances.labels
    assert labels.tolist() == [0]


@pytest.mark.parametrize('ann_file', ['', 'nothing.json', 'annotations'])
def test_missing_file(root, ann_file):
    with pytest.raises(FileNotFoundError, match=r'ann_file .*convert nails'):
        build(root, ann_file=ann_file)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        pytest.param(b'', 'no COCO file', id='empty file'),
        pytest.param(b'{"images": [{"file_na', 'no COCO file', id='cut'),
        pytest.param(b'{"images": "\xff"}', 'no COCO file', id='not UTF-8'),
        pytest.param([], 'no COCO file', id='list'),
        pytest.param({'images': []}, '`categories`', id='no categories'),
        pytest.param(coco_of(), 'lists no images', id='no images'),
        pytest.param(
            coco_of('a.png', '../b.png'),
            r"'\.\./b\.png' leaves its root",
            id='outside',
        ),
        pytest.param(coco_of('/a.png'), 'leaves its root', id='absolute'),
    ],
)
def test_wrong_file(root, content, message):
    write(root, content)
    with pytest.raises(ValueError, match=message) as error:
        build(root)
    assert COCO in str(error.value)


def test_mark_of_utf8_is_no_fault(root):
    write(root, b'\xef\xbb\xbf' + (root / COCO).read_bytes())
    dataset = build(root)
    found = dataset[0]['data_samples'].gt_instances
    assert found.bboxes.tensor.tolist() == [[3, 2, 9, 6]]


@pytest.mark.parametrize(
    ('encoding', 'reason'),
    [('utf-16', 'encoded as UTF-16'), ('cp1252', 'byte 0xdf in line 1')],
)
def test_other_encodings(root, encoding, reason):
    content = json.dumps(coco_of('images/ß.png'), ensure_ascii=False)
    write(root, content.encode(encoding))
    with pytest.raises(ValueError, match=rf'ann_file .*train\.json.*{reason}'):
        build(root)


def far_polygon(points=4000):
    """Return one that kills the process if pycocotools gets to see it."""
    corners = np.random.default_rng(0).uniform(-1e5, 1e5, (points, 2))
    return [corners.ravel().tolist()]


@pytest.mark.parametrize(
    ('mask', 'reason'),
    [
        pytest.param(far_polygon(), 'an outline of', id='far'),
        pytest.param([[1, 2, 1e7, 3, 4, 5]], '1000000', id='farther'),
        pytest.param([[1, 2, 3, 4]], 'a polygon of 4 numbers', id='short'),
        pytest.param(
            {'size': [10, 20], 'counts': [5]}, 'cover 5 pixels', id='runs'
        ),
        pytest.param(
            {'size': [10, 20], 'counts': 'XT1'}, 'broken RLE', id='code'
        ),
        pytest.param(
            {'size': [20, 10], 'counts': [200]}, 'its image has', id='size'
        ),
        pytest.param(
            {'size': [10**9, 10**9], 'counts': [10**9]}, 'its image', id='huge'
        ),
    ],
)
def test_masks_are_checked_before_pycocotools_gets_them(root, mask, reason):
    content = coco_of('images/a.png', 'images/b.png')
    content['annotations'][0]['segmentation'] = mask
    write(root, content)
    named = rf'ann_file .*train\.json: image .*a\.png: .*{reason}'
    with pytest.raises(ValueError, match=named):
        build(root)


@pytest.mark.parametrize(
    ('more', 'reason'),
    [
        pytest.param('[' * 9000 + ']' * 9000, 'nested too deep', id='nested'),
        pytest.param('9' * 5000, 'out of range', id='digits'),
    ],
)
def test_what_json_cannot_hold(root, more, reason):
    text = (root / COCO).read_text()
    write(root, text.replace('{', '{"more": ' + more + ', ', 1).encode())
    with pytest.raises(ValueError, match=rf'train\.json.*{reason}'):
        build(root)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        pytest.param(
            lambda coco: coco['annotations'][0].pop('bbox'),
            'missing required field `bbox`',
            id='no box',
        ),
        pytest.param(
            lambda coco: coco['annotations'][0]['bbox'].pop(),
            'Expected `array` of length 4',
            id='box of three numbers',
        ),
        pytest.param(
            lambda coco: coco['annotations'][0].update(bbox=[1, 2, [3], 4]),
            'Expected `float`, got `array`',
            id='list in a box',
        ),
        pytest.param(
            lambda coco: coco['annotations'][0].pop('area'),
            'missing required field `area`',
            id='no area',
        ),
        pytest.param(
            lambda coco: coco['annotations'][0].pop('category_id'),
            'missing required field `category_id`',
            id='no category',
        ),
        pytest.param(
            lambda coco: coco['images'][1].pop('width'),
            'missing required field `width`',
            id='no width',
        ),
        pytest.param(
            lambda coco: coco['annotations'].append(coco['annotations'][0]),
            '2 annotations have 1 different values of id',
            id='twice the same id',
        ),
        pytest.param(
            lambda coco: coco['images'][1].update(id=1),
            '2 images have 1 different values of id',
            id='twice the same image',
        ),
    ],
)
def test_what_mmdet_asks_for_is_named(root, change, reason):
    coco = json.loads((root / COCO).read_text())
    change(coco)
    write(root, coco)
    with pytest.raises(
        ValueError, match=f'{COCO} is no COCO file: .*{reason}'
    ):
        NailDataset(COCO, data_root=str(root), pipeline=[])
