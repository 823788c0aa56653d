import csv
import itertools
import json
import math
from functools import partial
from io import BytesIO, StringIO

import numpy as np
import pytest

from mmseg_ext.visualization import curves
from mmseg_ext.visualization.class_iou import ClassIoU
from mmseg_ext.visualization.confusion import (
    ConfusionMatrix,
    class_iou_of,
    confusion_csv,
    confusion_markdown,
    draw_confusion,
    read_confusion,
    worst_confusions,
    write_confusion,
)

COUNTS = np.array(
    [
        [50, 41, 9, 0],
        [0, 7, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 999],
    ]
)
MATRIX = ConfusionMatrix(['Pole', 'Tree', 'sky', '$_{$ 干'], COUNTS, 'a test')


def _random(number):
    counts = np.random.default_rng(0).integers(1, 99, (number, number))
    names = [f'class {index}' for index in range(number)]
    return ConfusionMatrix(names, counts, 'test of 20260101_000000')


def _same(one, other):
    np.testing.assert_array_equal(one.counts, other.counts)
    return one.classes == other.classes and one.source == other.source


def test_a_matrix_is_kept_and_read(tmp_path):
    path = tmp_path / 'deep' / 'confusion.json'
    names = ['Pole', '\udcff', 'two\nlines', '干']
    counts = COUNTS.copy()
    counts[0, 0] = 1 << 60
    matrix = ConfusionMatrix(names, counts, 'a test')
    write_confusion(matrix, path)
    assert _same(read_confusion(path), matrix)
    assert json.loads(path.read_text())['matrix'] == counts.tolist()


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[1]',
        '"text"',
        '{}',
        '[' * 100_000,
        '{"source": 1, "classes": ["a"], "matrix": [[1]]}',
        '{"source": "", "classes": [1], "matrix": [[1]]}',
        '{"source": "", "classes": [], "matrix": []}',
        '{"source": "", "classes": ["a", "b"], "matrix": [[1]]}',
        '{"source": "", "classes": ["a", "b"], "matrix": [[1, 2], [1]]}',
        '{"source": "", "classes": ["a"], "matrix": [[1.5]]}',
        '{"source": "", "classes": ["a"], "matrix": [[-1]]}',
        '{"source": "", "classes": ["a"], "matrix": [[true]]}',
        f'{{"source": "", "classes": ["a"], "matrix": [[{"9" * 30}]]}}',
    ],
)
def test_what_is_no_matrix_is_named(tmp_path, text):
    path = tmp_path / 'confusion.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='expected the confusion') as caught:
        read_confusion(path)
    assert str(path) in str(caught.value)


def test_rows_are_parts_of_the_labels():
    figure = draw_confusion(MATRIX)
    axes, scale = figure.axes
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(
        shown.filled(-1),
        [[0.5, 0.41, 0.09, 0], [0, 1, 0, 0], [-1] * 4, [0.001, 0, 0, 0.999]],
    )
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {
        **{(0, 0): '0.50', (1, 0): '0.41', (2, 0): '0.09', (3, 0): '0'},
        **{(0, 1): '0', (1, 1): '1', (2, 1): '0', (3, 1): '0'},
        **{(0, 3): '0.00', (1, 3): '0', (2, 3): '0', (3, 3): '1.00'},
    }
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == MATRIX.classes
    assert 'a test' in axes.get_title()
    assert axes.get_xlabel() == 'prediction'
    assert axes.get_ylabel() == 'label (gray: no pixel has it)'
    # The gray is in the picture.
    assert axes.images[0].cmap.get_bad()[:3] == pytest.approx([0.827] * 3, 0.1)
    assert scale.get_ylim() == (0, 1)


@pytest.mark.parametrize('number', [1, 20, 65])
def test_any_number_of_classes(number):
    figure = draw_confusion(_random(number))
    # At a few pixels an inch it is quick.
    figure.savefig(BytesIO(), format='png', dpi=20)
    axes = figure.axes[0]
    assert len(axes.texts) == (number**2 if number <= 20 else 0)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f'class {n}' for n in range(number)]
    assert axes.get_ylabel() == 'label'
    # Names do not run into each other.
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(b.y1 <= a.y0 + 1 for a, b in itertools.pairwise(boxes))
    # Nor do they leave no place for the matrix.
    box = axes.get_window_extent()
    assert box.width > 0.4 * figure.bbox.width


def test_of_many_names_every_third_is_shown():
    labels = draw_confusion(_random(400)).axes[0].get_yticklabels()
    names = [label.get_text() for label in labels]
    assert names == [f'class {n}' for n in range(0, 400, 3)]


def test_worst_confusions_in_words():
    assert worst_confusions(MATRIX, 2) == [
        ('Pole', 'Tree', 41, 100),
        ('Pole', 'sky', 9, 100),
    ]
    assert confusion_markdown(MATRIX).splitlines() == [
        'Worst confusions, a test:',
        '',
        '- Pole is taken for Tree: 41 % (41 of 100 pixels)',
        '- Pole is taken for sky: 9 % (9 of 100 pixels)',
        r'- \$\_{\$ 干 is taken for Pole: 0.1 % (1 of 1000 pixels)',
    ]
    header, *rows = csv.reader(StringIO(confusion_csv(MATRIX)))
    assert header == ['label', 'prediction', 'percent', 'pixels', 'labeled']
    assert rows == [
        ['Pole', 'Tree', '41.0', '41', '100'],
        ['Pole', 'sky', '9.0', '9', '100'],
        ['$_{$ 干', 'Pole', '0.1', '1', '1000'],
    ]


def test_the_ten_worst_of_many():
    matrix = _random(12)
    shares = {
        (matrix.classes[r], matrix.classes[c]): matrix.counts[r, c]
        / matrix.counts[r].sum()
        for r in range(12)
        for c in range(12)
        if r != c
    }
    worst = sorted(shares, key=shares.get, reverse=True)[:10]
    assert [pair[:2] for pair in worst_confusions(matrix)] == worst


def test_no_confusions():
    matrix = MATRIX._replace(counts=np.diag([1, 2, 0, 3]))
    assert worst_confusions(matrix) == []
    assert 'No pixel is taken' in confusion_markdown(matrix)
    assert len(confusion_csv(matrix).splitlines()) == 1


def test_names_are_no_formulas_and_can_be_written():
    matrix = MATRIX._replace(classes=['=a', '\udcff', 'c', 'd'])
    assert confusion_csv(matrix).splitlines()[1].startswith("'=a,\\xff,")
    confusion_markdown(matrix).encode()


def test_iou_of_a_matrix():
    counts = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    matrix = ConfusionMatrix(['a', 'b', 'c'], counts, 'x')
    values, mean, source = class_iou_of(matrix, 53.5, 'y')
    assert (mean, source) == (53.5, 'y')
    assert values == pytest.approx(
        {'a': 50.0, 'b': 400 / 7, 'c': math.nan}, nan_ok=True
    )


def _write_run(work_dir, time, scores, matrix=None, training=True):
    folder = work_dir / time
    path = folder / f'{time}.json'
    if training:
        path = folder / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(scores) + '\n')
    if training:
        path.with_name('config.py').write_text('resume = False\n')
    if matrix:
        write_confusion(matrix, folder / 'vis_data' / 'confusion.json')
    return folder


def _drawn(work_dir, monkeypatch):
    """Return the matrix and the IoU that are drawn, and the notes."""
    drawn = {}
    for name in ('draw_confusion', 'draw_class_iou'):
        monkeypatch.setattr(curves, name, partial(drawn.__setitem__, name))
    monkeypatch.setattr(curves, '_save', lambda *_: None)
    report = curves.plot_work_dir(work_dir, work_dir / 'plots')
    return drawn, report


def test_the_newest_matrix_is_drawn(tmp_path, monkeypatch):
    valid = {'step': 5, 'mIoU': 12.5}
    first = MATRIX._replace(source='validation at iteration 5')
    _write_run(tmp_path, '20260101_000000', valid, first)
    # Another training without a validation: what was before is not its own.
    other = tmp_path / 'other'
    _write_run(other, '20260101_000000', valid, first)
    _write_run(other, '20260102_000000', {'step': 1, 'iter': 1, 'loss': 1.0})
    drawn, _ = _drawn(other, monkeypatch)
    assert drawn == {}

    drawn, report = _drawn(tmp_path, monkeypatch)
    assert _same(drawn['draw_confusion'], first)
    # Without IoU of classes in the log.
    expected = class_iou_of(first, 12.5, 'validation at iteration 5')
    assert isinstance(drawn['draw_class_iou'], ClassIoU)
    np.testing.assert_equal(drawn['draw_class_iou'], expected)
    assert {path.name for path in report.files} == {
        *(f'class_iou.{ending}' for ending in ('png', 'md', 'csv')),
        *(f'confusion.{ending}' for ending in ('png', 'md', 'csv')),
    } | {'curves.png'}
    assert report.notes == []

    # A test with IoU of classes and without a matrix, then one with both.
    scores = {'mIoU': 1.0, 'IoU.Pole': 1.0}
    _write_run(tmp_path, '20260102_000000', scores, training=False)
    drawn, _ = _drawn(tmp_path, monkeypatch)
    assert _same(drawn['draw_confusion'], first)
    assert drawn['draw_class_iou'].values == {'Pole': 1.0}
    test = MATRIX._replace(counts=COUNTS.T)
    _write_run(tmp_path, '20260103_000000', scores, test, training=False)
    drawn, _ = _drawn(tmp_path, monkeypatch)
    assert _same(drawn['draw_confusion'], test)


def test_a_broken_matrix_does_not_hide_another(tmp_path, monkeypatch):
    _write_run(tmp_path, '20260101_000000', {'step': 5, 'mIoU': 1.0}, MATRIX)
    folder = _write_run(
        tmp_path, '20260102_000000', {'mIoU': 2.0}, MATRIX, training=False
    )
    (folder / 'vis_data' / 'confusion.json').write_text('{"source"')
    drawn, report = _drawn(tmp_path, monkeypatch)
    assert _same(drawn['draw_confusion'], MATRIX)
    [note] = report.notes
    assert str(folder / 'vis_data' / 'confusion.json') in note
    assert note.endswith('left out')
