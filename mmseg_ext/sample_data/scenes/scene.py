"""Scenes made of polygons, and the exact ground truth that follows from them.

Nothing here knows a data set format. A scene is an image and a list of
polygons from back to front; label maps, instance maps and masks are all read
off the same rasterization, so the files of every format agree pixel for pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

__all__ = ['KINDS', 'Rasterizer', 'Scene', 'SceneObject']

#: What a sample scene can hold. ``unlabeled`` is street furniture outside
#: every class, ``ego`` the bonnet of the recording car.
KINDS = (
    'sky',
    'building',
    'wall',
    'fence',
    'vegetation',
    'terrain',
    'road',
    'lane_marking',
    'sidewalk',
    'pole',
    'traffic_sign',
    'traffic_light',
    'traffic_cone',
    'car',
    'truck',
    'bus',
    'motorcycle',
    'bicycle',
    'rider',
    'person',
    'ego',
    'unlabeled',
)


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One filled polygon.

    Attributes:
        kind: What it shows, for the sample scenes one of :data:`KINDS`.
        polygon: float64 (N, 2), N >= 3, xy in pixels, may leave the image.
            Vertices are moved to whole pixels on construction: programs that
            round the coordinates of a file and programs that cut their
            decimals off then see the same outline.
        distance: Meters from the camera.
    """

    kind: str
    polygon: np.ndarray
    distance: float = 0.0

    def __post_init__(self) -> None:
        """Check the polygon and move it to whole pixels."""
        polygon = np.rint(np.asarray(self.polygon, np.float64))
        if (
            polygon.ndim != 2
            or polygon.shape[1] != 2
            or len(polygon) < 3
            or not np.isfinite(polygon).all()
        ):
            raise ValueError(
                f'polygon of a {self.kind}: expected at least three finite xy '
                f'points, got an array of shape {polygon.shape}'
            )
        # Adding zero turns -0.0, which JSON would show, into 0.0.
        object.__setattr__(self, 'polygon', polygon + 0.0)


class Rasterizer:
    """Fills polygons; the one place that knows how.

    The rule is Pillow's ``ImageDraw.polygon`` on whole-pixel vertices: a pixel
    belongs to the polygon when its center is inside or the outline runs
    through it. The tools of Cityscapes and IDD draw their polygons the same
    way.

    Args:
        size: Width and height of the image in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._image = Image.new('L', size)
        self._draw = ImageDraw.Draw(self._image)

    def mask(
        self, polygon: np.ndarray
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Fill one polygon.

        Args:
            polygon: (N, 2) whole-pixel xy.

        Returns:
            The rows and columns of the image that the polygon's bounding box
            covers, and the uint8 mask (0 or 255) of that window. Both are
            empty when the box lies outside.
        """
        spans = []
        for axis, side in enumerate(self.size):
            values = polygon[:, axis]
            start = min(max(int(values.min()), 0), side)
            stop = min(max(int(values.max()) + 1, start), side)
            spans.append(slice(start, stop))
        (left, right), (top, bottom) = ((s.start, s.stop) for s in spans)
        shape = bottom - top, right - left
        if 0 in shape:
            return (spans[1], spans[0]), np.zeros(shape, np.uint8)
        box = left, top, right, bottom
        self._draw.polygon(polygon.ravel().tolist(), fill=255)
        data = self._image.crop(box).tobytes()
        self._image.paste(0, box)
        mask = np.frombuffer(data, np.uint8).reshape(shape)
        return (spans[1], spans[0]), mask


@dataclass(eq=False)
class Scene:
    """An image and the polygons it is made of.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        objects: Back to front: a later object hides the earlier ones.
    """

    image: np.ndarray
    objects: list[SceneObject]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    @cached_property
    def object_map(self) -> np.ndarray:
        """int32 (H, W): position of the frontmost object, -1 for none."""
        result = np.full(self.image.shape[:2], -1, np.int32)
        rasterizer = Rasterizer(self.size)
        for index, item in enumerate(self.objects):
            window, mask = rasterizer.mask(item.polygon)
            result[window][mask > 0] = index
        return result

    def label_map(
        self, indices: Mapping[str, int], fill: int = 255
    ) -> np.ndarray:
        """Return the class index of the object that each pixel shows.

        Args:
            indices: Kind to class index, 0 to 255.
            fill: Value of the pixels that no object covers.

        Returns:
            uint8 (H, W).

        Raises:
            ValueError: A kind of the scene is missing in ``indices``, or an
                index does not fit into eight bits.
        """
        missing = {item.kind for item in self.objects} - set(indices)
        if missing:
            raise ValueError(
                f'no class index for {", ".join(sorted(missing))}: expected '
                'one for every kind in the scene'
            )
        for name, value in {**indices, 'fill': fill}.items():
            if not 0 <= value <= 255:
                raise ValueError(
                    f'index of {name}: expected 0 to 255, got {value}'
                )
        values = [indices[item.kind] for item in self.objects]
        return np.array([*values, fill], np.uint8)[self.object_map]
