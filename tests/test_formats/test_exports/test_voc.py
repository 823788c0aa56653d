import unicodedata

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
)
from mmseg_ext.formats.exports.regions import regions_of_map
from mmseg_ext.formats.exports.voc import VOC_NAMES, Voc, write

#: Rows and columns of a label map: background, border, class 2, class 1.
LABELS = np.array(
    [
        [0, 255, 2, 2, 0, 1],
        [0, 255, 2, 2, 0, 1],
        [0, 255, 255, 255, 0, 0],
        [1, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)

#: Numbers of the instances in it: both parts of class 1 are one.
OBJECTS = np.array(
    [
        [0, 255, 4, 4, 0, 9],
        [0, 255, 4, 4, 0, 9],
        [0, 255, 255, 255, 0, 0],
        [9, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, *[7] * 759]


def put_image(path, shape=(4, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*shape, 3), 99, np.uint8))


def put_mask(path, values=LABELS, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette(PALETTE)
    image.save(path)


def put_list(root, name, text):
    path = root / 'ImageSets/Segmentation' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def make(root, stems=('a',), **files):
    for stem in stems:
        put_image(root / f'JPEGImages/{stem}.jpg')
        put_mask(root / f'SegmentationClass/{stem}.png')
    for name, text in files.items():
        (root / f'{name}.txt').write_bytes(text.encode())
    return root


def read(root, class_list=None):
    export = Voc.found(Folder.listed(root, class_list))
    assert export is not None
    return export.settled([export.tally(p) for p in export.pictures])


def splits(export):
    return {picture.name[-5]: picture.split for picture in export.pictures}


def masks(regions):
    return [(r.category, coco_mask.decode(r.mask).tolist()) for r in regions]


def test_labelme2voc(tmp_path):
    """Arrays in SegmentationClass, masks in SegmentationClassPNG."""
    names = '_background_\r\ncar\r\nroad sign\r\n'
    (tmp_path / 'class_names.txt').write_bytes(names.encode('utf-8-sig'))
    put_image(tmp_path / 'JPEGImages/a b.jpg')
    put_image(tmp_path / 'SegmentationClassVisualization/a b.jpg')
    put_mask(tmp_path / 'SegmentationClassPNG/a b.png')
    put_mask(tmp_path / 'SegmentationObjectPNG/a b.png', OBJECTS)
    for name in ('Class', 'Object'):
        folder = tmp_path / f'Segmentation{name}'
        folder.mkdir()
        np.save(folder / 'a b.npy', LABELS.astype(np.int32))
    export = read(tmp_path)
    assert export.classes == Classes(
        ('_background_', 'car', 'road sign'),
        ((0, 0, 0), (128, 0, 0), (0, 128, 0)),
        0,
    )
    assert export.masks.label_map == {}
    [picture] = export.pictures
    assert picture.labels == 'SegmentationClassPNG/a b.png'
    assert picture.split is None
    assert export.tally(picture) == ((6, 4), {0: 12, 1: 3, 2: 4, 255: 5})
    assert (export.label_map(picture) == LABELS).all()
    assert masks(export.regions(picture)) == [
        (2, (OBJECTS == 4).astype(int).tolist()),
        (1, (OBJECTS == 9).astype(int).tolist()),
    ]
    assert export.ignored == ()
    assert '1 images in JPEGImages have masks' in export.evidence[0]


def test_labels_of_labelme(tmp_path):
    """Its first line has no number, and void none either."""
    make(tmp_path, labels='__ignore__\n_background_\nvoid\ncar\n')
    export = read(tmp_path)
    assert export.classes.names == ('_background_', 'car')
    assert export.classes.palette == ((0, 0, 0), (0, 128, 0))
    assert export.masks.label_map == {1: 255, 2: 1}
    expected = np.array([0, 255, 1])[np.minimum(LABELS, 2)]
    expected[LABELS == 255] = 255
    assert (export.label_map(export.pictures[0]) == expected).all()
    assert [export.index_of(value) for value in (0, 1, 2, 255)] == [
        *(0, 255, 1, 255)
    ]


def test_instances_without_file_are_connected_parts(tmp_path):
    make(tmp_path, class_names='_background_\nx\ny\n')
    export = read(tmp_path)
    found = export.regions(export.pictures[0])
    assert masks(found) == masks(regions_of_map(LABELS, 0))
    assert [region.category for region in found] == [1, 1, 2]


def test_what_the_file_of_instances_leaves_out(tmp_path):
    make(tmp_path, class_names='_background_\nx\ny\n')
    objects = np.where(OBJECTS == 9, 0, OBJECTS).astype(np.uint8)
    objects[0, 2] = 5
    put_mask(tmp_path / 'SegmentationObject/a.png', objects)
    export = read(tmp_path)
    found = export.regions(export.pictures[0])
    assert [(r.category, coco_mask.area(r.mask)) for r in found] == [
        *((2, 3), (2, 1), (1, 2), (1, 1))
    ]


def test_an_instance_of_two_classes_is_one_of_each(tmp_path):
    make(tmp_path, class_names='_background_\nx\ny\n')
    whole = np.full_like(LABELS, 3)
    put_mask(tmp_path / 'SegmentationObject/a.png', whole)
    export = read(tmp_path)
    found = export.regions(export.pictures[0])
    assert [(r.category, coco_mask.area(r.mask)) for r in found] == [
        *((1, 3), (2, 4))
    ]


def test_vocs_own(tmp_path):
    root = tmp_path / 'VOCdevkit/VOC2012'
    make(root, ['2007_000032', '2007_000033', '2007_000039'])
    put_image(root / 'JPEGImages/2008_000001.jpg')
    put_list(root, 'train.txt', '2007_000032\n')
    put_list(root, 'val.txt', '2007_000039\n')
    put_list(root, 'trainval.txt', '2007_000032\n2007_000033\n2007_000039\n')
    put_list(root, 'test.txt', '2008_000001\n2008_000006\n')
    export = read(tmp_path)
    assert export.classes.names == VOC_NAMES
    assert export.classes.background == 0
    assert [(p.name[-8:-4], p.split) for p in export.pictures] == [
        *(('0032', 'train'), ('0033', 'train'), ('0039', 'val'))
    ]
    assert export.ignored == (
        '1 images in VOCdevkit/VOC2012/JPEGImages have no mask: '
        'VOCdevkit/VOC2012/JPEGImages/2008_000001.jpg',
    )
    assert export.evidence[1] == (
        'listed in VOCdevkit/VOC2012/ImageSets/Segmentation/: test.txt 0, '
        'train.txt 1, trainval.txt 3, val.txt 1'
    )


def test_values_beyond_vocs_are_classes_of_their_own(tmp_path):
    root = make(tmp_path / 'VOC2012', ['2007_000032'])
    put_mask(
        root / 'SegmentationClass/2007_000032.png',
        np.where(LABELS == 2, 21, LABELS).astype(np.uint8),
    )
    export = read(tmp_path)
    assert export.classes.names == ('background', 'class_1', 'class_21')
    assert export.masks.label_map == {21: 2}
    assert (export.label_map(export.pictures[0]) == LABELS).all()


def test_values_are_not_taken_for_vocs(tmp_path):
    export = read(make(tmp_path))
    assert export.classes.names == ('background', 'class_1', 'class_2')


def test_black_and_white(tmp_path):
    put_image(tmp_path / 'JPEGImages/a.PNG')
    values = np.where(LABELS == 2, 255, 0).astype(np.uint8)
    put_mask(tmp_path / 'SegmentationClass/a.PNG', values, palette=False)
    export = read(tmp_path)
    assert export.classes.names == ('background', 'object')
    assert export.masks.label_map == {255: 1}
    assert (export.label_map(export.pictures[0]) == (LABELS == 2)).all()


def test_nothing_labeled(tmp_path):
    make(tmp_path)
    values = np.full_like(LABELS, 255)
    put_mask(tmp_path / 'SegmentationClass/a.png', values)
    with pytest.raises(InvalidExportError, match='no pixel of 1 masks has'):
        read(tmp_path)
    (tmp_path / 'class_names.txt').write_text('_background_\nx\n')
    export = read(tmp_path)  # one of several may be so
    assert (export.label_map(export.pictures[0]) == 255).all()
    assert export.regions(export.pictures[0]) == []


def test_colors(tmp_path):
    """RGB masks have VOC's colors, by the rows of a list without colors."""
    make(tmp_path, class_names='_background_\nx\ny\n')
    colors = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)
    rgb = colors[np.minimum(LABELS, 2)]
    rgb[LABELS == 255] = 224, 224, 192
    Image.fromarray(rgb).save(tmp_path / 'SegmentationClass/a.png')
    export = read(tmp_path)
    assert export.masks.colors == {
        '_background_': (0, 0, 0),
        'x': (128, 0, 0),
        'y': (0, 128, 0),
        'void': (224, 224, 192),
    }
    assert export.classes.names == ('_background_', 'x', 'y')
    assert (export.label_map(export.pictures[0]) == LABELS).all()
    assert export.index_of(0x800000) == 1
    assert export.index_of(224 << 16 | 224 << 8 | 192) == 255


@pytest.mark.parametrize('stem', ['2007_000032', 'mine'])
def test_colors_without_a_list(tmp_path, stem):
    """VOC's images have its classes, others one for each color."""
    put_image(tmp_path / f'JPEGImages/{stem}.jpg')
    colors = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (224, 224, 192)]
    values = np.where(LABELS == 255, 3, LABELS)
    put_mask(
        tmp_path / f'SegmentationClass/{stem}.png',
        np.array(colors, np.uint8)[values],
        palette=False,
    )
    export = read(tmp_path)
    if stem == 'mine':
        assert export.classes == Classes(
            ('background', 'class_1', 'class_2'),
            ((0, 0, 0), (0, 128, 0), (128, 0, 0)),
            0,
        )
    else:
        assert export.classes.names == VOC_NAMES
    one, other = (1, 2) if stem != 'mine' else (2, 1)
    expected = np.array([0, one, other, 255])[values]
    assert (export.label_map(export.pictures[0]) == expected).all()
    assert export.masks.colors['void'] == (224, 224, 192)


def test_too_many_colors(tmp_path):
    put_image(tmp_path / 'JPEGImages/a.jpg', (16, 16))
    colors = np.zeros((16, 16, 3), np.uint8)
    colors[..., 0] = np.arange(256).reshape(16, 16)
    put_mask(tmp_path / 'SegmentationClass/a.png', colors, palette=False)
    with pytest.raises(InvalidExportError, match='masks hold 256 colors or'):
        read(tmp_path)


def test_lists(tmp_path):
    """Names with suffixes, quotes, folders and Windows' ends of lines."""
    make(tmp_path, ['a', 'b', 'c', 'd', 'e'], class_names='_background_\nx\ny')
    put_list(tmp_path, 'train.txt', '\ufeffa.jpg\r\n"b"\r\n\r\n')
    put_list(tmp_path, 'Validation.txt', 'JPEGImages/c.jpg\n')
    put_list(tmp_path, 'default.txt', 'd\na\n')
    export = read(tmp_path)
    assert splits(export) == {
        'a': 'train',
        'b': 'train',
        'c': 'val',
        'd': None,
    }
    assert export.ignored == (
        '1 images with masks are in no list of ImageSets/Segmentation/: '
        'JPEGImages/e.jpg',
    )


def test_trainval_alone_is_no_split(tmp_path):
    make(tmp_path, ['a', 'b'], class_names='_background_\nx\ny\n')
    put_list(tmp_path, 'trainval.txt', 'a\nb\n')
    assert splits(read(tmp_path)) == {'a': None, 'b': None}


def test_trees_of_splits(tmp_path):
    for split in ('train', 'valid'):
        make(tmp_path / split, ['a'], class_names='_background_\nx\ny\n')
    export = read(tmp_path)
    assert [(p.name, p.split) for p in export.pictures] == [
        ('train/JPEGImages/a.jpg', 'train'),
        ('valid/JPEGImages/a.jpg', 'val'),
    ]
    (tmp_path / 'valid/class_names.txt').write_text('_background_\nx\nz\n')
    with pytest.raises(InvalidExportError) as error:
        read(tmp_path)
    assert 'valid/class_names.txt: has z where' in str(error.value)
    assert 'train/class_names.txt has y' in str(error.value)


def test_names_in_another_form(tmp_path):
    """As macOS writes them, with accents as signs of their own."""
    apart = unicodedata.normalize('NFD', 'Stra\xdfe \xfc')
    make(tmp_path, class_names='_background_\nx\ny\n')
    put_image(tmp_path / f'JPEGImages/{apart}.JPG')
    put_mask(tmp_path / 'SegmentationClass/Stra\xdfe \xfc.png')
    put_list(tmp_path, 'train.txt', 'Stra\xdfe \xfc\n')
    put_list(tmp_path, 'val.txt', 'a\n')
    export = read(tmp_path)
    assert [(p.name, p.split) for p in export.pictures] == [
        (f'JPEGImages/{apart}.JPG', 'train'),
        ('JPEGImages/a.jpg', 'val'),
    ]


def test_a_list_that_is_given(tmp_path):
    make(tmp_path, class_names='_background_\nx\ny\n')
    path = tmp_path / 'mine.names.txt'
    path.write_text('bg\none\ntwo\nthree\n')
    export = read(tmp_path, path)
    assert export.classes.names == ('bg', 'one', 'two', 'three')
    assert export.classes.background == 0


def test_other_trees(tmp_path):
    assert Voc.found(Folder(tmp_path, ())) is None
    names = ('images/a.jpg', 'SegmentationClass/a.png', 'labels/a.png')
    assert Voc.found(Folder(tmp_path, names)) is None
    names = ('JPEGImages/a.jpg', 'Annotations/a.xml')
    assert Voc.found(Folder(tmp_path, names)) is None
    names = ('JPEGImages/a.jpg', 'SegmentationClass/a.png', 'labelmap.txt')
    assert Voc.found(Folder(tmp_path, names)) is None


def break_value(root):
    (root / 'class_names.txt').write_text('_background_\nx\n')
    return 'a.png: 4 pixels have the values 2, but class_names.txt has 2'


def leave_background_out(root):
    (root / 'class_names.txt').write_text('x\ny\n')
    return 'put background in its first line if the first class is 1'


def repeat_image(root):
    put_image(root / 'JPEGImages/a.png')
    return 'a.png: has the name of JPEGImages/a.jpg but for the suffix'


def repeat_mask(root):
    put_mask(root / 'SegmentationClass/a.bmp', palette=False)
    return 'a.png: has the name of SegmentationClass/a.bmp but'


def lose_image(root):
    (root / 'JPEGImages/a.jpg').rename(root / 'JPEGImages/b.jpg')
    return 'SegmentationClass/a.png: no mask of 1 in SegmentationClass has'


def list_stranger(root):
    put_list(root, 'train.txt', 'a\n../../b\n')
    return r'train.txt: line 2: \.\./\.\./b is no image in JPEGImages'


def list_without_mask(root):
    put_image(root / 'JPEGImages/b.jpg')
    put_list(root, 'train.txt', 'a\nb\n')
    return 'train.txt: line 2: b has no mask: add it, or remove the line'


def list_twice(root):
    put_list(root, 'train.txt', 'a\n')
    put_list(root, 'val.txt', 'a\n')
    return 'val.txt: has a, as .*train.txt has; expected each image in one'


def list_nothing(root):
    put_list(root, 'train.txt', '\n')
    return 'no image that is listed has a mask in SegmentationClass'


def list_in_latin(root):
    put_list(root, 'train.txt', 'a')
    (root / 'ImageSets/Segmentation/train.txt').write_bytes(b'\xfc\n')
    return 'train.txt: is not encoded as UTF-8'


def cut_mask(root):
    path = root / 'SegmentationClass/a.png'
    path.write_bytes(path.read_bytes()[:60])
    return 'SegmentationClass/a.png: it cannot be read'


def repeat_tree(root):
    make(root / 'more')
    return 'holds 2 trees of masks, ., more/; expected one'


def repeat_class(root):
    (root / 'class_names.txt').write_text('_background_\nx\nx\n')
    return 'class_names.txt: '


@pytest.mark.parametrize(
    'fault',
    [
        *(break_value, leave_background_out, repeat_image, repeat_mask),
        *(lose_image, list_stranger, list_without_mask, list_twice),
        *(list_nothing, list_in_latin, cut_mask, repeat_tree, repeat_class),
    ],
)
def test_faults_name_the_file(tmp_path, fault):
    make(tmp_path, class_names='_background_\nx\ny\n')
    with pytest.raises(InvalidExportError, match=fault(tmp_path)):
        read(tmp_path)


def test_a_file_that_breaks_later(tmp_path):
    """What samples do not see, the reading of each file does."""
    make(tmp_path, class_names='_background_\nx\ny\n')
    put_mask(tmp_path / 'SegmentationObject/a.png', OBJECTS[:3])
    export = read(tmp_path)
    [picture] = export.pictures
    with pytest.raises(ValueError, match='of 6x4 pixels, but the file of its'):
        export.regions(picture)
    path = tmp_path / picture.labels
    put_mask(path, np.full_like(LABELS, 7))
    with pytest.raises(ValueError, match='24 pixels have the values 7, but'):
        export.label_map(picture)
    Image.fromarray(np.full((4, 6, 3), (1, 2, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match='is in color'):
        export.tally(picture)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        export.tally(picture)


CLASSES = Classes(
    ('background', 'x', 'y'), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), 0
)


def items(folder, **change):
    put_image(folder / 'a.jpg')
    regions = regions_of_map(LABELS, 0)
    some = {'size': (6, 4), 'labels': LABELS, 'regions': regions} | change
    yield Annotated('s/a.jpg', folder / 'a.jpg', split='train', **some)
    yield Annotated('b ü.jpg', folder / 'a.jpg', (6, 4), labels=LABELS)


def test_there_and_back(tmp_path):
    out = tmp_path / 'out'
    write(out, CLASSES, items(tmp_path))
    with Image.open(out / 'SegmentationClass/s/a.png') as image:
        assert image.mode == 'P'
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        assert image.getpalette()[-3:] == [224, 224, 192]
        assert (np.asarray(image) == LABELS).all()
    export = read(out)
    assert export.classes.names == CLASSES.names
    assert [(p.name, p.split) for p in export.pictures] == [
        ('JPEGImages/b ü.jpg', None),
        ('JPEGImages/s/a.jpg', 'train'),
    ]
    for picture in export.pictures:
        assert (export.label_map(picture) == LABELS).all()
    assert masks(export.regions(picture)) == masks(regions_of_map(LABELS, 0))
    image = (out / export.pictures[0].name).read_bytes()
    assert image == (tmp_path / 'a.jpg').read_bytes()


def test_groups_are_no_instances(tmp_path):
    regions = [r._replace(crowd=True) for r in regions_of_map(LABELS, 0)]
    write(tmp_path / 'out', CLASSES, items(tmp_path, regions=regions))
    export = read(tmp_path / 'out')
    assert export.regions(export.pictures[1]) == []


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        ({'labels': None}, 's/a.jpg: this format holds label maps'),
        ({'labels': LABELS[:3]}, r'of shape \(3, 6\); expected \(4, 6\)'),
        ({'labels': LABELS + 1}, 'have the index 3; expected 0 to 2 or 255'),
    ],
)
def test_wrong_items(tmp_path, change, error):
    with pytest.raises(ValueError, match=error):
        write(tmp_path / 'out', CLASSES, items(tmp_path, **change))


def test_too_many_instances(tmp_path):
    regions = regions_of_map(LABELS, 0) * 90
    with pytest.raises(ValueError, match='270 instances; this format holds'):
        write(tmp_path / 'out', CLASSES, items(tmp_path, regions=regions))


def test_stems_that_repeat(tmp_path):
    twice = [*items(tmp_path)][:1] * 2
    with pytest.raises(ValueError, match='another image becomes s/a as well'):
        write(tmp_path / 'out', CLASSES, twice)
