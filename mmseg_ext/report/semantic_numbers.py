"""What the page of a semantic run shows in numbers."""

import math
from collections.abc import Sequence

import numpy as np

from mmseg_ext.evaluation.errors import boundary_iou, kind_shares, mended_iou
from mmseg_ext.formats.run_records import BINS, KINDS, Counts, Meta
from mmseg_ext.report.bootstrap import Estimates, score_run
from mmseg_ext.report.pictures import KIND_COLORS, class_colors
from mmseg_ext.report.scores import (
    count_pixels,
    image_iou,
    sum_by_class,
)
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

__all__ = ['MEANINGS', 'Numbers', 'estimate_text', 'percent_text']

#: What the kinds of errors are, in words.
MEANINGS = dict(
    boundary='near the edge of an object that was found',
    extent='the object was found, its shape was not',
    segment='the whole object was missed or invented',
)

#: Classes of a chart and of the matrix, rows of the table of images, and dots
#: of a diagram at most.
_CHART, _MATRIX, _ROWS, _DOTS = 60, 40, 2000, 2000

#: The color of what is right, beside those of errors.
_RIGHT = '#8fa6bf'

#: Confusions that are listed.
_PAIRS = 30


def percent_text(share: float, digits: int = 1) -> str:
    """Return a share in percent.

    Args:
        share: 0 to 1; NaN gives an empty text.
        digits: After the point.
    """
    return f'{100 * share:.{digits}f} %' if math.isfinite(share) else ''


def estimate_text(value: float, low: float, high: float) -> str:
    """Return a score in percent with its interval.

    Args:
        value: 0 to 1.
        low: NaN where it is not known.
        high: NaN where it is not known.
    """
    if not math.isfinite(value):
        return 'absent'
    if not math.isfinite(low):
        return percent_text(value)
    return f'{percent_text(value)} ({100 * low:.1f} to {100 * high:.1f})'


def _percent(share: float, kind: str = '') -> Cell:
    """Return a share as a cell; it is empty for NaN."""
    if not math.isfinite(share):
        return Cell('')
    return Cell(percent_text(share), float(share), kind)


class Numbers:
    """Scores, tables and charts of a run.

    Args:
        meta: Of the run.
        counts: Of its images.
        clusters: int (N,), the sequence of each image.
        resamples: How many are drawn for the intervals.
        seed: Of the draws.

    Attributes:
        mean: mIoU with its interval.
        classes: IoU of each class, (C,), with intervals.
        images: mIoU of each image, float64 (N,), NaN where there is none.
        matrix: int64 (C, C).
    """

    def __init__(
        self,
        meta: Meta,
        counts: Counts,
        clusters: np.ndarray,
        resamples: int,
        seed: int = 0,
    ) -> None:
        self._meta, self._counts = meta, counts
        number = len(meta.classes)
        pixels = count_pixels(counts, number)
        self.mean: Estimates
        self.classes: Estimates
        self.mean, self.classes = score_run(
            pixels, clusters, resamples=resamples, seed=seed
        )
        self.images = image_iou(pixels)
        self.matrix = counts.matrix(number)
        self._right = pixels.hit.sum(1)
        self._told = pixels.labeled.sum(1)
        self._hit = pixels.hit.sum(0)
        self._labeled = pixels.labeled.sum(0)
        self._with_class = ((pixels.labeled > 0).sum(0)).tolist()
        self._boundary, self._errors = sum_by_class(counts, number)
        self._colors = [hex_color(color) for color in class_colors(meta)]

    def chips(self) -> list[tuple[str, str]]:
        """Return the first things to know: what, and how much."""
        accuracy = self._right.sum() / max(self._told.sum(), 1)
        edges = boundary_iou(self._boundary)
        known = edges[np.isfinite(edges)]
        values = [float(each) for each in self.mean]
        chips = [('mIoU', estimate_text(*values))]
        if self._told.sum():
            chips.append(('pixels right', percent_text(accuracy)))
        if known.size:
            chips.append(('mean boundary IoU', percent_text(known.mean())))
        return chips

    def kinds(self) -> Table:
        """Return what each kind of error costs, and what mending it brings."""
        defined = np.isfinite(self.classes.value)
        shares = kind_shares(self._hit, self._errors).sum(1)[defined]
        mended = mended_iou(self._hit, self._errors)[defined]
        rows = []
        for k, kind in enumerate(KINDS):
            left = mended[:, k][np.isfinite(mended[:, k])]
            cost = shares[:, k].mean() if len(shares) else math.nan
            gain = (
                left.mean() - float(self.mean.value) if left.size else math.nan
            )
            rows.append(
                [
                    Cell(kind, color=KIND_COLORS[k]),
                    Cell(MEANINGS[kind], kind='wide'),
                    _percent(cost),
                    _percent(gain),
                ]
            )
        return Table(
            'What is missing to an mIoU of 100 %, by kind of error, and how '
            'much higher it would be if all errors of the kind were mended',
            ['kind', 'what it is', 'costs in mIoU', 'mending it brings'],
            rows,
        )

    def _shown(self) -> list[int]:
        """Return the classes of charts: the worst, in their order."""
        known = np.flatnonzero(np.isfinite(self.classes.value))
        worst = known[np.argsort(self.classes.value[known], kind='stable')]
        return sorted(worst[:_CHART].tolist())

    def _which(self) -> str:
        known = np.isfinite(self.classes.value).sum()
        return f' of the {_CHART} worst classes' if known > _CHART else ''

    def kind_chart(self) -> BarChart | None:
        """Return what each class's 100 % consists of."""
        shares = kind_shares(self._hit, self._errors).sum(1)
        bars = []
        for k in self._shown():
            values = [float(self.classes.value[k]), *shares[k].tolist()]
            values = [100 * value for value in values]
            texts = [f'{value:.1f} %' for value in values]
            bars.append(
                Bar(self._meta.classes[k], values, texts, self._colors[k])
            )
        if not bars:
            return None
        return BarChart(
            f'IoU{self._which()}, and what is missing to 100 % by kind of '
            'error',
            ['IoU', *KINDS],
            bars,
            '%',
            stacked=True,
            colors=[_RIGHT, *KIND_COLORS],
        )

    def class_chart(self) -> IntervalChart | None:
        """Return the IoU of classes with intervals."""
        rows = []
        for k in self._shown():
            ends = [float(each[k]) for each in self.classes]
            value, low, high = (100 * each for each in ends)
            name, color = self._meta.classes[k], self._colors[k]
            text = estimate_text(*ends)
            rows.append(Interval(name, value, low, high, text, color))
        if not rows:
            return None
        return IntervalChart(
            f'IoU{self._which()} with 95 % intervals', rows, '%'
        )

    def class_table(self) -> Table:
        """Return the scores of each class."""
        edges = boundary_iou(self._boundary)
        shares = kind_shares(self._hit, self._errors).sum(1)
        with np.errstate(invalid='ignore', divide='ignore'):
            recall = self._hit / self._labeled
            precision = self._hit / self.matrix.sum(0)
        total = max(int(self._labeled.sum()), 1)
        rows = [
            [
                Cell(name, color=self._colors[k]),
                _percent(self.classes.value[k]),
                _ends(self.classes.low[k], self.classes.high[k]),
                _percent(edges[k]),
                *(_percent(share) for share in shares[k]),
                _percent(recall[k]),
                _percent(precision[k]),
                _percent(self._labeled[k] / total),
                number_cell(self._with_class[k]),
            ]
            for k, name in sorted(
                enumerate(self._meta.classes),
                key=lambda each: math.isnan(self.classes.value[each[0]]),
            )
        ]
        heads = [
            *('class', 'IoU', '95 % interval', 'boundary IoU', *KINDS),
            *('recall', 'precision', 'pixels', 'images'),
        ]
        return Table(
            'IoU and the kinds of errors add up to 100 %; pixels are the '
            'share of all that are labeled so, images those that have one; a '
            'cell is empty where there is nothing to count',
            heads,
            rows,
        )

    def confusion(self) -> Table | None:
        """Return which share of each class is taken for which."""
        wrong = self.matrix.sum(0) + self.matrix.sum(1)
        wrong = wrong - 2 * self.matrix.diagonal()
        there = self.matrix.sum(0) + self.matrix.sum(1) > 0
        known = np.flatnonzero(there)
        if len(known) < 2:
            return None
        worst = known[np.argsort(-wrong[known], kind='stable')]
        shown = sorted(worst[:_MATRIX].tolist())
        names = self._meta.classes
        rows = []
        for k in shown:
            row = [Cell(names[k], color=self._colors[k])]
            for other in shown:
                pixels = int(self.matrix[k, other])
                if not pixels:
                    row.append(Cell(''))
                    continue
                share = pixels / self._labeled[k]
                kind = 'heat' if k == other else 'bad'
                text = f'{100 * share:.0f}' if share >= 0.005 else '<1'
                row.append(Cell(text, float(share), f'{kind}{share * 10:.0f}'))
            rows.append(row)
        return Table(
            'Of the pixels that have the class of a row in the label, how '
            'many percent are predicted as that of a column',
            [names[k] for k in shown],
            rows,
            len(known) - len(shown),
        )

    def pairs(self) -> list[tuple[int, int, int]]:
        """Return the most frequent confusions: label, prediction, pixels."""
        wrong = self.matrix.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind='stable')[:_PAIRS]
        found = []
        for label, prediction in zip(
            *np.unravel_index(order, wrong.shape), strict=True
        ):
            if pixels := int(wrong[label, prediction]):
                found.append((int(label), int(prediction), pixels))
        return found

    def pair_table(self) -> Table | None:
        """Return the most frequent confusions."""
        pairs, names = self.pairs(), self._meta.classes
        if not pairs:
            return None
        wrong = self.matrix.sum() - self.matrix.diagonal().sum()
        kinds = self.matrix.astype(bool).sum()
        kinds -= self.matrix.diagonal().astype(bool).sum()
        rows = [
            [
                Cell(names[label], color=self._colors[label]),
                Cell(names[prediction], color=self._colors[prediction]),
                number_cell(pixels),
                _percent(pixels / self._labeled[label]),
                _percent(pixels / wrong),
                number_cell(len(self.images_with(label, prediction))),
            ]
            for label, prediction, pixels in pairs
        ]
        return Table(
            'Which class is taken for which, the most pixels first',
            [
                *('label', 'prediction', 'pixels', 'share of the label'),
                *('share of all wrong pixels', 'images'),
            ],
            rows,
            int(kinds) - len(rows),
        )

    def images_with(self, label: int, prediction: int) -> list[int]:
        """Return the images of a confusion, those with most pixels first.

        Args:
            label: The class.
            prediction: The class that it is taken for.
        """
        pairs = self._counts.pairs
        rows = np.flatnonzero(
            (pairs[:, 0] == label) & (pairs[:, 1] == prediction)
        )
        rows = rows[np.argsort(-pairs[rows, 2], kind='stable')]
        found = np.searchsorted(self._counts.pair_ptr, rows, 'right') - 1
        images: list[int] = found.tolist()
        return images

    def worst(self) -> list[int]:
        """Return the images that have a score, the worst first."""
        order = np.argsort(self.images, kind='stable')
        known: list[int] = order[np.isfinite(self.images[order])].tolist()
        return known

    def image_text(self, index: int) -> str:
        """Return how good the prediction of an image is.

        Args:
            index: Number of the image.
        """
        iou, right = self.images[index], self._accuracy(index)
        text = f'mIoU {percent_text(iou)}, {percent_text(right)} right'
        return text if math.isfinite(iou) else 'no labeled pixel'

    def _accuracy(self, index: int) -> float:
        told = int(self._told[index])
        return int(self._right[index]) / told if told else math.nan

    def image_table(self, linked: Sequence[int]) -> Table:
        """Return all images, the worst first.

        Args:
            linked: Those that a picture is shown of.
        """
        known = self.worst()
        unknown = sorted({*range(len(self.images))} - {*known})
        order = [*known, *unknown]
        with_link = set(linked)
        rows = []
        for k in order[:_ROWS]:
            height, width = self._counts.sizes[k].tolist()
            light = float(self._counts.brightness[k])
            name = str(self._counts.names[k])
            link = f'image-{k}' if k in with_link else ''
            rows.append(
                [
                    Cell(name, kind='path', link=link),
                    _percent(float(self.images[k])),
                    _percent(self._accuracy(k)),
                    Cell(f'{width}x{height}', width * height),
                    Cell(f'{light:.0f}', light)
                    if math.isfinite(light)
                    else Cell(''),
                ]
            )
        return Table(
            'All images, the worst first; brightness is 0 to 255',
            ['image', 'mIoU', 'pixels right', 'size', 'brightness'],
            rows,
            len(order) - len(rows),
        )

    def scatters(self) -> list[DotChart]:
        """Return the mIoU of images over their size and brightness."""
        sizes = self._counts.sizes
        charts = []
        for what, values in (
            ('brightness', self._counts.brightness),
            ('size in megapixels', sizes.prod(1) / 1e6),
        ):
            known = np.flatnonzero(
                np.isfinite(values) & np.isfinite(self.images)
            )
            # One size says nothing.
            if len(known) < 2 or np.ptp(values[known]) == 0:
                continue
            some = ''
            if len(known) > _DOTS:
                some = f', {_DOTS} of {len(known)}'
                places = np.linspace(0, len(known) - 1, _DOTS)
                known = known[places.round().astype(int)]
            dots = [
                Dot(
                    float(values[k]),
                    100 * float(self.images[k]),
                    1,
                    0,
                    f'{self._counts.names[k]}: {self.image_text(k)}',
                )
                for k in known.tolist()
            ]
            charts.append(
                DotChart(
                    f'Images{some} by {what}; each dot is an image',
                    (what, 'mIoU in percent'),
                    ['images'],
                    dots,
                    small=True,
                )
            )
        return charts

    def calibration(self) -> tuple[LineChart, Table, str] | None:
        """Return whether the model is as sure as it is right.

        Returns:
            A chart, a table, and the expected calibration error; None if
            confidence was not counted.
        """
        pixels, total, right = self._counts.confidence.T
        used = np.flatnonzero(pixels > 0)
        if not used.size:
            return None
        sure, true = total[used] / pixels[used], right[used] / pixels[used]
        share = pixels[used] / pixels.sum()
        points = list(zip(sure.tolist(), true.tolist(), strict=True))
        lines = [
            Line('pixels by confidence', points, marked=True),
            Line('as sure as right', [(0, 0), (1, 1)], dashed=True),
        ]
        chart = LineChart(
            'Share of pixels that are right, by confidence; below the dashed '
            'line the model is too sure',
            ('confidence', 'share that is right'),
            lines,
        )
        rows = [
            [
                Cell(f'{k / BINS:.2f} to {(k + 1) / BINS:.2f}', k / BINS),
                _percent(share[n]),
                _percent(sure[n]),
                _percent(true[n]),
            ]
            for n, k in enumerate(used.tolist())
        ]
        table = Table(
            'Pixels by the confidence of their prediction',
            ['confidence', 'share of pixels', 'mean confidence', 'right'],
            rows,
        )
        error = float((share * np.abs(sure - true)).sum())
        return chart, table, percent_text(error, 2)


def _ends(low: float, high: float) -> Cell:
    """Return an interval, sorted by its length."""
    if not math.isfinite(low):
        return Cell('')
    return Cell(f'{100 * low:.1f} to {100 * high:.1f}', float(high - low))
