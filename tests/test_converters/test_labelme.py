import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image, ImageDraw

from helpers.command_lines import error_of
from mmseg_ext.converters.core import seeded_order
from mmseg_ext.converters.labelme import convert

TOOL = Path(__file__, '../../../tools/dataset_converters/labelme.py').resolve()

#: (left, top, right, bottom) of the shapes of each file, both ends in.
BOXES = {
    'a': [('road', (0, 20, 39, 29)), ('car', (5, 15, 12, 24))],
    'b': [('car', (1, 2, 3, 4)), ('__ignore__', (0, 0, 1, 29))],
    'sub/c': [],
    'sub/d': [('person', (10, 10, 12, 20))],
    'sub/a': [('road', (0, 0, 39, 29))],
}


def add(root, stem, boxes, size=(40, 30), suffix='.jpg', **changes):
    path = root / f'{stem}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(stem)).integers(0, 256, (30, 40, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path.with_suffix(suffix))
    content = {
        'shapes': [
            {'label': label, 'points': [box[:2], box[2:]]}
            | {'shape_type': 'rectangle'}
            for label, box in boxes
        ],
        'imagePath': f'{path.stem}{suffix}',
        'imageWidth': size[0],
        'imageHeight': size[1],
    }
    path.write_text(json.dumps(content | changes))
    return path


@pytest.fixture
def root(tmp_path):
    for stem, boxes in BOXES.items():
        suffix = '.png' if stem == 'b' else '.jpg'
        add(tmp_path / 'raw', stem, boxes, suffix=suffix)
    return tmp_path / 'raw'


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def expected(stem, indices, background=0):
    labels = np.full((30, 40), background, np.uint8)
    for label, (left, top, right, bottom) in BOXES[stem]:
        labels[top : bottom + 1, left : right + 1] = indices[label]
    return labels


@pytest.mark.parametrize('nproc', [1, 2])
def test_label_maps(root, tmp_path, nproc):
    out = tmp_path / 'out'
    report = convert(root, out, nproc=nproc)
    indices = {'car': 1, 'person': 2, 'road': 3, '__ignore__': 255}
    for stem in BOXES:
        written = np.array(Image.open(out / 'labels' / f'{stem}.png'))
        assert (written == expected(stem, indices)).all()
        suffix = '.png' if stem == 'b' else '.jpg'
        image = out / 'images' / f'{stem}{suffix}'
        assert image.samefile(root / f'{stem}{suffix}')
    assert (out / 'class_dict.csv').read_text() == (
        'name,r,g,b\n_background_,0,0,0\ncar,128,0,0\nperson,0,128,0\n'
        'road,128,128,0\n'
    )
    assert report.shapes == {'car': 2, 'person': 1, 'road': 2, '__ignore__': 1}
    assert (report.written, report.kept, report.skipped) == (5, 0, [])


def test_splits(root, tmp_path):
    report = convert(root, tmp_path / 'out', val_fraction=0.4, seed=7)
    splits = [
        (tmp_path / 'out' / 'splits' / f'{split}.txt').read_text().split()
        for split in ('train', 'val')
    ]
    ordered = seeded_order(BOXES, 7, str)
    assert sorted(splits[1]) == sorted(ordered[:2])
    assert sorted(splits[0]) == sorted(ordered[2:])
    assert report.images == {'train': 3, 'val': 2}


def test_list_of_labels(root, tmp_path):
    """Its order is that of the indices; without background it is ignored."""
    (root / 'labels.txt').write_text('__ignore__\nroad\ncar\nperson\nbus\n')
    convert(root, tmp_path / 'out')
    indices = {'road': 0, 'car': 1, 'person': 2, '__ignore__': 255}
    for stem in BOXES:
        written = np.array(
            Image.open(tmp_path / 'out' / 'labels' / f'{stem}.png')
        )
        assert (written == expected(stem, indices, 255)).all()
    names = (tmp_path / 'out' / 'class_dict.csv').read_text().splitlines()
    assert [row.split(',')[0] for row in names[1:]] == [
        *('road', 'car', 'person', 'bus')
    ]


def test_data_set_reads_it(root, tmp_path):
    out = tmp_path / 'out'
    convert(root, out)
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(
            dict(
                type='ColorMaskDataset',
                data_root=str(out),
                data_prefix=dict(img_path='images', seg_map_path='labels'),
                ann_file='splits/train.txt',
                img_suffix=('.jpg', '.png'),
                seg_map_suffix='.png',
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadColorMasks'),
                ],
            )
        )
    names = ('_background_', 'car', 'person', 'road')
    assert dataset.metainfo['classes'] == names
    assert len(dataset) == 4
    indices = {name: index for index, name in enumerate(names)}
    for sample in dataset:
        path = Path(sample['img_path']).relative_to(out / 'images')
        labels = expected(
            path.with_suffix('').as_posix(), indices | {'__ignore__': 255}
        )
        assert (sample['gt_seg_map'] == labels).all()


def test_runs_after_runs(root, tmp_path):
    out = tmp_path / 'out'
    convert(root, tmp_path / 'whole')
    path = root / 'sub' / 'd.json'
    good = path.read_text()
    path.write_text(good.replace('"imageWidth": 40', '"imageWidth": 41'))
    with pytest.raises(ValueError, match=r'd\.json: is of 41x30 pixels'):
        convert(root, out)
    path.write_text(good)
    convert(root, out)
    assert contents(out) == contents(tmp_path / 'whole')
    assert convert(root, out).kept == 5
    path.write_text(good.replace('[10, 10]', '[11, 10]'))
    with pytest.raises(ValueError, match=r'd\.png is there, .*overwrite=True'):
        convert(root, out)
    convert(root, out, overwrite=True)
    labels = np.array(Image.open(out / 'labels' / 'sub' / 'd.png'))
    assert (labels == 2).sum() == 2 * 11


def add_shapes(root, stem, end):
    """Write a file with a polygon and a line of fractions, up to ``end``."""
    polygon = [(3.6, 2.2), (end, 5.7), (30.7, 14.8), (7.9, 12.6)]
    path = [(4.6, 25.7), (20.7, 21.6), (end, 24.9)]
    shapes = [
        {'label': 'road', 'points': path, 'shape_type': 'linestrip'},
        {'label': 'car', 'points': polygon, 'shape_type': 'polygon'},
    ]
    add(root, stem, [], shapes=shapes)


def test_upgrade_of_pillow_between_two_runs(root, tmp_path, monkeypatch):
    """What another release filled is drawn again; other shapes are refused."""
    out = tmp_path / 'out'
    add_shapes(root, 'x', 36.6)
    convert(root, tmp_path / 'new')
    with monkeypatch.context() as patch:
        for name in ('polygon', 'line'):
            drawn = getattr(ImageDraw.ImageDraw, name)

            def rounded(self, points, *args, drawn=drawn, **options):
                points = [(round(x), round(y)) for x, y in points]
                drawn(self, points, *args, **options)

            patch.setattr(ImageDraw.ImageDraw, name, rounded)
        convert(root, out)
    new, old = (
        np.array(Image.open(folder / 'labels' / 'x.png'))
        for folder in (tmp_path / 'new', out)
    )
    # Those of the polygon, and those of the line.
    assert (new != old)[:16].any()
    assert (new != old)[18:].any()
    report = convert(root, out)
    assert contents(out) == contents(tmp_path / 'new')
    assert (report.written, report.redrawn) == (1, 1)
    assert '1 label maps drawn again: another release of Pillow' in str(report)
    assert convert(root, out).redrawn == 0
    add_shapes(root, 'x', 25.6)
    with pytest.raises(ValueError, match=r'x\.png is there, .*overwrite=True'):
        convert(root, out)


def test_results_inside_the_data_root_are_no_input(root):
    convert(root, skip_invalid=True)
    assert convert(root, skip_invalid=True).kept == 5
    assert sorted(path.name for path in (root / 'index').iterdir()) == [
        *('class_dict.csv', 'images', 'labels', 'skipped.json', 'splits')
    ]


def break_json(path):
    path.write_text('{')


def lose_photograph(path):
    path.with_suffix('.jpg').unlink()


def cut_photograph(path):
    image = path.with_suffix('.jpg')
    image.write_bytes(image.read_bytes()[:-40])


def leave_root(path):
    path.write_text(path.read_text().replace('d.jpg', '../../x.jpg'))


def add_shape(path):
    path.write_text(path.read_text().replace('rectangle', 'cuboid'))


@pytest.mark.parametrize(
    ('spoil', 'suffix', 'message'),
    [
        pytest.param(break_json, '.json', 'no labelme file', id='json'),
        pytest.param(lose_photograph, '.jpg', 'cannot be read', id='missing'),
        pytest.param(cut_photograph, '.jpg', 'cannot be read', id='cut-off'),
        pytest.param(leave_root, '.json', 'leaves its root', id='outside'),
        pytest.param(add_shape, '.json', "shape_type 'cuboid'", id='shape'),
    ],
)
def test_invalid_files(root, tmp_path, spoil, suffix, message):
    path = root / 'sub' / 'd.json'
    spoil(path)
    with pytest.raises(ValueError, match=message) as error:
        convert(root, tmp_path / 'out')
    bad = path.with_suffix(suffix)
    assert str(error.value).startswith(f'{bad}: ')
    report = convert(root, tmp_path / 'other', skip_invalid=True)
    assert [skip.file for skip in report.skipped] == [str(bad)]
    assert sum(report.images.values()) == 4
    assert not (tmp_path / 'other' / 'labels' / 'sub' / 'd.png').exists()


def test_label_that_is_not_in_the_list(root, tmp_path):
    (tmp_path / 'names').write_text('_background_\ncar\nroad\n')
    with pytest.raises(ValueError, match=r"d\.json: .*'person' is not in"):
        convert(root, tmp_path / 'out', labels=tmp_path / 'names')


def test_list_of_labels_as_windows_writes_it(root, tmp_path):
    text = '\ufeff_background_\r\ncar\r\nperson\r\nroad\r\n'
    (root / 'labels.txt').write_bytes(text.encode())
    convert(root, tmp_path / 'out')
    (root / 'labels.txt').unlink()
    convert(root, tmp_path / 'same')
    assert contents(tmp_path / 'out') == contents(tmp_path / 'same')


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        ([f'l{n}' for n in range(253)], '254 classes; expected 1 to 253'),
        (['road', ' road'], "blanks at its ends, got ' road'"),
        ([''], "blanks at its ends, got ''"),
    ],
    ids=['many', 'blank', 'empty'],
)
def test_labels_that_cannot_be_written(tmp_path, labels, message):
    boxes = [(label, (0, 0, 1, 1)) for label in labels]
    add(tmp_path / 'raw', 'x', boxes)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / 'raw', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_suffixes_in_capitals(tmp_path):
    path = add(tmp_path / 'raw', 'x', [('car', (0, 0, 1, 1))], suffix='.JPG')
    path.rename(path.with_suffix('.JSON'))
    convert(tmp_path / 'raw', tmp_path / 'out')
    assert sorted(contents(tmp_path / 'out')) == [
        *('class_dict.csv', 'images/x.JPG', 'labels/x.png'),
        *('splits/train.txt', 'splits/val.txt'),
    ]


def test_nothing_stays_of_what_became_invalid(root, tmp_path):
    out = tmp_path / 'out'
    convert(root, out)
    add(root, 'a', [('boat', (0, 0, 1, 1))], size=(1, 1))
    convert(root, out, overwrite=True, skip_invalid=True)
    names = contents(out)
    assert not {'images/a.jpg', 'labels/a.png'} & names.keys()
    assert {'images/sub/a.jpg', 'labels/sub/a.png'} <= names.keys()


def test_other_photograph_of_the_same_name(root, tmp_path):
    convert(root, tmp_path / 'out')
    (root / 'a.jpg').unlink()
    add(root, 'a', BOXES['a'], suffix='.png')
    with pytest.raises(
        ValueError, match=r'images/a\.jpg is there, but no inp'
    ):
        convert(root, tmp_path / 'out')


def test_folder_cannot_be_its_own_result(root):
    with pytest.raises(ValueError, match='is the data root'):
        convert(root, root / 'sub' / '..')


def test_folder_of_input_cannot_be_for_results(root):
    """Its files would be left out, or be in the way."""
    before = contents(root)
    (root / 'link').symlink_to('sub')
    for out in (root / 'sub', root / 'link', root / 'sub' / '..'):
        with pytest.raises(ValueError, match='choose another folder'):
            convert(root, out, overwrite=True)
    (root / 'link').unlink()
    assert contents(root) == before


@pytest.mark.parametrize('folder', ['labels', 'images'])
@pytest.mark.parametrize('link', [False, True], ids=['itself', 'link'])
def test_photographs_are_never_replaced(root, tmp_path, folder, link):
    """The label of ``a.png`` would go where ``a.png`` is."""
    out = tmp_path / 'set'
    out.mkdir()
    if link:
        (out / folder).symlink_to(root)
    else:
        root = root.rename(out / folder)
    before = contents(root)
    with pytest.raises(ValueError, match=r'a\.json is read, but .* written'):
        convert(root, out, overwrite=True)
    assert contents(root) == before


def test_photograph_that_is_called_skipped(root, tmp_path):
    (root / 'old').mkdir()
    (root / 'old' / 'skipped.json').write_text('[]')
    add(root, 'skipped', [('car', (0, 0, 1, 1))])
    report = convert(root, tmp_path / 'out')
    assert sum(report.images.values()) == 6
    assert (tmp_path / 'out' / 'labels' / 'skipped.png').exists()


def test_results_of_files_that_are_gone(root, tmp_path):
    convert(root, tmp_path / 'out')
    shutil.rmtree(root / 'sub')
    with pytest.raises(ValueError, match=r'sub/a\.jpg is there, but no inp'):
        convert(root, tmp_path / 'out')


def test_no_valid_file(root, tmp_path):
    out = tmp_path / 'out'
    for path in root.rglob('*.jpg'):
        path.write_bytes(b'no image')
    (root / 'b.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'no input is valid.*a\.jpg: cannot'):
        convert(root, out, skip_invalid=True)
    for path in root.rglob('*.json'):
        path.write_text('{')
    out.mkdir()
    out.joinpath('skipped.json').write_text('[]')
    with pytest.raises(ValueError, match=r'no input is valid.*a\.json: no la'):
        convert(root, out, skip_invalid=True)
    assert contents(out) == {}


def test_failed_run_leaves_no_lists_of_what_it_replaced(root, tmp_path):
    convert(root, tmp_path / 'out')
    cut_photograph(root / 'sub' / 'd.json')
    with pytest.raises(ValueError, match='cannot be read'):
        convert(root, tmp_path / 'out', overwrite=True, val_fraction=0.5)
    left = {name.partition('/')[0] for name in contents(tmp_path / 'out')}
    assert left == {'images', 'labels'}


@pytest.mark.parametrize('fraction', [0, 1, -1, 2])
def test_val_fraction(root, fraction):
    with pytest.raises(ValueError, match=f'val_fraction={fraction}'):
        convert(root, val_fraction=fraction)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere is missing'):
        convert(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match='has no JSON files'):
        convert(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tool(root, tmp_path, capsys):
    main = runpy.run_path(str(TOOL))['main']
    arguments = [str(root), '--out-dir', str(tmp_path / 'out')]
    main([*arguments, '--copy', '--no-progress'])
    printed, shown = capsys.readouterr()
    assert printed.splitlines() == [
        '__ignore__: 1 shapes',
        'car: 2 shapes',
        'person: 1 shapes',
        'road: 2 shapes',
        f'{tmp_path / "out"}: 4 train, 1 val images; 5 written, 0 were there '
        'already',
        f'next: mmseg-ext browse {tmp_path / "out/images"} --masks '
        f'{tmp_path / "out/labels"} --num 40  # look before you train',
    ]
    assert shown == ''
    (root / 'a.json').write_text('')
    message = error_of(capsys, main, arguments)
    assert message.startswith(f'{root / "a.json"}: no labelme file')
    assert message.endswith('leave such files out with --skip-invalid')
