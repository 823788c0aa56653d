"""Two runs: what is compared, and what is refused."""

import json

import numpy as np
import pytest

from helpers.compared_runs import count, draw_labels, spoil, write_run
from mmseg_ext.report.compare import compare

NAMES = [f'{drive}/{k}.png' for drive in 'abcdef' for k in range(2)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def runs(rng, tmp_path):
    """Two runs, the second in the other order, with maps in other files."""
    labels = draw_labels(rng)
    first, second = (spoil(rng, labels, share) for share in (0.5, 0.2))
    write_run(tmp_path / 'a', labels, first, names=NAMES)
    write_run(tmp_path / 'b', labels[::-1], second[::-1], names=NAMES[::-1])
    return tmp_path / 'a', tmp_path / 'b', labels, first, second


def naive_iou(labels, predictions):
    """Return IoU of three classes, from pixels of all images."""
    pairs = zip(labels, predictions, strict=True)
    matrix = sum(count(*pair, 3) for pair in pairs)
    union = matrix.sum(0) + matrix.sum(1) - np.diagonal(matrix)
    return np.diagonal(matrix) / union


def test_values(runs):
    folder_a, folder_b, labels, first, second = runs
    found = compare(folder_a, folder_b, '^[^/]+', 500)
    ious = [naive_iou(labels, each) for each in (first, second)]
    for mean, classes, iou in zip(
        found.means, found.classes, ious, strict=True
    ):
        np.testing.assert_allclose(classes.value, iou)
        assert mean.value == pytest.approx(iou.mean())
        assert mean.low < mean.value < mean.high
    gain = ious[1] - ious[0]
    np.testing.assert_allclose(found.class_gains.difference.value, gain)
    assert found.mean_gain.difference.value == pytest.approx(gain.mean())
    assert found.mean_gain.difference.low > 0
    assert found.mean_gain.better > 0.999
    assert found.sequences.number == 6
    single = [
        [
            naive_iou([label], [each]).mean()
            for label, each in zip(labels, run, strict=True)
        ]
        for run in (first, second)
    ]
    np.testing.assert_allclose(found.image_scores, single)
    missing = found.kinds.sum((2, 3))
    np.testing.assert_allclose(missing, 1 - np.array(ious), atol=1e-12)


def test_order_of_the_images_does_not_matter(runs, tmp_path):
    folder_a, folder_b, labels, _, second = runs
    same = write_run(tmp_path / 'c', labels, second, names=NAMES)
    one, other = (compare(folder_a, each) for each in (folder_b, same))
    assert one.mean_gain == other.mean_gain
    np.testing.assert_array_equal(one.image_scores, other.image_scores)


def test_draws_follow_the_seed(runs):
    ends = [
        compare(*runs[:2], None, 200, seed).mean_gain.difference.low
        for seed in (0, 0, 1)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_classes_may_be_left_out(runs):
    found = compare(*runs[:2], exclude=['class 1'])
    kept = found.classes[0].value[[0, 2]]
    assert found.means[0].value == pytest.approx(kept.mean())
    with pytest.raises(ValueError, match=r"\['sky'\] not among the classes"):
        compare(*runs[:2], exclude=['sky'])


def changed(folder, labels, predictions, what):
    """Write a run in which something is not as in the first."""
    options = {'names': list(NAMES)}
    labels = [label.copy() for label in labels]
    if what == 'class':
        options['classes'] = ('class 0', 'klass', 'class 2')
    elif what == 'classes':
        options['classes'] = 4
    elif what == 'images':
        labels, predictions = labels[:-1], predictions[:-1]
        options['names'].pop()
    elif what == 'image':
        options['names'][3] = 'b/other.png'
    elif what == 'size':
        labels[2], predictions[2] = labels[2][:-1], predictions[2][:-1]
    elif what == 'label':
        labels[2][:] = 1
    elif what == 'ignored':
        options['ignore_index'] = 254
    elif what == 'width':
        options['boundary_share'] = 0.01
    return write_run(folder, labels, predictions, **options)


@pytest.mark.parametrize(
    ('what', 'message'),
    [
        pytest.param(
            'class',
            r"class 1 is 'class 1' in the first and 'klass' in the second",
            id='class',
        ),
        pytest.param('classes', r'number of classes is 3 in', id='classes'),
        pytest.param('images', r'number of images is 12 in.* and 11', id='n'),
        pytest.param(
            'image', r"image 3 is 'b/1.png' in .*'b/other.png'", id='image'
        ),
        pytest.param(
            'size',
            r"size of the label of b/0.png is '10x8'.*'10x7'",
            id='size',
        ),
        pytest.param(
            'label',
            r'number of pixels of class \d in the label of b/0.png is \d+',
            id='label',
        ),
        pytest.param('ignored', r'ignored is 255 in the first', id='ignored'),
        pytest.param('width', r'width of boundaries is 0.02', id='width'),
    ],
)
def test_the_first_difference_is_named(runs, tmp_path, what, message):
    folder_a, _, labels, first, _ = runs
    other = changed(tmp_path / 'other', labels, list(first), what)
    with pytest.raises(ValueError, match=message) as caught:
        compare(folder_a, other)
    for folder in (folder_a, other):
        assert str(folder) in str(caught.value)


def test_what_cannot_be_compared(runs, tmp_path):
    folder_a, folder_b, *_ = runs
    with pytest.raises(FileNotFoundError, match='no run directory'):
        compare(folder_a, tmp_path)
    for options, message in (
        ({'bootstrap': 0}, 'bootstrap=0: expected 100 or more'),
        ({'seed': -1}, 'seed=-1: expected 0 or more'),
        ({'cluster': '('}, 'no regular expression'),
    ):
        with pytest.raises(ValueError, match=message):
            compare(folder_a, folder_b, **options)
    empty = write_run(tmp_path / 'empty', [], [])
    with pytest.raises(ValueError, match='has no images'):
        compare(empty, empty)
    meta = json.loads((folder_b / 'meta.json').read_text())
    meta['task'] = 'instance'
    (folder_b / 'meta.json').write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="task is 'semantic' in the first"):
        compare(folder_a, folder_b)
    counts = folder_a / 'per_image.npz'
    counts.write_bytes(counts.read_bytes()[:-40])
    with pytest.raises(ValueError, match='cut off'):
        compare(folder_a, folder_a)


def test_notes(runs, tmp_path, rng):
    """Of what makes the numbers mean less than they seem to."""
    folder_a, _, labels, first, _ = runs
    text = '\n'.join(compare(folder_a, folder_a, bootstrap=100).notes)
    assert 'Each image is taken by itself' in text
    assert 'same checkpoint' not in text
    found = compare(folder_a, folder_a, '^')
    assert 'One sequence alone says nothing' in '\n'.join(found.notes)
    assert np.isnan(found.mean_gain.difference.low)
    twins = [
        write_run(
            tmp_path / name, labels, first, names=NAMES, checkpoint_hash='ab'
        )
        for name in ('c', 'd')
    ]
    assert 'same checkpoint' in '\n'.join(compare(*twins).notes)
