"""Poles with lamps, signs and lights, cones and bins."""

import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.light import (
    jittered,
    pick,
    random_color,
    scaled,
)
from mmseg_ext.sample_data.scenes.sketch import Item, Sketch, Spot, disc

__all__ = ['cone', 'lamp_post', 'litter_bin', 'traffic_light', 'traffic_sign']

_METAL = ((96, 100, 102), (140, 142, 140), (58, 62, 60), (70, 84, 76))
_RED, _WHITE, _BLUE = (196, 30, 36), (238, 238, 234), (30, 80, 168)
_BLACK, _YELLOW, _GREEN = (24, 24, 26), (240, 196, 30), (24, 112, 66)


def lamp_post(spot: Spot, toward: int) -> Item | None:
    """Draw a street lamp that leans over the road, to -1 or 1."""
    rng = spot.rng
    height, thick = float(rng.uniform(5.5, 8)), float(rng.uniform(0.12, 0.2))
    metal = jittered(rng, pick(rng, _METAL), 8)
    sketch = spot.sketch()
    reach = toward * float(rng.uniform(0.8, 1.8))
    sketch.limb((0, 0), (0, height), thick, metal)
    sketch.limb((0, 0), (0, 0.9), thick * 1.7, scaled(metal, 0.85))
    sketch.limb((0, height), (reach, height + 0.3), thick * 0.7, metal)
    lit = spot.view.light.lamps > 0.2
    sketch.limb(
        (reach * 0.75, height + 0.22),
        (reach * 1.25, height + 0.3),
        0.22,
        (255, 236, 180) if lit else scaled(metal, 1.2),
        lit,
    )
    return sketch.item('pole', color=metal, grain=0.05)


def traffic_sign(spot: Spot) -> list[Item | None]:
    """Draw a pole and the sign on it."""
    rng = spot.rng
    height = float(rng.uniform(2.1, 3.0))
    size = float(rng.uniform(0.34, 0.5))
    pole = spot.sketch()
    metal = jittered(rng, pick(rng, _METAL), 8)
    pole.limb((0, 0), (0, height + size), 0.1, metal)
    sign = spot.sketch()
    shapes = (_ring, _triangle, _stop, _square, _diamond, _board)
    pick(rng, shapes)(sign, rng, height, size)
    return [
        pole.item('pole', color=metal, grain=0.05),
        sign.item(
            'traffic_sign', grain=0.04, color=_WHITE, order=spot.z - 0.02
        ),
    ]


def _ring(sign: Sketch, rng: Generator, y: float, size: float) -> None:
    sign.flat(disc(0, y, size, 20), _RED)
    sign.flat(disc(0, y, size * 0.76, 20), _WHITE)
    sign.limb((-size * 0.3, y), (size * 0.3, y), size * 0.5, _BLACK)


def _triangle(sign: Sketch, rng: Generator, y: float, size: float) -> None:
    corners = np.array(((-1, -0.75), (1, -0.75), (0, 0.95))) * size * 1.1
    middle = np.array((0, y))
    sign.flat(middle + corners, _RED)
    sign.flat(middle + corners * 0.66 - (0, size * 0.05), _WHITE)
    sign.limb((0, y - size * 0.3), (0, y + size * 0.2), size * 0.2, _BLACK)


def _stop(sign: Sketch, rng: Generator, y: float, size: float) -> None:
    turn = np.array(((0.924, -0.383), (0.383, 0.924)))
    for scale, color in ((1.05, _WHITE), (0.95, _RED)):
        sign.flat(disc(0, 0, size * scale, 8) @ turn + (0, y), color)
    sign.limb((-size * 0.6, y), (size * 0.6, y), size * 0.35, _WHITE)


def _square(sign: Sketch, rng: Generator, y: float, size: float) -> None:
    color = pick(rng, (_BLUE, _GREEN, _WHITE))
    sign.limb((-size, y), (size, y), size * 2, color)
    mark = _WHITE if color != _WHITE else _BLACK
    sign.limb(
        (-size * 0.3, y - size * 0.6),
        (-size * 0.3, y + size * 0.6),
        size * 0.3,
        mark,
    )
    sign.flat(disc(size * 0.1, y + size * 0.3, size * 0.38, 12), mark)


def _diamond(sign: Sketch, rng: Generator, y: float, size: float) -> None:
    for scale, color in ((1.15, _WHITE), (0.95, _YELLOW)):
        sign.flat(disc(0, y, size * scale, 4), color)
    sign.limb((0, y - size * 0.4), (0, y + size * 0.4), size * 0.2, _BLACK)


def _board(sign: Sketch, rng: Generator, y: float, size: float) -> None:
    """Draw a direction board with lines of text."""
    color = pick(rng, (_BLUE, _GREEN, _WHITE, _YELLOW))
    dark = _WHITE if color in (_BLUE, _GREEN) else _BLACK
    half = size * 2.1
    y = y + 0.5
    sign.limb((-half, y), (half, y), size * 2.2, color)
    for row in (-0.45, 0.05, 0.55):
        end = half * float(rng.uniform(0.0, 0.8))
        height = y + row * size
        sign.limb((-half * 0.85, height), (end, height), size * 0.2, dark)


def traffic_light(spot: Spot, toward: int) -> list[Item | None]:
    """Draw a pole with a signal, some with a second one over the road."""
    rng = spot.rng
    metal = jittered(rng, pick(rng, _METAL), 8)
    lit = int(rng.integers(3))
    over = rng.random() < 0.45
    housing = jittered(
        rng, pick(rng, (_BLACK, (52, 54, 50), (170, 140, 40))), 6
    )
    pole = spot.sketch()
    places = [(0.0, 2.6)]
    pole.limb((0, 0), (0, 5.6 if over else 2.8), 0.16, metal)
    if over:
        reach = toward * float(rng.uniform(2.2, 3.4))
        pole.limb((0, 5.4), (reach, 5.6), 0.13, metal)
        places.append((reach, 5.0))
    items = [pole.item('pole', color=metal, grain=0.05)]
    for u, v in places:
        box = spot.sketch()
        box.limb((u, v), (u, v + 1.1), 0.42, housing)
        colors = ((60, 200, 110), (250, 180, 40), (235, 40, 35))
        for number, color in enumerate(colors):
            on = number == lit
            box.flat(
                disc(u, v + 0.2 + 0.35 * number, 0.15, 10),
                color if on else scaled(color, 0.22),
                on,
            )
        items.append(
            box.item(
                'traffic_light', color=housing, grain=0.03, order=spot.z - 0.02
            )
        )
    return items


def cone(spot: Spot) -> Item | None:
    """Draw a traffic cone."""
    sketch = spot.sketch()
    color = jittered(spot.rng, (228, 92, 34), 12)
    sketch.limb((-0.24, 0.03), (0.24, 0.03), 0.07, scaled(color, 0.8))
    sketch.flat(
        ((-0.18, 0.05), (0.18, 0.05), (0.03, 0.78), (-0.03, 0.78)), color
    )
    sketch.flat(((-0.12, 0.3), (0.12, 0.3), (0.08, 0.5), (-0.08, 0.5)), _WHITE)
    return sketch.item('traffic_cone', color=color, grain=0.04)


def litter_bin(spot: Spot) -> Item | None:
    """Draw a bin or cabinet that belongs to no class."""
    rng, sketch = spot.rng, spot.sketch()
    color = random_color(rng, (0.1, 0.7), (0.2, 0.6))
    wide, tall = float(rng.uniform(0.25, 0.5)), float(rng.uniform(0.8, 1.3))
    sketch.flat(
        ((-wide, 0), (wide, 0), (wide * 1.1, tall), (-wide * 1.1, tall)), color
    )
    sketch.limb(
        (-wide * 1.2, tall), (wide * 1.2, tall), 0.14, scaled(color, 0.6)
    )
    sketch.limb(
        (-wide * 0.5, tall * 0.6),
        (wide * 0.5, tall * 0.6),
        0.2,
        scaled(color, 1.4),
    )
    return sketch.item('unlabeled', color=color, grain=0.08)
