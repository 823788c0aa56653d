"""Trees, hedges, walls and fences."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.light import Color, jittered, pick, scaled
from mmseg_ext.sample_data.scenes.sketch import (
    Item,
    Part,
    Spot,
    disc,
    fixed_point,
    ground_disc,
)
from mmseg_ext.sample_data.scenes.view import NEAR, Camera, View

__all__ = ['barrier', 'foliage_color', 'tree']

_FOLIAGE = (
    (62, 92, 38),
    (84, 112, 48),
    (48, 78, 44),
    (104, 118, 56),
    (140, 122, 48),
    (150, 92, 42),
)
_PICKETS = ((232, 230, 224), (96, 70, 48), (52, 60, 58), (150, 152, 154))
_STONE = ((148, 140, 128), (150, 96, 78), (176, 170, 160), (110, 108, 106))


def foliage_color(rng: Generator, autumn: float) -> Color:
    """Draw green, or with probability ``autumn`` yellow or brown."""
    index = rng.integers(4, 6) if rng.random() < autumn else rng.integers(4)
    return jittered(rng, _FOLIAGE[index], 14)


def _blob(
    rng: Generator, x: float, y: float, radius: float, tall: float
) -> np.ndarray:
    """Return a round outline (26, 2) with bumps."""
    points = disc(0, 0, 1, 26)
    points *= radius * (1 + rng.uniform(-0.13, 0.13, (26, 1)))
    return points * (1, tall) + (x, y)


def tree(spot: Spot, size: float, autumn: float) -> Item | None:
    """Draw a tree, ``size`` times as high as usual."""
    view, rng, x, z = spot
    sketch = spot.sketch()
    leaves = foliage_color(rng, autumn)
    bark = jittered(rng, (82, 66, 52), 14)
    shape = rng.choice(('round', 'tall', 'cone'), p=(0.65, 0.2, 0.15))
    trunk = size * float(rng.uniform(1.9, 2.8))
    girth = size * float(rng.uniform(0.16, 0.3))
    if shape == 'round':
        radius = size * float(rng.uniform(1.5, 2.3))
        crown = [_blob(rng, 0, trunk + radius * 0.8, radius, 0.92)]
        for angle in rng.uniform(0, 2 * np.pi, 4 if z < 40 else 2):
            across = radius * 0.62 * np.cos(angle)
            up = radius * 0.62 * (0.8 * np.sin(angle))
            up += trunk + radius * 0.85
            crown.append(_blob(rng, across, up, radius * 0.58, 0.9))
    elif shape == 'tall':
        radius = size * float(rng.uniform(0.8, 1.2))
        crown = [_blob(rng, 0, trunk * 0.6 + radius * 2.6, radius, 2.7)]
    else:
        radius, trunk = size * 1.5, trunk * 0.4
        crown = []
        for k in range(4):
            wide, low = radius * (1 - k / 4), trunk + size * 1.4 * k
            tip = (0, trunk + size * (1.4 * k + 2.4))
            crown.append(np.array(((-wide, low), (wide, low), tip)))
    thin, end = girth * 0.6, trunk * 1.4
    sketch.flat(((-girth, 0), (girth, 0), (thin, end), (-thin, end)), bark)
    for number, polygon in enumerate(crown):
        sketch.flat(polygon, scaled(leaves, 0.86 + 0.09 * (number % 4)))
    shift = -view.light.sun_side * view.light.sun * 2.5 * size
    return sketch.item(
        'vegetation',
        color=scaled(leaves, 0.7),
        surface='foliage',
        grain=0.6,
        fade=0.25,
        shadows=[ground_disc(view.camera, x + shift, z, radius, radius * 0.8)],
    )


def barrier(
    view: View,
    rng: Generator,
    kind: str,
    lateral: float,
    span: tuple[float, float],
) -> Item | None:
    """Draw a wall, a fence or a hedge (``vegetation``) along the street."""
    start, end = max(span[0], NEAR), span[1]
    z = np.linspace(start, end, max(2, int(end - start)))
    camera, x = view.camera, view.street.x(lateral, z)
    height = float(rng.uniform(1.0, 2.1))
    tops = np.full_like(z, height)
    if kind == 'vegetation':
        tops += rng.uniform(-0.15, 0.15, len(z))
    foot, head = np.stack((x, 0 * z, z), -1), np.stack((x, tops, z), -1)
    outline = camera.project(np.concatenate((foot, head[::-1])))
    item = Item(kind, outline, 0.5 * (start + end), order=end, fade=0.15)
    if kind == 'vegetation':
        item.color, item.surface = foliage_color(rng, 0.05), 'foliage'
        item.grain = 0.5
    elif kind == 'wall':
        item.color = jittered(rng, pick(rng, _STONE), 14)
        item.parts = _courses(camera, foot, height, item.color)
    else:
        item.parts = _pickets(camera, foot, height, rng)
    return item


def _courses(
    camera: Camera, foot: np.ndarray, height: float, color: Color
) -> list[Part]:
    """Draw joints between the stones, and a coping."""
    bands = [
        (level, level + 0.025)
        for level in np.arange(0.25, height - 0.15, 0.25)
    ]
    return [
        _bands(camera, foot, bands, scaled(color, 0.72)),
        _bands(camera, foot, [(height - 0.12, height)], scaled(color, 1.15)),
    ]


def _pickets(
    camera: Camera, foot: np.ndarray, height: float, rng: Generator
) -> list[Part]:
    """Draw pickets and the rails that hold them."""
    color = jittered(rng, pick(rng, _PICKETS), 10)
    step = float(rng.uniform(0.22, 0.4))
    length = float(np.linalg.norm(foot[-1] - foot[0]))
    along = np.arange(0, 1, step / length)[:, None]
    starts = foot[0] + along * (foot[-1] - foot[0])
    ends = starts + 0.55 * step / length * (foot[-1] - foot[0])
    up = np.array((0, height, 0))
    bars = camera.project(np.stack((starts, ends, ends + up, starts + up), 1))
    rails = [(height * a, height * a + 0.09) for a in (0.25, 0.82)]
    return [
        _bands(camera, foot, rails, scaled(color, 0.85)),
        Part(fixed_point(bars), color),
    ]


def _bands(
    camera: Camera,
    foot: np.ndarray,
    heights: Sequence[tuple[float, float]],
    color: Color,
) -> Part:
    """Draw strips along a barrier, each between two heights."""
    outlines = [
        np.concatenate(
            (foot + np.array((0, low, 0)), foot[::-1] + np.array((0, high, 0)))
        )
        for low, high in heights
    ]
    return Part(fixed_point(camera.project(np.array(outlines))), color)
