"""Image files, their pairs and sizes."""

import os
import shutil

import cv2
import pytest

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor import gather


@plants('image-missing')
def test_a_listed_image_is_missing(street):
    (street.root / 'list.txt').write_text('0\n1\n17\n3\n')
    street.change(
        'dataset=dict(\n        **dataset, pipeline=train_pipeline,',
        'dataset=dict(\n        **dataset, pipeline=train_pipeline,'
        " ann_file='list.txt',",
    )
    label = street.files('train_labels')[0]
    shutil.copy(label, label.with_name('17.png'))
    path = street.root / 'train/17.png'
    assert_only(street.examine(), 'image-missing', path, 'train')


@plants('image-unreadable')
@pytest.mark.parametrize('keep', [0, 100, 3000])
@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_an_image_is_cut_off(street, keep, suffix):
    street.change("img_suffix='.png'", f"img_suffix='{suffix}'")
    for split in ('train', 'val'):
        for path in street.files(split):
            image = cv2.imread(str(path))
            path.unlink()
            cv2.imwrite(str(path.with_suffix(suffix)), image)
    path = street.files('val')[1]
    data = path.read_bytes()
    path.write_bytes(data[: min(keep, len(data) * 2 // 3)])
    assert_only(street.examine(), 'image-unreadable', path, 'val')


@plants('label-without-image')
@pytest.mark.parametrize('kind', ['BaseSegDataset', 'PairedDataset'])
def test_an_image_was_lost(street, kind):
    street.change("type='BaseSegDataset'", f"type='{kind}'")
    street.change(
        'default_scope',
        "custom_imports = dict(imports=['mmseg_ext'])\ndefault_scope",
    )
    path = street.files('train')[4]
    path.unlink()
    label = street.root / 'train_labels' / path.name
    assert_only(street.examine(), 'label-without-image', label, 'train')


def test_one_folder_of_labels_for_all_splits(street):
    """What is of another split has its image there."""
    for path in street.files('val_labels'):
        path.rename(street.root / 'train_labels' / path.name)
    street.change("'val_labels'", "'train_labels'")
    found = {f.code for f in street.examine().findings}
    assert 'label-without-image' not in found


@plants('size-differs')
@pytest.mark.parametrize('size', [(48, 36), (95, 72), (72, 96)])
def test_a_label_of_another_size(street, size):
    path = street.files('train_labels')[2]
    label = cv2.resize(
        street.label(path), size, interpolation=cv2.INTER_NEAREST
    )
    cv2.imwrite(str(path), label)
    [found] = assert_only(street.examine(), 'size-differs', path, 'train')
    assert found.value == [[96, 72], list(size)]
    assert found.text == f'image 96x72, label {size[0]}x{size[1]}'
    assert found.others == (str(street.files('train')[2]),)


@pytest.mark.parametrize(
    ('folder', 'code'),
    [('val', 'image-unreadable'), ('val_labels', 'label-unreadable')],
)
def test_pipes_are_not_opened(street, monkeypatch, folder, code):
    monkeypatch.setattr(gather, 'build_model', lambda cfg: None)
    names = '\n'.join(path.stem for path in street.files('val'))
    (street.root / 'val.txt').write_text(names)
    street.change(
        "data_prefix=dict(img_path='val'",
        "ann_file='val.txt', data_prefix=dict(img_path='val'",
    )
    path = street.files(folder)[1]
    path.unlink()
    os.mkfifo(path)
    found = assert_only(street.examine(), code, path)
    assert 'a pipe' in found[0].text
