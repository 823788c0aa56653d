"""YOLO's text files: where they lie, what they say, and what is wrong."""

import pickle
import unicodedata

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from mmseg_ext.formats.exports import yolo
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Picture,
    Tally,
)
from mmseg_ext.formats.exports.regions import Region, region_of_mask
from mmseg_ext.formats.exports.yolo import Yolo, write

SIZE = 40, 30

#: Pixels 10 to 19 in columns, 6 to 14 in rows.
BOX = '0.25 0.2 0.5 0.2 0.5 0.5 0.25 0.5'

NAMES = 'names: [a, b]\n'


def put(root, files):
    """Write files: images, and texts by their content."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new('RGB', SIZE).save(path)
        else:
            path.write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
    return root


def found(root, **more):
    return Yolo.found(Folder.listed(root, **more))


def read(tmp_path, text, names=NAMES):
    """Read the labels of the only image."""
    put(tmp_path, {'images/x.png': None, 'labels/x.txt': text})
    put(tmp_path, {'data.yaml': names})
    export = found(tmp_path)
    return export, export.pictures[0]


def splits(export):
    return {p.name: (p.labels, p.split) for p in export.pictures}


def test_outlines_in_pixels(tmp_path):
    export, picture = read(tmp_path, f'1 {BOX}\n0 0.5 0.5 1 0.5 1 1 0.5 1\n')
    expected = np.zeros(SIZE[::-1], np.uint8)
    expected[6:15, 10:20] = 2
    expected[15:, 20:] = 1
    assert export.classes.names == ('background', 'a', 'b')
    assert export.classes.background == 0
    assert (export.label_map(picture) == expected).all()
    counts = {0: 1200 - 90 - 300, 1: 300, 2: 90}
    assert export.tally(picture) == Tally(SIZE, counts)
    assert export.regions(picture) == [
        Region(2, [[10.0, 6.0, 20.0, 6.0, 20.0, 15.0, 10.0, 15.0]]),
        Region(1, [[20.0, 15.0, 40.0, 15.0, 40.0, 30.0, 20.0, 30.0]]),
    ]
    assert export.settled([]) is export
    assert export.index_of(2) == 2


@pytest.mark.parametrize(
    'text',
    [
        pytest.param(f'\ufeff0 {BOX}'.encode(), id='BOM'),
        pytest.param(f'\r\n0 {BOX}\r\n \r\n', id='Windows'),
        pytest.param(f'0.0\t{BOX}  ', id='tabs'),
        pytest.param(
            '0 0.25 0.2 5e-1 0.2 .5 0.5 0.25 0.5', id='other numbers'
        ),
    ],
)
def test_ways_to_write_a_line(tmp_path, text):
    export, picture = read(tmp_path, text)
    assert export.tally(picture).counts == {0: 1110, 1: 90}


def test_later_lines_cover_earlier_ones(tmp_path):
    export, picture = read(tmp_path, f'0 {BOX}\n1 {BOX}\n')
    assert export.tally(picture).counts == {0: 1110, 2: 90}


def test_a_little_outside_is_clipped(tmp_path):
    text = '0 -0.0009 0 1.0009 -0.001 1.001 1 0 1'
    export, picture = read(tmp_path, text)
    assert export.tally(picture).counts == {1: 1200}
    [region] = export.regions(picture)
    assert region.mask == [[0, 0, 40, 0, 40, 30, 0, 30]]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        pytest.param(f'2 {BOX}', 'line 2: class 2, but .* has 2;', id='class'),
        pytest.param(f'-1 {BOX}', 'class -1, but', id='negative'),
        pytest.param(f'0.5 {BOX}', 'class 0.5, but', id='half'),
        pytest.param(f'a {BOX}', "line 2: 'a' is no number", id='text'),
        pytest.param(f'nan {BOX}', "'nan' is no number", id='nan-class'),
        pytest.param('0 0 0 nan 0 1 1', "'nan' is no number", id='nan'),
        pytest.param('0 0 0 inf 0 1 1', "'inf' is no number", id='inf'),
        pytest.param('0 0.5 0.5 0.2 0.2', r'a box \(class and 4', id='box'),
        pytest.param('0', '0 numbers after the class', id='alone'),
        pytest.param('0 0 0 1 0 1', '5 numbers after the class', id='few'),
        pytest.param(f'0 {BOX} 0.9', '9 numbers after the class', id='odd'),
        pytest.param('0 0 0 1.002 0 1 1', '1.002 lies outside', id='right'),
        pytest.param('0 0 -0.2 1 0 1 1', '-0.2 lies outside', id='above'),
        pytest.param('0 20 20 30 20 30 9', '20 lies outside', id='pixels'),
    ],
)
def test_lines_that_are_not_right(tmp_path, line, message):
    export, picture = read(tmp_path, f'0 {BOX}\n{line}\n')
    with pytest.raises(ValueError, match=message) as caught:
        export.tally(picture)
    assert str(caught.value).startswith('line 2: ')


def test_boxes_only(tmp_path):
    export, picture = read(tmp_path, '0 0.5 0.5 0.2 0.2\n')
    with pytest.raises(ValueError, match=r'line 1: a box .* no outline'):
        export.tally(picture)


def test_other_encodings(tmp_path):
    export, picture = read(tmp_path, f'0 {BOX}'.encode('utf-16'))
    with pytest.raises(ValueError, match='UTF-16'):
        export.tally(picture)


def test_void_and_background(tmp_path):
    text = f'0 {BOX}\n1 0.5 0.5 1 0.5 1 1 0.5 1\n2 0 0 0.1 0 0.1 1 0 1'
    export, picture = read(tmp_path, text, 'names: [void, a, bg]')
    assert export.classes.names == ('a', 'bg')
    assert export.classes.background == 1
    assert export.tally(picture).counts == {255: 90, 0: 300, 1: 810}
    assert [region.category for region in export.regions(picture)] == [0]


def test_images_turned_by_exif(tmp_path):
    """Shares are of the image as it is shown, and as loaders see it."""
    export, picture = read(tmp_path, f'0 {BOX}\n')
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / 'images/x.png'
    path.unlink()
    Image.new('RGB', SIZE).save(path.with_suffix('.jpg'), exif=exif)
    export = found(tmp_path)
    [picture] = export.pictures
    width, height = SIZE[::-1]
    seen = cv2.imread(str(path.with_suffix('.jpg'))).shape[:2]
    assert export.label_map(picture).shape == seen == (height, width)
    assert export.tally(picture).size == (width, height)


def test_images_that_cannot_be_read(tmp_path):
    export, picture = read(tmp_path, f'0 {BOX}\n')
    (tmp_path / picture.name).write_bytes(b'\xff\xd8 no image')
    with pytest.raises(ValueError, match=r'images/x.png cannot be read'):
        export.tally(picture)


# Where files lie.


def test_ultralytics_tree(tmp_path):
    put(
        tmp_path,
        {
            'data.yaml': 'path: ../datasets/mine\ntrain: images/train\n'
            'val: images/val\ntest: # none\n'
            'names:\n  0: a\n  1: b\n',
            'images/train/x.PNG': None,
            'images/train/sub/empty.png': None,
            'images/val/y.png': None,
            'images/more/z.png': None,
            'labels/train/x.txt': f'0 {BOX}',
            'labels/train/lone.txt': '',
            'labels/val/y.TXT': '',
        },
    )
    export = found(tmp_path)
    assert splits(export) == {
        'images/train/sub/empty.png': (None, 'train'),
        'images/train/x.PNG': ('labels/train/x.txt', 'train'),
        'images/val/y.png': ('labels/val/y.TXT', 'val'),
    }
    assert export.evidence == (
        '2 images with a text file of the same name',
        '2 classes in data.yaml: a, b',
        '1 images without text file, which show no object',
        'splits: 2 train, 1 val',
    )
    assert export.ignored == (
        '1 images that are in no split or have no labels beside them: '
        'images/more/z.png',
        '1 files without image: labels/train/lone.txt',
    )
    assert export.tally(export.pictures[0]) == Tally(SIZE, {0: 1200})
    assert export.regions(export.pictures[0]) == []


ROBOFLOW = {
    'train/images/x.png': None,
    'train/labels/x.txt': f'0 {BOX}',
    'valid/images/y.png': None,
    'valid/labels/y.txt': f'1 {BOX}',
}
OURS = {
    'train/images/x.png': ('train/labels/x.txt', 'train'),
    'valid/images/y.png': ('valid/labels/y.txt', 'val'),
}


@pytest.mark.parametrize('start', ['', 'unpacked/set/'])
@pytest.mark.parametrize(
    'entries',
    [
        'train: ../train/images\nval: ../valid/images\n',
        'train: train/images\nval: [valid/images]\n',
        'train: ./train/images/\nval: valid/images/.\n',
        'path: .\ntrain: train\nval: valid\n',
        'path: /content/mine\ntrain: train/images\nval: valid/images\n',
        'train: /content/mine/train/images\nval: D:\\x\\valid\\images\n',
    ],
)
def test_paths_in_the_yaml(tmp_path, entries, start):
    files = ROBOFLOW | {'data.yaml': f'{entries}nc: 2\nnames: ["a", "b"]\n'}
    put(tmp_path / start, files)
    assert splits(found(tmp_path)) == {
        start + name: (start + labels, split)
        for name, (labels, split) in OURS.items()
    }


def test_split_that_is_not_there(tmp_path):
    """Roboflow's file names a test split that was not exported."""
    entries = 'train: ../train/images\nval: ../valid/images\n'
    put(tmp_path, ROBOFLOW)
    put(tmp_path, {'data.yaml': f'{entries}test: ../test/images\n{NAMES}'})
    export = found(tmp_path)
    assert splits(export) == OURS
    assert export.ignored == (
        'test: ../test/images in data.yaml, which is not there',
    )


@pytest.mark.parametrize(
    'entry', ['../../train', 'missing', '/', '..', 'images/x/missing']
)
def test_no_images_to_train_on(tmp_path, entry):
    put(tmp_path, {'images/x.png': None, 'labels/x.txt': f'0 {BOX}'})
    put(tmp_path, {'data.yaml': f'train: {entry}\n{NAMES}'})
    with pytest.raises(InvalidExportError, match=r'data.yaml: train: .* not'):
        found(tmp_path)


def test_nothing_outside_is_read(tmp_path):
    put(tmp_path, {'train/images/out.png': None})
    put(tmp_path / 'in', ROBOFLOW)
    put(tmp_path / 'in', {'data.yaml': f'train: ../train/images\n{NAMES}'})
    assert list(splits(found(tmp_path / 'in'))) == ['train/images/x.png']


def test_lists_of_images(tmp_path):
    put(
        tmp_path,
        {
            'data.yaml': f'path: .\ntrain: train.txt\nval: val.txt\n{NAMES}',
            'train.txt': 'data/images/train/x.png\r\n\r\n',
            'val.txt': './images/val/y.png\n/home/me/images/val/z.png\n',
            'images/train/x.png': None,
            'images/train/unlisted.png': None,
            'images/val/y.png': None,
            'images/val/z.png': None,
            'labels/train/x.txt': f'0 {BOX}',
            'labels/train/unlisted.txt': f'0 {BOX}',
        },
    )
    export = found(tmp_path)
    assert splits(export) == {
        'images/train/x.png': ('labels/train/x.txt', 'train'),
        'images/val/y.png': (None, 'val'),
        'images/val/z.png': (None, 'val'),
    }
    assert 'images/train/unlisted.png' in export.ignored[0]
    put(tmp_path, {'val.txt': 'images/val/y.png\nimages/val/gone.png\n'})
    with pytest.raises(
        InvalidExportError, match=r'val.txt: line 2: the image .*gone.png'
    ):
        found(tmp_path)


def test_image_of_two_splits(tmp_path):
    put(tmp_path, {'images/x.png': None, 'labels/x.txt': f'0 {BOX}'})
    put(tmp_path, {'data.yaml': f'train: images\nval: images\n{NAMES}'})
    export = found(tmp_path)
    assert [picture.split for picture in export.pictures] == ['train']
    assert export.ignored == ('val: 1 images that are in a split before, too',)


def test_classes_in_a_text_file(tmp_path):
    """As Label Studio exports them, and as images lie beside their labels."""
    put(tmp_path, {'classes.txt': 'a\r\nb c\r\n', 'notes.json': '{}'})
    put(tmp_path, {'images/x.png': None, 'labels/x.txt': f'1 {BOX}'})
    put(tmp_path, {'images/y.png': None, 'other/z.png': None})
    put(tmp_path, {'valid/x.png': None, 'valid/x.txt': f'0 {BOX}'})
    export = found(tmp_path)
    assert export.classes.names == ('background', 'a', 'b c')
    assert splits(export) == {
        'images/x.png': ('labels/x.txt', None),
        'images/y.png': (None, None),
        'valid/x.png': ('valid/x.txt', 'val'),
    }
    assert export.tally(export.pictures[0]).counts == {0: 1110, 2: 90}
    [line] = export.ignored
    assert 'other/z.png' in line


def test_the_last_folder_of_images_counts(tmp_path):
    put(tmp_path, {'images/a/images/x.png': None, 'data.yaml': NAMES})
    put(tmp_path, {'images/a/labels/x.txt': f'0 {BOX}'})
    [picture] = found(tmp_path).pictures
    assert picture.labels == 'images/a/labels/x.txt'


def test_names_in_other_forms(tmp_path):
    name = 'Käse mit Löchern'
    nfc, nfd = (unicodedata.normalize(form, name) for form in ('NFC', 'NFD'))
    put(tmp_path, {f'images/{nfc}.jpg': None, f'labels/{nfd}.txt': ''})
    put(tmp_path, {'list.txt': f'./images/{nfd}.jpg'})
    put(tmp_path, {'data.yaml': f'train: list.txt\n{NAMES}'})
    assert splits(found(tmp_path)) == {
        f'images/{nfc}.jpg': (f'labels/{nfd}.txt', 'train')
    }


def test_a_list_of_the_user(tmp_path):
    put(tmp_path, {'images/x.png': None, 'labels/x.txt': f'1 {BOX}'})
    path = put(tmp_path / 'mine', {'list.txt': 'one\ntwo\n'}) / 'list.txt'
    export = found(tmp_path, class_list=path)
    assert export.classes.names == ('background', 'one', 'two')
    put(tmp_path, {'data.yaml': NAMES})
    export = found(tmp_path, class_list=path)
    assert export.classes.names == ('background', 'one', 'two')


@pytest.mark.parametrize(
    'files',
    [
        pytest.param({}, id='empty'),
        pytest.param({'images/x.png': None, 'data.yaml': NAMES}, id='images'),
        pytest.param({'labels/x.txt': f'0 {BOX}'}, id='labels'),
        pytest.param(
            {'images/x.png': None, 'images/x.txt': 'a cat on a mat'},
            id='captions',
        ),
        pytest.param({'x.png': None, 'x.txt': ''}, id='empty texts'),
        pytest.param(
            {'x.png': None, 'x.txt': 'a cat', 'classes.txt': 'cat\nmat'},
            id='captions and classes',
        ),
        pytest.param(
            {'images/x.png': None, 'labels/x.txt': '0 0.5 0.5 0.1 0.1'},
            id='boxes without names',
        ),
        pytest.param(
            {'images/x.png': None, 'labels/x.txt': b'\xff\xfe\0'},
            id='bytes',
        ),
    ],
)
def test_other_folders(tmp_path, files):
    assert found(put(tmp_path, files)) is None


IMAGE = {'images/x.png': None, 'labels/x.txt': f'0 {BOX}'}


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        pytest.param({}, 'nothing says what the classes are', id='no names'),
        pytest.param({'data.yaml': 'a: 1'}, 'it has no names', id='no list'),
        pytest.param({'data.yaml': '- a'}, 'it has no names', id='a list'),
        pytest.param({'data.yaml': 'a: [b'}, 'it is no YAML', id='broken'),
        pytest.param(
            {'data.yaml': '!!python/object/apply:os.getcwd []'},
            'it is no YAML: could not determine a constructor',
            id='code',
        ),
        pytest.param(
            {'data.yaml': '[' * 20000}, 'nested too deep', id='nested'
        ),
        pytest.param(
            {'data.yaml': b'a' * (1 << 20) + b'a'},
            'expected at most',
            id='big',
        ),
        pytest.param(
            {'data.yaml': 'names: [a, no]'},
            'the name of class 1 is of the kind bool; .* quotes',
            id='bool',
        ),
        pytest.param({'data.yaml': 'names: {a: 1}'}, "the key 'a'", id='key'),
        pytest.param(
            {'data.yaml': 'names: {0: a, 2: b}'},
            '2 classes, which are not numbered 0 to 1',
            id='gap',
        ),
        pytest.param(
            {'data.yaml': 'names: road'}, 'neither a list nor', id='text'
        ),
        pytest.param(
            {'data.yaml': 'names: [a]\nnc: 2'}, 'nc is 2, but', id='number'
        ),
        pytest.param({'data.yaml': 'names: [a, a]'}, "called 'a'", id='twice'),
        pytest.param({'data.yaml': 'names: []'}, 'no classes', id='none'),
        pytest.param(
            {'data.yaml': 'names: [a]\ntrain: {a: b}'},
            'train is of the kind dict',
            id='entry',
        ),
        pytest.param(
            {'mine.yml': 'names: [a]\ntrain: 7'},
            'train is of the kind int',
            id='other name',
        ),
        pytest.param(
            {'images/x.jpg': None, 'data.yaml': NAMES},
            r'images/x.png: images/x.jpg has the same name',
            id='stems',
        ),
        pytest.param(
            {'data.yaml': f'train: more\n{NAMES}', 'more/y.png': None},
            'none of the 1 images that it names',
            id='others',
        ),
        pytest.param({'classes.txt': b'\xff'}, 'not encoded', id='classes'),
    ],
)
def test_what_is_not_right(tmp_path, files, message):
    put(tmp_path, IMAGE | files)
    with pytest.raises(InvalidExportError, match=message) as caught:
        found(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_number_of_classes_alone(tmp_path):
    export, _ = read(tmp_path, f'1 {BOX}', 'nc: 2')
    assert export.classes.names == ('background', 'class_0', 'class_1')


def test_names_that_are_numbers(tmp_path):
    export, _ = read(tmp_path, f'1 {BOX}', 'names: {1: 20, 0: "no"}')
    assert export.classes.names == ('background', 'no', '20')


def test_other_yaml_files_are_passed_over(tmp_path):
    put(tmp_path, {'a.yaml': 'a: [b', 'b.yaml': 'c: 1', 'data.yml': NAMES})
    export, _ = read(tmp_path, f'1 {BOX}')
    assert export.classes.names == ('background', 'a', 'b')


@pytest.mark.parametrize('text', [None, 'a\na\n', ''])
def test_lists_of_the_user_that_are_not_right(tmp_path, text):
    put(tmp_path, IMAGE | {'data.yaml': NAMES})
    path = tmp_path / 'mine.txt'
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidExportError, match=r'^\S*mine\.txt: '):
        found(tmp_path, class_list=path)


# Writing.

CLASSES = Classes(('sky', 'background', 'Möwe'), ((0, 0, 0),) * 3, 1)


def shape_with_holes():
    """Two parts, one with two holes, one at the border."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[3:20, 5:25] = 1
    mask[6:9, 8:12] = mask[12:13, 15:16] = 0
    mask[22:30, 30:40] = 1
    return mask


def test_written_and_read(tmp_path):
    image = put(tmp_path, {'from/x.png': None}) / 'from/x.png'
    mask = shape_with_holes()
    items = [
        Annotated('ä b.png', image, SIZE, [Region(0, [[1, 2, 30, 2, 8, 9]])]),
        Annotated(
            'c/d.png', image, SIZE, [region_of_mask(mask, 2, 0, 0, SIZE)]
        ),
        Annotated('e.png', image, SIZE),
    ]
    write(tmp_path / 'out', CLASSES, items)
    content = yaml.safe_load((tmp_path / 'out/data.yaml').read_text())
    assert content == {'nc': 2, 'names': {0: 'sky', 1: 'Möwe'}}
    export = found(tmp_path / 'out')
    assert export.classes.names == ('background', 'sky', 'Möwe')
    assert splits(export) == {
        f'images/{stem}.png': (f'labels/{stem}.txt', None)
        for stem in ('c/d', 'e', 'ä b')
    }
    labels, empty, first = map(export.label_map, export.pictures)
    assert (labels == mask * 2).all()
    assert not empty.any()
    expected = coco_mask.decode(
        coco_mask.frPyObjects([[1, 2, 30, 2, 8, 9]], *SIZE[::-1])
    )
    assert (first == expected[:, :, 0]).all()
    [region] = export.regions(export.pictures[0])
    assert len(region.mask) == 1


def test_written_splits(tmp_path):
    image = put(tmp_path, {'x.png': None}) / 'x.png'
    items = [
        Annotated(f'{split}.png', image, SIZE, split=split)
        for split in ('val', 'train')
    ]
    write(tmp_path / 'out', CLASSES, items)
    content = yaml.safe_load((tmp_path / 'out/data.yaml').read_text())
    assert content['train'] == 'images/train'
    assert content['val'] == 'images/val'
    assert {p.split for p in found(tmp_path / 'out').pictures} == {
        'train',
        'val',
    }


def test_what_cannot_be_written(tmp_path):
    image = put(tmp_path, {'x.png': None}) / 'x.png'
    region = Region(1, [[0, 0, 1, 0, 1, 1]])
    with pytest.raises(ValueError, match=r'x.png: regions.0. is of class 1'):
        write(tmp_path, CLASSES, [Annotated('x.png', image, SIZE, [region])])
    some = [
        Annotated('x.png', image, SIZE, split='val'),
        Annotated('y.png', image, SIZE),
    ]
    with pytest.raises(ValueError, match=r'y.png: split None, but others'):
        write(tmp_path, CLASSES, some)
    twice = [Annotated(name, image, SIZE) for name in ('x.png', 'x.jpg')]
    with pytest.raises(ValueError, match=r'x.jpg: another image becomes x as'):
        write(tmp_path / 'twice', CLASSES, twice)


@pytest.mark.parametrize('seed', range(5))
def test_joined_outlines_have_the_same_pixels(seed):
    """Random masks, with many holes and parts."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((60, 80)), (0, 0), 2)
    mask = (noise > np.median(noise)).astype(np.uint8)
    region = region_of_mask(mask, 0, 0, 0, (80, 60))
    line = yolo._line(region, 0, (80, 60))
    points = np.array(line.split()[1:], float).reshape(-1, 2) * (80, 60)
    code = coco_mask.frPyObjects([points.ravel().tolist()], 60, 80)
    assert (coco_mask.decode(code)[:, :, 0] == mask).all()


def test_a_picture_of_another_process(tmp_path):
    """Pictures and exports are plain data."""
    export, picture = read(tmp_path, f'0 {BOX}')
    again = pickle.loads(pickle.dumps(export))
    assert again == export
    assert again.tally(Picture(*picture)) == export.tally(picture)
