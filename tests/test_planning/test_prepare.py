"""What configs read is what exports hold, whatever is written for it."""

import gc
import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmseg_ext.doctor.parts import ImageScan
from mmseg_ext.formats.exports.export import (
    Classes,
    Export,
    InvalidExportError,
    Masks,
    Picture,
)
from mmseg_ext.formats.exports.regions import Region, painted, regions_of_map
from mmseg_ext.planning.prepare import Written, prepare
from mmseg_ext.planning.splits import Splits
from mmseg_ext.planning.survey import Survey
from mmseg_ext.utils.files import find_files
from mmseg_ext.utils.scratch import LOCK

SIZE = (16, 12)
NAMES = ('background', 'road', 'pot hole')
PALETTE = ((0, 0, 0), (128, 64, 128), (255, 0, 1))


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    """Mmengine collects garbage with each data set: most of the time here."""
    monkeypatch.setattr(gc, 'collect', lambda *generation: 0)


class Stub(Export):
    """What no test of this file asks for."""

    @classmethod
    def found(cls, folder):
        raise NotImplementedError

    def tally(self, picture):
        raise NotImplementedError


@dataclass(frozen=True)
class InPlace(Stub):
    """Masks that a data set reads."""

    NAME: ClassVar[str] = 'in-place'

    def label_map(self, picture):
        raise AssertionError('nothing is to be drawn')

    def regions(self, picture):
        raise AssertionError('nothing is to be drawn')


@dataclass(frozen=True)
class Shapes(Stub):
    """Shapes, beside the files."""

    NAME: ClassVar[str] = 'shapes'
    shapes: dict = field(default_factory=dict)
    seconds: float = 0.0

    def label_map(self, picture):
        time.sleep(self.seconds)
        return painted(self.regions(picture), SIZE, 0)

    def regions(self, picture):
        shapes = self.shapes.get(picture.name, ())
        if isinstance(shapes, Exception):
            raise shapes
        return shapes


@dataclass(frozen=True)
class Arrays(Stub):
    """Label maps of any kind."""

    NAME: ClassVar[str] = 'arrays'
    arrays: dict = field(default_factory=dict)

    def label_map(self, picture):
        return self.arrays[picture.name]

    def regions(self, picture):
        return regions_of_map(self.arrays[picture.name], 0)


def surveyed(export, sizes=None):
    """Return the survey of an export that tests made."""
    sizes = sizes or {}
    images = [ImageScan(size=sizes.get(p.name, SIZE)) for p in export.pictures]
    shape = len(images), len(export.classes.names)
    return Survey(export, images, np.ones(shape, np.int64))


def split(count, val=1):
    """Return splits of so many pictures, the last for validation."""
    members = {'train': range(count - val), 'val': range(count - val, count)}
    return Splits(members, False, 'of the test')


def write(root, name, pixels):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def image(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)


def values(seed, among):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(among, np.uint8), (SIZE[1], SIZE[0]))


def pictures(pairs, root, among=(0, 1, 2, 255)):
    """Write images and masks; return the pictures."""
    for number, (name, label) in enumerate(pairs):
        write(root, name, image(number))
        write(root, label, values(number, among))
    return tuple(Picture(name, label) for name, label in pairs)


def make(kind, root, found, names=NAMES, background=0, masks=None, **more):
    return kind(
        root,
        found,
        Classes(names, PALETTE[: len(names)], background),
        ('made by the test',),
        masks,
        **more,
    )


def placed(value, out):
    """Return arguments with the paths of what was written."""
    if isinstance(value, dict):
        return {key: placed(inner, out) for key, inner in value.items()}
    return f'{out}/{value}' if isinstance(value, Written) else value


def built(prepared, root, out, scope='mmseg'):
    """Build the data sets of a config that says what was prepared."""
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': prepared.loader}]
    if scope == 'mmdet':
        pipeline[1].update(with_bbox=True, with_mask=True)
        pipeline.append({'type': 'PackDetInputs'})
    else:
        pipeline.append({'type': 'PackSegInputs'})
    text = "custom_imports = dict(imports=['mmseg_ext'])\n"
    for split, arguments in prepared.splits.items():
        dataset = {
            **prepared.dataset,
            **placed(arguments, out),
            'data_root': str(root),
            'pipeline': pipeline,
        }
        text += f'{split} = {dataset!r}\n'
    config = out.with_suffix('.py')
    config.write_text(text, encoding='utf-8')
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope(scope):
        return {split: DATASETS.build(cfg[split]) for split in prepared.splits}


def labels_of(dataset, root):
    """Return the loaded labels by the names of their images."""
    loaded = {}
    for sample in dataset:
        data = sample['data_samples']
        name = os.path.relpath(data.img_path, root)
        loaded[name] = data.gt_sem_seg.data[0].numpy()
    return loaded


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'data'


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'mine'


def run(export, out, splits=None, task='semantic', sizes=None, **options):
    return prepare(
        surveyed(export, sizes),
        splits or split(len(export.pictures)),
        task,
        out,
        progress=False,
        **options,
    )


PAIRS = [(f'images/{s}.jpg', f'masks/{s}.png') for s in ('a', 'b', 'c d')]


@pytest.mark.parametrize(
    ('label_map', 'among', 'said'),
    [
        pytest.param({}, (0, 1, 2, 255), None, id='none'),
        pytest.param({0: 0, 1: 1, 255: 255}, (0, 1, 2), None, id='same'),
        pytest.param({0: 0, 255: 1}, (0, 255), {0: 0, 255: 1}, id='black'),
        pytest.param({9: 2, 0: 255}, (0, 1, 9), {9: 2, 0: 255}, id='some'),
    ],
)
def test_index_masks_stay_where_they_are(root, out, label_map, among, said):
    found = pictures(PAIRS, root, among)
    prepared = run(make(InPlace, root, found, masks=Masks(label_map)), out)
    expected = {
        'type': 'FolderDataset',
        'metainfo': {
            'classes': NAMES,
            'palette': [list(color) for color in PALETTE],
        },
        'img_suffix': '.jpg',
        'seg_map_suffix': '.png',
    }
    if said:
        expected['label_map'] = said
    assert prepared.dataset == expected
    assert prepared.loader == 'LoadAnnotations'
    assert prepared.splits['val'] == {
        'data_prefix': {'img_path': 'images', 'seg_map_path': 'masks'},
        'ann_file': Written('val.txt'),
    }
    assert find_files(out) == ['train.txt', 'val.txt']
    assert (out / 'train.txt').read_bytes() == b'a\nb\n'
    sets = built(prepared, root, out)
    loaded = labels_of(sets['train'], root) | labels_of(sets['val'], root)
    assert list(loaded) == [name for name, _ in PAIRS]
    for number, (name, _) in enumerate(PAIRS):
        stored = values(number, among)
        mapped = [label_map.get(int(v), int(v)) for v in stored.ravel()]
        assert loaded[name].ravel().tolist() == mapped


def test_folders_of_splits_need_no_file(root, out):
    pairs = [
        (f'{where}/images/{stem}.png', f'{where}/masks/{stem}_L.png')
        for where, stem in (('train', 'a'), ('train', 'b'), ('val', 'c'))
    ]
    found = pictures(pairs, root)
    prepared = run(make(InPlace, root, found, masks=Masks({})), out)
    assert not out.exists()
    assert prepared.splits['train'] == {
        'data_prefix': {
            'img_path': 'train/images',
            'seg_map_path': 'train/masks',
        }
    }
    sets = built(prepared, root, out)
    assert [len(each) for each in sets.values()] == [2, 1]


@pytest.mark.parametrize('flat', [True, False])
def test_any_names(root, out, flat, mmlog):
    folders = ('', '') if flat else ('i/', 'l/')
    pairs = [
        (f'{folders[0]}img {k}.png', f'{folders[1]}mask {k}.png')
        for k in range(3)
    ]
    found = pictures(pairs, root)
    prepared = run(make(InPlace, root, found, masks=Masks({})), out)
    sets = built(prepared, root, out)
    loaded = labels_of(sets['train'], root) | labels_of(sets['val'], root)
    for number, (name, _) in enumerate(pairs):
        assert (loaded[name] == values(number, (0, 1, 2, 255))).all()
    assert 'not used' not in mmlog.text


def test_color_masks_stay_where_they_are(root, out):
    colors = {'void': (9, 9, 9), 'pot hole': (255, 0, 1), 'road': (7, 7, 7)}
    names = tuple(colors)
    rows = {}
    for number, (name, label) in enumerate(PAIRS):
        write(root, name, image(number))
        rows[name] = values(number, (0, 1, 2))
        table = np.array(list(colors.values()), np.uint8)
        write(root, label, table[rows[name]])
    found = tuple(Picture(*pair) for pair in PAIRS)
    export = make(InPlace, root, found, names[1:], None, Masks(colors=colors))
    prepared = run(export, out)
    assert prepared.loader == 'LoadColorMasks'
    assert prepared.dataset['type'] == 'ColorMaskDataset'
    assert list(prepared.dataset['class_dict'].items()) == [
        (name, list(color)) for name, color in colors.items()
    ]
    sets = built(prepared, root, out)
    assert sets['train'].metainfo['classes'] == ('pot hole', 'road')
    assert sets['train'].metainfo['palette'] == [[255, 0, 1], [7, 7, 7]]
    new = np.array([255, 0, 1])
    for name, label in labels_of(sets['train'], root).items():
        assert (label == new[rows[name]]).all()


def test_black_and_white_as_colors(root, out):
    """Values that may be indices as well."""
    colors = {'sky': (255, 255, 255), 'road': (0, 0, 0)}
    found = pictures(PAIRS, root, (0, 255))
    export = make(
        InPlace, root, found, ('sky', 'road'), None, Masks(colors=colors)
    )
    sets = built(run(export, out), root, out)
    for name, label in labels_of(sets['train'], root).items():
        stored = values([n for n, _ in PAIRS].index(name), (0, 255))
        assert (label == (stored == 0)).all()


@pytest.mark.parametrize(
    'change',
    [
        pytest.param(lambda i: i.convert('RGB'), id='three channels'),
        pytest.param(lambda i: i.point([0, 1, *range(2, 256)]), id='plain'),
        pytest.param(lambda i: i.convert('P'), id='palette'),
    ],
)
def test_masks_that_one_loader_alone_reads(root, out, change):
    found = pictures(PAIRS, root, (0, 1, 2))
    for _, label in PAIRS:
        change(Image.open(root / label)).save(root / label)
    prepared = run(make(InPlace, root, found, masks=Masks({})), out)
    stored = Image.open(root / PAIRS[0][1])
    fast = stored.mode == 'RGB'
    assert prepared.loader == 'Fast' * fast + 'LoadAnnotations'
    sets = built(prepared, root, out)
    first = labels_of(sets['train'], root)[PAIRS[0][0]]
    expected = np.array(stored)
    assert (first == (expected[..., 0] if fast else expected)).all()


SHAPES = {
    'a.jpg': [
        Region(1, [[2, 2, 12, 2, 12, 9, 2, 9]]),
        Region(2, [[4, 4, 8, 4, 8, 8], [0, 0, 2, 0, 2, 2]]),
    ],
    'below/Ümläut b.png': [Region(2, [[1, 1, 5, 1, 5, 5, 1, 5]], True)],
    'c.JPG': [],
    'd.tif': [Region(1, [[0, 0, 16, 0, 16, 12, 0, 12]])],
}


def shapes(root, more=None, **options):
    for number, name in enumerate(SHAPES):
        write(root, name, image(number))
    found = tuple(Picture(name) for name in SHAPES)
    return make(Shapes, root, found, shapes=SHAPES | (more or {}), **options)


def drawn(name):
    """Return the label map of a picture, polygon by polygon."""
    labels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for region in SHAPES[name]:
        for polygon in region.mask:
            [code] = coco_mask.frPyObjects([polygon], SIZE[1], SIZE[0])
            labels[coco_mask.decode(code) > 0] = region.category
    return labels


@pytest.mark.parametrize('nproc', [1, 2])
def test_shapes_are_drawn(root, out, nproc):
    export = shapes(root)
    (root / 'unused.jpg').write_bytes((root / 'a.jpg').read_bytes())
    before = {name: (root / name).read_bytes() for name in find_files(root)}
    prepared = run(export, out, split(4, 2), nproc=nproc)
    assert find_files(out) == [
        'labels/a.png',
        'labels/below/Ümläut b.png',
        'labels/c.png',
        'labels/d.png',
        'train.txt',
        'val.txt',
    ]
    assert prepared.dataset['type'] == 'FolderDataset'
    assert 'label_map' not in prepared.dataset
    assert prepared.loader == 'LoadAnnotations'
    assert prepared.splits['val'] == {
        'data_prefix': {
            'img_path': '',
            'seg_map_path': Written('labels'),
        },
        'ann_file': Written('val.txt'),
    }
    sets = built(prepared, root, out)
    loaded = labels_of(sets['train'], root) | labels_of(sets['val'], root)
    assert list(loaded) == list(SHAPES)
    for name, label in loaded.items():
        assert (label == drawn(name)).all()
    assert before == {
        name: (root / name).read_bytes() for name in find_files(root)
    }


def test_shapes_in_folders_of_splits(root, out):
    moved = {f'x/{"val" if n == "d.tif" else "train"}/{n}': n for n in SHAPES}
    for number, name in enumerate(moved):
        write(root, name, image(number))
    export = make(
        Shapes,
        root,
        tuple(Picture(name) for name in moved),
        shapes={name: SHAPES[old] for name, old in moved.items()},
    )
    prepared = run(export, out)
    assert prepared.splits['train'] == {
        'data_prefix': {
            'img_path': 'x/train',
            'seg_map_path': Written('labels/x/train'),
        }
    }
    loaded = labels_of(built(prepared, root, out)['train'], root)
    assert {name: label.tolist() for name, label in loaded.items()} == {
        name: drawn(old).tolist()
        for name, old in moved.items()
        if old != 'd.tif'
    }


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in find_files(folder)}


def test_a_run_goes_on(root, out, tmp_path):
    export = shapes(root)
    run(export, out)
    whole = files_of(out)
    (out / 'labels/c.png').unlink()
    (out / 'train.txt').unlink()
    for hidden in (LOCK, '.mmseg_ext-abcd.png'):
        (out / hidden).write_bytes(b'')
    run(export, out)
    assert files_of(out) == whole
    assert not list(out.glob('.*'))


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on(root, out, tmp_path, number):
    """In the same bytes, and nothing stays of the first."""
    slow = shapes(root, seconds=0.4)
    child = multiprocessing.get_context('fork').Process(
        target=run, args=(slow, out)
    )
    child.start()
    end = time.monotonic() + 60
    while not list(out.glob('labels/*.png')) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(child.pid, number)
    child.join()
    assert child.exitcode != 0
    assert not (out / 'train.txt').exists()
    there = len(list(out.rglob('labels/**/*.png')))
    assert 0 < there < 4
    run(shapes(root), out)
    other = tmp_path / 'other'
    run(shapes(root), other)
    assert files_of(out) == files_of(other)
    assert not list(out.glob('.*'))


def test_label_maps_that_are_there_whole_stay(root, out):
    export = shapes(root)
    run(export, out)
    whole = files_of(out)
    paths = sorted((out / 'labels').rglob('*.png'))
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    write(out, 'labels/d.png', np.zeros((SIZE[1] + 1, SIZE[0]), np.uint8))
    before = {path: path.stat().st_ino for path in paths}
    run(export, out)
    assert files_of(out) == whole
    new = {path for path in paths if path.stat().st_ino != before[path]}
    assert new == {paths[0], out / 'labels/d.png'}


def test_labels_of_another_size(root, out):
    export = shapes(root)
    message = r'data/c\.JPG: is of 16x12 pixels, its image .*c\.JPG has 12x16'
    with pytest.raises(InvalidExportError, match=message):
        run(export, out, sizes={'c.JPG': (12, 16)})
    assert not (out / 'train.txt').exists()


def test_values_that_are_no_class(root, out):
    found = pictures(PAIRS, root)
    arrays = {name: values(1, (0, 2, 255)) for name, _ in PAIRS}
    arrays[PAIRS[1][0]] = values(1, (0, 3, 254))
    export = make(Arrays, root, found, arrays=arrays)
    message = (
        r'masks/b\.png: holds the value\(s\) 3, 254: expected class indices 0 '
        'to 2, or 255'
    )
    with pytest.raises(InvalidExportError, match=message):
        run(export, out)


@pytest.mark.parametrize('task', ['semantic', 'instance'])
def test_a_broken_file_is_named(root, out, task):
    export = shapes(root, {'c.JPG': ValueError('the third shape is a cube')})
    message = r'^\S+data/c\.JPG: the third shape is a cube$'
    with pytest.raises(InvalidExportError, match=message):
        run(export, out, task=task, nproc=2)
    assert not (out / 'train.txt').exists()
    assert not (out / 'annotations').exists()


def test_images_without_labels_among_masks_are_drawn(root, out):
    """A format that allows that knows what they show."""
    found = pictures(PAIRS, root, (0, 1))
    arrays = {name: values(k, (0, 1)) for k, (name, _) in enumerate(PAIRS)}
    (root / PAIRS[0][1]).unlink()
    found = (found[0]._replace(labels=None), *found[1:])
    arrays[PAIRS[0][0]] = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    export = make(Arrays, root, found, masks=Masks({}), arrays=arrays)
    sets = built(run(export, out), root, out)
    for name, label in labels_of(sets['train'], root).items():
        assert (label == arrays[name]).all()


def test_names_that_no_list_can_have(root, out):
    pairs = [(f'i/{s}.jpg', f'l/{s}.png') for s in ('a', 'b\nc')]
    export = make(InPlace, root, pictures(pairs, root), masks=Masks({}))
    with pytest.raises(InvalidExportError, match='its name has a line break'):
        run(export, out)
    assert not out.exists()


def test_names_that_are_not_utf8(root, out):
    stem = os.fsdecode('é'.encode('latin-1'))
    pairs = [(f'i/{s}.jpg', f'l/{s}.png') for s in ('a', stem)]
    found = pictures(pairs, root)
    export = make(InPlace, root, found, masks=Masks({}))
    with pytest.raises(InvalidExportError, match='its name is not UTF-8'):
        run(export, out)
    assert not out.exists()


def test_the_data_folder_is_not_written_to(root):
    export = shapes(root)
    with pytest.raises(ValueError, match='stays as it is: choose another pl'):
        run(export, root / 'mine')
    assert not (root / 'mine').exists()


def test_instances_as_coco(root, out):
    code = coco_mask.encode(np.asfortranarray(drawn('d.tif')))
    more = {
        'a.jpg': [
            *SHAPES['a.jpg'],
            Region(1, [[3, 3, 4, 4], [20, 20, 30, 20, 30, 30]]),
            Region(2, [[1, 1, 2, 2]]),
        ],
        'd.tif': [
            Region(2, code),
            Region(1, coco_mask.encode(np.zeros((12, 16), np.uint8, 'F'))),
        ],
    }
    prepared = run(shapes(root, more), out, split(4, 2), 'instance')
    assert prepared.dataset == {
        'type': 'CocoDataset',
        'metainfo': {
            'classes': ('road', 'pot hole'),
            'palette': [(128, 64, 128), (255, 0, 1)],
        },
    }
    assert prepared.splits['val'] == {
        'ann_file': Written('annotations/val.json'),
        'data_prefix': {'img': ''},
    }
    assert find_files(out) == [
        'annotations/train.json',
        'annotations/val.json',
    ]
    assert prepared.objects.dropped == 3
    areas = [
        coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(r.mask, 12, 16)))
        for r in SHAPES['a.jpg']
    ]
    # A group counts as none.
    assert prepared.objects.sides == {
        'road': [pytest.approx(areas[0] ** 0.5)],
        'pot hole': [pytest.approx(areas[1] ** 0.5)],
    }
    assert prepared.objects.counts == {'road': 1, 'pot hole': 1}
    assert prepared.objects.most == 2
    found = {}
    for part in ('train', 'val'):
        coco = COCO(out / 'annotations' / f'{part}.json')
        assert coco.dataset['categories'] == [
            {'id': 1, 'name': 'road'},
            {'id': 2, 'name': 'pot hole'},
        ]
        for row in coco.dataset['images']:
            assert (row['width'], row['height']) == SIZE
            rows = coco.imgToAnns[row['id']]
            found[row['file_name']] = rows
            for each in rows:
                mask = coco.annToMask(each)
                assert each['area'] == mask.sum() > 0
                xs, ys = mask.any(0).nonzero()[0], mask.any(1).nonzero()[0]
                assert each['bbox'] == [
                    *(xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1)
                ]
    assert {name: len(rows) for name, rows in found.items()} == dict(
        zip(SHAPES, (2, 1, 0, 1), strict=True)
    )
    first = found['a.jpg']
    assert [row['category_id'] for row in first] == [1, 2]
    assert [row['segmentation'] for row in first] == [
        region.mask for region in SHAPES['a.jpg']
    ]
    assert found['below/Ümläut b.png'][0]['iscrowd'] == 1
    assert (coco.annToMask(found['d.tif'][0]) == drawn('d.tif')).all()


def test_mmdet_reads_the_instances(root, out):
    prepared = run(shapes(root), out, split(4, 2), 'instance')
    sets = built(prepared, root, out, 'mmdet')
    assert [len(each) for each in sets.values()] == [2, 2]
    sample = sets['train'][0]['data_samples']
    assert sample.img_path == str(root / 'a.jpg')
    truth = sample.gt_instances
    assert truth.labels.tolist() == [0, 1]
    for mask, region in zip(truth.masks.masks, SHAPES['a.jpg'], strict=True):
        codes = coco_mask.frPyObjects(region.mask, 12, 16)
        assert (mask == coco_mask.decode(coco_mask.merge(codes))).all()
    assert len(sets['train'][1]['data_samples'].ignored_instances) == 1
    assert len(sets['val'][0]['data_samples'].gt_instances) == 0
    assert sets['val'].metainfo['classes'] == ('road', 'pot hole')


@pytest.mark.parametrize('nproc', [1, 2])
def test_instances_of_label_maps(root, out, nproc):
    """Connected parts, whose masks are code; the same from any number."""
    found = pictures(PAIRS, root)
    arrays = {name: values(k, (0, 1, 2)) for k, (name, _) in enumerate(PAIRS)}
    export = make(Arrays, root, found, arrays=arrays)
    run(export, out, task='instance', nproc=nproc)
    coco = COCO(out / 'annotations/train.json')
    for row in coco.dataset['images']:
        labels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
        for each in coco.imgToAnns[row['id']]:
            mask = coco.annToMask(each)
            assert cv2.connectedComponents(mask)[0] == 2
            labels[mask > 0] = each['category_id']
        assert (labels == arrays[row['file_name']]).all()


def test_instances_again_in_the_same_bytes(root, out):
    run(shapes(root), out, task='instance')
    whole = files_of(out)
    (out / 'annotations/val.json').unlink()
    run(shapes(root), out, task='instance', nproc=2)
    assert files_of(out) == whole


def test_objects_of_no_background(root, out):
    """Where each class is a thing, the first has instances, too."""
    export = shapes(root, background=None)
    prepared = run(export, out, task='instance')
    assert prepared.dataset['metainfo']['classes'] == NAMES
    coco = json.loads((out / 'annotations/train.json').read_bytes())
    assert {row['category_id'] for row in coco['annotations']} == {2, 3}


@pytest.mark.parametrize(
    ('regions', 'message'),
    [
        pytest.param(
            [Region(0, [[1, 1, 5, 1, 5, 5]])],
            'a.jpg: has an instance of the class with index 0; expected 1, 2',
            id='background',
        ),
        pytest.param(
            [Region(3, [[1, 1, 5, 1, 5, 5]])], 'with index 3', id='no class'
        ),
        pytest.param(
            [Region(1, [[1, 1, 5, 1, 5, 5, 7]])],
            'a.jpg: a polygon of 7 numbers',
            id='odd',
        ),
        pytest.param(
            [Region(1, [[0, 0, 1e6, 0] * 9])],
            'a.jpg: a polygon with an outline of',
            id='long',
        ),
        pytest.param(
            [Region(1, coco_mask.encode(np.ones((16, 12), np.uint8, 'F')))],
            r'a.jpg: a mask of height x width \(16, 12\)',
            id='size',
        ),
    ],
)
def test_instances_that_are_not_right(root, out, regions, message):
    with pytest.raises(InvalidExportError, match=message):
        run(shapes(root, {'a.jpg': regions}), out, task='instance')
    assert not (out / 'annotations').exists()


def test_there_have_to_be_objects(root, out):
    none = {name: [] for name in SHAPES}
    with pytest.raises(ValueError, match='none of its 4 pictures shows one'):
        run(shapes(root, none), out, task='instance')
    with pytest.raises(ValueError, match='no picture of the split val shows'):
        run(shapes(root, {'d.tif': []}), out, task='instance')
    export = make(InPlace, root, pictures(PAIRS, root), ('background',))
    with pytest.raises(ValueError, match='one class is background'):
        run(export, out, task='instance')
    assert not out.exists()


def test_the_sides_of_many_objects_are_some(root, out, monkeypatch):
    monkeypatch.setattr('mmseg_ext.planning.prepare._MOST_SIDES', 4)
    squares = [
        Region(1, [[0, 0, side, 0, side, side, 0, side]])
        for side in range(1, 11)
    ]
    more = {'a.jpg': squares}
    prepared = run(shapes(root, more), out, task='instance')
    assert prepared.objects.sides['road'] == [1, 3, 6, 8]
    assert prepared.objects.counts == {'road': 10, 'pot hole': 0}
    assert prepared.objects.most == 10


@pytest.mark.parametrize('task', ['semantic', 'instance'])
def test_a_size_that_is_not_known(root, out, task):
    """It is the survey that tells of images; nothing is made up here."""
    export = shapes(root)
    found = surveyed(export)
    images = [ImageScan(), *found.images[1:]]
    found = Survey(export, images, found.pixels)
    with pytest.raises(InvalidExportError, match=r'a\.jpg: cannot be read'):
        prepare(found, split(4), task, out, progress=False)
