"""What is painted first: sky, skyline, ground and markings."""

import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.buildings import FACADES
from mmseg_ext.sample_data.scenes.light import Color, jittered, pick, scaled
from mmseg_ext.sample_data.scenes.roadside import foliage_color
from mmseg_ext.sample_data.scenes.sketch import Item, Part
from mmseg_ext.sample_data.scenes.view import CROSSING, FAR, LANE, NEAR, View

__all__ = ['backdrop']

_ASPHALT = ((84, 84, 88), (104, 102, 102), (68, 70, 76), (126, 122, 118))
_PAVING = ((168, 162, 154), (146, 146, 150), (184, 160, 142), (124, 122, 122))
_WHITE, _YELLOW = (236, 234, 228), (232, 184, 60)
#: Distance at which the skyline is drawn.
_SKYLINE = 200.0

#: Lateral from and to, z from and to.
_Strip = tuple[float, float, float, float]


def backdrop(
    view: View, rng: Generator, urban: float, autumn: float
) -> list[Item]:
    """Draw sky, skyline and ground, back to front.

    Args:
        view: Camera, light and street.
        rng: Source of all choices.
        urban: 0 for a village to 1 for a city.
        autumn: Share of plants that are not green.
    """
    width, height = view.camera.size
    corners = np.array(((0, 0), (width, 0), (width, height), (0, height)))
    return [
        Item('sky', corners, FAR, (0, 0, 0), surface='sky'),
        *_skyline(view, rng, urban),
        *_Ground(view, rng).items(urban, foliage_color(rng, autumn)),
    ]


def _skyline(view: View, rng: Generator, urban: float) -> list[Item]:
    """Draw roofs far away, and a line of trees before them."""
    edges = np.cumsum(rng.uniform(8, 26, 60)) - 500
    roofs = np.repeat(rng.uniform(3, 4 + 26 * urban, 59), 2)
    color = jittered(rng, pick(rng, FACADES), 10)
    houses = Item(
        'building',
        _silhouette(view, np.repeat(edges, 2)[1:-1], roofs),
        260,
        color,
        fade=-0.1,
    )
    waves = 3 * np.sin(np.arange(180) * rng.uniform(0.2, 0.6))
    crowns = np.maximum(rng.uniform(1.5, 5.5, 180) + waves, 0.6)
    trees = Item(
        'vegetation',
        _silhouette(view, np.linspace(-450, 450, 180), crowns),
        170,
        foliage_color(rng, 0.1),
        surface='foliage',
        grain=0.5,
    )
    return [houses, trees]


def _silhouette(view: View, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the outline in pixels of what is below a distant line."""
    x, y = np.r_[x, x[-1], x[0]], np.r_[y, 0, 0]
    outline = np.stack((x, y, np.full_like(x, _SKYLINE)), -1)
    return view.camera.project(outline)


class _Ground:
    """What is flat."""

    def __init__(self, view: View, rng: Generator) -> None:
        self.view, self.street, self.rng = view, view.street, rng
        self.worn = float(rng.uniform(0.72, 1))
        self.markings: list[Item] = []

    def items(self, urban: float, grass: Color) -> list[Item]:
        """Draw land, sidewalks, roads and markings, in this order."""
        rng, street = self.rng, self.street
        paving = jittered(rng, pick(rng, _PAVING), 14)
        asphalt = jittered(rng, pick(rng, _ASPHALT), 14)
        half = street.half_width
        land = (-400, 400, NEAR, FAR * 1.2)
        if rng.random() < urban - 0.3:
            items = [self._area('sidewalk', land, paving)]
        else:
            items = [self._area('terrain', land, grass)]
        for side in (-1, 1):
            walk = self._area(
                'sidewalk',
                (side * half, street.border(side), NEAR, FAR),
                paving,
            )
            curb = (side * half, side * (half + 0.16), NEAR, FAR)
            walk.parts = [self._part(curb, scaled(paving, 1.18))]
            items.append(walk)
        if street.crossing is not None:
            start = street.crossing + 0.5
            side_street = (-90, 90, start, start + CROSSING - 1.5)
            items.append(self._area('road', side_street, asphalt))
        road = self._area('road', (-half, half, NEAR, FAR), asphalt)
        road.parts = self._repairs(asphalt)
        self._lines()
        self._zebra()
        return [*items, road, *self.markings]

    def _area(self, kind: str, strip: _Strip, color: Color) -> Item:
        """Draw ground of one kind; strip as for :meth:`Street.strip`."""
        surface = {'terrain': 'grass', 'sidewalk': 'slabs'}
        return Item(
            kind,
            self.view.camera.project(self.street.strip(*strip)),
            0.0,
            color,
            surface=surface.get(kind, 'asphalt'),
        )

    def _part(self, strip: _Strip, color: Color) -> Part:
        outline = self.view.camera.project(self.street.strip(*strip))
        return Part.of(outline, color)

    def _repairs(self, asphalt: Color) -> list[Part]:
        """Draw patches of newer asphalt."""
        rng, half, parts = self.rng, self.street.half_width, []
        for _ in range(int(rng.integers(0, 6))):
            lateral, z = rng.uniform(-half, half - 1), rng.uniform(4, 40)
            wide, long = rng.uniform(0.4, 1.6), rng.uniform(0.5, 6)
            shade = scaled(asphalt, float(rng.uniform(0.72, 1.12)))
            patch = (lateral, lateral + wide, z, z + long)
            parts.append(self._part(patch, shade))
        return parts

    def _mark(self, strip: _Strip, color: Color = _WHITE) -> None:
        color = scaled(color, self.worn)
        self.markings.append(self._area('lane_marking', strip, color))

    def _lines(self) -> None:
        """Draw lines between the lanes and along their edges."""
        rng, street = self.rng, self.street
        dash, gap = float(rng.uniform(2, 3.5)), float(rng.uniform(3, 6))
        first = float(rng.uniform(1.5, 6.5))
        solid = rng.random() < 0.3
        color = _YELLOW if rng.random() < 0.25 else _WHITE
        for number in range(1 - street.lanes // 2, street.lanes // 2):
            if number == 0 and solid:
                for lateral in (-0.14, 0.14):
                    self._long_line(lateral, color)
            else:
                for start in np.arange(first, 75, dash + gap):
                    self._dash(number * LANE, start, start + dash, color)
        if rng.random() < 0.65:
            for side in (-1, 1):
                self._long_line(side * (street.edge - 0.1), _WHITE)

    def _dash(
        self, lateral: float, start: float, end: float, color: Color
    ) -> None:
        if not self.street.meets_crossing(start, end + 4):
            self._mark((lateral - 0.08, lateral + 0.08, start, end), color)

    def _long_line(self, lateral: float, color: Color) -> None:
        """Draw a line that the crossing interrupts."""
        crossing = self.street.crossing
        pieces = [(NEAR, 120.0)]
        if crossing is not None:
            pieces = [(NEAR, crossing - 5.6), (crossing + CROSSING, 120.0)]
        for start, end in pieces:
            self._mark((lateral - 0.07, lateral + 0.07, start, end), color)

    def _zebra(self) -> None:
        """Draw a pedestrian crossing and the line where cars stop."""
        street, place = self.street, self.street.zebra
        if place is None:
            return
        half, side = street.half_width, street.drive_side
        for lateral in np.arange(-half + 0.3, half - 0.5, 1.0):
            self._mark((lateral, lateral + 0.5, place - 1.2, place + 1.2))
        stop = (side * 0.15, side * (half - 0.2), place - 2.4, place - 2)
        self._mark(stop)
