from pathlib import Path

import pytest

from mmseg_ext.formats.exports.class_lists import (
    ClassList,
    background_of,
    find_class_list,
    has_no_class,
    listed_classes,
    read_class_list,
)
from mmseg_ext.formats.exports.export import Folder, InvalidExportError

LISTS = [
    pytest.param(
        'class_dict.csv',
        'name,r,g,b\r\nroad, 1, 2, 3\r\nvoid,0,0,0\r\n',
        ClassList(('road', 'void'), ((1, 2, 3), (0, 0, 0))),
        id='colors',
    ),
    pytest.param(
        'labelmap.txt',
        '# label:color_rgb:parts:actions\nbackground:0,0,0::\n'
        'a: b:250,50,83:hand,head:run\n\n',
        ClassList(('background', 'a: b'), ((0, 0, 0), (250, 50, 83))),
        id='CVAT',
    ),
    pytest.param(
        'labelmap.txt',
        'background:::\ncar:::\n',
        ClassList(('background', 'car')),
        id='CVAT without colors',
    ),
    pytest.param(
        '_classes.csv',
        'Pixel Value, Class\n0, background\n2, "car, red"\n',
        ClassList(('background', 'car, red'), values=(0, 2)),
        id='Roboflow',
    ),
    pytest.param(
        'classes.txt', 'Fluß\nroad \n', ClassList(('Fluß', 'road')), id='names'
    ),
    pytest.param(
        'labels.txt',
        '__ignore__\n_background_\ncar\n',
        ClassList(('__ignore__', '_background_', 'car'), values=(255, 0, 1)),
        id='labelme',
    ),
    pytest.param(
        'data.yaml', 'names: [a, 7]\nnc: 2\n', ClassList(('a', '7')), id='YOLO'
    ),
    pytest.param(
        'data.yml',
        'names:\n  1: b\n  0: a\n',
        ClassList(('a', 'b')),
        id='YOLO, a map',
    ),
    pytest.param(
        'data.yaml',
        'names: {3: b, 1: a}\n',
        ClassList(('a', 'b'), values=(1, 3)),
        id='YOLO with gaps',
    ),
]


@pytest.mark.parametrize(('name', 'text', 'expected'), LISTS)
@pytest.mark.parametrize('before', ['', '\ufeff'], ids=['', 'BOM'])
def test_lists(name, text, expected, before, tmp_path):
    path = tmp_path / name
    path.write_bytes((before + text).encode())
    assert read_class_list(path) == expected


@pytest.mark.parametrize(
    ('name', 'text', 'match'),
    [
        ('c.csv', 'a;b\n1;2\n', 'expected the header name,r,g,b'),
        ('c.csv', 'Pixel Value,Class\nx,a\n', 'line 2: expected pixel value'),
        ('c.csv', 'Pixel Value,Class\n256,a\n', 'value 256; expected 0 to 25'),
        ('c.csv', 'id,name\n1,a\n1,b\n', 'value 1 and 1 more'),
        ('c.csv', 'id,name\n1,a\n2,a\n', "class 'a'"),
        ('c.csv', 'id,name\n', '0 classes'),
        ('c.csv', 'name,r,g,b\na,1,2,999\n', 'outside 0 to 255'),
        ('c.txt', 'a:1,2,3::\nb:::\n', 'b has no color'),
        ('c.txt', 'a:1,2,3::\nb:1,2,3::\n', 'repeats'),
        ('c.txt', 'a\n\nb\n', 'expected a name'),
        ('c.txt', '', '0 classes'),
        ('c.yaml', 'a: [b', 'is no YAML'),
        ('c.yaml', 'nc: 2\n', 'has no list of classes'),
        ('c.yaml', 'names: [no, a]\n', 'class False'),
        ('c.yaml', 'names: {a: 1}\n', 'has no list of classes'),
        ('c.yaml', '[' * 1500, 'is no YAML'),
    ],
)
def test_lists_that_are_not_right(name, text, match, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=match) as caught:
        read_class_list(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InvalidExportError, match=match) as caught:
        listed_classes(path)
    assert str(caught.value).count(str(path)) == 1


def test_large_files_are_no_lists(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'a\n' * (1 << 20))
    with pytest.raises(ValueError, match='larger than'):
        read_class_list(path)


def test_the_nearest_list_counts(tmp_path):
    files = [
        *('classes.txt', 'data/codes.txt', 'data/train/masks/a.png'),
        *('other/x/a.png', 'data/notes.txt'),
    ]
    folder = Folder(tmp_path, tuple(sorted(files)))
    assert (
        find_class_list(folder, ['data/train/masks/a.png'])
        == tmp_path / 'data/codes.txt'
    )
    assert (
        find_class_list(folder, ['other/x/a.png']) == tmp_path / 'classes.txt'
    )
    given = Folder(tmp_path, folder.files, Path('mine.csv'))
    assert find_class_list(given, ['other/x/a.png']) == Path('mine.csv')
    none = Folder(tmp_path, ('data/a.png',))
    assert find_class_list(none, none.files) is None


def test_names():
    assert [*map(has_no_class, ('Void', '__ignore__', 'road'))] == [
        *(True, True, False)
    ]
    assert background_of(('road', 'Background')) == 1
    assert background_of(('road',)) is None
