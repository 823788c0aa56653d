"""Data sets as wholes."""

import shutil

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.findings import Level


def test_healthy_data_have_no_error(street, shapes):
    for patient in (street, shapes):
        diagnosis = patient.examine()
        found = [f for f in diagnosis.findings if f.level > Level.NOTE]
        assert [(f.code, f.text) for f in found] == []
        assert list(diagnosis.case.splits) == ['train', 'val', 'test']


@plants('data-set-not-built')
def test_missing_folder(street):
    shutil.rmtree(street.root / 'val_labels')
    street.change("seg_map_path='val_labels'", "seg_mapp='val_labels'")
    street.change("type='BaseSegDataset'", "type='NoSuchDataset'")
    found = assert_only(street.examine(), 'data-set-not-built')
    assert {f.split for f in found} == {'train', 'val', 'test'}
    assert all('NoSuchDataset' in f.text for f in found)


@plants('split-empty')
def test_other_suffix(street):
    street.change("img_suffix='.png'", "img_suffix='.jpg'")
    found = assert_only(street.examine(), 'split-empty')
    assert {f.split for f in found} == {'train', 'val', 'test'}


@plants('config-entry')
def test_entries_that_are_no_configs(street):
    options = {'train_cfg': 3, 'val_evaluator': 'mIoU', 'default_hooks': [1]}
    diagnosis = street.examine(cfg_options=options)
    found = assert_only(diagnosis, 'config-entry')
    assert [each.text.partition('=')[0] for each in found] == [
        *('default_hooks', 'train_cfg', 'val_evaluator')
    ]


@plants('config-entry')
def test_data_loader_that_is_none(street):
    [found] = assert_only(
        street.examine(cfg_options={'val_dataloader': 3}), 'config-entry'
    )
    assert found.text == 'val_dataloader=3: expected a dict'


def test_the_one_that_cannot_be_built_is_named(street):
    (street.root / 'val').rename(street.root / 'other')
    street.change("img_path='val'", "img='val'")
    found = assert_only(street.examine(), 'data-set-not-built')
    for each in found:
        key = f'{each.split}_dataloader.dataset'
        assert each.text.startswith(f'{key} (BaseSegDataset) cannot be built')


@plants('classes-text')
def test_a_class_without_a_comma(shapes):
    shapes.change("classes = ('box', 'disk')", "classes = ('box')")
    found = [f for f in shapes.examine().findings if f.code == 'classes-text']
    assert [f.split for f in found] == ['train', 'val', 'test']
    key = 'train_dataloader.dataset.metainfo.classes'
    assert found[0].change == {key: ('box',)}
    assert found[0].mend == "metainfo=dict(classes=('box',))"


def test_misspelt_folder_is_named(street):
    """MMEngine says no more than that an address is None."""
    street.change("img_path='train'", "img_pth='train'")
    [found] = assert_only(street.examine(), 'data-set-not-built')
    assert found.text.endswith(
        'data_prefix has img_pth: expected img_path, seg_map_path'
    )
