import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.real_data import CAMVID
from mmseg_ext.formats.color_masks import read_class_dict
from mmseg_ext.formats.exports.color_masks import ColorMasks, write
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Masks,
)
from mmseg_ext.formats.exports.index_masks import IndexMasks
from mmseg_ext.formats.exports.regions import mask_of

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (24, 32, 3), np.uint8)
BLACK, RED, GRAY, BLUE = (0, 0, 0), (200, 0, 9), (70, 70, 70), (0, 0, 255)
LIST = 'name,r,g,b\nroad,70,70,70\nvoid,0,0,0\ncar,200,0,9\n'


def mask_with(*colors):
    """Return stripes of colors as RGB, the first one over the rest."""
    mask = np.full((24, 32, 3), colors[0], np.uint8)
    for number, color in enumerate(colors):
        mask[number * 3 : number * 3 + 2, 4:20] = color
    return mask


def save(root, masks, classes=None):
    """Write masks in RGB by name, each with a photograph."""
    for name, mask in masks.items():
        for path, pixels in (
            (root / 'images' / f'{name}.jpg', PHOTO),
            (root / 'masks' / name, mask[..., ::-1]),
        ):
            path = path if path.suffix else path.with_suffix('.png')
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    if classes:
        (root / 'class_dict.csv').write_text(classes)


def read(root, class_list=None):
    export = ColorMasks.found(Folder.listed(root, class_list))
    return export and export.settled(
        [export.tally(picture) for picture in export.pictures]
    )


def test_a_list_with_void(tmp_path):
    masks = {'a': mask_with(BLACK, RED, GRAY), 'b': mask_with(GRAY)}
    save(tmp_path, masks, LIST)
    export = ColorMasks.found(Folder.listed(tmp_path))
    red = 200 << 16 | 9
    found = export.tally(export.pictures[0])
    assert found.size == (32, 24)
    assert found.counts == {0: 24 * 32 - 64, red: 32, 0x464646: 32}
    assert export.tally(export.pictures[1]).counts == {0x464646: 24 * 32}
    export = read(tmp_path)
    assert export.classes.names == ('road', 'car')
    assert export.classes.palette == (GRAY, RED)
    assert export.classes.background is None
    assert export.masks == Masks(
        colors={'road': GRAY, 'void': BLACK, 'car': RED}
    )
    assert [*map(export.index_of, (0, red, 0x464646))] == [255, 1, 0]
    rgb = masks['a']
    expected = np.select(
        [(rgb == RED).all(2), (rgb == GRAY).all(2)], [1, 0], 255
    )
    assert (export.label_map(export.pictures[0]) == expected).all()
    assert export.evidence == (
        '2 PNG in masks/, 2 looked at: 3 colors, all in class_dict.csv',
        '3 classes in class_dict.csv: road, void, car',
        '2 JPG in images/, each with a mask, such as masks/a.png of '
        'images/a.jpg',
    )
    assert IndexMasks.found(Folder.listed(tmp_path)) is None


def test_colors_are_classes_without_a_list(tmp_path):
    masks = {'a': mask_with(BLACK, RED), 'b': mask_with(BLUE, GRAY)}
    save(tmp_path, masks)
    export = ColorMasks.found(Folder.listed(tmp_path))
    assert export.classes is None
    export = read(tmp_path)
    assert export.classes.names == ('class_1', 'class_2', 'class_3', 'class_4')
    assert export.classes.palette == (BLACK, BLUE, GRAY, RED)
    assert export.classes.background == 0
    assert export.masks == Masks(
        colors=dict(
            zip(export.classes.names, export.classes.palette, strict=True)
        )
    )
    share = (24 * 32 - 32) / (2 * 24 * 32)
    assert export.evidence[-1] == (
        'no list of colors: all files together have 4, each is a class; '
        f'{share:.1%} of the pixels are black'
    )
    for picture, rgb in zip(export.pictures, masks.values(), strict=True):
        drawn = np.array(export.classes.palette)[export.label_map(picture)]
        assert (drawn == rgb).all()


def test_colors_that_are_not_in_the_list(tmp_path):
    masks = {
        'a': mask_with(GRAY, RED),
        'b': mask_with(GRAY, RED, BLUE, (1, 2, 3), (4, 5, 6), (7, 8, 9)),
        'c': mask_with(BLUE),
    }
    save(tmp_path, masks, LIST)
    match = (
        r'masks/b.png: 128 pixels have the colors \(0, 0, 255\), '
        r'\(1, 2, 3\), \(4, 5, 6\), \(7, 8, 9\), which class_dict.csv '
        r'lacks; .*; so it is in 2 of 3 masks'
    )
    with pytest.raises(InvalidExportError, match=match):
        read(tmp_path)


def test_more_colors_than_classes(tmp_path):
    """Those of blended edges, and no more in any sample than in masks."""
    masks = {
        f'm{number}': mask_with(*((number, k, 99) for k in range(5)))
        for number in range(13)
    }
    save(tmp_path, masks)
    with pytest.raises(
        InvalidExportError, match=r'all masks together 65.*blended'
    ):
        read(tmp_path)


def smooth():
    mask = np.zeros((120, 160, 3), np.uint8)
    cv2.circle(mask, (60, 60), 40, (255, 30, 0), -1, cv2.LINE_AA)
    cv2.circle(mask, (120, 60), 20, (0, 200, 90), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (3, 3), 0)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_blended_colors_are_refused(suffix, tmp_path):
    save(tmp_path, {f'{name}{suffix}': smooth() for name in 'ab'})
    for name in 'ab':
        path = tmp_path / 'images' / f'{name}{suffix}.jpg'
        path.rename(tmp_path / 'images' / f'{name}.jpg')
    match = rf'masks/a{suffix}: is a color mask \(.*\) with more than 64 colo'
    with pytest.raises(InvalidExportError, match=match):
        read(tmp_path)


def test_lists_of_names(tmp_path):
    """One that lies there is not used, one that was given is an error."""
    save(tmp_path, {'a': mask_with(BLACK, RED)})
    (tmp_path / 'classes.txt').write_text('a\nb\n')
    export = read(tmp_path)
    assert export.classes.names == ('class_1', 'class_2')
    assert export.evidence[1] == (
        'classes.txt has no colors, so that it is not used'
    )
    with pytest.raises(InvalidExportError, match='has names without colors'):
        read(tmp_path, tmp_path / 'classes.txt')


def test_the_list_of_cvat(tmp_path):
    save(tmp_path, {'a': mask_with(BLACK, RED)})
    (tmp_path / 'labelmap.txt').write_text(
        '# label:color_rgb:parts:actions\ncar:200,0,9::\nbackground:0,0,0::\n'
    )
    export = read(tmp_path)
    assert export.classes == Classes(('car', 'background'), (RED, BLACK), 1)
    assert export.evidence[0].endswith('2 colors, all in labelmap.txt')
    regions = export.regions(export.pictures[0])
    assert [region.category for region in regions] == [0]
    assert mask_of(regions[0], (32, 24)).sum() == 32


def test_grays_of_the_list_are_colors(tmp_path):
    rgb = mask_with(BLACK, (255, 255, 255))
    save(tmp_path, {'a': rgb}, 'name,r,g,b\ncar,255,255,255\nbg,0,0,0\n')
    for path in tmp_path.glob('masks/*'):
        cv2.imwrite(str(path), rgb[..., 0])
    export = read(tmp_path)
    assert IndexMasks.found(Folder.listed(tmp_path)) is None
    label = export.label_map(export.pictures[0])
    assert (label == (rgb[..., 0] == 0)).all()


def test_palettes_that_differ(tmp_path):
    rgb = mask_with(GRAY, RED, BLUE)
    save(tmp_path, {name: rgb for name in 'ab'})
    for name, entries in (('a', (GRAY, RED, BLUE)), ('b', (BLUE, RED, GRAY))):
        image = Image.new('P', (32, 24))
        image.putpalette([part for color in entries for part in color])
        index = np.select(
            [(rgb == color).all(2) for color in entries], [0, 1, 2]
        )
        image.putdata(index.ravel().tolist())
        image.save(tmp_path / f'masks/{name}.png')
    export = read(tmp_path)
    for picture in export.pictures:
        drawn = np.array(export.classes.palette)[export.label_map(picture)]
        assert (drawn == rgb).all()


def test_transparent_pixels(tmp_path):
    save(tmp_path, {name: mask_with(GRAY, RED) for name in 'abcd'})
    export = read(tmp_path)
    alpha = np.full((24, 32, 1), 255, np.uint8)
    alpha[:2] = 0
    pixels = np.concatenate([mask_with(GRAY, RED), alpha], axis=2)
    cv2.imwrite(str(tmp_path / 'masks/a.png'), pixels)
    with pytest.raises(ValueError, match='64 transparent pixels'):
        export.tally(export.pictures[0])


def test_a_file_that_changed(tmp_path):
    save(tmp_path, {name: mask_with(GRAY, RED) for name in 'ab'})
    export = read(tmp_path)
    save(tmp_path, {'a': mask_with(BLUE)})
    with pytest.raises(ValueError, match=r'colors \(0, 0, 255\), which'):
        export.label_map(export.pictures[0])
    (tmp_path / 'masks/a.png').write_bytes(b'')
    with pytest.raises(ValueError, match='cannot be read'):
        export.tally(export.pictures[0])


@pytest.mark.skipif(not CAMVID.is_dir(), reason='CamVid is not there')
@pytest.mark.parametrize('listed', [True, False])
def test_camvid(listed, tmp_path):
    for name in ('train', 'train_labels', 'val', 'val_labels'):
        (tmp_path / name).symlink_to(CAMVID / name)
    if listed:
        (tmp_path / 'class_dict.csv').symlink_to(CAMVID / 'class_dict.csv')
    export = read(tmp_path)
    assert len(export.pictures) == 58
    assert {p.split for p in export.pictures} == {'train', 'val'}
    assert all(
        p.labels == p.name.replace('/', '_labels/').replace('.', '_L.')
        for p in export.pictures
    )
    colors = read_class_dict(CAMVID / 'class_dict.csv')
    if listed:
        names = tuple(name for name in colors if name != 'Void')
        assert export.classes.names == names
        assert list(export.masks.colors.items()) == list(colors.items())
    else:
        assert set(export.classes.palette) <= set(colors.values())
    picture = export.pictures[5]
    rgb = cv2.imread(str(CAMVID / picture.labels))[..., ::-1]
    label = export.label_map(picture)
    for index, color in enumerate(export.classes.palette):
        assert ((label == index) == (rgb == color).all(2)).all()


# Writing.


@pytest.mark.parametrize('ignored', [True, False])
def test_what_is_written_is_read(ignored, tmp_path):
    photo = tmp_path / 'photo.jpg'
    cv2.imwrite(str(photo), PHOTO)
    labels = np.zeros((24, 32), np.uint8)
    labels[3:9] = 1
    labels[12:14] = 255 if ignored else 0
    classes = Classes(('background', 'car'), (BLACK, RED), 0)
    given = [
        Annotated(name, photo, (32, 24), labels=labels, split=split)
        for name, split in (('a.jpg', 'train'), ('b/a.jpg', 'val'))
    ]
    write(tmp_path / 'out', classes, given)
    export = read(tmp_path / 'out')
    assert export.classes == classes
    assert [(p.name, p.split) for p in export.pictures] == [
        ('images/train/a.jpg', 'train'),
        ('images/val/b/a.jpg', 'val'),
    ]
    for picture in export.pictures:
        assert (export.label_map(picture) == labels).all()
    listed = read_class_dict(tmp_path / 'out/class_dict.csv')
    assert ('void' in listed) == ignored


def test_classes_of_one_color_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match='repeats'):
        write(tmp_path, Classes(('a', 'b'), (RED, RED)), [])
