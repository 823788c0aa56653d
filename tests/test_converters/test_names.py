"""Names of files and links, for all converters that walk folders."""

import json
import os
import unicodedata
from functools import partial

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from mmseg_ext.converters import camvid, cityscapes, idd, labelme, nails
from mmseg_ext.datasets import CamVid
from mmseg_ext.utils.files import MAX_NAME

SIZE = (40, 30)
NOT_UTF8 = os.fsdecode('中文'.encode('gbk'))
COMPOSED = 'caf\u00e9'
APART = unicodedata.normalize('NFD', COMPOSED)

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


def photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', SIZE, (90, 90, 90)).save(path)


def save(path, value, dtype=np.uint8):
    """Write a mask with a box of a value."""
    mask = np.zeros((*SIZE[::-1], *np.shape(value)), dtype)
    mask[10:20, 10:20] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


class Nails:
    convert = staticmethod(nails.convert)

    @staticmethod
    def add(root, split, name, other=None):
        # Folders for splits would have to be on all images.
        photograph(root / f'images/{name}.png')
        save(root / f'masks/{other or name}.png', 255)

    @staticmethod
    def found(out):
        rows = [
            row
            for split in ('train', 'valid')
            for row in json.loads((out / f'{split}.json').read_text())[
                'images'
            ]
        ]
        return sorted(row['file_name'] for row in rows)

    listed = 'images/{}.png'.format


class Idd:
    @staticmethod
    def convert(root, out, **options):
        return idd.convert([root], out, **options)

    @staticmethod
    def add(root, split, name, other=None):
        polygon = [[1, 1], [9, 1], [9, 9]]
        objects = [{'label': 'road', 'polygon': polygon, 'deleted': 0}]
        photograph(root / f'leftImg8bit/{split}/1/{name}_leftImg8bit.png')
        write(
            root / f'gtFine/{split}/1/{other or name}_gtFine_polygons.json',
            {'imgWidth': SIZE[0], 'imgHeight': SIZE[1], 'objects': objects},
        )

    @staticmethod
    def found(out):
        folders = [out / f'{split}_img' for split in ('train', 'val')]
        return sorted(name for path in folders for name in os.listdir(path))

    listed = '1_{}.png'.format


class Cityscapes:
    convert = staticmethod(cityscapes.convert)

    @staticmethod
    def add(root, split, name, other=None):
        photograph(root / f'leftImg8bit/{split}/x/{name}_leftImg8bit.png')
        save(
            root / f'gtFine/{split}/x/{other or name}_gtFine_instanceIds.png',
            26001,
            np.uint16,
        )

    @staticmethod
    def found(out):
        rows = [
            row
            for path in out.glob('instancesonly*.json')
            for row in json.loads(path.read_text())['images']
        ]
        return sorted(row['file_name'] for row in rows)

    listed = 'x/{}_leftImg8bit.png'.format


class Labelme:
    convert = staticmethod(labelme.convert)

    @staticmethod
    def add(root, split, name, other=None):
        photograph(root / f'{name}.png')
        points = [[1, 1], [9, 1], [9, 9]]
        shape = {'label': 'a', 'points': points, 'shape_type': 'polygon'}
        is_text = name.isprintable()
        write(
            root / f'{other or name}.json',
            {
                'imagePath': f'{other or name}.png' if is_text else 'x.png',
                'imageWidth': SIZE[0],
                'imageHeight': SIZE[1],
                'shapes': [shape],
            },
        )

    @staticmethod
    def found(out):
        return sorted(os.listdir(out / 'images'))

    listed = '{}.png'.format


KINDS = [Nails, Idd, Cityscapes, Labelme]
kinds = pytest.mark.parametrize('kind', KINDS)


def fill(kind, root):
    """Write an image for each split."""
    for name, split in (('a', 'train'), ('b', 'val')):
        kind.add(root, split, name)


GBK = NOT_UTF8, r'\xd6\xd0\xce\xc4', 'not UTF-8'
LINES = 'a\nb', r'a\nb', 'a line break'


@pytest.mark.parametrize(
    ('kind', 'name', 'shown', 'reason'),
    [
        *(
            pytest.param(kind, *GBK, id=f'{kind.__name__}-GBK')
            for kind in KINDS
        ),
        pytest.param(Idd, *LINES, id='Idd-line break'),
        pytest.param(Labelme, *LINES, id='Labelme-line break'),
    ],
)
def test_names_that_no_result_can_hold(tmp_path, kind, name, shown, reason):
    root, out = tmp_path / 'in', tmp_path / 'out'
    fill(kind, root)
    kind.add(root, 'train', name)
    run = partial(kind.convert, root, out, progress=False)
    with pytest.raises(ValueError, match=f'its name .*{reason}') as error:
        run()
    message = str(error.value)
    assert message.startswith(f'{root}/')
    assert f'{shown}' in message.partition(': its name')[0]
    message.encode()
    assert not out.exists()
    report = run(skip_invalid=True)
    assert kind.found(out) == [kind.listed('a'), kind.listed('b')]
    listed = json.loads((out / 'skipped.json').read_text())
    assert len(listed) == len(report.skipped) >= 1
    assert all(shown in row['file'] for row in listed)
    str(report).encode()


@kinds
def test_folders_of_any_name(tmp_path, kind):
    """Results name files relative to them."""
    root, out = tmp_path / NOT_UTF8 / 'a\nb', tmp_path / f'out{NOT_UTF8}'
    fill(kind, root)
    kind.convert(root, out, progress=False)
    assert kind.found(out) == [kind.listed('a'), kind.listed('b')]


@pytest.mark.parametrize('kind', [Nails, Cityscapes])
def test_names_with_line_breaks(tmp_path, kind):
    root, out = tmp_path / 'in', tmp_path / 'out'
    fill(kind, root)
    kind.add(root, 'train', 'a\nb')
    kind.convert(root, out, progress=False)
    assert kind.listed('a\nb') in kind.found(out)


@kinds
def test_the_longest_names(tmp_path, kind):
    root, out = tmp_path / 'in', tmp_path / 'out'
    fill(kind, root)
    ending = max(map(len, ('_gtFine_instanceIds.png', '_leftImg8bit.png')))
    # IDD puts the folder before the name.
    name = 'é' * ((MAX_NAME - ending - 2) // 2)
    kind.add(root, 'train', name)
    kind.convert(root, out, progress=False)
    assert kind.listed(name) in kind.found(out)


def test_names_that_become_too_long(tmp_path):
    """IDD's are sequence and name in one."""
    root, out = tmp_path / 'in', tmp_path / 'out'
    fill(Idd, root)
    folder = root / 'gtFine/train/1'
    folder.rename(folder.with_name('s' * MAX_NAME))
    folder = root / 'leftImg8bit/train/1'
    folder.rename(folder.with_name('s' * MAX_NAME))
    message = r'/a_leftImg8bit\.png: its result would have a name of 261 bytes'
    with pytest.raises(ValueError, match=message):
        Idd.convert(root, out, progress=False)
    Idd.add(root, 'train', 'c')
    Idd.convert(root, out, skip_invalid=True, progress=False)
    assert Idd.found(out) == ['1_b.png', '1_c.png']


@kinds
@pytest.mark.parametrize('image', [COMPOSED, APART])
def test_names_of_two_systems_are_paired(tmp_path, kind, image):
    root, out = tmp_path / 'in', tmp_path / 'out'
    fill(kind, root)
    other = COMPOSED if image == APART else APART
    kind.add(root, 'train', image, other)
    kind.convert(root, out, progress=False)
    # labelme's results are named after the JSON files.
    expected = other if kind is Labelme else image
    assert kind.listed(expected) in kind.found(out)


@pytest.mark.parametrize('kind', [Nails, Idd, Cityscapes])
def test_names_that_look_the_same_are_refused(tmp_path, kind):
    root = tmp_path / 'in'
    fill(kind, root)
    kind.add(root, 'train', COMPOSED)
    kind.add(root, 'train', APART)
    with pytest.raises(ValueError, match=r'remove one') as error:
        kind.convert(root, tmp_path / 'out', progress=False)
    assert r'cafe\u0301' in str(error.value)
    assert 'café' in str(error.value)


@kinds
def test_links_bring_nothing_twice(tmp_path, kind, capsys):
    """To itself, to the data set, to a folder elsewhere, to nowhere."""
    root, out = tmp_path / 'in', tmp_path / 'out'
    fill(kind, root)
    kind.convert(root, out, progress=False)
    expected = kind.found(out)
    folders = [path for path in root.rglob('*') if path.is_dir()]
    for folder in [root, *folders]:
        (folder / 'l').symlink_to('.')
        (folder / 'top').symlink_to(root)
        (folder / 'circle').symlink_to('circle')
    kind.convert(root, tmp_path / 'again', progress=False)
    assert kind.found(tmp_path / 'again') == expected
    assert f'left out {root}' in capsys.readouterr().err


@kinds
def test_linked_folders_are_read(tmp_path, kind):
    """Each that holds files lies on another disk."""
    root = tmp_path / 'in'
    fill(kind, root)
    kind.convert(root, tmp_path / 'out', progress=False)
    folders = {path.parent for path in root.rglob('*') if path.is_file()}
    for number, folder in enumerate(sorted(folders)):
        place = folder.rename(tmp_path / f'disk{number}')
        folder.symlink_to(place)
    kind.convert(root, tmp_path / 'again', progress=False)
    assert kind.found(tmp_path / 'again') == kind.found(tmp_path / 'out')


@pytest.fixture
def colors(tmp_path):
    """Return a copy of CamVid with colors for two classes."""
    root = tmp_path / 'in'
    root.mkdir()
    (root / 'class_dict.csv').write_text('name,r,g,b\na,0,0,0\nb,255,0,0\n')
    for name in ('train/x', 'val/y'):
        add_colors(root, name)
    return root


def add_colors(root, name):
    split, _, stem = name.partition('/')
    photograph(root / f'{split}/{stem}.png')
    save(root / f'{split}_labels/{stem}_L.png', (255, 0, 0))


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(NOT_UTF8, id='GBK'),
        pytest.param('a\nb', id='line break'),
        pytest.param('手' * 83, id='long'),
    ],
)
def test_masks_of_any_name(colors, tmp_path, name):
    add_colors(colors, f'train/{name}')
    out = tmp_path / 'out'
    report = camvid.convert(colors, out, progress=False)
    assert report.written == 3
    with Image.open(out / f'train_labels/{name}_L.png') as image:
        assert np.asarray(image).sum() == 100


def test_a_mask_that_is_none_and_has_a_name_that_is_none(colors, tmp_path):
    (colors / f'train_labels/{NOT_UTF8}.png').write_bytes(b'')
    report = camvid.convert(
        colors, tmp_path / 'out', skip_invalid=True, progress=False
    )
    [skip] = json.loads((tmp_path / 'out/skipped.json').read_text())
    assert skip['file'] == rf'{colors}/train_labels/\xd6\xd0\xce\xc4.png'
    str(report).encode()


def test_data_set_and_converter_read_the_same(colors, tmp_path):
    """What a split is linked to is converted for it, as it is trained on."""
    init_default_scope('mmseg')
    add_colors(tmp_path / 'nas', 'x/z')
    for split in ('train', 'val'):
        for kind in ('', '_labels'):
            folder = colors / f'{split}{kind}'
            (folder / 'nas').symlink_to(tmp_path / f'nas/x{kind}')
            (folder / 'l').symlink_to('.')
            (folder / 'top').symlink_to(colors)
    for kind in ('', '_labels'):
        (colors / f'test{kind}').symlink_to(f'val{kind}')
    out = tmp_path / 'out'
    camvid.convert(colors, out, progress=False)
    converted = {str(path.relative_to(out)) for path in out.rglob('*.png')}
    read = set()
    for split in ('train', 'val', 'test'):
        for labels in (colors, out):
            folder = labels / f'{split}_labels'
            prefix = {'img_path': split, 'seg_map_path': str(folder)}
            dataset = CamVid(
                data_root=str(colors), data_prefix=prefix, pipeline=[]
            )
            assert len(dataset) == 2
            paths = (
                info['seg_map_path']
                for info in map(dataset.get_data_info, range(2))
            )
            read |= {os.path.relpath(path, labels) for path in paths}
    assert read == converted
    assert len(read) == 6
