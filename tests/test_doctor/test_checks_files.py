"""Image files, their pairs and sizes."""

import os
import shutil

import cv2
import numpy as np
import pytest
from mmcv.transforms import TRANSFORMS
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor import gather
from mmseg_ext.doctor.findings import Level


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


def test_an_image_is_a_pointer(shapes):
    path = shapes.files('train')[1]
    path.write_text('version https://git-lfs.github.com/spec/v1\noid x\n')
    [found] = assert_only(shapes.examine(), 'image-unreadable', path, 'train')
    assert 'git lfs pull' in found.text


@DATASETS.register_module()
class Strange(BaseSegDataset):
    """Gives some entries that name no file."""

    def __init__(self, odd=(), **kwargs):
        self.odd = odd
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self):
        entries = super().load_data_list()
        for number, entry in enumerate(self.odd):
            entries[number] = entry
        return entries


def strange(street, odd):
    """Let entries of the training be others."""
    street.change(
        'dataset=dict(\n        **dataset, pipeline=train_pipeline,',
        "dataset=dict(\n        **{**dataset, 'type': 'Strange'}, "
        f'odd={odd}, pipeline=train_pipeline,',
    )


@plants('images-unknown')
def test_entries_without_files(street):
    strange(street, "[dict(path='a')] * 6")
    street.change(
        "    dict(type='LoadImageFromFile'),\n    dict(type='LoadAnnotations')"
        ",\n    dict(type='RandomResize'",
        "    dict(type='Drawn'),\n    dict(type='RandomResize'",
    )
    [found] = assert_only(street.examine(), 'images-unknown', split='train')
    assert (found.level, found.value) == (Level.WARNING, 6)
    assert found.text == (
        '6 of 6 entries have no img_path: their files were not looked at'
    )


@TRANSFORMS.register_module()
class Drawn:
    """Draws an image with its label."""

    def __call__(self, results):
        image = np.random.default_rng(0).integers(0, 255, (72, 96, 3))
        results['img'] = image.astype(np.uint8)
        results['img_shape'] = results['ori_shape'] = (72, 96)
        results['gt_seg_map'] = (image[..., 0] % 5).astype(np.uint8)
        results['seg_fields'] = ['gt_seg_map']
        return results


@pytest.mark.parametrize('odd', ['[{}] * 6', '[None]', '[1]', "['x'] * 6"])
def test_entries_that_cannot_be_loaded(street, odd):
    strange(street, odd)
    found = assert_only(street.examine(), 'pipeline-fails', split='train')
    assert len(found) == 1


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
