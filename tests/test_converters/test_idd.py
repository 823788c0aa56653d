import json
import os
import re
import runpy
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageDraw

from helpers.command_lines import error_of
from helpers.label_files import in_all_forms
from mmseg_ext.converters import core
from mmseg_ext.converters.idd import SPLITS, convert
from mmseg_ext.labels.idd import IDD_LABELS, IDD_LEVEL3
from mmseg_ext.sample_data.idd import (
    idd_label_map,
    idd_scene,
    idd_stem,
    write_idd,
)
from references import idd as reference

TOOL = Path(__file__, '../../../tools/dataset_converters/idd.py').resolve()
SIZE = (64, 48)


def thing(label, *points, **fields):
    return {'label': label, 'polygon': [list(p) for p in points], **fields}


def box(label, left, top, right, bottom, **fields):
    """Return an object whose pixels are left to right and top to bottom."""
    corners = (left, top), (right, top), (right, bottom), (left, bottom)
    return thing(label, *corners, **fields)


def random_objects(seed):
    """Draw objects of all known labels, with float points in and out."""
    rng = np.random.default_rng(seed)
    objects = []
    for label in rng.permutation(list(reference.LEVEL3))[:20].tolist():
        center = rng.uniform(-5, SIZE)
        points = center + rng.normal(0, 15, (rng.integers(1, 9), 2))
        deleted = int(rng.random() < 0.2)
        objects.append(thing(label, *points.tolist(), deleted=deleted))
    return objects


def paths_of(root, split, sequence, name, suffix='.png'):
    """Return where image, polygons and label of an image are."""
    image = root / 'leftImg8bit' / split / sequence
    truth = root / 'gtFine' / split / sequence
    return (
        image / f'{name}_leftImg8bit{suffix}',
        truth / f'{name}_gtFine_polygons.json',
        truth / f'{name}_gtFine_labellevel3Ids.png',
    )


def add(root, split, sequence, name, objects, suffix='.png', size=SIZE):
    """Write an image and its polygons."""
    paths = paths_of(root, split, sequence, name, suffix)
    for path in paths[:2]:
        path.parent.mkdir(parents=True, exist_ok=True)
    number = sum(map(ord, f'{root.name}{sequence}{name}'))
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3))
    Image.fromarray(pixels.astype(np.uint8)).save(paths[0])
    write_json(paths[1], objects, size)
    return paths


def write_json(path, objects, size=SIZE, **fields):
    content = {'imgWidth': size[0], 'imgHeight': size[1], 'objects': objects}
    path.write_text(json.dumps(content | fields))


@pytest.fixture
def root(tmp_path):
    """Part I: two images of train with the same id, one of val, one test."""
    root = tmp_path / 'IDD_Segmentation'
    add(root, 'train', '7', '000123', random_objects(0))
    add(root, 'train', '70', '000123', random_objects(1))
    add(root, 'val', '8', '000123', random_objects(2), size=(80, 40))
    polygons = add(root, 'test', '9', '000001', [])[1]
    polygons.unlink()
    polygons.parent.rmdir()
    return root


@pytest.fixture
def part2(tmp_path):
    root = tmp_path / 'idd20kII'
    for name in range(12):
        split = 'val' if name % 3 == 0 else 'train'
        objects = random_objects(10 + name)
        add(root, split, '200', f'frame{name:04}', objects, '.jpg')
    return root


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read_label(path):
    image = Image.open(path)
    assert image.mode == 'L'
    return np.array(image)


def draw(root, out, objects):
    """Convert one more image with these objects; give its label."""
    add(root, 'train', 'one', 'x', objects)
    convert([root], out)
    return read_label(out / 'train_label' / 'one_x.png')


def blank():
    return np.full(SIZE[::-1], 255, np.uint8)


# Labels.


def test_table_holds_the_references_labels():
    table = {label.name: label.level3 for label in IDD_LABELS}
    assert reference.LEVEL3.items() <= table.items()
    assert [label.id for label in IDD_LABELS] == list(range(40))
    level3 = [label.level3 for label in IDD_LABELS]
    assert sorted(set(level3)) == [*range(26), 255]
    assert level3 == sorted(level3)


def test_classes_have_the_color_of_the_label_that_names_them():
    spelled = {
        'auto-rickshaw': 'autorickshaw',
        'obs fallback': 'obs-str-bar-fallback',
    }
    table = {label.name: label for label in IDD_LABELS}
    assert len(IDD_LEVEL3) == 26
    for index, (name, color) in enumerate(IDD_LEVEL3.items()):
        label = table[spelled.get(name, name)]
        assert (label.level3, label.color) == (index, color)


@pytest.mark.parametrize('nproc', [1, 2])
def test_labels_equal_reference(root, part2, out, nproc):
    report = convert([root, part2], out, nproc=nproc)
    polygons = [
        *root.rglob('*_polygons.json'),
        *part2.rglob('*_polygons.json'),
    ]
    assert len(polygons) == 15
    for path in polygons:
        split, sequence = path.parts[-3:-1]
        name = f'{sequence}_{path.name.split("_gtFine")[0]}.png'
        labels = read_label(out / f'{split}_label' / name)
        np.testing.assert_array_equal(labels, reference.label_map(path))
    assert report.written == 15


def test_edges_are_filled_and_later_objects_cover(root, out):
    labels = draw(
        root, out, [box('road', 5, 10, 20, 15), box('car', 18, 12, 30, 12)]
    )
    expected = blank()
    expected[10:16, 5:21] = 0
    expected[12, 18:31] = 9
    np.testing.assert_array_equal(labels, expected)


def test_points_out_of_the_image(root, out):
    labels = draw(root, out, [box('sky', -500.5, -20, 999.9, 9.0)])
    expected = blank()
    expected[:10] = 25
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    'label',
    [
        'unlabeled',
        'out of roi',
        'ego vehicle',
        'rectification border',
        'license plate',
    ],
)
def test_void_labels_punch_holes(root, out, label):
    labels = draw(
        root, out, [box('car', 0, 0, 30, 30), box(label, 10, 5, 12, 6)]
    )
    expected = blank()
    expected[:31, :31] = 9
    expected[5:7, 10:13] = 255
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    ('label', 'value'),
    [('cargroup', 9), ('polegroup', 20), ('license plategroup', 255)],
)
def test_groups(root, out, label, value):
    labels = draw(root, out, [box('sky', 0, 0, 9, 9), box(label, 0, 0, 4, 4)])
    assert (labels[:5, :5] == value).all()
    assert (labels[5:10, :10] == 25).all()


def test_deleted_and_short_objects_are_left_out(root, out):
    objects = [
        box('car', 0, 0, 5, 5, deleted=1),
        box('no label', 0, 0, 5, 5, deleted=True),
        thing('car', (0, 0), (5, 5)),
        thing('car'),
        box('person', 2, 2, 3, 3, deleted=0, verified=0, user='a', id=4),
    ]
    expected = blank()
    expected[2:4, 2:4] = 4
    np.testing.assert_array_equal(draw(root, out, objects), expected)
    before = convert([root], out).splits['train']
    add(root, 'train', 'one', 'x', [])
    after = convert([root], out, overwrite=True).splits['train']
    assert before.objects - after.objects == 1
    assert before.deleted - after.deleted == 2
    assert before.too_few_points - after.too_few_points == 2


@pytest.mark.parametrize(
    ('width', 'height'),
    [
        pytest.param('64', 48.0, id='text'),
        pytest.param(64.5, 48.999, id='fractions'),
    ],
)
def test_sizes_are_cut_to_whole_numbers(root, out, width, height):
    _, polygons, _ = add(root, 'train', 'one', 'x', [])
    write_json(polygons, [], imgWidth=width, imgHeight=height)
    convert([root], out)
    assert (read_label(out / 'train_label' / 'one_x.png') == blank()).all()


@pytest.mark.parametrize('deleted', [1, 2, 1.0, True, 0.5, 'yes'])
def test_whatever_is_true_says_deleted(root, out, deleted):
    labels = draw(root, out, [box('car', 0, 0, 5, 5, deleted=deleted)])
    np.testing.assert_array_equal(labels, blank())


@pytest.mark.parametrize('deleted', [0, 0.0, False, None, ''])
def test_whatever_is_false_does_not(root, out, deleted):
    labels = draw(root, out, [box('car', 0, 0, 5, 5, deleted=deleted)])
    assert (labels == 9).sum() == 36


def test_polygons_that_are_not_made_of_points_are_drawn_as_nothing(root, out):
    objects = [
        box('car', 0, 0, 5, 5),
        {'label': 'sky', 'polygon': [1, 2, 3]},
        thing('sky', (0, 0, 1), (9, 0, 1), (9, 9, 1), (0, 9, 1)),
        thing('sky', (0, 0), (9, 0, 1), (9, 9), (0, 9)),
        {'label': 'sky', 'polygon': [[0, 0], [9, 0], 9, 9]},
        thing('sky', (0,), (9,), (9,)),
        thing('sky', (0, 0, 1), (9, 0, 1), deleted=1),
    ]
    labels = draw(root, out, objects)
    expected = blank()
    expected[:6, :6] = 9
    np.testing.assert_array_equal(labels, expected)
    report = convert([root], out)
    assert report.splits['train'].no_points == 5
    assert report.splits['val'].no_points == 0
    assert 'warning: train: 5 objects left out: their polygon' in str(report)


def test_unknown_labels_are_left_out_and_counted(root, out, capsys):
    """As the tools do, with a warning; all else of the file is drawn."""
    zebra = box('zebra', 0, 0, 30, 30)
    objects = [box('car', 0, 0, 5, 5), zebra, zebra, box('Car', 9, 9, 20, 20)]
    add(root, 'train', 'one', 'y', [zebra, box('zebragroup', 1, 1, 9, 9)])
    add(root, 'val', 'one', 'z', [{**zebra, 'deleted': 1}, thing('zebra')])
    labels = draw(root, out, objects)
    expected = blank()
    expected[:6, :6] = 9
    np.testing.assert_array_equal(labels, expected)
    report = convert([root], out, nproc=2)
    written = json.loads((out / 'report.json').read_text())['splits']
    assert written['val']['unknown'] == {}
    assert list(written['train']['unknown'].items()) == [
        ('Car', {'objects': 1, 'files': 1}),
        ('zebra', {'objects': 3, 'files': 2}),
        ('zebragroup', {'objects': 1, 'files': 1}),
    ]
    assert (
        "warning: train: label 'zebra' is not in the table of IDD: 3 objects "
        'in 2 files left out'
    ) in str(report)


def test_many_unknown_labels_are_counted_in_one_line(root, out):
    objects = [box(f'zebra\n{n}', 0, 0, 5, 5) for n in range(13)]
    add(root, 'train', 'one', 'x', objects)
    lines = [
        line
        for line in str(convert([root], out)).splitlines()
        if 'table of IDD' in line
    ]
    assert len(lines) == 11
    assert lines[-1].startswith('warning: train: 3 more labels are not')


def test_sample_set_gives_the_scenes_labels(tmp_path, out):
    size = 128, 96
    sets = write_idd(tmp_path, num=24, size=size, progress=False)
    roots = [tmp_path / 'IDD_Segmentation', tmp_path / 'idd20kII']
    report = convert(roots, out, check=True)
    assert report.written == sets['train'] + sets['val']
    assert report.test_images == sets['test'] > 0
    assert report.splits['train'].labels_found > 0
    stems = {idd_stem(index): index for index in range(24)}
    labels = [*out.glob('*_label/*.png')]
    assert len(labels) == report.written
    for path in labels:
        index = stems[path.stem]
        expected = idd_label_map(idd_scene(size, 0, index), 0, index)
        np.testing.assert_array_equal(read_label(path), expected)


# Labels that are there before.


@pytest.fixture
def found(root):
    """Return the path of a label beside its polygons."""
    _, polygons, label = paths_of(root, 'train', '7', '000123')
    Image.fromarray(reference.label_map(polygons)).save(label)
    return label


@pytest.mark.parametrize('check', [False, True])
def test_found_label_is_used(root, out, found, check):
    report = convert([root], out, check=check)
    target = out / 'train_label' / '7_000123.png'
    assert target.samefile(found)
    assert report.splits['train'].labels_found == 1
    assert report.splits['train'].labels_drawn == 1
    assert report.splits['val'].labels_found == 0


@pytest.mark.parametrize('form', [*in_all_forms(blank() * 0)])
def test_found_label_of_another_form_is_written_anew(root, out, found, form):
    """Not every loader would read its values as they are stored."""
    labels = blank() * 0
    labels[3:20, 4:30] = 1
    found.write_bytes(in_all_forms(labels)[form])
    report = convert([root], out)
    target = out / 'train_label' / '7_000123.png'
    np.testing.assert_array_equal(read_label(target), labels)
    assert report.splits['train'].labels_found == 1
    assert report.splits['train'].pixels['drivable fallback'] >= 442
    assert (report.written, report.kept) == (3, 0)
    again = convert([root], out)
    assert (again.written, again.kept) == (0, 3)
    np.testing.assert_array_equal(read_label(target), labels)


def test_check_compares(root, out, found):
    labels = read_label(found)
    labels[3:20, 4:30] = (labels[3:20, 4:30] + 1) % 26
    Image.fromarray(labels).save(found)
    with pytest.raises(
        ValueError,
        match=r'7/000123_gtFine_labellevel3Ids\.png: 442 of 3072 .* differ '
        '.*not at edges only',
    ):
        convert([root], out, check=True)
    report = convert([root], out, check=True, skip_invalid=True)
    assert [skip.file for skip in report.skipped] == [str(found)]
    assert names(out / 'train_label') == ['70_000123.png']
    convert([root], out)
    written = read_label(out / 'train_label' / '7_000123.png')
    np.testing.assert_array_equal(written, labels)


# Other releases of Pillow.


@pytest.fixture
def other_pillow(monkeypatch):
    """Return a context in which Pillow fills other pixels at edges."""
    filled = ImageDraw.ImageDraw.polygon

    def rounded(self, points, fill=None, outline=None):
        points = [(round(x), round(y)) for x, y in points]
        filled(self, points, fill, outline)

    @contextmanager
    def other():
        with monkeypatch.context() as patch:
            patch.setattr(ImageDraw.ImageDraw, 'polygon', rounded)
            yield

    return other


def test_check_counts_what_another_release_fills_at_edges(
    root, out, other_pillow
):
    expected = []
    for split, sequence in (('train', '7'), ('train', '70'), ('val', '8')):
        _, polygons, label = paths_of(root, split, sequence, '000123')
        with other_pillow():
            labels = reference.label_map(polygons)
        differing = (labels != reference.label_map(polygons)).sum()
        assert differing > 0
        Image.fromarray(labels).save(label)
        expected.append(differing)
    report = convert([root], out, check=True)
    assert report.splits['train'].edge_labels == 2
    assert report.splits['train'].edge_pixels == sum(expected[:2])
    assert report.splits['val'].edge_pixels == expected[2]
    assert (
        'train: 2 labels found differ from what their polygons give, at '
        f'edges only: {sum(expected[:2])} pixels'
    ) in str(report)
    unchecked = convert([root], out.with_name('other')).splits['train']
    assert (unchecked.edge_labels, unchecked.edge_pixels) == (0, 0)


def test_report_names_how_polygons_are_filled(root, out, other_pillow):
    convert([root], out)
    with other_pillow():
        convert([root], out.with_name('other'))
    one, other = (
        json.loads((folder / 'report.json').read_text())['rasterizer']
        for folder in (out, out.with_name('other'))
    )
    assert one['pillow'] == other['pillow'] == PIL.__version__
    assert one['digest'] != other['digest']


@pytest.mark.parametrize('finished', [True, False])
def test_upgrade_of_pillow_between_two_runs(
    root, part2, out, other_pillow, finished
):
    """What the other release filled is drawn again, and nothing stops."""
    new = out.with_name('new')
    convert([root, part2], new)
    with other_pillow():
        convert([root, part2], out)
    filled = contents(out)
    changed = {
        name
        for name, data in contents(new).items()
        if data != filled[name] and name.endswith('.png')
    }
    assert len(changed) > 3
    if not finished:
        (out / 'report.json').unlink()
        (out / 'train_label' / '7_000123.png').unlink()
        changed.discard('train_label/7_000123.png')
    report = convert([root, part2], out)
    assert contents(out) == contents(new)
    assert report.redrawn == len(changed)
    assert f'{len(changed)} label maps drawn again: another release' in str(
        report
    )
    again = convert([root, part2], out)
    assert (again.written, again.redrawn) == (0, 0)


@pytest.mark.parametrize(
    'report', [b'', b'[]', b'\xff', b'{"rasterizer": 3}', b'{"splits": {}}']
)
def test_report_that_tells_nothing(root, out, other_pillow, report):
    """As one of an older version."""
    with other_pillow():
        convert([root], out)
    (out / 'report.json').write_bytes(report)
    assert convert([root], out).redrawn == 3


def test_labels_that_this_release_filled_are_not_drawn_again(root, out):
    convert([root], out)
    path = out / 'train_label' / '7_000123.png'
    labels = read_label(path)
    edge = np.argwhere(labels[1:] != labels[:-1])[0]
    labels[tuple(edge)] = labels[edge[0] + 1, edge[1]]
    Image.fromarray(labels).save(path)
    with pytest.raises(ValueError, match=r'7_000123\.png is there, but is'):
        convert([root], out)


def test_upgrade_hides_no_other_polygons(root, out, other_pillow):
    with other_pillow():
        draw(root, out, [box('car', 0, 0, 5, 5)])
    add(root, 'train', 'one', 'x', [box('car', 0, 0, 25, 25)])
    with pytest.raises(ValueError, match=r'one_x\.png is there, but is'):
        convert([root], out)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        pytest.param(np.full((48, 64), 26, np.uint8), 'value 26', id='value'),
        pytest.param(
            np.full((48, 64), 256, np.uint16),
            r'\(16-bit gray PNG\) has 3072 pixels above 255, such as 256;',
            id='depth',
        ),
        pytest.param(
            np.arange(48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8),
            r'\(RGB PNG\) is in color',
            id='color',
        ),
        pytest.param(
            np.zeros((48, 64, 4), np.uint8),
            r'\(RGBA PNG\) has 3072 transparent pixels',
            id='alpha',
        ),
        pytest.param(
            np.zeros((64, 48), np.uint8),
            'is of 48x64 pixels, its image .* has 64x48',
            id='size',
        ),
    ],
)
def test_wrong_found_label(root, out, found, image, message):
    Image.fromarray(image).save(found)
    with pytest.raises(
        ValueError, match=rf'000123_gtFine_labellevel3Ids\.png: .*{message}'
    ):
        convert([root], out)
    (skip,) = convert([root], out, skip_invalid=True).skipped
    assert skip.file == str(found)
    assert names(out / 'train_label') == ['70_000123.png']


def test_broken_found_label(root, out, found):
    found.write_bytes(found.read_bytes()[:-30])
    with pytest.raises(
        ValueError, match=r'labellevel3Ids\.png: it cannot be read'
    ):
        convert([root], out)


# The folder.


def test_layout_of_both_parts(root, part2, out):
    convert([root, part2], out)
    frames = {
        'train': [n for n in range(12) if n % 3],
        'val': [n for n in range(12) if n % 3 == 0],
    }
    first = {'train': ['70_000123', '7_000123'], 'val': ['8_000123']}
    assert names(out) == [
        'report.json',
        'splits',
        'train_img',
        'train_label',
        'val_img',
        'val_label',
    ]
    for split in ('train', 'val'):
        second = [f'200_frame{n:04}' for n in frames[split]]
        stems = sorted(first[split] + second)
        assert names(out / f'{split}_img') == sorted(
            [f'{stem}.png' for stem in first[split]]
            + [f'{stem}.jpg' for stem in second]
        )
        labels = [f'{stem}.png' for stem in stems]
        assert names(out / f'{split}_label') == sorted(labels)
        listed = (out / 'splits' / f'{split}.txt').read_text()
        assert listed.splitlines() == reference.split_order(stems, 0)
        assert listed.endswith('\n')


def test_seed_changes_the_order_alone(part2, out, tmp_path):
    convert([part2], out)
    convert([part2], tmp_path / 'other', seed=1)
    one = (out / 'splits' / 'train.txt').read_text().split()
    other = (tmp_path / 'other' / 'splits' / 'train.txt').read_text().split()
    assert one != other != sorted(other)
    assert sorted(one) == sorted(other)
    assert other == reference.split_order(other, 1)


def test_equal_ids_of_two_sequences_keep_their_pixels(root, out):
    convert([root], out)
    for sequence in ('7', '70'):
        image, polygons, _ = paths_of(root, 'train', sequence, '000123')
        written = out / 'train_img' / f'{sequence}_000123.png'
        assert written.samefile(image)
        labels = read_label(out / 'train_label' / written.name)
        np.testing.assert_array_equal(labels, reference.label_map(polygons))


def test_order_of_roots_and_processes_do_not_matter(root, part2, out):
    paths_of(root, 'val', '8', '000123')[0].unlink()
    paths_of(part2, 'val', '200', 'frame0000', '.jpg')[0].unlink()
    report = convert([root, part2], out, skip_invalid=True)
    assert len(report.skipped) == 2
    other = out.with_name('other')
    convert([part2, root], other, nproc=2, skip_invalid=True)
    assert contents(out) == contents(other)


def test_report(root, part2, out):
    report = convert([root, part2], out)
    written = json.loads((out / 'report.json').read_text())
    assert written['skipped'] == []
    assert written['test_images'] == report.test_images == 1
    for split, images in (('train', 10), ('val', 5)):
        counts = written['splits'][split]
        assert counts['images'] == counts['labels_drawn'] == images
        labels = np.concatenate(
            [
                read_label(path).ravel()
                for path in (out / f'{split}_label').iterdir()
            ]
        )
        expected = [(labels == index).sum() for index in range(26)]
        assert list(counts['pixels']) == [*IDD_LEVEL3, 'unlabelled']
        assert list(counts['pixels'].values()) == [
            *expected,
            (labels == 255).sum(),
        ]
        objects = [
            item
            for path in (*root.rglob('*.json'), *part2.rglob('*.json'))
            if path.parts[-3] == split
            for item in json.loads(path.read_text())['objects']
        ]
        kept = [item for item in objects if not item['deleted']]
        short = [item for item in kept if len(item['polygon']) < 3]
        assert counts['deleted'] == len(objects) - len(kept) > 0
        assert counts['too_few_points'] == len(short) > 0
        assert counts['objects'] == len(kept) - len(short)


# Links and copies.


def test_copies_on_demand(root, out):
    convert([root], out)
    image, *_ = paths_of(root, 'val', '8', '000123')
    written = out / 'val_img' / '8_000123.png'
    assert written.samefile(image)
    convert([root], out, copy=True)
    assert not written.samefile(image)
    assert written.read_bytes() == image.read_bytes()
    assert convert([root], out, copy=True).written == 0
    assert convert([root], out).written == 0


def test_copies_where_links_cannot_be_made(root, out, monkeypatch):
    def link(*args):
        raise OSError(18, 'Invalid cross-device link')

    monkeypatch.setattr(os, 'link', link)
    convert([root], out)
    image, *_ = paths_of(root, 'val', '8', '000123')
    written = out / 'val_img' / '8_000123.png'
    assert not written.samefile(image)
    assert written.read_bytes() == image.read_bytes()
    assert not list(out.rglob('.*'))


def test_linked_images_are_followed(root, out, tmp_path):
    image, *_ = paths_of(root, 'val', '8', '000123')
    image.rename(tmp_path / 'elsewhere.png')
    image.symlink_to('../../../../elsewhere.png')
    convert([root], out)
    written = out / 'val_img' / '8_000123.png'
    assert not written.is_symlink()
    assert written.samefile(tmp_path / 'elsewhere.png')


# Runs after runs.


def test_stopped_run_ends_in_the_same_bytes(root, part2, out, tmp_path):
    convert([root, part2], tmp_path / 'whole')
    _, bad, _ = paths_of(root, 'val', '8', '000123')
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    with pytest.raises(ValueError, match=r'8/000123_gtFine_polygons\.json'):
        convert([root, part2], out)
    assert not (out / 'report.json').exists()
    assert not list(out.rglob('.*'))
    bad.write_bytes(good)
    (out / 'train_label' / '7_000123.png').unlink()
    (out / 'train_img' / '70_000123.png').unlink()
    before = len(names(out / 'train_img'))
    report = convert([root, part2], out)
    assert report.written + report.kept == 15
    assert report.kept == before - 1 + len(names(out / 'val_img')) - 1
    assert contents(out) == contents(tmp_path / 'whole')
    assert convert([root, part2], out).kept == 15
    assert contents(out) == contents(tmp_path / 'whole')


def test_source_is_never_changed(root, out):
    before = contents(root)
    convert([root], out)
    convert([root], out, copy=True)
    convert([root], out, overwrite=True)
    assert contents(root) == before


def test_other_polygons_need_overwrite(root, out):
    draw(root, out, [box('car', 0, 0, 5, 5)])
    add(root, 'train', 'one', 'x', [box('car', 0, 0, 5, 6)])
    with pytest.raises(
        ValueError,
        match=r'one_x\.png is there, but is .*overwrite=True',
    ):
        convert([root], out)
    report = convert([root], out, overwrite=True)
    assert (report.written, report.kept) == (4, 0)
    labels = read_label(out / 'train_label' / 'one_x.png')
    assert (labels == 9).sum() == 42


def test_label_of_the_same_pixels_is_kept(root, out):
    convert([root], out)
    path = out / 'train_label' / '7_000123.png'
    Image.fromarray(read_label(path)).save(path, compress_level=1)
    data = path.read_bytes()
    assert convert([root], out).kept == 3
    assert path.read_bytes() == data
    path.write_bytes(data[:-30])
    with pytest.raises(ValueError, match=r'7_000123\.png is there, but'):
        convert([root], out)


def test_other_image_needs_overwrite(root, out):
    convert([root], out)
    written = out / 'val_img' / '8_000123.png'
    written.unlink()
    Image.new('RGB', (80, 40)).save(written)
    with pytest.raises(ValueError, match=r'val_img/8_000123\.png is there'):
        convert([root], out)
    convert([root], out, overwrite=True)
    image, *_ = paths_of(root, 'val', '8', '000123')
    assert written.read_bytes() == image.read_bytes()


def test_parts_one_after_the_other(root, part2, out):
    convert([root], out)
    with pytest.raises(ValueError, match='give all data roots in one run'):
        convert([part2], out)
    assert convert([root, part2], out).kept == 3


# What is wrong.


def spoil_size(image, polygons):
    write_json(polygons, [], (40, 80))
    return polygons, r'is of 40x80 pixels, its image .* has 80x40'


def spoil_fields(image, polygons):
    polygons.write_text('{"imgWidth": 80, "objects": []}')
    return polygons, 'missing required field `imgHeight`'


def spoil_point(image, polygons):
    write_json(polygons, [thing('car', (0, 0), (1, 'a'), (4, 5))], (80, 40))
    return polygons, r'got `str` - at `\$\.objects\[0\]\.polygon\[1\]\[1\]`'


def spoil_side(image, polygons):
    write_json(polygons, [], (80, 'nan'))
    return polygons, 'no polygon file'


def spoil_large_side(image, polygons):
    write_json(polygons, [], (80, 1e300))
    return polygons, r'`\$\.imgHeight`'


def spoil_coordinate(image, polygons):
    write_json(polygons, [thing('car', (0, 0), (1e30, 2), (4, 5))], (80, 40))
    return polygons, r'at `\$\.objects\[0\]\.polygon\[1\]\[0\]`'


def spoil_text(image, polygons):
    polygons.write_bytes(b'{"imgWidth": 80, "objects": [{"label": "\xff"}]}')
    return polygons, 'no polygon file'


def spoil_image(image, polygons):
    image.write_bytes(b'no image')
    return image, 'cannot be read as an image'


def spoil_missing_image(image, polygons):
    image.unlink()
    return polygons, r'has no image; expected .*/8/000123_leftImg8bit\.png'


def spoil_missing_polygons(image, polygons):
    polygons.unlink()
    return image, r'has no polygon file; expected .*/000123_gtFine_polygons'


@pytest.mark.parametrize(
    'spoil',
    [
        pytest.param(function, id=name)
        for name, function in sorted(globals().items())
        if name.startswith('spoil_')
    ],
)
@pytest.mark.parametrize('nproc', [1, 2])
def test_invalid_file(root, out, spoil, nproc):
    image, polygons, _ = paths_of(root, 'val', '8', '000123')
    add(root, 'val', '9', '000123', random_objects(3))
    file, message = spoil(image, polygons)
    with pytest.raises(ValueError, match=message) as error:
        convert([root], out, nproc=nproc)
    assert str(error.value).startswith(f'{file}: ')
    assert 'skip_invalid=True' in str(error.value)
    report = convert([root], out, nproc=nproc, skip_invalid=True)
    assert [skip.file for skip in report.skipped] == [str(file)]
    written = json.loads((out / 'report.json').read_text())
    assert written['skipped'][0]['file'] == str(file)
    assert written['skipped'][0]['reason'] == report.skipped[0].reason
    assert written['splits']['val']['images'] == 1
    assert written['splits']['train']['images'] == 2
    assert (out / 'splits' / 'val.txt').read_text() == '9_000123\n'
    assert names(out / 'val_img') == names(out / 'val_label')
    assert names(out / 'val_img') == ['9_000123.png']
    # A run that fails has no list, neither its own nor that of another.
    with pytest.raises(ValueError, match=message):
        convert([root], out, nproc=nproc)
    assert not (out / 'skipped.json').exists()


@pytest.mark.parametrize('spoil', [spoil_image, spoil_missing_polygons])
def test_no_valid_image_of_a_split(root, out, spoil):
    image, polygons, _ = paths_of(root, 'val', '8', '000123')
    file, message = spoil(image, polygons)
    with pytest.raises(ValueError, match='no image of val is val') as error:
        convert([root], out, skip_invalid=True)
    assert re.search(f'{re.escape(str(file))}: .*{message}', str(error.value))
    left = {path.name for path in out.rglob('*') if path.is_file()}
    assert left == {'7_000123.png', '70_000123.png'}


def test_run_that_fails_leaves_no_list_of_results_that_were_replaced(
    root, out
):
    convert([root], out, skip_invalid=True)
    for path in (*out.glob('*.json'), *out.glob('splits/*')):
        path.write_text('of an earlier run')
    spoil_size(*paths_of(root, 'val', '8', '000123')[:2])
    with pytest.raises(ValueError, match='is of 40x80'):
        convert([root], out, overwrite=True)
    assert [*out.glob('*.json'), *out.glob('splits/*')] == []


def test_split_that_is_not_there_is_none_without_valid_images(root, out):
    for kind in ('leftImg8bit', 'gtFine'):
        shutil.rmtree(root / kind / 'val')
    spoil_size(*paths_of(root, 'train', '7', '000123')[:2])
    report = convert([root], out, skip_invalid=True)
    assert [report.splits[split].images for split in SPLITS] == [1, 0]


# Where results and inputs meet.


@pytest.mark.parametrize('folder', ['leftImg8bit', 'gtFine/train'])
@pytest.mark.parametrize('link', [False, True], ids=['itself', 'link'])
def test_results_among_the_inputs(root, tmp_path, folder, link):
    out = root / folder
    if link:
        out = tmp_path / 'link'
        out.symlink_to(root / folder)
    before = contents(root)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match='for input: choose another out'):
            convert([root], out, overwrite=overwrite)
    assert contents(root) == before


def test_folder_of_results_that_is_one_of_inputs(root, out):
    out.mkdir()
    (out / 'train_img').symlink_to(root / 'leftImg8bit' / 'train' / '7')
    before = contents(root)
    with pytest.raises(ValueError, match=r'is read, but .* is to be written'):
        convert([root], out, overwrite=True)
    assert contents(root) == before


def test_results_beside_the_inputs(root):
    before = contents(root)
    convert([root], root)
    first = contents(root)
    assert before.items() < first.items()
    assert convert([root], root).kept == 3
    assert contents(root) == first


def test_results_of_a_split_that_is_gone(root, out):
    convert([root], out)
    for kind in ('leftImg8bit', 'gtFine'):
        shutil.rmtree(root / kind / 'val')
    with pytest.raises(ValueError, match=r'val_img/8_000123\.png is there'):
        convert([root], out)


def test_image_that_became_invalid(root, out):
    add(root, 'val', '9', '000123', random_objects(3))
    convert([root], out)
    spoil_size(*paths_of(root, 'val', '8', '000123')[:2])
    with pytest.raises(ValueError, match=r'8_000123\.png is there, but'):
        convert([root], out, skip_invalid=True)
    report = convert([root], out, skip_invalid=True, overwrite=True)
    assert report.splits['val'].images == 1
    assert names(out / 'val_img') == names(out / 'val_label')
    assert names(out / 'val_img') == ['9_000123.png']


def test_same_image_in_both_parts(root, part2, out):
    add(part2, 'train', '7', '000123', [], '.jpg')
    with pytest.raises(
        ValueError,
        match=r'7/000123_leftImg8bit\.png and .*7/000123_leftImg8bit\.jpg '
        r'would both become train_img/7_000123',
    ):
        convert([root, part2], out)
    assert not out.exists()


def test_names_that_meet_when_joined(root, out):
    add(root, 'train', '7_000', '1', [])
    add(root, 'train', '7', '000_1', [])
    with pytest.raises(ValueError, match='would both become'):
        convert([root], out)


def test_hidden_files_are_left_alone(root, out):
    image, polygons, _ = paths_of(root, 'train', '7', '000123')
    image.with_name(f'._{image.name}').write_bytes(b'no image')
    polygons.with_name(f'._{polygons.name}').write_bytes(b'no polygons')
    assert convert([root], out).written == 3
    (out / 'train_img' / '.stale.png').touch()
    assert convert([root], out).kept == 3


def test_missing_folders(root, out, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere is missing'):
        convert([root, tmp_path / 'nowhere'], out)
    with pytest.raises(FileNotFoundError, match='leftImg8bit is missing'):
        convert([tmp_path], out)
    (tmp_path / 'leftImg8bit').mkdir()
    (tmp_path / 'gtFine').mkdir()
    with pytest.raises(FileNotFoundError, match='no images with polygons'):
        convert([tmp_path], out)
    assert not out.exists()


def test_more_images_than_a_batch(part2, out, monkeypatch):
    convert([part2], out)
    monkeypatch.setattr(core, 'BATCH', 1)
    other = out.with_name('other')
    convert([part2], other)
    assert contents(out) == contents(other)


def test_tool(root, part2, out, capsys):
    main = runpy.run_path(str(TOOL))['main']
    arguments = [str(root), str(part2), '--out-dir', str(out)]
    main([*arguments, '--nproc', '2', '--check'])
    printed = capsys.readouterr().out
    assert f'{out}: 15 images written, 0 were there already' in printed
    assert '1 test images left out: they have no labels' in printed
    assert 'val: 5 images; 5 labels drawn and 0 found' in printed
    assert printed.endswith(f'--cfg-options data_root={out}\n')
    assert '\nnext: mmseg-ext train fpn_lite0_1xb4-600_idd-' in printed
    pixels = json.loads((out / 'report.json').read_text())['splits']
    (row,) = (line for line in printed.splitlines() if ' drivable' in line)
    assert [cell.strip().replace(',', '') for cell in row.split('|')[1:4]] == [
        'drivable fallback',
        *(str(pixels[s]['pixels']['drivable fallback']) for s in pixels),
    ]
    polygons = paths_of(root, 'val', '8', '000123')[1]
    polygons.write_text('{}')
    message = error_of(capsys, main, arguments)
    assert '8/000123_gtFine_polygons' in message
    main([*arguments, '--skip-invalid', '--overwrite'])
    assert f'skipped {polygons}: no polygon file' in capsys.readouterr().out
