import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
)
from mmseg_ext.formats.exports.regions import regions_of_map
from mmseg_ext.formats.exports.roboflow_masks import RoboflowMasks, write

LIST = 'Pixel Value, Class\n0, background\n3, car\n1, road sign\n'

VALUES = np.array([[0, 1, 3], [0, 0, 3], [1, 0, 255]], np.uint8)

#: By the order of the list.
LABELS = np.array([[0, 2, 1], [0, 0, 1], [2, 0, 255]], np.uint8)


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.asarray(values, np.uint8))


def make(root, folders=('train', 'valid', 'test'), text=LIST):
    for folder in folders:
        place = root / folder
        put(place / f'{folder}_jpg.rf.0a1b.jpg', np.full((3, 3, 3), 9))
        put(place / f'{folder}_jpg.rf.0a1b_mask.png', VALUES)
        (place / '_classes.csv').write_text(text)
    return root


def read(root, class_list=None):
    export = RoboflowMasks.found(Folder.listed(root, class_list))
    assert export is not None
    return export.settled([export.tally(p) for p in export.pictures])


def test_an_export(tmp_path):
    export = read(make(tmp_path))
    assert export.classes.names == ('background', 'car', 'road sign')
    assert export.classes.background == 0
    assert export.masks.label_map == {3: 1, 1: 2}
    assert [(p.name, p.labels, p.split) for p in export.pictures] == [
        (
            f'{folder}/{folder}_jpg.rf.0a1b.jpg',
            f'{folder}/{folder}_jpg.rf.0a1b_mask.png',
            split,
        )
        for folder, split in (
            ('test', 'test'),
            ('train', 'train'),
            ('valid', 'val'),
        )
    ]
    picture = export.pictures[0]
    assert export.tally(picture) == ((3, 3), {0: 4, 1: 2, 3: 2, 255: 1})
    assert (export.label_map(picture) == LABELS).all()
    assert [export.index_of(value) for value in (0, 1, 3, 255)] == [
        *(0, 2, 1, 255)
    ]
    areas = [
        (r.category, coco_mask.area(r.mask)) for r in export.regions(picture)
    ]
    assert areas == [(1, 2), (2, 1), (2, 1)]


def test_one_split_alone(tmp_path):
    """The folder of a split itself, in Windows' form."""
    make(tmp_path, ['train'], '\ufeff' + LIST.replace('\n', '\r\n'))
    export = read(tmp_path / 'train')
    assert [p.split for p in export.pictures] == [None]
    assert export.classes.names == ('background', 'car', 'road sign')
    assert export.evidence == (
        '1 images in . have masks that end in _mask',
        '_classes.csv has 3 values',
    )


def test_white_may_be_a_class(tmp_path):
    export = read(make(tmp_path, ['train'], LIST + '255, white\n'))
    assert export.classes.names[3] == 'white'
    assert (export.label_map(export.pictures[0])[2] == [2, 0, 3]).all()


def test_a_list_that_is_given(tmp_path):
    path = tmp_path / 'mine.csv'
    path.write_text(LIST.replace('car', 'Auto'))
    export = read(make(tmp_path, ['train']), path)
    assert export.classes.names == ('background', 'Auto', 'road sign')


def test_other_trees(tmp_path):
    for names in (
        (),
        ('train/a.jpg', 'train/a_mask.png'),
        ('train/_classes.csv', 'train/a.jpg'),
        ('train/_classes.csv', 'masks/a.jpg', 'masks/a_mask.png'),
    ):
        assert RoboflowMasks.found(Folder(tmp_path, names)) is None


def test_masks_without_image(tmp_path):
    make(tmp_path, ['train'])
    put(tmp_path / 'train/b_mask.png', VALUES)
    assert read(tmp_path).ignored == (
        '1 masks in train/ have no image: train/b_mask.png',
    )


def lists_that_differ(root):
    (root / 'valid/_classes.csv').write_text(LIST.replace('car', 'bus'))
    return 'valid/_classes.csv: has bus where .*train/_classes.csv has car'


def list_that_lacks(root):
    (root / 'valid/_classes.csv').write_text(LIST.replace('3, car\n', ''))
    return 'valid/_classes.csv: has no class where .*train/_classes.csv has'


def image_without_mask(root):
    put(root / 'train/b.jpg', np.full((3, 3, 3), 9))
    return 'train/b.jpg: has no mask; expected b_mask.png beside it'


def image_twice(root):
    put(root / 'train/train_jpg.rf.0a1b.png', np.full((3, 3, 3), 9))
    return 'has the name of train/train_jpg.rf.0a1b.jpg but for the suffix'


def strange_value(root):
    put(root / 'train/train_jpg.rf.0a1b_mask.png', np.minimum(VALUES, 3) * 2)
    return (
        '_mask.png: 5 pixels have the values 2, 6, but train/_classes.csv '
        'has 3 classes: expected 0, 3, 1 or 255'
    )


def value_that_is_none(root):
    (root / 'train/_classes.csv').write_text(LIST.replace('3,', 'three,'))
    return 'train/_classes.csv'


def broken_mask(root):
    (root / 'train/train_jpg.rf.0a1b_mask.png').write_bytes(b'GIF')
    return 'it cannot be read'


@pytest.mark.parametrize(
    'fault',
    [
        *(lists_that_differ, list_that_lacks, image_without_mask),
        *(image_twice, strange_value, value_that_is_none, broken_mask),
    ],
)
def test_faults_name_the_file(tmp_path, fault):
    make(tmp_path, ['train', 'valid'])
    with pytest.raises(ValueError, match=fault(tmp_path)) as error:
        read(tmp_path)
    if fault is not broken_mask:  # of which its caller says the name
        assert isinstance(error.value, InvalidExportError)


CLASSES = Classes(('bg', 'a, b', 'c'), ((0, 0, 0), (9, 9, 9), (1, 1, 1)), 0)


def items(folder):
    put(folder / 'x.png', np.full((3, 3, 3), 9))
    for name, split in ((None, None), ('s', 'val'), ('t', 'test')):
        yield Annotated(
            f'{name}/ä x.png',
            folder / 'x.png',
            (3, 3),
            regions_of_map(LABELS, 0),
            LABELS,
            split,
        )


def test_there_and_back(tmp_path):
    out = tmp_path / 'out'
    write(out, CLASSES, items(tmp_path))
    for folder in ('train', 'valid', 'test'):
        assert (out / folder / '_classes.csv').read_text() == (
            'Pixel Value, Class\n0, bg\n1, "a, b"\n2, c\n'
        )
    export = read(out)
    assert export.classes.names == CLASSES.names
    assert [(p.name, p.split) for p in export.pictures] == [
        ('test/t_ä x.png', 'test'),
        ('train/None_ä x.png', 'train'),
        ('valid/s_ä x.png', 'val'),
    ]
    for picture in export.pictures:
        assert (export.label_map(picture) == LABELS).all()


def test_wrong_items(tmp_path):
    [item, *_] = items(tmp_path)
    with pytest.raises(ValueError, match='another image becomes train/'):
        write(tmp_path / 'out', CLASSES, [item, item])
