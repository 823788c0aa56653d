"""Cars, trucks and buses as bodies that can stand in any direction."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from mmseg_ext.sample_data.scenes.sketch import Item, Sketch, Spot, disc, plate

__all__ = ['bus', 'car', 'truck']

_TIRE, _HUB, _CHASSIS = (24, 24, 26), (150, 152, 156), (30, 30, 32)
_RED_LAMP, _WHITE_LAMP = (205, 28, 26), (240, 238, 220)
_PLATES = ((235, 235, 230), (240, 205, 70), (225, 230, 240))

_Faces = dict[str, np.ndarray]
_SIDES = ('left', 'right')


@dataclass(frozen=True)
class _CarShape:
    """Sizes in meters; cabin and roof from rear to front end."""

    length: float
    width: float
    height: float
    belt: float
    hood: float
    cabin: tuple[float, float]
    roof: tuple[float, float]


#: Hatchback, sedan, estate car, SUV and van.
_CARS = (
    _CarShape(3.9, 1.7, 1.48, 0.92, 0.14, (-1.92, 1.0), (-1.65, 0.25)),
    _CarShape(4.5, 1.8, 1.44, 0.9, 0.12, (-1.6, 1.05), (-0.85, 0.2)),
    _CarShape(4.7, 1.8, 1.48, 0.9, 0.12, (-2.3, 1.05), (-2.0, 0.25)),
    _CarShape(4.6, 1.9, 1.74, 1.05, 0.1, (-2.25, 1.0), (-2.0, 0.35)),
    _CarShape(4.9, 1.95, 2.05, 1.15, 0.25, (-2.42, 2.0), (-2.38, 1.25)),
)


def car(spot: Spot, yaw: float) -> Item | None:
    """Draw a passenger car with its center at the spot."""
    rng, sketch = spot.rng, spot.sketch(yaw)
    shape = pick(rng, _CARS)
    color, glass = _paint(rng), _glass(sketch.light, rng)
    number_plate = pick(rng, _PLATES)
    half, end = shape.width / 2, shape.length / 2
    axles, radius = (-0.62 * end, 0.62 * end), 0.32
    _chassis(sketch, half * 0.9, end * 0.93, (0.1, 0.3))
    _tires(sketch, half * 0.98, axles, radius)
    body = sketch.body(
        plate(half, -end, end, 0.24),
        plate(half * 0.95, -end, end, shape.belt, front=shape.hood),
        color,
    )
    _wheels(sketch, body, half, axles, radius)
    doors = [(0.43, 0.44, 0.2, 1), (0.62, 0.63, 0.2, 1)]
    for side in _SIDES:
        sketch.rects(body.get(side), doors, scaled(color, 0.6))
    _lamps(sketch, body, (0.58, 0.82))
    rear, front = body.get('rear'), body.get('front')
    sketch.rects(rear, [(0.38, 0.62, 0.3, 0.48)], number_plate)
    sketch.rects(front, [(0.26, 0.74, 0.5, 0.74)], (28, 28, 30))
    sketch.rects(front, [(0.4, 0.6, 0.2, 0.36)], number_plate)
    cabin = sketch.body(
        plate(half * 0.93, *shape.cabin, shape.belt - 0.03),
        plate(half * 0.74, *shape.roof, shape.height),
        color,
    )
    side_panes = [(0.07, 0.47, 0.1, 0.85), (0.52, 0.93, 0.1, 0.85)]
    panes = {
        'rear': [(0.08, 0.92, 0.16, 0.86)],
        'front': [(0.05, 0.95, 0.06, 0.93)],
        'left': side_panes,
        'right': side_panes,
    }
    for name, rects in panes.items():
        _panes(sketch, cabin.get(name), rects, glass)
    shadows = _shadow(sketch, half, end, shape.height)
    return sketch.item('car', color=color, grain=0.03, shadows=shadows)


def bus(spot: Spot, yaw: float) -> Item | None:
    """Draw a city bus."""
    rng, sketch = spot.rng, spot.sketch(yaw)
    color = random_color(rng, (0.3, 0.9), (0.45, 0.9))
    second = pick(rng, ((225, 225, 220), scaled(color, 0.6), (60, 62, 70)))
    glass = _glass(sketch.light, rng)
    half, end, height = 1.27, float(rng.uniform(4.6, 6)), 3.1
    axles, radius = (-end * 0.55, end * 0.6), 0.48
    _tires(sketch, half, axles, radius)
    body = sketch.body(
        plate(half, -end, end, 0.22), plate(half, -end, end, height), color
    )
    lit = sketch.light.lamps > 0.2
    for side in _SIDES:
        sketch.rects(body.get(side), [(0, 1, 0.28, 0.36)], second)
        edges = np.linspace(0.03, 0.97, 9)
        panes = [
            (a + 0.008, b - 0.008, 0.46, 0.82) for a, b in pairwise(edges)
        ]
        shine = (235, 215, 160) if lit else glass
        sketch.rects(body.get(side), panes, shine, lit)
    _wheels(sketch, body, half, axles, radius)
    rear, front = body.get('rear'), body.get('front')
    _panes(sketch, rear, [(0.1, 0.9, 0.55, 0.82)], glass)
    sketch.rects(rear, [(0.25, 0.75, 0.14, 0.38)], second)
    _panes(sketch, front, [(0.06, 0.94, 0.34, 0.8)], glass)
    sketch.rects(front, [(0.2, 0.8, 0.85, 0.95)], (20, 20, 20))
    sketch.rects(front, [(0.3, 0.7, 0.87, 0.93)], (250, 170, 40), glow=True)
    _lamps(sketch, body, (0.16, 0.26))
    shadows = _shadow(sketch, half, end, height)
    return sketch.item('bus', color=color, grain=0.03, shadows=shadows)


def truck(spot: Spot, yaw: float) -> Item | None:
    """Draw a truck with a box behind its cab."""
    rng, sketch = spot.rng, spot.sketch(yaw)
    cab_color, box_color = _paint(rng), _paint(rng)
    if rng.random() < 0.5:
        box_color = jittered(rng, (215, 215, 210), 15)
    glass = _glass(sketch.light, rng)
    half, end = 1.2, float(rng.uniform(3.0, 4.4))
    height, split = float(rng.uniform(2.9, 3.6)), end - 2.0
    axles, radius = (-end * 0.62, end * 0.66), 0.46
    _chassis(sketch, half * 0.8, end, (0.35, 0.95))
    _tires(sketch, half, axles, radius)

    def draw_box() -> None:
        box = sketch.body(
            plate(half, -end, split - 0.15, 0.85),
            plate(half, -end, split - 0.15, height),
            box_color,
        )
        stripe = mixed(box_color, cab_color, 0.75)
        for side in _SIDES:
            sketch.rects(box.get(side), [(0.1, 0.9, 0.4, 0.62)], stripe)
        _wheels(sketch, box, half, axles[:1], radius)
        if 'rear' in box:
            doors = [(0.49, 0.51, 0, 1), (0, 0.03, 0, 1), (0.97, 1, 0, 1)]
            sketch.rects(box['rear'], doors, scaled(box_color, 0.7))
            _lamps(sketch, {'rear': box['rear']}, (0.03, 0.1))

    def draw_cab() -> None:
        cab = sketch.body(
            plate(half * 0.95, split, end, 0.42),
            plate(half * 0.92, split, end - 0.35, 2.55),
            cab_color,
        )
        for side in _SIDES:
            _panes(sketch, cab.get(side), [(0.2, 0.8, 0.55, 0.86)], glass)
        _wheels(sketch, cab, half, axles[1:], radius)
        if 'front' in cab:
            _panes(sketch, cab['front'], [(0.06, 0.94, 0.52, 0.88)], glass)
            _lamps(sketch, {'front': cab['front']}, (0.18, 0.28))

    # What is farther away comes first.
    looks_away = sketch.turn[2, 2] > 0
    for draw in (draw_cab, draw_box) if looks_away else (draw_box, draw_cab):
        draw()
    shadows = _shadow(sketch, half, end, height)
    return sketch.item('truck', color=_CHASSIS, grain=0.04, shadows=shadows)


def _paint(rng: Generator) -> Color:
    """Draw a paint: mostly grays as on the road, some colors."""
    if rng.random() < 0.55:
        return jittered(rng, (rng.uniform(25, 235),) * 3, 8)
    return random_color(rng, (0.45, 0.9), (0.3, 0.85))


def _glass(light: Light, rng: Generator) -> Color:
    return mixed((30, 36, 42), light.zenith, float(rng.uniform(0.05, 0.4)))


def _panes(
    sketch: Sketch,
    face: np.ndarray | None,
    panes: Sequence[tuple[float, float, float, float]],
    glass: Color,
) -> None:
    """Draw windows with the sky in their upper part."""
    sketch.rects(face, panes, glass)
    upper = [(a, b, c + 0.6 * (d - c), d) for a, b, c, d in panes]
    sketch.rects(face, upper, mixed(glass, sketch.light.haze, 0.25))


def _chassis(
    sketch: Sketch, half: float, end: float, heights: tuple[float, float]
) -> None:
    low, high = (plate(half, -end, end, y) for y in heights)
    sketch.body(low, high, (20, 20, 22))


def _tires(
    sketch: Sketch, half: float, axles: Sequence[float], radius: float
) -> None:
    """Draw tires; the body will hide all but their lower ends."""
    treads = [
        [(x, 0, z), (x + 0.24, 0, z), (x + 0.24, radius, z), (x, radius, z)]
        for z in axles
        for x in (-half, half - 0.24)
    ]
    sketch.add(np.array(treads, float), _TIRE, solid=True)
    sketch.add(_rims((-half, half), axles, radius, radius), _TIRE, solid=True)


def _wheels(
    sketch: Sketch,
    body: _Faces,
    half: float,
    axles: Sequence[float],
    radius: float,
) -> None:
    """Draw wheels on the sides that are seen."""
    sides = [
        x for name, x in (('left', -half), ('right', half)) if name in body
    ]
    if sides:
        sketch.add(_rims(sides, axles, radius, radius), _TIRE)
        sketch.add(_rims(sides, axles, radius, radius * 0.6), _HUB)


def _rims(
    sides: Sequence[float],
    axles: Sequence[float],
    height: float,
    radius: float,
) -> np.ndarray:
    """Return circles (N, 14, 3) around the axles."""
    circles = np.zeros((len(sides) * len(axles), 14, 3))
    for number, circle in enumerate(circles):
        circle[:, 0] = sides[number // len(axles)]
        circle[:, (2, 1)] = disc(axles[number % len(axles)], height, radius)
    return circles


def _lamps(sketch: Sketch, body: _Faces, height: tuple[float, float]) -> None:
    """Draw lamps and bumpers; height as a share of the face."""
    pair = [(0.03, 0.2, *height), (0.8, 0.97, *height)]
    for name, color in (('rear', _RED_LAMP), ('front', _WHITE_LAMP)):
        face = body.get(name)
        sketch.rects(face, [(0.02, 0.98, 0.0, 0.16)], (46, 46, 48))
        sketch.rects(face, pair, color, sketch.light.lamps > 0.2)


def _shadow(
    sketch: Sketch, half: float, end: float, height: float
) -> list[np.ndarray]:
    """Return the dark below a vehicle, and its cast shadow in the sun."""
    light, below = sketch.light, plate(half * 1.05, -end * 1.03, end * 1.03, 0)
    if (below @ sketch.turn + sketch.origin)[:, 2].min() < 0.5:
        return []
    shadows = [sketch.project(below)]
    if light.sun > 0.4:
        shift = -light.sun_side * height * 0.55
        # Across the picture, whichever way the vehicle stands.
        across = shift * sketch.turn[:, 0]
        shadows.append(sketch.project(below + across))
    return shadows
