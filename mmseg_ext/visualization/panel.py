"""Panels: an image beside its label maps, over a legend of their classes."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from mmseg_ext.utils.files import write_bytes
from mmseg_ext.visualization.fonts import draw_text, shorten, text_length

__all__ = [
    'NO_CLASS',
    'Entry',
    'Style',
    'class_entries',
    'class_map',
    'draw_panel',
    'fit_tile',
    'flow',
    'grid_columns',
    'lay_out',
    'make_style',
    'mean_iou',
    'overlay',
    'paint',
    'read_style',
    'write_indexed_png',
]

#: Index of the pixels that belong to no class, in the maps that are written.
NO_CLASS = 255

#: Length in pixels of a panel's longer tile side. Smaller images are enlarged
#: and larger ones reduced, so that text and picture keep their proportion.
_TILE_SIDE = (320, 800)

#: Height of a panel's text in pixels: at least this, and grown with the panel
#: so that a row of tiles is about so many times as long.
_MIN_FONT = 15
_ROW_EMS = 90

#: Lengths in such heights: the least of a tile, for its caption, and the most
#: of a title or name where the tiles are narrower.
_CAPTION_EMS, _TEXT_EMS = 6, 40

#: Width by height that a grid of tiles comes near to: that of most screens.
_PAGE = 1.6

#: Share of the classes' colors in what is seen of an image below them.
_OPACITY = 0.55

#: Grays of the squares that stand for pixels of no class, or what is next to
#: them where a class has that gray, and squares along a tile's longer side.
_LIGHT, _DARK = 236, 144
_SQUARES = 90

#: In the map of errors: grays of an image where the prediction is right, from
#: what is black to what is white, their middle, and the color of the others.
_QUIET = (200, 250)
_RIGHT = (225, 225, 225)
_WRONG = (230, 20, 60)

_INK = (32, 32, 32)
_FAINT_INK = (112, 112, 112)
_FRAME = (160, 160, 160)
_PAPER = (255, 255, 255)


class Entry(NamedTuple):
    """An entry of a legend.

    Attributes:
        text: Its name.
        swatch: uint8 RGB (1, 1, 3) for one color, or a pattern, (h, w, 3);
            None for a word that is followed by entries.
    """

    text: str
    swatch: np.ndarray | None


class Style(NamedTuple):
    """How classes are shown.

    Attributes:
        names: Class names.
        colors: uint8 (256, 3), the RGB color of every index.
    """

    names: Sequence[str]
    colors: np.ndarray


def read_style(dataset: object) -> Style:
    """Take classes and palette from the metainfo of a data set.

    Args:
        dataset: Its ``metainfo`` holds ``classes`` and ``palette``, RGB. The
            indices that no class has get a gray that is not in the palette:
            black, else white, else the darkest.

    Raises:
        ValueError: They are missing, do not match, or are too many for labels
            of 8 bits, or a color is not three values of 0 to 255.
    """
    metainfo: dict[str, Any] = getattr(dataset, 'metainfo', {})
    names, palette = (
        () if metainfo.get(key) is None else metainfo[key]
        for key in ('classes', 'palette')
    )
    return make_style(
        names, palette, f'the metainfo of {type(dataset).__name__}'
    )


def make_style(
    names: Sequence[str], palette: Sequence[Sequence[int]], where: str
) -> Style:
    """Return how classes are shown; see :func:`read_style`.

    Args:
        names: Of the classes.
        palette: Their colors, RGB.
        where: What has both, in words.

    Raises:
        ValueError: See :func:`read_style`.
    """
    if not 1 <= len(names) <= NO_CLASS or len(names) != len(palette):
        raise ValueError(
            f'pictures of labels need 1 to {NO_CLASS} classes and a palette '
            f'of as many colors in {where}, got {len(names)} and '
            f'{len(palette)}'
        )
    for name, color in zip(names, palette, strict=True):
        if len(color) != 3 or not all(0 <= value <= 255 for value in color):
            raise ValueError(
                f'palette in {where}: expected three values of 0 to 255 for '
                f'{name}, got {color}'
            )
    used = {tuple(color) for color in palette}
    grays = ((value,) * 3 for value in (0, 255, *range(1, 255)))
    colors = np.empty((256, 3), np.uint8)
    colors[:] = next(gray for gray in grays if gray not in used)
    colors[: len(names)] = palette
    return Style(names, colors)


def class_map(values: Tensor, num_classes: int) -> np.ndarray:
    """Return class indices as an array of 8 bits.

    Args:
        values: Integers or whole floats, (1, H, W) or (H, W), on any device.
        num_classes: Values below 0 or from here on become ``NO_CLASS``.

    Returns:
        uint8, (H, W).

    Raises:
        ValueError: It is of another shape, as one with several channels is,
            or a float is NaN or has a fraction.
    """
    if values.ndim != 2 and (values.ndim != 3 or len(values) != 1):
        raise ValueError(
            f'a map of shape {tuple(values.shape)}; expected class indices '
            '(1, H, W) or (H, W)'
        )
    whole = values.long()
    wrong = values[whole != values]
    if wrong.numel():
        raise ValueError(
            f'a map with the value {wrong[0].item()}; expected class indices, '
            'which are whole numbers'
        )
    indices = whole.cpu().numpy()
    indices = indices.reshape(indices.shape[-2:])
    known = (indices >= 0) & (indices < num_classes)
    return np.where(known, indices, NO_CLASS).astype(np.uint8)


def write_indexed_png(path: Path, indices: np.ndarray, style: Style) -> None:
    """Write class indices as a PNG with a palette, whole or not at all.

    Args:
        path: The file to write; parent folders are made.
        indices: uint8, (H, W).
        style: Colors of the indices.
    """
    image = Image.fromarray(indices)
    image.putpalette(style.colors.tobytes())
    buffer = BytesIO()
    image.save(buffer, 'PNG')
    write_bytes(path, buffer.getvalue())


def paint(indices: np.ndarray, style: Style) -> np.ndarray:
    """Color a map, with squares of two grays for pixels of no class.

    Squares are no color, so that no class can be taken for them. Neither gray
    is the color of a class.

    Args:
        indices: uint8 class indices, (H, W).
        style: Colors of the classes.

    Returns:
        uint8 RGB, (H, W, 3).
    """
    colors = style.colors[indices]
    absent = indices == NO_CLASS
    if absent.any():
        colors[absent] = _squares(style, *indices.shape)[absent]
    return colors


def _squares(style: Style, height: int, width: int) -> np.ndarray:
    """Return the pattern of pixels of no class, uint8 (height, width, 3)."""
    light, dark = _free_gray(style, _LIGHT), _free_gray(style, _DARK)
    side = max(max(height, width) // _SQUARES, 3)
    rows, columns = np.arange(height) // side, np.arange(width) // side
    odd = (rows[:, None] + columns) % 2 == 1
    pattern = np.where(odd, dark, light).astype(np.uint8)
    return np.repeat(pattern[..., None], 3, axis=2)


def _free_gray(style: Style, wanted: int) -> int:
    """Return the gray next to one that is no color of a class."""
    classes = style.colors[: len(style.names)].tolist()
    # There are fewer classes than grays.
    free = [gray for gray in range(256) if [gray] * 3 not in classes]
    return min(free, key=lambda gray: abs(gray - wanted))


def overlay(
    image: np.ndarray, indices: np.ndarray, style: Style
) -> np.ndarray:
    """Lay the colors of a map over an image.

    Args:
        image: uint8 RGB, (H, W, 3).
        indices: uint8 class indices, (H, W).
        style: Colors of the classes.

    Returns:
        uint8 RGB, (H, W, 3).
    """
    colors = paint(indices, style)
    return cv2.addWeighted(image, 1 - _OPACITY, colors, _OPACITY, 0)


def _paint_errors(
    image: np.ndarray,
    label: np.ndarray,
    prediction: np.ndarray,
    style: Style,
) -> np.ndarray:
    """Return where a prediction is right, wrong, or not told, uint8 RGB."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = _QUIET
    quiet = np.round(low + gray / 255 * (high - low)).astype(np.uint8)
    errors = np.repeat(quiet[..., None], 3, axis=2)
    errors[prediction != label] = _WRONG
    ignored = label == NO_CLASS
    errors[ignored] = paint(label, style)[ignored]
    return errors


def mean_iou(label: np.ndarray, prediction: np.ndarray) -> float | None:
    """Return the mean IoU of one image.

    The mean is over the classes that occur in the label or, where that has a
    class, in the prediction. Pixels without a class in the label do not
    count; one without a class in the prediction counts as wrong.

    Args:
        label: uint8 class indices, (H, W), :data:`NO_CLASS` for none.
        prediction: The same.

    Returns:
        0 to 1; None if no pixel has a label.
    """
    told = label != NO_CLASS
    counts = np.bincount(
        256 * label[told].astype(np.int64) + prediction[told],
        minlength=256 * 256,
    ).reshape(256, 256)
    right = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - right
    union[NO_CLASS] = 0
    occurring = union > 0
    if not occurring.any():
        return None
    return float((right[occurring] / union[occurring]).mean())


def draw_panel(
    title: str,
    image: np.ndarray,
    maps: dict[str, np.ndarray],
    style: Style,
    note: str = '',
) -> np.ndarray:
    """Draw an image, its label and its prediction, over a legend.

    Beside them are the prediction laid over the image and, where there is a
    label, a map of the errors: quiet where the prediction is right, red where
    it is wrong. Pixels without a class show squares of two grays.

    Args:
        title: Text at the top, such as the name of the image.
        image: uint8 RGB, (H, W, 3).
        maps: uint8 class indices, (H, W), by their captions: ``'prediction'``
            and, if there is one, ``'label'`` before it.
        style: Names and colors of the classes.
        note: What stands below the title. With a label, the mean IoU of the
            image (:func:`mean_iou`) follows it.

    Returns:
        uint8 RGB, (h, w, 3). The legend names the classes that occur.
    """
    shown = fit_tile(image, cv2.INTER_AREA)
    fitted = {
        caption: fit_tile(indices, cv2.INTER_NEAREST)
        for caption, indices in maps.items()
    }
    tiles = {
        'image': shown,
        'overlay': overlay(shown, fitted['prediction'], style),
        **{key: paint(indices, style) for key, indices in fitted.items()},
    }
    occurring = np.unique(np.concatenate([*map(np.ravel, maps.values())]))
    legend = [class_entries(occurring, style)]
    if 'label' in maps:
        tiles['errors'] = _paint_errors(
            shown, fitted['label'], fitted['prediction'], style
        )
        right, wrong = np.array([[[_RIGHT]], [[_WRONG]]], np.uint8)
        legend.append(
            [
                Entry('errors:', None),
                Entry('right', right),
                Entry('wrong', wrong),
            ]
        )
        iou = mean_iou(maps['label'], maps['prediction'])
        if iou is not None:
            score = f'mIoU of this image {100 * iou:.2f} %'
            note = ', '.join(filter(None, [note, score]))
    return lay_out([title, note], list(tiles.items()), legend)


def class_entries(
    classes: Sequence[int] | np.ndarray, style: Style
) -> list[Entry]:
    """Return what a legend says of classes.

    Args:
        classes: Their indices; :data:`NO_CLASS` is called ``ignored``.
        style: Names and colors of the classes.
    """
    return [
        Entry('ignored', _squares(style, 12, 12))
        if index == NO_CLASS
        else Entry(style.names[index], style.colors[index][None, None])
        for index in classes
    ]


def lay_out(
    titles: Sequence[str],
    tiles: Sequence[tuple[str, np.ndarray]],
    legend: Sequence[Sequence[Entry]],
) -> np.ndarray:
    """Set tiles in a grid, below a title and over a legend.

    The grid has about the shape of a screen. A text that is longer than a
    line loses its middle.

    Args:
        titles: Lines of text; empty ones are left out.
        tiles: Captions and uint8 RGB pictures, (H, W, 3); at least one.
        legend: Its entries; each group begins a line.

    Returns:
        uint8 RGB, (h, w, 3).
    """
    width = max(tile.shape[1] for _, tile in tiles)
    height = max(tile.shape[0] for _, tile in tiles)
    columns = grid_columns(len(tiles), width, height)
    em = max(_MIN_FONT, columns * width // _ROW_EMS)
    line = 3 * em // 2
    width = max(width, _CAPTION_EMS * em)
    tiled = columns * (width + em) - em
    longest = max(tiled, _TEXT_EMS * em)
    titles = [shorten(text, em, longest) for text in titles if text]
    entries = [_set_entries(group, em, longest) for group in legend if group]
    lengths = [length for group in entries for *_, length in group]
    row = max(tiled, *lengths, *(text_length(text, em) for text in titles))

    top = 2 * em + len(titles) * line
    rows = -(-len(tiles) // columns)
    bottom = top + rows * (line + height + em)
    flows = [flow([length for *_, length in group], row) for group in entries]
    lines = sum(count for _, count in flows)
    size = round(row) + 2 * em, bottom + lines * line + em // 2
    canvas = Image.new('RGB', size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(titles):
        ink = _FAINT_INK if number else _INK
        draw_text(draw, (em, em + number * line), text, ink, em)
    for number, (caption, tile) in enumerate(tiles):
        left = em + number % columns * (width + em)
        upper = top + number // columns * (line + height + em)
        caption = shorten(caption, em, width)
        draw_text(draw, (left, upper), caption, _FAINT_INK, em)
        upper += line
        canvas.paste(Image.fromarray(tile), (left, upper))
        high, wide = tile.shape[:2]
        edges = left - 1, upper - 1, left + wide, upper + high
        draw.rectangle(edges, None, _FRAME)
    for group, (places, count) in zip(entries, flows, strict=True):
        for (text, swatch, _), (x, n) in zip(group, places, strict=True):
            place = em + round(x), bottom + n * line
            _draw_entry(canvas, place, text, swatch, em)
        bottom += count * line
    return np.asarray(canvas)


def _set_entries(
    entries: Sequence[Entry], em: int, longest: int
) -> list[tuple[str, np.ndarray | None, float]]:
    """Return text, swatch and length of entries that are not too long."""
    found = []
    for text, swatch in entries:
        # A square of one em, half an em, the name, and a gap.
        extra = (1 if swatch is None else 3) * em
        text = shorten(text, em, longest - extra)
        found.append((text, swatch, text_length(text, em) + extra))
    return found


def _draw_entry(
    canvas: Image.Image,
    place: tuple[int, int],
    text: str,
    swatch: np.ndarray | None,
    em: int,
) -> None:
    """Draw an entry of a legend."""
    draw = ImageDraw.Draw(canvas)
    (x, y), ink = place, _FAINT_INK
    if swatch is not None:
        square = Image.fromarray(swatch)
        square = square.resize((em, em), Image.Resampling.NEAREST)
        canvas.paste(square, place)
        draw.rectangle((x, y, x + em, y + em), None, _FRAME)
        x, ink = x + 3 * em // 2, _INK
    draw_text(draw, (x, y + em / 2), text, ink, em, middle=True)


def grid_columns(count: int, width: int, height: int) -> int:
    """Return in how many columns a grid of tiles is most like a screen.

    Args:
        count: Number of tiles.
        width: That of a tile in pixels.
        height: That of a tile in pixels.
    """

    def unlikeness(columns: int) -> float:
        rows = -(-count // columns)
        return abs(math.log(columns * width / (rows * height) / _PAGE))

    return min(range(1, count + 1), key=unlikeness)


def fit_tile(array: np.ndarray, reduction: int) -> np.ndarray:
    """Resize so that the longer side has 320 to 800 pixels.

    Args:
        array: uint8, (H, W) or (H, W, 3).
        reduction: OpenCV's interpolation for making it smaller. It is
            enlarged by repeating pixels.

    Returns:
        uint8, (h, w) or (h, w, 3).
    """
    height, width = array.shape[:2]
    longer = max(height, width)
    scale = np.clip(longer, *_TILE_SIDE) / longer
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    method = reduction if scale < 1 else cv2.INTER_NEAREST
    return cv2.resize(array, size, interpolation=method)


def flow(
    lengths: Sequence[float], width: float
) -> tuple[list[tuple[float, int]], int]:
    """Set entries in lines, as words of a text.

    Args:
        lengths: Length of each entry, at most ``width``.
        width: Length of a line.

    Returns:
        The offset and the line of each entry, and the number of lines.
    """
    places = []
    x, line = 0.0, 0
    for length in lengths:
        if x + length > width:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += length
    return places, line + 1
