import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_ext.datasets.camvid import CamVid
from mmseg_ext.datasets.color_masks import ColorMaskDataset
from references import color_masks as reference

CLASSES = {'road': (128, 64, 128), 'hole': (255, 0, 0), 'Void': (0, 0, 0)}
LOAD = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadColorMasks'},
    {'type': 'PackSegInputs'},
]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def root(tmp_path):
    """Three images of two suffixes, with masks of random classes."""
    rng = np.random.default_rng(0)
    colors = np.array(list(CLASSES.values()), np.uint8)
    for name in ('a.jpg', 'b.png', 'c.jpg'):
        for folder, file, pixels in (
            ('photos', name, rng.integers(0, 256, (9, 12, 3), np.uint8)),
            ('masks', f'{name[0]}.png', colors[rng.integers(0, 3, (9, 12))]),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / file)
    rows = [','.join(map(str, (n, *rgb))) for n, rgb in CLASSES.items()]
    text = '\n'.join(['name,r,g,b', *rows])
    (tmp_path / 'class_dict.csv').write_text(text)
    return tmp_path


def build(root, kind=ColorMaskDataset, **options):
    prefix = {'img_path': 'photos', 'seg_map_path': 'masks'}
    return kind(
        **{
            'data_root': str(root),
            'data_prefix': prefix,
            'pipeline': LOAD,
            **options,
        }
    )


def labels_of(dataset):
    return [
        sample['data_samples'].gt_sem_seg.data[0].numpy() for sample in dataset
    ]


def expected_labels(root, indices):
    """Labels by the reference, with these indices for the three colors."""
    color_map = list(zip(CLASSES.values(), indices, strict=True))
    return [
        reference.decode(path, color_map)[0]
        for path in sorted((root / 'masks').iterdir())
    ]


def assert_equal(labels, expected):
    for one, other in zip(labels, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_classes_of_the_file(root):
    dataset = DATASETS.build(
        {
            'type': 'ColorMaskDataset',
            'data_root': str(root),
            'data_prefix': {'img_path': 'photos', 'seg_map_path': 'masks'},
            'pipeline': LOAD,
        }
    )
    assert dataset.metainfo['classes'] == ('road', 'hole', 'Void')
    assert dataset.metainfo['palette'] == [
        [128, 64, 128],
        [255, 0, 0],
        [0] * 3,
    ]
    assert_equal(labels_of(dataset), expected_labels(root, (0, 1, 255)))


def test_classes_of_an_argument(root):
    """As a config has them, which knows no tuples after JSON."""
    (root / 'class_dict.csv').unlink()
    classes = ConfigDict({n: list(CLASSES[n]) for n in reversed(CLASSES)})
    dataset = build(root, class_dict=classes)
    assert dataset.metainfo['classes'] == ('Void', 'hole', 'road')
    assert_equal(labels_of(dataset), expected_labels(root, (2, 1, 255)))


def test_classes_of_a_subclass(root):
    class Holes(ColorMaskDataset):
        METAINFO = {
            'classes': tuple(CLASSES),
            'palette': [list(color) for color in CLASSES.values()],
        }

    (root / 'class_dict.csv').unlink()
    dataset = build(root, Holes)
    assert_equal(labels_of(dataset), expected_labels(root, (0, 1, 255)))


def test_file_of_another_name(root):
    (root / 'class_dict.csv').rename(root / 'colors.csv')
    dataset = build(root, class_dict='colors.csv')
    assert dataset.metainfo['classes'] == tuple(CLASSES)


@pytest.mark.parametrize('max_unknown', [0.1, 1.0])
def test_names_without_colors(root, max_unknown):
    """Masks are of indices then; those in color are an error."""
    (root / 'class_dict.csv').unlink()
    (root / 'codes.txt').write_text('road\nVoid\nhole\n')
    load = {'type': 'LoadColorMasks', 'max_unknown': max_unknown}
    dataset = build(
        root, class_dict='codes.txt', pipeline=[LOAD[0], load, LOAD[2]]
    )
    assert dataset.metainfo['classes'] == ('road', 'Void', 'hole')
    with pytest.raises(ValueError, match=r'masks/a\.png .*in color.*expec'):
        dataset[0]
    masks = np.random.default_rng(1).integers(0, 3, (3, 9, 12), np.uint8)
    for name, mask in zip('abc', masks, strict=True):
        Image.fromarray(mask).save(root / f'masks/{name}.png')
    expected = np.array([0, 255, 2])[masks]
    assert_equal(labels_of(dataset), expected)


def test_groups(root):
    groups = {'damage': ((1, 2, 3), ('hole',)), 'rest': ((4, 5, 6), ['road'])}
    dataset = build(root, grouping=groups)
    assert dataset.metainfo['classes'] == ('damage', 'rest')
    assert dataset.metainfo['palette'] == [[1, 2, 3], [4, 5, 6]]
    assert_equal(labels_of(dataset), expected_labels(root, (1, 0, 255)))


def test_no_class_list(root):
    (root / 'class_dict.csv').unlink()
    with pytest.raises(
        FileNotFoundError,
        match=rf'ColorMaskDataset: no class_dict\.csv in {root}; expected .* '
        r'class_dict=dict\(',
    ):
        build(root)


def test_no_class_list_beside_labels_elsewhere(root, tmp_path_factory):
    other = tmp_path_factory.mktemp('other')
    (root / 'class_dict.csv').unlink()
    prefix = {'img_path': 'photos', 'seg_map_path': str(other / 'masks')}
    with pytest.raises(FileNotFoundError, match=f'{other} or {root};'):
        build(root, data_prefix=prefix)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param(
            {'class_dict': {'road': (1, 2)}},
            r"class_dict: expected a name and three .*\['road', 1, 2\]",
            id='two channels',
        ),
        pytest.param(
            {'class_dict': {'road': (1, 2, 300)}}, 'outside 0', id='range'
        ),
        pytest.param(
            {'class_dict': {'a': (1, 2, 3), 'b': (1, 2, 3)}},
            r'b \(1, 2, 3\) repeats a',
            id='duplicate',
        ),
        pytest.param({'class_dict': {}}, '0 classes; expected 1', id='none'),
        pytest.param(
            {'grouping': 'camvid12'}, "'camvid12': expected one", id='unknown'
        ),
        pytest.param(
            {'grouping': {'x': ((1, 2, 3), ['hole'])}},
            r"\['road'\] belong to no group",
            id='no group',
        ),
    ],
)
def test_wrong_class_lists(root, options, message):
    with pytest.raises(ValueError, match=message):
        build(root, **options)


def test_camvid_is_a_preset(root):
    """With the same options both are the same."""
    options = {'img_suffix': ('.jpg', '.png'), 'seg_map_suffix': '.png'}
    one, other = (
        build(root, kind, **options) for kind in (ColorMaskDataset, CamVid)
    )
    assert one.metainfo == other.metainfo
    assert_equal(labels_of(one), labels_of(other))


def make_transparent(root, value):
    """Let each mask's first column be of a color that no class has."""
    for path in (root / 'masks').iterdir():
        pixels = np.array(Image.open(path).convert('RGBA'))
        pixels[:, 0] = (*value, 0)
        Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ('transparent', 'index'), [('ignore', 255), ('sky', 1), ('Void', 255)]
)
def test_transparent_pixels(root, transparent, index):
    expected = expected_labels(root, [0, 1, 255])
    make_transparent(root, (1, 2, 3))
    colors = dict(zip(['road', 'sky', 'Void'], CLASSES.values(), strict=True))
    with pytest.raises(ValueError, match=r"9 transparent .*transparent='ig"):
        build(root, class_dict=colors)[0]
    dataset = build(root, class_dict=colors, transparent=transparent)
    for label in expected:
        label[:, 0] = index
    assert_equal(labels_of(dataset), expected)


def test_transparent_pixels_with_fewer_classes(root):
    make_transparent(root, (1, 2, 3))
    names = list(CLASSES)
    for name, index in ((names[1], 0), (names[0], 255)):
        dataset = build(
            root, metainfo={'classes': names[1:]}, transparent=name
        )
        assert {label[0, 0] for label in labels_of(dataset)} == {index}


def test_declared_masks(root):
    for path in (root / 'masks').iterdir():
        Image.fromarray(np.array([[0, 1, 2] * 4] * 9, np.uint8)).convert(
            'RGB'
        ).save(path)
    with pytest.raises(ValueError, match='look like class indices'):
        build(root)[0]
    assert_equal(
        labels_of(build(root, masks='index')), [[[0, 1, 255] * 4] * 9] * 3
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'masks': 'colour'}, "masks='colour': expected 'index', 'color'"),
        ({'transparent': 'no'}, "transparent='no': expected 'ignore' or one"),
        ({'reduce_zero_label': True}, 'reduce_zero_label=True has no meaning'),
        ({'metainfo': {'classes': ()}}, 'expected names of classes'),
        ({'metainfo': {'classes': ('sky', 'sky')}}, 'name one twice'),
    ],
)
def test_wrong_declarations(root, options, message):
    with pytest.raises(ValueError, match=message):
        build(root, **options)


@pytest.mark.parametrize('loader', ['LoadAnnotations', 'FastLoadAnnotations'])
def test_loaders_that_do_not_know_the_class_list(root, loader):
    pipeline = [LOAD[0], {'type': loader}, LOAD[2]]
    with pytest.raises(ValueError, match=f'{loader} gives the values of in'):
        build(root, pipeline=pipeline)
    prefix = {'img_path': 'photos'}
    assert len(build(root, pipeline=pipeline, data_prefix=prefix)) == 3
    plain = {'a': (1, 2, 3), 'b': (4, 5, 6)}
    options = {'pipeline': pipeline, 'class_dict': plain}
    with pytest.raises(ValueError, match=r'masks=.index. where the list has'):
        build(root, **options)
    assert len(build(root, **options, masks='index')) == 3
