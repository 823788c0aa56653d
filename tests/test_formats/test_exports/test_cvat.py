import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmseg_ext.formats.exports.cvat import Cvat, write
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
)
from mmseg_ext.formats.exports.regions import regions_of_map

LABEL_MAP = (
    '# label:color_rgb:parts:actions\n'
    'background:0,0,0::\n'
    'road sign:250,50,83::\n'
    'car:61,245,61::\n'
)

#: Colors of classes, as in the list, and of instances, as in VOC's palette.
COLORS = np.array([(0, 0, 0), (250, 50, 83), (61, 245, 61)], np.uint8)
NUMBERS = np.array(
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], np.uint8
)

LABELS = np.array([[0, 1, 1, 0, 2], [0, 0, 0, 2, 2], [1, 0, 0, 0, 0]])

#: Two cars that touch, and a sign in two parts.
OBJECTS = np.array([[0, 1, 1, 0, 2], [0, 0, 0, 3, 2], [1, 0, 0, 0, 0]])


def put_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((3, 5, 3), 99, np.uint8))


def put_mask(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def make(root, stems=('frame_000000',)):
    for stem in stems:
        put_image(root / f'JPEGImages/{stem}.jpg')
        put_mask(root / f'SegmentationClass/{stem}.png', COLORS[LABELS])
        put_mask(root / f'SegmentationObject/{stem}.png', NUMBERS[OBJECTS])
    put_list(root, 'default.txt', stems)
    (root / 'labelmap.txt').write_text(LABEL_MAP)
    return root


def put_list(root, name, stems):
    path = root / 'ImageSets/Segmentation' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{stem}\n' for stem in stems))


def read(root, class_list=None):
    export = Cvat.found(Folder.listed(root, class_list))
    assert export is not None
    return export.settled([export.tally(p) for p in export.pictures])


def masks(regions):
    return [(r.category, coco_mask.decode(r.mask).tolist()) for r in regions]


def test_an_export(tmp_path):
    """Of frames of which one has nothing drawn, and so no mask."""
    make(tmp_path, ['frame_000000', 'sub/frame 1'])
    put_image(tmp_path / 'JPEGImages/frame_000002.jpg')
    put_list(
        tmp_path,
        'default.txt',
        ['frame_000000', '"sub/frame 1"', 'frame_000002'],
    )
    export = read(tmp_path)
    assert export.classes == Classes(
        ('background', 'road sign', 'car'),
        ((0, 0, 0), (250, 50, 83), (61, 245, 61)),
        0,
    )
    assert [*export.masks.colors.items()] == [
        ('background', (0, 0, 0)),
        ('road sign', (250, 50, 83)),
        ('car', (61, 245, 61)),
    ]
    assert [(p.name, p.split) for p in export.pictures] == [
        ('JPEGImages/frame_000000.jpg', None),
        ('JPEGImages/sub/frame 1.jpg', None),
    ]
    assert export.ignored == (
        '1 images in JPEGImages have no mask: JPEGImages/frame_000002.jpg',
    )
    assert export.evidence[-1] == (
        'labelmap.txt lists 3 colors; 2 masks looked at: RGB PNG, colors'
    )
    for picture in export.pictures:
        assert export.tally(picture) == (
            (5, 3),
            {0: 9, 0xFA3253: 3, 0x3DF53D: 3},
        )
        assert (export.label_map(picture) == LABELS).all()
        assert masks(export.regions(picture)) == [
            (category, (number == OBJECTS).astype(int).tolist())
            # In the order of the numbers' colors.
            for category, number in ((2, 2), (1, 1), (2, 3))
        ]
    assert [export.index_of(key) for key in (0, 0xFA3253, 0x3DF53D)] == [
        *(0, 1, 2)
    ]


def test_palettes_are_colors(tmp_path):
    make(tmp_path)
    image = Image.fromarray(LABELS.astype(np.uint8))
    image.putpalette(COLORS[[0, 2, 1]].ravel().tolist())
    image.save(tmp_path / 'SegmentationClass/frame_000000.png')
    export = read(tmp_path)
    expected = np.array([0, 2, 1])[LABELS]
    assert (export.label_map(export.pictures[0]) == expected).all()


def test_grays_are_rows(tmp_path):
    """As Datumaro writes them without a color map."""
    make(tmp_path)
    path = tmp_path / 'SegmentationClass/frame_000000.png'
    put_mask(path, LABELS.astype(np.uint8))
    export = read(tmp_path)
    assert export.masks.label_map == {}
    assert export.classes.palette[1] == (250, 50, 83)
    assert (export.label_map(export.pictures[0]) == LABELS).all()


def test_a_background_that_is_nowhere(tmp_path):
    """CVAT lists it all the same: it is no class, and masks may have it."""
    make(tmp_path)
    path = tmp_path / 'SegmentationClass/frame_000000.png'
    put_mask(path, COLORS[np.maximum(LABELS, 1)])
    export = read(tmp_path)
    assert export.classes.names == ('road sign', 'car')
    assert export.classes.background is None
    assert [*export.masks.colors] == ['background', 'road sign', 'car']
    picture = export.pictures[0]
    assert (export.label_map(picture) == np.maximum(LABELS, 1) - 1).all()


def test_void(tmp_path):
    make(tmp_path)
    (tmp_path / 'labelmap.txt').write_text(
        LABEL_MAP.replace('car', 'void').replace('\n', '\r\n')
    )
    export = read(tmp_path)
    assert export.classes.names == ('background', 'road sign')
    assert [*export.masks.colors] == ['background', 'road sign', 'void']
    expected = np.where(LABELS == 2, 255, LABELS)
    assert (export.label_map(export.pictures[0]) == expected).all()


def test_splits(tmp_path):
    make(tmp_path, ['a', 'b', 'c'])
    put_list(tmp_path, 'default.txt', ['c'])
    put_list(tmp_path, 'Train.txt', ['a'])
    put_list(tmp_path, 'Validation.txt', ['b'])
    assert [p.split for p in read(tmp_path).pictures] == ['train', 'val', None]


def test_a_list_that_is_given(tmp_path):
    make(tmp_path)
    path = tmp_path / 'class_dict.csv'
    path.write_text('name,r,g,b\nbg,0,0,0\ns,250,50,83\nc,61,245,61\n')
    assert read(tmp_path, path).classes.names == ('bg', 's', 'c')


def test_other_trees(tmp_path):
    assert Cvat.found(Folder(tmp_path, ())) is None
    names = ('JPEGImages/a.jpg', 'SegmentationClass/a.png')
    assert Cvat.found(Folder(tmp_path, names)) is None
    names = ('images/a.jpg', 'SegmentationClass/a.png', 'labelmap.txt')
    assert Cvat.found(Folder(tmp_path, names)) is None


def leave_images_out(root):
    (root / 'JPEGImages/frame_000000.jpg').unlink()
    return 'SegmentationClass: the images of these masks are missing in JPEG'


def lose_images(root):
    (root / 'JPEGImages/frame_000000.jpg').rename(root / 'JPEGImages/b.jpg')
    return 'no mask of 1 in SegmentationClass has an image of its name in'


def lack_color(root):
    (root / 'labelmap.txt').write_text(LABEL_MAP.replace('245', '244'))
    return (
        r'frame_000000.png: 3 pixels have the colors \(61, 245, 61\), which '
        'labelmap.txt lacks'
    )


def break_list(root):
    (root / 'labelmap.txt').write_text(LABEL_MAP.replace('245', '345'))
    return 'labelmap.txt: .*outside 0 to 255'


def make_clear(root):
    rgba = np.dstack([COLORS[LABELS], LABELS * 100]).astype(np.uint8)
    put_mask(root / 'SegmentationClass/frame_000000.png', rgba)
    return 'has 9 transparent pixels; expected a color for each'


def empty_file(root):
    (root / 'SegmentationClass/frame_000000.png').write_bytes(b'')
    return 'SegmentationClass/frame_000000.png: it cannot be read'


@pytest.mark.parametrize(
    'fault',
    [
        *(leave_images_out, lose_images, lack_color, break_list),
        *(make_clear, empty_file),
    ],
)
def test_faults_name_the_file(tmp_path, fault):
    make(tmp_path)
    with pytest.raises(ValueError, match=fault(tmp_path)):
        read(tmp_path)


def test_a_color_that_comes_later(tmp_path):
    export = read(make(tmp_path))
    path = tmp_path / 'SegmentationClass/frame_000000.png'
    put_mask(path, COLORS[LABELS] // 2)
    with pytest.raises(ValueError, match=r'6 pixels have the colors \(30, 12'):
        export.label_map(export.pictures[0])


CLASSES = Classes(
    ('sky', '_background_', 'car', 'bus'),
    ((0, 0, 0), (9, 9, 9), (128, 0, 0), (128, 0, 0)),
    1,
)
WRITTEN = np.array([[0, 1, 2, 3], [0, 1, 2, 255]], np.uint8)


def items(folder):
    put_image(folder / 'x.jpg')
    regions = regions_of_map(WRITTEN, 1)
    for split in 'train', None:
        yield Annotated(
            f'{split}/ö x.jpg',
            folder / 'x.jpg',
            (4, 2),
            regions,
            WRITTEN,
            split,
        )


def test_there_and_back(tmp_path):
    """Colors that are black or repeat are others then."""
    out = tmp_path / 'out'
    write(out, CLASSES, items(tmp_path))
    assert (out / 'labelmap.txt').read_text() == (
        '# label:color_rgb:parts:actions\n'
        'background:0,0,0::\n'
        'sky:0,128,0::\n'
        'car:128,0,0::\n'
        'bus:128,128,0::\n'
        'void:224,224,192::\n'
    )
    lists = out / 'ImageSets/Segmentation'
    assert (lists / 'train.txt').read_text() == 'train/ö x\n'
    assert (lists / 'default.txt').read_text() == 'None/ö x\n'
    with Image.open(out / 'SegmentationClass/train/ö x.png') as image:
        assert image.mode == 'RGB'
    export = read(out)
    assert export.classes.names == ('background', 'sky', 'car', 'bus')
    expected = np.array([[1, 0, 2, 3], [1, 0, 2, 255]])
    for picture in export.pictures:
        assert (export.label_map(picture) == expected).all()
        areas = [
            (r.category, coco_mask.area(r.mask))
            for r in export.regions(picture)
        ]
        assert sorted(areas) == [(1, 2), (2, 2), (3, 1)]


def test_without_background(tmp_path):
    classes = Classes(('a', 'b'), ((1, 2, 3), (4, 5, 6)))
    put_image(tmp_path / 'x.jpg')
    labels = np.eye(3, 5, dtype=np.uint8)
    item = Annotated('x.jpg', tmp_path / 'x.jpg', (5, 3), labels=labels)
    write(tmp_path / 'out', classes, [item])
    assert not (tmp_path / 'out/SegmentationObject').exists()
    export = read(tmp_path / 'out')
    assert export.classes == classes
    assert (export.label_map(export.pictures[0]) == labels).all()


@pytest.mark.parametrize('name', ['a:b', '#a', 'background', ''])
def test_names_that_the_list_cannot_hold(tmp_path, name):
    with pytest.raises(ValueError, match='cannot hold the name'):
        write(tmp_path / 'out', Classes((name,), ((1, 2, 3),)), [])
