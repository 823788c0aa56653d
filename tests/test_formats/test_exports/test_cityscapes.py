import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmseg_ext.formats.exports.cityscapes import Cityscapes, write
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
)
from mmseg_ext.formats.exports.regions import regions_of_map

#: The classes of the benchmark, from the paper's list.
NAMES = (
    *('road', 'sidewalk', 'building', 'wall', 'fence', 'pole'),
    *('traffic light', 'traffic sign', 'vegetation', 'terrain', 'sky'),
    *('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle'),
    'bicycle',
)

#: Label ids: ego vehicle, road, person, car, caravan.
IDS = np.array([[1, 7, 24, 24, 26], [7, 7, 7, 24, 26], [7, 29, 29, 26, 26]])
TRAIN_IDS = np.array(
    [[255, 0, 11, 11, 13], [0, 0, 0, 11, 13], [0, 255, 255, 13, 13]]
)

#: Two persons, a car and a group of cars, a caravan.
INSTANCES = np.array(
    [
        [1, 7, 24000, 24001, 26000],
        [7, 7, 7, 24001, 26000],
        [7, 29000, 29000, 26, 26],
    ],
    np.uint16,
)

TOP = 'leftImg8bit', 'gtFine'


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


def make(root, starts, top=TOP, suffix='png', **kinds):
    images, labels = top
    for start in starts:
        image = root / f'{images}/{start}_leftImg8bit.{suffix}'
        put(image, np.full((3, 5, 3), 9, np.uint8))
        for kind, values in kinds.items():
            dtype = np.uint16 if kind == 'instanceIds' else np.uint8
            path = root / f'{labels}/{start}_gtFine_{kind}.png'
            put(path, values.astype(dtype))
    return root


def read(root, class_list=None):
    export = Cityscapes.found(Folder.listed(root, class_list))
    assert export is not None
    return export.settled([export.tally(p) for p in export.pictures])


def areas(regions):
    return [(r.category, coco_mask.area(r.mask), r.crowd) for r in regions]


STARTS = ['train/aachen/aachen_000000_000019', 'val/munster/munster_0_19']


def test_label_ids(tmp_path):
    make(tmp_path, STARTS, labelIds=IDS, instanceIds=INSTANCES)
    make(tmp_path, STARTS, color=np.dstack([IDS] * 3))
    export = read(tmp_path)
    assert export.classes.names == NAMES
    assert export.classes.palette[0] == (128, 64, 128)
    assert export.classes.background is None
    # All 34 values, each of which a data set has to read right.
    table = export.masks.label_map
    assert {v: table.get(v, v) for v in (0, 6, 7, 8, 11, 17, 33)} == {
        **{0: 255, 6: 255, 7: 0, 8: 1, 11: 2, 17: 5, 33: 18}
    }
    assert len(table) == 34
    assert [(p.name, p.split) for p in export.pictures] == [
        (f'leftImg8bit/{start}_leftImg8bit.png', split)
        for start, split in zip(STARTS, ('train', 'val'), strict=True)
    ]
    picture = export.pictures[0]
    assert export.tally(picture) == (
        (5, 3),
        {1: 1, 7: 5, 24: 3, 26: 4, 29: 2},
    )
    assert (export.label_map(picture) == TRAIN_IDS).all()
    assert [export.index_of(value) for value in (7, 24, 29, 1)] == [
        *(0, 11, 255, 255)
    ]
    assert areas(export.regions(picture)) == [
        (11, 1, False),
        (11, 2, False),
        (13, 2, False),
        (13, 2, True),
    ]
    assert export.ignored == ()


def test_train_ids_are_preferred(tmp_path):
    make(tmp_path, STARTS, labelTrainIds=TRAIN_IDS, labelIds=IDS)
    export = read(tmp_path)
    assert export.classes.names == NAMES
    assert export.masks.label_map == {}
    picture = export.pictures[0]
    assert picture.labels.endswith('_gtFine_labelTrainIds.png')
    assert (export.label_map(picture) == TRAIN_IDS).all()
    # Without instance ids: connected parts, those of the road among them.
    assert areas(export.regions(picture)) == [
        (0, 5, False),
        (11, 3, False),
        (13, 4, False),
    ]
    # Where not all have them, the ids that all have are taken.
    (tmp_path / picture.labels).unlink()
    assert read(tmp_path).pictures[0].labels.endswith('_labelIds.png')


def test_dummies_of_the_test_split(tmp_path):
    make(tmp_path, STARTS, labelIds=IDS)
    dummy = np.array([[3] * 5] * 3)
    make(tmp_path, ['test/berlin/b_0', 'test/mainz/m_0'], labelIds=dummy)
    export = read(tmp_path)
    assert [p.split for p in export.pictures] == ['train', 'val']
    assert export.ignored == (
        '2 images of the test split: their labels are dummies, in 2 looked '
        'at no pixel has a class',
    )
    make(tmp_path, ['test/mainz/m_0'], labelIds=IDS)  # real ones are used
    assert len(read(tmp_path).pictures) == 4


def test_folders_without_labels(tmp_path):
    make(tmp_path, STARTS, labelIds=IDS)
    make(tmp_path, ['train_extra/bonn/bonn_0', 'test/bonn/bonn_1'])
    export = read(tmp_path)
    assert len(export.pictures) == 2
    assert export.ignored == (
        '2 images in folders without labels: '
        'leftImg8bit/test/bonn/bonn_1_leftImg8bit.png, '
        'leftImg8bit/train_extra/bonn/bonn_0_leftImg8bit.png',
    )


@pytest.mark.parametrize(
    ('top', 'starts'),
    [
        pytest.param(('images', 'labels'), STARTS, id='other folders'),
        pytest.param(('a b', 'a b'), STARTS, id='one folder'),
        pytest.param(
            ('images', 'labels'), ['train/x', 'val/x'], id='without cities'
        ),
        pytest.param(('i', 'l'), ['train/a/x', 'train/b/x'], id='equal names'),
    ],
)
def test_trees_that_are_like_it(tmp_path, top, starts):
    """With classes of their own, whose rows are the values."""
    (tmp_path / 'classes.txt').write_text('bg\nvoid\ncar\nbus\n')
    values = np.array([[0, 1, 2, 3, 255]] * 3)
    make(tmp_path, starts, top, 'jpg', labelids=values)
    export = read(tmp_path)
    assert export.classes.names == ('bg', 'car', 'bus')
    assert export.classes.background == 0
    assert export.masks.label_map == {1: 255, 2: 1, 3: 2}
    assert len(export.pictures) == 2
    for picture in export.pictures:
        image, label = picture.name.split('/'), picture.labels.split('/')
        assert image[1:-1] == label[1:-1]
        expected = np.array([[0, 255, 1, 2, 255]] * 3)
        assert (export.label_map(picture) == expected).all()
        assert areas(export.regions(picture)) == [(1, 3, False), (2, 3, False)]


def test_splits_that_hold_both(tmp_path):
    for split in ('train', 'val'):
        top = f'{split}/images', f'{split}/labels'
        make(tmp_path, ['x'], top, labelIds=IDS)
    export = read(tmp_path)
    assert [(p.name[:5], p.labels[:5], p.split) for p in export.pictures] == [
        *(('train', 'train', 'train'), ('val/i', 'val/l', 'val'))
    ]


def test_a_test_split_of_others_is_theirs(tmp_path):
    (tmp_path / 'classes.txt').write_text('bg\ncar\n')
    make(tmp_path, ['test/x', 'train/y'], labelIds=IDS * 0)
    assert len(read(tmp_path).pictures) == 2


def test_instances_of_others(tmp_path):
    """Values below 1000 are none, whatever the class."""
    path = tmp_path / 'mine.txt'
    path.write_text('bg\ncar\n')
    labels = np.array([[0, 0, 1, 1, 1]] * 3)
    ids = np.array([[0, 0, 1, 1000, 1001]] * 3)
    make(tmp_path, STARTS, labelTrainIds=labels, instanceIds=ids)
    export = read(tmp_path, path)
    assert areas(export.regions(export.pictures[0])) == [
        (1, 3, False),
        (1, 3, False),
    ]


def test_other_trees(tmp_path):
    for names in (
        (),
        ('images/a.png', 'labels/a.png'),
        ('a_leftImg8bit.png', 'a_gtFine_color.png'),
        ('a.png', 'a_gtFine_labelIds.png'),
        # IDD's
        (
            *('a_leftImg8bit.png', 'a_gtFine_polygons.json'),
            'a_gtFine_labellevel3Ids.png',
        ),
    ):
        assert Cityscapes.found(Folder(tmp_path, names)) is None


def polygons_only(root):
    for path in root.rglob('*_labelIds.png'):
        path.rename(str(path).replace('labelIds.png', 'polygons.json'))
    return 'polygons.json: the label images are missing.*csCreateTrainId'


def image_without_label(root):
    make(root, ['train/aachen/aachen_000001_000019'])
    return 'aachen_000001_000019_leftImg8bit.png: has no label image, as'


def image_twice(root):
    make(root, STARTS[:1], suffix='jpg')
    return 'belongs to leftImg8bit/.*jpg, and so does .*png'


def other_names(root):
    (root / 'leftImg8bit/train').rename(root / 'x')
    (root / 'leftImg8bit/val').rename(root / 'y')
    return 'none of 2 label images has an image and a class; expected'


def unknown_value(root):
    make(root, STARTS[:1], labelIds=IDS + 20)
    return '_labelIds.png: 9 pixels have the values 44, 46, 49, but Citysc'


def broken_label(root):
    path = root / f'gtFine/{STARTS[0]}_gtFine_labelIds.png'
    path.write_bytes(path.read_bytes()[:50])
    return 'it cannot be read|truncated'


@pytest.mark.parametrize(
    'fault',
    [
        *(polygons_only, image_without_label, image_twice, other_names),
        *(unknown_value, broken_label),
    ],
)
def test_faults_name_the_file(tmp_path, fault):
    make(tmp_path, STARTS, labelIds=IDS)
    with pytest.raises(ValueError, match=fault(tmp_path)) as error:
        read(tmp_path)
    if fault is not broken_label:  # of which its caller says the name
        assert isinstance(error.value, InvalidExportError)


def test_labels_without_image(tmp_path):
    make(tmp_path, STARTS, labelIds=IDS)
    (tmp_path / f'leftImg8bit/{STARTS[1]}_leftImg8bit.png').unlink()
    assert read(tmp_path).ignored == (
        '1 label images have no image: '
        f'gtFine/{STARTS[1]}_gtFine_labelIds.png',
    )


def test_instance_ids_of_another_size(tmp_path):
    make(tmp_path, STARTS, labelIds=IDS, instanceIds=INSTANCES[:2])
    export = read(tmp_path)
    with pytest.raises(ValueError, match='of 5x3 pixels, but the file of its'):
        export.regions(export.pictures[0])


LABELS = np.array([[0, 1, 1, 2, 2], [0, 0, 0, 0, 2], [1, 0, 0, 255, 0]])


def items(folder):
    put(folder / 'x.jpg', np.full((3, 5, 3), 9, np.uint8))
    labels = LABELS.astype(np.uint8)
    regions = regions_of_map(labels, 0)
    for name, split in (('u/ö 1_leftImg8bit.jpg', 'val'), ('b.jpg', None)):
        yield Annotated(name, folder / 'x.jpg', (5, 3), regions, labels, split)


def test_there_and_back(tmp_path):
    out = tmp_path / 'out'
    classes = Classes(('bg', 'a', 'b'), ((0, 0, 0), (9, 9, 9), (8, 8, 8)), 0)
    write(out, classes, items(tmp_path))
    ids = out / 'gtFine/val/u/ö 1_gtFine_instanceIds.png'
    assert cv2.imread(str(ids), cv2.IMREAD_UNCHANGED).tolist() == [
        [1, 2000, 2000, 3000, 3000],
        [1, 1, 1, 1, 3000],
        [2001, 1, 1, 0, 1],
    ]
    export = read(out)
    assert export.classes.names == classes.names
    assert [(p.name, p.split) for p in export.pictures] == [
        ('leftImg8bit/train/city/b_leftImg8bit.jpg', 'train'),
        ('leftImg8bit/val/u/ö 1_leftImg8bit.jpg', 'val'),
    ]
    for picture in export.pictures:
        assert (export.label_map(picture) == LABELS).all()
        assert areas(export.regions(picture)) == [
            *((1, 2, False), (1, 1, False), (2, 3, False))
        ]


def test_its_own_classes_need_no_list(tmp_path):
    classes = Classes(NAMES, ((0, 0, 0),) * len(NAMES))
    put(tmp_path / 'x.png', np.full((3, 5, 3), 9, np.uint8))
    labels = TRAIN_IDS.astype(np.uint8)
    regions = regions_of_map(labels)[1:]
    item = Annotated('x.png', tmp_path / 'x.png', (5, 3), regions, labels)
    write(tmp_path / 'out', classes, [item])
    assert not (tmp_path / 'out/classes.txt').exists()
    ids = tmp_path / 'out/gtFine/train/city/x_gtFine_instanceIds.png'
    assert cv2.imread(str(ids), cv2.IMREAD_UNCHANGED)[1].tolist() == [
        *(7, 7, 7, 24000, 26000)
    ]
    export = read(tmp_path / 'out')
    assert export.classes.names == NAMES
    assert (export.label_map(export.pictures[0]) == TRAIN_IDS).all()


def test_wrong_items(tmp_path):
    [item, _] = items(tmp_path)
    classes = Classes(('bg', 'a', 'b'), ((0, 0, 0),) * 3, 0)
    with pytest.raises(ValueError, match='another image becomes val/u/ö 1'):
        write(tmp_path / 'out', classes, [item, item])
    many = Classes((*'abcdefgh',) * 9, ((0, 0, 0),) * 72)
    region = item.regions[0]._replace(category=70)
    for regions in ([region], [item.regions[0]] * 1001):
        wrong = Annotated('a.jpg', item.image, (5, 3), regions, item.labels)
        with pytest.raises(ValueError, match='has no number; this format'):
            write(tmp_path / 'out', many, [wrong])
