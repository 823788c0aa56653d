"""Weather, time of day and colors. Colors are RGB, 0 to 255."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator

__all__ = [
    'Color',
    'Light',
    'jittered',
    'mixed',
    'pick',
    'random_color',
    'random_light',
    'scaled',
]

#: Red, green and blue.
Color = tuple[float, float, float]
_Span = tuple[float, float]
_Option = TypeVar('_Option')


@dataclass(frozen=True)
class Light:
    """How a scene is lit.

    Attributes:
        zenith: Color of the sky above.
        haze: Color of the sky at the horizon and of what is far away.
        gain: Factor on every color but the glowing ones, per channel.
        sun: Strength of shadows, 0 to 1.
        sun_side: -1 for a sun on the left to 1 on the right.
        visibility: Meters after which two thirds of a color are haze.
        lamps: Share of lit windows.
        clouds: Cover of the sky, 0 to 1.
    """

    zenith: Color
    haze: Color
    gain: Color
    sun: float
    sun_side: float
    visibility: float
    lamps: float
    clouds: float

    def shade(self, color: Color, normal: Sequence[float]) -> Color:
        """Return the color of a face with this unit normal in the world."""
        across, up, away = normal
        toward_sun = across * self.sun_side + 0.7 * up - 0.45 * away
        toward_sun /= math.hypot(self.sun_side, 0.7, 0.45)
        factor = 0.86 + 0.1 * up + 0.36 * self.sun * toward_sun
        return scaled(color, min(max(factor, 0.5), 1.25))

    def haze_share(self, distance: float | np.ndarray) -> float | np.ndarray:
        """Return the share of haze, 0 to 1, in the color of something."""
        return 1 - np.exp(-distance / self.visibility)


class _Weather(NamedTuple):
    """Low and high end of what :class:`Light` has."""

    zenith: tuple[Color, Color]
    haze: tuple[Color, Color]
    gain: tuple[Color, Color]
    sun: _Span
    visibility: _Span
    lamps: _Span
    clouds: _Span


_WEATHER = {
    'clear': _Weather(
        ((60, 120, 205), (105, 165, 235)),
        ((185, 210, 235), (215, 230, 245)),
        ((1.0, 1.0, 1.0), (1.08, 1.06, 1.02)),
        (0.7, 1.0),
        (300, 700),
        (0.0, 0.04),
        (0.05, 0.55),
    ),
    'overcast': _Weather(
        ((140, 150, 160), (185, 190, 195)),
        ((190, 195, 200), (220, 222, 224)),
        ((0.78, 0.8, 0.84), (0.95, 0.96, 0.98)),
        (0.05, 0.25),
        (150, 450),
        (0.02, 0.15),
        (0.7, 1.0),
    ),
    'evening': _Weather(
        ((80, 100, 160), (140, 150, 190)),
        ((235, 175, 120), (250, 210, 165)),
        ((0.98, 0.82, 0.66), (1.08, 0.95, 0.82)),
        (0.6, 0.95),
        (180, 450),
        (0.05, 0.3),
        (0.1, 0.6),
    ),
    'dusk': _Weather(
        ((25, 32, 70), (55, 65, 115)),
        ((105, 90, 115), (175, 140, 140)),
        ((0.42, 0.43, 0.54), (0.6, 0.6, 0.7)),
        (0.0, 0.1),
        (150, 400),
        (0.3, 0.6),
        (0.1, 0.7),
    ),
    'mist': _Weather(
        ((180, 186, 190), (210, 214, 216)),
        ((195, 200, 204), (222, 224, 225)),
        ((0.84, 0.86, 0.88), (0.96, 0.97, 0.98)),
        (0.0, 0.12),
        (55, 120),
        (0.05, 0.25),
        (0.8, 1.0),
    ),
}
_WEATHER_SHARES = (0.42, 0.24, 0.16, 0.1, 0.08)


def random_light(rng: Generator) -> Light:
    """Draw weather and time of day."""
    weather = _WEATHER[rng.choice(list(_WEATHER), p=_WEATHER_SHARES)]
    zenith, haze, gain = (mixed(*ends, rng.random()) for ends in weather[:3])
    sun, visibility, lamps, clouds = (
        low + (high - low) * rng.random() for low, high in weather[3:]
    )
    sun_side = float(rng.uniform(-1, 1))
    return Light(zenith, haze, gain, sun, sun_side, visibility, lamps, clouds)


def scaled(color: Color, factor: float) -> Color:
    """Return a brighter or darker color; painting cuts off above 255."""
    r, g, b = color
    return r * factor, g * factor, b * factor


def mixed(first: Color, second: Color, share: float) -> Color:
    """Return ``first`` with ``share`` (0 to 1) of ``second``."""
    r, g, b = (
        start + (end - start) * share
        for start, end in zip(first, second, strict=True)
    )
    return r, g, b


def jittered(rng: Generator, color: Color, amount: float = 12) -> Color:
    """Draw a color nearby, of another brightness and a bit another hue."""
    bright, *hue = rng.uniform(-amount, amount, 4).tolist()
    r, g, b = (
        min(max(channel + bright + change / 2, 4.0), 250.0)
        for channel, change in zip(color, hue, strict=True)
    )
    return r, g, b


def random_color(rng: Generator, saturation: _Span, value: _Span) -> Color:
    """Draw a color of any hue; saturation and value from spans in 0 to 1."""
    rgb = colorsys.hsv_to_rgb(
        rng.random(), rng.uniform(*saturation), rng.uniform(*value)
    )
    return scaled(rgb, 255)


def pick(rng: Generator, options: Sequence[_Option]) -> _Option:
    """Draw one of the options."""
    return options[int(rng.integers(len(options)))]
