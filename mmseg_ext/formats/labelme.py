"""labelme's JSON files: shapes drawn on a photograph."""

import base64
import binascii
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from mmseg_ext.formats.json_files import Coordinate, decode_json
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.utils.files import open_file, read_file, read_text
from mmseg_ext.utils.images import MAX_PIXELS, image_size

__all__ = [
    'BACKGROUND',
    'IGNORED',
    'LINES',
    'LabelmeFile',
    'Shape',
    'check_labels',
    'decode_labelme',
    'draw',
    'listed_classes',
    'outlines',
    'read_labelme',
    'read_labels',
]

#: labelme's own names for pixels in no shape, and for those to leave out.
BACKGROUND, IGNORED = '_background_', '__ignore__'

#: Kinds of shapes that enclose nothing.
LINES = frozenset({'line', 'linestrip', 'point'})

#: Kinds of shapes, and how many points each has at least.
_SHAPE_TYPES = {
    'polygon': 3,
    'rectangle': 2,
    'circle': 2,
    'line': 2,
    'linestrip': 2,
    'point': 1,
    'mask': 2,
}

#: Width of a line and radius of a point, in pixels, as labelme draws them.
_LINE_WIDTH, _POINT_RADIUS = 10, 5

#: Bytes at the beginning and at the end of a file that are looked through for
#: what is around its photograph.
_BLOCK = 1 << 17

#: The photograph from its key on, and the rest of it.
_PHOTO = re.compile(rb'"imageData"\s*:\s*"(?=[A-Za-z0-9+/=]*\Z)')
_PHOTO_END = re.compile(rb'[A-Za-z0-9+/=]*(?=")')

_Side = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]


class Shape(msgspec.Struct):
    """A shape and its label; a mask is a base64 PNG in its two corners.

    Shapes of the same label and group are one object.
    """

    label: str
    points: list[tuple[Coordinate, Coordinate]]
    shape_type: str = 'polygon'
    mask: str | None = None
    group_id: int | float | str | None = None


class LabelmeFile(msgspec.Struct):
    """What is read of a file."""

    imagePath: str
    imageWidth: _Side
    imageHeight: _Side
    shapes: list[Shape]

    @property
    def image(self) -> str:
        """Path of the photograph, relative to the file, with ``/``."""
        return self.imagePath.replace('\\', '/')


def read_labelme(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file without the photograph in it.

    The photograph, which may be most of the file, is not read where it lies
    behind the shapes, as labelme writes it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large.
    """
    with open_file(path) as file:
        head = file.read(_BLOCK)
        size = os.fstat(file.fileno()).st_size
        photo = None
        if size > 2 * _BLOCK and b'"shapes"' in head:
            photo = _PHOTO.match(head, max(head.rfind(b'"imageData"'), 0))
        if photo:
            file.seek(-_BLOCK, os.SEEK_END)
            tail = file.read()
            if end := _PHOTO_END.match(tail):
                rest = head[: photo.end()] + tail[end.end() :]
                with suppress(ValueError):  # it was the end of another text
                    msgspec.json.decode(rest, type=msgspec.Raw)
                    return rest
    return head if size <= _BLOCK else read_file(path)


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """Return labelme's list of labels, one a line, but for blank lines.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not in UTF-8.
    """
    lines = read_text(path).split('\n')
    return [line.strip() for line in lines if line.strip()]


def listed_classes(listed: Sequence[str], used: Iterable[str]) -> list[str]:
    """Return the classes in the order of their indices.

    Args:
        listed: The list of labels; empty without any.
        used: All labels there are, which count without a list.

    Returns:
        The labels of the list, or else ``_background_`` and those that are
        used, sorted; without ``__ignore__``.
    """
    names = listed or [BACKGROUND, *sorted(used)]
    return [name for name in dict.fromkeys(names) if name != IGNORED]


def decode_labelme(data: bytes) -> LabelmeFile:
    """Decode the content of a file and check its shapes.

    Raises:
        ValueError: It is no labelme file, or a shape has too few points or is
            of no known kind.
    """
    try:
        content = decode_json(data, LabelmeFile)
    except ValueError as error:
        raise ValueError(f'no labelme file: {error}') from None
    if content.imageWidth * content.imageHeight > MAX_PIXELS:
        raise ValueError(
            f'imageWidth {content.imageWidth} and imageHeight '
            f'{content.imageHeight}: expected at most {MAX_PIXELS} pixels'
        )
    for index, shape in enumerate(content.shapes):
        least = _SHAPE_TYPES.get(shape.shape_type)
        if least is None:
            raise ValueError(
                f'shapes[{index}]: shape_type {shape.shape_type!r}; expected '
                f'one of {", ".join(_SHAPE_TYPES)}'
            )
        if len(shape.points) < least:
            raise ValueError(
                f'shapes[{index}]: {len(shape.points)} points; a '
                f'{shape.shape_type} has at least {least}'
            )
    return content


def check_labels(content: LabelmeFile, indices: Mapping[str, int]) -> None:
    """Check that all labels are known.

    Raises:
        ValueError: A label has no index.
    """
    for index, shape in enumerate(content.shapes):
        if shape.label not in indices:
            raise ValueError(
                f'shapes[{index}]: label {shape.label!r} is not in the list '
                f'of labels {list(indices)}'
            )


def draw(
    content: LabelmeFile, indices: Mapping[str, int], background: int
) -> np.ndarray:
    """Draw the shapes of a file as labelme does, later over earlier ones.

    Args:
        content: The file.
        indices: Class index of each label.
        background: Index of pixels in no shape.

    Returns:
        uint8 (H, W).

    Raises:
        ValueError: A label has no index, or a mask is no image or not of the
            size of its box, or has colors or transparent pixels.
    """
    size = content.imageWidth, content.imageHeight
    canvas = Image.new('L', size, background)
    pen = ImageDraw.Draw(canvas)
    check_labels(content, indices)
    for index, shape in enumerate(content.shapes):
        value = indices[shape.label]
        if shape.shape_type == 'mask':
            try:
                _paste(canvas, shape, value)
            except ValueError as error:
                raise ValueError(f'shapes[{index}]: {error}') from None
        else:
            _draw_shape(pen, shape, value)
    return np.asarray(canvas)


def outlines(
    content: LabelmeFile,
) -> Iterator[Sequence[tuple[float, float]]]:
    """Yield the corners of what Pillow fills by a rule of its release.

    These are polygons, and each piece of a line, which has a width.
    """
    for shape in content.shapes:
        if shape.shape_type == 'polygon':
            yield shape.points
        elif shape.shape_type in ('line', 'linestrip'):
            for (x, y), (to_x, to_y) in itertools.pairwise(shape.points):
                turn = _LINE_WIDTH / 2 / (math.hypot(to_x - x, to_y - y) or 1)
                right, down = (to_y - y) * turn, (x - to_x) * turn
                yield (
                    (x + right, y + down),
                    (to_x + right, to_y + down),
                    (to_x - right, to_y - down),
                    (x - right, y - down),
                )


def _draw_shape(pen: ImageDraw.ImageDraw, shape: Shape, value: int) -> None:
    points = shape.points
    (x, y), (other_x, other_y) = points[0], points[-1]
    match shape.shape_type:
        case 'polygon':
            pen.polygon(points, fill=value, outline=value)
        case 'rectangle':
            corners = sorted((x, other_x)), sorted((y, other_y))
            pen.rectangle(list(zip(*corners, strict=True)), fill=value)
        case 'circle':
            radius = math.hypot(x - other_x, y - other_y)
            pen.ellipse(_around(x, y, radius), fill=value)
        case 'point':
            pen.ellipse(_around(x, y, _POINT_RADIUS), fill=value)
        case _:
            pen.line(points, fill=value, width=_LINE_WIDTH)


def _around(
    x: float, y: float, radius: float
) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius


def _paste(canvas: Image.Image, shape: Shape, value: int) -> None:
    """Set the pixels of a mask; both corners of its box are in it."""
    try:
        data = base64.b64decode(shape.mask or '', validate=True)
    except binascii.Error as error:
        raise ValueError(f'the mask has broken base64: {error}') from None
    left, top, right, bottom = (
        round(side) for point in shape.points[:2] for side in point
    )
    expected = right - left + 1, bottom - top + 1
    size = image_size(data, 'the mask')
    if size and size != expected:
        raise ValueError(
            f'the mask has {size[0]}x{size[1]} pixels, its box '
            f'{expected[0]}x{expected[1]}'
        )
    mask = read_mask(data, 'the mask').indices()
    stencil = Image.fromarray((mask > 0).astype(np.uint8) * 255)
    canvas.paste(value, (left, top), stencil)
