"""Curves, bars and tables of a work dir, from what its runs left behind."""

import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmseg_ext.utils.files import write_bytes, write_text
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.visualization.class_iou import (
    csv_table,
    draw_class_iou,
    markdown_table,
)
from mmseg_ext.visualization.confusion import (
    confusion_csv,
    confusion_markdown,
    draw_confusion,
)
from mmseg_ext.visualization.fonts import font_families
from mmseg_ext.visualization.logs import Curve, History, RunLog, read_work_dir
from mmseg_ext.visualization.names import shortened

__all__ = [
    'NothingToDrawError',
    'PlotReport',
    'draw_curves',
    'encode_figure',
    'plot_work_dir',
    'smooth',
]

if TYPE_CHECKING:
    # Imported in the functions that draw, as it is needed nowhere else.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Losses are smoothed over this part of their points, and so many at most:
#: curves of less than 40 points stay as they are.
_WINDOW, _MOST_POINTS = 1 / 20, 101


class NothingToDrawError(ValueError):
    """A run logged nothing that there is a picture for."""


class PlotReport(NamedTuple):
    """Result of :func:`plot_work_dir`.

    Attributes:
        files: The files written.
        notes: What is missing, and why; a sentence each.
    """

    files: list[Path]
    notes: list[str]


def plot_work_dir(
    work_dir: str | os.PathLike, out_dir: str | os.PathLike
) -> PlotReport:
    """Draw what a training or test of MMSeg or MMDet logged.

    Writes ``curves.png`` (losses, mIoU or mAP, learning rate), and IoU per
    class and confusion matrix as ``.png``, ``.md`` and ``.csv`` files named
    ``class_iou`` and ``confusion``, each if there is something to put in.
    :func:`~mmseg_ext.visualization.logs.read_work_dir` tells what counts.

    Args:
        work_dir: The work dir of the training or test.
        out_dir: Folder for the files; made if missing.

    Returns:
        The files, and what is missing.

    Raises:
        FileNotFoundError: There is no ``work_dir``, or no scalars in it.
        NothingToDrawError: There is nothing to draw.
        ValueError: A file is broken.
    """
    work_dir, out_dir = Path(work_dir), Path(out_dir)
    log = read_work_dir(work_dir)
    notes = [*log.notes, *_what_is_missing(log)]
    history = log.history
    if not (
        history.losses or history.scores or log.class_iou or log.confusion
    ):
        raise NothingToDrawError(
            f'{work_dir}: nothing to draw; expected a loss, mIoU, mAP or IoU '
            'per class in '
            + '\n'.join(
                [', '.join(map(str, [*log.files, *log.tests])), *notes]
            )
        )
    with working_in(out_dir):
        return PlotReport(list(_write(log, out_dir)), notes)


def _what_is_missing(log: RunLog) -> Iterator[str]:
    """Yield a sentence for each kind of picture that there is nothing for."""
    if log.files and not log.history.scores:
        yield f'no mIoU or mAP of a validation yet in {log.files[-1]}'
    keys = [*log.history.scores, *(k for t in log.tests.values() for k in t)]
    if not log.class_iou and any(key.endswith('mIoU') for key in keys):
        yield (
            'no IoU per class was logged and no confusion matrix kept: the '
            'metric IoU does both. After a training, test into the same work '
            'dir with test_evaluator.type=IoU test_evaluator.classwise=True'
        )


def _write(log: RunLog, out_dir: Path) -> Iterator[Path]:
    """Write the pictures and tables, and yield their files."""
    if log.history.losses or log.history.scores:
        path = out_dir / 'curves.png'
        _save(draw_curves(log.history), path)
        yield path
    if log.class_iou:
        yield from _write_three(
            out_dir / 'class_iou.png',
            draw_class_iou(log.class_iou),
            markdown_table(log.class_iou),
            csv_table(log.class_iou),
        )
    if log.confusion:
        yield from _write_three(
            out_dir / 'confusion.png',
            draw_confusion(log.confusion),
            confusion_markdown(log.confusion),
            confusion_csv(log.confusion),
        )


def _write_three(
    path: Path, figure: 'Figure', markdown: str, csv: str
) -> list[Path]:
    """Write a picture and the tables that go with it; return the files."""
    _save(figure, path)
    files = [path, path.with_suffix('.md'), path.with_suffix('.csv')]
    for table, text in zip(files[1:], (markdown, csv), strict=True):
        write_text(table, text)
    return files


def draw_curves(history: History) -> 'Figure':
    """Draw losses, and below them scores of validation and learning rates.

    Losses of many points are thin and pale, with a smoothed line over them.

    Args:
        history: At least one curve.
    """
    # Not pyplot, which keeps figures and looks for a display.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    one_unit = history.scores_over == 'iteration'
    percent = any(name.endswith('mIoU') for name in history.scores)
    parts = [
        (curves, labels, height)
        for curves, labels, height in (
            (history.losses, ('Training', 'loss', 'iteration'), 4),
            (
                history.scores,
                (
                    'Validation',
                    'percent' if percent else 'mAP',
                    history.scores_over,
                ),
                4,
            ),
            (history.rates, ('Learning rate', '', 'iteration'), 2),
        )
        if curves
    ]
    heights = [height for *_, height in parts]
    figure = Figure(figsize=(10, sum(heights)), layout='constrained')
    grid = figure.subplots(
        len(parts), 1, sharex=one_unit, squeeze=False, height_ratios=heights
    )
    for axes, (curves, (title, ylabel, unit), _) in zip(
        grid[:, 0], parts, strict=True
    ):
        axes.set(title=title, ylabel=ylabel, xlabel=unit)
        axes.tick_params(labelbottom=True)
        # With two ticks at least there would be halves about a single step.
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        marker = 'o' if curves is history.scores else ''
        _draw(axes, curves, marker, smoothed=curves is history.losses)
    return figure


def _draw(
    axes: 'Axes', curves: dict[str, Curve], marker: str, smoothed: bool
) -> None:
    """Draw curves into one diagram."""
    if not any(np.isfinite(values).any() for _, values in curves.values()):
        axes.text(
            *(0.5, 0.5, 'no finite value: all are NaN or infinite'),
            ha='center',
            va='center',
            transform=axes.transAxes,
        )
    for name, (steps, values) in curves.items():
        # Lines lie between neighbors alone.
        finite = np.isfinite(values)
        shape = marker or ('' if (finite[1:] & finite[:-1]).any() else 'o')
        width = 2.0 if name == 'loss' else 1.0
        label = shortened(name)
        window = _window(len(values)) if smoothed else 1
        color = None
        if window > 1:
            # Below all smoothed lines. Matplotlib leaves labels that begin so
            # out of the legend.
            [raw] = axes.plot(
                *(steps, values),
                label=f'_{label}',
                linewidth=0.5,
                alpha=0.35,
                zorder=1.5,
            )
            color = raw.get_color()
            values = smooth(values, window)
            label += f' (mean of {window} points)'
        axes.plot(
            *(steps, values),
            label=label,
            color=color,
            marker=shape,
            linewidth=width,
        )
    axes.grid(alpha=0.3)
    # Beside the curves: there it hides none, and is placed without a search.
    legend = axes.legend(
        loc='upper left',
        bbox_to_anchor=(1, 1),
        prop={'family': font_families(curves), 'size': 'small'},
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _window(number: int) -> int:
    """Return over how many of so many points to smooth: an odd number."""
    return min(int(number * _WINDOW) // 2 * 2 + 1, _MOST_POINTS)


def smooth(values: list[float], window: int) -> list[float]:
    """Return the mean of the finite values around each value.

    Args:
        values: Numbers.
        window: Odd number of values, the middle one and those before and
            after it; fewer at both ends.

    Returns:
        As many numbers, NaN where a value is not finite.
    """
    numbers = np.array(values, dtype=float)
    finite = np.isfinite(numbers)
    ones = np.ones(window)
    # Not by differences of a running sum, in which small values get lost
    # beside large ones.
    sums, counts = (
        np.convolve(part, ones)[window // 2 :][: len(numbers)]
        for part in (np.where(finite, numbers, 0), finite.astype(float))
    )
    with np.errstate(invalid='ignore'):
        means: list[float] = np.where(finite, sums / counts, np.nan).tolist()
    return means


def encode_figure(figure: 'Figure') -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Has been told in words, by the search for fonts.
        warnings.filterwarnings('ignore', 'Glyph .* missing from font')
        figure.savefig(buffer, dpi=120)
    return buffer.getvalue()


def _save(figure: 'Figure', path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    write_bytes(path, encode_figure(figure))
