"""The confusion matrix of a validation or test: kept, drawn, and in words."""

import json
import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmseg_ext.utils.files import read_file, write_text
from mmseg_ext.utils.text import csv_text, is_unicode, printable
from mmseg_ext.visualization.class_iou import ClassIoU
from mmseg_ext.visualization.fonts import font_families
from mmseg_ext.visualization.names import as_markdown, shortened

__all__ = [
    'CONFUSION_FILE',
    'Confusion',
    'ConfusionMatrix',
    'class_iou_of',
    'confusion_csv',
    'confusion_markdown',
    'draw_confusion',
    'read_confusion',
    'worst_confusions',
    'write_confusion',
]

if TYPE_CHECKING:
    # Imported in the functions that draw, as it is needed nowhere else.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The file of a matrix in the log folder of its run: beside the scalars, not
#: beside the scores of a test, which are found as the only JSON there.
CONFUSION_FILE = 'vis_data/confusion.json'

#: So many classes have cells with room for a number.
_NUMBERED = 20

#: Sides of a cell with and without a number, and of all cells together at
#: least and at most, in inches.
_CELL, _SMALL_CELL = 0.5, 0.2
_LEAST_SIDE, _MOST_SIDE = 3.0, 24.0

#: So many names find place along the largest side.
_MOST_NAMES = 150

#: Room for names, title and scale, in inches.
_FRAME = 2.5


class ConfusionMatrix(NamedTuple):
    """Pixels of each pair of label class and predicted class.

    Attributes:
        classes: C names.
        counts: int64 (C, C), row label, column prediction, 0 or above.
        source: Where it is from, in words.
    """

    classes: list[str]
    counts: np.ndarray
    source: str


class Confusion(NamedTuple):
    """A class that is taken for another one.

    Attributes:
        label: The class.
        prediction: The other one.
        pixels: So many pixels of the class are taken for the other.
        labeled: All pixels of the class.
    """

    label: str
    prediction: str
    pixels: int
    labeled: int

    @property
    def percent(self) -> float:
        """The part of the class that is taken for the other."""
        return 100 * self.pixels / self.labeled


def write_confusion(matrix: ConfusionMatrix, path: str | os.PathLike) -> None:
    """Write a matrix as JSON, whole or not at all.

    The object has the entries ``source``, ``classes`` and ``matrix``, a list
    of rows.
    """
    record = {
        'source': matrix.source,
        'classes': matrix.classes,
        'matrix': matrix.counts.tolist(),
    }
    write_text(path, json.dumps(record))


def read_confusion(path: str | os.PathLike) -> ConfusionMatrix:
    """Read what :func:`write_confusion` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else.
    """
    try:
        record = json.loads(read_file(path))
        classes, source = record['classes'], record['source']
        counts = _counts(record['matrix'])
        texts = [*classes, source]
        if (
            not classes
            or not all(isinstance(text, str) for text in texts)
            or counts.shape != (len(classes), len(classes))
        ):
            raise ValueError('names and rows do not fit')
    except (
        *(KeyError, OverflowError, RecursionError, TypeError, ValueError),
    ) as error:
        raise ValueError(
            f'{os.fspath(path)}: broken, {type(error).__name__}: {error}; '
            'expected the confusion matrix of a run, as JSON with source, '
            'classes and matrix'
        ) from None
    return ConfusionMatrix(classes, counts, source)


def _counts(rows: Any) -> np.ndarray:
    """Return rows of numbers of pixels as int64."""
    counts = np.array(rows)
    if counts.dtype != np.int64 or counts.min(initial=0) < 0:
        raise ValueError('the matrix has to be of integers of 0 or above')
    return counts


def class_iou_of(
    matrix: ConfusionMatrix, mean: float | None, source: str
) -> ClassIoU:
    """Return the IoU per class of a matrix.

    Args:
        matrix: The matrix.
        mean: The mIoU of the same evaluation, in percent, or None.
        source: Where it is from, in words.
    """
    right = np.diag(matrix.counts)
    union = matrix.counts.sum(0) + matrix.counts.sum(1) - right
    with np.errstate(invalid='ignore'):
        values = 100 * right / union
    return ClassIoU(
        dict(zip(matrix.classes, values.tolist(), strict=True)), mean, source
    )


def draw_confusion(matrix: ConfusionMatrix) -> 'Figure':
    """Draw which part of each class is taken for which.

    A row for each label, a column for each prediction: 1 are all pixels with
    that label. Up to 20 classes have these numbers in their cells, where 0
    and 1 are exact, 0.00 and 1.00 rounded; more classes have colors alone.
    The row of a class without labeled pixels is gray. Of more than 150 names
    only every second is shown, and so on.

    Args:
        matrix: At least one class.
    """
    # Not pyplot, which keeps figures and looks for a display.
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    shares = _shares(matrix.counts)
    number = len(shares)
    numbered = number <= _NUMBERED
    cell = _CELL if numbered else _SMALL_CELL
    side = float(np.clip(cell * number, _LEAST_SIDE, _MOST_SIDE))
    figure = Figure(
        figsize=(side + _FRAME + 0.5, side + _FRAME), layout='constrained'
    )
    axes = figure.subplots()
    image = axes.imshow(
        np.ma.masked_invalid(shares),
        cmap=colormaps['Blues'].with_extremes(bad='lightgray'),
        vmin=0,
        vmax=1,
    )
    if numbered:
        _number_cells(axes, shares)
    # A line of a cell's height at most.
    size = min(
        10 if numbered else 8, 0.8 * 72 * side / min(number, _MOST_NAMES)
    )
    names = [shortened(name) for name in matrix.classes]
    style: dict[str, Any] = {
        'parse_math': False,
        'fontfamily': font_families(names),
        'fontsize': size,
    }
    named = slice(0, None, math.ceil(number / _MOST_NAMES))
    places = range(number)[named]
    axes.set_xticks(places, names[named], rotation=90, **style)
    axes.set_yticks(places, names[named], **style)
    absent = np.isnan(shares).any()
    axes.set_title(
        f'Confusion matrix, {shortened(matrix.source)}', parse_math=False
    )
    axes.set(
        xlabel='prediction',
        ylabel='label' + (' (gray: no pixel has it)' if absent else ''),
    )
    figure.colorbar(
        image, ax=axes, label='part of the pixels of a label', shrink=0.7
    )
    return figure


def _shares(counts: np.ndarray) -> np.ndarray:
    """Return each row divided by its sum, NaN where that is 0."""
    with np.errstate(invalid='ignore'):
        shares: np.ndarray = counts / counts.sum(1, keepdims=True)
    return shares


def _number_cells(axes: 'Axes', shares: np.ndarray) -> None:
    """Write the value into each cell of a class that is labeled."""
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share):
            continue
        axes.text(
            *(column, row, f'{share:.2f}' if 0 < share < 1 else f'{share:g}'),
            horizontalalignment='center',
            verticalalignment='center',
            fontsize=9,
            color='white' if share > 0.5 else 'black',
        )


def worst_confusions(
    matrix: ConfusionMatrix, most: int = 10
) -> list[Confusion]:
    """Return the classes of which the largest part is taken for another one.

    Args:
        matrix: The matrix.
        most: Number of pairs of classes.

    Returns:
        The worst first; fewer where there are not so many.
    """
    wrong = _shares(matrix.counts)
    np.fill_diagonal(wrong, 0)
    wrong = np.nan_to_num(wrong)
    order = np.argsort(-wrong, axis=None, kind='stable')[:most]
    rows, columns = np.unravel_index(order, wrong.shape)
    labeled = matrix.counts.sum(1)
    return [
        Confusion(
            matrix.classes[row],
            matrix.classes[column],
            int(matrix.counts[row, column]),
            int(labeled[row]),
        )
        for row, column in zip(rows, columns, strict=True)
        if wrong[row, column] > 0
    ]


def confusion_markdown(matrix: ConfusionMatrix) -> str:
    """Return the worst confusions as sentences, a list in Markdown."""
    lines = [
        f'- {as_markdown(pair.label)} is taken for '
        f'{as_markdown(pair.prediction)}: {_rounded(pair.percent)} % '
        f'({pair.pixels} of {pair.labeled} pixels)'
        for pair in worst_confusions(matrix)
    ] or ['No pixel is taken for another class.']
    head = f'Worst confusions, {as_markdown(matrix.source)}:'
    return '\n'.join([head, '', *lines]) + '\n'


def _rounded(percent: float) -> str:
    """Return two digits of a percentage, or three."""
    return f'{percent:.0f}' if percent >= 10 else f'{percent:.2g}'


def confusion_csv(matrix: ConfusionMatrix) -> str:
    """Return the worst confusions as CSV with a header, not rounded.

    See :func:`~mmseg_ext.utils.text.csv_text` about names that are formulas.
    """
    rows = [
        (
            *(
                name if is_unicode(name) else printable(name)
                for name in (pair.label, pair.prediction)
            ),
            *(pair.percent, pair.pixels, pair.labeled),
        )
        for pair in worst_confusions(matrix)
    ]
    header = ('label', 'prediction', 'percent', 'pixels', 'labeled')
    return csv_text([header, *rows])
