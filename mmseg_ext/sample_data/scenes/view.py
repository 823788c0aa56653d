"""The camera and the street before it.

World coordinates are meters: x to the right, y up, z forward from the foot of
the camera. ``lateral`` is the distance to the right of the street's center
line.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.light import Light, pick

__all__ = [
    'CROSSING',
    'FAR',
    'LANE',
    'NEAR',
    'Camera',
    'Street',
    'View',
    'random_camera',
    'random_street',
]

_Distance = TypeVar('_Distance', float, np.ndarray)

#: Nothing nearer than this (in meters) is drawn.
NEAR = 1.2

#: Where the street ends (in meters).
FAR = 190.0

#: Width of a lane, of a row of parked cars, and length of a crossing.
LANE, _PARKING, CROSSING = 3.2, 2.2, 8.0


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera.

    Attributes:
        size: Image width and height in pixels.
        focal: Focal length in image heights.
        horizon: Row of the horizon in image heights from the top.
        height: Meters above the road.
    """

    size: tuple[int, int]
    focal: float
    horizon: float
    height: float

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.focal * self.size[1]

    @property
    def horizon_px(self) -> float:
        """Row of the horizon in pixels."""
        return self.horizon * self.size[1]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project world points (..., 3) with z > 0 to pixels (..., 2)."""
        scale = self.focal_px / points[..., 2]
        result = np.empty((*points.shape[:-1], 2))
        result[..., 0] = self.size[0] / 2 + scale * points[..., 0]
        result[..., 1] = self.horizon_px + scale * (
            self.height - points[..., 1]
        )
        return result


@dataclass(frozen=True)
class Street:
    """A street that bends like a parabola.

    Attributes:
        lanes: Number of lanes, both directions together.
        parking: Whether cars park on both sides.
        drive_side: 1 for traffic on the right, -1 on the left.
        ego: Lateral place of the camera.
        heading: Slope of the center line at the camera.
        bend: Its quadratic term, 1 / meter.
        sidewalks: Widths in meters, left and right.
        crossing: Where a side street begins, None for nowhere.
        zebra: Middle of a pedestrian crossing, None for nowhere.
    """

    lanes: int
    parking: bool
    drive_side: int
    ego: float
    heading: float
    bend: float
    sidewalks: tuple[float, float]
    crossing: float | None
    zebra: float | None

    @property
    def edge(self) -> float:
        """Meters from the center line to the outer edge of the lanes."""
        return self.lanes * LANE / 2

    @property
    def half_width(self) -> float:
        """Meters from the center line to the curb."""
        return self.edge + self.parking * _PARKING

    def border(self, side: int) -> float:
        """Return the lateral of the far edge of a sidewalk, side -1 or 1."""
        return side * (self.half_width + self.sidewalks[side > 0])

    def x(self, lateral: float, z: _Distance) -> _Distance:
        """Return world x of a place on the street."""
        return lateral - self.ego + self.heading * z + self.bend * z * z

    def yaw(self, z: float) -> float:
        """Return the direction of the street at z, in radians to the right."""
        return math.atan(self.heading + 2 * self.bend * z)

    def meets_crossing(self, start: float, end: float) -> bool:
        """Return whether some of start to end lies on the side street."""
        if self.crossing is None:
            return False
        return end > self.crossing - 1 and start < self.crossing + CROSSING

    def strip(
        self, near: float, far: float, start: float, end: float
    ) -> np.ndarray:
        """Return the world outline (N, 3) of ground between two laterals."""
        start = max(start, NEAR)
        end = max(end, start + 0.1)
        steps = min(max(int((end - start) / 3), 2), 24)
        z = start * (end / start) ** (np.arange(steps) / (steps - 1))
        outline = np.zeros((2 * steps, 3))
        outline[:steps, 0] = self.x(near, z)
        outline[steps:, 0] = self.x(far, z)[::-1]
        outline[:, 2] = np.r_[z, z[::-1]]
        return outline


@dataclass(frozen=True)
class View:
    """Camera, light and street of a scene.

    Attributes:
        camera: Projects everything.
        light: Lights everything.
        street: What everything stands along.
    """

    camera: Camera
    light: Light
    street: Street


def random_camera(rng: Generator, size: tuple[int, int]) -> Camera:
    """Draw how the camera is mounted."""
    return Camera(
        size,
        focal=float(rng.uniform(0.95, 1.3)),
        horizon=float(rng.uniform(0.4, 0.52)),
        height=float(rng.uniform(1.3, 1.9)),
    )


def random_street(rng: Generator) -> Street:
    """Draw a street."""
    lanes = 2 if rng.random() < 0.75 else 4
    own_lane = 0.5 if lanes == 2 else pick(rng, (0.5, 1.5))
    drive_side = pick(rng, (-1, 1))
    crossing = float(rng.uniform(13, 55)) if rng.random() < 0.6 else None
    zebra: float | None = None
    if crossing is not None:
        zebra = crossing - 3.2
    elif rng.random() < 0.35:
        zebra = float(rng.uniform(8, 32))
    return Street(
        lanes=lanes,
        parking=rng.random() < 0.65,
        drive_side=drive_side,
        ego=drive_side * LANE * own_lane + float(rng.normal(0, 0.15)),
        heading=float(rng.normal(0, 0.02)),
        bend=float(np.clip(rng.normal(0, 0.0009), -0.0022, 0.0022)),
        sidewalks=tuple(rng.uniform(2.4, 5, 2).tolist()),
        crossing=crossing,
        zebra=zebra,
    )
