"""Images and labels that are there twice."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.doctor import assert_only, plants
from helpers.real_data import CAMVID
from mmseg_ext.doctor.findings import Level
from mmseg_ext.sample_data.scenes.render import render_scene

CODES = (
    'image-repeated',
    'image-in-two-splits',
    'near-duplicate',
    'splits-alike',
    'label-repeated',
)

KINDS = ('quality-60', 'halved', 'gamma-1.3')


def found(diagnosis):
    """Return the findings of what is there twice."""
    return [each for each in diagnosis.findings if each.code in CODES]


def copy_sample(patient, source, target):
    """Copy an image with its label, as in 'train/0.png', 'val/x.png'."""
    for path in (source, target):
        assert path.count('/') == 1
    shutil.copy(patient.root / source, patient.root / target)
    source, target = (p.replace('/', '_labels/') for p in (source, target))
    shutil.copy(patient.root / source, patient.root / target)


def darker(image):
    levels = np.rint(255 * (np.arange(256) / 255) ** 1.3)
    return cv2.LUT(image, levels.astype(np.uint8))


def plant(source, target, kind):
    """Write a copy of an image that is not the same file."""
    image = cv2.imread(str(source))
    if kind == 'halved':
        image = cv2.resize(image, None, fx=0.5, fy=0.5)
    if kind == 'gamma-1.3':
        image = darker(image)
    quality = 60 if kind == 'quality-60' else 95
    suffix = '.png' if kind == 'gamma-1.3' else '.jpg'
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(suffix, image, options)
    target.write_bytes(data.tobytes())


# Equal files.


@plants('image-repeated')
def test_image_is_twice_in_a_split(street):
    copy_sample(street, 'train/2.png', 'train/x.png')
    copy = street.root / 'train/x.png'
    diagnosis = street.examine()
    (finding,) = assert_only(diagnosis, 'image-repeated', copy, 'train')
    assert finding.others == (str(street.root / 'train/2.png'),)
    assert finding.level == Level.NOTE
    label = street.root / 'train_labels/x.png'
    assert f'mv {copy} {label} ' in finding.mend
    assert found(diagnosis) == [finding]


def test_image_with_two_labels(street):
    """It is worse: one of the labels is wrong."""
    shutil.copy(street.root / 'train/2.png', street.root / 'train/x.png')
    label = street.root / 'train_labels'
    shutil.copy(label / '3.png', label / 'x.png')
    (finding,) = assert_only(street.examine(), 'image-repeated')
    assert 'another label' in finding.text
    assert finding.level == Level.WARNING


@plants('image-in-two-splits')
def test_image_is_in_two_splits(street):
    copy_sample(street, 'train/1.png', 'val/x.png')
    diagnosis = street.examine()
    (finding,) = assert_only(
        diagnosis, 'image-in-two-splits', street.root / 'val/x.png', 'val'
    )
    assert finding.others == (str(street.root / 'train/1.png'),)
    assert str(street.root / 'train_labels/1.png') in finding.mend
    assert 'train' in finding.text
    assert 'another label' not in finding.text
    assert found(diagnosis) == [finding]


def test_coco_image_is_in_two_splits(shapes):
    one, other = shapes.files('train')[0], shapes.files('val')[0]
    shutil.copy(one, other)
    diagnosis = shapes.examine()
    (finding,) = assert_only(diagnosis, 'image-in-two-splits', other, 'val')
    assert finding.mend == f'take {one.name} out of {shapes.root}/train.json'
    assert found(diagnosis) == [finding]


def test_validation_is_training(street):
    """One finding tells it, and not one for each image."""
    street.change("img_path='val'", "img_path='train'")
    street.change("seg_map_path='val_labels'", "seg_map_path='train_labels'")
    findings = found(street.examine())
    assert [(f.code, f.split, f.file) for f in findings] == [
        ('image-in-two-splits', 'val', None),
        ('image-in-two-splits', 'test', None),
    ]
    assert all('6 images' in each.text for each in findings)


def test_empty_splits_are_not_equal(street):
    street.change("img_suffix='.png'", "img_suffix='.jpg'")
    assert found(street.examine()) == []


def test_validation_and_test_differ(street):
    """All files of the test are those of the validation, and one more."""
    shutil.copytree(street.root / 'val', street.root / 'test')
    shutil.copytree(street.root / 'val_labels', street.root / 'test_labels')
    image = render_scene((96, 72), 3, 77).image
    cv2.imwrite(str(street.root / 'test/new.png'), image)
    label = next((street.root / 'test_labels').iterdir())
    blank = np.zeros_like(cv2.imread(str(label), cv2.IMREAD_UNCHANGED))
    cv2.imwrite(str(label.with_name('new.png')), blank)
    street.change(
        'test_dataloader = val_dataloader',
        'test_dataloader = dict(batch_size=1, num_workers=0, '
        "sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict("
        '**dataset, pipeline=test_pipeline, test_mode=True, data_prefix='
        "dict(img_path='test', seg_map_path='test_labels')))",
    )
    findings = found(street.examine())
    assert {f.code for f in findings} == {'image-in-two-splits'}
    assert [f.file for f in findings] == [
        str(street.root / 'test' / path.name) for path in street.files('val')
    ]
    assert {f.split for f in findings} == {'test'}
    assert all('val' in each.text for each in findings)


# Copies.


@plants('near-duplicate')
def test_copies_are_in_another_split(street):
    planted = {}
    for number, kind in enumerate(KINDS):
        source = street.root / f'train/{number}.png'
        target = street.root / f'val/{number + 6}.png'
        plant(source, target, kind)
        label = street.label(street.root / f'train_labels/{number}.png')
        if kind == 'halved':
            label = label[::2, ::2]
        path = street.root / f'val_labels/{number + 6}.png'
        cv2.imwrite(str(path), label)
        planted[str(target)] = (str(source),)
    diagnosis = street.examine()
    findings = assert_only(diagnosis, 'near-duplicate', split='val')
    assert {f.file: f.others for f in findings} == planted
    assert found(diagnosis) == findings
    for each in findings:
        assert 0 <= each.value <= 0.2
        assert each.level == Level.WARNING
        assert 'another label' not in each.text
        assert f'a copy of {Path(each.others[0]).name} in train' in each.text


def test_copy_has_another_label(street):
    """That of the image which it replaced."""
    target = street.root / 'val/7.png'
    plant(street.root / 'train/4.png', target, 'quality-60')
    (finding,) = assert_only(street.examine(), 'near-duplicate', target)
    assert 'with another label' in finding.text


def test_copies_of_one_image_in_both_splits(street):
    """Each of validation is found, with the one of training."""
    source = street.root / 'train/4.png'
    copy_sample(street, 'train/4.png', 'val/6.png')
    plant(source, street.root / 'val/7.png', 'quality-60')
    findings = found(street.examine())
    assert [(f.code, f.file, f.others) for f in findings] == [
        (code, str(street.root / 'val' / name), (str(source),))
        for code, name in (
            ('image-in-two-splits', '6.png'),
            ('near-duplicate', '7.png'),
        )
    ]


@plants('splits-alike')
def test_frames_of_a_film_are_in_two_splits(street):
    """There is one finding, and no copies."""
    view = render_scene((240, 72), 5, 1).image
    train, val = street.files('train'), street.files('val')
    film = [*train[:1], val[0], *train[1:3], val[1], *train[3:5], val[2]]
    for number, path in enumerate([*film, train[5]]):
        frame = view[:, 2 * number : 2 * number + 96]
        cv2.imwrite(str(path), frame)
    diagnosis = street.examine()
    (finding,) = assert_only(diagnosis, 'splits-alike', split='val')
    assert finding.value == 3
    assert '3 of 3' in finding.text
    assert found(diagnosis) == [finding]


# Labels.


@plants('label-repeated')
def test_label_is_that_of_another_image(street):
    labels = street.root / 'train_labels'
    shutil.copy(labels / '1.png', labels / '4.png')
    diagnosis = street.examine()
    (finding,) = assert_only(
        diagnosis, 'label-repeated', labels / '4.png', 'train'
    )
    assert finding.others == (str(labels / '1.png'),)
    assert found(diagnosis) == [finding]


def test_equal_labels_of_one_class_or_of_alike_images(street):
    labels = street.root / 'train_labels'
    blank = np.full((72, 96), 3, np.uint8)
    blank[:9] = 255
    for number in (1, 2):
        cv2.imwrite(str(labels / f'{number}.png'), blank)
    image = cv2.imread(str(street.root / 'train/4.png'))
    cv2.imwrite(str(street.root / 'train/5.png'), darker(image))
    shutil.copy(labels / '4.png', labels / '5.png')
    assert found(street.examine()) == []


# Real data.


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f'{CAMVID} is not there')
def test_copies_among_frames_of_camvid(street, tmp_path):
    """Its frames are no copies; those that are planted are found."""
    for split in ('train', 'val'):
        for folder in (split, f'{split}_labels'):
            shutil.rmtree(street.root / folder)
            shutil.copytree(CAMVID / folder, street.root / folder)
    text = street.config.read_text()
    street.config.write_text(
        text.replace("seg_map_suffix='.png'", "seg_map_suffix='_L.png'")
    )
    assert found(street.examine()) == []
    frames = street.files('train')
    planted = {}
    for number, kind in enumerate(KINDS):
        source = frames[12 * number]
        target = street.root / 'val' / f'{kind}.png'
        plant(source, target, kind)
        label = street.root / 'train_labels' / f'{source.stem}_L.png'
        shutil.copy(label, street.root / 'val_labels' / f'{kind}_L.png')
        planted[str(target)] = (str(source),)
    findings = found(street.examine())
    assert {f.code for f in findings} == {'near-duplicate'}
    assert {f.file: f.others for f in findings} == planted
