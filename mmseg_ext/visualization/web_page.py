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
    'Picture',
    'Table',
    'brief',
    'jpeg_uri',
    'number_cell',
    'png_uri',
    'render_page',
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

#: Quality of pictures: a photograph of 400x300 takes about 20 kB.
_QUALITY = 80


class Cell(NamedTuple):
    """An entry of a table.

    Attributes:
        text: What it says.
        value: By which it is sorted; None for its text.
        kind: A class of the styles: ``'error'``, ``'warning'``, ``'note'`` for
            levels, ``'path'`` for files, ``'code'`` for names that stay in
            one line, ``'wide'`` for texts, ``'heat0'`` to ``'heat10'``.
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
    """

    sources: Sequence[str | None]
    texts: Sequence[str]
    caption: str
    note: str = ''
    legend: Sequence[tuple[str, str]] = ()


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
    """

    title: str
    series: Sequence[str]
    bars: Sequence[Bar]
    unit: str = ''
    log: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The values at the left and the right end."""
        values = [v for bar in self.bars for v in bar.values if v > 0]
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
    """

    title: str
    axes: tuple[str, str]
    series: Sequence[str]
    dots: Sequence[Dot]

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
        largest = max(dot.amount for dot in self.dots)
        return math.sqrt(dot.amount / largest)


def _round_steps(most: float) -> list[float]:
    """Return round values from 0 up to at most ``most``."""
    step = 10.0 ** math.floor(math.log10(most / _LINES))
    step *= next((m for m in (1, 2, 5) if most / (m * step) <= _LINES + 1), 10)
    return [step * k for k in range(math.floor(most / step) + 1)]


def _short(value: float) -> str:
    """Return a number of an axis."""
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
