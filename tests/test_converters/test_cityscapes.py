import json
import re
import runpy
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets.cityscapes import CityscapesDataset
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.command_lines import error_of
from mmseg_ext.converters.cityscapes import convert
from mmseg_ext.labels.cityscapes import CITYSCAPES_INSTANCES, CITYSCAPES_LABELS
from mmseg_ext.sample_data.cityscapes import write_cityscapes
from references import cityscapes as reference

TOOL = Path(
    __file__, '../../../tools/dataset_converters/cityscapes.py'
).resolve()
SHAPE = (24, 36)

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)


def paths_of(root, split, name):
    """Return where image and instance ids are."""
    city = name.partition('_')[0]
    return (
        root / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png',
        root / 'gtFine' / split / city / f'{name}_gtFine_instanceIds.png',
    )


def add(root, split, name, ids):
    """Write an image and its instance ids."""
    image, truth = paths_of(root, split, name)
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', ids.shape[::-1]).save(image)
    Image.fromarray(ids.astype(np.uint16)).save(truth)
    return image, truth


def random_ids(seed):
    """Draw stuff, groups and objects, also of labels that do not count."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 24, SHAPE)
    things = np.arange(24, 34)
    values = [*things, *(1000 * things), *(1000 * things + 1), 26999, 7003]
    for value in rng.permutation(values):
        top, left = rng.integers(-3, SHAPE)
        box = np.s_[max(top, 0) : top + 7, max(left, 0) : left + 9]
        ids[box] = np.where(rng.random(ids[box].shape) < 0.8, value, ids[box])
    return ids


@pytest.fixture
def root(tmp_path):
    """Images of two cities of train and one each of val and test."""
    root = tmp_path / 'cityscapes'
    for place, name in enumerate(
        ('jena_000001_000019', 'aachen_000000_000019', 'jena_000000_000019')
    ):
        add(root, 'train', name, random_ids(place))
    add(root, 'val', 'lindau_000000_000019', random_ids(3))
    # As in the release: the labels of test are void.
    add(root, 'test', 'berlin_000000_000019', np.full(SHAPE, 3))
    return root


def json_path(root, split, folder='annotations'):
    return root / folder / f'instancesonly_filtered_gtFine_{split}.json'


def read(root, split):
    return json.loads(json_path(root, split).read_text())


def annotate(root, ids):
    """Convert an image with these ids; give its annotations."""
    add(root, 'val', 'lindau_000000_000019', ids)
    convert(root)
    return read(root, 'val')['annotations']


def without_ids(content):
    """Return images and annotations in an order of their own, without ids."""
    names = {image['id']: image['file_name'] for image in content['images']}
    images = [
        {k: v for k, v in image.items() if k != 'id'}
        for image in content['images']
    ]
    annotations = [
        {k: v for k, v in row.items() if k not in ('id', 'image_id')}
        | {'image': names[row['image_id']]}
        # MMDet leaves the key out where there are none.
        for row in content.get('annotations', [])
    ]
    return [
        sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
        for rows in (images, annotations)
    ]


# What is written.


@pytest.mark.parametrize('sample', [False, True], ids=['random', 'sample'])
def test_equals_mmdets_own_converter(root, sample, monkeypatch, tmp_path):
    splits = ('train', 'val', 'test')
    if sample:
        root, splits = tmp_path / 'sample', splits[:2]
        write_cityscapes(root, num=6, size=(256, 128), progress=False)
    convert(root)
    for split in splits:
        theirs = reference.convert(root, split, monkeypatch, tmp_path)
        # What they give in memory has NumPy's numbers.
        theirs = json.loads((tmp_path / f'{split}.json').read_text())
        ours = read(root, split)
        assert without_ids(ours) == without_ids(theirs)
        assert ours['categories'] == theirs['categories']
        assert bool(ours['annotations']) == (split != 'test')


def test_ids_count_from_one_in_the_order_of_the_names(root):
    convert(root)
    content = read(root, 'train')
    assert [image['file_name'] for image in content['images']] == [
        'aachen/aachen_000000_000019_leftImg8bit.png',
        'jena/jena_000000_000019_leftImg8bit.png',
        'jena/jena_000001_000019_leftImg8bit.png',
    ]
    assert content['images'][0]['segm_file'] == (
        'aachen/aachen_000000_000019_gtFine_labelIds.png'
    )
    assert [image['id'] for image in content['images']] == [1, 2, 3]
    rows = content['annotations']
    assert [row['id'] for row in rows] == list(range(1, len(rows) + 1))
    images = [row['image_id'] for row in rows]
    assert images == sorted(images)
    assert set(images) == {1, 2, 3}


def test_annotations_of_one_image(root):
    ids = np.full(SHAPE, 7)
    ids[2:5, 3:9] = 26001
    ids[4, 4] = 24000
    ids[20:, 30:] = 33  # a group of bicycles, up to the last pixel
    ids[0, 0] = 30000  # a trailer
    group, person, car = annotate(root, ids)
    assert person['category_id'] == 24
    assert person['bbox'] == [4, 4, 1, 1]
    assert person['area'] == 1
    assert car['category_id'] == 26
    assert car['bbox'] == [3, 2, 6, 3]
    assert car['area'] == 17
    assert [person['iscrowd'], car['iscrowd'], group['iscrowd']] == [0, 0, 1]
    assert group['category_id'] == 33
    assert group['bbox'] == [30, 20, 6, 4]
    for row, value in ((person, 24000), (car, 26001), (group, 33)):
        mask = coco_mask.decode(row['segmentation'])
        assert (mask == (ids == value)).all()


def test_one_object_may_fill_the_image(root):
    (row,) = annotate(root, np.full(SHAPE, 31000))
    assert row['area'] == 24 * 36
    assert coco_mask.decode(row['segmentation']).all()


def test_truth_as_prediction_is_perfect(root, capsys):
    """COCO's evaluation would miss an object with id 0."""
    convert(root)
    truth = COCO(str(json_path(root, 'train')))
    found = [
        {**row, 'score': 0.9}
        for row in truth.dataset['annotations']
        if not row['iscrowd']
    ]
    for kind in ('bbox', 'segm'):
        score = COCOeval(truth, truth.loadRes(found), kind)
        score.evaluate()
        score.accumulate()
        score.summarize()
        assert score.stats[0] == 1
    capsys.readouterr()


def test_table_is_the_official_one():
    table = {label.id: label for label in CITYSCAPES_LABELS}
    assert len(table) == len(CITYSCAPES_LABELS) == len(reference.LABELS)
    for label in reference.LABELS:
        assert table[label.id].name == label.name
        assert table[label.id].has_instances == label.hasInstances
    train_ids = [label.train_id for label in CITYSCAPES_LABELS]
    assert sorted(set(train_ids)) == [-1, *range(19), 255]
    names, palette = CityscapesDataset.METAINFO.values()
    assert tuple(CITYSCAPES_INSTANCES.values()) == names
    assert [table[key].color for key in CITYSCAPES_INSTANCES] == palette


def test_report_counts(root):
    ids = np.full(SHAPE, 7)
    ids[2:5, 3:9] = 26001
    ids[6:9, 3:9] = 26000
    ids[20:, 30:] = 26
    add(root, 'val', 'lindau_000000_000019', ids)
    report = convert(root)
    assert list(report.splits) == ['train', 'val', 'test']
    assert [split.images for split in report.splits.values()] == [3, 1, 1]
    assert report.splits['val'].instances == {'car': 2}
    assert report.splits['val'].crowds == {'car': 1}
    assert report.skipped == []


def test_same_bytes_again(root):
    def contents():
        return [
            json_path(root, split).read_bytes()
            for split in ('train', 'val', 'test')
        ]

    convert(root)
    first = contents()
    convert(root, nproc=2)
    assert contents() == first
    assert len(list((root / 'annotations').iterdir())) == 3


# The test split.


def test_test_split_may_be_missing(root):
    (root / 'leftImg8bit' / 'test').rename(root / 'elsewhere')
    assert list(convert(root).splits) == ['train', 'val']
    assert not json_path(root, 'test').exists()


def test_test_split_may_have_no_labels(root):
    (root / 'gtFine' / 'test').rename(root / 'elsewhere')
    convert(root)
    content = read(root, 'test')
    assert content['annotations'] == []
    assert content['images'] == [
        {
            'id': 1,
            'file_name': 'berlin/berlin_000000_000019_leftImg8bit.png',
            'width': 36,
            'height': 24,
            'segm_file': 'berlin/berlin_000000_000019_gtFine_labelIds.png',
        }
    ]


# What is wrong with the files.


def lose_ids(image, truth):
    truth.unlink()


def lose_image(image, truth):
    image.unlink()


def cut_ids(image, truth):
    truth.write_bytes(truth.read_bytes()[:-30])


def empty_image(image, truth):
    image.write_bytes(b'')


def shrink_ids(image, truth):
    Image.fromarray(np.zeros((12, 18), np.uint16)).save(truth)


def take_label_ids(image, truth):
    Image.fromarray(np.full(SHAPE, 26, np.uint8)).save(truth)


def take_colors(image, truth):
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[3:9, :, 2] = 142
    Image.fromarray(pixels).save(truth)


def take_palette(image, truth):
    image = Image.new('P', SHAPE[::-1], 26)
    image.putpalette(bytes(range(256)) * 3)
    image.save(truth)


def put(value):
    def change(image, truth):
        ids = np.full(SHAPE, 7, np.uint16)
        ids[3, 4] = value
        Image.fromarray(ids).save(truth)

    return change


FAULTS = [
    pytest.param(
        lose_ids, 0, 'has no instance ids; expected .*Ids.png', id='ids'
    ),
    pytest.param(
        lose_image, 1, 'has no image; expected .*8bit.png', id='image'
    ),
    pytest.param(cut_ids, 1, 'cannot be read as an image', id='cut'),
    pytest.param(empty_image, 0, 'cannot be read as an image', id='empty'),
    pytest.param(shrink_ids, 1, 'is of 18x12 pixels, its .* 36x24', id='size'),
    pytest.param(
        take_label_ids, 1, r'\(8-bit gray PNG\) .*a 16-bit', id='8-bit'
    ),
    pytest.param(take_colors, 1, r'it \(RGB PNG\) is in color', id='RGB'),
    pytest.param(take_palette, 1, r'\(palette PNG\) .*a 16-bit', id='P'),
    pytest.param(put(99), 1, 'pixels of value 99; expected', id='99'),
    pytest.param(put(34000), 1, 'pixels of value 34000', id='34000'),
]


@pytest.mark.parametrize(('break_files', 'which', 'message'), FAULTS)
def test_invalid_file_is_named_and_nothing_written(
    root, break_files, which, message
):
    paths = paths_of(root, 'val', 'lindau_000001_000019')
    add(root, 'val', 'lindau_000001_000019', random_ids(5))
    break_files(*paths)
    with pytest.raises(ValueError, match=message) as error:
        convert(root)
    assert str(error.value).startswith(f'{paths[which]}: ')
    assert 'skip_invalid=True' in str(error.value)
    assert not (root / 'annotations').exists()


@pytest.mark.parametrize(('break_files', 'which', 'message'), FAULTS)
def test_skip_invalid(root, break_files, which, message):
    paths = paths_of(root, 'train', 'jena_000000_000019')
    break_files(*paths)
    report = convert(root, skip_invalid=True)
    (skip,) = report.skipped
    assert skip.file == str(paths[which])
    content = read(root, 'train')
    assert [image['file_name'] for image in content['images']] == [
        'aachen/aachen_000000_000019_leftImg8bit.png',
        'jena/jena_000001_000019_leftImg8bit.png',
    ]
    assert [image['id'] for image in content['images']] == [1, 2]
    assert {row['image_id'] for row in content['annotations']} == {1, 2}


@pytest.mark.parametrize(
    ('break_files', 'which', 'message'),
    [fault for fault in FAULTS if fault.id != 'image'],
)
def test_no_valid_image_of_a_split(root, break_files, which, message):
    convert(root, skip_invalid=True)
    before = {split: read(root, split) for split in ('train', 'val', 'test')}
    paths = paths_of(root, 'val', 'lindau_000000_000019')
    break_files(*paths)
    with pytest.raises(ValueError, match='no image of val is val') as error:
        convert(root, skip_invalid=True)
    assert f'{paths[which]}: ' in str(error.value)
    assert re.search(message, str(error.value))
    assert not (root / 'annotations' / 'skipped.json').exists()
    assert {split: read(root, split) for split in before} == before


def test_file_of_a_split_that_is_gone(root):
    convert(root)
    shutil.rmtree(root / 'leftImg8bit' / 'test')
    with pytest.raises(ValueError, match=r'gtFine_test\.json is there, but'):
        convert(root)
    json_path(root, 'test').unlink()
    assert [*convert(root).splits] == ['train', 'val']


@pytest.mark.parametrize(
    'folder', ['leftImg8bit/train', 'leftImg8bit/val', 'gtFine/val']
)
def test_missing_folder_is_named(root, folder):
    (root / folder).rename(root / 'elsewhere')
    with pytest.raises(FileNotFoundError, match=f'{folder} is missing'):
        convert(root)


def test_split_without_images_is_named(root):
    for path in (root / 'leftImg8bit' / 'val').rglob('*.png'):
        path.rename(path.with_suffix('.jpg'))
    with pytest.raises(FileNotFoundError, match='val has no images; expected'):
        convert(root)


# The tool.


def test_label_ids_in_place_of_instances(root):
    """All objects of a class are then one crowd region."""
    for path in root.rglob('*_gtFine_instanceIds.png'):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(ids > 999, ids // 1000, ids))
    text = str(convert(root))
    for split in ('train', 'val'):
        assert f'warning: {split} has no single object' in text


def test_tool(root, capsys):
    main = runpy.run_path(str(TOOL))['main']
    main([str(root), '--out-dir', str(root / 'out'), '--nproc', '2'])
    out = capsys.readouterr().out
    assert 'test: 1 images, 0 instances, 0 crowd regions' in out
    convert(root)
    for split in ('train', 'val', 'test'):
        written = json_path(root, split, 'out').read_bytes()
        assert written == json_path(root, split).read_bytes()


def test_tool_says_what_is_wrong(root, capsys):
    main = runpy.run_path(str(TOOL))['main']
    _, truth = paths_of(root, 'val', 'lindau_000000_000019')
    add(root, 'val', 'munster_000000_000019', random_ids(4))
    truth.unlink()
    assert 'has no instance ids' in error_of(capsys, main, [str(root)])
    main([str(root), '--skip-invalid'])
    out = capsys.readouterr().out
    assert 'lindau_000000_000019_leftImg8bit.png: has no instance ids' in out
    assert '1 invalid files skipped' in out
    train = 'annotations/instancesonly_filtered_gtFine_train.json'
    assert f'\nnext: mmseg-ext browse {root}/{train} --img-dir ' in out
    assert f'--img-dir {root}/leftImg8bit/train --num' in out
