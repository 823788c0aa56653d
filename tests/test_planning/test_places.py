"""The shortest words by which a data set finds exactly what it should."""

import gc
import unicodedata

import pytest

from mmseg_ext.datasets import FolderDataset
from mmseg_ext.planning.places import Listing, Place, find_places
from mmseg_ext.utils.files import find_files

JPEGS = ('.jpg', '.png')


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    """Mmengine collects garbage with each data set: most of the time here."""
    monkeypatch.setattr(gc, 'collect', lambda *generation: 0)


def touch(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def placed(root, splits, others=()):
    """Return what was found, once the data set has found the same."""
    pairs = [pair for pairs in splits.values() for pair in pairs]
    touch(root, [name for pair in pairs for name in pair])
    touch(root, others)
    places = find_places(splits, Listing(root, find_files(root)))
    if places is None:
        return None
    for split, place in places.splits.items():
        options = {}
        if place.lines is not None:
            path = root.parent / 'list.txt'
            path.write_text('\n'.join(place.lines), encoding='utf-8')
            options['ann_file'] = str(path)
        dataset = FolderDataset(
            data_root=str(root),
            data_prefix={
                'img_path': place.images,
                'seg_map_path': place.labels,
            },
            img_suffix=places.img_suffix,
            seg_map_suffix=places.seg_map_suffix,
            metainfo={'classes': ('road',)},
            **options,
        )
        infos = map(dataset.get_data_info, range(len(dataset)))
        found = [(info['img_path'], info['seg_map_path']) for info in infos]
        assert sorted(found) == sorted(
            (str(root / image), str(root / label))
            for image, label in splits[split]
        )
    return places


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'data'


def with_stems(images, labels, stems):
    return [(images.format(s), labels.format(s)) for s in stems]


def test_the_folders_are_those_of_the_splits(root):
    splits = {
        split: with_stems(
            f'{split}/img/{{}}.jpg', f'{split}/ann/{{}}.png', stems
        )
        for split, stems in (('train', 'abc'), ('val', 'de'), ('test', 'f'))
    }
    places = placed(root, splits, ['notes.txt', 'train/img/a.json'])
    assert places.img_suffix == ('.jpg',)
    assert places.seg_map_suffix == '.png'
    assert places.splits == {
        split: Place(f'{split}/img', f'{split}/ann') for split in splits
    }


def test_folders_below_those_of_the_splits(root):
    splits = {
        'train': [
            (f'img/train/{name}.jpg', f'gt/train/{name}.png')
            for name in ('b/a', 'b/c', 'd/a', 'e')
        ],
        'val': with_stems('img/val/{}.png', 'gt/val/{}.png', 'a'),
    }
    places = placed(root, splits)
    assert places.img_suffix == JPEGS
    assert places.splits['train'] == Place('img/train', 'gt/train')
    assert places.splits['val'] == Place('img/val', 'gt/val')


def test_one_folder_for_all(root):
    pairs = with_stems('img/{}.jpg', 'gt/{}.png', ['a', 'b', 'c/d', 'c/e'])
    places = placed(root, {'train': pairs[::2], 'val': pairs[1::2]})
    assert places.splits == {
        'train': Place('img', 'gt', ('a', 'c/d')),
        'val': Place('img', 'gt', ('b', 'c/e')),
    }


def test_images_that_are_not_used(root):
    splits = {
        'train': with_stems('img/{}.jpg', 'gt/{}.png', 'abc'),
        'val': with_stems('val/{}.jpg', 'val_gt/{}.png', 'd'),
    }
    places = placed(root, splits, ['img/unlabeled.jpg'])
    # There is no pair of folders for both, and so paths are listed.
    assert places.splits['train'] == Place(
        'img', 'gt', ('a.jpg a.png', 'b.jpg b.png', 'c.jpg c.png')
    )
    only = {'train': splits['train'][:2], 'val': splits['train'][2:]}
    assert placed(root, only).splits['val'] == Place('img', 'gt', ('c',))


def test_labels_that_are_not_used(root):
    splits = {'train': with_stems('img/{}.jpg', 'gt/{}.png', 'abc')}
    places = placed(root, splits, ['gt/more.png'])
    assert places.splits == {'train': Place('img', 'gt')}


@pytest.mark.parametrize(
    ('image', 'label', 'endings', 'ending'),
    [
        pytest.param('i/{}.jpg', 'l/{}.png', '.jpg', '.png', id='stems'),
        pytest.param('i/{}.JPG', 'l/{}.PNG', '.JPG', '.PNG', id='capitals'),
        pytest.param('i/{}.png', 'l/{}_L.png', '.png', '_L.png', id='end'),
        pytest.param('{}.png', '{}_mask.png', '.png', '_mask.png', id='one'),
        pytest.param('{}.jpg', '{}.png', '.jpg', '.png', id='one, suffixes'),
        pytest.param('x/{}.jpg', 'x/{}.png', '.jpg', '.png', id='below'),
        pytest.param(
            'i/{}_leftImg8bit.png',
            'l/{}_gtFine_labelIds.png',
            '_leftImg8bit.png',
            '_gtFine_labelIds.png',
            id='both ends',
        ),
        pytest.param(
            'i/{}.jpg', 'l/{}.jpg.png', '.jpg', '.jpg.png', id='suffix kept'
        ),
        pytest.param(
            'i/{}_img.png', 'l/{}_inst.png', '_img.png', '_inst.png', id='i'
        ),
        pytest.param(
            'i/{}.png', 'l/{}mask.png', '.png', 'mask.png', id='glued'
        ),
    ],
)
def test_rules_of_names(root, image, label, endings, ending):
    stems = ['a1', 'a10', 'x y', 'über', 'b.v2']
    pairs = with_stems(image, label, stems)
    places = placed(root, {'train': pairs})
    assert places.img_suffix == (endings,)
    assert places.seg_map_suffix == ending
    assert places.splits['train'].lines is None
    places = placed(root, {'train': pairs[:3], 'val': pairs[3:]})
    assert places.splits['train'].lines == ('a1', 'a10', 'x y')
    assert places.splits['val'].lines == ('über', 'b.v2')


@pytest.mark.parametrize(
    ('image', 'label'),
    [
        pytest.param('img_{}.jpg', 'mask_{}.png', id='one folder'),
        pytest.param('img_{}.png', 'mask_{}.png', id='one folder and suffix'),
        pytest.param('i/img {}.png', 'l/mask  {}.png', id='blanks'),
        pytest.param('{}/image.png', '{}/mask.png', id='a folder each'),
        pytest.param('{}/a/image.png', '{}/b/mask.png', id='two each'),
        pytest.param('i/ä{}.JPG', 'l/ö {}.bmp', id='umlauts'),
    ],
)
def test_any_names(root, image, label):
    pairs = with_stems(image, label, ['1', '2 3', '10', 'x'])
    splits = {'train': pairs[:2], 'val': pairs[2:]}
    places = placed(root, splits)
    assert all(place.lines for place in places.splits.values())


def test_labels_with_several_suffixes(root):
    pairs = [('i/a.png', 'l/a.png'), ('i/b.png', 'l/b.bmp')]
    places = placed(root, {'train': pairs})
    assert places.seg_map_suffix == ''
    assert places.splits['train'].lines == ('a.png a.png', 'b.png b.bmp')


def test_forms_of_unicode(root):
    """As where macOS wrote the images, and Linux the masks."""
    forms = [unicodedata.normalize(f, 'é{}.png') for f in ('NFD', 'NFC')]
    pairs = with_stems(f'i/{forms[0]}', f'l/{forms[1]}', '12')
    assert placed(root, {'train': pairs}).splits['train'].lines is None
    places = placed(root, {'train': pairs[:1], 'val': pairs[1:]})
    assert len(places.splits['val'].lines[0]) == 2


def test_folders_in_other_forms_of_unicode(root):
    folder = unicodedata.normalize('NFD', 'Straße Köln')
    pairs = with_stems(f'{folder}/i/{{}}.png', f'{folder}/l/{{}}.png', 'ab')
    place = placed(root, {'train': pairs}).splits['train']
    assert place == Place(f'{folder}/i', f'{folder}/l')


def test_a_label_of_another_image(root):
    """Stems pair as well, in another way."""
    pairs = [('i/a.png', 'l/b.png'), ('i/b.png', 'l/a.png')]
    places = placed(root, {'train': pairs})
    assert places.splits['train'].lines == ('a.png b.png', 'b.png a.png')


def test_a_label_of_two_images(root):
    pairs = [('i/a.png', 'l/a.png'), ('i/a.jpg', 'l/b.png')]
    assert placed(root, {'train': pairs}) is None


def test_line_breaks_are_for_no_list(root):
    pairs = with_stems('i/{}.png', 'l/{}.png', ['a\nb', 'c'])
    assert placed(root, {'train': pairs}).splits['train'].lines is None
    assert placed(root, {'train': pairs[:1], 'val': pairs[1:]}) is None


def test_labels_elsewhere(tmp_path):
    """As where label maps are drawn: one is as good as another's name."""
    images = Listing(tmp_path / 'a', ['x/1.jpg', 'x/2.png', 'x/1.json'])
    labels = Listing(tmp_path / 'b', ['x/1.png', 'x/2.png'])
    pairs = [('x/1.jpg', 'x/1.png'), ('x/2.png', 'x/2.png')]
    places = find_places({'train': pairs}, images, labels)
    assert places.img_suffix == JPEGS
    assert places.splits['train'] == Place('x', 'x')
