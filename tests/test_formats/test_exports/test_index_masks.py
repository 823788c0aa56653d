import os

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.mask_files import png_file
from helpers.real_data import NAILS
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Masks,
)
from mmseg_ext.formats.exports.index_masks import IndexMasks, write
from mmseg_ext.formats.exports.regions import mask_of

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (24, 32, 3), np.uint8)


def mask_with(*values):
    """Return stripes of values, the first one over the rest."""
    mask = np.full((24, 32), values[0], np.uint8)
    for number, value in enumerate(values):
        mask[number * 3 : number * 3 + 2, 4:20] = value
    return mask


def encoded(pixels, suffix='.png', *options):
    _, data = cv2.imencode(suffix, pixels, options)
    return data.tobytes()


def save(root, masks, suffix='.png', classes=None):
    """Write masks, arrays or bytes, by name, each with a photograph."""
    for name, mask in masks.items():
        for path, data in (
            (root / 'images' / f'{name}.jpg', encoded(PHOTO, '.jpg')),
            (
                root / 'masks' / f'{name}{suffix}',
                mask if isinstance(mask, bytes) else encoded(mask, suffix),
            ),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for name, text in (classes or {}).items():
        (root / name).write_text(text)


def read(root, class_list=None):
    export = IndexMasks.found(Folder.listed(root, class_list))
    return export and export.settled(
        [export.tally(picture) for picture in export.pictures]
    )


def one(root):
    """Return the label map of the first picture."""
    export = read(root)
    return export.label_map(export.pictures[0])


def test_values_are_classes(tmp_path):
    masks = {'a': mask_with(0, 2, 3), 'b': mask_with(3, 1, 255)}
    save(tmp_path, masks)
    export = IndexMasks.found(Folder.listed(tmp_path))
    assert [(p.name, p.labels, p.split) for p in export.pictures] == [
        ('images/a.jpg', 'masks/a.png', None),
        ('images/b.jpg', 'masks/b.png', None),
    ]
    assert export.classes is None
    tallies = [export.tally(picture) for picture in export.pictures]
    for found, mask in zip(tallies, masks.values(), strict=True):
        values, counts = np.unique(mask, return_counts=True)
        assert found.size == (32, 24)
        assert found.counts == dict(zip(values, counts, strict=True))
    export = export.settled(tallies)
    assert export.classes.names == ('class_0', 'class_1', 'class_2', 'class_3')
    assert export.classes.palette[1] == (128, 0, 0)
    assert export.classes.background == 0
    assert export.masks == Masks(label_map={})
    assert [*map(export.index_of, (0, 3, 255))] == [0, 3, 255]
    for picture, mask in zip(export.pictures, masks.values(), strict=True):
        assert (export.label_map(picture) == mask).all()
    assert export.evidence == (
        '2 PNG in masks/, 2 looked at: 5 values, 0, 1, 2, 3, 255',
        '2 JPG in images/, each with a mask, such as masks/a.png of '
        'images/a.jpg',
        'no list of classes: values 0, 1, 2, 3 are class_0, class_1, '
        'class_2, class_3',
    )


def test_values_with_gaps(tmp_path):
    mask = mask_with(20, 7, 100, 255)
    save(tmp_path, {'a': mask})
    export = read(tmp_path)
    assert export.classes.names == ('class_7', 'class_20', 'class_100')
    assert export.classes.background is None
    assert export.masks == Masks(label_map={7: 0, 20: 1, 100: 2})
    expected = np.select([mask == 7, mask == 20, mask == 100], [0, 1, 2], 255)
    assert (export.label_map(export.pictures[0]) == expected).all()


FORMS = {
    'gray': lambda mask: encoded(mask),
    'equal channels': lambda mask: encoded(np.dstack([mask] * 3)),
    'filtered rows': lambda mask: encoded(
        mask, '.png', cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH
    ),
    '4 bits': lambda mask: png_file(mask, 4, 0),
    '16 bits': lambda mask: encoded(mask.astype(np.uint16)),
    'BMP': lambda mask: encoded(np.dstack([mask] * 3), '.bmp'),
}


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_forms(form, tmp_path):
    mask = mask_with(0, 1, 2, 9)
    save(tmp_path, {'a': form(mask)})
    export = read(tmp_path)
    assert export.masks == Masks(label_map={0: 0, 1: 1, 2: 2, 9: 3})
    expected = np.where(mask == 9, 3, mask)
    assert (export.label_map(export.pictures[0]) == expected).all()


def test_palettes(tmp_path):
    mask = mask_with(0, 1, 2)
    save(tmp_path, {'a': mask, 'b': mask})
    for name in 'ab':
        image = Image.fromarray(mask, 'P')
        image.putpalette([9, 8, 7, 200, 0, 0, 0, 0, 0])
        image.save(tmp_path / f'masks/{name}.png')
    assert (one(tmp_path) == mask).all()


@pytest.mark.parametrize(
    ('classes', 'names', 'background'),
    [
        (None, ('background', 'object'), 0),
        ('nail\n', ('background', 'nail'), 0),
        ('skin\nnail\n', ('skin', 'nail'), None),
        ('bg\nnail\n', ('bg', 'nail'), 0),
    ],
)
def test_black_and_white(classes, names, background, tmp_path):
    mask = mask_with(0, 255)
    lists = {'classes.txt': classes} if classes else {}
    save(tmp_path, {'a': mask, 'b': mask * 0}, classes=lists)
    export = read(tmp_path)
    assert export.classes.names == names
    assert export.classes.background == background
    assert export.masks == Masks(label_map={0: 0, 255: 1})
    assert [*map(export.index_of, (0, 255))] == [0, 1]
    label = export.label_map(export.pictures[0])
    assert (label == mask // 255).all()
    assert (export.label_map(export.pictures[1]) == 0).all()


def test_black_and_white_and_a_long_list(tmp_path):
    save(tmp_path, {'a': mask_with(0, 255)}, classes={'codes.txt': 'a\nb\nc'})
    with pytest.raises(InvalidExportError, match=r'codes.txt: lists 3 classe'):
        read(tmp_path)


LISTS = [
    pytest.param(
        'codes.txt',
        'road\r\nvoid\r\ncar\r\n',
        ('road', 'car'),
        {0: 0, 1: 255, 2: 1},
        id='void in between',
    ),
    pytest.param(
        'class_names.txt',
        'road\npath\ncar\n',
        ('road', 'path', 'car'),
        {},
        id='names',
    ),
    pytest.param(
        '_classes.csv',
        'Pixel Value, Class\n2, car\n0, background\n1, path\n',
        ('car', 'background', 'path'),
        {2: 0, 0: 1, 1: 2},
        id='values',
    ),
    pytest.param(
        'class_dict.csv',
        'name,r,g,b\nroad,9,9,9\npath,8,9,9\ncar,7,9,9\n',
        ('road', 'path', 'car'),
        {},
        id='colors',
    ),
    pytest.param(
        'classes.txt',
        '__ignore__\nroad\npath\ncar\n',
        ('road', 'path', 'car'),
        {0: 0, 1: 1, 2: 2, 255: 255},
        id='labelme',
    ),
]


@pytest.mark.parametrize(('name', 'text', 'names', 'label_map'), LISTS)
def test_lists(name, text, names, label_map, tmp_path):
    mask = mask_with(0, 1, 2, 255)
    save(tmp_path, {'a': mask}, classes={name: text})
    export = read(tmp_path)
    assert export.classes.names == names
    stays = {k: v for k, v in label_map.items() if k == v} == label_map
    assert export.masks == Masks(label_map={} if stays else label_map)
    table = np.arange(256)
    table[list(label_map)] = list(label_map.values())
    assert (one(tmp_path) == table[mask]).all()
    assert export.evidence[0].endswith(
        f'4 values, 0, 1, 2, 255, all in {name}'
    )
    if name == 'class_dict.csv':
        assert export.classes.palette == ((9, 9, 9), (8, 9, 9), (7, 9, 9))


def test_a_list_that_was_given(tmp_path):
    save(
        tmp_path / 'data',
        {'a': mask_with(0, 1)},
        classes={'classes.txt': 'a\nb'},
    )
    (tmp_path / 'mine.txt').write_text('x\ny\n')
    export = read(tmp_path / 'data', tmp_path / 'mine.txt')
    assert export.classes.names == ('x', 'y')
    (tmp_path / 'mine.txt').write_text('x\nx\n')
    with pytest.raises(InvalidExportError, match=r'mine.txt.*repeats'):
        read(tmp_path / 'data', tmp_path / 'mine.txt')


def test_values_that_are_no_class(tmp_path):
    save(
        tmp_path,
        {'a': mask_with(0, 1), 'b': mask_with(0, 2), 'c': mask_with(2, 1)},
        classes={'classes.txt': 'a\nb\n'},
    )
    match = (
        r'masks/b.png: 32 pixels have the values 2, but classes.txt has 2 '
        r'classes: expected 0, 1 or 255: put background in its first line .*; '
        r'so it is in 2 of 3 masks'
    )
    with pytest.raises(InvalidExportError, match=match):
        read(tmp_path)
    save(tmp_path, {'b': mask_with(0, 7, 9)})
    with pytest.raises(
        InvalidExportError, match='the values 7, 9, b'
    ) as caught:
        read(tmp_path)
    assert 'put background' not in str(caught.value)


def test_nothing_but_ignored(tmp_path):
    save(tmp_path, {'a': mask_with(255)})
    with pytest.raises(InvalidExportError, match='no pixel of 1 masks has'):
        read(tmp_path)
    save(tmp_path, {'b': mask_with(1)})
    assert read(tmp_path).classes.names == ('class_1',)
    save(tmp_path, {}, classes={'classes.txt': 'void\n'})
    with pytest.raises(InvalidExportError, match='none of which is a class'):
        read(tmp_path)


def test_many_values_need_a_list(tmp_path):
    masks = {
        name: mask_with(*range(start, start + 8))
        for name, start in zip('abcdefghi', range(0, 72, 8), strict=True)
    }
    save(tmp_path, masks)
    with pytest.raises(InvalidExportError, match=r'have 72 values, .*at most'):
        read(tmp_path)
    save(tmp_path, {}, classes={'codes.txt': '\n'.join(map(str, range(72)))})
    assert len(read(tmp_path).classes.names) == 72


@pytest.mark.parametrize(
    ('mask', 'match'),
    [
        (PHOTO, 'is in color'),
        (mask_with(0, 1).astype(np.uint16) * 300, 'above 255'),
        (b'none', 'cannot be read'),
        (encoded(mask_with(0, 1))[:-30], 'cannot be read'),
    ],
)
def test_masks_that_are_not_right(mask, match, tmp_path):
    save(tmp_path, {name: mask_with(0, 1) for name in 'abcdef'})
    export = IndexMasks.found(Folder.listed(tmp_path))
    save(tmp_path, {'a': mask})
    with pytest.raises(ValueError, match=match):
        export.tally(export.pictures[0])
    (tmp_path / 'masks/a.png').unlink()
    with pytest.raises(FileNotFoundError):
        export.tally(export.pictures[0])


def test_regions_are_connected_parts(tmp_path):
    mask = np.zeros((24, 32), np.uint8)
    mask[2:5, 2:5] = 1
    mask[5:7, 5:9] = 1  # touches at a corner
    mask[20, 20] = 1
    mask[10:12] = 2
    mask[15] = 255
    save(tmp_path, {'a': mask})
    export = read(tmp_path)
    regions = export.regions(export.pictures[0])
    drawn = [mask_of(region, (32, 24)) for region in regions]
    assert [r.category for r in regions] == [1, 1, 2]
    assert [int(each.sum()) for each in drawn] == [9 + 8, 1, 64]
    assert (sum(drawn[:2]) == (mask == 1)).all()


# Black and white, with blended edges.


def nails():
    mask = np.zeros((120, 160), np.uint8)
    cv2.circle(mask, (40, 40), 15, 255, -1)
    cv2.circle(mask, (110, 70), 20, 255, -1)
    return mask


def jpeg(mask, quality=75):
    return encoded(mask, '.jpg', cv2.IMWRITE_JPEG_QUALITY, quality)


@pytest.mark.parametrize('channels', [1, 3])
def test_black_and_white_jpeg(channels, tmp_path):
    mask = nails()
    pixels = np.dstack([mask] * channels) if channels == 3 else mask
    save(tmp_path, {'a': jpeg(pixels), 'b': jpeg(pixels * 0)}, '.jpg')
    export = read(tmp_path)
    assert export.masks is None
    assert export.classes.names == ('background', 'object')
    label = export.label_map(export.pictures[0])
    decoded = cv2.imread(str(tmp_path / 'masks/a.jpg'), 0)
    assert (label == (decoded >= 128)).all()
    assert np.mean(label == mask // 255) > 0.999
    found = export.tally(export.pictures[0])
    assert found.counts == {0: np.sum(label == 0), 255: np.sum(label == 1)}
    assert (export.label_map(export.pictures[1]) == 0).all()
    assert 'black and white with blended edges' in export.evidence[0]
    assert len(export.regions(export.pictures[0])) == 2


def test_specks_of_jpeg_are_no_instances(tmp_path):
    mask = nails()
    mask[100:103, 10:14] = 255
    save(tmp_path, {'a': jpeg(mask, 95)}, '.jpg')
    export = read(tmp_path)
    assert len(export.regions(export.pictures[0])) == 2
    assert export.label_map(export.pictures[0])[101, 11] == 1


def test_smoothed_masks_are_black_and_white(tmp_path):
    mask = cv2.GaussianBlur(nails(), (3, 3), 0)
    save(tmp_path, {'a': mask})
    export = read(tmp_path)
    assert export.masks is None
    label = export.label_map(export.pictures[0])
    assert (label == (mask >= 128)).all()
    save(tmp_path, {}, classes={'codes.txt': 'a\nb\nc\n'})
    with pytest.raises(InvalidExportError, match=r'but codes.txt has 3'):
        read(tmp_path)


@pytest.mark.parametrize(
    ('pixels', 'match'),
    [
        (nails() // 255 * 3, 'near black all over'),
        (nails() // 2 + 40, 'has many grays'),
    ],
)
def test_other_jpeg_masks_are_refused(pixels, match, tmp_path):
    save(tmp_path, {'a': jpeg(pixels)}, '.jpg')
    with pytest.raises(InvalidExportError, match=match) as caught:
        read(tmp_path)
    assert 'export the masks again as PNG' in str(caught.value)


@pytest.mark.parametrize(
    ('pixels', 'match'),
    [
        (nails() // 2 + 40, 'neither near black nor near white'),
        (np.dstack([nails(), nails(), nails() * 0]), 'is in color'),
    ],
)
def test_one_of_many_jpeg_masks_is_refused(pixels, match, tmp_path):
    save(tmp_path, {name: jpeg(nails()) for name in 'abc'}, '.jpg')
    export = IndexMasks.found(Folder.listed(tmp_path))
    save(tmp_path, {'b': jpeg(pixels)}, '.jpg')
    with pytest.raises(ValueError, match=match):
        export.tally(export.pictures[1])


@pytest.mark.skipif(not NAILS.is_dir(), reason='the nails are not there')
def test_real_nails():
    """As many as the converter of nails finds."""
    export = read(NAILS)
    assert len(export.pictures) == 26
    assert export.masks is None
    regions = [r for p in export.pictures for r in export.regions(p)]
    assert len(regions) == 145


# Writing.

CLASSES = Classes(('road', 'car'), ((1, 2, 3), (4, 5, 6)))


def items(tmp_path, *names, split=None):
    path = tmp_path / 'photo.jpg'
    path.write_bytes(encoded(PHOTO, '.jpg'))
    for number, name in enumerate(names):
        labels = mask_with(*((0, 1), (1, 255), (0,))[number % 3])
        yield Annotated(name, path, (32, 24), labels=labels, split=split)


@pytest.mark.parametrize('split', [None, 'train'])
def test_what_is_written_is_read(split, tmp_path):
    names = ('x y/ä.JPG', 'x y/b.jpg', 'c.jpeg')
    given = list(items(tmp_path, *names, split=split))
    write(tmp_path / 'out', CLASSES, iter(given))
    export = read(tmp_path / 'out')
    assert export.classes.names == ('road', 'car')
    assert export.masks == Masks(label_map={})
    prefix = f'images/{split}/' if split else 'images/'
    found = {p.name.removeprefix(prefix): p for p in export.pictures}
    assert sorted(found) == sorted(names)
    for item in given:
        picture = found[item.name]
        assert picture.split == split
        assert (export.label_map(picture) == item.labels).all()
        image = tmp_path / 'out' / picture.name
        assert image.read_bytes() == item.image.read_bytes()
    assert (tmp_path / 'out/classes.txt').read_text() == 'road\ncar\n'


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        ({'labels': None}, 'the item has none'),
        ({'labels': np.zeros((3, 4), np.uint8)}, r'labels of shape \(3, 4\)'),
        ({'labels': np.full((24, 32), 2, np.uint8)}, 'have the index 2; exp'),
        ({'name': 'b.png'}, 'b.png: another image becomes b as'),
    ],
)
def test_what_cannot_be_written(change, match, tmp_path):
    first, second = items(tmp_path, 'b.jpg', 'a.jpg')
    changed = Annotated(**{**vars(second), **change})
    with pytest.raises(ValueError, match=match):
        write(tmp_path / 'out', CLASSES, [first, changed])


def test_classes_that_cannot_be_written(tmp_path):
    for names in (('a', 'a'), ('a', ''), ('a', 'b ')):
        with pytest.raises(ValueError, match=r'repeats|expected a name'):
            write(tmp_path / 'o', Classes(names, CLASSES.palette), [])
    assert not os.path.exists(tmp_path / 'o')
