"""What a line of a list may be, on files that need no content."""

import re

import pytest

from mmseg_ext.datasets import PairedDataset


class Potholes(PairedDataset):
    METAINFO = {'classes': ('road',), 'palette': [[1, 2, 3]]}


IMAGES = ('a.png', 'b.JPG', 'x y.png', 'city/c.png', 'd.png.png', 'd.png')
LABELS = ('a_L.png', 'b_l.PNG', 'x y_L.png', 'city/c_L.png', 'other_L.png')


@pytest.fixture
def root(tmp_path):
    for folder, names in (
        ('set/train', IMAGES),
        ('set/trainannot', (*LABELS, 'd_L.png', 'd.png_L.png')),
        ('set/val', ('v.png',)),
    ):
        for name in names:
            (tmp_path / folder / name).parent.mkdir(
                parents=True, exist_ok=True
            )
            (tmp_path / folder / name).touch()
    return tmp_path


def read(root, content, **options):
    """Return the pairs of a list, relative to the folders."""
    (root / 'list.txt').write_bytes(content.encode())
    dataset = Potholes(
        **{
            'data_root': str(root / 'set'),
            'ann_file': str(root / 'list.txt'),
            'data_prefix': {
                'img_path': 'train',
                'seg_map_path': 'trainannot',
            },
            'img_suffix': ('.png', '.jpg'),
            'seg_map_suffix': '_L.png',
            **options,
        }
    )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [
        (
            info['img_path'].removeprefix(f'{root}/set/train/'),
            info.get('seg_map_path', '-').removeprefix(
                f'{root}/set/trainannot/'
            ),
        )
        for info in infos
    ]


A, B = ('a.png', 'a_L.png'), ('b.JPG', 'b_l.PNG')
C, X = ('city/c.png', 'city/c_L.png'), ('x y.png', 'x y_L.png')


LINES = [
    # A stem, as ever.
    ('a', A),
    ('city/c', C),
    ('x y', X),
    (' x y\t', X),
    # A name.
    ('a.png', A),
    ('a.PNG', A),
    ('b.jpg', B),
    ('city/c.png', C),
    ('./city//c.png', C),
    ('x y.png', X),
    # A path that somebody else has.
    ('train/a.png', A),
    ('/home/x y/train/x y.png', X),
    ('../train/city/c.png', C),
    # Two columns.
    ('a.png a_L.png', A),
    ('/S/V/train/b.jpg /S/V/trainannot/b_L.png', B),
    ('train/city/c.png\ttrainannot/city/c_L.png', C),
    ('/my sets/train/x y.png  /my sets/trainannot/x y_L.png', X),
    ('train/a.png trainannot/other_L.png', ('a.png', 'other_L.png')),
    ('x y.png other_L.png', ('x y.png', 'other_L.png')),
]


@pytest.mark.parametrize('end', ['\n', '\r\n', '\n \n'])
def test_lines(root, end):
    lines, pairs = zip(*LINES, strict=True)
    assert read(root, end.join(lines)) == [*pairs]


@pytest.mark.parametrize(
    ('image', 'label'), [('\u00fc', 'u\u0308'), ('u\u0308', '\u00fc')]
)
def test_lines_of_macos(root, image, label):
    """The same names, with accents written in the other way."""
    image, label = f'f{image}r/{image}', f'f{label}r/{label}'
    for name in (f'train/{image}.png', f'trainannot/{label}_L.png'):
        (root / 'set' / name).parent.mkdir()
        (root / 'set' / name).touch()
    lines = [
        line
        for name in (image, label)
        for line in (
            name,
            f'{name}.png',
            f'/S/train/{name}.png /S/trainannot/{name}_L.png',
        )
    ]
    pair = f'{image}.png', f'{label}_L.png'
    assert read(root, '\n'.join(lines)) == [pair] * 6


def test_folder_named_in_the_other_way(root):
    (root / 'set/train').rename(root / 'set/fu\u0308r')
    prefix = {'img_path': 'fu\u0308r', 'seg_map_path': 'trainannot'}
    ((path, label),) = read(root, '/S/f\u00fcr/a.png', data_prefix=prefix)
    assert path.endswith('/fu\u0308r/a.png')
    assert label == 'a_L.png'


def test_without_labels(root):
    prefix = {'img_path': 'train'}
    content = 'a.png 1\n/S/train/b.jpg /S/trainannot/gone_L.png\nx y.png\n'
    pairs = read(root, content, data_prefix=prefix)
    assert pairs == [('a.png', '-'), ('b.JPG', '-'), ('x y.png', '-')]


def test_images_and_labels_in_one_folder(root):
    for name in LABELS[:1]:
        (root / 'set/trainannot' / name).rename(root / 'set/train' / name)
    prefix = {'img_path': 'train', 'seg_map_path': 'train'}
    line = '/S/train/a.png /S/train/a_L.png'
    ((image, label),) = read(root, line, data_prefix=prefix)
    assert (image, label) == ('a.png', f'{root}/set/train/a_L.png')


@pytest.mark.parametrize(
    ('line', 'files'),
    [
        pytest.param('d.png', 'train/d.png and .*train/d.png.png', id='stem'),
        pytest.param(
            '/S/train/train/a.png',
            'train/a.png and .*train/train/a.png',
            id='path',
        ),
        pytest.param(
            'a.png trainannot/trainannot/a_L.png',
            'trainannot/a_L.png and .*trainannot/trainannot/a_L.png',
            id='label',
        ),
    ],
)
def test_line_that_fits_two_files(root, line, files):
    for name in ('train/train/a.png', 'trainannot/trainannot/a_L.png'):
        (root / 'set' / name).parent.mkdir()
        (root / 'set' / name).touch()
    message = rf'list\.txt, line 3: {re.escape(repr(line))} fits .*{files};'
    with pytest.raises(ValueError, match=message):
        read(root, f'b\n\n{line}\n')


@pytest.mark.parametrize(
    'line',
    [
        'nothing',
        'a.tif',
        'a 1',
        'a b',
        'train/a',
        '/S/train/nothing.png /S/trainannot/a_L.png',
    ],
)
def test_line_without_image(root, line):
    message = (
        rf'^1 listed stem\(s\) without image in {root}/set/train: '
        rf'{re.escape(line)}; add .* out of {root}/list\.txt, line 2; '
        r'names end in \.png or \.jpg$'
    )
    with pytest.raises(FileNotFoundError, match=message):
        read(root, f'a\n{line}')


@pytest.mark.parametrize('label', ['gone_L.png', 'a.png', 'val/v_L.png'])
def test_line_without_label(root, label):
    line = f'/S/train/a.png {label}'
    message = (
        rf'^1 listed image\(s\) without label in {root}/set/trainannot: '
        rf'{line}; .*list\.txt, line 2; names end in _L\.png$'
    )
    with pytest.raises(FileNotFoundError, match=message):
        read(root, f'b\n{line}\n')


@pytest.mark.parametrize(
    'line',
    [
        '../val/v.png',
        '/S/val/v.png /S/valannot/v_L.png',  # the list of another split
        '/a.png',
        '../train/a',
        '../../etc/train',
    ],
)
def test_line_that_leads_out(root, line):
    message = (
        rf"list\.txt, line 2: path '{line}' leaves its root {root}/set/train: "
        r"expected .*, or one that has the folder's name, \.\.\./train/"
    )
    with pytest.raises(ValueError, match=message):
        read(root, f'a\n{line}\n')
