"""Polygons filled by Pillow, whose releases do not all fill the same pixels.

The tools of IDD and of labelme draw with Pillow, so there is no rule beside
it: which pixels a polygon has is what the installed release says. Three rules
are known, of the releases up to 11.0, 11.1, and from 11.2 on. They differ at
edges and, where edges of a polygon meet in one row, in that row.
"""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import PIL
from PIL import Image, ImageDraw

__all__ = [
    'Filled',
    'Rasterizer',
    'edge_pixels',
    'fill',
    'filled_otherwise',
    'rasterizer',
    'redrawn_line',
]

#: How far from an edge rules may differ, in pixels.
_REACH = 2


class Filled(NamedTuple):
    """A polygon and the value of its pixels, 0 to 255."""

    value: int
    points: Sequence[tuple[float, float]]


def fill(
    size: tuple[int, int], polygons: Iterable[Filled], background: int
) -> np.ndarray:
    """Fill polygons, their edges included, later over earlier ones.

    Args:
        size: Width and height.
        polygons: Of three points or more, which may be out of the image.
        background: Value of the pixels in no polygon.

    Returns:
        uint8 (H, W).
    """
    image = Image.new('L', size, background)
    draw = ImageDraw.Draw(image)
    for value, points in polygons:
        draw.polygon(points, fill=value)
    return np.asarray(image)


class Rasterizer(NamedTuple):
    """How polygons are filled here.

    Attributes:
        pillow: Release of Pillow.
        digest: Digest of what it fills of some polygons; releases that fill
            alike have the same.
    """

    pillow: str
    digest: str


def rasterizer() -> Rasterizer:
    """Try out how polygons are filled here."""
    digest = hashlib.sha256()
    corners = itertools.product(range(4), repeat=2)
    for triangle in itertools.combinations(corners, 3):
        # Fractions too: they are cut off so far.
        for scale in (1, 1.3):
            points = [(x * scale, y * scale) for x, y in triangle]
            digest.update(fill((5, 5), [Filled(1, points)], 0).tobytes())
    return Rasterizer(PIL.__version__, digest.hexdigest()[:16])


def edge_pixels(
    one: np.ndarray,
    other: np.ndarray,
    outlines: Iterable[Sequence[tuple[float, float]]],
) -> int | None:
    """Count the pixels in which two drawings of the same polygons differ.

    Args:
        one: uint8 (H, W).
        other: uint8 (H, W).
        outlines: Points of the polygons that both are to show.

    Returns:
        Their number if all of them may be due to other rules of filling: they
        lie near an edge, or in parts that are one row high. None if not.
    """
    differing = one != other
    if not differing.any():
        return 0
    # Edges just out of the image count too.
    near = np.pad(np.zeros(one.shape, np.uint8), _REACH)
    for points in outlines:
        outline = np.array(points).astype(np.int32) + _REACH
        cv2.polylines(near, [outline], True, 1)
    side = 2 * _REACH + 1
    near = cv2.dilate(near, np.ones((side, side), np.uint8))
    elsewhere = differing & (near[_REACH:-_REACH, _REACH:-_REACH] == 0)
    if (elsewhere[1:] & elsewhere[:-1]).any():
        return None
    return int(np.count_nonzero(differing))


def filled_otherwise(
    there: np.ndarray | None,
    drawn: np.ndarray,
    outlines: Iterable[Sequence[tuple[float, float]]],
) -> bool:
    """Tell whether a label map is there that another rule has filled.

    Args:
        there: uint8 (H, W), or None where there is none.
        drawn: What it is to be, uint8 (H, W).
        outlines: See :func:`edge_pixels`.
    """
    if there is None or there.shape != drawn.shape:
        return False
    return bool(edge_pixels(there, drawn, outlines))


def redrawn_line(number: int) -> str:
    """Say of how many files :func:`filled_otherwise` was true."""
    return (
        f'{number} label maps drawn again: another release of Pillow than '
        f'{PIL.__version__} had filled them'
    )
