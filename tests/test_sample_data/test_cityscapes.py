import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from mmseg_ext.converters.cityscapes import convert
from mmseg_ext.labels.cityscapes import CITYSCAPES_LABELS
from mmseg_ext.sample_data.cityscapes import (
    CITYSCAPES_SHARES,
    cityscapes_instance_ids,
    cityscapes_name,
    write_cityscapes,
)
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS

SIZE = (192, 96)
SPLITS = {'train': range(24), 'val': range(24, 32), 'test': range(32, 40)}
LABELS = {label.name: label for label in CITYSCAPES_LABELS}
KINDS_OF_FILES = (
    'polygons.json',
    'instanceIds.png',
    'labelIds.png',
    'color.png',
)

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('cityscapes') / 'sample'
    counts = write_cityscapes(root, num=40, size=SIZE, progress=False)
    assert counts == {'train': 24, 'val': 8, 'test': 8}
    return root


class Frame:
    """The files of an image of train or val."""

    def __init__(self, root, split, place):
        self.name = name = cityscapes_name(split, place)
        truth = root / 'gtFine' / split
        self.index = SPLITS[split][place]
        self.scene = render_scene(SIZE, 0, self.index)
        self.image = Image.open(
            root / 'leftImg8bit' / split / f'{name}_leftImg8bit.png'
        )
        polygons, *images = (
            truth / f'{name}_gtFine_{kind}' for kind in KINDS_OF_FILES
        )
        self.file = json.loads(polygons.read_text())
        self.instances, self.labels, self.colors = map(Image.open, images)

    def draw(self, mode, value):
        """Draw the polygons naively, as the official tools do."""
        image = Image.new(mode, SIZE)
        draw, seen = ImageDraw.Draw(image), Counter()
        for item in self.file['objects']:
            name = item['label']
            group = name not in LABELS
            if group:
                assert name.endswith('group')
                name = name[: -len('group')]
            points = [tuple(point) for point in item['polygon']]
            draw.polygon(points, fill=value(LABELS[name], group, seen[name]))
            seen[name] += not group
        return np.asarray(image)


@pytest.fixture(scope='module')
def frames(root):
    """All images with labels."""
    return [
        Frame(root, split, place)
        for split in ('train', 'val')
        for place in range(len(SPLITS[split]))
    ]


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def test_layout_of_the_release(root):
    assert {path.name for path in root.iterdir()} == {'leftImg8bit', 'gtFine'}
    cities = {}
    for split, indices in SPLITS.items():
        images = [*(root / 'leftImg8bit' / split).glob('*/*_leftImg8bit.png')]
        assert len(images) == len(indices)
        cities[split] = {path.parent.name for path in images}
        for path in images:
            stem = path.name.removesuffix('_leftImg8bit.png')
            city, sequence, frame = stem.split('_')
            assert city == path.parent.name
            assert len(sequence) == len(frame) == 6
            truth = root / 'gtFine' / split / city
            for kind in KINDS_OF_FILES:
                found = (truth / f'{stem}_gtFine_{kind}').is_file()
                assert found == (split != 'test')
    assert sum(map(len, cities.values())) == len(set().union(*cities.values()))


def test_names():
    names = [cityscapes_name('val', place) for place in range(5)]
    assert names[0] == 'frankfurt/frankfurt_000000_000019'
    assert names[4] == 'lindau/lindau_000001_000019'


def test_files_hold_what_the_polygons_give(frames):
    def instance(label, group, number):
        numbered = label.has_instances and not group
        return label.id * 1000 + number if numbered else label.id

    for frame in frames:
        assert frame.instances.mode.startswith('I;16')
        assert frame.labels.mode == 'L'
        assert frame.image.size == SIZE
        size = frame.file['imgWidth'], frame.file['imgHeight']
        assert size == SIZE
        ids = np.asarray(frame.instances)
        assert (ids == frame.draw('I', instance)).all()
        truth = cityscapes_instance_ids(frame.scene, 0, frame.index)
        assert truth.dtype == np.uint16
        assert (ids == truth).all()
        labels = frame.draw('L', lambda label, *_: label.id)
        assert (np.asarray(frame.labels) == labels).all()
        colors = frame.draw('RGB', lambda label, *_: label.color)
        assert (np.asarray(frame.colors) == colors).all()
        picture = np.asarray(frame.image)[..., ::-1]
        assert (picture == frame.scene.image).all()


def test_converter_gives_the_masks_of_the_scenes(root, frames, tmp_path):
    convert(root, tmp_path)
    masks = {}
    for split in ('train', 'val'):
        path = tmp_path / f'instancesonly_filtered_gtFine_{split}.json'
        content = json.loads(path.read_text())
        names = {row['id']: row['file_name'] for row in content['images']}
        for row in content['annotations']:
            masks.setdefault(names[row['image_id']], []).append(row)
    for frame in frames:
        ids = cityscapes_instance_ids(frame.scene, 0, frame.index)
        for row in masks.pop(f'{frame.name}_leftImg8bit.png', []):
            mask = coco_mask.decode(row['segmentation']) > 0
            (value,) = np.unique(ids[mask])
            assert (mask == (ids == value)).all()
            assert row['iscrowd'] == (value < 1000)
    assert masks == {}


def test_has_what_is_easy_to_get_wrong(frames):
    ids = np.unique([np.asarray(frame.instances) for frame in frames])
    classes = {value // 1000 for value in ids[ids >= 1000].tolist()}
    assert classes == set(range(24, 34))
    assert set(ids[(ids >= 24) & (ids < 1000)].tolist()) >= {24, 26}
    assert set(ids[ids < 24].tolist()) >= {0, 1, 3, 7, 8, 11, 23}


def test_every_kind_has_labels():
    assert set(CITYSCAPES_SHARES) == set(KINDS)
    for shares in CITYSCAPES_SHARES.values():
        assert sum(shares.values()) == pytest.approx(1)
        for name in shares:
            assert name in LABELS or name.removesuffix('group') in LABELS


def test_same_arguments_same_bytes(tmp_path):
    options = {'num': 4, 'size': (64, 48), 'progress': False}
    write_cityscapes(tmp_path / 'a', **options)
    whole = contents(tmp_path / 'a')
    # As after a run that was stopped.
    for name in list(whole)[::2]:
        (tmp_path / 'a' / name).unlink()
    write_cityscapes(tmp_path / 'a', **options)
    assert contents(tmp_path / 'a') == whole
    write_cityscapes(tmp_path / 'b', seed=1, **options)
    assert contents(tmp_path / 'b') != whole


def test_other_data_is_refused(tmp_path):
    options = {'size': (64, 48), 'progress': False}
    write_cityscapes(tmp_path, num=4, **options)
    with pytest.raises(FileExistsError, match='exists with other content'):
        write_cityscapes(tmp_path, num=4, seed=1, **options)
    with pytest.raises(FileExistsError, match='not part of this'):
        write_cityscapes(tmp_path, num=3, **options)
    write_cityscapes(tmp_path, num=4, seed=1, overwrite=True, **options)
    folder = tmp_path / 'gtFine' / 'train' / 'bergen'
    folder.mkdir()
    with pytest.raises(FileExistsError, match='train holds bergen'):
        write_cityscapes(tmp_path, num=4, seed=1, **options)


def test_annotations_beside_it_are_kept(tmp_path):
    options = {'num': 3, 'size': (64, 48), 'progress': False}
    write_cityscapes(tmp_path, **options)
    convert(tmp_path)
    write_cityscapes(tmp_path, **options)
    assert len(list(Path(tmp_path, 'annotations').iterdir())) == 3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param({'num': 2}, 'num=2: expected', id='num'),
        pytest.param({'size': (16, 48)}, r'size=\(16, 48\): exp', id='size'),
        pytest.param({'seed': -1}, 'seed=-1: expected', id='seed'),
    ],
)
def test_wrong_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_cityscapes(tmp_path / 'new', **options)
    assert not (tmp_path / 'new').exists()
