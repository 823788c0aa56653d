import importlib.util
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmseg_ext.labels.idd import IDD_LABELS
from mmseg_ext.sample_data import (
    KINDS,
    idd_label_map,
    idd_scene,
    idd_stem,
    write_idd,
)
from mmseg_ext.sample_data.idd import IDD_SHARES

ROOT = Path(__file__).parents[2]
SIZE, SMALL = (160, 120), (106, 80)
PARTS = {'IDD_Segmentation': '.png', 'idd20kII': '.jpg'}
LEVEL3 = {label.name: label.level3 for label in IDD_LABELS}
#: Everything that a file of part I says of a polygon.
FIELDS = {
    'label': str,
    'polygon': list,
    'deleted': int,
    'verified': int,
    'user': str,
    'date': str,
    'id': int,
    'draw': bool,
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('idd') / 'sample'
    counts = write_idd(root, num=40, size=SIZE, progress=False)
    assert counts == {'train': 24, 'val': 8, 'test': 8}
    return root


class Frame:
    """An image with its polygon file and its scene."""

    def __init__(self, root, index):
        self.index, self.split = index, 'train' if index < 24 else 'val'
        self.part = list(PARTS)[index % 2]
        sequence, name = idd_stem(index).split('_')
        folders = [
            root / self.part / kind / self.split / sequence
            for kind in ('leftImg8bit', 'gtFine')
        ]
        self.image = folders[0] / f'{name}_leftImg8bit{PARTS[self.part]}'
        self.labels = folders[1] / f'{name}_gtFine_labellevel3Ids.png'
        self.json = folders[1] / f'{name}_gtFine_polygons.json'
        self.file = json.loads(self.json.read_text())
        self.objects = self.file['objects']
        self.scene = idd_scene(SIZE, 0, index)
        self.truth = idd_label_map(self.scene, seed=0, index=index)

    @property
    def size(self):
        return int(self.file['imgWidth']), int(self.file['imgHeight'])

    def draw(self, objects, fill=255, move=float):
        """Draw a polygon file naively, as the official tool does."""
        image = Image.new('L', self.size, fill)
        draw = ImageDraw.Draw(image)
        for item in objects:
            name = item['label']
            if name not in LEVEL3 and name.endswith('group'):
                name = name[: -len('group')]
            points = [(move(x), move(y)) for x, y in item['polygon']]
            draw.polygon(points, fill=LEVEL3[name])
        return np.asarray(image)

    def drawn(self):
        return [
            row for row in self.objects if not (deleted(row) or short(row))
        ]


def deleted(row):
    return row.get('deleted', 0) != 0


def short(row):
    return len(row['polygon']) < 3


@pytest.fixture(scope='module')
def frames(root):
    """All images with polygon files."""
    return [Frame(root, index) for index in range(32)]


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def test_layout_of_the_release(root):
    assert sorted(path.name for path in root.iterdir()) == sorted(PARTS)
    for part, suffix in PARTS.items():
        for split, count in (('train', 12), ('val', 4), ('test', 4)):
            images = {
                str(path.relative_to(root / part / 'leftImg8bit'))
                for path in (root / part / 'leftImg8bit' / split).glob('*/*')
            }
            polygons = {
                str(path.relative_to(root / part / 'gtFine'))
                for path in (root / part / 'gtFine').glob(f'{split}/*/*.json')
            }
            end = f'_leftImg8bit{suffix}'
            assert len(images) == count
            assert all(name.endswith(end) for name in images)
            assert polygons == (
                set()
                if split == 'test'
                else {
                    name.replace(end, '_gtFine_polygons.json')
                    for name in images
                }
            )
    first = 'leftImg8bit/train/0'
    assert (root / f'IDD_Segmentation/{first}/024541_leftImg8bit.png').exists()
    assert (root / f'idd20kII/{first}/frame0029_leftImg8bit.jpg').exists()
    assert not list(root.glob('*/gtFine/test'))


def test_ids_repeat_but_not_in_a_sequence(root):
    for part in PARTS:
        for split in ('train', 'val'):
            found = list((root / part / 'gtFine' / split).glob('*/*.json'))
            assert len({path.name for path in found}) < len(found)
    stems = [idd_stem(index) for index in range(40)]
    assert stems[:5] == [
        '0_024541',
        '0_frame0029',
        '0_024781',
        '0_frame0299',
        '1_024541',
    ]
    assert len(set(stems)) == 40


def test_images_show_the_scene(root, frames):
    for frame in frames[::3]:
        with Image.open(frame.image) as image:
            assert image.format == (
                'PNG' if frame.part == 'IDD_Segmentation' else 'JPEG'
            )
        image = cv2.imread(str(frame.image)).astype(int)
        difference = np.abs(image - frame.scene.image).mean()
        assert difference == 0 if frame.index % 2 == 0 else difference < 7


def test_images_of_two_sizes(frames):
    for part in PARTS:
        for split in ('train', 'val'):
            sizes = set()
            for frame in frames:
                if (frame.part, frame.split) == (part, split):
                    with Image.open(frame.image) as image:
                        assert image.size == frame.size == frame.scene.size
                    sizes.add(frame.size)
            assert sizes == {SIZE, SMALL}


def test_fields_of_part_one(frames):
    for frame in frames[::2]:
        assert list(frame.file) == ['imgHeight', 'imgWidth', 'objects']
        assert type(frame.file['imgHeight']) is int
        assert [row['id'] for row in frame.objects] == list(
            range(len(frame.objects))
        )
        for row in frame.objects:
            assert {key: type(row[key]) for key in row} == FIELDS


def test_fields_of_part_two(frames):
    """Only what cannot be left out, and sizes with a decimal point."""
    for frame in frames[1::2]:
        assert type(frame.file['imgHeight']) is float
        for row in frame.objects:
            assert row.keys() - {'deleted'} == {'label', 'polygon'}
            assert row.get('deleted') in (None, 1)


def test_points_are_floats(frames):
    values = []
    for frame in frames:
        for row in frame.objects:
            assert row['polygon']
            for point in row['polygon']:
                assert len(point) == 2
                values += point
    assert all(type(value) is float for value in values)
    assert np.mean(np.array(values) % 1 != 0) > 0.99


def test_polygons_give_the_truth(frames):
    for frame in frames:
        assert frame.truth.dtype == np.uint8
        assert (frame.draw(frame.drawn()) == frame.truth).all()


def test_truth_is_that_of_the_scene(frames):
    """Pixels have a class of what they show, or lie on a license plate."""
    classes = {
        kind: [LEVEL3.get(name, -1) for name in shares]
        + [LEVEL3.get(name.removesuffix('group'), -1) for name in shares]
        for kind, shares in IDD_SHARES.items()
    }
    seen, others = Counter(), Counter()
    for frame in frames:
        for index, item in enumerate(frame.scene.objects):
            values = frame.truth[frame.scene.object_map == index]
            other = values[~np.isin(values, classes[item.kind])]
            assert (other == 255).all()
            seen[item.kind] += values.size
            others[item.kind] += other.size
    assert seen.keys() == set(KINDS)
    assert 0.005 < others['car'] / seen['car'] < 0.05
    # Where the sky is left out, nothing is drawn.
    assert 0.05 < others['sky'] / seen['sky'] < 0.3
    rest = sum(others.values()) - others['car'] - others['sky']
    assert rest < 0.001 * sum(seen.values())


def test_labels_by_hand():
    assert IDD_SHARES.keys() == set(KINDS)
    assert LEVEL3['car'] == 9
    assert set(IDD_SHARES['person']) == {'person', 'persongroup', 'animal'}
    assert LEVEL3['person'] == LEVEL3['animal'] == 4
    assert all(LEVEL3[name] == 255 for name in IDD_SHARES['ego'])
    for shares in IDD_SHARES.values():
        assert sum(shares.values()) == pytest.approx(1)


def test_all_labels_and_classes_occur(frames):
    drawn = {row['label'] for frame in frames for row in frame.drawn()}
    assert drawn >= set(LEVEL3)
    assert {'cargroup', 'persongroup', 'polegroup'} <= drawn
    classes = {value for frame in frames for value in np.unique(frame.truth)}
    assert classes == {*range(26), 255}


@pytest.mark.parametrize('split', ['train', 'val'])
def test_what_is_hard_occurs(frames, split):
    """A label maker that gets one of these wrong gets other pixels."""
    found = Counter()
    for frame in frames:
        if frame.split != split:
            continue
        rows, drawn = frame.objects, frame.drawn()
        width, height = frame.size
        others = {
            'deleted': [row for row in rows if not short(row)],
            'two points': [
                row
                for row in rows
                if not deleted(row) and len(row['polygon']) != 1
            ],
            'group': [row for row in drawn if row['label'] in LEVEL3],
            'void': [row for row in drawn if LEVEL3.get(row['label']) != 255],
            'order': drawn[::-1],
        }
        for name, chosen in others.items():
            found[name] += (frame.draw(chosen) != frame.truth).any()
        found['rounded'] += (
            frame.draw(drawn, move=round) != frame.truth
        ).any()
        found['floor'] += (
            frame.draw(drawn, move=np.floor) != frame.truth
        ).any()
        # Pillow refuses to draw it.
        found['one point'] += any(len(row['polygon']) == 1 for row in rows)
        found['fill'] += (frame.draw(drawn, fill=0) != frame.truth).any()
        points = np.concatenate([row['polygon'] for row in drawn])
        found['left'] += (points < 0).any()
        found['right'] += (points > (width, height)).any()
        found['shared zero'] += ((points < 0) & (points > -1)).any()
    assert all(count > 0 for count in found.values()), found
    assert len(found) == 12


def test_some_label_images_lie_beside_the_polygons(root, frames):
    beside = [frame for frame in frames if frame.labels.exists()]
    assert [frame.index for frame in beside] == [2, 10, 18, 26]
    assert len(list(root.rglob('*_gtFine_labellevel3Ids.png'))) == 4
    for frame in beside:
        assert frame.part == 'IDD_Segmentation'
        with Image.open(frame.labels) as image:
            assert image.mode == 'L'
            assert (np.asarray(image) == frame.truth).all()


def test_same_arguments_same_bytes(tmp_path):
    for name in ('a', 'b'):
        write_idd(tmp_path / name, num=6, size=(64, 48), progress=False)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    write_idd(tmp_path / 'c', num=6, size=(64, 48), seed=1, progress=False)
    first, other = contents(tmp_path / 'a'), contents(tmp_path / 'c')
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_image_does_not_depend_on_their_number(tmp_path):
    write_idd(tmp_path / 'few', num=4, size=(64, 48), progress=False)
    write_idd(tmp_path / 'many', num=8, size=(64, 48), progress=False)
    few, many = (
        {Path(name).parts[-2:]: data for name, data in found.items()}
        for found in map(contents, (tmp_path / 'few', tmp_path / 'many'))
    )
    assert len(few) == 4 + 3 + 1
    assert few.items() <= many.items()


def test_stopped_run_is_continued(tmp_path):
    options = {'num': 8, 'size': (64, 48), 'progress': False}
    write_idd(tmp_path, **options)
    whole = contents(tmp_path)
    image, polygons = (
        tmp_path / 'IDD_Segmentation' / name
        for name in (
            'leftImg8bit/train/0/024541_leftImg8bit.png',
            'gtFine/train/0/024781_gtFine_polygons.json',
        )
    )
    kept = image.stat().st_mtime_ns
    polygons.unlink()
    (
        tmp_path / 'idd20kII/leftImg8bit/val/1/frame0029_leftImg8bit.jpg'
    ).unlink()
    # What a killed run leaves of the file it was writing.
    (polygons.parent / '.024781_gtFine_polygons.x1.json').write_bytes(b'{')
    write_idd(tmp_path, **options)
    assert whole.items() <= contents(tmp_path).items()
    assert image.stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    'change',
    [
        pytest.param({'seed': 1}, id='seed'),
        pytest.param({'size': (48, 64)}, id='size'),
    ],
)
def test_other_content_is_kept_unless_allowed(tmp_path, change):
    options = {'num': 3, 'size': (64, 48), 'progress': False}
    write_idd(tmp_path, **options)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match='exists with other content'):
        write_idd(tmp_path, **{**options, **change})
    assert contents(tmp_path) == before
    write_idd(tmp_path, **{**options, **change}, overwrite=True)
    write_idd(tmp_path / 'new', **{**options, **change})
    after = contents(tmp_path / 'new')
    assert after.items() <= contents(tmp_path).items()


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        pytest.param(20, 8, id='fewer'),
        pytest.param(5, 3, id='split-goes'),
        pytest.param(8, 20, id='more'),
    ],
)
def test_other_number_is_refused(tmp_path, before, after):
    """Images would stand in two splits."""
    options = {'size': (32, 32), 'progress': False}
    write_idd(tmp_path, num=before, **options)
    files = contents(tmp_path)
    with pytest.raises(FileExistsError, match='not part of this sample set'):
        write_idd(tmp_path, num=after, **options, overwrite=True)
    assert contents(tmp_path) == files


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize(
    'name',
    [
        pytest.param('0/005506_leftImg8bit.png', id='image'),
        pytest.param('119/024541_leftImg8bit.png', id='sequence'),
    ],
)
def test_other_images_are_refused(tmp_path, name, overwrite):
    foreign = tmp_path / 'IDD_Segmentation' / 'leftImg8bit' / 'train' / name
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b'an image of the release')
    with pytest.raises(FileExistsError, match='not part of this sample set'):
        write_idd(tmp_path, num=3, size=(64, 48), overwrite=overwrite)
    assert len(contents(tmp_path)) == 1


def test_converted_set_does_not_disturb(tmp_path):
    options = {'num': 3, 'size': (64, 48), 'progress': False}
    write_idd(tmp_path, **options)
    (tmp_path / 'idd' / 'train_img').mkdir(parents=True)
    (tmp_path / 'idd' / 'train_img' / '0_024541.png').write_bytes(b'')
    write_idd(tmp_path, **options)


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        pytest.param({'num': 2}, 'num', id='too-few'),
        pytest.param({'size': (480, 0)}, 'size', id='no-height'),
        pytest.param({'seed': -3}, 'seed', id='negative-seed'),
    ],
)
def test_bad_argument_writes_nothing(tmp_path, arguments, name):
    with pytest.raises(ValueError, match=f'^{name}=.*: expected'):
        write_idd(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_smallest_size():
    assert idd_scene((40, 90), 0, 3).size == (40, 90)
    assert idd_scene((40, 90), 0, 4).size == (32, 60)


@pytest.mark.parametrize('num', [3, 8])
def test_splits_of_the_parts(tmp_path, num):
    write_idd(tmp_path, num=num, size=(32, 32), progress=False)
    found = {
        (path.parts[-5], path.parts[-3])
        for path in tmp_path.glob('*/leftImg8bit/*/*/*')
    }
    assert len(found) == (3 if num == 3 else 6)


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools' / 'make_sample_data.py'
    spec = importlib.util.spec_from_file_location('make_sample_data', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tool(tool, tmp_path, capsys):
    out = tmp_path / 'out'
    tool.main(['idd', str(out), '--num', '5', '--size', '64x48'])
    printed = capsys.readouterr().out
    assert f'{out}: train 3, val 1, test 1 images' in printed
    assert (
        f'\nnext: mmseg-ext convert idd {out}/IDD_Segmentation '
        f'{out}/idd20kII --out-dir {out}/idd  # '
    ) in printed
    write_idd(tmp_path / 'api', num=5, size=(64, 48), progress=False)
    assert contents(out) == contents(tmp_path / 'api')


def test_tool_defaults(tool):
    args = tool.build_parser().parse_args(['idd', 'out'])
    assert (args.size, args.num, args.seed) == ((480, 360), 40, 0)
