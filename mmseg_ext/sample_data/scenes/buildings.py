"""Houses along the street."""

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.light import (
    Color,
    Light,
    jittered,
    mixed,
    pick,
    random_color,
    scaled,
)
from mmseg_ext.sample_data.scenes.sketch import Item, Sketch
from mmseg_ext.sample_data.scenes.view import NEAR, View

__all__ = ['FACADES', 'building']

#: Colors of walls.
FACADES = (
    (158, 84, 66),
    (132, 72, 58),
    (188, 150, 112),
    (214, 196, 160),
    (226, 220, 206),
    (150, 148, 144),
    (112, 112, 116),
    (176, 188, 196),
    (204, 168, 150),
    (120, 130, 118),
)
_ROOFS = ((150, 74, 54), (92, 60, 52), (78, 80, 88), (58, 60, 66))
_WARM = (250, 214, 130)


def building(
    view: View,
    rng: Generator,
    side: int,
    span: tuple[float, float],
    lateral: float,
    floors: int,
) -> Item | None:
    """Draw a house along the street.

    Args:
        view: Camera, light and street.
        rng: Source of all choices.
        side: -1 for the left of the street, 1 for the right.
        span: Where it begins and ends along the street, in meters.
        lateral: Distance of the facade from the center line.
        floors: Number of floors.
    """
    start, end = max(span[0], NEAR), span[1]
    wall = jittered(rng, pick(rng, FACADES), 14)
    if rng.random() < 0.2:
        wall = random_color(rng, (0.15, 0.5), (0.5, 0.9))
    roof = jittered(rng, pick(rng, _ROOFS), 10)
    floor_height = float(rng.uniform(2.8, 3.5))
    height, depth = floors * floor_height + 0.6, side * 12.0
    near, far = (view.street.x(side * lateral, z) for z in (start, end))
    corners = [(near, start), (near + depth, start)]
    corners += [(far + depth, end), (far, end)]
    if side < 0:
        corners = [corners[i] for i in (1, 0, 3, 2)]
    ground = np.array([(x, 0.0, z) for x, z in corners])
    sketch = Sketch(view)
    if floors <= 3 and rng.random() < 0.7:
        _pitched_roof(sketch, ground, height, roof, wall)
    body = sketch.body(ground, ground + np.array((0, height, 0)), wall)
    style = _FacadeStyle(rng, view.light, wall, floors)
    for name in ('rear', 'left', 'right'):
        if name in body:
            style.draw(sketch, body[name])
    return sketch.item(
        'building',
        distance=0.5 * (start + end),
        order=end,
        color=wall,
        grain=0.12,
        fade=0.12,
    )


def _pitched_roof(
    sketch: Sketch,
    ground: np.ndarray,
    height: float,
    color: Color,
    wall: Color,
) -> None:
    eaves = ground + np.array((0, height, 0))
    rise = np.array((0, 3.2, 0))
    ridge = [(eaves[a] + eaves[b]) / 2 + rise for a, b in ((0, 1), (3, 2))]
    left = np.array((eaves[3], eaves[0], ridge[0], ridge[1]))
    right = np.array((eaves[1], eaves[2], ridge[1], ridge[0]))
    for slope in (left, right):
        if sketch.face(slope, color):
            tiles = [(0, 1, t, t + 0.05) for t in np.arange(0.1, 1, 0.16)]
            sketch.rects(slope, tiles, scaled(color, 0.8))
    gable = np.array((eaves[0], eaves[1], ridge[0]))
    sketch.add(gable[None], sketch.light.shade(wall, (0, 0, -1)), solid=True)


class _FacadeStyle:
    """Windows, doors and a shop front, alike on all faces."""

    def __init__(
        self, rng: Generator, light: Light, wall: Color, floors: int
    ) -> None:
        self.rng, self.light, self.floors = rng, light, floors
        self.pitch = float(rng.uniform(1.9, 3.4))
        self.width = float(rng.uniform(0.35, 0.72))
        self.tall = float(rng.uniform(0.45, 0.7))
        shine = float(rng.uniform(0, 0.4))
        self.glass = mixed((44, 50, 58), light.zenith, shine)
        bright = rng.random() < 0.6
        paint = (240, 238, 230) if bright else scaled(wall, 0.45)
        self.frame = mixed(wall, paint, 0.7)
        self.trim = scaled(wall, float(rng.choice((0.7, 1.2))))
        self.shop = rng.random() < 0.4
        self.sign = random_color(rng, (0.3, 0.9), (0.3, 0.9))

    def draw(self, sketch: Sketch, face: np.ndarray) -> None:
        """Decorate one face (4, 3)."""
        length = float(np.linalg.norm(face[1] - face[0]))
        columns = max(1, round(length / self.pitch))
        first = int(self.shop)
        column, row = np.meshgrid(
            np.arange(columns), np.arange(first, self.floors)
        )
        center = (column.ravel() + 0.5) / columns
        sill = (row.ravel() + 0.28) / self.floors * 0.97
        half = self.width / 2 / columns
        top = sill + self.tall / self.floors * 0.97
        panes = np.stack((center - half, center + half, sill, top), -1)
        grow = np.array((-0.12, 0.12, -0.05, 0.06))
        unit = 1 / np.array((columns, columns, self.floors, self.floors))
        sketch.rects(face, panes + grow * unit, self.frame)
        lit = self.rng.random(len(panes)) < self.light.lamps
        sketch.rects(face, panes[~lit], self.glass)
        sketch.rects(face, panes[lit], _WARM, glow=True)
        if face[0, 2] < 50:
            bars = panes[~lit]
            half = 0.04 / columns
            bars[:, :2] = center[~lit, None] + (-half, half)
            sketch.rects(face, bars, self.frame)
        sketch.rects(face, [(0, 1, 0.965, 1)], self.trim)
        if self.shop:
            self._shop_front(sketch, face, max(1, round(length / 5)))
        else:
            door, half = 0.5 / columns, 0.35 / columns
            rect = (door - half, door + half, 0, 0.7 / self.floors)
            sketch.rects(face, [rect], scaled(self.sign, 0.6))

    def _shop_front(
        self, sketch: Sketch, face: np.ndarray, shops: int
    ) -> None:
        edges = np.linspace(0.02, 0.98, shops + 1)
        floor = 1 / self.floors
        panes, signs = [], []
        for a, b in pairwise(edges):
            panes.append((a + 0.01, b - 0.01, 0.1 * floor, 0.7 * floor))
            signs.append((a, b, 0.72 * floor, 0.92 * floor))
        lit = self.light.lamps > 0.2
        sketch.rects(face, panes, _WARM if lit else self.glass, lit)
        sketch.rects(face, signs, self.sign)
