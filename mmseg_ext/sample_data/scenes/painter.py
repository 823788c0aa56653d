"""Paints items with texture, haze and shadow, and takes the photograph.

Items are painted in flat colors. Their textures go into a second plane, of
brightness factors, that is multiplied in once at the end.
"""

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes.light import Color, mixed
from mmseg_ext.sample_data.scenes.scene import Rasterizer, SceneObject
from mmseg_ext.sample_data.scenes.sketch import SHIFT, Item, fixed_point
from mmseg_ext.sample_data.scenes.view import FAR, View

__all__ = ['Painter']

_TILE = 256
#: Texture pixels per meter, on the ground and on what stands.
_GROUND_DETAIL, _DETAIL = 36.0, 22.0
#: Light is warm and shadow is cool: what a factor does to R, G and B.
_WARMTH = (1.08, 1.0, 0.84)
#: Surfaces of the ground and their place in :func:`_ground_tiles`.
_GROUND = {'asphalt': 0, 'slabs': 1, 'grass': 2}


@cache
def _noise(slope: float) -> np.ndarray:
    """Return noise with a spectrum of 1 / frequency ** slope.

    Args:
        slope: 0 for white noise, larger for softer noise.

    Returns:
        float32 (512, 512), mean 0 and deviation 1: one tile, twice each way.
    """
    white = np.random.default_rng(7).standard_normal((_TILE, _TILE))
    rows = np.fft.fftfreq(_TILE)[:, None]
    columns = np.fft.rfftfreq(_TILE)
    frequency = np.maximum(np.hypot(rows, columns), 1 / _TILE)
    noise = np.fft.irfft2(np.fft.rfft2(white) / frequency**slope)
    noise = (noise - noise.mean()) / noise.std()
    return np.tile(noise.astype(np.float32), (2, 2))


@cache
def _ground_tiles() -> np.ndarray:
    """Return the brightness around 0 of all surfaces, float32 (768, 256)."""
    asphalt = (0.07 * _noise(0.55) + 0.035 * _noise(1.5))[:_TILE, :_TILE]
    slabs = asphalt.copy()
    side = _TILE // 8
    shades = 0.045 * _noise(0.0)[:8, :8]
    slabs += np.kron(shades, np.ones((side, side), np.float32))
    slabs[::side] = slabs[1::side] = -0.3
    slabs[:, ::side] = slabs[:, 1::side] = -0.3
    grass = 0.2 * _noise(0.7)[:_TILE, :_TILE]
    return np.concatenate((asphalt, slabs, grass))


@cache
def _normal_quantiles() -> np.ndarray:
    """Return what turns random bytes into normal noise, float64 (256,)."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 256) for i in range(256)])


class Painter:
    """A canvas that remembers what was painted on it.

    Args:
        view: Camera, light and street.
        rng: Source of texture offsets and sensor noise.
    """

    def __init__(self, view: View, rng: Generator) -> None:
        self.camera, self.light = view.camera, view.light
        self.street, self.rng = view.street, rng
        shape = view.camera.size[::-1]
        self.canvas = np.zeros((*shape, 3), np.uint8)
        self.factors = np.ones(shape, np.float32)
        self.objects: list[SceneObject] = []
        self._ground = np.full(shape, len(_GROUND), np.uint8)
        self._rasterizer = Rasterizer(view.camera.size)

    def paint(self, item: Item) -> None:
        """Paint an item inside its own mask; skip it outside the image."""
        found = SceneObject(item.kind, item.outline, float(item.distance))
        window, mask = self._rasterizer.mask(found.polygon)
        offset = self.rng.integers(_TILE, size=2).tolist()
        if not mask.any():
            return
        self.objects.append(found)
        target = self.canvas[window]
        if item.surface == 'sky':
            target[:] = self._sky(mask.shape, offset)
            return
        cv2.copyTo(self._fill(item, window, target), mask, target)
        if item.surface in _GROUND:
            self._ground[window][mask > 0] = _GROUND[item.surface]
        elif item.color is not None:
            grain = self._grain(item, mask.shape, offset)
            cv2.copyTo(grain, mask, self.factors[window])

    def finish_ground(self, shadows: Sequence[np.ndarray]) -> None:
        """Lay texture, haze and shadows on the ground painted so far.

        Args:
            shadows: Polygons (each (N, 2) pixels); where they overlap, they
                count once.
        """
        camera, street, light = self.camera, self.street, self.light
        width, height = camera.size
        top = int(np.clip(camera.horizon_px, 0, height - 1))
        below = np.arange(top, height) + 0.5 - camera.horizon_px
        reach = camera.focal_px * camera.height
        z = (reach / np.maximum(below, reach / FAR)).astype(np.float32)
        z = z[:, None]
        across = (np.arange(width, dtype=np.float32) - width / 2)[None]
        lateral = across * (z / camera.focal_px) - street.x(0, z)
        surface, factors = self._ground[top:], self.factors[top:]
        noise = cv2.remap(
            _ground_tiles(),
            _repeated(lateral),
            _repeated(z) + np.float32(_TILE) * surface,
            cv2.INTER_LINEAR,
        )
        noise *= 1 / (1 + z / 22)
        noise += 1
        noise *= 1 - self._shadow(shadows, top)
        is_ground = surface < len(_GROUND)
        np.copyto(factors, noise, where=is_ground)
        haze = np.where(is_ground, light.haze_share(z), 0).astype(np.float32)
        ground = self.canvas[top:]
        for channel, color in enumerate(light.haze):
            clear = ground[..., channel] * (1 - haze)
            ground[..., channel] = clear + haze * np.float32(color) + 0.5

    def photograph(self) -> np.ndarray:
        """Apply the textures, then exposure, blur and sensor noise.

        Returns:
            uint8 (H, W, 3), BGR.
        """
        rng, height = self.rng, len(self.canvas)
        change = self.factors - 1
        channels = [
            cv2.multiply(channel, 1 + warmth * change, dtype=cv2.CV_8U)
            for channel, warmth in zip(
                cv2.split(self.canvas), _WARMTH, strict=True
            )
        ]
        picture = cv2.merge(channels[::-1])
        blur = rng.uniform(0.3, 0.75) * max(height / 480, 0.6)
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
        exposure = rng.uniform(0.86, 1.14) * (1 + rng.uniform(-0.04, 0.04, 3))
        contrast, sigma = rng.uniform(0.85, 1.12), rng.uniform(1.2, 5)
        curve = np.arange(256)[:, None] * exposure * contrast
        curve = _to_bytes(curve + 118 * (1 - contrast))
        picture = cv2.LUT(picture, curve[None])
        noise = rng.integers(256, size=picture.shape, dtype=np.uint8)
        noise = cv2.LUT(noise, _to_bytes(128 + sigma * _normal_quantiles()))
        return cv2.addWeighted(picture, 1, noise, 1, -128)

    def _fill(
        self, item: Item, window: tuple[slice, slice], target: np.ndarray
    ) -> np.ndarray:
        """Paint base color and parts, uint8 (h, w, 3)."""
        colors = self._seen(item)
        if item.color is None:
            patch = target.copy()
        else:
            patch = np.empty_like(target)
            patch[:] = colors[0]
        corner = window[1].start << SHIFT, window[0].start << SHIFT
        origin = np.array(corner, np.int32)
        for part, color in zip(item.parts, colors[1:], strict=True):
            polygons = list(part.polygons - origin)
            cv2.fillPoly(patch, polygons, color, cv2.LINE_AA, SHIFT)
        return patch

    def _seen(self, item: Item) -> list[Color]:
        """Return the colors in which the camera sees an item and its parts."""
        light = self.light
        base = item.color or (0, 0, 0)
        colors = np.array(
            [base, *(part.color for part in item.parts)], np.float64
        )
        dull = [True, *(not part.glow for part in item.parts)]
        colors[dull] *= light.gain
        haze = float(light.haze_share(item.distance))
        colors *= 1 - haze
        colors += haze * np.array(light.haze)
        return np.minimum(colors, 255).tolist()

    def _grain(
        self, item: Item, shape: tuple[int, int], offset: Sequence[int]
    ) -> np.ndarray:
        """Return brightness factors whose scale follows the distance."""
        scale = _DETAIL * max(item.distance, 2) / self.camera.focal_px
        rows, columns = (
            int(min(max(side * scale, 4), _TILE)) for side in shape
        )
        tile = _noise(0.95 if item.surface == 'foliage' else 0.8)
        tile = tile[offset[0] :, offset[1] :][:rows, :columns]
        noise = cv2.resize(tile, shape[::-1])
        clear = 1 - float(self.light.haze_share(item.distance))
        noise *= 0.42 * item.grain * clear
        noise += 1
        if item.fade:
            fade = item.fade * clear
            noise += np.linspace(fade, -fade, shape[0])[:, None]
        return noise

    def _shadow(self, polygons: Sequence[np.ndarray], top: int) -> np.ndarray:
        """Return the share of light missing on the ground below row top."""
        mask = np.zeros(self.factors[top:].shape, np.uint8)
        for polygon in polygons:
            points = fixed_point(polygon - (0, top))
            cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, SHIFT)
        sigma = 0.003 * self.camera.size[1] + 0.4
        mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        strength = (0.3 + 0.28 * self.light.sun) / 255
        return mask.astype(np.float32) * np.float32(strength)

    def _sky(
        self, shape: tuple[int, int], offset: Sequence[int]
    ) -> np.ndarray:
        """Paint gradient and clouds, uint8 (h, w, 3)."""
        # They are soft, so they are computed small and enlarged.
        light, horizon = self.light, self.camera.horizon
        up = np.linspace(1, 0, 120, dtype=np.float32)[:, None]
        up = np.maximum(up - 1 + horizon, 0) / horizon
        zenith, haze = (
            np.array(color, np.float32) for color in (light.zenith, light.haze)
        )
        picture = haze + (zenith - haze) * (up**0.75)[..., None]
        tile = _noise(1.6)[offset[0] :, offset[1] :][:_TILE, : _TILE // 2]
        clouds = cv2.resize(tile, (160, 120), interpolation=cv2.INTER_CUBIC)
        cover = np.clip(clouds * 0.8 - 1.6 + 2.6 * light.clouds, 0, 1)
        cover *= 0.85 * np.minimum(1, up * 2.2 + 0.15)
        tone = mixed(light.haze, (250, 250, 250), 0.5 * light.gain[1] ** 2)
        tone = np.array(tone, np.float32) * (1 + 0.06 * clouds[..., None])
        picture = picture + (tone - picture) * cover[..., None]
        return cv2.resize(
            _to_bytes(picture), shape[::-1], interpolation=cv2.INTER_CUBIC
        )


def _repeated(meters: np.ndarray) -> np.ndarray:
    """Return the place in a ground tile, which repeats itself."""
    tiles = meters * np.float32(_GROUND_DETAIL / (_TILE - 1))
    tiles -= np.floor(tiles)
    tiles *= _TILE - 1
    return tiles


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    """Round and cut to uint8."""
    picture += 0.5
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)
