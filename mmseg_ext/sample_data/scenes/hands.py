"""Draws one photograph of a hand."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

__all__ = ['render_hand']

#: Skin and nails, BGR.
_SKIN = ((150, 180, 225), (110, 145, 200), (75, 105, 160), (50, 70, 110))
_NAIL = (
    (190, 195, 235),
    (175, 185, 240),
    (60, 40, 190),
    (150, 60, 120),
    (235, 235, 240),
)

#: Length of the fingers but the thumb, from the middle of the hand.
_LENGTHS = (0.80, 0.92, 0.88, 0.72)


def render_hand(
    size: tuple[int, int], seed: int, index: int, spread: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one hand.

    Args:
        size: Width and height in pixels.
        seed: Seed of the set.
        index: Number of the hand in the set.
        spread: Spread the fingers, else their nails touch.

    Returns:
        The photograph, uint8 (H, W, 3), BGR, and its nails, uint8 (H, W): 1
        to N where a nail is, 0 elsewhere.
    """
    rng = np.random.default_rng([seed, index])
    image = _background(size, rng)
    nails = np.zeros(size[::-1], np.uint8)
    fingers = list(_fingers(size, spread, rng))
    skin = np.array(_SKIN[rng.integers(len(_SKIN))]) + rng.normal(0, 6, 3)
    polish = np.array(_NAIL[rng.integers(len(_NAIL))]) + rng.normal(0, 6, 3)
    for finger in fingers:
        _paint(image, finger.shape(size), skin, depth=0.45)
    for number, finger in enumerate(fingers[1:], 1):
        nail = finger.nail(size)
        nail[nails > 0] = 0  # a finger lies over the next one
        nails[nail > 0] = number
        _paint(image, nail, polish + rng.normal(0, 8, 3), depth=0.3)
        _shine(image, nail, finger)
    image = cv2.GaussianBlur(image, (3, 3), 0.7)
    image += rng.normal(0, 2.5, image.shape)
    return image.clip(0, 255).astype(np.uint8), nails


@dataclass(frozen=True)
class _Finger:
    """A line from start to tip in a width; all in pixels."""

    start: np.ndarray
    tip: np.ndarray
    width: float

    def shape(self, size: tuple[int, int]) -> np.ndarray:
        """Draw the finger in 1 on 0, uint8 (H, W)."""
        start, tip = (tuple(map(round, e)) for e in (self.start, self.tip))
        thickness = max(1, round(self.width))
        return cv2.line(_empty(size), start, tip, 1, thickness)

    @property
    def along(self) -> np.ndarray:
        """Direction of the finger, of length 1."""
        line = self.tip - self.start
        return line / np.linalg.norm(line)

    def nail(self, size: tuple[int, int]) -> np.ndarray:
        """Draw an oval near the tip in 1 on 0, uint8 (H, W)."""
        center = self.tip - 0.08 * self.width * self.along
        axes = 0.52 * self.width, 0.4 * self.width
        return cv2.ellipse(
            _empty(size),
            tuple(map(round, center)),
            tuple(max(1, round(axis)) for axis in axes),
            np.degrees(np.arctan2(self.along[1], self.along[0])),
            0,
            360,
            1,
            -1,
        )


def _empty(size: tuple[int, int]) -> np.ndarray:
    return np.zeros(size[::-1], np.uint8)


def _fingers(
    size: tuple[int, int], spread: bool, rng: Generator
) -> Iterator[_Finger]:
    """Yield the back of a hand from any side, then its fingers."""
    scale = min(size) * rng.uniform(0.8, 0.95)
    turn = rng.uniform(0, 2 * np.pi)
    axes = np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    if rng.random() < 0.5:
        axes[0] *= -1  # the other hand

    def place(across: float, along: float) -> np.ndarray:
        center = np.array(size) / 2 + jitter
        return center + scale * (np.array([across, along - 0.5]) @ axes)

    jitter = rng.uniform(-0.03, 0.03, 2) * size
    yield _Finger(place(0, -0.3), place(0, 0.2), 0.45 * scale)
    # Closed fingers are so near that their nails touch.
    width = 0.11 if spread else 0.14
    fan = 0.35 if spread else 0.0
    gap = 0.12 if spread else 0.105
    for number, length in enumerate(_LENGTHS):
        offset = (number - 1.5) * gap
        # Closed fingers have tips at one height.
        reach = length + rng.uniform(-0.02, 0.02) if spread else 0.85
        lean = 2 * fan * offset * rng.uniform(0.9, 1.1)
        yield _Finger(
            place(offset, 0.2), place(offset + lean, reach), width * scale
        )
    if rng.random() < 0.7:
        yield _Finger(place(-0.15, 0.05), place(-0.42, 0.4), 0.13 * scale)


def _background(size: tuple[int, int], rng: Generator) -> np.ndarray:
    """Draw a table, a cloth or the like; float64 (H, W, 3)."""
    width, height = size
    color = rng.uniform(30, 220, 3)
    stains = rng.normal(0, 1, (int(rng.integers(2, 9)), 6, 3))
    if rng.random() < 0.5:  # boards or stripes
        stains[:, :] = stains[:, :1]
    stains = cv2.resize(stains, size, interpolation=cv2.INTER_CUBIC)
    light = np.linspace(rng.uniform(0.7, 1), rng.uniform(0.9, 1.2), width)
    texture = rng.normal(0, rng.uniform(1, 8), (height, width, 1))
    return (color + 18 * stains) * light[:, None] + texture


def _paint(
    image: np.ndarray, shape: np.ndarray, color: np.ndarray, depth: float
) -> None:
    """Paint a shape, darker toward its edge; the image is changed."""
    distance = cv2.distanceTransform(shape, cv2.DIST_L2, 5)
    height = distance / max(distance.max(), 1)
    light = 1 - depth * (1 - height[shape > 0]) ** 2
    image[shape > 0] = color * light[:, None]


def _shine(image: np.ndarray, nail: np.ndarray, finger: _Finger) -> None:
    """Lighten a strip along a nail; the image is changed."""
    strip = _Finger(
        finger.tip - 0.3 * finger.width * finger.along,
        finger.tip + 0.15 * finger.width * finger.along,
        0.12 * finger.width,
    ).shape((nail.shape[1], nail.shape[0]))
    image[(strip > 0) & (nail > 0)] += 35
