"""Predictions as annotations: what is written is what models say."""

import csv
import errno
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from PIL import ExifTags, Image
from pycocotools.coco import COCO

from helpers.segmentors import META, build_upstream, write_segmentor
from mmseg_ext.formats.exports import format_of, formats
from mmseg_ext.formats.exports.export import Folder
from mmseg_ext.formats.exports.regions import mask_of
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
    # Later ones are drawn over earlier ones.
    other, best = coco.loadAnns(coco.getAnnIds(first['id']))
    assert (best['score'], other['score']) == (0.9, 0.6)
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


def read_back(out, to):
    """Return what the format reads of what was written."""
    kind = format_of(formats()[module.TARGETS[to]])
    export = kind.found(Folder.listed(out))
    return export.settled([export.tally(p) for p in export.pictures])


@pytest.mark.parametrize('to', sorted(module.TARGETS))
def test_higher_scores_lie_on_top_in_each_format(two_hands, tmp_path, to):
    run(('c', 'w'), [two_hands], tmp_path / 'out', to)
    export = read_back(tmp_path / 'out', to)
    found = {Path(p.name).name: export.label_map(p) for p in export.pictures}
    expected = np.zeros((60, 80), np.uint8)
    expected[20:50, 20:50] = export.classes.names.index('hand')
    expected[10:30, 10:30] = export.classes.names.index('nail')
    if to == 'labelme':  # it lists no background, so that the rest is ignored
        expected[expected == 0] = 255
        expected[10:30, 10:30] = 0
    np.testing.assert_array_equal(found['b.png'], expected)


def test_instances_of_cvat_have_one_class_each(two_hands, tmp_path):
    """CVAT takes the class of an instance from the other file."""
    run(('c', 'w'), [two_hands], tmp_path / 'out', 'cvat')
    tree = tmp_path / 'out'
    labels, objects = (
        cv2.imread(str(tree / f'Segmentation{kind}/b.png'))
        for kind in ('Class', 'Object')
    )
    pairs = np.unique(np.dstack([objects, labels]).reshape(-1, 6), axis=0)
    assert len(pairs) == len({tuple(pair[:3]) for pair in pairs.tolist()}) == 3


def test_too_many_instances_for_cvat(two_hands, tmp_path, monkeypatch):
    crowd = make_sample(*[rectangle(5, 5, 9, 9)] * 255, scores=[0.9] * 255)
    one = make_sample(rectangle(5, 5, 9, 9), scores=[0.9])
    detector = Detector(crowd, one)
    monkeypatch.setattr(module, 'load_detector', lambda *_: detector)
    report = run(('c', 'w'), [two_hands], tmp_path / 'out', 'cvat')
    [reason] = report.unreadable.values()
    assert 'a.png: 255 instances, and masks of CVAT hold 254' in reason
    assert report.images == 1


@pytest.mark.parametrize('to', sorted(module.TARGETS))
def test_where_nothing_is_found(two_hands, tmp_path, monkeypatch, to):
    none = make_sample(rectangle(5, 5, 9, 9), scores=[0.2])
    monkeypatch.setattr(
        module, 'load_detector', lambda *_: Detector(none, none)
    )
    report = run(('c', 'w'), [two_hands], tmp_path / 'out', to)
    assert report.images == 2
    assert [row['objects'] for row in table_of(tmp_path / 'out')] == ['0', '0']
    if to == 'cvat':  # without it CVAT takes the background for an object
        path = tmp_path / 'out/SegmentationObject/a.png'
        assert not cv2.imread(str(path)).any()


def test_a_detector_without_masks(two_hands, tmp_path, monkeypatch):
    """It has none for any image, and stops at the first."""
    boxes = make_sample(boxes=[[1, 2, 3, 4]], scores=[0.9])
    monkeypatch.setattr(module, 'load_detector', lambda *_: Detector(boxes))
    with pytest.raises(ValueError, match='gives boxes but no masks'):
        run(('c', 'w'), [two_hands], tmp_path / 'out', 'labelme')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('to', ['labelme', 'cvat', 'coco'])
def test_instances_of_a_segmentor_are_read_again(
    tiny, photographs, tmp_path, to
):
    """All but specks, which CVAT's masks have, too."""
    run(tiny, [photographs], tmp_path / 'out', to)
    export = read_back(tmp_path / 'out', to)
    assert len(export.pictures) == 3
    for picture in export.pictures:
        [path] = photographs.rglob(Path(picture.name).name)
        wanted = upstream(tiny, path)[0].astype(np.uint8)
        for value in () if to == 'cvat' else (1, 2):
            mask = np.uint8(wanted == value)
            number, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
            for part in range(1, number):
                if stats[part, cv2.CC_STAT_AREA] < 16:
                    wanted[parts == part] = 0
        np.testing.assert_array_equal(export.label_map(picture), wanted)
        number = sum(
            mask_of(region, wanted.shape[::-1]).astype(int)
            for region in export.regions(picture)
        )
        if to != 'labelme':  # its own rule of drawing
            np.testing.assert_array_equal(number, wanted > 0)


@pytest.mark.parametrize('to', sorted(module.TARGETS))
def test_images_of_specks(tiny, tmp_path, to):
    """As small as no instance is."""
    photograph(tmp_path / 'in/one.png', 0, (1, 1))
    photograph(tmp_path / 'in/few.png', 0, (3, 5))
    report = run(tiny, [tmp_path / 'in'], tmp_path / 'out', to)
    assert (report.images, report.unreadable) == (2, {})
    assert [row['objects'] for row in table_of(tmp_path / 'out')] == ['0', '0']


def test_classes_of_cvat_are_instances(tiny, photographs, tmp_path):
    """Without a file of instances the background would be one of them."""
    run(tiny, [photographs], tmp_path / 'out', 'cvat')
    labels = cv2.imread(str(tmp_path / 'out/SegmentationClass/a b.png'))
    objects = cv2.imread(str(tmp_path / 'out/SegmentationObject/a b.png'))
    np.testing.assert_array_equal(objects.any(2), labels.any(2))
    assert len(np.unique(objects.reshape(-1, 3), axis=0)) == 3


def test_what_labelme_opens(tiny, photographs, tmp_path):
    run(tiny, [photographs], tmp_path / 'out', 'labelme')
    for path in (tmp_path / 'out').rglob('*.json'):
        content = json.loads(path.read_text())
        image = cv2.imread(str(path.parent / content['imagePath']))
        size = content.pop('imageHeight'), content.pop('imageWidth')
        assert size == image.shape[:2]
        shapes = content.pop('shapes')
        assert content == {
            'version': '5.4.1',
            'flags': {},
            'imagePath': f'{path.stem}.png',
            'imageData': None,
        }
        assert shapes
        for shape in shapes:
            assert {*shape} == {
                *('label', 'points', 'group_id', 'description'),
                *('shape_type', 'flags'),
            }
    listed = (tmp_path / 'out/labels.txt').read_text().split()
    assert listed == ['__ignore__', '_background_', 'wall', 'road']


def test_what_cvat_opens(tiny, photographs, tmp_path):
    """Its tree; each image by its path without suffix, in order."""
    run(tiny, [photographs], tmp_path / 'out', 'cvat')
    order = [row['image'] for row in table_of(tmp_path / 'out')]
    lines = (
        (tmp_path / 'out/ImageSets/Segmentation/default.txt')
        .read_text()
        .splitlines()
    )
    assert lines == [name.removesuffix('.png') for name in order]
    for stem in lines:
        for name in ('JPEGImages', 'SegmentationClass', 'SegmentationObject'):
            assert (tmp_path / f'out/{name}/{stem}.png').is_file()
    assert (tmp_path / 'out/labelmap.txt').read_text().splitlines() == [
        '# label:color_rgb:parts:actions',
        'background:0,0,0::',
        'wall:255,0,0::',
        'road:0,255,0::',
    ]


def test_numbered_names_sort_as_the_uncertainty(tiny, photographs, tmp_path):
    run(tiny, [photographs], tmp_path / 'plain', 'labelme')
    run(tiny, [photographs], tmp_path / 'out', 'labelme', numbered=True)
    plain, rows = table_of(tmp_path / 'plain'), table_of(tmp_path / 'out')
    names = [row['image'] for row in rows]
    assert names == [f'{k}_{row["image"]}' for k, row in enumerate(plain, 1)]
    images = [
        p.relative_to(tmp_path / 'out').as_posix()
        for p in (tmp_path / 'out').rglob('*.png')
    ]
    assert sorted(images) == names


@pytest.mark.parametrize('orientation', [3, 6])
def test_photographs_that_exif_turns(tiny, tmp_path, orientation):
    """Tools show them turned, and labels are those of what they show."""
    photograph(tmp_path / 'plain/a.png', 3)
    pixels = cv2.imread(str(tmp_path / 'plain/a.png'))
    back = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation]
    stored = Image.fromarray(cv2.rotate(pixels, back)[..., ::-1])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    (tmp_path / 'turned').mkdir()
    stored.save(tmp_path / 'turned/a.png', exif=exif)
    shapes = []
    for name in ('plain', 'turned'):
        run(tiny, [tmp_path / name], tmp_path / f'{name}-out', 'labelme')
        text = (tmp_path / f'{name}-out/a.json').read_text()
        shapes.append(json.loads(text))
    assert shapes[0]['imageWidth'] == 90
    assert shapes[0] == shapes[1]


def test_a_loader_that_does_not_turn(tmp_path):
    config, weights = write_segmentor(
        tmp_path / 'model',
        test_dataloader__dataset__pipeline=[
            dict(
                type='LoadImageFromFile',
                color_type='color_ignore_orientation',
            ),
            dict(type='PackSegInputs'),
        ],
    )
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new('RGB', (90, 60)).save(tmp_path / 'a.jpg', exif=exif)
    report = run(
        (config, weights), [tmp_path / 'a.jpg'], tmp_path / 'out', 'labelme'
    )
    [reason] = report.unreadable.values()
    assert '90x60 pixels' in reason
    assert 'tools show 60x90, such as by the EXIF orientation' in reason


def test_margin_of_a_model_with_one_channel(photographs, tmp_path):
    """Upstream gives the probability of the foreground, by hand here."""
    config, weights = write_segmentor(
        tmp_path / 'model',
        num_classes=2,
        model__decode_head__num_classes=2,
        model__decode_head__out_channels=1,
        model__decode_head__threshold=0.5,
        model__decode_head__loss_decode__use_sigmoid=True,
    )
    content = torch.load(weights)
    meta = {'classes': ('ground', 'road'), 'palette': [[0, 0, 0], [9, 9, 9]]}
    content['meta'] = {'dataset_meta': meta}
    torch.save(content, weights)
    path = photographs / 'a b.png'
    cfg = Config.fromfile(config)
    network = build_upstream(cfg)
    network.load_state_dict(content['state_dict'])
    pixels = torch.from_numpy(cv2.imread(str(path)).transpose(2, 0, 1))
    with torch.no_grad():
        data = {'inputs': [pixels], 'data_samples': None}
        inputs = network.data_preprocessor(data)['inputs']
        logits = network.encode_decode(
            inputs, [{'ori_shape': (60, 90), 'img_shape': (60, 90)}]
        )
    logits = logits[0, 0].double().numpy()
    share = 1 / (1 + np.exp(-logits))[:60, :90]
    unsure = 1 - np.abs(2 * share - 1).mean()
    run((config, weights), [path], tmp_path / 'out', 'png')
    [row] = table_of(tmp_path / 'out')
    assert float(row['uncertainty']) == pytest.approx(unsure, abs=1e-4)
    labels = cv2.imread(
        str(tmp_path / 'out/masks/a b.png'), cv2.IMREAD_UNCHANGED
    )
    np.testing.assert_array_equal(labels, share > 0.5)


def test_nothing_stays_of_a_disk_that_is_full(
    tiny, photographs, tmp_path, monkeypatch
):
    """Neither in the work, nor in the end; no image is to blame."""

    def full(path, *args, **options):
        raise OSError(errno.ENOSPC, 'No space left on device', str(path))

    for name in ('write_bytes', 'write_text'):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match='No space left'):
                run(tiny, [photographs], tmp_path / 'out', 'labelme')
        assert not (tmp_path / 'out').exists()


def test_names_of_classes_are_checked_before_the_work(
    tmp_path, photographs, monkeypatch
):
    config, weights = write_segmentor(tmp_path / 'model')
    content = torch.load(weights)
    names = {**META, 'classes': ('sky', 'wall:red', 'road')}
    content['meta'] = {'dataset_meta': names}
    torch.save(content, weights)
    monkeypatch.setattr(module.Segmentor, 'read', None)
    with pytest.raises(ValueError, match="cannot hold the name 'wall:red'"):
        run((config, weights), [photographs], tmp_path / 'out', 'cvat')
    assert not (tmp_path / 'out').exists()


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
    """COCO has one for all of them."""
    photograph(photographs / 'far/c.jpg', 9)
    with pytest.raises(ValueError, match='same name but for the suffix'):
        run(tiny, [photographs], tmp_path / 'out', 'labelme')
    report = run(tiny, [photographs], tmp_path / 'out', 'coco')
    assert report.images == 4
    assert (tmp_path / 'out/images/far/c.jpg').is_file()


def test_what_is_there_stays(tiny, photographs, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine.txt').write_text('x')
    with pytest.raises(ValueError, match='is not an empty folder'):
        run(tiny, [photographs], tmp_path / 'out', 'coco')
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['mine.txt']
