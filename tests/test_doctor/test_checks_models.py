"""The model against the data."""

import shutil

import cv2
import pytest
import torch

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.examine import diagnose
from mmseg_ext.doctor.findings import Level
from mmseg_ext.doctor.parts import ImageScan, LabelScan, Place, Sample

#: Losses as the config has them.
LOSS = "dict(type='CrossEntropyLoss', use_sigmoid=False)"

#: The decode head as the config begins it, and one that pools to one value.
FCN = "type='FCNHead', in_channels=64, channels=8, in_index=3, num_convs=1,"
PSP = "type='PSPHead', in_channels=64, channels=8, in_index=3,"


def add(patient, *lines):
    """Add lines to the end of the config."""
    with patient.config.open('a') as file:
        file.writelines(f'{line}\n' for line in lines)


def changes(found):
    """Return what mends all findings."""
    return {key: value for f in found for key, value in f.change.items()}


def assert_mended(patient, found, level=Level.WARNING):
    """Check that what findings change mends them."""
    diagnosis = patient.examine(cfg_options=changes(found))
    left = [
        (each.code, each.text)
        for each in diagnosis.findings
        if each.level >= level
    ]
    assert left == []


def make_binary(patient):
    """Give the data two classes: sky, and all others."""
    patient.change(
        "classes = ('sky', 'building', 'plant', 'road', 'thing')",
        "classes = ('sky', 'rest')",
    )
    patient.change('num_classes = 5', 'num_classes = 2')
    for split in ('train', 'val'):
        for path in patient.files(f'{split}_labels'):
            label = patient.label(path)
            label[(label != 0) & (label != 255)] = 1
            cv2.imwrite(str(path), label)


@plants('model-not-built')
def test_no_such_part(street):
    street.change("type='ResNetV1c'", "type='ResNetV9c'")
    [found] = assert_only(street.examine(), 'model-not-built')
    assert "model.backbone: there is no 'ResNetV9c'" in found.text


@plants('model-channels')
def test_channels_that_do_not_fit(street):
    street.change('in_channels=64, channels=8', 'in_channels=48, channels=8')
    [found] = assert_only(street.examine(), 'model-channels')
    assert found.text == (
        'model.decode_head.convs.0.conv is for 48 channels, and gets 64'
    )


@plants('head-classes')
def test_heads_for_other_classes(street, shapes):
    street.change('num_classes = 5', 'num_classes = 7')
    found = assert_only(street.examine(), 'head-classes', split='train')
    assert changes(found) == {
        'model.decode_head.num_classes': 5,
        'model.auxiliary_head.num_classes': 5,
    }
    assert 'num_classes=7' in found[0].text
    assert '5 classes (sky, building, plant, road, thing)' in found[0].text
    assert_mended(street, found)

    shapes.change('num_classes = 2', 'num_classes = 3')
    found = assert_only(shapes.examine(), 'head-classes')
    assert changes(found) == {
        'model.roi_head.bbox_head.num_classes': 2,
        'model.roi_head.mask_head.num_classes': 2,
    }
    assert_mended(shapes, found)


def test_one_head_of_two(street):
    add(street, "model['auxiliary_head']['num_classes'] = 4")
    [found] = assert_only(street.examine(), 'head-classes')
    assert changes([found]) == {'model.auxiliary_head.num_classes': 5}


def test_void_at_the_end_needs_no_output(street):
    street.change("'road', 'thing')", "'road', 'thing', 'void')")
    codes = {f.code for f in street.examine().findings}
    assert 'head-classes' not in codes


def test_a_head_that_the_user_excepts(street):
    add(
        street,
        "model['auxiliary_head']['num_classes'] = 4",
        "custom_hooks = [dict(type='LabelCheckHook', "
        "skip_heads=['auxiliary_head'])]",
    )
    codes = {f.code for f in street.examine().findings}
    assert 'head-classes' not in codes


def test_weights_of_classes_go_with_the_head(shapes):
    add(
        shapes,
        "head = model['roi_head']['bbox_head']",
        "head['num_classes'] = 3",
        "head['loss_cls']['class_weight'] = [1.0, 2.0, 3.0, 0.1]",
    )
    found = assert_only(shapes.examine(), 'head-classes')
    key = 'model.roi_head.bbox_head.loss_cls.class_weight'
    # The last is that of the background.
    assert changes(found)[key] == [1.0, 1.0, 0.1]
    assert_mended(shapes, found)


@plants('data-set-classes')
def test_validation_with_classes_in_another_order(street):
    add(
        street,
        "val_dataloader['dataset'] = {**val_dataloader['dataset'], "
        "'metainfo': dict(classes=('sky', 'plant', 'building', 'road', "
        "'thing'))}",
        'test_dataloader = val_dataloader',
    )
    found = assert_only(street.examine(), 'data-set-classes')
    assert {f.split for f in found} == {'val', 'test'}
    assert "class 1 is 'plant', there 'building'" in found[0].text
    assert_mended(street, found)


def test_validation_with_fewer_classes(shapes):
    add(
        shapes,
        "val_dataloader['dataset'] = {**val_dataloader['dataset'], "
        "'metainfo': dict(classes=('box',))}",
    )
    found = assert_only(shapes.examine(), 'data-set-classes')
    assert "class 1 is none, there 'disk'" in found[0].text


@plants('binary-head')
@pytest.mark.parametrize(
    ('lines', 'text', 'change'),
    [
        (
            ["head['out_channels'] = 1"],
            'a softmax',
            {'model.decode_head.loss_decode.use_sigmoid': True},
        ),
        (
            ["head['num_classes'] = 1"],
            'a softmax',
            {'model.decode_head.loss_decode.use_sigmoid': True},
        ),
        (
            [
                "head['out_channels'] = 1",
                "head['threshold'] = 0.5",
                "head['loss_decode'] = dict(type='DiceLoss')",
            ],
            '(DiceLoss) takes the one output for class 0',
            {},
        ),
        (
            [
                "head['out_channels'] = 1",
                "head['threshold'] = 1.5",
                "head['loss_decode'] = dict(type='CrossEntropyLoss', "
                'use_sigmoid=True)',
            ],
            'threshold=1.5',
            {'model.decode_head.threshold': 0.5},
        ),
    ],
    ids=['softmax', 'one class', 'dice', 'threshold'],
)
def test_binary_heads(street, lines, text, change):
    make_binary(street)
    add(street, "head = model['decode_head']", *lines)
    found = assert_only(street.examine(), 'binary-head')
    [error] = [f for f in found if f.level == Level.ERROR]
    assert text in error.text
    assert error.change == change
    if change:
        assert_mended(street, [error])


def test_what_is_said_of_binary_heads_is_so(street):
    """A loss of one output in MMSeg does what findings say."""
    from mmseg.models.losses import CrossEntropyLoss, DiceLoss

    label = torch.tensor([[[0, 1]]])
    right, wrong = (torch.tensor([[[[-k, k]]]]) for k in (6.0, -6.0))
    softmax = CrossEntropyLoss()
    with pytest.raises(IndexError, match='Target 1 is out of bounds'):
        softmax(right, label)
    assert softmax(right, 0 * label) == softmax(wrong, 0 * label) == 0
    assert DiceLoss()(right, label) > DiceLoss()(wrong, label)
    sigmoid = CrossEntropyLoss(use_sigmoid=True)
    assert sigmoid(right, label) < sigmoid(wrong, label)


def test_notes_on_binary_heads(street):
    make_binary(street)
    sigmoid = "loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)"
    add(street, "head = model['decode_head']", sigmoid)
    add(street, "head['loss_decode'] = loss_decode")
    [found] = assert_only(street.examine(), 'binary-head')
    assert found.level == Level.NOTE
    assert 'two outputs with a sigmoid each' in found.text
    add(street, "head['out_channels'] = 1")
    [found] = assert_only(street.examine(), 'binary-head')
    assert found.level == Level.NOTE
    assert 'takes 0.3' in found.text
    add(street, "head['threshold'] = 0.5")
    codes = {f.code for f in street.examine().findings}
    assert 'binary-head' not in codes
    add(street, "loss_decode['use_sigmoid'] = False")
    add(street, "head['out_channels'] = 2")
    [found] = assert_only(street.examine(), 'binary-head')
    assert found.level == Level.NOTE
    assert 'threshold is not used' in found.text


def test_a_class_alone(street):
    for split in ('train', 'val'):
        for path in street.files(f'{split}_labels'):
            cv2.imwrite(str(path), 0 * street.label(path))
    street.change(
        "classes = ('sky', 'building', 'plant', 'road', 'thing')",
        "classes = ('sky',)",
    )
    street.change('num_classes = 5', 'num_classes = 1')
    found = assert_only(street.examine(), 'binary-head', split='train')
    assert 'there is nothing to tell it from' in found[0].text


@plants('loss-fails')
def test_a_loss_that_is_called_in_another_way(street):
    street.change(LOSS, "dict(type='OhemCrossEntropy')")
    found = assert_only(street.examine(), 'loss-fails')
    assert [f.text.split(' ')[0] for f in found] == [
        'model.decode_head.loss_decode',
        'model.auxiliary_head.loss_decode',
    ]
    assert 'unexpected keyword argument' in found[0].text


def test_losses_that_lead_nowhere(street, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    loss = "model['decode_head']['loss_decode']"
    # It compares each class with the numbers of all.
    wrong = "dict(type='HuasdorffDisstanceLoss')"
    add(street, f'{loss} = {wrong}')
    [found] = assert_only(street.examine(), 'loss-fails')
    assert found.level == Level.ERROR
    assert 'no lower for right predictions than for wrong' in found.text
    add(street, f'{loss} = [{LOSS}, {wrong}]')
    [found] = assert_only(street.examine(), 'loss-fails')
    assert found.level == Level.WARNING
    assert found.text.startswith('model.decode_head.loss_decode.1 ')
    add(street, f"{loss} = dict(type='FocalLoss')")
    [found] = assert_only(street.examine(), 'loss-fails')
    assert found.level == Level.WARNING
    assert 'fails without a GPU' in found.text


def test_weights_of_single_classes(street):
    street.change(
        LOSS, f'{LOSS[:-6]}True, class_weight=[1.0, 1.0, 1.0, 2.0, 1.0])'
    )
    found = assert_only(street.examine(), 'class-weight-length')
    assert 'use_sigmoid=True fails with weights' in found[0].text
    assert_mended(street, found)


@pytest.mark.parametrize(
    'loss',
    [
        "dict(type='CrossEntropyLoss', use_sigmoid=True)",
        "dict(type='DiceLoss', use_sigmoid=False)",
        "dict(type='LovaszLoss', reduction='none')",
        "dict(type='TverskyLoss')",
        "dict(type='BalancedCrossEntropy', ohem_thresh=0.7)",
        "dict(type='BalancedCrossEntropy', "
        "class_weight='sqrt_median_frequency')",
    ],
)
def test_losses_that_work(street, loss):
    street.change(LOSS, loss)
    codes = {f.code for f in street.examine().findings}
    assert not codes & {'loss-fails', 'class-weight-length', 'binary-head'}


def test_weights_and_ignored_labels(street):
    """MMSeg looks for the weight of label 255 among those of the classes."""
    weights = [1.0, 2.0, 2.0, 1.0, 3.0]
    street.change(
        LOSS, f"dict(type='CrossEntropyLoss', class_weight={weights})"
    )
    found = assert_only(street.examine(), 'loss-fails')
    assert 'index 255 is out of bounds' in found[0].text
    assert changes(found)['model.decode_head.loss_decode'] == {
        'type': 'BalancedCrossEntropy',
        'class_weight': weights,
    }


@plants('class-weight-length')
def test_weights_of_other_classes(street):
    add(
        street,
        "model['decode_head']['loss_decode'] = dict("
        "type='BalancedCrossEntropy', class_weight=[1.0, 2.0, 3.0])",
    )
    found = assert_only(street.examine(), 'class-weight-length')
    assert '3 weights' in found[0].text
    assert '5 outputs' in found[0].text
    assert_mended(street, found)


def test_weights_of_detectors_need_one_of_the_background(shapes):
    loss = "model['roi_head']['bbox_head']['loss_cls']"
    add(shapes, f"{loss}['class_weight'] = [1.0, 2.0]")
    found = assert_only(shapes.examine(), 'class-weight-length')
    assert '2 weights' in found[0].text
    add(shapes, f"{loss}['class_weight'] = [1.0, 2.0, 0.5]")
    assert 'class-weight-length' not in {
        f.code for f in shapes.examine().findings
    }


@plants('ignore-index')
def test_another_ignored_label(street):
    add(street, "model['decode_head']['ignore_index'] = 254")
    case = street.examine().case
    part = case.splits['train'].parts[0]
    files = Place(0, '0.png', '0_label.png'), ImageScan((96, 72))
    for pixels in (0, 9):
        loaded = {0: 6000, 1: 500, 2: 400, 3: 12 - pixels, 255: pixels}
        label = LabelScan((96, 72), values=loaded, loaded=loaded)
        part.samples = [Sample(*files, label)]
        found = [
            f for f in diagnose(case).findings if f.code == 'ignore-index'
        ]
        assert len(found) == (pixels > 0)
    assert found[0].text == (
        'model.decode_head.ignore_index=254, and labels without class are '
        '255, 9 pixels of them'
    )
    assert found[0].change == {'model.decode_head.ignore_index': 255}


@plants('batch-norm-of-one')
def test_a_batch_of_one_and_pooled_maps(street):
    street.change(FCN, PSP)
    add(
        street,
        "del model['decode_head']['concat_input']",
        "train_dataloader['batch_size'] = 1",
    )
    [found] = assert_only(street.examine(), 'batch-norm-of-one', split='train')
    assert 'batch_size=1' in found.text
    assert 'model.decode_head.psp_modules.0.1.bn' in found.text
    assert found.level == Level.ERROR
    assert_mended(street, [found])


def test_a_batch_of_one_and_maps(street):
    add(street, "train_dataloader['batch_size'] = 1")
    [found] = assert_only(street.examine(), 'batch-norm-of-one')
    assert found.level == Level.WARNING


def test_the_last_batch(street):
    """Six images in batches of five; without an end there is no last one."""
    street.change(FCN, PSP)
    add(
        street,
        "del model['decode_head']['concat_input']",
        "train_dataloader['batch_size'] = 5",
    )
    codes = {f.code for f in street.examine().findings}
    assert 'batch-norm-of-one' not in codes
    street.change("type='InfiniteSampler'", "type='DefaultSampler'")
    [found] = assert_only(street.examine(), 'batch-norm-of-one')
    assert found.change == {'train_dataloader.drop_last': True}
    assert_mended(street, [found])


@plants('sync-bn-on-cpu')
def test_sync_norms(street, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    street.change(
        "dict(type='BN', requires_grad", "dict(type='SyncBN', requires_grad"
    )
    [found] = assert_only(street.examine(), 'sync-bn-on-cpu')
    assert found.level == Level.NOTE
    # The same config trains on GPUs as it is.
    assert found.change == {}


@plants('transform-classes')
def test_a_transform_for_other_classes(street):
    street.change(
        "dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75)",
        "dict(type='RareClassCrop', crop_size=crop_size, "
        'class_weights=[1.0] * 7)',
    )
    [found] = assert_only(street.examine(), 'transform-classes')
    assert 'RareClassCrop has 7 numbers: expected 5' in found.text
    [(key, steps)] = found.change.items()
    assert key == 'train_dataloader.dataset.pipeline'
    assert len(steps) == 6
    assert 'class_weights' not in steps[3]
    assert_mended(street, [found])


def test_heads_are_compared_without_data(street):
    """The classes stand in the config, or in the class of the data set."""
    shutil.rmtree(street.root / 'train')
    shutil.rmtree(street.root / 'val')
    options = {'model.decode_head.num_classes': 4}
    diagnosis = street.examine(cfg_options=options)
    [found] = [f for f in diagnosis.findings if f.code == 'head-classes']
    assert found.change == {'model.decode_head.num_classes': 5}
    street.change('metainfo=dict(classes=classes), ', '')
    street.change("type='BaseSegDataset'", "type='CityscapesDataset'")
    diagnosis = street.examine()
    found = [f for f in diagnosis.findings if f.code == 'head-classes']
    assert {f.change[f'{f.text.split()[0]}.num_classes'] for f in found} == {
        19
    }


@plants('data-set-classes')
def test_joined_data_sets_with_other_classes(shapes):
    add(
        shapes,
        "part = train_dataloader['dataset']",
        "other = dict(part, metainfo=dict(classes=('disk', 'box')))",
        "train_dataloader['dataset'] = dict(type='ConcatDataset', "
        'datasets=[part, other])',
    )
    [found] = [
        f for f in shapes.examine().findings if f.code == 'data-set-classes'
    ]
    assert found.split == 'train'
    assert found.value == ['disk', 'box']


@pytest.mark.parametrize('seen', [False, True])
def test_a_head_ignores_a_class(street, seen):
    """With labels of 255 it fails, without them the class is not learned."""
    add(street, "model['decode_head']['ignore_index'] = 3")
    count = 0
    for path in street.files('train_labels'):
        label = street.label(path)
        label[label == 255] = 255 if seen else 1
        count += int((label == 255).sum())
        cv2.imwrite(str(path), label)
    assert (count > 0) == seen
    diagnosis = street.examine()
    [found] = assert_only(diagnosis, 'ignore-index', split='train')
    assert found.text == (
        'model.decode_head.ignore_index=3 is the class road, and labels '
        f'without class are 255, {count} pixels of them'
    )
    assert found.change == {'model.decode_head.ignore_index': 255}
    for each in diagnosis.findings:
        assert each.code != 'class-imbalance' or 'road' in each.value
