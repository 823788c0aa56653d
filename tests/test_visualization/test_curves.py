import csv
import itertools
import json
import math
import re

import cv2
import numpy as np
import pytest
from markdown_it import MarkdownIt

from mmseg_ext.utils.text import printable, unguarded
from mmseg_ext.visualization.class_iou import (
    ClassIoU,
    draw_class_iou,
    markdown_table,
)
from mmseg_ext.visualization.curves import (
    draw_curves,
    plot_work_dir,
    smooth,
)
from mmseg_ext.visualization.logs import read_history, read_scalars

CLASSES = {'vehicle.car': 81.25, 'a|b': 7.0 / 3, 'sky': 0.0, '$_{$': 100.0}


def _train(step, loss, **more):
    return {'lr': 0.1, 'loss': loss, 'iter': step, 'step': step, **more}


def _valid(step, miou, prefix='', classes=None):
    per_class = {f'{prefix}IoU.{k}': v for k, v in (classes or {}).items()}
    per_class |= {k.replace('IoU.', 'Acc.'): 1.0 for k in per_class}
    return {'aAcc': 9.0, f'{prefix}mIoU': miou, **per_class, 'step': step}


def _write_run(work_dir, time, records, resumed=False):
    path = work_dir / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(r) + '\n' for r in records))
    path.with_name('config.py').write_text(f'a = 1\nresume = {resumed}\n')
    return path


def _write_test(work_dir, time, scores):
    path = work_dir / time / f'{time}.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(scores))
    return path


def _lines(axes):
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.lines
    }


def _read_csv(path):
    with open(path, newline='', encoding='utf-8') as file:
        header, *rows = csv.reader(file)
    assert header == ['class', 'IoU']
    return {name: float(value) for name, value in rows}


@pytest.mark.parametrize('steps', [[5], [1, 2], [1, 2, 3, 4, 5], [5, 9]])
def test_ticks_are_whole_steps(steps):
    figure = draw_curves(read_history([_train(step, 1.0) for step in steps]))
    figure.canvas.draw()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)


def _joined(work_dir, monkeypatch):
    """Return the history that is drawn for a work dir."""
    drawn = []

    def draw(history):
        drawn.append(history)
        return draw_curves(history)

    monkeypatch.setattr('mmseg_ext.visualization.curves.draw_curves', draw)
    plot_work_dir(work_dir, work_dir / 'plots')
    [history] = drawn
    return history


@pytest.mark.parametrize(
    'prefix', [pytest.param('', id='plain'), pytest.param('seg/', id='prefix')]
)
def test_files_hold_the_last_validation(tmp_path, prefix):
    classes = {**CLASSES, 'never seen': math.nan}
    records = [
        _train(50, 2.0),
        _valid(50, 10.0, prefix, dict.fromkeys(classes, 5.0)),
        _train(100, 1.0),
        _valid(100, 45.896, prefix, classes),
    ]
    _write_run(tmp_path / 'work', '20260101_000000', records)
    out_dir = tmp_path / 'deep' / 'out'
    files, notes = plot_work_dir(tmp_path / 'work', out_dir)
    assert notes == []
    assert sorted(files) == sorted(out_dir.iterdir())
    assert {path.name for path in files} == {
        'curves.png',
        'class_iou.png',
        'class_iou.md',
        'class_iou.csv',
    }
    table = _read_csv(out_dir / 'class_iou.csv')
    assert list(table) == list(classes)
    np.testing.assert_array_equal(list(table.values()), list(classes.values()))
    assert (out_dir / 'class_iou.md').read_text().splitlines() == [
        '| Class | IoU |',
        '| --- | ---: |',
        '| vehicle.car | 81.25 |',
        r'| a\|b | 2.33 |',
        '| sky | 0.00 |',
        r'| \$\_{\$ | 100.00 |',
        '| never seen | absent |',
        '| **mIoU** | 45.90 |',
    ]
    for name in ('curves.png', 'class_iou.png'):
        picture = cv2.imread(str(out_dir / name))
        assert min(picture.shape[:2]) > 200
        # White paper with something on it.
        ink = (picture < 255).any(axis=-1).mean()
        assert 0.005 < ink < 0.6


def test_curves():
    records = [
        _train(50, 2.0, **{'decode.loss_ce': 1.5, 'decode.acc_seg': 30.0}),
        _train(100, math.nan, **{'decode.loss_ce': 1.25}),
        _valid(100, 20.0),
        _train(150, 0.5, **{'decode.loss_ce': 1.0}),
        _valid(160, 40.0),
    ]
    figure = draw_curves(read_history(records))
    losses, scores, rates = figure.axes
    steps, values = _lines(losses).pop('loss')
    assert steps == [50, 100, 150]
    np.testing.assert_array_equal(values, [2.0, math.nan, 0.5])
    assert _lines(losses)['decode.loss_ce'][1] == [1.5, 1.25, 1.0]
    assert set(_lines(losses)) == {'loss', 'decode.loss_ce'}
    assert _lines(scores) == {'mIoU': ([100, 160], [20.0, 40.0])}
    assert scores.get_xlabel() == 'iteration'
    assert scores.get_ylabel() == 'percent'
    assert _lines(rates) == {'lr': ([50, 100, 150], [0.1] * 3)}
    assert rates.get_xlabel() == 'iteration'


def test_points_that_no_line_joins_are_seen():
    records = [_train(1, 2.0, loss_a=1.0), _train(2, math.nan, loss_a=1.5)]
    records += [_train(3, 0.5, loss_a=math.nan)]
    losses, _ = draw_curves(read_history(records)).axes
    markers = {line.get_label(): line.get_marker() for line in losses.lines}
    assert markers == {'loss': 'o', 'loss_a': ''}
    assert not losses.texts


def test_a_panel_without_a_finite_value_says_so():
    records = [_train(1, math.nan), _train(2, math.inf)]
    losses, rates = draw_curves(read_history(records)).axes
    [text] = losses.texts
    assert text.get_text() == 'no finite value: all are NaN or infinite'
    assert not rates.texts


def test_rates_of_several_optimizers():
    record = {'iter': 1, 'step': 1, 'generator.lr': 0.5, 'critic.base_lr': 2}
    history = read_history([record | {'loss': 1.0, 'blr': 3.0, 'lrs': 4.0}])
    assert history.rates == {
        'generator.lr': ([1], [0.5]),
        'critic.base_lr': ([1], [2]),
    }


def test_many_points_are_smoothed():
    losses = np.random.default_rng(0).random(100)
    losses[[7, 60]] = math.nan, math.inf
    records = [_train(n, loss) for n, loss in enumerate(losses.tolist())]
    axes, _ = draw_curves(read_history(records)).axes
    raw, smoothed = axes.lines
    np.testing.assert_array_equal(raw.get_ydata(), losses)
    means = [
        np.mean([x for x in losses[max(n - 2, 0) : n + 3] if np.isfinite(x)])
        if np.isfinite(losses[n])
        else math.nan
        for n in range(100)
    ]
    np.testing.assert_allclose(smoothed.get_ydata(), means)
    assert raw.get_color() == smoothed.get_color()
    assert raw.get_linewidth() < smoothed.get_linewidth()
    assert raw.get_alpha() < 0.5
    assert raw.get_zorder() < smoothed.get_zorder()
    [text] = axes.legend_.get_texts()
    assert text.get_text() == 'loss (mean of 5 points)'


def test_smoothing_loses_nothing_beside_large_values():
    values = [3e38, -3e38, 1.0, 2.0, 3.0]
    np.testing.assert_allclose(smooth(values, 3)[3:], [2.0, 2.5])


@pytest.mark.parametrize(
    ('points', 'window'), [(1, 1), (39, 1), (40, 3), (99, 5), (5000, 101)]
)
def test_window_of_the_smoothing(points, window):
    history = read_history([_train(n, 1.0) for n in range(points)])
    axes = draw_curves(history).axes[0]
    [text] = axes.legend_.get_texts()
    expected = f'loss (mean of {window} points)' if window > 1 else 'loss'
    assert text.get_text() == expected


def test_curves_of_a_detector_validated_by_epoch():
    scores = {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.3}
    records = [
        _train(50, 3.0, loss_rpn_bbox=1.0, epoch=1),
        {**scores, 'coco/segm_mAP': 0.2, 'step': 1},
        _train(150, 2.0, loss_rpn_bbox=0.5, epoch=2),
        {**scores, 'coco/segm_mAP': 0.4, 'step': 2},
    ]
    upper, lower, rates = draw_curves(read_history(records)).axes
    assert _lines(rates) == {'lr': ([50, 150], [0.1, 0.1])}
    assert _lines(upper) == {
        'loss': ([50, 150], [3.0, 2.0]),
        'loss_rpn_bbox': ([50, 150], [1.0, 0.5]),
    }
    assert _lines(lower) == {
        'coco/bbox_mAP': ([1, 2], [0.1, 0.1]),
        'coco/segm_mAP': ([1, 2], [0.2, 0.4]),
    }
    assert (lower.get_xlabel(), lower.get_ylabel()) == ('epoch', 'mAP')


def test_validations_that_an_iteration_loop_counts_by_epoch():
    records = [_train(50, 3.0), _valid(0, 1.0), _train(100, 2.0)]
    records.append(_valid(0, 2.0))
    history = read_history(records)
    assert history.scores == {'mIoU': ([50, 100], [1.0, 2.0])}
    assert history.scores_over == 'iteration'


def test_bars():
    classes = {**CLASSES, 'never seen': math.nan}
    [axes] = draw_class_iou(ClassIoU(classes, 45.5, 'a test')).axes
    assert [bar.get_width() for bar in axes.patches] == [
        *CLASSES.values(),
        0.0,
    ]
    assert [t.get_text() for t in axes.get_yticklabels()] == list(classes)
    numbers = [text.get_text() for text in axes.texts]
    assert numbers == ['81.25', '2.33', '0.00', '100.00', 'absent']
    assert _lines(axes)['mIoU 45.50'][0] == [45.5, 45.5]
    assert axes.yaxis_inverted()
    assert 'a test' in axes.get_title()
    assert axes.get_xlim() == (0, 100)
    # Nothing is drawn through the numbers.
    axes.figure.canvas.draw()
    right = axes.get_window_extent().x1
    assert all(text.get_window_extent().x0 > right for text in axes.texts)


def test_a_resumed_run_goes_on_and_a_new_one_does_not(tmp_path, monkeypatch):
    _write_run(tmp_path, '20260101_000000', [_train(1, 99.0)])
    first = [_train(50, 9.0), _valid(50, 1.0), _train(100, 8.0)]
    first += [_valid(100, 2.0), _train(150, 7.0)]
    _write_run(tmp_path, '20260102_000000', first)
    # From the checkpoint of iteration 50; what came after it is done again.
    second = [_train(100, 6.0), _valid(100, 3.0)]
    _write_run(tmp_path, '20260103_000000', second, resumed=True)
    history = _joined(tmp_path, monkeypatch)
    assert history.losses == {'loss': ([50, 100], [9.0, 6.0])}
    assert history.scores == {'mIoU': ([50, 100], [1.0, 3.0])}


def test_the_newer_of_validation_and_test_counts(tmp_path):
    out = tmp_path / 'plots'
    test = {'mIoU': 1.0, 'IoU.sky': 1.0}
    _write_test(tmp_path, '20260101_000000', test)
    plot_work_dir(tmp_path, out)
    assert _read_csv(out / 'class_iou.csv') == {'sky': 1.0}
    assert not (out / 'curves.png').exists()
    validation = _valid(50, 2.0, classes={'sky': 2.0})
    _write_run(tmp_path, '20260102_000000', [_train(50, 1.0), validation])
    plot_work_dir(tmp_path, out)
    assert _read_csv(out / 'class_iou.csv') == {'sky': 2.0}
    _write_test(tmp_path, '20260103_000000', {**test, 'IoU.sky': 3.0})
    # Newer still, but without classes.
    _write_test(tmp_path, '20260104_000000', {'mIoU': 4.0})
    plot_work_dir(tmp_path, out)
    assert _read_csv(out / 'class_iou.csv') == {'sky': 3.0}


def test_what_is_missing_is_said(tmp_path):
    path = _write_run(tmp_path / 'a', '20260101_000000', [_train(50, 1.0)])
    files, notes = plot_work_dir(tmp_path / 'a', tmp_path / 'out')
    assert [file.name for file in files] == ['curves.png']
    assert notes == [f'no mIoU or mAP of a validation yet in {path}']

    records = [_train(50, 1.0), _valid(50, 2.0)]
    _write_run(tmp_path / 'b', '20260101_000000', records)
    files, [note] = plot_work_dir(tmp_path / 'b', tmp_path / 'out')
    assert [file.name for file in files] == ['curves.png']
    assert 'no IoU per class' in note
    assert 'test_evaluator.type=IoU' in note


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        pytest.param('', 'scalars.json: empty', id='empty'),
        pytest.param(
            '{"step": 1, "lo\n{"step": 2, "loss": 2.0}\n',
            'scalars.json, line 1: broken',
            id='broken in the middle',
        ),
        pytest.param(
            '{"step": 1, "lo', 'line 1: broken', id='only line is cut off'
        ),
        pytest.param(
            '{"step": NaN, "loss": 2.0}',
            'step is nan; expected',
            id='NaN step',
        ),
        pytest.param(
            f'{{"step": {"9" * 400}, "loss": 2.0}}',
            'step is inf; expected',
            id='step of 400 digits',
        ),
        pytest.param(
            '[1]\n', 'line 1: expected a JSON object', id='no object'
        ),
        pytest.param('{"loss": 2.0}', 'line 1: step is None', id='no step'),
        pytest.param(
            '{"step": 1, "loss": "low"}', "loss is 'low'", id='no number'
        ),
        pytest.param(
            '{"step": 1, "lr": 0.5, "iter": 1}',
            'nothing to draw',
            id='no loss',
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = _write_run(tmp_path, '20260101_000000', [])
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        plot_work_dir(tmp_path, tmp_path / 'out')
    assert str(path) in str(caught.value)
    assert not (tmp_path / 'out').exists()


def test_a_broken_test_result_is_named(tmp_path):
    path = _write_test(tmp_path, '20260101_000000', {})
    path.write_text('{"mIoU":')
    with pytest.raises(ValueError, match='broken') as caught:
        plot_work_dir(tmp_path, tmp_path)
    assert str(path) in str(caught.value)


def test_no_scalars(tmp_path):
    with pytest.raises(FileNotFoundError, match='of a training and no'):
        plot_work_dir(tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        plot_work_dir(tmp_path / 'gone', tmp_path)


def test_blank_lines_do_not_matter(tmp_path):
    path = tmp_path / 'scalars.json'
    path.write_text('\n{"step": 1}\n\n{"step": 2}\n\n')
    assert read_scalars(path) == [{'step': 1}, {'step': 2}]


@pytest.mark.parametrize(
    'tail',
    [
        pytest.param('{"step": 3, "lo', id='half'),
        pytest.param('\0' * 300, id='NUL bytes'),
        pytest.param(
            f'{{"step": 3, "loss": {"9" * 5000}}}', id='5,000 digits'
        ),
        pytest.param('{"step": 3, "a": "\udcc3', id='half of a letter'),
    ],
)
def test_a_killed_training_is_drawn_up_to_its_end(tmp_path, monkeypatch, tail):
    path = _write_run(tmp_path, '20260101_000000', [_train(1, 3.0)])
    with open(path, 'ab') as file:
        file.write(b'{"step": 2, "iter": 2, "loss": 2.0}\n')
        file.write(tail.encode('utf-8', 'surrogateescape'))
    assert [record['loss'] for record in read_scalars(path)] == [3.0, 2.0]
    history = _joined(tmp_path, monkeypatch)
    assert history.losses == {'loss': ([1, 2], [3.0, 2.0])}
    note, _ = plot_work_dir(tmp_path, tmp_path / 'plots').notes
    assert note.startswith(f'{path}, line 3: broken, ')
    assert note.endswith('left out as the last line, cut off')


def test_what_a_killed_run_left_does_not_hide_another(tmp_path):
    """Neither an empty file of scalars nor half of a test's result."""
    validation = _valid(1, 2.0, classes={'sky': 2.0})
    _write_run(tmp_path, '20260101_000000', [_train(1, 3.0), validation])
    empty = _write_run(tmp_path, '20260102_000000', [], resumed=True)
    half = _write_test(tmp_path, '20260103_000000', {})
    half.write_text('{"mIoU": 3.0, "IoU.sk')
    files, notes = plot_work_dir(tmp_path, tmp_path / 'plots')
    assert len(files) == 4
    assert _read_csv(tmp_path / 'plots/class_iou.csv') == {'sky': 2.0}
    assert [note.partition(': ')[0] for note in notes] == [
        str(empty),
        str(half),
    ]


def test_numbers_beyond_all_bounds(tmp_path, monkeypatch):
    path = _write_run(tmp_path, '20260101_000000', [])
    big = '1' + '0' * 400
    values = ('2.0', big, f'-{big}', 'NaN', 'Infinity', '1e308', '1.0')
    path.write_text(
        ''.join(
            f'{{"step": {n}, "iter": {n}, "loss": {value}}}\n'
            for n, value in enumerate(values)
        )
        + f'{{"step": 6, "mIoU": {big}, "IoU.a": {big}, "IoU.b": 5.0, '
        f'"IoU.c": 1{"0" * 30}}}\n'
    )
    history = _joined(tmp_path, monkeypatch)
    inf = math.inf
    np.testing.assert_array_equal(
        history.losses['loss'].values,
        [2.0, inf, -inf, math.nan, inf, inf, 1.0],
    )
    table = _read_csv(tmp_path / 'plots/class_iou.csv')
    assert table == {'a': inf, 'b': 5.0, 'c': 1e30}
    upper, *_ = draw_curves(history).axes
    assert upper.get_ylim() == pytest.approx((0.95, 2.05))
    [axes] = draw_class_iou(ClassIoU(table, inf, 'a test')).axes
    assert [bar.get_width() for bar in axes.patches] == [0.0, 5.0, 1e30]


def test_a_link_to_a_run_is_not_another_run(tmp_path):
    """``latest`` would be newer than any test, by its name."""
    validation = _valid(1, 2.0, classes={'sky': 2.0})
    _write_run(tmp_path, '20260101_000000', [_train(1, 3.0), validation])
    (tmp_path / 'latest').symlink_to('20260101_000000')
    (tmp_path / 'l').symlink_to('.')
    _write_test(tmp_path, '20260102_000000', {'mIoU': 3.0, 'IoU.sky': 3.0})
    plot_work_dir(tmp_path, tmp_path / 'plots')
    assert _read_csv(tmp_path / 'plots/class_iou.csv') == {'sky': 3.0}


HOSTILE = (
    *('<script>alert(1)</script>', '[x](javascript:alert(1))', '![x](y.png)'),
    *('two\nlines', 'a | b', '\\', '`code`', '*a*', '__ignore__', '_a_'),
    *('https://x.org', 'www.x.org', 'a@x.org', '&lt;', '<https://x.org>'),
    *('~~a~~', 'a_b_c', '# a', '- a', '1. a', '=cmd', 'café', '\u0645'),
    *('\udcff', 'a\rb', '$x$', '<!--', '[x]: y', 'a\\|b', '**'),
)


def test_names_are_no_markdown():
    table = markdown_table(
        ClassIoU(dict.fromkeys(HOSTILE, 1.0), None, 'a test')
    )
    tree = MarkdownIt('commonmark').enable('table').parse(table)
    cells = [
        (token.content, token.children)
        for before, token in itertools.pairwise(tree)
        if before.type == 'td_open'
    ]
    kinds = {child.type for _, children in cells for child in children}
    assert kinds <= {'text', 'text_special'}
    shown = [
        ''.join(child.content for child in children)
        for _, children in cells[::2]
    ]
    assert shown == [printable(name) for name in HOSTILE]
    # GitHub makes links of these without brackets.
    assert not re.search('https?://|www[.]|@', table)
    table.encode()


def test_names_are_no_formulas_and_can_be_written(tmp_path):
    path = _write_test(
        tmp_path,
        '20260101_000000',
        {'mIoU': 1.0} | {f'IoU.{name}': 1.0 for name in HOSTILE},
    )
    assert path.exists()
    files, _ = plot_work_dir(tmp_path, tmp_path / 'plots')
    assert len(files) == 3
    table = _read_csv(tmp_path / 'plots/class_iou.csv')
    names = [r'\xff' if name == '\udcff' else name for name in HOSTILE]
    assert [unguarded(name) for name in table] == names
    assert {"'=cmd", "'- a"} <= table.keys()


def test_losses_of_any_name():
    history = read_history([_train(1, 1.0, **{'loss_$_{$': 1.0})])
    figure = draw_curves(history)
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.axes[0].legend_.get_texts()]
    assert texts == ['loss', 'loss_$_{$']
