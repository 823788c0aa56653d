"""Panels: an image beside its label maps, over a legend of their classes."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from mmseg_ext.utils.files import write_bytes
from mmseg_ext.visualization.fonts import draw_text, text_length

__all__ = [
    'NO_CLASS',
    'Style',
    'class_map',
    'draw_panel',
    'fit_tile',
    'flow',
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

_INK = (32, 32, 32)
_FAINT_INK = (112, 112, 112)
_FRAME = (160, 160, 160)
_PAPER = (255, 255, 255)


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
    if not 1 <= len(names) <= NO_CLASS or len(names) != len(palette):
        raise ValueError(
            f'pictures of labels need 1 to {NO_CLASS} classes and a palette '
            f'of as many colors in the metainfo of {type(dataset).__name__}, '
            f'got {len(names)} and {len(palette)}'
        )
    for name, color in zip(names, palette, strict=True):
        if len(color) != 3 or not all(0 <= value <= 255 for value in color):
            raise ValueError(
                f'palette of {type(dataset).__name__}: expected three values '
                f'of 0 to 255 for {name}, got {color}'
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


def draw_panel(
    title: str, image: np.ndarray, maps: dict[str, np.ndarray], style: Style
) -> np.ndarray:
    """Draw an image and its maps side by side, over a legend.

    Args:
        title: Text at the top.
        image: uint8 RGB, (H, W, 3).
        maps: uint8 class indices, (H, W), by their captions; at least one.
        style: Names and colors of the classes.

    Returns:
        uint8 RGB, (h, w, 3). The legend names the classes that occur.
    """
    tiles = {'image': fit_tile(image, cv2.INTER_AREA)}
    for caption, indices in maps.items():
        tiles[caption] = style.colors[fit_tile(indices, cv2.INTER_NEAREST)]
    height, width = tiles['image'].shape[:2]

    em = max(_MIN_FONT, len(tiles) * width // _ROW_EMS)
    line = 3 * em // 2
    present = np.unique(np.concatenate([m.ravel() for m in maps.values()]))
    entries = [
        'ignored' if index == NO_CLASS else style.names[index]
        for index in present
    ]
    # Each entry is a square of one em, half an em, the name, and a gap.
    lengths = [text_length(entry, em) + 3 * em for entry in entries]
    tiled = len(tiles) * (width + em) - em
    row = max(tiled, text_length(title, em), *lengths)
    places, lines = flow(lengths, row)

    top = em + 2 * line
    legend = top + height + em
    size = round(row) + 2 * em, legend + lines * line + em // 2
    canvas = Image.new('RGB', size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw_text(draw, (em, em), title, _INK, em)
    for number, (caption, tile) in enumerate(tiles.items()):
        left = em + number * (width + em)
        draw_text(draw, (left, em + line), caption, _FAINT_INK, em)
        canvas.paste(Image.fromarray(tile), (left, top))
        edges = left - 1, top - 1, left + width, top + height
        draw.rectangle(edges, None, _FRAME)
    for color, entry, (offset, number) in zip(
        style.colors[present].tolist(), entries, places, strict=True
    ):
        x, y = em + offset, legend + number * line
        draw.rectangle((x, y, x + em, y + em), tuple(color), _FRAME)
        place = x + 3 * em / 2, y + em / 2
        draw_text(draw, place, entry, _INK, em, middle=True)
    return np.asarray(canvas)


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
