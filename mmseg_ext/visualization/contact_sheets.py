"""Contact sheets: many small pictures with a legend, some on a sheet."""

import colorsys
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from mmseg_ext.formats.image_facts import (
    Finding,
    ImageFacts,
    Kind,
    worst_first,
)
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.files import write_bytes
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.visualization.fonts import draw_text, text_length
from mmseg_ext.visualization.panel import flow

__all__ = [
    'ORDERS',
    'Legend',
    'SheetOptions',
    'Tile',
    'check_out_dir',
    'choose',
    'distinct_color',
    'draw_label',
    'images_text',
    'load_failed',
    'sheets_of',
    'shrink',
    'size_text',
    'write_sheets',
]

#: The orders of the images on sheets.
ORDERS = ('worst', 'name')

#: The longer side of an image on a sheet, height of text and space between
#: images, in pixels.
_SIDE, _FONT, _MARGIN = 400, 11, 8

#: Height of the text of a legend, in pixels, and that of its lines.
_LEGEND_FONT, _LEGEND_LINE = 14, 21

#: Height of a line of text on a filled box.
_LINE = _FONT + 5

#: Rows of a sheet, the columns that its legend has room in, and the most: a
#: JPEG file has no more than 65535 pixels a side.
_ROWS, _COLUMNS, _MOST_COLUMNS = 3, 4, 100

#: What an image has, and a reason, take so many lines at most.
_TEXT_LINES, _REASON_LINES = 2, 3

_PAPER, _INK = (255, 255, 255), (0, 0, 0)

#: Text on filled boxes, and the boxes of captions, reasons and missing images.
_WHITE, _DARK, _ALARM, _GRAY = (
    *((255, 255, 255), (48, 48, 48)),
    *((150, 20, 20), (128, 128, 128)),
)

#: Colors differ in hue by this part of the circle, the golden section: those
#: that follow one another are far apart, however many there are.
_HUE_STEP = 0.618034

#: Relative luminance of the lightest color on which white has a contrast of
#: 4.5 to 1, (1 + 0.05) / (x + 0.05). Source: WCAG 2.2, 1.4.3.
_LIGHTEST = 0.183


class SheetOptions(NamedTuple):
    """What is drawn, and how.

    Attributes:
        columns: Number of images side by side, at most 100.
        num: At most so many images; by default all.
        order: ``'worst'`` draws what is wrong or odd first, and with ``num``
            the worst alone; ``'name'`` is that of the names, of which ``num``
            are evenly spread.
        progress: Show progress bars.
    """

    columns: int = _COLUMNS
    num: int | None = None
    order: str = 'worst'
    progress: bool = True

    def check(self) -> None:
        """Check them.

        Raises:
            ValueError: One is out of range.
        """
        num, columns = self.num, self.columns
        require('num', num, num is None or num >= 1, '1 or more')
        fits = 1 <= columns <= _MOST_COLUMNS
        wanted = f'1 or more, at most {_MOST_COLUMNS}'
        require('columns', columns, fits, wanted)
        require('order', self.order, self.order in ORDERS, ' or '.join(ORDERS))


class Tile(NamedTuple):
    """An image on a sheet.

    Attributes:
        picture: At most as wide as :func:`shrink` makes it.
        name: The image; of a long one the end is shown.
        text: What it has.
        reason: What is wrong or odd; empty for nothing.
    """

    picture: Image.Image
    name: str
    text: str
    reason: str = ''


class Legend(NamedTuple):
    """What stands over the images of the first sheet.

    Attributes:
        title: A line of text.
        entries: Squares, uint8 RGB (h, w, 3), each with its text.
    """

    title: str
    entries: Sequence[tuple[np.ndarray, str]]


def choose(
    names: Sequence[str],
    facts: Sequence[ImageFacts],
    found: Sequence[Sequence[Finding]],
    options: SheetOptions,
) -> list[int]:
    """Return which images to draw, in their order.

    Args:
        names: Those of all images.
        facts: What is known of them.
        found: What is wrong or odd about each.
        options: What is asked for.
    """
    num = len(names) if options.num is None else options.num
    if options.order == 'worst':
        return worst_first(facts, found)[:num]
    order = sorted(range(len(names)), key=names.__getitem__)
    num = min(num, len(names))
    return [order[index * len(names) // num] for index in range(num)]


def size_text(facts: ImageFacts) -> str:
    """Return the size of an image in words.

    Args:
        facts: What is known of it.
    """
    if facts.size is None:
        return 'unknown size'
    return f'{facts.size[0]}x{facts.size[1]}'


def images_text(count: int) -> str:
    """Return a number of images in words."""
    return f'{count} image{"" if count == 1 else "s"}'


def sheets_of(out_dir: Path, stem: str) -> list[Path]:
    """Return the files in a folder that have names of sheets.

    Args:
        out_dir: The folder; it need not be there.
        stem: What the names begin with.
    """
    name = re.compile(re.escape(stem) + r'_\d{3,}\.jpg')
    found = out_dir.iterdir() if out_dir.is_dir() else ()
    return sorted(path for path in found if name.fullmatch(path.name))


def check_out_dir(
    out_dir: Path,
    stem: str,
    inputs: Iterable[Path],
    searched: Iterable[Path] = (),
) -> None:
    """Check that no sheet takes the place of an input, or becomes one.

    Args:
        out_dir: Gets the sheets.
        stem: What their names begin with.
        inputs: The files that are read.
        searched: Folders in which the next run looks for its input.

    Raises:
        ValueError: A sheet and an input would meet.
    """
    place = out_dir.resolve()
    for folder in searched:
        if place.is_relative_to(folder.resolve()):
            raise ValueError(
                f'out_dir={str(out_dir)!r} lies in {folder}, where the next '
                'run would look for images: choose another folder'
            )
    sheets = {path.resolve() for path in sheets_of(out_dir, stem)}
    for path in inputs if sheets else ():
        if path.resolve() in sheets:
            raise ValueError(
                f'out_dir={str(out_dir)!r} has {path}, which is read and has '
                'the name of a sheet: choose another folder'
            )


def load_failed(facts: Sequence[ImageFacts], name: str) -> str | None:
    """Say that there is nothing to draw, if that is so.

    Args:
        facts: Those of all images.
        name: Of the set.
    """
    first = [
        next((f.text for f in fact.findings if f.kind == Kind.UNREADABLE), '')
        for fact in facts
        if fact.size is None or not fact.counts
    ]
    if len(first) < len(facts) or not all(first):
        return None
    if len(facts) == 1:
        return f'{name}: its only image cannot be shown: {first[0]}'
    return (
        f'{name}: none of {len(facts)} images can be shown with a label; the '
        f'first: {first[0]}'
    )


def shrink(
    pixels: np.ndarray, method: int = cv2.INTER_AREA
) -> tuple[np.ndarray, float]:
    """Bring the longer side of an image to that of a tile.

    Args:
        pixels: uint8, (H, W) or (H, W, 3).
        method: OpenCV's interpolation.

    Returns:
        uint8 (h, w) or (h, w, 3), and the factor.
    """
    size = pixels.shape[:2]
    scale = _SIDE / max(size)
    height, width = (max(1, round(scale * side)) for side in size)
    return cv2.resize(pixels, (width, height), interpolation=method), scale


def distinct_color(number: int) -> tuple[int, int, int]:
    """Return an RGB color that is far from those of the numbers near it.

    Args:
        number: 0 or more.
    """
    # Hues that are near one another differ in brightness.
    value = (1.0, 0.7)[number // 8 % 2]
    rgb = colorsys.hsv_to_rgb(number * _HUE_STEP % 1, 0.9, value)
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


def draw_label(
    picture: Image.Image,
    corner: tuple[float, float],
    text: str,
    color: tuple[int, int, int],
) -> None:
    """Write white text on a filled box over a corner, within the picture.

    Args:
        picture: What is drawn on.
        corner: x and y of the left lower corner of the box, in pixels.
        text: One line.
        color: The box has it, as dark as white text needs.
    """
    text = _fit(text, picture.width - 4)
    width = text_length(text, _FONT) + 4
    left = max(0, min(corner[0], picture.width - width))
    top = max(0, min(corner[1], picture.height) - _LINE)
    _write(ImageDraw.Draw(picture), (left, top, width), text, _darker(color))


def _darker(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return a color on which white can be read."""
    light = (np.array(color) / 255) ** 2.2
    luminance = float(light @ (0.2126, 0.7152, 0.0722))
    factor = min(1, _LIGHTEST / max(luminance, 1e-9)) ** (1 / 2.2)
    red, green, blue = (int(factor * part) for part in color)
    return red, green, blue


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float, float],
    text: str,
    color: tuple[int, int, int],
) -> None:
    """Write white text on a box, by its left, top and width."""
    left, top, width = place
    draw.rectangle((left, top, left + width - 1, top + _LINE - 1), color)
    middle = (left + 2, top + _LINE / 2)
    draw_text(draw, middle, text, _WHITE, _FONT, middle=True)


def write_sheets(
    out_dir: Path,
    stem: str,
    jobs: Sequence[Callable[[], Tile]],
    options: SheetOptions,
    legend: Legend,
) -> list[Path]:
    """Draw tiles in rows on sheets, and write these.

    Args:
        out_dir: Gets ``<stem>_001.jpg`` and so on.
        stem: What the names begin with.
        jobs: Each returns a tile; called one after another.
        options: How; no sheet is wider than all tiles need, nor narrower
            than a legend of usual length.
        legend: It is at the top of the first sheet.

    Returns:
        Paths of the sheets.
    """
    sheets: list[Path] = []
    columns = min(options.columns, max(len(jobs), _COLUMNS))
    off = not options.progress
    bar = tqdm(jobs, desc='drawing', unit=' images', disable=off)
    with working_in(out_dir), bar:
        tiles = (job() for job in bar)
        while some := list(islice(tiles, columns * _ROWS)):
            path = out_dir / f'{stem}_{len(sheets) + 1:03d}.jpg'
            sheet = _sheet(some, columns, None if sheets else legend)
            write_bytes(path, _encode(sheet))
            sheets.append(path)
    return sheets


def _sheet(
    tiles: Iterable[Tile], columns: int, legend: Legend | None
) -> Image.Image:
    """Return a sheet with the tiles in rows."""
    pictures = [_with_caption(tile) for tile in tiles]
    width = columns * (_SIDE + _MARGIN) - _MARGIN
    parts = [_legend(legend, width)] if legend else []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        part = Image.new('RGB', (width, max(p.height for p in row)), _PAPER)
        for column, picture in enumerate(row):
            part.paste(picture, (column * (_SIDE + _MARGIN), 0))
        parts.append(part)
    height = sum(part.height + _MARGIN for part in parts) + _MARGIN
    sheet = Image.new('RGB', (width + 2 * _MARGIN, height), _PAPER)
    top = _MARGIN
    for part in parts:
        sheet.paste(part, (_MARGIN, top))
        top += part.height + _MARGIN
    return sheet


def _with_caption(tile: Tile) -> Image.Image:
    """Return a picture over what is said of it."""
    lines = [
        (_fit(tile.name, _SIDE - 4, end=True), _DARK),
        *((line, _DARK) for line in _wrap(tile.text, _TEXT_LINES)),
        *((line, _ALARM) for line in _wrap(tile.reason, _REASON_LINES)),
    ]
    height = tile.picture.height
    whole = Image.new('RGB', (_SIDE, height + len(lines) * _LINE), _PAPER)
    whole.paste(tile.picture)
    draw = ImageDraw.Draw(whole)
    for number, (line, color) in enumerate(lines):
        _write(draw, (0, height + number * _LINE, _SIDE), line, color)
    return whole


def _fit(text: str, width: float, end: bool = False) -> str:
    """Shorten a text, so that its beginning or its end is left."""
    if text_length(text, _FONT) <= width:
        return text
    # The first that is too long, of ever longer parts.
    keep = bisect_left(
        range(1, len(text)),
        True,
        key=lambda count: text_length(_cut(text, count, end), _FONT) > width,
    )
    return _cut(text, keep, end)


def _cut(text: str, keep: int, end: bool) -> str:
    return f'…{text[-keep:]}' if end else f'{text[:keep]}…'


def _wrap(text: str, most: int) -> list[str]:
    """Divide a text into lines; what does not go in is cut off."""
    width = _SIDE - 4
    lines = ['']
    for word in text.split():
        longer = f'{lines[-1]} {word}'.lstrip()
        fits = text_length(longer, _FONT) <= width
        if fits or not lines[-1] or len(lines) == most:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_fit(line, width) for line in lines if line]


def _legend(legend: Legend, width: int) -> Image.Image:
    """Return squares and texts in columns, under a title."""
    widest = max(
        (text_length(text, _LEGEND_FONT) for _, text in legend.entries),
        default=0,
    )
    cell = min(width, widest + 3 * _LEGEND_FONT)
    places, lines = flow([cell] * len(legend.entries), width)
    size = width, (lines + 1) * _LEGEND_LINE
    picture = Image.new('RGB', size, _PAPER)
    draw = ImageDraw.Draw(picture)
    draw_text(draw, (0, 0), legend.title, _INK, _LEGEND_FONT)
    for (square, text), (left, line) in zip(
        legend.entries, places, strict=True
    ):
        x, y = round(left), (line + 1) * _LEGEND_LINE
        side = _LEGEND_FONT + 1
        color = cv2.resize(
            square, (side, side), interpolation=cv2.INTER_NEAREST
        )
        picture.paste(Image.fromarray(color), (x, y))
        draw.rectangle((x, y, x + side - 1, y + side - 1), None, _GRAY)
        draw_text(draw, (x + 1.5 * side, y), text, _INK, _LEGEND_FONT)
    return picture


def _encode(sheet: Image.Image) -> bytes:
    """Return the content of a JPEG file."""
    pixels = np.asarray(sheet)[..., ::-1]
    options = [cv2.IMWRITE_JPEG_QUALITY, 92]
    return cv2.imencode('.jpg', pixels, options)[1].tobytes()
