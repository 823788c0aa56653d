"""All data sets check the same, at the same time, in the same words."""

import json
import re

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from mmseg_ext.datasets import (
    CamVid,
    ColorMaskDataset,
    FolderDataset,
    IDD_Data,
    NailDataset,
    NuImagesDataset,
)


class Roads(FolderDataset):
    METAINFO = {'classes': ('road',)}


FOLDERS = {'img_path': 'images', 'seg_map_path': 'labels'}
#: Each data set, and how it reads the files of these tests.
KINDS = {
    'CamVid': (CamVid, {'seg_map_suffix': '.png', 'ann_file': 'some.txt'}),
    'ColorMaskDataset': (
        ColorMaskDataset,
        {'class_dict': 'colors.csv', 'ann_file': 'some.txt'},
    ),
    'FolderDataset': (Roads, {'ann_file': 'some.txt'}),
    'IDD_Data': (IDD_Data, {'ann_file': 'some.txt'}),
    'NuImagesDataset': (NuImagesDataset, {'ann_file': 'coco.json'}),
    'NailDataset': (
        NailDataset,
        {'ann_file': 'coco.json', 'data_prefix': {'img': 'images'}},
    ),
}


@pytest.fixture
def root(tmp_path):
    for folder in FOLDERS.values():
        (tmp_path / folder).mkdir()
        for name in 'abcd':
            image = np.zeros((4, 6, 3), np.uint8)
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), image)
    write_lists(tmp_path, *'abcd')
    (tmp_path / 'colors.csv').write_text('name,r,g,b\nroad,0,0,0')
    return tmp_path


def write_lists(root, *stems):
    (root / 'some.txt').write_text('\n'.join(stems))
    images = [
        {'id': i, 'file_name': f'{stem}.png', 'width': 6, 'height': 4}
        for i, stem in enumerate(stems, 1)
    ]
    coco = {
        'images': images,
        'annotations': [],
        'categories': [{'id': 1, 'name': 'nail'}],
    }
    (root / 'coco.json').write_text(json.dumps(coco))


@pytest.fixture(params=KINDS)
def build(request):
    """Build one of the data sets; so for each test."""
    kind, options = KINDS[request.param]

    def build(root, **others):
        return kind(
            **{
                'data_root': str(root),
                'data_prefix': FOLDERS,
                **options,
                **others,
            }
        )

    scope = 'mmdet' if request.param == 'NailDataset' else 'mmseg'
    with DefaultScope.overwrite_default_scope(scope):
        yield build


def infos_of(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def paths_of(dataset):
    return [info['img_path'] for info in infos_of(dataset)]


def test_all_is_well(build, root):
    names = [f'{root}/images/{name}.png' for name in 'abcd']
    assert paths_of(build(root)) == names


def test_home_folder(build, root, monkeypatch):
    expected = paths_of(build(root))
    monkeypatch.setenv('HOME', str(root.parent))
    home = f'~/{root.name}'
    assert paths_of(build(home)) == expected
    # Each path by itself, which a root does not come before.
    whole = build(root, lazy_init=True)
    options = {
        'data_root': None,
        'ann_file': f'{home}/{whole.ann_file[len(str(root)) + 1 :]}',
        'data_prefix': {
            key: path.replace(str(root), home)
            for key, path in whole.data_prefix.items()
        },
    }
    if type(whole) is ColorMaskDataset:
        options['class_dict'] = f'{home}/colors.csv'
    assert paths_of(build(root, **options)) == expected


def test_root_as_a_path(build, root):
    assert paths_of(build(root, data_root=root)) == paths_of(build(root))


def test_lazy_init_checks_nothing(build, root):
    for path in (root / 'some.txt', root / 'coco.json'):
        path.unlink()
    dataset = build(root, lazy_init=True)
    assert dataset.metainfo['classes']
    with pytest.raises(FileNotFoundError, match=r'ann_file .* is missing'):
        dataset.full_init()


def test_missing_list(build, root):
    with pytest.raises(
        FileNotFoundError, match=r'ann_file .*/no is missing; expected a'
    ):
        build(root, ann_file='no')


def test_list_that_is_a_folder(build, root):
    with pytest.raises(FileNotFoundError, match=r'ann_file .*/images is miss'):
        build(root, ann_file='images')


def test_empty_list(build, root):
    write_lists(root)
    with pytest.raises(ValueError, match=r'ann_file .* lists no (stems|imag)'):
        build(root)


@pytest.mark.parametrize('name', ['../x', '/x'])
def test_list_that_leads_out(build, root, name):
    write_lists(root, 'a', name)
    with pytest.raises(ValueError, match=rf'ann_file .*{name}.* leaves its'):
        build(root)


def test_missing_folder(build, root):
    (root / 'images').rename(root / 'away')
    with pytest.raises(
        FileNotFoundError,
        match=r'^\w+: folder .*/images is missing; data_root=.* say where',
    ):
        build(root)


@pytest.mark.parametrize('name', 'ac')
def test_missing_image(build, root, name):
    (root / f'images/{name}.png').unlink()
    message = rf'/images(/{name}\.png of .* is missing;|: {name};)'
    with pytest.raises(FileNotFoundError, match=message):
        build(root)


def test_indices(build, root):
    paths = paths_of(build(root, indices=[2, 0]))
    assert [path[-5:] for path in paths] == ['c.png', 'a.png']


def test_test_mode(build, root):
    assert len(build(root, test_mode=True)) == 4


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('seg_map', 'seg_map_path'),
        ('segmap_path', 'seg_map_path'),
        ('Seg_Map_Path', 'seg_map_path'),
        ('ann_dir', 'seg_map_path'),
        ('img_dir', 'img_path'),
        ('img', 'img_path'),
        ('image_path', 'img_path'),
        ('labels', None),
        ('masks', None),
    ],
)
@pytest.mark.parametrize('build', [*KINDS][:-1], indirect=True)
def test_misspelt_folder(build, root, key, meant):
    prefix = {**FOLDERS, key: 'labels'}
    hint = f", did you mean '{meant}'?" if meant else ';'
    message = re.escape(
        f': data_prefix has the unknown key {key!r}{hint} '
        'Expected keys: img_path, seg_map_path'
    )
    # Known before a file is touched.
    with pytest.raises(ValueError, match=rf'^\w+{message}$'):
        build(root / 'nowhere', data_prefix=prefix, lazy_init=True)


@pytest.mark.parametrize('build', ['NailDataset'], indirect=True)
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param(
            {'data_prefix': {'img_path': 'images'}},
            r"data_prefix has .* 'img_path', did you mean 'img'\? Expected "
            'keys: img, seg$',
            id='folder',
        ),
        pytest.param(
            {'filter_cfg': {'filter_empty': True}},
            r"filter_cfg has .* did you mean 'filter_empty_gt'\?",
            id='filter',
        ),
    ],
)
def test_misspelt_keys_of_nails(build, root, options, message):
    with pytest.raises(ValueError, match=rf'^NailDataset: {message}'):
        build(root, **options)


@pytest.mark.parametrize('key', ['CLASSES', 'class', 'palete', 'class_names'])
def test_misspelt_metainfo(build, root, key):
    meant = 'palette' if key.startswith('p') else 'classes'
    with pytest.raises(ValueError, match=rf"metainfo .*{key}', .* '{meant}'"):
        build(root, metainfo={key: ('nail',)})


def test_metainfo_of_ones_own(build, root):
    dataset = build(root, metainfo={'task_name': 'x', 'label_map': None})
    assert dataset.metainfo['task_name'] == 'x'
    # What one data set knows can be given to the next.
    assert build(root, metainfo=dataset.metainfo).metainfo == dataset.metainfo


def test_folders_that_are_no_dictionary(build, root):
    message = "data_prefix='images': expected a dictionary with the keys img"
    with pytest.raises(TypeError, match=message):
        build(root, data_prefix='images')


def test_misspelt_argument(build, root):
    with pytest.raises(TypeError, match="argument 'img_dir'"):
        build(root, img_dir='images')


@pytest.mark.parametrize('image', ['caf\u00e9', 'cafe\u0301'])
@pytest.mark.parametrize('label', ['caf\u00e9', 'cafe\u0301'])
@pytest.mark.parametrize('listed', ['caf\u00e9', 'cafe\u0301'])
def test_names_of_two_systems(build, root, image, label, listed):
    for folder, name in (('images', image), ('labels', label)):
        (root / folder / name).mkdir()
        path = root / folder / 'd.png'
        path.rename(root / folder / name / f'{name}.PNG')
    write_lists(root, *'abc', f'{listed}/{listed}')
    *_, info = infos_of(build(root))
    assert info['img_path'] == f'{root}/images/{image}/{image}.PNG'
    expected = f'{root}/labels/{label}/{label}.PNG'  # nails have none
    assert (info.get('seg_map_path') or expected) == expected


def test_suffixes_of_the_other_case(build, root):
    """Some in the whole data set, as a camera writes them, or all."""
    for name in 'bd':
        for folder in FOLDERS.values():
            path = root / folder / f'{name}.png'
            path.rename(path.with_suffix('.PNG' if name == 'b' else '.Png'))
    names = [f'{folder}.png' for folder in 'ac'] + ['b.PNG', 'd.Png']
    found = infos_of(build(root))
    assert sorted(info['img_path'] for info in found) == sorted(
        f'{root}/images/{name}' for name in names
    )
    for info in found:
        label = info['img_path'].replace('/images/', '/labels/')
        assert (info.get('seg_map_path') or label) == label


def test_names_that_fit_two_files(build, root):
    """None is taken for the other without a word."""
    for suffix in ('PNG', 'Png'):
        path = root / f'images/d.{suffix}'
        path.write_bytes((root / 'images/d.png').read_bytes())
    (root / 'images/d.png').unlink()
    (root / 'images/a.png').unlink()
    with pytest.raises(
        (ValueError, FileNotFoundError), match=r'same stem|a\.png of .* miss'
    ):
        build(root)
