import json

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset

from mmseg_ext.launch.data_sets import category_fault, labels_of_config

CAMVID = 'fpn_lite0_1xb4-400_sample-192x256'
NAILS = 'mask-rcnn_lite0_fpn_1xb2-800_nail-320'


def write_camvid(root):
    for folder in ('train', 'train_labels'):
        (root / folder).mkdir(parents=True)
    image = np.full((4, 6, 3), 50, np.uint8)
    cv2.imwrite(str(root / 'train/a.png'), image)
    # Sky, road and void in the colors of the release, BGR.
    image[:2], image[2], image[3] = (128,) * 3, (128, 64, 128), (0, 0, 0)
    cv2.imwrite(str(root / 'train_labels/a_L.png'), image)
    (root / 'class_dict.csv').write_text(
        'name,r,g,b\nSky,128,128,128\nRoad,128,64,128\nVoid,0,0,0\n'
    )


def test_label_maps_are_those_of_the_data_set(tmp_path):
    """Before crops and flips, and once, however often wrappers repeat them."""
    write_camvid(tmp_path)
    dataset = {
        'type': 'CamVid',
        'grouping': 'camvid11',
        'data_root': str(tmp_path),
        'data_prefix': {'img_path': 'train', 'seg_map_path': 'train_labels'},
        'pipeline': [
            {'type': 'LoadImageFromFile'},
            {'type': 'LoadColorMasks'},
            {'type': 'RandomCrop', 'crop_size': (2, 2)},
            {'type': 'PackSegInputs'},
        ],
    }
    repeated = {'type': 'RepeatDataset', 'times': 3, 'dataset': dataset}
    options = {'train_dataloader.dataset': repeated | {'_delete_': True}}
    found = labels_of_config(CAMVID, cfg_options=options)
    assert found.name == f'{CAMVID}_train'
    sky, road = map(found.names.index, ('Sky', 'Road'))
    assert list(found.palette[sky]) == [128, 128, 128]
    assert found.ignored == [255]
    # Where the next run looks for images, so that no sheets go there.
    assert {*found.folders} == {tmp_path / 'train', tmp_path / 'train_labels'}
    [image] = found.images
    assert image.image == tmp_path / 'train/a.png'
    label, _ = image.read_label()
    expected = [[sky] * 6] * 2 + [[road] * 6, [255] * 6]
    assert label.tolist() == expected


def write_coco(tmp_path):
    (tmp_path / 'annotations').mkdir()
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((40, 60, 3), np.uint8))
    polygon = [10, 10, 30, 10, 30, 30, 10, 30]
    box = {'id': 1, 'image_id': 5, 'category_id': 1, 'bbox': [10, 10, 20, 20]}
    box |= {'area': 400, 'iscrowd': 0, 'segmentation': [polygon]}
    coco = {
        'images': [{'id': 5, 'file_name': 'a.png', 'width': 60, 'height': 40}],
        'annotations': [box],
        'categories': [{'id': 1, 'name': 'nail'}],
    }
    path = tmp_path / 'annotations/train.json'
    path.write_text(json.dumps(coco))
    return polygon


def test_instances(tmp_path, capsys):
    polygon = write_coco(tmp_path)
    found = labels_of_config(
        NAILS,
        cfg_options={'train_dataloader.dataset.data_root': str(tmp_path)},
    )
    # What pycocotools prints is no name of a sheet, nor any news.
    assert capsys.readouterr() == ('', '')
    assert found.paths == [tmp_path / 'a.png']
    [image], [instance] = found.coco.images, found.coco.annotations
    assert (image.width, image.height) == (60, 40)
    assert [c.name for c in found.coco.categories] == ['nail']
    assert instance.image_id == image.id
    assert instance.category_id == found.coco.categories[0].id
    assert instance.bbox == [10, 10, 20, 20]
    assert instance.segmentation == [polygon]


def test_unknown_split():
    with pytest.raises(ValueError, match=r"^split='all': expected train, val"):
        labels_of_config(CAMVID, 'all')


def test_classes_that_a_coco_file_does_not_have(tmp_path):
    write_coco(tmp_path)
    key = 'train_dataloader.dataset'
    options = {
        f'{key}.data_root': str(tmp_path),
        f'{key}.type': 'CocoDataset',
        f'{key}.metainfo': {'classes': ('nose', 'ear')},
    }
    with pytest.raises(ValueError, match=f'^{key} is empty: ') as caught:
        labels_of_config(NAILS, cfg_options=options)
    assert (
        str(caught.value)
        .partition('; ')[2]
        .startswith(
            f"{tmp_path}/annotations/train.json has no category 'nose', 'ear'"
        )
    )


@pytest.mark.parametrize(
    ('classes', 'fault'),
    [
        (('disc', 'square'), None),
        (('square',), None),
        ('disc', None),
        (
            ('disc', 'Square', 'ring'),
            "has no category 'Square', 'ring', of the classes of the config "
            "('disc', 'Square', 'ring'), but 'disc', 'square': give metainfo",
        ),
        (
            ('square', 'disc'),
            "has the categories 'disc', 'square' in this order, in which "
            "MMDet numbers them, and the config has the classes 'square', ",
        ),
    ],
)
def test_classes_and_categories(tmp_path, classes, fault):
    path = tmp_path / 'boxes.json'
    kinds = [dict(id=7, name='disc'), dict(id=3, name='square')]
    boxes = [
        dict(id=kind['id'], image_id=1, category_id=kind['id'], iscrowd=0)
        | dict(bbox=[0, 0, 9, 9], area=81)
        for kind in kinds
    ]
    image = dict(id=1, file_name='a.png', width=9, height=9)
    path.write_text(
        json.dumps(dict(images=[image], annotations=boxes, categories=kinds))
    )
    dataset = CocoDataset(
        ann_file=str(path),
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
    )
    found = category_fault(dataset)
    if fault is None:
        assert found is None
    else:
        assert found.text.startswith(f'{path} {fault}')
        assert found.lacking == ('no category' in fault)
    # What MMDet makes of them: the first of the file that is a class is 0.
    instances = dataset.get_data_info(0)['instances']
    labels = [instance['bbox_label'] for instance in instances]
    assert labels == list(range(len(labels)))
