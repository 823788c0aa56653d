import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_ext.converters.idd import convert
from mmseg_ext.datasets.idd import IDD_Data
from mmseg_ext.sample_data import (
    idd_label_map,
    idd_scene,
    idd_stem,
    write_idd,
)

SIZE = (64, 48)
NUM, TEST = 10, 2
LOAD = [
    {'type': 'LoadImageFromFile'},
    {'type': 'FastLoadAnnotations'},
    {'type': 'PackSegInputs'},
]

#: The tutorial's names, and the colors of the official table.
CLASSES = {
    'road': '#804080',
    'drivable fallback': '#510051',
    'sidewalk': '#f423e8',
    'non-drivable fallback': '#98fb98',
    'person': '#dc143c',
    'rider': '#ff0000',
    'motorcycle': '#0000e6',
    'bicycle': '#770b20',
    'auto-rickshaw': '#ffcc36',
    'car': '#00008e',
    'truck': '#000046',
    'bus': '#003c64',
    'vehicle fallback': '#888f99',
    'curb': '#dcbe28',
    'wall': '#66669c',
    'fence': '#be9999',
    'guard rail': '#b4a5b4',
    'billboard': '#ae4043',
    'traffic sign': '#dcdc00',
    'traffic light': '#faaa1e',
    'pole': '#999999',
    'obs fallback': '#a9bbd6',
    'building': '#464646',
    'bridge': '#966464',
    'vegetation': '#6b8e23',
    'sky': '#4682b4',
    'unlabelled': '#000000',
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """Both parts, made by the converter, to be read only."""
    raw, out = (tmp_path_factory.mktemp(name) for name in ('raw', 'idd'))
    counts = write_idd(raw, num=NUM, size=SIZE, progress=False)
    assert counts['test'] == TEST
    convert([raw / 'IDD_Segmentation', raw / 'idd20kII'], out)
    return out


@pytest.fixture
def root(tmp_path):
    """Random images of both kinds with labels of all values."""
    rng = np.random.default_rng(0)
    values = [*range(26), 255]
    for name in ('0_024541.png', '0_frame0029.jpg', '1_frame0029.jpg'):
        for folder, file, pixels in (
            ('train_img', name, rng.integers(0, 256, (9, 12, 3), np.uint8)),
            (
                'train_label',
                f'{name[:-4]}.png',
                rng.choice(values, (9, 12)).astype(np.uint8),
            ),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / file)
    return tmp_path


def build(root, **options):
    return IDD_Data(data_root=str(root), pipeline=LOAD, **options)


def labels_of(dataset):
    return [
        sample['data_samples'].gt_sem_seg.data[0].numpy() for sample in dataset
    ]


def test_classes_and_palette(root):
    dataset = DATASETS.build({'type': 'IDD_Data', 'data_root': str(root)})
    assert dataset.metainfo['classes'] == tuple(CLASSES)
    colors = [bytes(color).hex() for color in dataset.metainfo['palette']]
    assert [f'#{color}' for color in colors] == list(CLASSES.values())


def test_splits_of_both_parts_equal_the_scenes(converted):
    truth = {idd_stem(index): index for index in range(NUM)}
    suffixes = set()
    for split in ('train', 'val'):
        dataset = build(
            converted,
            data_prefix={
                'img_path': f'{split}_img',
                'seg_map_path': f'{split}_label',
            },
            ann_file=f'splits/{split}.txt',
        )
        stems = (converted / f'splits/{split}.txt').read_text().split()
        assert len(dataset) == len(stems)
        for stem, sample in zip(stems, dataset, strict=True):
            index = truth.pop(stem)
            scene = idd_scene(SIZE, 0, index)
            data = sample['data_samples']
            assert data.img_path.rpartition('.')[0].endswith(f'/{stem}')
            expected = idd_label_map(scene, 0, index)
            assert (labels_of([sample])[0] == expected).all()
            image = sample['inputs'].numpy().transpose(1, 2, 0)
            suffixes.add(data.img_path[-4:])
            # JPEG changes pixels a little.
            assert cv2.norm(image, scene.image, cv2.NORM_L1) < 8 * image.size
    assert suffixes == {'.png', '.jpg'}
    assert len(truth) == TEST


def test_without_list_sorted(root):
    dataset = build(root)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    names = ['0_024541.png', '0_frame0029.jpg', '1_frame0029.jpg']
    assert paths == [str(root / 'train_img' / name) for name in names]
    for name, label in zip(names, labels_of(dataset), strict=True):
        path = root / 'train_label' / f'{name[:-4]}.png'
        assert (label == np.asarray(Image.open(path))).all()


def test_order_of_the_list(root):
    (root / 'some.txt').write_text('1_frame0029\n0_024541\n')
    dataset = build(root, ann_file='some.txt')
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert [path[-12:] for path in paths] == ['rame0029.jpg', '0_024541.png']


def test_custom_classes(root):
    dataset = build(root, metainfo={'classes': ('sky', 'road')})
    assert dataset.metainfo['palette'] == [[70, 130, 180], [128, 64, 128]]
    for old, new in zip(
        labels_of(build(root)), labels_of(dataset), strict=True
    ):
        expected = np.select([old == 25, old == 0], [0, 1], 255)
        assert (new == expected).all()


def test_without_labels(root):
    (root / 'train_label').rename(root / 'away')
    prefix = {'img_path': 'train_img'}
    dataset = build(root, data_prefix=prefix, test_mode=True)
    assert len(dataset) == 3
    assert 'gt_sem_seg' not in dataset[0]['data_samples']


def test_images_and_labels_in_one_folder(root):
    for path in (root / 'train_label').iterdir():
        path.rename(root / 'train_img' / f'{path.stem}_label.png')
    prefix = {'img_path': 'train_img', 'seg_map_path': 'train_img'}
    dataset = build(root, data_prefix=prefix, seg_map_suffix='_label.png')
    assert len(dataset) == 3


def test_two_images_of_one_stem(root):
    folder = root / 'train_img'
    (folder / '0_024541.jpg').write_bytes(b'')
    with pytest.raises(
        ValueError, match=r'0_024541\.jpg and .*0_024541\.png have the same'
    ):
        build(root)


@pytest.mark.parametrize(
    ('gone', 'message'),
    [
        pytest.param(
            'train_img/0_024541.png',
            r'listed stem\(s\) without image in .*train_img: 0_024541;',
            id='image',
        ),
        pytest.param(
            'train_label/0_frame0029.png',
            r'image\(s\) without label in .*train_label: 0_frame0029;',
            id='label',
        ),
    ],
)
def test_missing_file_is_named(root, gone, message):
    (root / 'all.txt').write_text('0_024541\n0_frame0029\n1_frame0029\n')
    (root / gone).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        build(root, ann_file='all.txt')


def test_missing_image_is_named_without_labels(root):
    (root / 'some.txt').write_text('0_024542\n')
    with pytest.raises(FileNotFoundError, match=r'without image.*0_024542'):
        build(root, data_prefix={'img_path': 'train_img'}, ann_file='some.txt')


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        pytest.param(
            {'ann_file': 'splits/train.txt'},
            FileNotFoundError,
            r'splits/train\.txt is missing',
            id='list',
        ),
        pytest.param(
            {'data_prefix': {'img_path': 'val_img'}},
            FileNotFoundError,
            r'IDD_Data: folder .*val_img is missing',
            id='folder',
        ),
        pytest.param(
            {'img_suffix': ('.tif', '.bmp')},
            FileNotFoundError,
            r'holds no \*\.tif or \*\.bmp images',
            id='no images',
        ),
        pytest.param(
            {'metainfo': {'classes': ('autorickshaw',)}},
            ValueError,
            'autorickshaw',
            id='unknown class',
        ),
    ],
)
def test_wrong_options(root, options, error, message):
    with pytest.raises(error, match=message):
        build(root, **options)


def test_list_that_leaves_the_folder(root):
    (root / 'some.txt').write_text('../train_img/0_024541\n')
    with pytest.raises(ValueError, match='leaves its root'):
        build(root, ann_file='some.txt')
