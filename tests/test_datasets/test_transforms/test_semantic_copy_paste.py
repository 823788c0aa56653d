import numpy as np
import pytest
from mmengine import DefaultScope
from mmseg.datasets import MultiImageMixDataset
from PIL import Image

from mmseg_ext.datasets import SemanticCopyPaste


def make_results(label, base):
    """Return a label, and an image whose pixels tell their place."""
    label = np.asarray(label, np.uint8)
    pixels = np.arange(label.size, dtype=np.uint8).reshape(label.shape) + base
    return dict(img=np.dstack([pixels] * 3), gt_seg_map=label)


TARGET = [[0, 0, 0, 0], [0, 1, 1, 0], [255, 0, 0, 0]]
SOURCE = [[2, 2, 1, 0], [0, 2, 0, 3], [0, 0, 3, 3]]


def paste(target, *others, **options):
    options = dict(min_pixels=1) | options
    results = make_results(target, 0)
    results['mix_results'] = [make_results(other, 100) for other in others]
    return SemanticCopyPaste(**options)(results)


def check(results, label, pasted):
    """Check a label, and that image pixels come from where they should."""
    assert results['gt_seg_map'].tolist() == label
    pasted = np.array(pasted, bool)
    own = make_results(label, 0)['img']
    assert (
        results['img'] == np.where(pasted[..., None], own + 100, own)
    ).all()


def test_pixels_of_a_class_are_pasted():
    check(
        paste(TARGET, SOURCE, classes=[2]),
        [[2, 2, 0, 0], [0, 2, 1, 0], [255, 0, 0, 0]],
        [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
    )


def test_pixels_of_several_classes_are_pasted():
    check(
        paste(TARGET, SOURCE, classes=[3, 2]),
        [[2, 2, 0, 0], [0, 2, 1, 3], [255, 0, 3, 3]],
        [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]],
    )


def test_small_pieces_are_left_out():
    source = [[2, 0, 2, 2], [0, 0, 0, 2], [0, 0, 0, 0]]
    check(
        paste(TARGET, source, classes=[2], min_pixels=3),
        [[0, 0, 2, 2], [0, 1, 1, 2], [255, 0, 0, 0]],
        [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    )


def test_pixels_that_touch_at_a_corner_are_one_piece():
    source = [[2, 0], [0, 2]]
    results = paste(np.zeros((2, 2)), source, classes=[2], min_pixels=2)
    assert results['gt_seg_map'].tolist() == source


def test_no_more_pieces_than_asked_for_and_any_of_them():
    source = np.zeros((3, 9))
    source[1, ::2] = 2  # five pieces
    np.random.seed(0)
    seen = np.zeros(9, int)
    for _ in range(300):
        results = paste(np.zeros((3, 9)), source, classes=[2], max_pieces=2)
        label = results['gt_seg_map']
        assert (label == 2).sum() == 2
        seen += label[1] == 2
    # Two of five, 300 times: 120 each, with a deviation of 8.5.
    assert (abs(seen[::2] - 120) < 45).all()
    assert not seen[1::2].any()


def test_pieces_come_from_all_images():
    results = paste(np.zeros((1, 3)), [[2, 0, 0]], [[0, 0, 3]], classes=[2, 3])
    assert results['gt_seg_map'].tolist() == [[2, 0, 3]]


@pytest.mark.parametrize('size', [(2, 3), (5, 6)])
def test_images_of_other_sizes_are_cut_at_the_edge(size):
    target = np.zeros(size, np.uint8)
    expected = target.copy()
    source = np.zeros((3, 4), np.uint8)
    source[1, :] = source[2, 3] = 2
    expected[1, : min(4, size[1])] = 2
    if size == (5, 6):
        expected[2, 3] = 2
    results = paste(target, source, classes=[2])
    assert results['gt_seg_map'].tolist() == expected.tolist()
    for y, x in np.argwhere(expected == 2):
        assert results['img'][y, x].tolist() == [100 + 4 * y + x] * 3


def test_what_is_given_is_not_written_to():
    results = make_results(TARGET, 0)
    other = make_results(SOURCE, 100)
    before = [array.copy() for r in (results, other) for array in r.values()]
    given = [*results.values(), *other.values()]
    results['mix_results'] = [other]
    SemanticCopyPaste([2], min_pixels=1)(results)
    for array, old in zip(given, before, strict=True):
        assert (array == old).all()


def test_images_are_drawn_as_often_as_asked():
    np.random.seed(0)
    paste = SemanticCopyPaste([2], prob=0.3, num_images=3)
    drawn = [paste.get_indices([None] * 4) for _ in range(1000)]
    assert {len(indices) for indices in drawn} == {0, 3}
    # The deviation of the number is 14.5.
    assert abs(sum(map(bool, drawn)) - 300) < 75
    assert {index for indices in drawn for index in indices} == {0, 1, 2, 3}


def test_a_data_set_of_mmseg(tmp_path):
    """Through files: each image is the label's value times ten."""
    for index, row in enumerate([[0, 0, 0, 0], [2, 2, 1, 0]]):
        label = np.array([row] * 2, np.uint8)
        for name, data in (('images', label * 10), ('labels', label)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(data).save(tmp_path / name / f'{index}.png')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = MultiImageMixDataset(
            dataset=dict(
                type='BaseSegDataset',
                data_root=str(tmp_path),
                data_prefix=dict(img_path='images', seg_map_path='labels'),
                img_suffix='.png',
                metainfo=dict(classes=('a', 'b', 'c')),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='FastLoadAnnotations'),
                ],
            ),
            pipeline=[
                dict(
                    type='SemanticCopyPaste',
                    classes=[2],
                    prob=1.0,
                    min_pixels=1,
                ),
                dict(type='PackSegInputs'),
            ],
        )
    np.random.seed(0)
    seen = set()
    for _ in range(20):
        packed = dataset[0]
        label = packed['data_samples'].gt_sem_seg.data[0]
        assert (packed['inputs'] == label * 10).all()
        seen.add(tuple(label[0].tolist()))
    assert seen == {(0, 0, 0, 0), (2, 2, 0, 0)}


def test_a_place_in_the_inner_pipeline_is_told():
    with pytest.raises(ValueError, match=r'mix_results.*MultiImageMixDataset'):
        SemanticCopyPaste([2])(make_results(TARGET, 0))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(classes=[]), 'indices of the classes'),
        (dict(classes=[2, -1]), 'indices of the classes'),
        (dict(classes=[0.5]), 'indices of the classes'),
        (dict(classes=2), 'classes=2: expected the indices'),
        (dict(classes=['car']), 'indices of the classes'),
        (dict(prob=2), 'prob=2: expected a number from 0 to 1'),
        (dict(prob='a'), "prob='a': expected a number"),
        (dict(num_images=0), 'num_images=0: expected an integer above 0'),
        (dict(num_images=1.5), 'num_images=1.5: expected an integer'),
        (dict(max_pieces=0), 'max_pieces=0: expected an integer'),
        (dict(max_pieces=2.5), 'max_pieces=2.5: expected an integer'),
        (dict(min_pixels=0), 'min_pixels=0: expected an integer'),
        (dict(min_pixels='a'), "min_pixels='a': expected an integer"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        SemanticCopyPaste(**dict(classes=[2]) | options)


def test_classes_that_the_data_set_lacks():
    SemanticCopyPaste([10, 9]).check_classes({11})
    with pytest.raises(ValueError, match='has 11: expected indices below 11'):
        SemanticCopyPaste([9, 11, 10]).check_classes({11})
