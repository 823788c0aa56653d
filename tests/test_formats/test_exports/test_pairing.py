import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.formats.exports.export import Folder, InvalidExportError
from mmseg_ext.formats.exports.pairing import (
    find_pairs,
    gray_shares,
    in_words,
)

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (24, 32, 3), np.uint8)
MASK = np.zeros((24, 32), np.uint8)
MASK[4:9, 5:20] = 1
MASK[12:20] = 2
COLORS = np.array([[0, 0, 0], [10, 200, 30], [0, 0, 255]], np.uint8)[MASK]


def save(root, name, pixels):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(path.suffix.lower(), pixels)
    path.write_bytes(data)


def fill(root, pairs, mask=MASK):
    for image, label in pairs.items():
        save(root, image, PHOTO)
        save(root, label, mask)


def found(root, kind='index'):
    pairs = find_pairs(Folder.listed(root), kind)
    return pairs and {p.name: p.labels for p in pairs.pictures}


def named(image, mask, names=('a', 'b', 'c')):
    return {image.format(name): mask.format(name) for name in names}


NAMINGS = {
    'by stem': named('images/{}.jpg', 'masks/{}.png'),
    'by an end': named('train/{}.png', 'train_labels/{}_L.png')
    | named('val/{}.png', 'val_labels/{}_L.png'),
    'by a beginning': named('img/img_{}.jpg', 'mask/mask_{}.png', range(12)),
    'a beginning without sign': named('x/img{}.jpg', 'y/lbl{}.png', range(12)),
    'one folder, suffixes': named('{}.jpg', '{}.png'),
    'one folder, ends': named('{}.jpg', '{}_mask.png'),
    'one folder, ends alone': named('{}.png', '{}_mask.png'),
    'one folder, an unknown end': named('{}.png', '{}_P.png', range(20)),
    'one folder, two ends': named('{}_sat.jpg', '{}_mask.png', range(9)),
    'splits above': named(
        'data/train/images/{}.png', 'data/train/masks/{}.png'
    )
    | named('data/val/images/{}.png', 'data/val/masks/{}.png'),
    'splits below': named('images/train/{}.png', 'labels/train/{}.png')
    | named('images/val/{}.png', 'labels/val/{}.png'),
    'nested': named('images/city/{}.jpg', 'labels/city/{}_gt.png')
    | named('images/town/{}.jpg', 'labels/town/{}_gt.png'),
    'any folders': named('foo/{}.jpg', 'bar/{}.png'),
    'any folders, nested': named('foo/x/{}.jpg', 'bar/x/{}.png')
    | named('foo/y/{}.jpg', 'bar/y/{}.png'),
    'any folders, both with splits': named('train/{}.jpg', 'train_x/{}.png')
    | named('val/{}.jpg', 'val_x/{}.png'),
    'masks in one folder': named('a/{}.jpg', 'masks/{}.png', 'xy')
    | named('b/{}.jpg', 'masks/{}.png', 'zw'),
    'a folder for each': named('case{}/image.png', 'case{}/mask.png'),
    'names of numbers': named('images/{}.jpg', 'masks/{}.png', range(12)),
    'long names': named(
        'leftImg8bit/train/x/{}_leftImg8bit.png',
        'gtFine/train/x/{}_gtFine_labelIds.png',
        ('x_000000_000019', 'x_000001_000019', 'x_000002_000019'),
    ),
    'odd names': named(
        'images/{}.JPG', 'masks/{}.PNG', ('a b', 'ü', '1eec-9092')
    ),
    'one pair': named('images/a.jpg', 'masks/a_L.png', 'a'),
    'other ends in other splits': named('train/{}.jpg', 'train_m/{}_L.png')
    | named('val/{}.jpg', 'val_m/{}.png'),
}


@pytest.mark.parametrize('naming', NAMINGS.values(), ids=NAMINGS)
def test_namings(naming, tmp_path):
    fill(tmp_path, naming)
    assert found(tmp_path) == naming
    assert found(tmp_path, 'color') is None


def test_splits_and_words(tmp_path):
    fill(tmp_path, NAMINGS['by an end'])
    pairs = find_pairs(Folder.listed(tmp_path), 'index')
    assert [p.split for p in pairs.pictures] == ['train'] * 3 + ['val'] * 3
    assert pairs.evidence == (
        '6 PNG in train/, val/, each with a mask, such as '
        'train_labels/a_L.png of train/a.png'
    )
    assert len(pairs.looks) == 6
    assert pairs.ignored == ()


def test_unicode_forms_are_one_name(tmp_path):
    fill(tmp_path, {'images/u\u0308.jpg': 'masks/\u00fc.png'})
    assert found(tmp_path) == {'images/u\u0308.jpg': 'masks/\u00fc.png'}


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('name', ['images/a', 'masks/a', 'a', 'a_mask'])
def test_images_alone(suffix, name, tmp_path):
    for place in ('', 'b', 'c'):
        save(tmp_path / place, name + suffix, PHOTO)
    assert found(tmp_path) is None
    assert found(tmp_path, 'color') is None


@pytest.mark.parametrize('other', ['images_x', 'color', 'masks_2', 'x'])
def test_masks_alone(other, tmp_path):
    for name in 'abc':
        save(tmp_path, f'masks/{name}.png', MASK)
        save(tmp_path, f'{other}/{name}.png', COLORS)
    if other != 'images_x':  # a name that says so is believed
        assert found(tmp_path) is None
        assert found(tmp_path, 'color') is None


def test_an_empty_folder(tmp_path):
    assert found(tmp_path) is None


def test_words_do_not_decide_against_content(tmp_path):
    naming = named('labels/{}.png', 'raw_x/{}.png')
    fill(tmp_path, naming)
    # Many colors are a photograph, in a folder of whatever name.
    assert found(tmp_path) in (None, naming)
    for name in 'abc':
        save(tmp_path, f'y/{name}.png', MASK)
        (tmp_path / f'raw_x/{name}.png').unlink()
    assert found(tmp_path) == named('labels/{}.png', 'y/{}.png')


def test_drawings_are_images_beside_masks(tmp_path):
    few = np.arange(24 * 32).reshape(24, 32) % 40
    drawing = np.dstack([few, few * 2, few * 3]).astype(np.uint8)
    for name in 'abc':
        save(tmp_path, f'train/{name}.png', drawing)
        save(tmp_path, f'train_labels/{name}_L.png', MASK)
    assert len(found(tmp_path)) == 3


def test_two_kinds_of_masks(tmp_path):
    naming = named('images/{}.jpg', 'labels/{}.png')
    fill(tmp_path, naming)
    for name in 'abc':
        save(tmp_path, f'labels_color/{name}.png', COLORS)
    pairs = find_pairs(Folder.listed(tmp_path), 'index')
    assert {p.name: p.labels for p in pairs.pictures} == naming
    assert pairs.ignored == ('3 PNG in labels_color/: masks of another kind',)
    assert found(tmp_path, 'color') == named(
        'images/{}.jpg', 'labels_color/{}.png'
    )


def test_images_without_mask(tmp_path):
    fill(tmp_path, named('images/{}.jpg', 'masks/{}.png', 'abcdefghij'))
    for name in 'cehi':
        (tmp_path / f'masks/{name}.png').unlink()
    match = (
        r'images/c.jpg: 4 of 10 images have no mask: images/c.jpg, '
        r'images/e.jpg, images/h.jpg and 1 more; expected'
    )
    with pytest.raises(InvalidExportError, match=match):
        found(tmp_path)


@pytest.mark.parametrize('folder', ['depth', 'overlays/all'])
def test_other_pictures_of_the_same_are_told(folder, tmp_path):
    naming = named('images/{}.jpg', 'masks/{}.png')
    fill(tmp_path, naming)
    for name in 'abc':
        save(tmp_path, f'{folder}/{name}.jpg', PHOTO)
    pairs = find_pairs(Folder.listed(tmp_path), 'index')
    assert {p.name: p.labels for p in pairs.pictures} == naming
    assert pairs.ignored == (
        f'3 JPG in {folder}/: no masks of their own, and names as images '
        'with masks have',
    )
    assert pairs.evidence.startswith('3 JPG in images/, each')
    save(tmp_path, f'{folder}/d.jpg', PHOTO)
    with pytest.raises(InvalidExportError, match='4 of 7 images have no mask'):
        found(tmp_path)


def test_masks_without_image_are_told(tmp_path):
    fill(tmp_path, named('images/{}.jpg', 'masks/{}.png', 'abc'))
    save(tmp_path, 'masks/x.png', MASK)
    pairs = find_pairs(Folder.listed(tmp_path), 'index')
    assert pairs.ignored == ('1 PNG in masks/ without image: masks/x.png',)
    assert len(pairs.pictures) == 3


def test_other_pictures_are_no_masks(tmp_path):
    """A few icons beside photographs are none of this format."""
    for name in 'abc':
        save(tmp_path, f'photos/{name}.jpg', PHOTO)
    save(tmp_path, 'icons/logo.png', MASK)
    assert found(tmp_path) is None


@pytest.mark.parametrize(
    ('more', 'content', 'match'),
    [
        ('images/a.png', PHOTO, 'images/a.png: it and images/a.jpg could bo'),
        ('masks/a.bmp', MASK, 'images/a.jpg: has two masks, '),
        ('masks2/a.png', MASK, 'images/a.jpg: has two masks, '),
        ('masks/a_2/a.png', MASK, 'could both belong to|has two masks'),
    ],
)
def test_names_that_repeat(more, content, match, tmp_path):
    fill(tmp_path, named('images/{}.jpg', 'masks/{}.png'))
    save(tmp_path, more, content)
    if more.startswith('masks2'):
        for name in 'bc':
            save(tmp_path, f'masks2/{name}.png', MASK)
    with pytest.raises(InvalidExportError, match=match):
        found(tmp_path)


def test_masks_of_another_split_do_not_count(tmp_path):
    for name in 'abc':
        save(tmp_path, f'train/images/{name}.jpg', PHOTO)
        save(tmp_path, f'val/masks/{name}.png', MASK)
    assert found(tmp_path) is None


def test_equal_names_that_no_folder_tells_apart(tmp_path):
    for name in 'abc':
        save(tmp_path, f'x/{name}.jpg', PHOTO)
        save(tmp_path, f'y/{name}.jpg', PHOTO)
        save(tmp_path, f'masks/{name}.png', MASK)
    with pytest.raises(InvalidExportError, match='could both belong to masks'):
        found(tmp_path)


def palette(colors):
    image = Image.fromarray(MASK, 'P')
    image.putpalette([c for color in colors for c in color])
    return image


def test_palettes(tmp_path):
    """Equal palettes number classes, others hold colors."""
    one = [(0, 0, 0), (9, 9, 9), (200, 0, 0)]
    for name in 'abc':
        save(tmp_path, f'images/{name}.jpg', PHOTO)
    (tmp_path / 'masks').mkdir()
    for name in 'abc':
        palette(one).save(tmp_path / f'masks/{name}.png')
    assert len(found(tmp_path)) == 3
    palette(one[::-1]).save(tmp_path / 'masks/b.png')
    assert found(tmp_path) is None
    assert len(found(tmp_path, 'color')) == 3


@pytest.mark.parametrize(
    ('rows', 'kind'),
    [
        (['0,0,0', '9,9,9', '200,0,0'], 'index'),
        (['9,9,9', '0,0,0', '200,0,0'], 'color'),
        (['1,1,1', '2,2,2'], 'index'),
    ],
)
def test_palettes_and_a_list(rows, kind, tmp_path):
    for name in 'abc':
        save(tmp_path, f'images/{name}.jpg', PHOTO)
    (tmp_path / 'masks').mkdir()
    for name in 'abc':
        palette([(0, 0, 0), (9, 9, 9), (200, 0, 0)]).save(
            tmp_path / f'masks/{name}.png'
        )
    lines = [f'c{number},{row}' for number, row in enumerate(rows)]
    text = '\n'.join(['name,r,g,b', *lines])
    (tmp_path / 'class_dict.csv').write_text(text)
    assert found(tmp_path, kind)
    assert not found(tmp_path, {'index': 'color', 'color': 'index'}[kind])


def test_a_file_that_cannot_be_read_is_left_to_those_who_read_all(tmp_path):
    fill(tmp_path, named('images/{}.jpg', 'masks/{}.png'))
    (tmp_path / 'masks/a.png').write_bytes(b'none')
    (tmp_path / 'images/b.jpg').write_bytes(b'none')
    assert found(tmp_path) == named('images/{}.jpg', 'masks/{}.png')


def test_in_words():
    files = ['m/a.png', 'm/b.PNG', 'n/c.jpg']
    assert in_words(files) == '2 PNG, 1 JPG in m/, n/'
    assert in_words(['a.png']) == '1 PNG in ./'
    assert in_words([f'm/{k}/a.png' for k in range(9)]) == '9 PNG in m/'


def test_gray_shares():
    gray = np.array([[0, 32, 33, 223], [224, 255, 0, 0]], np.uint8)
    assert gray_shares(gray) == (2 / 8, 2 / 8)
