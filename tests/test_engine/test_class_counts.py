import numpy as np
import pytest
from mmengine import DefaultScope
from mmengine.dataset import (
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from mmseg.datasets import BaseSegDataset, MultiImageMixDataset
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmseg_ext.datasets import ColorMaskDataset
from mmseg_ext.engine.class_counts import count_classes

NAMES = ('sky', 'wall', 'road')


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@TRANSFORMS.register_module()
class KeepUpperHalf:
    """A transform of a user's, which changes labels."""

    def __call__(self, results):
        half = results['gt_seg_map'].shape[0] // 2
        results['gt_seg_map'][half:] = 255
        return results


def make_set(
    folder, labels, names=NAMES, load='LoadAnnotations', more=(), **options
):
    """Return a data set with these labels, one an image."""
    for index, label in enumerate(labels):
        label = np.asarray(label, np.uint8)
        for name, data in (('images', label), ('labels', label)):
            path = folder / name / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data).save(path)
    return BaseSegDataset(
        data_root=str(folder),
        **{
            'data_prefix': dict(img_path='images', seg_map_path='labels'),
            'img_suffix': '.png',
            'metainfo': dict(classes=names),
            'pipeline': [
                dict(type='LoadImageFromFile'),
                dict(type=load),
                *more,
                dict(type='PackSegInputs'),
            ],
            **options,
        },
    )


LABELS = [[[0, 0, 1], [255, 255, 0]], [[2, 2, 2], [2, 1, 255]]]
COUNTS = [[3, 1, 0], [0, 1, 4]]


@pytest.mark.parametrize('load', ['LoadAnnotations', 'FastLoadAnnotations'])
def test_counts_by_hand(tmp_path, load):
    counts = count_classes(make_set(tmp_path, LABELS, load=load), 3)
    assert counts.dtype == np.int64
    assert counts.tolist() == COUNTS


def test_a_larger_label_has_the_counts_of_bincount(tmp_path):
    label = np.random.default_rng(0).integers(0, 3, (300, 500))
    (counts,) = count_classes(make_set(tmp_path, [label]), 3)
    assert counts.tolist() == [(label == index).sum() for index in range(3)]
    assert counts.sum() == 300 * 500


def test_crops_and_flips_take_no_part(tmp_path):
    more = [
        dict(type='RandomCrop', crop_size=(1, 1)),
        dict(type='RandomFlip', prob=1.0),
    ]
    dataset = make_set(tmp_path, LABELS, more=more)
    assert count_classes(dataset, 3).tolist() == COUNTS


def test_a_transform_of_the_users_takes_part(tmp_path):
    dataset = make_set(tmp_path, LABELS, more=[dict(type='KeepUpperHalf')])
    state = np.random.get_state()[1].tolist()
    assert count_classes(dataset, 3).tolist() == [[2, 1, 0], [0, 0, 3]]
    assert np.random.get_state()[1].tolist() == state


def test_zero_labels_and_custom_classes_take_part(tmp_path):
    reduced = make_set(
        tmp_path, LABELS, names=('wall', 'road'), reduce_zero_label=True
    )
    assert count_classes(reduced, 2).tolist() == [[1, 0], [1, 4]]


def test_another_label_can_be_ignored(tmp_path):
    dataset = make_set(tmp_path, [[[0, 1, 2, 2]]])
    assert count_classes(dataset, 3, ignore_index=2).tolist() == [[1, 1, 0]]


def test_colors_are_looked_up(tmp_path):
    pixels = [[[0, 0, 0], [255, 0, 0]], [[255, 0, 0], [9, 9, 9]]]
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
        Image.fromarray(np.array(pixels, np.uint8)).save(
            tmp_path / name / 'a.png'
        )
    classes = tmp_path / 'classes.csv'
    classes.write_text('name,r,g,b\nblack,0,0,0\nred,255,0,0\n')
    dataset = ColorMaskDataset(
        class_dict=str(classes),
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        seg_map_suffix='.png',
        pipeline=[dict(type='LoadColorMasks', max_unknown=1)],
    )
    assert count_classes(dataset, 2).tolist() == [[1, 2]]


def test_wrappers_count_in_their_order(tmp_path):
    first = make_set(tmp_path / 'a', LABELS)
    second = make_set(tmp_path / 'b', [[[1, 1]]])
    both = dict(type='ConcatDataset', datasets=[first, second])
    rows = [*COUNTS, [0, 2, 0]] * 2
    assert count_classes(RepeatDataset(both, 2), 3).tolist() == rows
    mixed = MultiImageMixDataset(ConcatDataset([first, second]), [])
    assert count_classes(mixed, 3).tolist() == [*COUNTS, [0, 2, 0]]


def test_balanced_data_sets_repeat_as_they_say(tmp_path):
    dataset = make_set(tmp_path, LABELS)
    dataset.get_cat_ids = lambda index: [[0], [1]][index]
    balanced = ClassBalancedDataset(dataset, oversample_thr=1.0)
    order = balanced.repeat_indices
    assert len(order) > 2
    assert count_classes(balanced, 3).tolist() == [COUNTS[i] for i in order]


def test_each_file_is_read_once(tmp_path, monkeypatch):
    dataset = make_set(tmp_path, LABELS)
    calls = []
    monkeypatch.setattr(
        'mmseg_ext.engine.class_counts.read_label',
        lambda place, read=count_classes.__globals__['read_label']: (
            calls.append(place.position) or read(place)
        ),
    )
    count_classes(RepeatDataset(dataset, 50), 3)
    assert sorted(calls) == [0, 1]


def test_a_data_set_without_labels_is_named(tmp_path):
    dataset = make_set(
        tmp_path, LABELS, data_prefix=dict(img_path='images'), test_mode=True
    )
    with pytest.raises(ValueError, match=r'BaseSegDataset.*0\.png.*no label'):
        count_classes(dataset, 3)


def test_a_pipeline_without_labels_is_named(tmp_path):
    steps = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
    dataset = make_set(tmp_path, LABELS, pipeline=steps)
    message = r'images.0\.png has no label: expected .* LoadAnnotations in'
    with pytest.raises(ValueError, match=message):
        count_classes(dataset, 3)
    bare = make_set(tmp_path, LABELS, pipeline=steps[:1])
    with pytest.raises(ValueError, match=message):
        count_classes(bare, 3)


@pytest.mark.parametrize('number', [0, -1, 2, 4, 19])
def test_another_number_of_classes_is_refused(tmp_path, number):
    dataset = make_set(tmp_path, LABELS)
    with pytest.raises(ValueError, match=f'num_classes={number}: expected 3'):
        count_classes(dataset, number)


def test_void_at_the_end_needs_no_place(tmp_path):
    dataset = make_set(tmp_path, LABELS, names=(*NAMES, 'void'))
    assert count_classes(dataset, 3).tolist() == COUNTS
    assert count_classes(dataset, 4).tolist() == [[*r, 0] for r in COUNTS]


def test_values_that_are_no_class_are_named(tmp_path):
    dataset = make_set(tmp_path, [*LABELS, [[0, 7], [9, 255]]])
    with pytest.raises(
        ValueError, match=r'2\.png holds the value\(s\) 7, 9: expected .* 2'
    ) as caught:
        count_classes(dataset, 3)
    assert 'LabelCheckHook' not in str(caught.value)


@pytest.mark.parametrize('load', ['LoadAnnotations', 'FastLoadAnnotations'])
def test_damaged_and_missing_files_are_named(tmp_path, load):
    dataset = make_set(tmp_path, LABELS, load=load)
    path = tmp_path / 'labels' / '1.png'
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises((OSError, ValueError), match=r'labels.1\.png'):
        count_classes(dataset, 3)
    path.unlink()
    with pytest.raises(OSError, match=r'labels.1\.png'):
        count_classes(dataset, 3)


def test_an_empty_data_set_is_refused(tmp_path):
    dataset = make_set(tmp_path, LABELS, indices=[], serialize_data=False)
    with pytest.raises(ValueError, match='BaseSegDataset is empty'):
        count_classes(dataset, 3)


def test_some_images(tmp_path):
    """Of four parts of a set of eight, one image each, always the same."""
    labels = [np.full((2, 2), index % 3) for index in range(8)]
    labels = [np.pad(label, (0, index)) for index, label in enumerate(labels)]
    dataset = make_set(tmp_path, labels)
    sizes = count_classes(dataset, 3, max_images=4).sum(axis=1)
    # Image k has (k + 2) ** 2 pixels.
    indices = (np.sqrt(sizes) - 2).astype(int).tolist()
    assert [index // 2 for index in indices] == [0, 1, 2, 3]
    again = count_classes(dataset, 3, max_images=4).sum(axis=1)
    assert again.tolist() == sizes.tolist()
    assert len(count_classes(dataset, 3, max_images=9)) == 8
