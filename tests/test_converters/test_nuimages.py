import base64
import copy
import dataclasses
import json
import os
import re
import runpy
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.command_lines import error_of
from helpers.nuimages import (
    SHAPE,
    add_image,
    add_object,
    add_surface,
    box,
    encode,
    new_tables,
    tiny_tables,
    write_tables,
)
from mmseg_ext.converters import nuimages, nuimages_tables
from mmseg_ext.converters.nuimages import convert
from mmseg_ext.converters.nuimages_tables import TABLES, Index
from mmseg_ext.formats import json_rows
from mmseg_ext.formats.json_rows import iter_rows
from mmseg_ext.labels.nuimages import NUIMAGES, SURFACES, THING_OF, THINGS
from mmseg_ext.sample_data import render_scene
from mmseg_ext.sample_data.nuimages import (
    nuimages_filename,
    nuimages_label_map,
    write_nuimages,
)
from mmseg_ext.utils.images import encode_labels
from references import nuimages as reference

TOOL = Path(
    __file__, '../../../tools/dataset_converters/nuimages.py'
).resolve()
MINI = 'v1.0-mini'

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


@pytest.fixture
def tables():
    return tiny_tables()


@pytest.fixture
def root(tmp_path, tables):
    write_tables(tmp_path, tables)
    return tmp_path


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def read_masks(out):
    """Return ``{path below semantic_masks without suffix: label map}``."""
    masks = {}
    for path in (out / 'semantic_masks').rglob('*.png'):
        image = Image.open(path)
        assert image.mode == 'L'
        name = path.relative_to(out / 'semantic_masks').with_suffix('')
        masks[name.as_posix()] = np.array(image)
    return masks


def read_coco(out, version=MINI):
    return json.loads((out / f'nuimages_{version}.json').read_text())


def assert_equal_to_reference(root, out, version=MINI, without=()):
    """Compare all pixels and values; ``without`` names images left out."""
    expected = {
        name.removesuffix('.jpg'): labels
        for name, labels in reference.label_maps(root, version).items()
        if name not in without
    }
    masks = read_masks(out)
    assert masks.keys() == expected.keys()
    for name, labels in expected.items():
        np.testing.assert_array_equal(masks[name], labels, err_msg=name)
    full = reference.coco(root, version)
    left_out = {
        image['id']
        for image in full['images']
        if image['file_name'] in without
    }
    full['images'] = [
        image for image in full['images'] if image['id'] not in left_out
    ]
    full['annotations'] = [
        row for row in full['annotations'] if row['image_id'] not in left_out
    ]
    for number, row in enumerate(full['annotations'], start=1):
        row['id'] = number
    assert read_coco(out, version) == full
    return expected, full


def test_class_tables_equal_the_schema():
    assert list(NUIMAGES) == reference.CLASSES
    assert set(reference.CLASSES[-2:]) == SURFACES
    assert list(THINGS) == list(reference.THINGS)
    assert {
        name: thing
        for thing, names in reference.THINGS.items()
        for name in names
    } == THING_OF


@pytest.mark.parametrize('nproc', [1, 2])
@pytest.mark.parametrize('indent', [None, 0, 4], ids=['line', 'rows', 'deep'])
def test_equal_to_reference(tmp_path, tables, nproc, indent):
    write_tables(tmp_path, tables, indent=indent)
    report = convert(tmp_path, tmp_path / 'out', versions=[MINI], nproc=nproc)
    masks, coco = assert_equal_to_reference(tmp_path, tmp_path / 'out')
    assert (report.versions[MINI].images, report.written, report.kept) == (
        4,
        4,
        0,
    )
    assert report.versions[MINI].annotations == len(coco['annotations']) == 8
    assert report.skipped == []
    assert (masks['samples/CAM_FRONT/3'] == 255).all()
    assert sorted(contents(tmp_path / 'out')) == [
        'nuimages_v1.0-mini.json',
        'nuimages_v1.0-mini.tables.json',
        *(f'semantic_masks/samples/CAM_FRONT/{n}.png' for n in range(4)),
    ]


def test_painting_order(tmp_path):
    tables = new_tables()
    image = add_image(tables, 'x', shape=(2, 4))
    columns = [box(0, n, 2, 4, shape=(2, 4)) for n in range(4)]
    # Two surfaces of falling tokens and three objects in no order.
    add_object(tables, image, 'b', 'vehicle.car', columns[2])
    add_object(tables, image, 'c', 'animal', columns[3])
    add_object(tables, image, 'a', 'vehicle.truck', columns[2])
    add_surface(tables, image, 'z', 'vehicle.ego', columns[0])
    add_surface(tables, image, 'y', 'flat.driveable_surface', columns[1])
    write_tables(tmp_path, tables)
    convert(tmp_path, tmp_path / 'out', versions=[MINI])
    masks = read_masks(tmp_path / 'out')
    assert masks['samples/CAM_FRONT/x'].tolist() == [[24, 23, 16, 0]] * 2
    rows = read_coco(tmp_path / 'out')['annotations']
    assert [row['token'] for row in rows] == ['a', 'b']
    assert rows[1] == {
        'id': 2,
        'image_id': 1,
        'category_id': 0,
        'bbox': [2, 0, 2, 2],
        'area': 4,
        'iscrowd': 0,
        'segmentation': {
            'size': [2, 4],
            'counts': rows[1]['segmentation']['counts'],
        },
        'amodal_bbox': [5, 6, 20, 14],
        'token': 'b',
    }


def test_many_runs(tmp_path):
    rng = np.random.default_rng(0)
    tables = new_tables()
    image = add_image(tables, 'x', shape=(150, 250))
    for token, share in (('b', 0.5), ('c', 0.02), ('a', 0.4)):
        noise = rng.random((150, 250)) < share
        add_object(tables, image, token, 'vehicle.car', noise)
        add_surface(tables, image, token, 'vehicle.ego', ~noise)
    assert (np.diff(noise.T.ravel()) != 0).sum() > 10_000
    write_tables(tmp_path, tables)
    convert(tmp_path, tmp_path / 'out', versions=[MINI])
    assert_equal_to_reference(tmp_path, tmp_path / 'out')


def test_instances_by_pycocotools(root, tables):
    convert(root, root / 'out', versions=[MINI])
    objects = {row['token']: row for row in tables['object_ann']}
    rows = read_coco(root / 'out')['annotations']
    crowds = [row for row in rows if row['iscrowd']]
    assert [row['id'] for row in rows] == list(range(1, len(rows) + 1))
    assert len(crowds) == 2
    for row in rows:
        pixels = coco_mask.decode(row['segmentation'])
        rle = coco_mask.encode(np.asfortranarray(pixels))
        assert row['area'] == coco_mask.area(rle) > 0
        assert row['bbox'] == coco_mask.toBbox(rle).tolist()
        if not row['iscrowd']:
            mask = reference.decode(objects[row['token']]['mask'])
            assert (pixels == mask).all()


def test_objects_without_mask_become_regions_to_ignore(root):
    convert(root, root / 'out', versions=[MINI])
    rows = read_coco(root / 'out')['annotations']
    crowds = {row['category_id']: row for row in rows if row['iscrowd']}
    # The boxes are (-3, 8, 12, 35) and (30, 2, 44, 9), the image is 40x30.
    assert crowds.keys() == {9, 1}
    assert crowds[9]['bbox'] == [0, 8, 12, 22]
    assert crowds[9]['area'] == 12 * 22
    assert crowds[9]['amodal_bbox'] == [-3, 8, 15, 27]
    assert crowds[1]['bbox'] == [30, 2, 10, 7]
    assert crowds[1]['area'] == 10 * 7
    assert crowds[1]['amodal_bbox'] == [30, 2, 14, 7]


def test_objects_without_any_pixel_are_left_out_and_counted(tmp_path):
    tables = new_tables()
    image = add_image(tables, 'x')
    boxes = [
        (40, 3, 60, 9),  # right of the image
        (-9, 3, -2, 9),
        (4, 30, 9, 33),
        (7, 3, 7, 9),  # no width
        (7, 3, 7, 3),
        (7, 3, 8, 4),  # one pixel
    ]
    for number, bbox in enumerate(boxes):
        token = str(number)
        add_object(tables, image, token, 'vehicle.car', None, bbox=bbox)
    empty = np.zeros(SHAPE, bool)
    add_object(tables, image, 'a', 'vehicle.car', empty, bbox=(7, 3, 7, 9))
    add_object(tables, image, 'b', 'animal', None, bbox=(7, 3, 7, 9))
    seen = empty.copy()
    seen[5, 6] = True
    add_object(tables, image, 'c', 'vehicle.car', seen, bbox=(7, 3, 7, 9))
    write_tables(tmp_path, tables)
    report = convert(tmp_path, tmp_path / 'out', versions=[MINI])
    rows = read_coco(tmp_path / 'out')['annotations']
    assert [
        (row['id'], row['token'], row['iscrowd'], row['area'], row['bbox'])
        for row in rows
    ] == [(1, '5', 1, 1, [7, 3, 1, 1]), (2, 'c', 0, 1, [6, 5, 1, 1])]
    assert report.versions[MINI].annotations == 2
    assert report.versions[MINI].unseen == 6
    assert f'{MINI}: 6 objects left out: without mask' in str(report)


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_truth_evaluates_to_one(root, kind):
    convert(root, root / 'out', versions=[MINI])
    truth = COCO(root / 'out' / f'nuimages_{MINI}.json')
    found = [
        {**row, 'score': 1.0}
        for row in truth.dataset['annotations']
        if not row['iscrowd']
    ]
    evaluation = COCOeval(truth, truth.loadRes(found), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_only_the_suffix_of_the_name_changes(tmp_path, tables):
    names = ['samples/a.jpg.d/x.jpg', 'samples/b.jpg.jpg', 'samples/c+1.2.jpg']
    frames = [row for row in tables['sample_data'] if row['is_key_frame']]
    for row, name in zip(frames, names, strict=False):
        row['filename'] = name
    write_tables(tmp_path, tables)
    convert(tmp_path, tmp_path / 'out', versions=[MINI])
    assert_equal_to_reference(tmp_path, tmp_path / 'out')
    folder = tmp_path / 'out' / 'semantic_masks' / 'samples'
    for name in ('a.jpg.d/x.png', 'b.jpg.png', 'c+1.2.png'):
        assert (folder / name).is_file()


@pytest.mark.parametrize('slash', ['', '/'])
def test_paths_as_text(root, slash):
    convert(f'{root}{slash}', f'{root}/out{slash}', versions=(MINI,))
    assert_equal_to_reference(root, root / 'out')
    assert {path.name for path in root.iterdir()} == {MINI, 'out'}


@pytest.mark.parametrize('chunk', [1, 64, 1000])
def test_rows_across_chunks(tmp_path, tables, chunk, monkeypatch):
    monkeypatch.setattr(json_rows, 'CHUNK', chunk)
    tables['category'][0]['description'] = 'ü € 😀 } ] " \\'
    tables['object_ann'][3]['note'] = {'日本': ['}', ']']}
    write_tables(tmp_path, tables, indent=2 if chunk == 64 else None)
    convert(tmp_path, tmp_path / 'out', versions=[MINI])
    assert_equal_to_reference(tmp_path, tmp_path / 'out')


def test_text_that_is_not_ascii(tmp_path, tables):
    # Also in the rows before: spans are bytes, not characters.
    for row in tables['object_ann'] + tables['surface_ann']:
        row['note'] = 'Fußgänger 行人 🚗'
    frame = next(row for row in tables['sample_data'] if row['is_key_frame'])
    frame['filename'] = 'samples/Straße/行人.jpg'
    write_tables(tmp_path, tables)
    convert(tmp_path, tmp_path / 'out', versions=[MINI])
    masks, _ = assert_equal_to_reference(tmp_path, tmp_path / 'out')
    assert (masks['samples/Straße/行人'] != 255).any()


def test_tokens_that_are_not_ascii(tmp_path, tables):
    for table, key in (
        ('sample_data', 'token'),
        ('object_ann', 'sample_data_token'),
        ('surface_ann', 'sample_data_token'),
    ):
        for row in tables[table]:
            row[key] = row[key].replace('image', 'Bild ä')
    write_tables(tmp_path, tables)
    convert(tmp_path, tmp_path / 'out', versions=[MINI])
    assert_equal_to_reference(tmp_path, tmp_path / 'out')


def test_subset_for_validation(tmp_path, monkeypatch):
    assert nuimages.VAL_SUBSET_SIZE == 2400
    monkeypatch.setattr(nuimages, 'VAL_SUBSET_SIZE', 5)
    write_tables(tmp_path, tiny_tables(images=12), 'v1.0-val')
    convert(tmp_path, tmp_path / 'out', versions=['v1.0-val'])
    _, full = assert_equal_to_reference(tmp_path, tmp_path / 'out', 'v1.0-val')
    subset = read_coco(tmp_path / 'out', 'v1.0-val5')
    digests = {
        sha256(f'0:{image["token"]}'.encode()).hexdigest(): image['id']
        for image in full['images']
    }
    chosen = {digests[digest] for digest in sorted(digests)[:5]}
    assert chosen != {1, 2, 3, 4, 5}
    assert [image['id'] for image in subset['images']] == sorted(chosen)
    assert subset['annotations'] == [
        row for row in full['annotations'] if row['image_id'] in chosen
    ]
    assert subset['images'] == reference.subset(full, 5)['images']
    assert subset['categories'] == full['categories']


def test_subset_of_a_small_split_is_all_of_it(tmp_path, tables):
    write_tables(tmp_path, tables, 'v1.0-val')
    convert(tmp_path, tmp_path / 'out', versions=['v1.0-val'])
    subset = read_coco(tmp_path / 'out', 'v1.0-val2400')
    full = read_coco(tmp_path / 'out', 'v1.0-val')
    assert subset['images'] == full['images']
    assert subset['annotations'] == full['annotations']


def test_test_split_has_images_only(tmp_path, tables):
    tables.update(object_ann=[], surface_ann=[])
    write_tables(tmp_path, tables, 'v1.0-test')
    report = convert(tmp_path, tmp_path / 'out', versions=['v1.0-test'])
    counts = report.versions['v1.0-test']
    assert (counts.images, counts.annotations, report.written) == (4, 0, 0)
    assert read_coco(tmp_path / 'out', 'v1.0-test') == reference.coco(
        tmp_path, 'v1.0-test'
    )
    assert not (tmp_path / 'out' / 'semantic_masks').exists()


def test_empty_tables_of_another_version(tmp_path, tables):
    tables.update(object_ann=[], surface_ann=[])
    write_tables(tmp_path, tables)
    with pytest.raises(ValueError, match=r'_ann\.json'):
        convert(tmp_path, tmp_path / 'out', versions=[MINI])
    assert not list((tmp_path / 'out').rglob('*.png'))


def test_several_versions(tmp_path, tables):
    write_tables(tmp_path, tables, 'v1.0-train')
    other = tiny_tables(images=3)
    for row in other['sample_data']:
        row['filename'] = row['filename'].replace('FRONT', 'BACK')
    write_tables(tmp_path, other, 'v1.0-val')
    versions = ['v1.0-train', 'v1.0-val']
    report = convert(tmp_path, tmp_path / 'out', versions=versions, nproc=2)
    assert list(report.versions) == versions
    assert [part.written for part in report.versions.values()] == [4, 3]
    assert report.written == 7
    for version in versions:
        assert read_coco(tmp_path / 'out', version) == reference.coco(
            tmp_path, version
        )
    assert len(read_masks(tmp_path / 'out')) == 7


# Stopped runs.


def test_continued_run_ends_in_the_same_bytes(root):
    out = root / 'out'
    convert(root, out, versions=[MINI])
    whole = contents(out)
    masks = sorted((out / 'semantic_masks').rglob('*.png'))
    for path in (masks[1], masks[3], out / f'nuimages_{MINI}.json'):
        path.unlink()
    partial = masks[1].with_name('.1.abcd.png')
    partial.write_bytes(whole[str(masks[1].relative_to(out))][:30])
    times = {path: path.stat().st_mtime_ns for path in masks[0::2]}
    report = convert(root, out, versions=[MINI])
    partial.unlink(missing_ok=True)
    assert (report.written, report.kept, report.versions[MINI].images) == (
        2,
        2,
        4,
    )
    assert contents(out) == whole
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.fixture
def stop_at_mask(monkeypatch):
    """Return a context in which a run is stopped at its n-th mask."""

    @contextmanager
    def stopped(number):
        rename, masks = os.replace, []

        def replace(path, target):
            masks.extend([target] * (Path(target).suffix == '.png'))
            if len(masks) == number:
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, 'replace', replace)
            with pytest.raises(KeyboardInterrupt):
                yield

    return stopped


def test_stopped_in_the_middle(root, stop_at_mask):
    convert(root, root / 'whole', versions=[MINI])
    out = root / 'out'
    with stop_at_mask(3):
        convert(root, out, versions=[MINI])
    whole, left = contents(root / 'whole'), contents(out)
    assert f'nuimages_{MINI}.json' not in left
    assert len(read_masks(out)) == 2
    assert left.items() <= whole.items()
    report = convert(root, out, versions=[MINI])
    assert (report.written, report.kept) == (2, 2)
    assert contents(out) == whole


def test_stopped_while_overwriting_what_other_tables_gave(
    root, tables, stop_at_mask
):
    out = root / 'out'
    convert(root, out, versions=[MINI])
    for row in tables['object_ann']:
        row['category_token'] = 'category vehicle.bus.bendy'
    write_tables(root, tables)
    convert(root, root / 'whole', versions=[MINI])
    with stop_at_mask(2):
        convert(root, out, versions=[MINI], overwrite=True)
    # Nothing of the other tables is left that would pass for finished.
    assert contents(out).items() <= contents(root / 'whole').items()
    convert(root, out, versions=[MINI])
    assert contents(out) == contents(root / 'whole')


def test_stopped_by_an_invalid_row(tmp_path, tables):
    write_tables(tmp_path / 'good', tables)
    convert(tmp_path / 'good', tmp_path / 'whole', versions=[MINI])
    broken = copy.deepcopy(tables)
    broken['object_ann'][2]['mask']['counts'] = '!'
    write_tables(tmp_path / 'bad', broken)
    for nproc in (1, 2):
        out = tmp_path / f'out{nproc}'
        with pytest.raises(ValueError, match=r'object_ann\.json'):
            convert(tmp_path / 'bad', out, versions=[MINI], nproc=nproc)
        assert not (out / f'nuimages_{MINI}.json').exists()
        assert not list(out.rglob('.*'))
        whole = contents(tmp_path / 'whole')
        masks = {k: v for k, v in contents(out).items() if k[-4:] == '.png'}
        assert masks.items() <= whole.items()
        # Mended tables are other tables.
        with pytest.raises(ValueError, match='overwrite'):
            convert(tmp_path / 'good', out, versions=[MINI])
        convert(tmp_path / 'good', out, versions=[MINI], overwrite=True)
        assert contents(out) == whole


def test_overwrite(root):
    out = root / 'out'
    convert(root, out, versions=[MINI])
    whole = contents(out)
    mask = min(out.rglob('*.png'))
    mask.write_bytes(b'anything')
    report = convert(root, out, versions=[MINI], overwrite=True)
    assert (report.written, report.kept) == (4, 0)
    assert contents(out) == whole


def test_damaged_masks_are_made_again(root):
    out = root / 'out'
    convert(root, out, versions=[MINI])
    whole = contents(out)
    masks = sorted((out / 'semantic_masks').rglob('*.png'))
    masks[0].write_bytes(b'')
    masks[1].write_bytes(masks[1].read_bytes()[:-1])
    masks[2].write_bytes(encode_labels(np.zeros((40, 30), np.uint8)))
    report = convert(root, out, versions=[MINI])
    assert (report.written, report.kept) == (3, 1)
    assert contents(out) == whole


def test_masks_that_would_lie_among_the_photographs(root, tables):
    for row in tables['sample_data']:
        row['filename'] = row['filename'].replace('.jpg', '.png')
    write_tables(root, tables)
    (root / 'samples' / 'CAM_FRONT').mkdir(parents=True)
    (root / 'samples' / 'CAM_FRONT' / '0.png').write_bytes(b'photograph')
    (root / 'out').mkdir()
    (root / 'out' / 'semantic_masks').symlink_to(root)
    before = contents(root)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r'is read, but .*to be written'):
            convert(root, root / 'out', versions=[MINI], overwrite=overwrite)
    assert contents(root) == before


# Tables that change while they are read.


def replace_rows(path):
    """Exchange two rows of equal length, as another download could."""
    rows = json.loads(path.read_text())
    rows[0], rows[1] = rows[1], rows[0]
    replace_table(path, rows)


def edit_row(path):
    """Edit the file as it lies there."""
    text = path.read_text().replace('category ', 'kategorie ', 1)
    path.write_text(text)


def append_row(path):
    rows = json.loads(path.read_text())
    replace_table(path, [*rows, rows[0] | {'token': 'one more'}])


def cut_table(path):
    path.write_bytes(path.read_bytes()[:50])


def replace_table(path, rows):
    other = path.with_suffix('.new')
    other.write_text(json.dumps(rows, ensure_ascii=False))
    other.replace(path)


@pytest.mark.parametrize('table', ['object_ann', 'surface_ann'])
@pytest.mark.parametrize(
    'change', [replace_rows, edit_row, append_row, cut_table, Path.unlink]
)
@pytest.mark.parametrize('skip_invalid', [False, True])
def test_table_that_changes_after_it_was_indexed(
    root, table, change, skip_invalid, monkeypatch
):
    path, read = root / MINI / f'{table}.json', Index.read

    def read_and_change(self, progress):
        read(self, progress)
        change(path)

    monkeypatch.setattr(Index, 'read', read_and_change)
    with pytest.raises((ValueError, OSError), match=f'{table}.json'):
        convert(root, root / 'out', versions=[MINI], skip_invalid=skip_invalid)
    assert not list((root / 'out').glob(f'nuimages_{MINI}.json'))
    assert not list((root / 'out').glob('skipped.json'))


def test_rows_are_compared_even_if_size_and_time_are_the_same(
    root, monkeypatch
):
    path, read = root / MINI / 'object_ann.json', Index.read

    def read_and_change(self, progress):
        read(self, progress)
        before = path.stat()
        replace_rows(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size

    monkeypatch.setattr(Index, 'read', read_and_change)
    with pytest.raises(
        ValueError, match=r'object_ann\.json was changed while'
    ):
        convert(root, root / 'out', versions=[MINI], skip_invalid=True)


@pytest.mark.parametrize('table', TABLES)
def test_table_that_changes_while_it_is_indexed(root, table, monkeypatch):
    path = root / MINI / f'{table}.json'

    def iter_and_change(name, on_chunk):
        yield from iter_rows(name, on_chunk)
        if name == path:
            append_row(path)

    monkeypatch.setattr(nuimages_tables, 'iter_rows', iter_and_change)
    with pytest.raises(ValueError, match=rf'{table}\.json was changed while'):
        convert(root, root / 'out', versions=[MINI])
    assert contents(root / 'out') == {}


def test_masks_of_other_tables_are_refused(root, tables):
    out = root / 'out'
    convert(root, out, versions=[MINI])
    before = contents(out)
    tables['object_ann'][0]['category_token'] = 'category animal'
    write_tables(root, tables)
    with pytest.raises(ValueError, match=r'tables.*overwrite'):
        convert(root, out, versions=[MINI])
    assert contents(out) == before
    convert(root, out, versions=[MINI], overwrite=True)
    assert_equal_to_reference(root, out)


def test_same_bytes_with_any_number_of_processes(tmp_path):
    write_tables(tmp_path, tiny_tables(images=100), 'v1.0-val')
    for nproc in (1, 2):
        convert(
            tmp_path, tmp_path / f'{nproc}', versions=['v1.0-val'], nproc=nproc
        )
    assert contents(tmp_path / '1') == contents(tmp_path / '2')


# Invalid rows. Those changed are of the first image, but for its key frame.

IMAGE = 'samples/CAM_FRONT/0.jpg'
TOKENS = {
    'sample_data': 'image 0',
    'object_ann': '3 image 0',
    'surface_ann': 'a image 0',
}


def coded(rle, size=SHAPE):
    """Return a mask with these bytes as run-length code."""
    return {'size': list(size), 'counts': base64.b64encode(rle).decode()}


def changed(tables, table, change):
    """Return a copy with a row changed; None as value removes its key."""
    tables = copy.deepcopy(tables)
    row = next(
        row for row in tables[table] if row['token'] == TOKENS.get(table)
    )
    row.update(change)
    for key in [key for key, value in change.items() if value is REMOVED]:
        del row[key]
    return tables


REMOVED = object()
MASKS = [
    ('size', encode(np.ones(SHAPE[::-1], bool)), r'30x40.*40x30'),
    ('sizes', {**encode(np.ones(SHAPE, bool)), 'size': [30]}, 'size'),
    ('no-size', {'counts': ''}, 'size'),
    ('no-counts', {'size': [30, 40]}, 'counts'),
    ('list', {'size': [30, 40], 'counts': [1200]}, 'counts'),
    ('text', 'PPYo0', 'mask'),
    ('base64', {'size': [30, 40], 'counts': 'A'}, 'base64'),
    ('base64-signs', {'size': [30, 40], 'counts': 'ab*='}, 'base64'),
    ('base64-unicode', {'size': [30, 40], 'counts': 'äöüß'}, 'ASCII'),
    ('characters', coded(b'\x07\xff'), 'RLE'),
    ('cut', coded(b'\\U'), 'RLE'),
    ('nothing', coded(b''), 'RLE'),
    # The runs 5, -1, 1196 and, of a mask one row lower, 1160.
    ('negative', coded(b'5O\\U1'), 'negative'),
    ('sum', coded(b'XT1'), '1160.*1200'),
    ('huge', coded(b'o' * 40 + b'0'), 'RLE'),
]
ROWS = [
    *(
        pytest.param(table, {'mask': mask}, reason, id=f'{table}-mask-{name}')
        for name, mask, reason in MASKS
        for table in ('object_ann', 'surface_ann')
    ),
    *(
        pytest.param(table, change, reason, id=f'{table}-{name}')
        for table, name, change, reason in (
            ('object_ann', 'category', {'category_token': 'x'}, "'x'"),
            ('surface_ann', 'category', {'category_token': 'x'}, "'x'"),
            (
                'object_ann',
                'no-category',
                {'category_token': REMOVED},
                'categ',
            ),
            ('surface_ann', 'no-mask', {'mask': REMOVED}, 'mask'),
            ('object_ann', 'same-token', {'token': '2 image 0'}, 'token'),
            ('surface_ann', 'same-token', {'token': 'b image 0'}, 'token'),
            ('object_ann', 'bbox-3', {'bbox': [1, 2, 3]}, 'bbox'),
            ('object_ann', 'bbox-text', {'bbox': '1234'}, 'bbox'),
            ('object_ann', 'bbox-null', {'bbox': [1, 2, None, 4]}, 'bbox'),
            ('object_ann', 'bbox-nan', {'bbox': [1, 2, np.nan, 4]}, '.'),
            ('object_ann', 'bbox-inf', {'bbox': [1, 2, np.inf, 4]}, '.'),
            ('object_ann', 'bbox-x', {'bbox': [9, 2, 8, 4]}, 'xmin <= xmax'),
            ('object_ann', 'bbox-y', {'bbox': [1, 5, 8, 4]}, 'ymin <= ymax'),
            ('object_ann', 'bbox-far', {'bbox': [1, 2, 1e308, 4]}, 'bbox'),
            ('object_ann', 'no-bbox', {'bbox': REMOVED}, 'bbox'),
            (
                'object_ann',
                'bbox-animal',
                {'bbox': [9, 2, 8, 4], 'category_token': 'category animal'},
                'xmin <= xmax',
            ),
            ('sample_data', 'sample', {'sample_token': 'x'}, "'x'.*sample"),
            ('sample_data', 'no-sample', {'sample_token': REMOVED}, 'sample'),
            ('sample_data', 'absolute', {'filename': '/etc/x.jpg'}, '/etc/x'),
            ('sample_data', 'parent', {'filename': 'a/../../x.jpg'}, 'root'),
            ('sample_data', 'root', {'filename': 'a/..'}, 'filename'),
            ('sample_data', 'long', {'filename': 'x' * 256}, 'of 256 bytes'),
            ('sample_data', 'nul', {'filename': 'x\0.jpg'}, 'has a NUL'),
            ('sample_data', 'no-text', {'filename': 5}, 'filename'),
            ('sample_data', 'width-0', {'width': 0}, '0x30'),
            (
                'sample_data',
                'large',
                {'width': 60_000, 'height': 60_000},
                '60000x60000: expected at most 178956970 pixels',
            ),
            ('sample_data', 'huge', {'width': 10**9, 'height': 10**9}, 'most'),
            ('sample_data', 'digits', {'width': 10**4000}, '<= 4294967296'),
            ('sample_data', 'height', {'height': '30'}, 'height'),
            ('sample_data', 'key', {'is_key_frame': 'yes'}, 'is_key_frame'),
        )
    ),
]


@pytest.mark.parametrize(('table', 'change', 'reason'), ROWS)
def test_invalid_rows(tmp_path, tables, table, change, reason):
    write_tables(tmp_path / 'good', tables)
    bad, out = tmp_path / 'bad', tmp_path / 'out'
    write_tables(bad, changed(tables, table, change))
    token = change.get('token', TOKENS[table])
    with pytest.raises(ValueError, match=reason) as error:
        convert(bad, out, versions=[MINI])
    assert f'{table}.json' in str(error.value)
    assert token in str(error.value)
    assert not (out / f'nuimages_{MINI}.json').exists()
    assert not list(out.rglob('0.png'))

    report = convert(bad, out, versions=[MINI], skip_invalid=True)
    assert_equal_to_reference(tmp_path / 'good', out, without=(IMAGE,))
    assert report.versions[MINI].images == 3
    assert report.written + report.kept == 3
    [skip] = report.skipped
    assert skip.file == str(bad / MINI / f'{table}.json')
    assert skip.reason.startswith(f'token {token}: ')
    assert re.search(reason, skip.reason)
    if table != 'sample_data':
        assert f': image {IMAGE}: ' in skip.reason
    listed = json.loads((out / 'skipped.json').read_text())
    assert listed == [dataclasses.asdict(skip)]


@pytest.mark.parametrize('depth', [1000, 100_000])
@pytest.mark.parametrize('table', ['object_ann', 'surface_ann', 'sample_data'])
def test_rows_nested_deep(tmp_path, tables, table, depth):
    write_tables(tmp_path / 'good', tables)
    bad, out = tmp_path / 'bad', tmp_path / 'out'
    write_tables(bad, changed(tables, table, {'more': 'HERE'}))
    path = bad / MINI / f'{table}.json'
    nested = '[' * depth + ']' * depth
    path.write_text(path.read_text().replace('"HERE"', nested))
    named = f'{table}.json: token {TOKENS[table]}: .*it is nested too deep'
    with pytest.raises(ValueError, match=named):
        convert(bad, out, versions=[MINI])
    report = convert(bad, out, versions=[MINI], skip_invalid=True)
    assert len(report.skipped) == 1
    assert_equal_to_reference(tmp_path / 'good', out, without=(IMAGE,))


@pytest.mark.parametrize(
    ('encoding', 'reason'),
    [('utf-8-sig', None), ('utf-16', 'UTF-16'), ('cp1252', 'byte 0x')],
)
def test_encodings_of_tables(tmp_path, tables, encoding, reason):
    write_tables(tmp_path / 'good', tables)
    bad, out = tmp_path / 'bad', tmp_path / 'out'
    name = tables['category'][0]['name']
    tables['category'][0]['token'] += 'ü'
    for row in (*tables['object_ann'], *tables['surface_ann']):
        if row['category_token'] == f'category {name}':
            row['category_token'] += 'ü'
    write_tables(bad, tables)
    path = bad / MINI / 'category.json'
    path.write_bytes(path.read_text('utf-8').encode(encoding))
    if reason:
        named = f'category.json.*encoded as .*{reason}'
        with pytest.raises(ValueError, match=named):
            convert(bad, out, versions=[MINI])
    else:
        convert(bad, out, versions=[MINI])
        assert_equal_to_reference(tmp_path / 'good', out)


def test_table_that_is_a_pipe(tmp_path, tables):
    write_tables(tmp_path, tables)
    path = tmp_path / MINI / 'sample.json'
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FileNotFoundError, match=r'sample\.json is missing'):
        convert(tmp_path, tmp_path / 'out', versions=[MINI])


def test_skipped_image_is_named_by_its_file(tmp_path, tables):
    bad = changed(tables, 'sample_data', {'sample_token': 'x'})
    write_tables(tmp_path, bad)
    report = convert(
        tmp_path, tmp_path / 'out', versions=[MINI], skip_invalid=True
    )
    [skip] = report.skipped
    assert f': image {IMAGE}: sample_token' in skip.reason


@pytest.mark.parametrize('table', ['object_ann', 'surface_ann'])
@pytest.mark.parametrize('token', ['nowhere', 'sweep 1 0', None, 7])
def test_row_of_no_key_frame(tmp_path, tables, table, token):
    bad, good = copy.deepcopy(tables), copy.deepcopy(tables)
    row = bad[table][0]
    row['sample_data_token'] = token
    del good[table][0]
    write_tables(tmp_path / 'bad', bad)
    write_tables(tmp_path / 'good', good)
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match=f'{token}') as error:
        convert(tmp_path / 'bad', out, versions=[MINI])
    assert f'{table}.json' in str(error.value)
    assert row['token'] in str(error.value)
    assert not contents(out)
    report = convert(tmp_path / 'bad', out, versions=[MINI], skip_invalid=True)
    assert_equal_to_reference(tmp_path / 'good', out)
    [skip] = report.skipped
    assert skip.file == str(tmp_path / 'bad' / MINI / f'{table}.json')
    assert skip.reason.startswith(f'token {row["token"]}: sample_data_token')


@pytest.mark.parametrize(
    'change',
    [
        pytest.param({'filename': 'samples/CAM_FRONT/0.jpg'}, id='same-name'),
        pytest.param({'filename': 'samples/CAM_FRONT/0.png'}, id='same-mask'),
        pytest.param({'filename': 'samples/./CAM_FRONT//0.jpg'}, id='written'),
        pytest.param({'token': 'image 0'}, id='token'),
    ],
)
def test_key_frames_that_cannot_be_told_apart(tmp_path, tables, change):
    frames = [row for row in tables['sample_data'] if row['is_key_frame']]
    frames[3].update(change)  # it has no annotations
    write_tables(tmp_path, tables)
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match=r'sample_data\.json') as error:
        convert(tmp_path, out, versions=[MINI])
    assert frames[3]['token'] in str(error.value)
    assert not contents(out)
    report = convert(tmp_path, out, versions=[MINI], skip_invalid=True)
    assert report.versions[MINI].images == 3
    assert len(report.skipped) == 1
    write_tables(tmp_path / 'good', tiny_tables())
    left_out = ('samples/CAM_FRONT/3.jpg',)
    assert_equal_to_reference(tmp_path / 'good', out, without=left_out)


def test_category_of_no_class(tmp_path, tables):
    for row in tables['category']:
        if row['name'] == 'human.pedestrian.adult':
            row['name'] = 'human.robot'
    tables['object_ann'] = [
        row
        for row in tables['object_ann']
        if 'adult' not in row['category_token'] or '0' in row['token']
    ]
    write_tables(tmp_path, tables)
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match=r'human\.robot'):
        convert(tmp_path, out, versions=[MINI])
    report = convert(tmp_path, out, versions=[MINI], skip_invalid=True)
    [skip] = report.skipped
    assert f': image {IMAGE}: ' in skip.reason
    assert report.versions[MINI].images == 3


def test_all_images_skipped(tmp_path):
    tables = new_tables()
    image = add_image(tables, '0')
    row = add_object(tables, image, 'a', 'vehicle.car', box(1, 1, 9, 9))
    row['category_token'] = 'x'
    add_surface(tables, image, 'b', 'vehicle.ego', None)
    write_tables(tmp_path, tables)
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'skipped.json').write_text('[]')
    with pytest.raises(
        ValueError, match=f'no image of {MINI} is val'
    ) as error:
        convert(tmp_path, out, versions=[MINI], skip_invalid=True)
    assert 'token a: image samples/CAM_FRONT/0.jpg: ' in str(error.value)
    assert [*contents(out)] == [f'nuimages_{MINI}.tables.json']


def test_skipped_image_loses_its_mask(root, tables):
    out = root / 'out'
    convert(root, out, versions=[MINI])
    write_tables(root, changed(tables, 'object_ann', {'category_token': 'x'}))
    convert(root, out, versions=[MINI], overwrite=True, skip_invalid=True)
    assert not (out / 'semantic_masks' / 'samples/CAM_FRONT/0.png').exists()
    assert len(read_masks(out)) == 3


def test_list_of_an_earlier_run_does_not_stay(root, tables):
    out = root / 'out'
    write_tables(root, changed(tables, 'object_ann', {'category_token': 'x'}))
    convert(root, out, versions=[MINI], skip_invalid=True)
    assert len(json.loads((out / 'skipped.json').read_text())) == 1
    write_tables(root, tables)
    convert(root, out, versions=[MINI], overwrite=True, skip_invalid=True)
    assert json.loads((out / 'skipped.json').read_text()) == []
    convert(root, out, versions=[MINI])
    assert not (out / 'skipped.json').exists()


def test_masks_beside_those_of_another_version_are_compared(root, tables):
    """Mini has some of the images of train, and a record of its own."""
    out = root / 'out'
    write_tables(root, tables, 'v1.0-train')
    convert(root, out, versions=[MINI])
    report = convert(root, out, versions=['v1.0-train'])
    assert (report.written, report.kept) == (0, 4)
    assert_equal_to_reference(root, out, 'v1.0-train')
    (out / 'nuimages_v1.0-train.tables.json').unlink()
    tables['surface_ann'][0]['category_token'] = 'category animal'
    write_tables(root, tables, 'v1.0-train')
    for _ in range(2):
        with pytest.raises(ValueError, match=r'0\.png is there, but is not'):
            convert(root, out, versions=['v1.0-train'])
    convert(root, out, versions=['v1.0-train'], overwrite=True)
    assert_equal_to_reference(root, out, 'v1.0-train')


# Broken tables and arguments.


@pytest.mark.parametrize(
    'text',
    [
        pytest.param('', id='empty'),
        pytest.param('[{"token": "a"', id='truncated'),
        pytest.param('[{"token": "a"}', id='open'),
        pytest.param('[{"token": "a"},', id='comma'),
        pytest.param('[{"token": "a"},]', id='no-row'),
        pytest.param('[{"token": "a"} {"token": "b"}]', id='no-comma'),
        pytest.param('[{"token": a}]', id='no-json'),
        pytest.param('[{"token": "a"}]]', id='rest'),
        pytest.param('{"token": "a"}', id='no-list'),
        pytest.param('["a", "b"]', id='no-objects'),
        pytest.param('\x00\x00', id='zeros'),
    ],
)
@pytest.mark.parametrize(
    'table', ['category', 'sample', 'sample_data', 'object_ann', 'surface_ann']
)
def test_broken_tables(root, table, text):
    (root / MINI / f'{table}.json').write_text(text)
    for skip_invalid in (False, True):
        with pytest.raises(ValueError, match=rf'{table}\.json'):
            convert(
                root, root / 'out', versions=[MINI], skip_invalid=skip_invalid
            )
        assert not contents(root / 'out')


def test_half_a_table(root):
    path = root / MINI / 'object_ann.json'
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r'object_ann\.json'):
        convert(root, root / 'out', versions=[MINI])
    assert not contents(root / 'out')


@pytest.mark.parametrize('table', ['category', 'sample', 'sample_data'])
def test_rows_without_token(root, tables, table):
    del tables[table][-1]['token']
    write_tables(root, tables)
    with pytest.raises(ValueError, match=rf'{table}\.json.*token'):
        convert(root, root / 'out', versions=[MINI])


def test_bytes_that_are_no_text(root):
    path = root / MINI / 'object_ann.json'
    path.write_bytes(path.read_bytes().replace(b'1 image 0', b'1 \xff 0'))
    with pytest.raises(ValueError, match=r'object_ann\.json'):
        convert(root, root / 'out', versions=[MINI])


@pytest.mark.parametrize(
    'table', ['category', 'sample', 'sample_data', 'object_ann', 'surface_ann']
)
def test_missing_table(root, table):
    (root / MINI / f'{table}.json').unlink()
    with pytest.raises(FileNotFoundError, match=rf'{table}\.json'):
        convert(root, root / 'out', versions=[MINI])
    assert not (root / 'out').exists()


def test_missing_root(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        convert(tmp_path / 'nowhere', tmp_path / 'out', versions=[MINI])
    assert not (tmp_path / 'out').exists()


def test_missing_version_stops_before_the_others(root):
    with pytest.raises(FileNotFoundError, match=r'v1\.0-val'):
        convert(root, root / 'out', versions=[MINI, 'v1.0-val'])
    assert not (root / 'out').exists()


def test_unknown_version(root):
    with pytest.raises(ValueError, match=r"'v2\.0'.*v1\.0-mini"):
        convert(root, root / 'out', versions=['v2.0'])
    assert not (root / 'out').exists()


def test_no_process(root):
    with pytest.raises(ValueError, match='nproc=0'):
        convert(root, root / 'out', versions=[MINI], nproc=0)
    assert not (root / 'out').exists()


# Sample data.


@pytest.fixture(scope='module')
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp('nuimages')
    write_nuimages(root, num=20, size=SIZE, seed=3, progress=False)
    convert(root, root / 'annotations', versions=VERSIONS)
    return root


SIZE = (160, 90)
VERSIONS = ('v1.0-train', 'v1.0-val', 'v1.0-test')


@pytest.mark.parametrize('version', VERSIONS)
def test_sample_data_equal_reference(sample, version):
    out = sample / 'annotations'
    full = reference.coco(sample, version)
    assert read_coco(out, version) == full
    masks = read_masks(out)
    for name, labels in reference.label_maps(sample, version).items():
        np.testing.assert_array_equal(masks[name[:-4]], labels)


def test_sample_data_equal_scenes(sample):
    masks = read_masks(sample / 'annotations')
    assert len(masks) == 16
    for index in range(16):
        scene = render_scene(SIZE, 3, index)
        name = nuimages_filename(index).removesuffix('.jpg')
        truth = nuimages_label_map(scene, 3, index)
        np.testing.assert_array_equal(masks.pop(name), truth)
    assert not masks


# The tool.


def run_tool(*args):
    runpy.run_path(str(TOOL))['main']([str(arg) for arg in args])


def test_tool(root, tables, capsys):
    write_tables(root, changed(tables, 'object_ann', {'category_token': 'x'}))
    common = ('--data-root', root, '--versions', MINI)
    message = error_of(capsys, run_tool, *common, '--out-dir', root / 'out')
    assert re.search(r'object_ann\.json.*3 image 0', message)
    run_tool(*common, '--out-dir', root / 'out', '--skip-invalid')
    first, skip, last, following = capsys.readouterr().out.splitlines()
    assert ': v1.0-mini: 3 images, ' in first
    assert f': image {IMAGE}: category_token' in skip
    listed = root / 'out' / 'skipped.json'
    assert last == f'1 invalid files skipped, see {listed}'
    assert following.startswith(
        f'next: mmseg-ext browse {root}/out/nuimages_v1.0-mini.json '
        f'--img-dir {root} '
    )
    assert len(read_masks(root / 'out')) == 3


def test_tool_counts_what_it_does_not_name(tmp_path, capsys):
    tables = tiny_tables(images=14)
    for row in tables['object_ann'][:12]:
        row['category_token'] = 'x'
    write_tables(tmp_path, tables)
    run_tool(tmp_path, '--skip-invalid')
    first, *skips, last, _ = capsys.readouterr().out.splitlines()
    assert ': v1.0-mini: 2 images, ' in first
    assert len(skips) == 10
    assert last.startswith('12 invalid files skipped, 2 of them not named')


def test_tool_takes_one_root(root, capsys):
    message = error_of(capsys, run_tool, root, '--data-root', root)
    assert 'give one of them' in message
    run_tool('--data-root', root, '--out-dir', root / 'out')
    assert_equal_to_reference(root, root / 'out')


def test_tool_explains_itself(capsys):
    with pytest.raises(SystemExit, match='0'):
        run_tool('--help')
    text = capsys.readouterr().out
    for word in ('semantic_masks', 'v1.0-val2400', '--skip-invalid'):
        assert word in text
