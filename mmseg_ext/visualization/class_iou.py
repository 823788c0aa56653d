"""IoU per class as bars and tables."""

import math
from typing import TYPE_CHECKING, NamedTuple

from mmseg_ext.utils.text import csv_text, is_unicode, printable
from mmseg_ext.visualization.fonts import font_families
from mmseg_ext.visualization.names import as_markdown, shortened

__all__ = ['ClassIoU', 'csv_table', 'draw_class_iou', 'markdown_table']

if TYPE_CHECKING:
    # Imported in the function that draws, as it is needed nowhere else.
    from matplotlib.figure import Figure


class ClassIoU(NamedTuple):
    """IoU of each class, in percent.

    Attributes:
        values: Class name to IoU in the order of the classes, NaN for a class
            that is neither labeled nor predicted.
        mean: The mIoU that came with it, or None.
        source: Where it is from, in words.
    """

    values: dict[str, float]
    mean: float | None
    source: str


def draw_class_iou(class_iou: ClassIoU) -> 'Figure':
    """Draw one bar for each class, the first on top; a line is the mean.

    The numbers stand in a column of their own, right of 100 percent.

    Args:
        class_iou: At least one class.
    """
    # Not pyplot, which keeps figures and looks for a display.
    from matplotlib.figure import Figure

    names = [shortened(name) for name in class_iou.values]
    values = list(class_iou.values.values())
    figure = Figure(figsize=(9, 1.5 + 0.3 * len(names)), layout='constrained')
    axes = figure.subplots()
    # By number: names that look alike must not share a bar.
    places = range(len(names))
    axes.barh(places, [v if math.isfinite(v) else 0 for v in values])
    for place, value in zip(places, values, strict=True):
        axes.text(
            *(1.01, place, _percent(value)),
            transform=axes.get_yaxis_transform(),
            verticalalignment='center',
            color='gray' if math.isnan(value) else 'black',
        )
    family = font_families(names)
    axes.set_yticks(places, names, parse_math=False, fontfamily=family)
    # Rather than by the bars, which need not fill it.
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(
        f'IoU per class, {shortened(class_iou.source)}', parse_math=False
    )
    axes.set_xlabel('IoU in percent')
    axes.set_xlim(0, 100)
    mean = class_iou.mean
    if mean is not None and math.isfinite(mean):
        axes.axvline(
            mean, color='black', linestyle='--', label=f'mIoU {mean:.2f}'
        )
        figure.legend(loc='outside lower right')
    return figure


def _percent(value: float) -> str:
    """Return an IoU rounded, or what it means that there is none."""
    return 'absent' if math.isnan(value) else f'{value:.2f}'


def markdown_table(class_iou: ClassIoU) -> str:
    """Return IoU per class as Markdown, rounded, with mIoU as last row.

    Names are shown as they are: nothing in them is Markdown or HTML. A class
    that is neither labeled nor predicted is ``absent``.
    """
    rows = [
        (as_markdown(name), value) for name, value in class_iou.values.items()
    ]
    if class_iou.mean is not None:
        rows.append(('**mIoU**', class_iou.mean))
    lines = ['| Class | IoU |', '| --- | ---: |']
    lines += [f'| {name} | {_percent(value)} |' for name, value in rows]
    return '\n'.join(lines) + '\n'


def csv_table(class_iou: ClassIoU) -> str:
    """Return IoU per class as CSV: a header, a row a class, not rounded.

    A class that is neither labeled nor predicted has ``nan``. See
    :func:`~mmseg_ext.utils.text.csv_text` about names that are formulas.
    """
    rows = (
        (name if is_unicode(name) else printable(name), value)
        for name, value in class_iou.values.items()
    )
    return csv_text([('class', 'IoU'), *rows])
