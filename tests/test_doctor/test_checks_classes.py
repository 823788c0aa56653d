"""Classes over all labels."""

import cv2
import numpy as np
from mmengine.config import Config

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.findings import Level

SPLITS = ('train', 'val', 'test')


def write(street, split, function):
    """Write the labels of a split anew."""
    for path in street.files(f'{split}_labels'):
        cv2.imwrite(str(path), function(street.label(path)))


def without(value, other=255):
    return lambda label: np.where(label == value, other, label)


@plants('ignore-is-class')
def test_a_class_is_ignored(street):
    place = "type='BaseSegDataset',"
    street.change(place, f'{place} ignore_index=3,')
    [found] = assert_only(street.examine(), 'ignore-is-class')
    keys = [f'{s}_dataloader.dataset.ignore_index' for s in SPLITS]
    assert found.change == dict.fromkeys(keys, 255)
    assert found.value == 3
    assert found.text == f'{keys[0]}=3 is the class road of 5'
    cfg = Config.fromfile(street.config)
    cfg.merge_from_dict(dict(found.change))
    cfg.dump(street.config)
    assert street.examine().worst in (None, Level.NOTE)


def test_255_is_one_of_256_classes(street):
    street.change(
        "('sky', 'building', 'plant', 'road', 'thing')",
        'tuple(map(str, range(256)))',
    )
    found = [
        f for f in street.examine().findings if f.code == 'ignore-is-class'
    ]
    assert found[0].value == 255
    assert not found[0].change


def test_void_may_be_ignored(street):
    street.change("'plant'", "'void'")
    place = "type='BaseSegDataset',"
    street.change(place, f'{place} ignore_index=2,')
    write(street, 'train', without(255, 2))
    write(street, 'val', without(255, 2))
    codes = {f.code for f in street.examine().findings}
    assert 'ignore-is-class' not in codes


@plants('label-all-ignored')
def test_a_label_is_empty(street):
    path = street.files('train_labels')[3]
    cv2.imwrite(str(path), np.full((72, 96), 255, np.uint8))
    [found] = assert_only(street.examine(), 'label-all-ignored', path, 'train')
    assert found.level == Level.WARNING


@plants('split-all-ignored')
def test_a_split_is_empty(street):
    write(street, 'val', lambda label: np.full_like(label, 255))
    [found] = assert_only(street.examine(), 'split-all-ignored', split='val')
    assert found.value == 3


@plants('label-one-class')
def test_labels_of_one_class(street):
    first, second, *_ = street.files('train_labels')
    cv2.imwrite(str(first), np.full((72, 96), 3, np.uint8))
    half = np.full((72, 96), 255, np.uint8)
    half[:40] = 1
    cv2.imwrite(str(second), half)
    [found] = assert_only(street.examine(), 'label-one-class', first, 'train')
    assert found.level == Level.NOTE
    assert found.value == {'road': 1, 'building': 1}
    assert found.others == (str(second),)
    assert found.text == (
        'one class alone in 2 of 6 labels: road in 1, building in 1'
    )


def test_most_labels_have_one_class(street):
    for path in street.files('train_labels')[:4]:
        cv2.imwrite(str(path), np.full((72, 96), 3, np.uint8))
    [found] = assert_only(street.examine(), 'label-one-class')
    assert found.level == Level.WARNING


@plants('class-absent')
def test_no_label_has_a_class(street):
    street.change("'thing')", "'thing', 'boat')")
    street.change('num_classes = 5', 'num_classes = 6')
    [found] = assert_only(street.examine(), 'class-absent')
    assert (found.split, found.value) == (None, ['boat'])
    assert found.text == 'no pixel of 9 labels of all splits is boat'


def test_the_validation_lacks_a_class(street):
    write(street, 'val', without(2))
    [found] = assert_only(street.examine(), 'class-absent', split='val')
    assert found.value == ['plant']
    assert found.level == Level.WARNING


@plants('class-only-in-val')
def test_the_training_lacks_a_class(street):
    write(street, 'train', without(2))
    [found] = assert_only(street.examine(), 'class-only-in-val', split='val')
    pixels = sum(
        int((street.label(p) == 2).sum()) for p in street.files('val_labels')
    )
    assert found.value == {'plant': pixels}
    assert found.level == Level.ERROR


def test_a_sample_is_no_proof(street):
    write(street, 'train', without(2))
    [found] = [
        f
        for f in street.examine(sample=2).findings
        if f.code == 'class-only-in-val'
    ]
    assert found.level == Level.WARNING
    assert 'no pixel of 2 labels of train that were read is' in found.text


def test_void_has_no_pixels_by_right(street):
    street.change("'thing')", "'thing', 'unlabelled')")
    street.change('num_classes = 5', 'num_classes = 6')
    codes = {f.code for f in street.examine().findings}
    assert 'class-absent' not in codes


def test_classes_are_not_absent_where_labels_are_wrong(street):
    write(street, 'train', without(2, 9))
    found = {f.code for f in street.examine().findings if f.level}
    assert found == {'labels-outside'}


@plants('class-imbalance')
def test_a_rare_class(street):
    def write_few(label):
        label = without(2, 3)(label)
        label[0, :3] = 2
        return label

    write(street, 'train', write_few)
    [found] = assert_only(street.examine(), 'class-imbalance', split='train')
    # By the definition: median of the frequencies by that of the class.
    labels = [street.label(p) for p in street.files('train_labels')]
    frequencies = []
    for index in range(5):
        inside = [x for x in labels if (x == index).any()]
        pixels = sum((x == index).sum() for x in inside)
        frequencies.append(pixels / sum((x < 255).sum() for x in inside))
    expected = np.sqrt(np.median(frequencies) / frequencies).clip(0.5, 6)
    weights = [round(float(value), 4) for value in expected]
    assert list(found.value.values()) == weights
    loss = {'type': 'BalancedCrossEntropy', 'class_weight': weights}
    assert found.change == {
        'model.decode_head.loss_decode': loss,
        'model.auxiliary_head.loss_decode': loss,
    }


def test_a_training_without_labels_is_told_once(street):
    write(street, 'train', lambda label: np.full_like(label, 255))
    diagnosis = street.examine()
    assert_only(diagnosis, 'split-all-ignored', split='train')
    codes = {f.code for f in diagnosis.findings}
    assert not codes & {'class-only-in-val', 'class-absent', 'cat-max-ratio'}
