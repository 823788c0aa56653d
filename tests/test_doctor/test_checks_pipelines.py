"""What pipelines make of images and labels."""

import cv2
import pytest
from mmcv.transforms import TRANSFORMS

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.findings import Level

_LOAD = "    dict(type='LoadImageFromFile'),\n"
_LABEL = "    dict(type='LoadAnnotations'),\n"
_RANDOM_RESIZE = """\
    dict(type='RandomResize', scale=(96, 72), ratio_range=(1.0, 1.5),
         keep_ratio=True),
"""
_CROP = """\
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
"""
_FLIP = "    dict(type='RandomFlip', prob=0.5),\n"
_RESIZE = "    dict(type='Resize', scale=(96, 72), keep_ratio=True),\n"
_PACK = "    dict(type='PackSegInputs'),\n"
_TRAIN = 'train_dataloader.dataset.pipeline'


def _types(finding, key: str) -> list[str]:
    """Return the steps of a pipeline that a finding proposes."""
    return [step['type'] for step in finding.change[key]]


@plants('pipeline-fails')
def test_step_fails(street):
    # Such steps need MultiImageMixDataset.
    street.change(_CROP, _CROP + "    dict(type='RandomMosaic', prob=1.0),\n")
    found = assert_only(street.examine(), 'pipeline-fails', split='train')
    files = [f.file for f in found]
    assert len(set(files)) == len(files) == 4
    assert set(files) < {str(path) for path in street.files('train')}
    text = f'RandomMosaic ({_TRAIN}[4]) fails: AssertionError in '
    assert all(f.text.startswith(text) for f in found)
    assert all('mix_results' in f.text for f in found)


def test_pipeline_is_not_told_for_broken_files(street, shapes):
    for patient in street, shapes:
        for path in patient.files('train'):
            path.write_bytes(b'no image')
        diagnosis = patient.examine()
        assert diagnosis.case.splits['train'].runs == ()
        codes = {f.code for f in diagnosis.findings}
        assert not codes & {'pipeline-fails', 'pipeline-order'}


def test_single_annotation_is_not_the_pipelines(shapes):
    coco = shapes.coco('train')
    for annotation in coco['annotations'][:2]:
        del annotation['segmentation']
    shapes.write_coco('train', coco)
    codes = {f.code for f in shapes.examine().findings}
    assert 'pipeline-fails' not in codes


@plants('pipeline-order')
def test_resize_before_the_image(street):
    street.change(
        _LOAD + _LABEL + _RANDOM_RESIZE, _RANDOM_RESIZE + _LOAD + _LABEL
    )
    [found] = assert_only(street.examine(), 'pipeline-order', split='train')
    assert found.text.startswith('RandomResize before LoadImageFromFile: ')
    assert _types(found, _TRAIN) == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'RandomResize',
        'RandomCrop',
        'RandomFlip',
        'PackSegInputs',
    ]


def test_step_fails_for_want_of_labels(street):
    street.change(
        _LABEL + _RANDOM_RESIZE + _CROP, _RANDOM_RESIZE + _CROP + _LABEL
    )
    [found] = assert_only(street.examine(), 'pipeline-order', split='train')
    assert f'RandomCrop ({_TRAIN}[2]) fails: KeyError' in found.text


def test_flip_after_packing(street):
    street.change(_FLIP + _PACK, _PACK + _FLIP)
    [found] = assert_only(street.examine(), 'pipeline-order', split='train')
    assert _types(found, _TRAIN)[-2:] == ['RandomFlip', 'PackSegInputs']


def test_resize_after_packing_does_nothing(street):
    street.change(_RESIZE + _LABEL + _PACK, _LABEL + _PACK + _RESIZE)
    found = assert_only(street.examine(), 'pipeline-order')
    assert [f.split for f in found] == ['val', 'test']
    for each in found:
        assert each.level == Level.WARNING
        assert 'Resize after PackSegInputs' in each.text


def test_labels_resized_for_the_evaluation(street):
    street.change(
        _RESIZE + _LABEL, _LABEL + _RESIZE.replace('96, 72', '48, 36')
    )
    found = assert_only(street.examine(), 'pipeline-order')
    assert [f.split for f in found] == ['val', 'test']
    for each in found:
        assert 'labels are 48x36 after' in each.text
        assert 'compared at 96x72' in each.text
        key = f'{each.split}_dataloader.dataset.pipeline'
        assert _types(each, key) == [
            'LoadImageFromFile',
            'Resize',
            'LoadAnnotations',
            'PackSegInputs',
        ]


@pytest.mark.parametrize('name', ['street', 'shapes'])
def test_flip_before_the_labels(name, request):
    patient = request.getfixturevalue(name)
    if name == 'street':
        patient.change(', cat_max_ratio=0.75', '')
    load = (
        _LABEL
        if name == 'street'
        else "    dict(type='LoadAnnotations', with_bbox=True, "
        'with_mask=True),\n'
    )
    text = patient.config.read_text()
    head, train, rest = text.partition('train_pipeline = [\n')
    rest = rest.replace(load, '', 1).replace(_FLIP, _FLIP + load, 1)
    patient.config.write_text(head + train + rest)
    [flip] = assert_only(patient.examine(), 'pipeline-order', split='train')
    assert 'RandomFlip' in flip.text
    assert 'before LoadAnnotations' in flip.text


@plants('pipeline-incomplete')
@pytest.mark.parametrize('name', ['street', 'shapes'])
def test_nothing_packs(name, request):
    patient = request.getfixturevalue(name)
    step = 'PackSegInputs' if name == 'street' else 'PackDetInputs'
    patient.change(f"    dict(type='{step}'),\n]\ntest", ']\ntest')
    found = assert_only(
        patient.examine(), 'pipeline-incomplete', split='train'
    )
    assert [f.text for f in found] == [f'{_TRAIN} has no {step}']


def test_no_labels_are_loaded(street):
    street.change(_LOAD + _LABEL, _LOAD)
    street.change(_RESIZE + _LABEL, _RESIZE)
    street.change(', cat_max_ratio=0.75', '')
    found = assert_only(street.examine(), 'pipeline-incomplete')
    assert [f.split for f in found] == ['train', 'val', 'test']


def test_no_instances_are_loaded(shapes):
    load = (
        "    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),\n"
    )
    shapes.change(_LOAD + load, _LOAD)
    [found] = assert_only(
        shapes.examine(), 'pipeline-incomplete', split='train'
    )
    assert 'has no LoadAnnotations' in found.text


@plants('pipeline-random')
@pytest.mark.parametrize(
    'step',
    [
        _FLIP,
        _RANDOM_RESIZE,
        "    dict(type='RandomCrop', crop_size=(48, 48)),\n",
        "    dict(type='PhotoMetricDistortion'),\n",
    ],
    ids=['flip', 'resize', 'crop', 'color'],
)
def test_evaluation_at_random(street, step):
    street.change(_RESIZE, step)
    found = assert_only(street.examine(), 'pipeline-random')
    assert [f.split for f in found] == ['val', 'test']
    for each in found:
        assert each.level == Level.WARNING
        assert f'{each.split}_dataloader.dataset.pipeline[1]' in each.text


@plants('label-after-pipeline')
def test_rotation_fills_with_no_class(street):
    step = "    dict(type='RandomRotate', prob=1.0, degree=20,\n"
    street.change(_FLIP, f'{_FLIP}{step}         seg_pad_val=77),\n')
    [found] = assert_only(
        street.examine(), 'label-after-pipeline', split='train'
    )
    assert found.value == [77]
    assert 'RandomRotate' in found.text


def test_values_in_files_are_not_the_pipelines(street):
    path = street.files('train_labels')[0]
    label = street.label(path)
    label[:9] = 77
    cv2.imwrite(str(path), label)
    codes = {f.code for f in street.examine().findings}
    assert 'label-after-pipeline' not in codes


@plants('padding-is-class')
def test_rotation_fills_with_a_class(street):
    for path in street.files('train_labels'):
        label = street.label(path)
        label[label == 2] = 1
        cv2.imwrite(str(path), label)
    step = "    dict(type='RandomRotate', prob=1.0, degree=20,\n"
    street.change(_FLIP, f'{_FLIP}{step}         seg_pad_val=2),\n')
    found = [
        f for f in street.examine().findings if f.code == 'padding-is-class'
    ]
    assert [(f.value, f.level) for f in found] == [([2], Level.WARNING)]


@plants('crop-padding')
def test_crop_larger_than_images(street):
    street.change('crop_size = (64, 64)', 'crop_size = (160, 160)')
    [found] = assert_only(street.examine(), 'crop-padding', split='train')
    # From 96x72 to 144x108 pixels in 160x160.
    assert 0.39 < found.value < 0.73
    assert found.level == Level.WARNING
    assert found.change['model.data_preprocessor.size'] in [
        (64, 96),
        (96, 96),
        (96, 128),
    ]


@plants('batch-sizes')
def test_no_size_of_batches(street):
    street.change(', size=crop_size)', ')')
    [found] = assert_only(street.examine(), 'batch-sizes', split='train')
    assert 'size=None and size_divisor=None' in found.text


def test_images_of_several_sizes_in_a_batch(street):
    street.change(_CROP, '')
    found = assert_only(street.examine(), 'batch-sizes', split='train')
    assert 'batches of 2' in found[0].text


def test_evaluation_of_several_sizes_in_a_batch(street):
    street.change(
        'val_dataloader = dict(\n    batch_size=1',
        'val_dataloader = dict(\n    batch_size=2',
    )
    assert street.examine().findings == []
    for folder in 'val', 'val_labels':
        path = street.files(folder)[0]
        cv2.imwrite(str(path), cv2.imread(str(path), -1)[:40])
    found = assert_only(street.examine(), 'batch-sizes')
    assert [f.split for f in found] == ['val', 'test']


@plants('cat-max-ratio')
def test_no_crop_can_be_mixed(street):
    street.change('cat_max_ratio=0.75', 'cat_max_ratio=0.15')
    [found] = assert_only(street.examine(), 'cat-max-ratio', split='train')
    assert found.level == Level.WARNING
    assert found.text.startswith('of 6 of 6 image(s) no crop')
    assert found.file == str(street.files('train')[0])
    assert len(found.others) == 4


_PAD = "    dict(type='Pad', size=(160, 160), pad_val=dict(img=0, seg={})),\n"


def test_pad_fills_with_a_class_that_is_there(street):
    street.change(_CROP, _PAD.format(0))
    street.change(', size=crop_size)', ', size=(160, 160))')
    diagnosis = street.examine()
    [found] = assert_only(diagnosis, 'padding-is-class', split='train')
    assert found.text == (
        f'Pad ({_TRAIN}[3]) fills labels with 0, which is the class sky'
    )
    assert found.change[_TRAIN][3]['pad_val'] == {'img': 0, 'seg': 255}
    [padded] = [f for f in diagnosis.findings if f.code == 'crop-padding']
    height, width = 108, 144  # the most that images are resized to
    words = padded.text.split(' images of ')[-1].split()
    size = [int(side) for side in words[0].split('x')]
    assert 96 <= size[0] <= width
    assert 72 <= size[1] <= height
    assert padded.text.endswith('are filled to 160x160')
    assert padded.mend.startswith(f'make size of Pad ({_TRAIN}[3]) smaller')


def test_rotation_fills_with_a_class_that_is_there(street):
    step = "    dict(type='RandomRotate', prob=1.0, degree=20,\n"
    street.change(_FLIP, f'{_FLIP}{step}         seg_pad_val=0),\n')
    [found] = assert_only(street.examine(), 'padding-is-class', split='train')
    assert found.change[_TRAIN][5]['seg_pad_val'] == 255


def test_pad_with_the_ignored_index(street):
    street.change(_CROP, _PAD.format(255))
    street.change(', size=crop_size)', ', size=(160, 160))')
    codes = {f.code for f in street.examine().findings}
    assert 'padding-is-class' not in codes


@TRANSFORMS.register_module()
class DropAll:
    """Gives nothing, but for images of a name."""

    def __init__(self, name=''):
        self.name = name

    def __call__(self, results):
        return results if results['img_path'].endswith(self.name) else None


@pytest.mark.parametrize('kept', ['no', '1.png'])
def test_a_step_drops_all_images(street, kept):
    """Where a few are kept, the training goes on."""
    step = f"    dict(type='DropAll', name='{kept}'),\n"
    street.change(_CROP, _CROP + step)
    found = [
        f for f in street.examine().findings if f.code == 'pipeline-fails'
    ]
    if kept != 'no':
        assert found == []
        return
    [finding] = found
    assert finding.text.startswith(
        f'DropAll ({_TRAIN}[4]) gives None for all 6 images that were tried: '
        '"Cannot find valid image after 1000!"'
    )
    assert (finding.split, finding.level) == ('train', Level.ERROR)


@pytest.mark.parametrize('value', [0, 255])
def test_ratio_is_not_judged_by_labels_without_classes(street, value):
    for path in street.files('train_labels'):
        label = street.label(path)
        label[:] = 255
        label[0, 0] = value
        cv2.imwrite(str(path), label)
    street.change('cat_max_ratio=0.75', 'cat_max_ratio=0.15')
    codes = {f.code for f in street.examine().findings}
    assert 'cat-max-ratio' not in codes
