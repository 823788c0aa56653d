"""Predictions as annotations: what is written is what models say."""

import csv
import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from pycocotools.coco import COCO

from helpers.segmentors import META, build_upstream, write_segmentor
from mmseg_ext.formats.exports import format_of, formats
from mmseg_ext.formats.exports.export import Folder
from mmseg_ext.inference import predict_labels as module
from mmseg_ext.inference.predict_labels import predict_labels
from test_inference.test_crops import make_sample, rectangle, to_text_rle

BACKGROUND = {**META, 'classes': ('background', 'wall', 'road')}

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


def run(model, images, out, to, **options):
    config, weights = map(str, model)
    options = {'device': 'cpu', 'progress': False, **options}
    return predict_labels(config, weights, images, out, to, **options)


def photograph(path, seed, size=(60, 90)):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (*size, 3), np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 5)
    path.parent.mkdir(parents=True, exist_ok=True)
    soft = cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX)
    cv2.imwrite(str(path), soft)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A segmentor whose class 0 is the background."""
    config, weights = write_segmentor(tmp_path_factory.mktemp('tiny'))
    content = torch.load(weights)
    content['meta'] = {'dataset_meta': BACKGROUND}
    torch.save(content, weights)
    return config, weights


@pytest.fixture
def photographs(tmp_path):
    root = tmp_path / 'streets'
    for number, name in enumerate(('a b.png', 'far/c.png', 'far/d.png')):
        photograph(root / name, number, (60, 90 + 10 * number))
    return root


def upstream(model, path):
    """Return labels of MMSeg's own model, and how unsure it is of them."""
    config, weights = model
    cfg = Config.fromfile(config)
    cfg.model.type = 'EncoderDecoder'
    network = build_upstream(cfg)
    network.load_state_dict(torch.load(weights)['state_dict'])
    with DefaultScope.overwrite_default_scope('mmseg'):
        steps = cfg.test_dataloader.dataset.pipeline
        pipeline = Compose([s for s in steps if 'Annotations' not in s.type])
    batch = pseudo_collate([pipeline({'img_path': str(path)})])
    with torch.no_grad():
        [sample] = network.test_step(batch)
    logits = sample.seg_logits.data.double().numpy()
    shares = np.exp(logits - logits.max(0))
    shares = np.sort(shares / shares.sum(0), axis=0)
    unsure = 1 - (shares[-1] - shares[-2]).mean()
    return sample.pred_sem_seg.data[0].numpy(), unsure


def table_of(out):
    with open(out / 'uncertainty.csv', newline='') as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize('to', ['png', 'cvat'])
def test_label_maps_are_those_of_upstream(tiny, photographs, tmp_path, to):
    report = run(tiny, [photographs], tmp_path / 'out', to)
    assert (report.images, report.certain) == (3, 0)
    name = module.TARGETS[to]
    kind = format_of(formats()[name])
    export = kind.found(Folder.listed(tmp_path / 'out'))
    export = export.settled([export.tally(p) for p in export.pictures])
    assert export.classes.names == BACKGROUND['classes']
    found = {
        p.name.rpartition('/')[2]: export.label_map(p) for p in export.pictures
    }
    assert len(found) == 3
    for path in photographs.rglob('*.png'):
        expected, _ = upstream(tiny, path)
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(found[path.name], expected)


def test_the_least_certain_come_first(tiny, photographs, tmp_path):
    unsure = {
        path.relative_to(photographs).as_posix(): upstream(tiny, path)[1]
        for path in photographs.rglob('*.png')
    }
    order = sorted(unsure, key=lambda name: -unsure[name])
    run(tiny, [photographs], tmp_path / 'all', 'coco')
    rows = table_of(tmp_path / 'all')
    assert [row['image'] for row in rows] == order
    for row in rows:
        expected = unsure[row['image']]
        assert float(row['uncertainty']) == pytest.approx(expected, abs=1e-4)
    report = run(tiny, [photographs], tmp_path / 'two', 'coco', uncertain=2)
    assert (report.images, report.certain) == (2, 1)
    [file] = (tmp_path / 'two').rglob('*.json')
    names = [i['file_name'] for i in json.loads(file.read_text())['images']]
    assert names == order[:2]


def test_instances_of_a_segmentor(tiny, photographs, tmp_path):
    """Each connected part of 16 pixels or more, but for the background."""
    run(tiny, [photographs], tmp_path / 'out', 'coco')
    [file] = (tmp_path / 'out').rglob('*.json')
    coco = COCO(str(file))
    names = [coco.cats[key]['name'] for key in sorted(coco.cats)]
    assert names == ['wall', 'road']
    for image in coco.imgs.values():
        labels, _ = upstream(tiny, photographs / image['file_name'])
        for key, name in enumerate(names, 1):
            rows = coco.loadAnns(
                coco.getAnnIds(image['id'], coco.getCatIds(name))
            )
            drawn = sum((coco.annToMask(row) for row in rows), 0 * labels)
            parts, numbers = cv2.connectedComponents(
                np.uint8(labels == key), connectivity=8
            )
            areas = [(numbers == k).sum() for k in range(1, parts)]
            wanted = np.isin(
                numbers, [k for k, a in enumerate(areas, 1) if a >= 16]
            )
            np.testing.assert_array_equal(drawn, wanted)


class Detector:
    """Stands for MMDet's inferencer, which takes seconds to build."""

    def __init__(self, *samples):
        self.samples = iter(samples)
        self.model = self
        self.dataset_meta = {'classes': ('nail', 'hand')}

    def __call__(self, images, **options):
        return {'predictions': [next(self.samples)]}


@pytest.fixture
def two_hands(tmp_path, monkeypatch):
    root = tmp_path / 'hands'
    for name in ('a.png', 'b.png'):
        photograph(root / name, 0, (60, 80))
    sure = make_sample(rectangle(5, 5, 25, 20), scores=[0.99], labels=[1])
    unsure = make_sample(
        rectangle(10, 10, 30, 30),
        rectangle(20, 20, 50, 50),
        rectangle(60, 5, 70, 9),
        scores=[0.9, 0.6, 0.3],
        labels=[0, 1, 0],
        form=to_text_rle,
    )
    detector = Detector(sure, unsure)
    monkeypatch.setattr(module, 'load_detector', lambda *_: detector)
    monkeypatch.setattr(module, 'scope_of', lambda _: 'mmdet')
    monkeypatch.setattr(module, 'load_config', lambda _: None)
    return root


def test_instances_of_a_detector(two_hands, tmp_path):
    run(('c', 'w'), [two_hands], tmp_path / 'out', 'coco')
    rows = table_of(tmp_path / 'out')
    # By hand: (1-|2*0.9-1| + 1-|2*0.6-1| + 1-|2*0.3-1|) / 3.
    assert [tuple(row.values()) for row in rows] == [
        ('b.png', '0.5333', '2'),
        ('a.png', '0.0200', '1'),
    ]
    [file] = (tmp_path / 'out').rglob('*.json')
    coco = COCO(str(file))
    assert [c['name'] for c in coco.dataset['categories']] == ['nail', 'hand']
    [first, _] = coco.dataset['images']
    best, other = coco.loadAnns(coco.getAnnIds(first['id']))
    assert (best['category_id'], other['category_id']) == (1, 2)
    np.testing.assert_array_equal(
        coco.annToMask(best), rectangle(10, 10, 30, 30)
    )
    np.testing.assert_array_equal(
        coco.annToMask(other), rectangle(20, 20, 50, 50)
    )


def test_label_maps_of_a_detector(two_hands, tmp_path):
    """The background is a class, and higher scores lie on top."""
    run(('c', 'w'), [two_hands], tmp_path / 'out', 'png', score=0.2)
    expected = np.zeros((60, 80), np.uint8)
    expected[5:9, 60:70] = 1
    expected[20:50, 20:50] = 2
    expected[10:30, 10:30] = 1
    [path] = (tmp_path / 'out').rglob('masks/b.png')
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, expected)


def test_a_detector_without_masks(two_hands, tmp_path, monkeypatch):
    boxes = [make_sample(boxes=[[1, 2, 3, 4]], scores=[0.9])] * 2
    monkeypatch.setattr(module, 'load_detector', lambda *_: Detector(*boxes))
    report = run(('c', 'w'), [two_hands], tmp_path / 'out', 'labelme')
    assert report.images == 0
    for reason in report.unreadable.values():
        assert 'gives boxes but no masks' in reason


def test_what_cannot_be_read_is_told(tiny, photographs, tmp_path):
    (photographs / 'z.png').write_bytes(b'no image')
    report = run(tiny, [photographs], tmp_path / 'out', 'labelme')
    assert report.images == 3
    [(path, reason)] = report.unreadable.items()
    assert path.endswith('z.png')
    assert 'cannot be read as an image' in reason
    assert len(list((tmp_path / 'out').rglob('*.json'))) == 3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'to': 'voc'}, "to='voc': expected coco or labelme or cvat or png"),
        ({'score': 1.5}, 'score=1.5: expected a number from 0 to 1'),
        ({'uncertain': 0}, 'uncertain=0: expected 1 or more images'),
    ],
)
def test_bad_arguments(tiny, photographs, tmp_path, options, message):
    options = {'to': 'coco', **options}
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tiny, [photographs], tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


def test_no_two_images_get_one_file(tiny, photographs, tmp_path):
    photograph(photographs / 'far/c.jpg', 9)
    with pytest.raises(ValueError, match='same name but for the suffix'):
        run(tiny, [photographs], tmp_path / 'out', 'labelme')


def test_what_is_there_stays(tiny, photographs, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine.txt').write_text('x')
    with pytest.raises(ValueError, match='is not an empty folder'):
        run(tiny, [photographs], tmp_path / 'out', 'coco')
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['mine.txt']
