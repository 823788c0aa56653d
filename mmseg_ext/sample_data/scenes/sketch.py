"""Objects as projected parts, and the outlines that follow from them.

Own coordinates of an object are meters from the point where it stands: x to
the right, y up, z forward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.light import Color
from mmseg_ext.sample_data.scenes.view import NEAR, Camera, View

__all__ = [
    'SHIFT',
    'Item',
    'Part',
    'Points',
    'Sketch',
    'Spot',
    'disc',
    'fixed_point',
    'ground_disc',
    'plate',
]

#: Polygons that are painted have this many binary places.
SHIFT = 4

_Point = np.ndarray | Sequence[float]

#: Rows of numbers, such as points (x, y).
Points = np.ndarray | Sequence[Sequence[float]]


class Part(NamedTuple):
    """Polygons that are filled with one color.

    Attributes:
        polygons: int32 (N, K, 2), pixels times 2 ** SHIFT.
        color: RGB.
        glow: Not darkened by the time of day.
    """

    polygons: np.ndarray
    color: Color
    glow: bool = False

    @classmethod
    def of(cls, polygon: np.ndarray, color: Color) -> 'Part':
        """Return a part of one polygon (K, 2) in pixels."""
        return cls(fixed_point(polygon)[None], color)


@dataclass
class Item:
    """An object that waits to be painted.

    Attributes:
        kind: See :data:`mmseg_ext.sample_data.scenes.scene.KINDS`.
        outline: (N, 2) pixels.
        distance: Meters, for haze and texture scale.
        color: Fills the outline first; None leaves what is behind visible
            between the parts.
        parts: Painted in order, inside the outline only.
        surface: Name of the texture.
        grain: Strength of the texture.
        fade: How much brighter the top is than the bottom.
        order: Items of higher order are hidden by those of lower order.
        shadows: Polygons (each (N, 2) pixels) that it darkens on the ground.
    """

    kind: str
    outline: np.ndarray
    distance: float
    color: Color | None = None
    parts: Sequence[Part] = ()
    surface: str = 'plain'
    grain: float = 0.1
    fade: float = 0.0
    order: float = 0.0
    shadows: Sequence[np.ndarray] = ()


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Turn pixels into the integers that OpenCV takes with SHIFT."""
    return np.rint(points * (1 << SHIFT)).astype(np.int32)


def _union_outline(
    polygons: Sequence[np.ndarray], camera: Camera
) -> np.ndarray | None:
    """Return one outline around overlapping polygons.

    The polygons are drawn on a small canvas and its outer contour is taken.
    The canvas depends on shares of the image, not on its pixels, so that a
    scene has the same shapes at every resolution.

    Args:
        polygons: Each (N, 2) in pixels.
        camera: Its image limits the canvas.

    Returns:
        (N, 2) pixels, or None when nothing of them is in the image.
    """
    points = np.concatenate(polygons)
    (width, height), (left, top) = camera.size, points.min(0).tolist()
    right, bottom = points.max(0).tolist()
    if right < 0 or bottom < 0 or left > width or top > height:
        return None
    margin = 0.08 * height
    low = np.array((max(left, -margin), max(top, -margin)))
    extent_x = min(right, width + margin) - low[0]
    extent_y = min(bottom, height + margin) - low[1]
    extent = max(extent_x, extent_y, 1e-6)
    cells = min(max(640 * extent / height, 64), 384) / extent
    shape = int(extent_y * cells) + 4, int(extent_x * cells) + 4
    canvas = np.zeros(shape, np.uint8)
    points = fixed_point((points - low) * cells + 1)
    start = 0
    for polygon in polygons:
        stop = start + len(polygon)
        cv2.fillPoly(canvas, [points[start:stop]], 1, shift=SHIFT)
        start = stop
    contours, _ = cv2.findContours(
        canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    contour = cv2.approxPolyDP(contour, 0.8, True)[:, 0]
    return (contour - 1) / cells + low if len(contour) >= 3 else None


#: Corners of the faces of a body, see :meth:`Sketch.body`.
_FACES = {
    'rear': (0, 1, 5, 4),
    'right': (1, 2, 6, 5),
    'front': (2, 3, 7, 6),
    'left': (3, 0, 4, 7),
    'top': (4, 5, 6, 7),
}
_CORNERS = np.array(list(_FACES.values()))


class _Shape(NamedTuple):
    """Polygons (N, K, 3) of one color; solid ones make up the outline."""

    points: np.ndarray
    color: Color
    glow: bool
    solid: bool


class Sketch:
    """The parts of one object in its own coordinates.

    Args:
        view: Projects the parts and lights the faces.
        x: World x of the object's origin, which stands on the ground.
        z: World z of it.
        yaw: Radians to the right; with 0 the object looks away from us.
        scale: Factors on x and y of its flat parts.
    """

    def __init__(
        self,
        view: View,
        x: float = 0.0,
        z: float = 0.0,
        yaw: float = 0.0,
        scale: Sequence[float] = (1, 1),
    ) -> None:
        self.camera, self.light, self.scale = view.camera, view.light, scale
        self.origin = np.array((x, 0.0, z))
        cos, sin = math.cos(yaw), math.sin(yaw)
        self.turn = np.array(((cos, 0, -sin), (0, 1, 0), (sin, 0, cos)))
        self._shapes: list[_Shape] = []

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project own coordinates (..., 3) to pixels (..., 2)."""
        world = points @ self.turn + self.origin
        return self.camera.project(world)

    def add(
        self,
        points: np.ndarray,
        color: Color,
        glow: bool = False,
        solid: bool = False,
    ) -> None:
        """Add polygons (N, K, 3); ``solid`` ones make up the outline."""
        self._shapes.append(_Shape(points, color, glow, solid))

    def flat(self, points: Points, color: Color, glow: bool = False) -> None:
        """Add a solid polygon (K, 2) in the plane that faces the camera."""
        polygon = np.zeros((1, len(points), 3))
        polygon[0, :, :2] = points
        polygon[0, :, :2] *= self.scale
        self.add(polygon, color, glow, solid=True)

    def limb(
        self,
        start: _Point,
        end: _Point,
        width: float,
        color: Color,
        glow: bool = False,
    ) -> None:
        """Add a thick line in the plane that faces the camera."""
        (x0, y0), (x1, y1) = start, end
        scale = width / 2 / max(math.hypot(x1 - x0, y1 - y0), 1e-9)
        dx, dy = (y0 - y1) * scale, (x1 - x0) * scale
        ends = ((x0 - dx, y0 - dy), (x1 - dx, y1 - dy))
        self.flat((*ends, (x1 + dx, y1 + dy), (x0 + dx, y0 + dy)), color, glow)

    def rects(
        self,
        corners: np.ndarray | None,
        rects: Points,
        color: Color,
        glow: bool = False,
    ) -> None:
        """Add rectangles to a face; None is one that is not seen.

        Their left, right, bottom and top are shares of the face.
        """
        if corners is not None and len(rects):
            self.add(_on_face(corners, rects), color, glow)

    def face(self, corners: np.ndarray, color: Color) -> bool:
        """Add one shaded face (4, 3) when it is turned to the camera.

        Corners run from bottom left over bottom right to top left as seen
        from outside.
        """
        return bool(self._faces(corners[None], color)[0])

    def body(
        self, bottom: np.ndarray, top: np.ndarray, color: Color
    ) -> dict[str, np.ndarray]:
        """Add the visible faces of a body with eight corners.

        Args:
            bottom: (4, 3): rear left, rear right, front right, front left.
            top: The same corners above.
            color: RGB, shaded by the direction of each face.

        Returns:
            Corners (4, 3) of the visible ones of ``rear``, ``right``,
            ``front``, ``left`` and ``top``.
        """
        corners = np.concatenate((bottom, top))[_CORNERS]
        seen = self._faces(corners, color)
        return {name: corners[i] for i, name in enumerate(_FACES) if seen[i]}

    def _faces(self, corners: np.ndarray, color: Color) -> np.ndarray:
        across = corners[:, 1] - corners[:, 0]
        up = corners[:, 3] - corners[:, 0]
        normals = up[:, (1, 2, 0)] * across[:, (2, 0, 1)]
        normals -= up[:, (2, 0, 1)] * across[:, (1, 2, 0)]
        normals = normals @ self.turn
        normals /= np.maximum(np.sqrt((normals**2).sum(1)), 1e-9)[:, None]
        eye = (0, self.camera.height, 0) - self.origin
        toward = eye - corners[:, 0] @ self.turn
        seen = (normals * toward).sum(1) > 0
        for index in np.flatnonzero(seen):
            shade = self.light.shade(color, normals[index].tolist())
            self.add(corners[index : index + 1], shade, solid=True)
        return seen

    def item(
        self,
        kind: str,
        *,
        color: Color | None = None,
        surface: str = 'plain',
        grain: float = 0.1,
        fade: float = 0.0,
        distance: float | None = None,
        order: float | None = None,
        shadows: Sequence[np.ndarray] = (),
    ) -> Item | None:
        """Return what was sketched, or None when it is not in the picture.

        The arguments are those of :class:`Item`; distance and order are by
        default the z of the object's origin.
        """
        if not self._shapes:
            return None
        flat = [shape.points.reshape(-1, 3) for shape in self._shapes]
        world = np.concatenate(flat) @ self.turn + self.origin
        if world[:, 2].min() < NEAR:
            return None
        pixels = self.camera.project(world)
        fixed = fixed_point(pixels)
        parts, solids, start = [], [], 0
        for shape in self._shapes:
            count, length = shape.points.shape[:2]
            stop = start + count * length
            polygons = fixed[start:stop].reshape(count, length, 2)
            parts.append(Part(polygons, shape.color, shape.glow))
            if shape.solid:
                solids.append(pixels[start:stop])
            start = stop
        outline = _union_outline(solids, self.camera)
        if outline is None:
            return None
        z = float(self.origin[2])
        return Item(
            kind,
            outline,
            distance=z if distance is None else distance,
            color=color,
            parts=parts,
            surface=surface,
            grain=grain,
            fade=fade,
            order=z if order is None else order,
            shadows=shadows,
        )


class Spot(NamedTuple):
    """Where an object is to stand, and what it is drawn with.

    Attributes:
        view: Camera, light and street.
        rng: Source of all choices.
        x: World x in meters.
        z: World z in meters.
    """

    view: View
    rng: Generator
    x: float
    z: float

    def sketch(
        self, yaw: float = 0.0, scale: Sequence[float] = (1, 1)
    ) -> Sketch:
        """Return a new sketch of what stands here."""
        return Sketch(self.view, self.x, self.z, yaw, scale)


def _on_face(corners: np.ndarray, rects: Points) -> np.ndarray:
    """Return rectangles (N, 4) of a face (4, 3) as points (N, 4, 3)."""
    rects = np.asarray(rects, float)
    across = rects[:, (0, 1, 1, 0), None]
    up = rects[:, (2, 2, 3, 3), None]
    bottom = corners[0] + across * (corners[1] - corners[0])
    top = corners[3] + across * (corners[2] - corners[3])
    return bottom + up * (top - bottom)


def plate(
    x: float, z0: float, z1: float, y: float, front: float = 0.0
) -> np.ndarray:
    """Return corners (4, 3) from -x to x at height y, lowered at the front."""
    return np.array(
        ((-x, y, z0), (x, y, z0), (x, y - front, z1), (-x, y - front, z1))
    )


@cache
def _circle(points: int) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack((np.cos(angles), np.sin(angles)), -1)


def disc(
    x: float, y: float, radius: float, points: int = 14, squeeze: float = 1.0
) -> np.ndarray:
    """Return the outline (points, 2) of an ellipse."""
    return _circle(points) * (radius * squeeze, radius) + (x, y)


def ground_disc(
    camera: Camera, x: float, z: float, radius_x: float, radius_z: float
) -> np.ndarray:
    """Return the outline (12, 2) in pixels of an ellipse on the ground."""
    points = np.zeros((12, 3))
    points[:, (0, 2)] = _circle(12) * (radius_x, radius_z) + (x, z)
    points[:, 2] = np.maximum(points[:, 2], NEAR)
    return camera.project(points)
