import json
import logging

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine import DefaultScope
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmseg_ext.evaluation.metrics.instance_record import InstanceRecord
from mmseg_ext.formats.run_records import (
    ANNOTATIONS,
    DETECTIONS,
    META,
    read_meta,
)

CLASSES = ('square', 'disc')
SIZE = (40, 60)

#: Ids of the images and categories of the file, in no order.
IMAGE_IDS = (30, 10, 20)
CATEGORIES = [
    dict(id=5, name='disc'),
    dict(id=9, name='other'),
    dict(id=2, name='square'),
]


def mask_of(box):
    x, y, w, h = box
    mask = np.zeros(SIZE, np.uint8)
    mask[y : y + h, x : x + w] = 1
    mask[y, x] = w * h == 1
    return mask


def write_labels(root):
    """Write the labels of three images: the last one has none."""
    rows = []
    for image_id, category_id, box, crowd in (
        (30, 2, (3, 4, 10, 12), 0),
        (30, 5, (20, 6, 30, 30), 0),
        (10, 9, (1, 1, 9, 9), 0),
        (10, 5, (30, 10, 15, 9), 0),
        (10, 5, (2, 20, 20, 18), 1),
    ):
        code = coco_mask.encode(np.asfortranarray(mask_of(box)))
        counts = code['counts'].decode()
        x, y, w, h = box
        polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        rows.append(
            dict(
                id=len(rows) + 100,
                image_id=image_id,
                category_id=category_id,
                bbox=list(box),
                area=float(coco_mask.area(code)),
                iscrowd=crowd,
                segmentation=polygon
                if len(rows) == 1
                else dict(size=list(SIZE), counts=counts),
            )
        )
    images = [
        dict(id=i, file_name=f'im/{i}.png', height=SIZE[0], width=SIZE[1])
        for i in sorted(IMAGE_IDS)
    ]
    path = root / 'labels.json'
    path.write_text(
        json.dumps(
            dict(images=images, annotations=rows, categories=CATEGORIES)
        )
    )
    return path


def make_samples(root, codes=False):
    """Find something in each image but the second one."""
    found = {
        30: [((4, 4, 10, 12), 1, 0.9), ((21, 5, 28, 29), 0, 0.7)],
        10: [],
        20: [((5, 5, 20, 20), 0, 0.3), ((30, 30, 1, 1), 1, 0.1)],
    }
    samples = []
    for image_id in IMAGE_IDS:
        rows = found[image_id]
        masks = np.array([mask_of(box) for box, _, _ in rows])
        masks = torch.tensor(masks.reshape(-1, *SIZE)).bool()
        boxes = np.array([box for box, _, _ in rows], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = {
            'bboxes': torch.tensor(boxes).float() + 0.125,
            'labels': torch.tensor([label for _, label, _ in rows]).long(),
            'scores': torch.tensor([score for _, _, score in rows]).float(),
            'masks': [
                coco_mask.encode(np.asfortranarray(each.numpy()))
                for each in masks.to(torch.uint8)
            ]
            if codes
            else masks,
        }
        samples.append(
            {
                'img_id': image_id,
                'img_path': str(root / 'im' / f'{image_id}.png'),
                'ori_shape': SIZE,
                'pred_instances': instances,
            }
        )
    return samples


def evaluate(metric, samples, batch=None):
    palette = [(1, 2, 3), (4, 5, 6)]
    metric.dataset_meta = {'classes': CLASSES, 'palette': palette}
    for sample in samples:
        metric.process(batch or {}, [sample])
    return metric.evaluate(len(samples))


def record(root, codes=False, **options):
    options = {'data_root': str(root), **options}
    metric = InstanceRecord(root / 'run', str(write_labels(root)), **options)
    assert evaluate(metric, make_samples(root, codes)) == {}
    return root / 'run'


@pytest.mark.parametrize('codes', [False, True], ids=['masks', 'codes'])
def test_pycocotools_scores_it_as_mmdet_does(tmp_path, codes):
    samples = make_samples(tmp_path, codes)
    labels = str(write_labels(tmp_path))
    metric = CocoMetric(ann_file=labels, metric=['bbox', 'segm'])
    expected = evaluate(metric, samples)

    folder = record(tmp_path, codes)
    truth = COCO(folder / ANNOTATIONS)
    found = truth.loadRes(str(folder / DETECTIONS))
    for kind in ('bbox', 'segm'):
        scores = COCOeval(truth, found, kind)
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
        names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
        for name, value in zip(names, scores.stats, strict=False):
            score = expected[f'coco/{kind}_{name}']
            assert round(value, 3) == score, (kind, name)
    assert expected['coco/bbox_mAP'] > 0.2


def test_files(tmp_path):
    folder = record(tmp_path)
    meta = read_meta(folder)
    assert (meta.task, meta.images) == ('instance', 3)
    # As the file has them, and so the detector.
    assert meta.classes == ('disc', 'square')
    assert meta.palette == ((4, 5, 6), (1, 2, 3))
    assert meta.data_root == str(tmp_path)
    labels = json.loads((folder / ANNOTATIONS).read_text())
    assert labels['images'] == [
        dict(
            id=index,
            file_name=f'im/{key}.png',
            height=40,
            width=60,
            path=str(tmp_path / 'im' / f'{key}.png'),
        )
        for index, key in enumerate(IMAGE_IDS, 1)
    ]
    assert labels['categories'] == [
        dict(id=1, name='disc'),
        dict(id=2, name='square'),
    ]
    given = json.loads((tmp_path / 'labels.json').read_text())['annotations']
    for row, place, image_id, category_id in (
        (0, 0, 1, 2),
        (1, 1, 1, 1),
        (2, 3, 2, 1),
        (3, 4, 2, 1),
    ):
        own = dict(id=row + 1, image_id=image_id, category_id=category_id)
        assert labels['annotations'][row] == given[place] | own
    assert len(labels['annotations']) == 4
    found = json.loads((folder / DETECTIONS).read_text())
    assert [each['image_id'] for each in found] == [1, 1, 3, 3]
    assert found[1]['category_id'] == 1
    assert found[1]['bbox'] == [21.125, 5.125, 28, 29]
    assert found[1]['score'] == float(np.float32(0.7))
    mask = coco_mask.decode(found[1]['segmentation'])
    assert np.array_equal(mask, mask_of((21, 5, 28, 29)))


def test_boxes_alone_and_brightness(tmp_path):
    samples = make_samples(tmp_path)
    for sample in samples:
        del sample['pred_instances']['masks']
    metric = InstanceRecord(tmp_path / 'run', str(write_labels(tmp_path)))
    batch = {'inputs': [torch.full((3, 5, 5), 9, dtype=torch.uint8)]}
    evaluate(metric, samples, batch)
    found = json.loads((tmp_path / 'run' / DETECTIONS).read_text())
    assert {key for row in found for key in row} == {
        *('image_id', 'category_id', 'bbox', 'score')
    }
    labels = json.loads((tmp_path / 'run' / ANNOTATIONS).read_text())
    assert [image['brightness'] for image in labels['images']] == [9] * 3
    # Their common folder.
    assert labels['images'][0]['file_name'] == '30.png'


def test_no_labels_and_nothing_found(tmp_path):
    path = write_labels(tmp_path)
    text = json.loads(path.read_text())
    path.write_text(json.dumps(text | {'annotations': []}))
    (sample,) = make_samples(tmp_path)[1:2]
    evaluate(InstanceRecord(tmp_path / 'run', str(path)), [sample])
    labels = json.loads((tmp_path / 'run' / ANNOTATIONS).read_text())
    assert labels['annotations'] == []
    assert json.loads((tmp_path / 'run' / DETECTIONS).read_text()) == []


def test_broken_labels(tmp_path, mmlog):
    path = tmp_path / 'labels.json'
    for text, message in (
        ('{"images": [', 'is no COCO file'),
        ('{"images": []}', 'is no COCO file'),
        (None, 'labels.json'),
    ):
        path.unlink(missing_ok=True)
        if text:
            path.write_text(text)
        samples = make_samples(tmp_path)
        with pytest.raises((ValueError, OSError), match=message):
            evaluate(InstanceRecord(tmp_path / 'run', str(path)), samples)
        metric = InstanceRecord(tmp_path / 'run', str(path), strict=False)
        assert evaluate(metric, samples) == {}
        line = mmlog.records[-1]
        assert line.levelno == logging.WARNING
        assert message in line.getMessage()
        assert not (tmp_path / 'run' / META).exists()


def test_registration():
    cfg = {'type': 'EvaluationRecord', 'out_dir': 'x', 'ann_file': 'y.json'}
    # As in the runs of MMDet, whatever runs were before.
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert isinstance(METRICS.build(cfg), InstanceRecord)
    with pytest.raises(ValueError, match='ann_file=None: expected the COCO'):
        InstanceRecord('x', None)
