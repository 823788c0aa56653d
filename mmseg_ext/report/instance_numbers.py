"""What the page of a detector's run shows in numbers."""

import math
from collections.abc import Sequence

import numpy as np

from mmseg_ext.formats.instance_records import Instances
from mmseg_ext.report.bootstrap import Estimates
from mmseg_ext.report.instance_scores import Scores, Shown, mean_where_known
from mmseg_ext.report.semantic_numbers import estimate_text, percent_text
from mmseg_ext.visualization.contact_sheets import distinct_color
from mmseg_ext.visualization.web_page import (
    Bar,
    BarChart,
    Cell,
    Dot,
    DotChart,
    Interval,
    IntervalChart,
    Line,
    LineChart,
    Table,
    hex_color,
    number_cell,
)

__all__ = [
    'MEANINGS',
    'calibration',
    'chips',
    'class_chart',
    'class_curves',
    'class_table',
    'confusion_matrix',
    'confusion_table',
    'confusions',
    'crowd_table',
    'error_chart',
    'error_table',
    'image_charts',
    'image_table',
    'mean_curves',
    'score_table',
]

#: What the kinds of errors are, and by what name TIDE has them.
MEANINGS = {
    'Cls': ('class', 'in the right place, of another class'),
    'Loc': (
        'place',
        'of the right class, overlapping too little (0.1 to 0.5)',
    ),
    'Both': ('class and place', 'of another class, overlapping too little'),
    'Dupe': ('twice', 'a second detection of what another one found'),
    'Bkg': ('on nothing', 'overlapping no object (below 0.1)'),
    'Miss': ('not seen', 'an object that no detection is near'),
}

#: What kinds of scores are called.
_KINDS = {'bbox': 'boxes', 'segm': 'masks'}

#: Where curves are drawn: IoU, and its place in the thresholds.
_CURVES = {'0.5': 0, '0.75': 5, '0.9': 8}

#: Classes of a chart and of the matrix, classes with curves, rows of the
#: table of images, dots, and confusions that are listed, at most.
_CHART, _MATRIX, _CLASS_CURVES, _ROWS, _DOTS, _PAIRS = (
    *(60, 40, 6),
    *(2000, 2000, 30),
)


def _percent(share: float) -> Cell:
    """Return a share as a cell; it is empty for NaN."""
    if not math.isfinite(share):
        return Cell('')
    return Cell(percent_text(share), float(share))


def _name(names: Sequence[str], index: int) -> Cell:
    """Return a class as a cell, with the color that pictures give it."""
    several = len(names) > 1
    color = hex_color(distinct_color(index)) if several else ''
    return Cell(names[index], color=color)


def chips(
    scores: Scores, mean: Estimates, shown: Shown
) -> list[tuple[str, str]]:
    """Return the first things to know: what, and how much.

    Args:
        scores: Of all classes.
        mean: AP and AP50, (2,), with intervals.
        shown: What is right.
    """
    found = [
        (f'{name} of {_KINDS[scores.kind]}', estimate_text(*values))
        for name, *values in zip(('AP', 'AP50'), *mean, strict=True)
    ]
    objects = int(shown.right.sum() + shown.missed.sum())
    if objects:
        found.append(
            ('objects found', percent_text(shown.right.sum() / objects))
        )
    detections = int(shown.right.sum() + shown.invented.sum())
    if detections:
        share = shown.right.sum() / detections
        found.append(('detections right', percent_text(share)))
    return found


def score_table(all_scores: Sequence[Scores]) -> Table:
    """Return COCO's scores, of boxes and of masks.

    Args:
        all_scores: One or both.
    """
    rows = [
        [
            Cell(_KINDS[scores.kind]),
            *map(_percent, scores.ap),
            _percent(float(mean_where_known(scores.class_recall))),
        ]
        for scores in all_scores
    ]
    heads = ['', *_HEADS, 'AR']
    return Table('Mean over the classes that have objects', heads, rows)


_HEADS = ['AP', 'AP50', 'AP75', 'small', 'medium', 'large']


def class_table(
    names: Sequence[str], scores: Scores, classes: Estimates
) -> Table:
    """Return AP of each class, by sizes, and from which score on F1 is best.

    Args:
        names: Of the classes.
        scores: Their scores.
        classes: AP and AP50 of each, (C, 2), with intervals.
    """
    rows = []
    for index, (values, matches) in enumerate(
        zip(scores.class_ap, scores.matches, strict=True)
    ):
        best = matches.best_score()
        ap = estimate_text(*(float(each[index, 0]) for each in classes))
        rows.append(
            [
                _name(names, index),
                number_cell(int(matches.objects.sum())),
                number_cell(len(matches.image)),
                Cell(ap, None if math.isnan(values[0]) else float(values[0])),
                *map(_percent, values[1:]),
                _percent(float(scores.class_recall[index])),
                Cell(f'{best:.2f}', best) if best >= 0 else Cell(''),
            ]
        )
    heads = ['class', 'objects', 'detections', *_HEADS, 'AR', 'best score']
    return Table('Scores by class and size of objects', heads, rows)


def class_chart(
    names: Sequence[str], classes: Estimates
) -> IntervalChart | None:
    """Return AP of the weakest classes, the weakest first.

    Args:
        names: Of the classes.
        classes: AP and AP50 of each, (C, 2), with intervals.

    Returns:
        None if there are fewer than two classes with objects.
    """
    value, low, high = (each[:, 0] for each in classes)
    order = [k for k in np.argsort(value, kind='stable') if value[k] >= 0]
    if len(order) < 2:
        return None
    shown = order[:_CHART]
    bars = []
    for k in shown:
        ends = float(value[k]), float(low[k]), float(high[k])
        bars.append(
            Interval(
                names[k],
                100 * ends[0],
                100 * ends[1],
                100 * ends[2],
                estimate_text(*ends),
                _name(names, k).color,
            )
        )
    title = 'AP by class, the weakest first'
    if len(shown) < len(order):
        title += f'; {len(order) - len(shown)} more are in the table'
    return IntervalChart(title, bars, '%')


def mean_curves(scores: Scores) -> LineChart | None:
    """Return precision by recall, mean of all classes; None without objects.

    Args:
        scores: Of all classes.
    """
    mean = mean_where_known(scores.precision[..., 0], axis=2)
    return _curves('Precision by recall, mean of all classes', mean)


def class_curves(names: Sequence[str], scores: Scores) -> list[LineChart]:
    """Return precision by recall of the weakest classes.

    Args:
        names: Of the classes.
        scores: Their scores.
    """
    order = np.argsort(scores.class_ap[:, 0], kind='stable')
    charts = [
        _curves(
            f'Precision by recall: {names[k]}', scores.precision[:, :, k, 0]
        )
        for k in order[:_CLASS_CURVES].tolist()
    ]
    found = [chart for chart in charts if chart is not None]
    return found if len(found) > 1 else []


def _curves(title: str, precision: np.ndarray) -> LineChart | None:
    """Return precision, (T, 101), by recall."""
    if np.isnan(precision).any():
        return None
    recall = np.linspace(0, 1, precision.shape[1]).tolist()
    lines = [
        Line(
            f'IoU {iou}',
            list(zip(recall, precision[place].tolist(), strict=True)),
        )
        for iou, place in _CURVES.items()
    ]
    return LineChart(title, ('recall', 'precision'), lines)


def error_table(scores: Scores) -> Table:
    """Return what each kind of error costs.

    Args:
        scores: Of all classes.
    """
    rows = [
        [
            Cell(MEANINGS[kind][0]),
            Cell(MEANINGS[kind][1], kind='wide'),
            number_cell(scores.errors[kind][0]),
            Cell(_points(scores.errors[kind][1]), scores.errors[kind][1]),
        ]
        for kind in MEANINGS
    ]
    heads = ['error', 'what it is', 'how many', 'gain in AP50']
    return Table('Errors of all detections by kind', heads, rows)


def _points(share: float) -> str:
    return f'{100 * share:+.1f}'


def error_chart(scores: Scores) -> BarChart:
    """Return what mending each kind of error brings.

    Args:
        scores: Of all classes.
    """
    bars = [
        # What is not mended can only be as bad.
        Bar(name, [max(100 * gain, 0)], [_points(gain)])
        for kind, (name, _) in MEANINGS.items()
        for gain in [scores.errors[kind][1]]
    ]
    title = 'Points of AP50 that mending each kind of error alone would bring'
    return BarChart(title, [''], bars)


def confusions(shown: Shown) -> list[tuple[int, int, int]]:
    """Return label, other class and how often, the most frequent first.

    Args:
        shown: What is right and what is not.
    """
    inner = shown.matrix[:-1, :-1].copy()
    np.fill_diagonal(inner, 0)
    pairs = [
        (label, other, int(inner[label, other]))
        for label, other in np.argwhere(inner).tolist()
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_PAIRS]


def confusion_table(
    names: Sequence[str], pairs: Sequence[tuple[int, int, int]], shown: Shown
) -> Table | None:
    """Return the most frequent confusions; None if there are none.

    Args:
        names: Of the classes.
        pairs: As from :func:`confusions`.
        shown: What they are part of.
    """
    if not pairs:
        return None
    objects = shown.matrix.sum(1)
    rows = [
        [
            _name(names, label),
            _name(names, other),
            number_cell(count),
            _percent(count / objects[label]),
        ]
        for label, other, count in pairs
    ]
    heads = ['label', 'detection', 'objects', 'of the label']
    return Table('Most frequent confusions', heads, rows)


def confusion_matrix(names: Sequence[str], shown: Shown) -> Table | None:
    """Return what labels are found as; None if there is nothing.

    Args:
        names: Of the classes.
        shown: What is right and what is not.
    """
    matrix = shown.matrix
    if not matrix.any():
        return None
    weight = (matrix.sum(0) + matrix.sum(1))[:-1]
    largest = np.argsort(-weight, kind='stable')[:_MATRIX]
    there = np.sort(largest[weight[largest] > 0]).tolist()
    rows = []
    for index in [*there, len(names)]:
        last = index == len(names)
        row = [Cell('no label') if last else _name(names, index)]
        total = matrix[index].sum()
        for other in [*there, len(names)]:
            if last and other == len(names):
                row.append(Cell(''))
                continue
            count = int(matrix[index, other])
            share = count / total if total else 0
            kind = 'heat' if index == other else 'bad'
            row.append(Cell(f'{count:,}', count, f'{kind}{share * 10:.0f}'))
        rows.append(row)
    return Table(
        'Objects by label (row) and detection (column), as counts; colors are '
        'shares of the row, blue for what is right and red for what is not',
        [*(names[index] for index in there), 'missed'],
        rows,
        int((weight > 0).sum()) - len(there),
    )


def image_table(
    instances: Instances, shown: Shown, links: dict[int, str]
) -> Table:
    """Return what is found in each image, the worst first.

    Args:
        instances: Of all images.
        shown: What of them is right.
        links: Ids of pictures by the number of the image.
    """
    order = np.argsort(np.nan_to_num(shown.f1, nan=2), kind='stable')
    rows = [
        [
            Cell(
                instances.images[index].file_name,
                kind='path',
                link=links.get(index, ''),
            ),
            number_cell(int(shown.right[index] + shown.missed[index])),
            number_cell(int(shown.right[index])),
            number_cell(int(shown.missed[index])),
            number_cell(int(shown.invented[index])),
            _percent(float(shown.f1[index])),
        ]
        for index in order[:_ROWS].tolist()
    ]
    return Table(
        'All images, the worst first',
        ['image', 'objects', 'found', 'missed', 'invented', 'F1'],
        rows,
        len(order) - len(rows),
    )


def image_charts(instances: Instances, shown: Shown) -> list[DotChart]:
    """Return F1 of images by the size of their objects, and by brightness.

    Args:
        instances: Of all images.
        shown: What of them is right.
    """
    sides: dict[int, list[float]] = {}
    for label in instances.labels:
        area = label.bbox[2] * label.bbox[3]
        sides.setdefault(label.image_id, []).append(max(area, 0) ** 0.5)
    sizes = {index: float(np.median(each)) for index, each in sides.items()}
    light = {
        index: image.brightness
        for index, image in enumerate(instances.images)
        if image.brightness is not None
    }
    charts = [
        _dots(
            instances,
            shown,
            values,
            f'How well images are found by {what}',
            f'{axis} of an image{unit}',
        )
        for values, what, axis, unit in (
            (
                sizes,
                'the size of their objects',
                'median side of the boxes',
                ', pixels',
            ),
            (light, 'their brightness', 'brightness', ', 0 to 255'),
        )
    ]
    return [chart for chart in charts if chart is not None]


def _dots(
    instances: Instances,
    shown: Shown,
    values: dict[int, float],
    title: str,
    axis: str,
) -> DotChart | None:
    """Return F1 of images by a value of each; None if there is nothing."""
    f1 = shown.f1
    dots = [
        Dot(
            values[index],
            100 * float(f1[index]),
            1,
            0,
            f'{instances.images[index].file_name}: {values[index]:.0f}, F1 '
            f'{percent_text(float(f1[index]))}',
        )
        for index in sorted(values)
        if math.isfinite(f1[index])
    ]
    if not dots:
        return None
    # Of many images some, evenly spread.
    step = -(-len(dots) // _DOTS)
    return DotChart(title, (axis, 'F1, %'), [''], dots[::step], small=True)


def crowd_table(scores: Scores) -> Table | None:
    """Return AP by the objects in an image; None if all have as many.

    Args:
        scores: Of all classes.
    """
    if len(scores.crowds) < 2:
        return None
    rows = [
        [Cell(name), number_cell(images), _percent(ap), _percent(ap50)]
        for name, (images, ap, ap50) in scores.crowds.items()
    ]
    heads = ['objects in an image', 'images', 'AP', 'AP50']
    return Table('Scores by the number of objects in an image', heads, rows)


def calibration(scores: Scores) -> tuple[LineChart, Table, str] | None:
    """Return how many detections are right by their score.

    Args:
        scores: Of all detections.

    Returns:
        A chart, a table, and the expected calibration error; None if there
        are no detections.
    """
    bins = [each for each in scores.calibration['bins'] if each['count']]
    if not bins:
        return None
    points = [(each['avg_confidence'], each['avg_accuracy']) for each in bins]
    rows = [
        [
            Cell(
                f'{each["bin_lower"]:.1f} to {each["bin_upper"]:.1f}',
                each['bin_lower'],
            ),
            number_cell(int(each['count'])),
            _percent(each['avg_confidence']),
            _percent(each['avg_accuracy']),
        ]
        for each in bins
    ]
    heads = ['score', 'detections', 'mean score', 'right']
    title = (
        'Share of detections that are right at IoU 0.5, by their score; on '
        'the dashed line both are alike'
    )
    lines = [
        Line('detections', points, marked=True),
        Line('alike', [(0, 0), (1, 1)], dashed=True),
    ]
    return (
        LineChart(title, ('score', 'share that is right'), lines),
        Table('Detections by score', heads, rows),
        percent_text(scores.calibration['ece']),
    )
