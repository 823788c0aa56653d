"""A batch as the model gets it: one sheet of its images with their labels."""

import colorsys
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mmseg_ext.visualization.fonts import draw_text, text_length
from mmseg_ext.visualization.panel import (
    Entry,
    Style,
    class_entries,
    grid_columns,
    lay_out,
    overlay,
)

__all__ = [
    'BatchImage',
    'Instance',
    'draw_instances',
    'draw_labels',
]

#: About how wide all images of a row are together, and the longer side of
#: each at the least and at the most, in pixels.
_ROW, _SIDES = 2000, (320, 800)

#: Colors differ in hue by this part of the circle, the golden section: those
#: that follow one another are far apart, however many there are.
_HUE_STEP = 0.618034

#: Share of a mask's color in what is seen, and height of names in pixels.
_OPACITY, _FONT = 0.45, 13

_EDGE, _BOX_INK = (255, 255, 255), (0, 0, 0)

_IGNORED = (150, 150, 150)


class BatchImage(NamedTuple):
    """An image of a batch.

    Attributes:
        name: What is written above it.
        pixels: uint8 RGB, (H, W, 3).
        size: Height and width of what is not padding, at the top left.
    """

    name: str
    pixels: np.ndarray
    size: tuple[int, int]


class Instance(NamedTuple):
    """An object of an image.

    Attributes:
        label: Index of its class; None if the training ignores it.
        box: Left, top, right and bottom in pixels, if it has one.
        mask: bool or uint8, (h, w), from the top left, if it has one.
    """

    label: int | None
    box: Sequence[float] | None
    mask: np.ndarray | None


def draw_labels(
    titles: Sequence[str],
    images: Sequence[BatchImage],
    labels: Sequence[np.ndarray | None],
    style: Style,
) -> np.ndarray:
    """Draw images with their label maps over them.

    Args:
        titles: Lines of text.
        images: At least one.
        labels: uint8 class indices of each, (H, W), if it has some.
        style: Names and colors of the classes.

    Returns:
        uint8 RGB, (h, w, 3). The legend has the share of each class in the
        pixels, and in how many images it is.
    """
    tiles = []
    pixels: Counter[int] = Counter()
    present: Counter[int] = Counter()
    for image, label in zip(images, labels, strict=True):
        shown = _fit(image.pixels, len(images), cv2.INTER_AREA)
        if label is not None:
            fitted = _fit(label, len(images), cv2.INTER_NEAREST)
            shown = overlay(shown, fitted, style)
            classes, counts = np.unique(label, return_counts=True)
            pixels.update(dict(zip(classes.tolist(), counts, strict=True)))
            present.update(classes.tolist())
        tiles.append((image.name, _frame(shown, image)))
    total = sum(pixels.values())
    found = sorted(pixels)
    legend = [
        Entry(
            f'{entry.text} {100 * pixels[index] / total:.1f} % in '
            f'{present[index]}',
            entry.swatch,
        )
        for index, entry in zip(
            found, class_entries(found, style), strict=True
        )
    ]
    head = Entry('share of the pixels, number of images:', None)
    return lay_out(titles, tiles, [[head, *legend]] if legend else [])


def draw_instances(
    titles: Sequence[str],
    images: Sequence[BatchImage],
    instances: Sequence[Sequence[Instance]],
    names: Sequence[str],
    colors: Sequence[Sequence[int]] | None = None,
) -> np.ndarray:
    """Draw images with the boxes, masks and names of their instances.

    Args:
        titles: Lines of text.
        images: At least one.
        instances: Those of each image.
        names: Class names. If there is one alone, it is in the legend only,
            and each instance has a color of its own.
        colors: RGB of each class; by default colors that differ.

    Returns:
        uint8 RGB, (h, w, 3). The legend counts the instances of each class.
    """
    if colors is None or len(colors) != len(names):
        colors = [_hue(number) for number in range(len(names))]
    tiles = []
    for image, found in zip(images, instances, strict=True):
        shown = _fit(image.pixels, len(images), cv2.INTER_AREA)
        scale = shown.shape[1] / image.pixels.shape[1]
        kinds = [
            _IGNORED
            if item.label is None
            else _hue(number)
            if len(names) == 1
            else colors[item.label]
            for number, item in enumerate(found)
        ]
        for item, color in zip(found, kinds, strict=True):
            if item.mask is not None:
                _blend(shown, item.mask, scale, color)
        picture = Image.fromarray(_frame(shown, image))
        for item, color in zip(found, kinds, strict=True):
            several = len(names) > 1 and item.label is not None
            text = names[item.label] if several else ''  # type: ignore[index]
            _draw_box(picture, item.box, scale, text, color)
        tiles.append((f'{image.name}: {len(found)}', np.asarray(picture)))
    counts = Counter(item.label for group in instances for item in group)
    legend = [
        Entry(
            f'{names[index]} {counts[index]}',
            np.array([[colors[index]]], np.uint8) if len(names) > 1 else None,
        )
        for index in range(len(names))
        if counts[index]
    ]
    if counts[None]:
        swatch = np.array([[_IGNORED]], np.uint8)
        legend.append(Entry(f'ignored {counts[None]}', swatch))
    head = Entry('instances:', None)
    return lay_out(titles, tiles, [[head, *legend]] if legend else [])


def _hue(number: int) -> tuple[int, int, int]:
    """Return the RGB color of a number."""
    # Hues that are near one another differ in brightness.
    value = (1.0, 0.7)[number // 8 % 2]
    rgb = colorsys.hsv_to_rgb(number * _HUE_STEP % 1, 0.9, value)
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


def _fit(array: np.ndarray, count: int, reduction: int) -> np.ndarray:
    """Resize for a sheet of so many; enlarge by repeating pixels."""
    height, width = array.shape[:2]
    columns = grid_columns(count, width, height)
    longer = max(height, width)
    low, high = _SIDES
    side = np.clip(longer, low, np.clip(_ROW // columns, low, high))
    size = (
        max(round(width * side / longer), 1),
        max(round(height * side / longer), 1),
    )
    method = reduction if side < longer else cv2.INTER_NEAREST
    return cv2.resize(array, size, interpolation=method)


def _frame(shown: np.ndarray, image: BatchImage) -> np.ndarray:
    """Draw a line between an image and its padding, in place."""
    height, width = shown.shape[:2]
    scale = width / image.pixels.shape[1]
    bottom, right = (round(scale * side) for side in image.size)
    if bottom < height:
        shown[bottom : bottom + 2, :right] = _EDGE
    if right < width:
        shown[:bottom, right : right + 2] = _EDGE
    return shown


def _blend(
    canvas: np.ndarray, mask: np.ndarray, scale: float, color: Sequence[int]
) -> None:
    """Color a mask on an image that was resized, in place."""
    size = (
        max(round(mask.shape[1] * scale), 1),
        max(round(mask.shape[0] * scale), 1),
    )
    values = mask.astype(np.uint8) * np.uint8(255)
    shown = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    shown = shown[: canvas.shape[0], : canvas.shape[1]]
    part = canvas[: shown.shape[0], : shown.shape[1]]
    share = _OPACITY / 255 * shown[..., None].astype(np.float32)
    part[:] = part + share * (np.array(color, np.float32) - part)


def _draw_box(
    picture: Image.Image,
    box: Sequence[float] | None,
    scale: float,
    text: str,
    color: Sequence[int],
) -> None:
    """Draw a box, and a name at its top left corner, within the image."""
    if box is None:
        return
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = (scale * side for side in box)
    rgb = tuple(color)
    edges = (left, top, max(left, right), max(top, bottom))
    draw.rectangle(edges, None, rgb, width=2)
    place = (
        min(max(left, 0), picture.width - _FONT) + 3,
        min(max(top, 0), picture.height - _FONT) + 1,
    )
    if text:
        x, y = place
        end = x + text_length(text, _FONT) + 2
        draw.rectangle((x - 3, y - 1, end, y + _FONT + 2), rgb)
        draw_text(draw, place, text, _EDGE, _FONT, edge=_BOX_INK)
