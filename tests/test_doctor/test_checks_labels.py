"""Why labels do not hold the classes of the data set."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.findings import Level

SPLITS = ('train', 'val')


def all_labels(street):
    """Return the label files of both splits."""
    return [p for s in SPLITS for p in street.files(f'{s}_labels')]


def rewrite(street, function, paths=None):
    """Write label maps anew, as a function makes them."""
    for path in paths or all_labels(street):
        cv2.imwrite(str(path), function(street.label(path)))


def mended(street, findings):
    """Return what the doctor says once a finding's change is made."""
    change = findings[0].change
    assert change
    assert all(each.change == change for each in findings)
    cfg = Config.fromfile(street.config)
    cfg.merge_from_dict(dict(change))
    text = cfg.pretty_text.replace(
        'default_scope',
        "custom_imports = dict(imports=['mmseg_ext'])\ndefault_scope",
        1,
    )
    street.config.write_text(text)
    diagnosis = street.examine()
    worst = [(f.code, f.text) for f in diagnosis.findings if f.level == 2]
    assert worst == []
    return diagnosis


def loaded(diagnosis, split='train'):
    """Return the labels that the loss sees, over all files of a split."""
    part = diagnosis.case.splits[split].parts[0]
    return {value for s in part.samples for value in s.label.loaded}


@plants('label-missing')
def test_a_label_is_missing(street):
    path = street.files('train_labels')[2]
    path.unlink()
    [found] = assert_only(street.examine(), 'label-missing', path, 'train')
    assert 'no such file' in found.text


def test_all_labels_are_missing(street):
    street.change("seg_map_suffix='.png'", "seg_map_suffix='_L.png'")
    found = assert_only(street.examine(), 'label-missing')
    assert [f.value for f in found] == [6, 3]
    assert '_L.png' in found[0].text


def test_a_data_set_without_labels(street):
    street.change(", seg_map_path='train_labels'", '')
    [found] = assert_only(
        street.examine(splits=['train']), 'label-missing', split='train'
    )
    assert 'names no seg_map_path' in found.text


def test_labels_that_nothing_loads_are_not_looked_for(street):
    """As of a test whose labels nobody has."""
    street.change(
        "    dict(type='LoadAnnotations'),\n    dict(type='Pack",
        "    dict(type='Pack",
    )
    for path in street.files('val_labels'):
        path.unlink()
    codes = {f.code for f in street.examine(splits=['val']).findings}
    assert 'label-missing' not in codes


@plants('label-unreadable')
@pytest.mark.parametrize('keep', [0, 9, 200])
def test_a_label_is_cut_off(street, keep):
    path = street.files('val_labels')[1]
    path.write_bytes(path.read_bytes()[:keep])
    assert_only(street.examine(), 'label-unreadable', path, 'val')


@plants('labels-black-white')
def test_all_masks_are_black_and_white(street):
    rewrite(street, lambda label: ((label == 3) * 255).astype(np.uint8))
    street.change(
        "('sky', 'building', 'plant', 'road', 'thing')", "('other', 'road')"
    )
    street.change('num_classes = 5', 'num_classes = 2')
    diagnosis = street.examine()
    found = assert_only(diagnosis, 'labels-black-white')
    assert {f.file for f in found} == set(map(str, all_labels(street)))
    assert 'cat-max-ratio' not in {f.code for f in diagnosis.findings}
    assert 'no other class than other (0) is trained' in found[0].text
    assert 'label_map={255: 1}' in found[0].mend
    assert loaded(mended(street, found)) == {0, 1}


def test_a_mask_may_be_all_white_or_broken(street):
    rewrite(street, lambda label: ((label == 3) * 255).astype(np.uint8))
    first, second, *_ = street.files('train_labels')
    rewrite(street, lambda label: np.full_like(label, 255), [first])
    second.write_bytes(b'')
    found = [f for f in street.examine().findings if f.level == Level.ERROR]
    assert {f.code for f in found if f.file != str(second)} == {
        'labels-black-white'
    }
    assert str(first) in {f.file for f in found}


def by_value(street, label_map, classes="('other', 'road')"):
    """Let a config say what values in files become."""
    street.change("('sky', 'building', 'plant', 'road', 'thing')", classes)
    street.change('num_classes = 5', f'num_classes = {classes.count(",") + 1}')
    street.change('# MMSeg', "custom_imports = dict(imports='mmseg_ext')\n#")
    street.change("'BaseSegDataset'", "'FolderDataset'")
    street.change('img_suffix', f'label_map={label_map}, img_suffix')
    street.change('    reduce_zero_label=reduce_zero_label)', ')')


@pytest.mark.parametrize('loader', ['LoadAnnotations', 'FastLoadAnnotations'])
@pytest.mark.parametrize(
    ('white', 'label_map'),
    [(255, '{0: 0, 255: 1}'), (255, "{'255': 1}"), (7, '{0: 0, 7: 1}')],
)
def test_values_that_the_config_explains(street, white, label_map, loader):
    rewrite(street, lambda label: ((label == 3) * white).astype(np.uint8))
    by_value(street, label_map)
    street.change("'LoadAnnotations'", f'{loader!r}')
    diagnosis = street.examine()
    assert [f for f in diagnosis.findings if f.level == Level.ERROR] == []
    codes = {f.code for f in diagnosis.findings}
    assert not {
        c for c in codes if c.startswith(('label', 'class-', 'reduce'))
    }
    assert loaded(diagnosis) == loaded(diagnosis, 'val') == {0, 1}


def test_a_value_that_the_config_does_not_explain(street):
    """Neither one more nor one less than the classes gets another hint."""
    rewrite(street, lambda label: np.minimum(label, 2))
    by_value(street, '{0: 1, 1: 0}')
    found = assert_only(street.examine(), 'labels-outside')
    assert (
        'holds the value(s) 2: expected class indices 0 to 1' in found[0].text
    )
    assert found[0].mend.startswith('a key for each in label_map')


def test_grays_of_three_channels_that_the_config_explains(street):
    rewrite(
        street,
        lambda label: cv2.cvtColor(
            ((label == 3) * 128).astype(np.uint8), cv2.COLOR_GRAY2BGR
        ),
    )
    by_value(street, '{128: 1}')
    found = assert_only(street.examine(), 'labels-color')
    assert 'three equal channels' in found[0].text


def test_grays_of_four_bits_that_the_config_explains(street):
    for path in all_labels(street):
        values = ((street.label(path) == 3) * 7).astype(np.uint8)
        write_4_bits(path, values)
    by_value(street, '{0: 0, 7: 1}')
    found = assert_only(street.examine(), 'labels-outside')
    assert 'scales its grays' in found[0].text


def test_white_is_the_first_class(street):
    rewrite(street, lambda label: ((label == 3) * 255).astype(np.uint8))
    street.change(
        "('sky', 'building', 'plant', 'road', 'thing')",
        "('road', 'background')",
    )
    street.change('num_classes = 5', 'num_classes = 2')
    found = assert_only(street.examine(), 'labels-black-white')
    [step] = [
        step
        for step in found[0].change['train_dataloader.dataset.pipeline']
        if step['type'] == 'MapLabels'
    ]
    assert step['label_map'] == {0: 1, 255: 0}


def test_one_mask_is_black_and_white(street):
    rewrite(street, lambda label: np.where(label == 255, 0, label))
    path = street.files('train_labels')[4]
    rewrite(
        street, lambda label: ((label == 3) * 255).astype(np.uint8), [path]
    )
    [found] = assert_only(
        street.examine(), 'labels-black-white', path, 'train'
    )
    assert found.level == Level.WARNING
    assert not found.change


def test_white_is_ignored_where_other_labels_have_as_much(street):
    first, *_, path = street.files('train_labels')
    rewrite(street, lambda label: np.where(label < 4, 255, label), [first])
    rewrite(
        street, lambda label: ((label == 3) * 255).astype(np.uint8), [path]
    )
    assert 'labels-black-white' not in {
        f.code for f in street.examine().findings
    }


def one_more(label):
    return np.where(label == 255, 255, label + 1).astype(np.uint8)


@plants('labels-one-based')
def test_classes_count_from_one(street):
    rewrite(street, one_more)
    found = assert_only(street.examine(), 'labels-one-based')
    assert {f.file for f in found} == set(map(str, all_labels(street)))
    assert all('holds the value(s) 5: ' in f.text for f in found)
    before = {0, 1, 2, 3, 4, 255}
    assert loaded(mended(street, found)) == before


def test_one_label_counts_from_one(street):
    path = street.files('train_labels')[0]
    rewrite(street, one_more, [path])
    [found] = assert_only(street.examine(), 'labels-one-based', path, 'train')
    assert not found.change


@plants('labels-color')
def test_a_label_in_color(street):
    path = street.files('train_labels')[3]
    colors = np.random.default_rng(0).integers(0, 255, (256, 3), np.uint8)
    rewrite(street, lambda label: colors[label], [path])
    [found] = assert_only(street.examine(), 'labels-color', path, 'train')
    assert found.value == len(
        np.unique(street.label(path).reshape(-1, 3), axis=0)
    )
    assert 'RGB PNG' in found.text


def test_a_palette_that_is_no_class_list(street):
    path = street.files('val_labels')[0]
    # A program that sorts its palette by how frequent colors are.
    label = 100 + street.label(path).astype(int) * 7 % 50
    image = Image.fromarray(label.astype(np.uint8), 'P')
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)
    [found] = assert_only(street.examine(), 'labels-color', path, 'val')
    assert found.text.startswith('palette PNG: its entries are read as')
    assert found.value == sorted(np.unique(label).tolist())


def test_three_equal_channels(street):
    rewrite(street, lambda label: cv2.merge([label] * 3))
    found = assert_only(street.examine(), 'labels-color')
    assert len(found) == 9
    assert loaded(mended(street, found)) == {0, 1, 2, 3, 4, 255}


@plants('labels-16-bit')
@pytest.mark.parametrize('loader', ['LoadAnnotations', 'FastLoadAnnotations'])
def test_values_that_wrap(street, loader):
    street.change("type='LoadAnnotations'", f"type='{loader}'")
    path = street.files('train_labels')[5]
    rewrite(street, lambda label: label.astype(np.uint16) * 257, [path])
    most = int(street.label(path).max())
    assert most > 255
    [found] = assert_only(street.examine(), 'labels-16-bit', path, 'train')
    assert found.value == most


def test_16_bits_of_class_indices_are_right(street):
    rewrite(street, lambda label: label.astype(np.uint16))
    diagnosis = street.examine()
    assert [f for f in diagnosis.findings if f.level > Level.NOTE] == []


@plants('labels-lossy')
@pytest.mark.parametrize('scale', [0.5, 2, 3])
def test_labels_that_were_resized(street, scale):
    """The classes between two others are none that are outside."""
    rewrite(street, lambda label: np.where(label == 255, 0, label))
    path = street.files('train_labels')[1]
    image = street.files('train')[1]
    for each in (path, image):
        pixels = cv2.imread(str(each), cv2.IMREAD_UNCHANGED)
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale)
        cv2.imwrite(str(each), pixels)
    [found] = assert_only(street.examine(), 'labels-lossy', path, 'train')
    assert 0.12 < found.value < 1
    assert found.level == Level.WARNING


@pytest.mark.parametrize('quality', [75, 95])
def test_labels_that_were_jpeg(street, quality):
    path = street.files('train_labels')[1]
    label = street.label(path)
    _, data = cv2.imencode('.jpg', label, [cv2.IMWRITE_JPEG_QUALITY, quality])
    cv2.imwrite(str(path), cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    [found] = assert_only(street.examine(), 'labels-lossy', path, 'train')
    assert found.level == Level.ERROR


def test_labels_that_are_jpeg(street):
    path = street.files('train_labels')[1]
    _, data = cv2.imencode('.jpg', street.label(path))
    path.write_bytes(data.tobytes())
    [found] = assert_only(street.examine(), 'labels-lossy', path, 'train')
    assert 'JPEG' in found.text


@plants('labels-outside')
def test_a_value_of_no_class(street):
    path = street.files('train_labels')[0]
    rewrite(street, lambda label: np.where(label == 2, 77, label), [path])
    [found] = assert_only(street.examine(), 'labels-outside', path, 'train')
    assert found.value == [77]
    assert found.text == (
        'holds the value(s) 77: expected class indices 0 to 4, or 255 for '
        'pixels without class'
    )


def test_grays_that_are_scaled(street):
    """MMSeg reads 4 bits as 0, 17, 34 and so on."""
    for path in all_labels(street):
        label = np.where(street.label(path) == 255, 0, street.label(path))
        write_4_bits(path, label)
    found = assert_only(street.examine(), 'labels-outside')
    assert found[0].value == [17, 34, 51, 68]
    assert loaded(mended(street, found)) == {0, 1, 2, 3, 4}


def write_4_bits(path, label):
    """Write a gray PNG of 4 bits, two pixels a byte."""
    import struct
    import zlib

    height, width = label.shape
    rows = (label[:, ::2] << 4 | label[:, 1::2]).astype(np.uint8)
    data = b''.join(b'\0' + row.tobytes() for row in rows)
    chunks = (
        (b'IHDR', struct.pack('>IIBBBBB', width, height, 4, 0, 0, 0, 0)),
        (b'IDAT', zlib.compress(data)),
        (b'IEND', b''),
    )
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + b''.join(
            struct.pack('>I', len(body))
            + name
            + body
            + struct.pack('>I', zlib.crc32(name + body))
            for name, body in chunks
        )
    )


def test_a_class_that_the_list_lacks(street):
    """The first is called background, so 5 is one more, and 0 is right."""
    street.change("'sky'", "'background'")
    street.change(", 'thing'", '')
    street.change('num_classes = 5', 'num_classes = 4')
    found = assert_only(street.examine(), 'labels-outside')
    assert {tuple(f.value) for f in found} == {(4,)}


@plants('reduce-zero-label')
def test_zero_is_ignored_and_is_a_class(street):
    street.change('reduce_zero_label = False', 'reduce_zero_label = True')
    found = assert_only(street.examine(), 'reduce-zero-label')
    assert [f.split for f in found] == ['train', 'val']
    assert found[0].value == [0, 1, 2, 3, 4]
    assert 'no pixel is thing' in found[0].text
    assert loaded(mended(street, found)) == {0, 1, 2, 3, 4, 255}


def test_the_background_is_learned(street):
    """The list has the other classes alone."""
    street.change("'sky', ", '')
    street.change('num_classes = 5', 'num_classes = 4')
    found = assert_only(street.examine(), 'reduce-zero-label')
    assert len(found) == 9
    assert loaded(mended(street, found)) == {0, 1, 2, 3, 255}


def test_the_loader_says_it_as_well(street):
    street.change('reduce_zero_label = False', 'reduce_zero_label = True')
    street.change(
        "dict(type='LoadAnnotations')",
        "dict(type='LoadAnnotations', reduce_zero_label=True)",
    )
    found = assert_only(street.examine(), 'reduce-zero-label')
    assert loaded(mended(street, found)) == {0, 1, 2, 3, 4, 255}


def test_zero_is_ignored_and_no_class(street):
    """As ADE20K has it."""
    rewrite(street, one_more)
    rewrite(
        street,
        lambda label: np.where(label == 255, 0, label).astype(np.uint8),
    )
    street.change('reduce_zero_label = False', 'reduce_zero_label = True')
    diagnosis = street.examine()
    assert [f for f in diagnosis.findings if f.level > Level.NOTE] == []


def test_the_cause_of_a_few_files_is_told_of_these(street):
    """Two of nine, by two causes, and no others."""
    first, _, third, *_ = street.files('train_labels')
    rewrite(street, lambda label: np.where(label == 2, 9, label), [first])
    third.write_bytes(b'')
    found = {
        (f.code, f.file) for f in street.examine().findings if f.level == 2
    }
    assert found == {
        ('labels-outside', str(first)),
        ('label-unreadable', str(third)),
    }


def test_splits_do_not_agree_on_zero(street):
    """The one is judged by its labels, and the others are right."""
    street.change(
        'dataset=dict(\n        **dataset, pipeline=train_pipeline,',
        'dataset=dict(\n        **{**dataset, "reduce_zero_label": True},'
        ' pipeline=train_pipeline,',
    )
    found = assert_only(street.examine(), 'reduce-zero-label', split='train')
    assert len(found) == 1
    assert 'it is False in val, test' in found[0].text
    assert loaded(mended(street, found)) == {0, 1, 2, 3, 4, 255}


def test_a_split_learns_the_zero_that_others_ignore(street):
    rewrite(street, one_more)
    rewrite(
        street,
        lambda label: np.where(label == 255, 0, label).astype(np.uint8),
    )
    street.change(
        'dataset=dict(\n        **dataset, pipeline=train_pipeline,',
        'dataset=dict(\n        **{**dataset, "reduce_zero_label": True},'
        ' pipeline=train_pipeline,',
    )
    found = assert_only(street.examine(), 'reduce-zero-label', split='val')
    assert len(found) == 1
    assert found[0].text.endswith(
        'reduce_zero_label=False; it is True in train'
    )
    assert loaded(mended(street, found), 'val') == {0, 1, 2, 3, 4, 255}


def test_files_with_and_without_the_zero_of_others(street):
    """One cause has one mend; some files are labeled everywhere."""
    rewrite(street, one_more)
    rewrite(
        street,
        lambda label: np.where(label == 255, 1, label).astype(np.uint8),
    )
    for path in street.files('train_labels')[:2]:
        label = street.label(path)
        label[:3] = 0
        cv2.imwrite(str(path), label)
    found = assert_only(street.examine(), 'reduce-zero-label')
    assert len(found) == 9
    assert loaded(mended(street, found)) == {0, 1, 2, 3, 4, 255}


def test_the_last_class_is_in_few_of_such_files(street):
    """Whether 0 is a class is not known: one code and mend for all."""
    rewrite(street, one_more)
    rewrite(
        street,
        lambda label: np.where(label > 4, 4, label).astype(np.uint8),
    )
    first, second, *_ = street.files('train_labels')
    for path, value in ((first, 0), (second, 1)):
        label = street.label(path)
        label[:3], label[3:6] = value, 5
        cv2.imwrite(str(path), label)
    found = assert_only(street.examine(), 'labels-outside')
    assert [f.file for f in found] == [str(first), str(second)]
    assert len({f.mend for f in found}) == 1
    assert 'where 0 is no class, reduce_zero_label=True' in found[0].mend


def test_a_label_is_a_pointer(street):
    path = street.files('train_labels')[1]
    path.write_text('version https://git-lfs.github.com/spec/v1\noid x\n')
    [found] = assert_only(street.examine(), 'label-unreadable', path, 'train')
    assert 'git lfs pull' in found.text
