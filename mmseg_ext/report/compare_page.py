"""The page of a comparison: one HTML file, to be opened and sent on."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmseg_ext.formats.run_records import KINDS, Meta
from mmseg_ext.report.bootstrap import (
    LEVEL,
    RESAMPLES,
    Estimates,
    Gains,
    stars,
)
from mmseg_ext.report.compare import compare
from mmseg_ext.report.compare_pictures import draw_changes, draw_detections
from mmseg_ext.report.comparison import Comparison
from mmseg_ext.report.instance_numbers import MEANINGS
from mmseg_ext.report.pictures import KIND_COLORS, class_colors
from mmseg_ext.visualization import web_page
from mmseg_ext.visualization.web_page import (
    Bar,
    BarChart,
    Cell,
    Interval,
    IntervalChart,
    Table,
    hex_color,
    number_cell,
)

__all__ = ['compare_runs_to_page', 'verdict', 'write_page']

_TEMPLATE = Path(__file__).with_name('templates') / 'compare.html'

#: Images of a table that were won, and as many that were lost; of these so
#: many have pictures.
_ROWS, _PICTURES = 50, 6

#: Classes of the chart at most: those that changed most.
_BARS = 60


def compare_runs_to_page(
    run_a: str | os.PathLike[str],
    run_b: str | os.PathLike[str],
    out: str | os.PathLike[str],
    cluster: str | None = None,
    bootstrap: int = RESAMPLES,
    seed: int = 0,
    exclude: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """Compare two runs and write the page of it.

    Args:
        run_a: See :func:`compare`.
        run_b: See :func:`compare`.
        out: The file to write. Missing parent folders are made.
        cluster: See :func:`compare`.
        bootstrap: See :func:`compare`.
        seed: See :func:`compare`.
        exclude: See :func:`compare`.

    Returns:
        What :func:`verdict` says, and the notes.

    Raises:
        ValueError: See :func:`compare`.
        OSError: A file cannot be read, or the page not be written.
    """
    if os.path.isdir(out):
        raise IsADirectoryError(
            f'out={os.fspath(out)!r} is a folder; expected the name of a '
            'file, such as compare.html'
        )
    comparison = compare(run_a, run_b, cluster, bootstrap, seed, exclude)
    return verdict(comparison), write_page(comparison, out)


def verdict(comparison: Comparison) -> str:
    """Return in a sentence whether B is better.

    Args:
        comparison: Of two runs.
    """
    gain = comparison.mean_gain
    value, low, high = (float(end) for end in gain.difference)
    name = comparison.mean_score
    if math.isnan(value):
        return f'There is no {name} in one of the runs, so none is better.'
    before, after = (float(each.value) for each in comparison.means)
    if value == 0:
        return f'No difference: {name} is {_percent(before)} % in both.'
    change = (
        f'{name} goes from {_percent(before)} to {_percent(after)} %, '
        f'{_signed(value)} points'
    )
    if math.isnan(low):
        return f'{change}; whether that is by chance cannot be told.'
    change += f' (95 % interval {_signed(low)} to {_signed(high)})'
    if low <= 0 <= high:
        return f'The difference may be by chance: {change}.'
    return f'B is {"better" if value > 0 else "worse"}: {change}.'


def write_page(
    comparison: Comparison, path: str | os.PathLike[str]
) -> list[str]:
    """Write a comparison as a web page, whole or not at all.

    Args:
        comparison: Of two runs.
        path: The file to write. Missing parent folders are made.

    Returns:
        The notes of the comparison, and those of pictures that cannot be
        shown.

    Raises:
        OSError: It cannot be written.
    """
    notes = list(comparison.notes)
    order = _by_gain(comparison)
    won = [k for k in order[:_PICTURES] if _gain(comparison, k) > 0]
    lost = [k for k in order[::-1][:_PICTURES] if _gain(comparison, k) < 0]
    draw = draw_changes if comparison.detected is None else draw_detections
    drawn = draw(comparison, [*won, *lost], notes)
    names = {comparison.names[k] for k in won}
    web_page.write_page(
        path,
        _TEMPLATE,
        level=f'{LEVEL:.0%}'.replace('%', ' %'),
        verdict=verdict(comparison),
        notes=notes,
        chips=_chips(comparison),
        name=' and '.join(_names(comparison)),
        score=comparison.score,
        mean_score=comparison.mean_score,
        runs=_runs(comparison),
        chart=_chart(comparison),
        classes=_classes(comparison),
        kinds=_kind_chart(comparison),
        kind_table=_kind_table(comparison),
        error_table=_error_table(comparison),
        images=_images(comparison, order),
        won=[one for one in drawn if one.caption in names],
        lost=[one for one in drawn if one.caption not in names],
    )
    return notes


def _gain(comparison: Comparison, image: int) -> float:
    before, after = comparison.image_scores[:, image]
    return float(after - before)


def _by_gain(comparison: Comparison) -> list[int]:
    """Return the images by what they won, those without a score left out."""
    gains = comparison.image_scores[1] - comparison.image_scores[0]
    order = np.argsort(-gains, kind='stable')
    return [int(k) for k in order if not np.isnan(gains[k])]


def _names(comparison: Comparison) -> list[str]:
    """Return what tells the runs apart: the ends of their paths."""
    paths = [run.folder.absolute() for run in comparison.runs]
    names = [path.name for path in paths]
    if names[0] == names[1]:
        names = [os.path.join(*path.parts[-4:]) for path in paths]
    return names


# Numbers as texts.


def _percent(value: float) -> str:
    return '' if math.isnan(value) else f'{value * 100:.2f}'


def _signed(value: float) -> str:
    """Return a difference in points."""
    if math.isnan(value):
        return ''
    # No -0.00.
    return f'{round(value * 100, 2) + 0.0:+.2f}'


def _cell(value: float, signed: bool = False) -> Cell:
    """Return a score or difference as a cell; empty for NaN."""
    if math.isnan(value):
        return Cell('')
    return Cell(_signed(value) if signed else _percent(value), value)


def _range(estimate: tuple[float, float, float], signed: bool) -> str:
    """Return a value with its interval."""
    write = _signed if signed else _percent
    value, low, high = map(write, estimate)
    return f'{value} ({low} to {high})' if low else value


def _at(estimates: Estimates, index: int) -> tuple[float, float, float]:
    value, low, high = (float(each[index]) for each in estimates)
    return value, low, high


# Parts of the page.


def _chips(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the numbers at the top, and what they are."""
    name, gain = comparison.mean_score, comparison.mean_gain
    chips = [
        (_range(_one(each), False) or 'none', f'{name} of {run}')
        for each, run in zip(comparison.means, 'AB', strict=True)
    ]
    chips.append((_range(_one(gain.difference), True) or 'none', 'difference'))
    if not np.isnan(gain.better):
        chips.append((_likely(float(gain.better)), 'that B is better'))
    return chips


def _one(estimates: Estimates) -> tuple[float, float, float]:
    value, low, high = (float(each) for each in estimates)
    return value, low, high


def _likely(share: float) -> str:
    """Return a probability: of so many draws none is sure."""
    if share < 0.001:
        return '< 0.1 %'
    if share > 0.999:
        return '> 99.9 %'
    return f'{share * 100:.1f} %'


def _runs(comparison: Comparison) -> Table:
    """Return what was compared."""
    rows = []
    for name, run in zip('AB', comparison.runs, strict=True):
        meta: Meta = run.meta
        rows.append(
            [
                Cell(name),
                Cell(str(run.folder), kind='path'),
                Cell(meta.checkpoint, kind='path'),
                Cell(meta.checkpoint_hash[:12], kind='code'),
                Cell(meta.config, kind='path'),
                Cell(meta.dataset, kind='code'),
                Cell(meta.split, kind='code'),
                Cell('')
                if meta.iteration is None
                else number_cell(meta.iteration),
                number_cell(meta.images),
            ]
        )
    heads = ('run', 'directory', 'checkpoint', 'SHA-256', 'config')
    more = ('data set', 'split', 'iteration', 'images')
    return Table('The two runs', (*heads, *more), rows)


def _colors(comparison: Comparison) -> list[str]:
    return [hex_color(each) for each in class_colors(comparison.runs[0].meta)]


def _present_first(comparison: Comparison) -> list[int]:
    """Return the classes, those without a score in either run last."""
    first, second = (each.value for each in comparison.classes)
    absent = np.isnan(first) & np.isnan(second)
    return [int(k) for k in np.argsort(absent, kind='stable')]


def _chart(comparison: Comparison) -> IntervalChart | None:
    """Return the differences of the classes, the largest ones."""
    difference = comparison.class_gains.difference
    meta, colors = comparison.runs[0].meta, _colors(comparison)
    defined = np.flatnonzero(~np.isnan(difference.value))
    if not defined.size:
        return None
    order = defined[np.argsort(-np.abs(difference.value[defined]))][:_BARS]
    rows = []
    for index in sorted(order, key=lambda k: -difference.value[k]):
        value, low, high = _at(difference, index)
        text = _range((value, low, high), True)
        rows.append(
            Interval(
                meta.classes[index],
                value * 100,
                low * 100,
                high * 100,
                text + stars(comparison.corrected[index]),
                colors[index],
            )
        )
    return IntervalChart(
        f'{comparison.score} of B minus that of A in points, with 95 % '
        'intervals; stars are for what stands after correction for many '
        'classes',
        rows,
    )


def _classes(comparison: Comparison) -> Table:
    """Return the scores of all classes."""
    gains: Gains = comparison.class_gains
    meta, colors = comparison.runs[0].meta, _colors(comparison)
    rows = []
    for index in _present_first(comparison):
        name = meta.classes[index]
        difference = _at(gains.difference, index)
        better = float(gains.better[index])
        corrected = float(comparison.corrected[index])
        excluded = '' if comparison.included[index] else ' (excluded)'
        rows.append(
            [
                Cell(name + excluded, color=colors[index]),
                *(
                    _cell(float(each.value[index]))
                    for each in comparison.classes
                ),
                *(_cell(value, signed=True) for value in difference),
                Cell('')
                if math.isnan(better)
                else Cell(_likely(better), better),
                Cell('')
                if math.isnan(corrected)
                else Cell(_p_text(corrected), corrected),
            ]
        )
    score = comparison.score
    heads = ['class', f'{score} of A, %', f'{score} of B, %', 'difference']
    heads += ['from', 'to', 'B is better', 'p, corrected']
    return Table(
        f'{score} of the classes; differences in points, which are hundredths '
        'of the score, with 95 % intervals; p is the chance of such a '
        "difference if there was none, after Holm's correction for many "
        'classes: * below 0.05, ** below 0.01, *** below 0.001',
        heads,
        rows,
    )


def _p_text(value: float) -> str:
    text = '< 0.0001' if value < 0.0001 else f'{value:.4f}'
    return f'{text} {stars(value)}'.rstrip()


def _kind_chart(comparison: Comparison) -> BarChart | None:
    """Return the kinds of errors in both runs, a mean over the classes."""
    if comparison.kinds is None:
        return None
    bars = []
    for name, kinds in zip('AB', comparison.kinds, strict=True):
        parts = kinds[comparison.included].sum(1)
        parts = parts[~np.isnan(parts).any(1)]
        if not len(parts):
            return None
        values = [float(value) * 100 for value in parts.mean(0)]
        bars.append(Bar(name, values, [f'{value:.2f}' for value in values]))
    if not any(any(bar.values) for bar in bars):
        return None
    return BarChart(
        f'What is missing in {comparison.mean_score}, in points, by kinds of '
        'errors',
        KINDS,
        bars,
        stacked=True,
        colors=KIND_COLORS,
    )


def _kind_table(comparison: Comparison) -> Table | None:
    """Return the kinds of errors of each class before and after."""
    if comparison.kinds is None:
        return None
    meta, colors = comparison.runs[0].meta, _colors(comparison)
    rows = []
    for index in _present_first(comparison):
        name = meta.classes[index]
        before, after = comparison.kinds[:, index].sum(1)
        cells = [Cell(name, color=colors[index])]
        for kind in range(len(KINDS)):
            old, new = float(before[kind]), float(after[kind])
            cells += [_cell(old), _cell(new), _cell(new - old, signed=True)]
        rows.append(cells)
    heads = ['class']
    for kind_name in KINDS:
        heads += [f'{kind_name} in A', f'{kind_name} in B', 'change']
    return Table(
        'Parts of the IoU that are missing by kinds of errors, in points: '
        'less is better',
        heads,
        rows,
    )


def _error_table(comparison: Comparison) -> Table | None:
    """Return the errors of two detectors by kind, before and after."""
    if comparison.detected is None:
        return None
    before, after = (each.errors for each in comparison.detected)
    rows = []
    for kind, (name, meaning) in MEANINGS.items():
        (many, gain), (now, now_gain) = before[kind], after[kind]
        rows.append(
            [
                Cell(name),
                Cell(meaning, kind='wide'),
                number_cell(many),
                number_cell(now),
                Cell(f'{now - many:+,}', now - many),
                _cell(gain),
                _cell(now_gain),
                _cell(now_gain - gain, signed=True),
            ]
        )
    heads = ['error', 'what it is', 'in A', 'in B', 'change']
    heads += ['AP50 it costs A', 'AP50 it costs B', 'change']
    return Table(
        'Errors of all detections by kind, and the points of AP50 that '
        'mending each alone would bring: less is better',
        heads,
        rows,
    )


def _images(comparison: Comparison, order: Sequence[int]) -> Table:
    """Return the images that were won and lost most."""
    won, lost = list(order[:_ROWS]), list(order[-_ROWS:])
    shown = won + [k for k in lost if k not in won]
    rows = [
        [
            Cell(comparison.names[k], kind='path'),
            *(_cell(float(each)) for each in comparison.image_scores[:, k]),
            _cell(_gain(comparison, k), signed=True),
        ]
        for k in shown
    ]
    heads = ('image', 'A, %', 'B, %', 'difference')
    left = len(comparison.names) - len(rows)
    return Table(
        f'{comparison.image_score} of single images: those that B wins most, '
        'and those that it loses most',
        heads,
        rows,
        left,
    )
