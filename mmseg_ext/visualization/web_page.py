"""Web pages that are one file and need nothing else.

A page is made from a Jinja template that extends ``page.html``: texts are
escaped, styles and script stand within, pictures are ``data:`` addresses, and
a Content-Security-Policy forbids the browser to fetch or run anything else.
``parts.html`` has macros for tables, charts and pictures.
"""

import base64
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from mmseg_ext.utils.files import write_text
from mmseg_ext.utils.images import encode_png
from mmseg_ext.utils.text import printable

__all__ = [
    'Bar',
    'BarChart',
    'Cell',
    'Dot',
    'DotChart',
    'Interval',
    'IntervalChart',
    'Line',
    'LineChart',
    'Picture',
    'Table',
    'brief',
    'hex_color',
    'jpeg_uri',
    'number_cell',
    'png_uri',
    'render_page',
    'webp_uri',
    'write_page',
]

#: What every page extends and takes its macros, styles and script from.
_TEMPLATES = Path(__file__).with_name('templates')

#: Characters that a text may have in a page, and in the labels of a chart:
#: names may have ten thousand.
_TEXT, _LABEL = 300, 30

#: Decades that a logarithmic chart shows at most; less is drawn as least.
_DECADES = 7

#: About so many lines of a grid stand in a linear chart.
_LINES = 5

#: Quality of pictures: a photograph of 400x300 takes about 20 kB, and half of
#: that as WebP, where the quality above 100 stands for all bits.
_QUALITY = 80
_WEBP_QUALITY, _WEBP_EXACT = 70, 101


class Cell(NamedTuple):
    """An entry of a table.

    Attributes:
        text: What it says.
        value: By which it is sorted; None for its text.
        kind: A class of the styles: ``'error'``, ``'warning'``, ``'note'`` for
            levels, ``'path'`` for files, ``'code'`` for names that stay in
            one line, ``'wide'`` for texts, ``'heat0'`` to ``'heat10'``,
            ``'bad0'`` to ``'bad10'``.
        color: Of a square before the text, as ``'#rrggbb'``.
        link: The id of what it leads to, in the same page.
    """

    text: str
    value: float | None = None
    kind: str = ''
    color: str = ''
    link: str = ''


class Table(NamedTuple):
    """A table, which is sorted by a click on a head.

    Attributes:
        caption: What it shows, in a few words.
        columns: The heads.
        rows: As many cells each.
        left_out: How many more rows there are, which are not shown.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left_out: int = 0


class Picture(NamedTuple):
    """Pictures side by side, with a text below.

    Attributes:
        sources: Addresses, ``data:``; None for one that cannot be shown.
        texts: What each shows, also for those who cannot see it.
        caption: What all show, in a line; of a file its path.
        note: More, such as what is wrong.
        legend: Colors, as ``'#rrggbb'``, and what they mean.
        heads: A word above each, or none at all.
        id: By which a link leads to them.
    """

    sources: Sequence[str | None]
    texts: Sequence[str]
    caption: str
    note: str = ''
    legend: Sequence[tuple[str, str]] = ()
    heads: Sequence[str] = ()
    id: str = ''


class Bar(NamedTuple):
    """The bars of a name, in a chart.

    Attributes:
        name: What they belong to.
        values: One for each series, 0 or more.
        texts: The values as they are written.
        color: Of a square before the name, as ``'#rrggbb'``.
    """

    name: str
    values: Sequence[float]
    texts: Sequence[str]
    color: str = ''


class BarChart(NamedTuple):
    """Bars from left to right, one name below the other.

    Attributes:
        title: What it shows, in one line.
        series: What each bar of a name stands for.
        bars: At least one.
        unit: Of the values, ``'%'`` or empty.
        log: Whether the scale is logarithmic.
        stacked: Whether the bars of a name are one, in pieces; the texts
            then tell in words what the pieces are.
        colors: One for each series, as ``'#rrggbb'``; none for those that
            all charts have.
    """

    title: str
    series: Sequence[str]
    bars: Sequence[Bar]
    unit: str = ''
    log: bool = False
    stacked: bool = False
    colors: Sequence[str] = ()

    @property
    def ends(self) -> tuple[float, float]:
        """The values at the left and the right end."""
        values = [v for bar in self.bars for v in bar.values if v > 0]
        if self.stacked:
            values = [total for b in self.bars if (total := sum(b.values)) > 0]
        most = max(values, default=1)
        if not self.log:
            return 0, most
        right = math.ceil(math.log10(most))
        left = math.floor(math.log10(min(values, default=1)))
        left = max(min(left, right - 1), right - _DECADES)
        return 10.0**left, 10.0**right

    def place(self, value: float) -> float:
        """Return how far right a value is, 0 to 1.

        Args:
            value: 0 or more; with a logarithmic scale, one that is not 0 is
                still to be seen.
        """
        left, right = self.ends
        if not self.log:
            return value / right
        if value <= 0:
            return 0
        share = math.log(value / left) / math.log(right / left)
        return min(max(share, 0.005), 1)

    def pieces(self, bar: Bar) -> list[tuple[float, float]]:
        """Return where each value begins and how long it is, 0 to 1.

        Args:
            bar: One of the chart.
        """
        found, start = [], 0.0
        for value in bar.values:
            found.append((start, self.place(value)))
            start += self.place(value) * self.stacked
        return found

    @property
    def ticks(self) -> Iterator[tuple[float, str]]:
        """Where lines of the grid are, 0 to 1, and what stands there."""
        left, right = self.ends
        if self.log:
            values = [
                10.0**power
                for power in range(
                    round(math.log10(left)), round(math.log10(right)) + 1
                )
            ]
        else:
            values = _round_steps(right)
        for value in values:
            unit = f' {self.unit}' if self.unit else ''
            place = 0 if value in (0, left) else self.place(value)
            yield place, f'{_short(value)}{unit}'


class Dot(NamedTuple):
    """A dot of a chart.

    Attributes:
        x: 0 or more.
        y: 0 or more.
        amount: Its area is as large.
        series: Its number.
        text: What it stands for.
    """

    x: float
    y: float
    amount: int
    series: int
    text: str


class DotChart(NamedTuple):
    """Dots over two axes, both from 0.

    Attributes:
        title: What it shows, in one line.
        axes: What goes to the right and up.
        series: Their names.
        dots: At least one.
        small: Whether all dots are small, as where there are many.
    """

    title: str
    axes: tuple[str, str]
    series: Sequence[str]
    dots: Sequence[Dot]
    small: bool = False

    @property
    def most(self) -> tuple[float, float]:
        """The ends of the axes."""
        return (
            max(dot.x for dot in self.dots) * 1.1 or 1,
            max(dot.y for dot in self.dots) * 1.1 or 1,
        )

    @property
    def ticks(self) -> tuple[list[tuple[float, str]], ...]:
        """Of each axis where lines of the grid are, and what stands there."""
        return tuple(
            [(value / most, _short(value)) for value in _round_steps(most)]
            for most in self.most
        )

    def radius(self, dot: Dot) -> float:
        """Return the radius of a dot, 0 to 1."""
        if self.small:
            return 0
        largest = max(dot.amount for dot in self.dots)
        return math.sqrt(dot.amount / largest)


class Interval(NamedTuple):
    """A value, and between what it lies.

    Attributes:
        name: What it belongs to.
        value: Any number; NaN for none.
        low: NaN where it is not known.
        high: NaN where it is not known.
        text: All three as they are written.
        color: Of a square before the name, as ``'#rrggbb'``.
    """

    name: str
    value: float
    low: float
    high: float
    text: str
    color: str = ''


class IntervalChart(NamedTuple):
    """Values with intervals, over one axis that has 0.

    Attributes:
        title: What it shows, in one line.
        intervals: At least one.
        unit: Of the values, ``'%'`` or empty.
    """

    title: str
    intervals: Sequence[Interval]
    unit: str = ''

    @property
    def ends(self) -> tuple[float, float]:
        """The values at the left and the right end."""
        values = [
            value
            for each in self.intervals
            for value in (each.value, each.low, each.high)
            if math.isfinite(value)
        ]
        low, high = min([0, *values]), max([0, *values])
        return (low, high) if low < high else (0, 1)

    def place(self, value: float) -> float | None:
        """Return how far right a value is, 0 to 1; None for NaN.

        Args:
            value: Within the ends.
        """
        low, high = self.ends
        return (value - low) / (high - low) if math.isfinite(value) else None

    @property
    def ticks(self) -> Iterator[tuple[float, str]]:
        """Where lines of the grid are, 0 to 1, and what stands there."""
        low, high = self.ends
        unit = f' {self.unit}' if self.unit else ''
        for value in _round_steps(high, low):
            yield (value - low) / (high - low), f'{_short(value)}{unit}'


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name: What it stands for.
        points: Right and up; those with NaN are left out.
        dashed: Whether it is a help for the eye, not data.
        marked: Whether its points have dots.
    """

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    marked: bool = False


class LineChart(NamedTuple):
    """Lines over two axes, by default both from 0 to 1.

    Attributes:
        title: What it shows, in one line.
        axes: What goes to the right and up.
        lines: In the order of their colors, dashed ones last.
        ends: First and last value of each axis.
    """

    title: str
    axes: tuple[str, str]
    lines: Sequence[Line]
    ends: tuple[tuple[float, float], tuple[float, float]] = ((0, 1), (0, 1))

    @property
    def ticks(self) -> tuple[list[tuple[float, str]], ...]:
        """Of each axis where lines of the grid are, and what stands there."""
        return tuple(
            [
                ((value - low) / (high - low), _short(value))
                for value in _round_steps(high, low)
            ]
            for low, high in self.ends
        )

    def places(
        self, line: Line, left: float, top: float, width: float, height: float
    ) -> list[tuple[float, float]]:
        """Return the points of a line in a drawing, from its top left.

        Args:
            line: One of the chart.
            left: Where the axis begins that goes to the right.
            top: Where the axis ends that goes up.
            width: Length of the one.
            height: Length of the other.
        """
        (x0, x1), (y0, y1) = self.ends
        return [
            (
                round(left + width * (x - x0) / (x1 - x0), 1),
                round(top + height * (y1 - y) / (y1 - y0), 1),
            )
            for x, y in line.points
            if math.isfinite(x) and math.isfinite(y)
        ]

    @staticmethod
    def path(places: Sequence[tuple[float, float]]) -> Markup:
        """Return points as an attribute of SVG, which is not cut.

        Args:
            places: See :meth:`places`.
        """
        return Markup(' '.join(f'{x:g},{y:g}' for x, y in places))


def _round_steps(most: float, least: float = 0) -> list[float]:
    """Return round values from ``least`` up to at most ``most``."""
    span = most - least
    step = 10.0 ** math.floor(math.log10(span / _LINES))
    step *= next((m for m in (1, 2, 5) if span / (m * step) <= _LINES + 1), 10)
    # An end that is round may be a little beside itself.
    first = math.ceil(least / step - 1e-9)
    return [step * k for k in range(first, math.floor(most / step + 1e-9) + 1)]


def _short(value: float) -> str:
    """Return a number of an axis."""
    if value < 0:
        return f'-{_short(-value)}'
    for limit, sign in ((1e9, 'G'), (1e6, 'M'), (1e4, 'k')):
        if value >= limit:
            return f'{value / (limit if sign != "k" else 1e3):g}{sign}'
    return f'{value:.10f}'.rstrip('0').rstrip('.')


def number_cell(value: int) -> Cell:
    """Return a whole number as a cell.

    Args:
        value: The number.
    """
    return Cell(f'{value:,}', value)


def brief(text: str, most: int = _TEXT) -> str:
    """Return a text that is not too long, without its middle if it is.

    Args:
        text: Any; what cannot be seen is escaped.
        most: Characters that it may have.
    """
    text = printable(text if len(text) <= 2 * most else _cut(text, 2 * most))
    return text if len(text) <= most else _cut(text, most)


def _cut(text: str, most: int) -> str:
    half = most // 2
    return f'{text[:half]}…{text[-half:]}'


def jpeg_uri(image: np.ndarray) -> Markup:
    """Return a photograph as the address of a picture.

    Args:
        image: uint8 RGB, (H, W, 3).
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    data = cv2.imencode('.jpg', image[..., ::-1], options)[1].tobytes()
    return _uri('image/jpeg', data)


def png_uri(image: np.ndarray) -> Markup:
    """Return a drawing as the address of a picture.

    Args:
        image: uint8 RGB, (H, W, 3).
    """
    return _uri('image/png', encode_png(image[..., ::-1]))


def webp_uri(image: np.ndarray, exact: bool = False) -> Markup:
    """Return a picture as the address of a small file.

    Args:
        image: uint8 RGB, (H, W, 3).
        exact: Whether all pixels stay as they are: drawings of few colors
            are small nevertheless.
    """
    quality = _WEBP_EXACT if exact else _WEBP_QUALITY
    options = [cv2.IMWRITE_WEBP_QUALITY, quality]
    data = cv2.imencode('.webp', image[..., ::-1], options)[1].tobytes()
    return _uri('image/webp', data)


def hex_color(color: Sequence[int]) -> str:
    """Return a color as pages have it, ``'#rrggbb'``.

    Args:
        color: Red, green and blue, 0 to 255.
    """
    return '#{:02x}{:02x}{:02x}'.format(*color)


def _uri(kind: str, data: bytes) -> Markup:
    # Not a text from outside, which would be cut.
    return Markup(f'data:{kind};base64,{base64.b64encode(data).decode()}')


def render_page(template: Path, **values: Any) -> str:
    """Return a page.

    Args:
        template: A file that extends ``page.html``. It fills the blocks
            ``title`` and ``main``.
        **values: What it names. Texts are escaped, and cut where they are
            longer than anyone reads.

    Raises:
        jinja2.TemplateError: The template is broken, or names what is
            missing.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, _TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    environment.filters['brief'] = brief
    environment.filters['label'] = lambda text: brief(text, _LABEL)
    style, script = (
        (_TEMPLATES / name).read_text(encoding='utf-8')
        for name in ('page.css', 'page.js')
    )
    page = environment.get_template(template.name)
    return page.render(
        **values,
        page_style=Markup(style),
        page_script=Markup(script),
        page_policy=_policy(style, script),
    )


def _shown(value: Any) -> Any:
    """Return what is written of a value: no sign that no file can hold."""
    own = isinstance(value, Markup) or not isinstance(value, str)
    return value if own else brief(value)


def _policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy of a page: its own, nothing else."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        "default-src 'none'; img-src data:; "
        f"style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def write_page(
    path: str | os.PathLike[str], template: Path, **values: Any
) -> None:
    """Write what :func:`render_page` returns, whole or not at all.

    Args:
        path: The file to write. Missing parent folders are made.
        template: See :func:`render_page`.
        **values: See :func:`render_page`.

    Raises:
        OSError: It cannot be written.
        jinja2.TemplateError: See :func:`render_page`.
    """
    write_text(path, render_page(template, **values))
