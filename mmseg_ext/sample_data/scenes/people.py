"""People on foot and on two wheels, drawn as flat figures in meters."""

import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.light import (
    Color,
    jittered,
    pick,
    random_color,
    scaled,
)
from mmseg_ext.sample_data.scenes.sketch import (
    Item,
    Sketch,
    Spot,
    disc,
    ground_disc,
)

__all__ = ['cyclist', 'person']

_SKIN = ((242, 205, 175), (222, 175, 140), (175, 125, 90), (105, 70, 50))
_HAIR = ((30, 24, 20), (75, 50, 30), (150, 110, 60), (130, 128, 125))
_DARK = (26, 26, 30)


def _cloth(rng: Generator) -> Color:
    if rng.random() < 0.45:
        return jittered(rng, (rng.uniform(25, 215),) * 3, 12)
    return random_color(rng, (0.3, 0.9), (0.25, 0.9))


def person(spot: Spot, child: bool = False) -> Item | None:
    """Draw someone who stands or walks."""
    rng = spot.rng
    tall = float(rng.uniform(1.0, 1.35) if child else rng.uniform(1.56, 1.9))
    broad = float(rng.uniform(0.92, 1.2)) * pick(rng, (-1, 1))
    skin, hair = pick(rng, _SKIN), pick(rng, _HAIR)
    top, trousers = _cloth(rng), scaled(_cloth(rng), 0.8)
    stride = float(rng.choice((0.02, 0.09, 0.14)))
    swing = float(rng.uniform(-0.1, 0.12))
    coat = rng.random() < 0.35
    bag = rng.random() < 0.4
    bag_color = _cloth(rng)
    sketch = spot.sketch(scale=(tall * broad, tall))
    for foot, shade in ((-stride, 0.8), (stride, 1.0)):
        sketch.limb(
            (foot * 0.35, 0.52), (foot, 0.03), 0.085, scaled(trousers, shade)
        )
        sketch.limb((foot - 0.03, 0.018), (foot + 0.06, 0.018), 0.036, _DARK)
    sketch.limb((-0.12, 0.8), (-0.14 - swing, 0.47), 0.055, scaled(top, 0.8))
    hem, flare = (0.3, 0.15) if coat else (0.48, 0.105)
    torso = ((-flare, hem), (flare, hem), (0.135, 0.8), (0.06, 0.85))
    sketch.flat((*torso, (-0.06, 0.85), (-0.135, 0.8)), top)
    if bag:
        sketch.flat(
            ((-0.2, 0.5), (-0.08, 0.5), (-0.08, 0.72), (-0.18, 0.7)), bag_color
        )
    sketch.limb((0.12, 0.8), (0.14 + swing, 0.47), 0.055, scaled(top, 0.9))
    sketch.flat(disc(0.14 + swing, 0.455, 0.025, 8), skin)
    sketch.limb((0, 0.83), (0, 0.9), 0.06, skin)
    sketch.flat(disc(0.005, 0.928, 0.066, squeeze=0.85), hair)
    face = disc(0.015, 0.918, 0.052, squeeze=0.85)
    if rng.random() < 0.6:
        sketch.flat(face, skin)
    shadows = _shadow(sketch, 0.28, tall)
    return sketch.item(
        'person', color=top, grain=0.05, fade=0.1, shadows=shadows
    )


def cyclist(
    spot: Spot, sideways: bool, motor: bool = False, ridden: bool = True
) -> list[Item | None]:
    """Draw a bicycle or motorcycle, and the rider on it.

    Args:
        spot: Where it stands.
        sideways: Seen from the side, else from the rear or the front.
        motor: A motorcycle.
        ridden: Add the rider.

    Returns:
        The vehicle, then the rider before it.
    """
    rng = spot.rng
    flip = pick(rng, (-1, 1))
    frame = random_color(rng, (0.3, 0.95), (0.2, 0.9))
    machine = spot.sketch(scale=(flip if sideways else 1, 1))
    rider = spot.sketch(scale=(flip, 1))
    if sideways:
        _machine_side(machine, frame, motor)
    else:
        _machine_end(machine, frame, motor)
    items = [
        machine.item(
            'motorcycle' if motor else 'bicycle',
            color=_DARK if motor else None,
            grain=0.05,
            shadows=_shadow(machine, 0.8 if sideways else 0.2, 1),
        )
    ]
    if ridden:
        _rider(rider, sideways, rng)
        items.append(rider.item('rider', order=spot.z - 0.01))
    return items


def _machine_side(sketch: Sketch, frame: Color, motor: bool) -> None:
    radius, base, thick = (0.31, 0.68, 0.12) if motor else (0.34, 0.53, 0.05)
    for x in (-base, base):
        sketch.flat(disc(x, radius, radius, 18), _DARK)
        if not motor:
            # What is seen between the spokes: mostly road.
            sketch.flat(disc(x, radius, radius * 0.82, 14), (112, 112, 114))
            for angle in np.arange(3) * np.pi / 3:
                tip = radius * np.array((np.cos(angle), np.sin(angle)))
                center = np.array((x, radius))
                sketch.limb(center - tip, center + tip, 0.02, (70, 70, 74))
    saddle, head, crank = (-0.2, 0.88), (0.36, 0.9), (-0.05, 0.3)
    for start, end in (
        (saddle, crank),
        (crank, head),
        ((-0.18, 0.78), head),
        ((-base, radius), crank),
        ((-base, radius), (-0.18, 0.78)),
        ((base, radius), head),
    ):
        sketch.limb(start, end, thick, frame)
    if motor:
        body = ((-0.5, 0.62), (-0.3, 0.28), (0.3, 0.28), (0.45, 0.8))
        sketch.flat((*body, (0.1, 0.95)), frame)
        sketch.flat(
            ((-0.75, 0.78), (-0.1, 0.74), (0, 0.86), (-0.7, 0.92)), _DARK
        )
    sketch.limb((-0.32, 0.93), (-0.08, 0.93), 0.06, _DARK)
    sketch.limb(head, (0.38, 1.06), thick, frame)
    sketch.limb((0.28, 1.08), (0.46, 1.06), 0.05, _DARK)


def _machine_end(sketch: Sketch, frame: Color, motor: bool) -> None:
    wide = 0.16 if motor else 0.055
    sketch.limb((0, 0), (0, 0.68), wide, _DARK)
    sketch.limb((0, 0.5), (0, 1.0), wide * 0.8, frame)
    sketch.limb((-0.32, 1.05), (0.32, 1.05), 0.05, _DARK)
    if motor:
        sketch.flat(
            ((-0.2, 0.4), (0.2, 0.4), (0.17, 0.9), (-0.17, 0.9)), frame
        )
    lamp = disc(0, 0.8, 0.07 if motor else 0.04, 8)
    sketch.flat(lamp, (210, 40, 35), glow=sketch.light.lamps > 0.2)


def _rider(sketch: Sketch, sideways: bool, rng: Generator) -> None:
    skin, top, trousers = pick(rng, _SKIN), _cloth(rng), _cloth(rng)
    helmet = _cloth(rng) if rng.random() < 0.7 else pick(rng, _HAIR)
    if sideways:
        hip, shoulder, hand = (-0.2, 0.98), (0.16, 1.46), (0.4, 1.1)
        for knee, foot, shade in (
            ((0.18, 0.72), (0.02, 0.18), 0.75),
            ((0.2, 0.85), (0.06, 0.42), 1.0),
        ):
            sketch.limb(hip, knee, 0.16, scaled(trousers, shade))
            sketch.limb(knee, foot, 0.11, scaled(trousers, shade))
            sketch.limb(foot, (foot[0] + 0.16, foot[1]), 0.07, _DARK)
        sketch.limb((hip[0], hip[1] - 0.06), shoulder, 0.28, top)
        sketch.limb(shoulder, hand, 0.09, scaled(top, 0.82))
        sketch.flat(disc(*hand, 0.05, 8), skin)
        center = (0.26, 1.64)
    else:
        for side in (-1, 1):
            knee = (side * 0.16, 0.62)
            sketch.limb((side * 0.1, 0.98), knee, 0.15, trousers)
            sketch.limb(
                knee, (side * 0.12, 0.25), 0.11, scaled(trousers, 0.85)
            )
            sketch.limb((side * 0.2, 1.4), (side * 0.3, 1.08), 0.09, top)
        torso = ((-0.17, 0.92), (0.17, 0.92), (0.24, 1.4), (0.08, 1.5))
        sketch.flat((*torso, (-0.08, 1.5), (-0.24, 1.4)), top)
        center = (0.0, 1.62)
    sketch.limb((center[0] - 0.05, 1.48), center, 0.1, skin)
    sketch.flat(disc(*center, 0.12, squeeze=0.88), skin)
    angles = np.linspace(0, np.pi, 8)
    dome = np.stack((0.13 * np.cos(angles), 0.13 * np.sin(angles)), -1)
    dome += (center[0], center[1] + 0.02)
    sketch.flat(dome, helmet)


def _shadow(sketch: Sketch, radius: float, height: float) -> list[np.ndarray]:
    """Return a spot on the ground, drawn out away from the sun."""
    x, _, z = sketch.origin
    light = sketch.light
    reach = -light.sun_side * light.sun * height * 0.45
    return [
        ground_disc(sketch.camera, x + reach, z, radius + abs(reach), 0.22)
    ]
