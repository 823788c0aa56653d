"""Sample photographs of hands, with masks of their nails.

Source of the format: the tree that tutorials of Mask R-CNN on nails use,
``Images/1/x.png`` to ``Images/4/x.png`` and ``Masks`` likewise.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from mmseg_ext.sample_data.output import (
    check_folders,
    checked_root,
    write_same,
)
from mmseg_ext.sample_data.render import check_arguments
from mmseg_ext.utils.images import encode_png

#: Number of folders that images are dealt out to.
_GROUPS = 4

#: How masks show the nails of a hand, in turn: spread fingers in white,
#: closed fingers with a color for each nail, closed fingers in white.
_STYLES = ('spread', 'colored', 'touching')

#: Colors of nails in a colored mask, BGR.
_MASK_COLORS = (
    (0, 0, 255),
    (0, 255, 0),
    (255, 0, 0),
    (0, 255, 255),
    (255, 0, 255),
)

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


@dataclass(frozen=True)
class NailScene:
    """A hand and what is known about it.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        instances: uint8 (H, W): 1 to N where a nail is, 0 elsewhere.
        style: ``'spread'``: no nails touch, the mask is black and white.
            ``'colored'``: neighbors touch, each has its color in the mask.
            ``'touching'``: they touch and the mask is black and white.
    """

    image: np.ndarray
    instances: np.ndarray
    style: str

    @property
    def mask(self) -> np.ndarray:
        """The mask as on disk, uint8 (H, W, 3), BGR."""
        number = self.instances.max()
        colors = np.full((number + 1, 3), 255, np.uint8)
        if self.style == 'colored':
            colors[1:] = _MASK_COLORS[:number]
        colors[0] = 0
        return colors[self.instances]


def write_nails(
    root: str | os.PathLike,
    num: int = 12,
    size: tuple[int, int] = (480, 360),
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, int]:
    """Write photographs of hands and masks of their nails.

    ``root`` gets ``Images/1/x.png`` to ``Images/4/x.png``, and ``Masks``
    likewise. In a third of the masks nails touch and have colors, in a third
    they touch in white. The same arguments give the same bytes, so a run that
    was stopped is continued by starting it again.

    Args:
        root: Folder to write, new or empty or of an earlier run.
        num: Number of images, at least one a folder.
        size: Width and height in pixels.
        seed: Other seeds give other hands.
        overwrite: Replace files of the same names and other content.
        progress: Show a progress bar.

    Returns:
        Number of images in each folder.

    Raises:
        ValueError: ``num``, ``size`` or ``seed`` is out of range.
        FileExistsError: ``root`` holds other data.
        NotADirectoryError: ``root`` is a file.
    """
    whole = isinstance(num, int | np.integer) and not isinstance(num, bool)
    if not whole or num < _GROUPS:
        raise ValueError(
            f'num: expected a whole number of at least {_GROUPS}, one image '
            f'for each folder, got {num!r}'
        )
    check_arguments(size, seed)
    root = checked_root(root)
    check_folders(root, (path for i in range(num) for path in _paths(i)))
    for index in tqdm(
        range(num), desc='hands', unit='image', disable=not progress
    ):
        scene = nail_scene(size, seed, index)
        pictures = scene.image, scene.mask
        for path, picture in zip(_paths(index), pictures, strict=True):
            write_same(root / path, encode_png(picture), overwrite)
    return {
        f'Images/{group + 1}': len(range(group, num, _GROUPS))
        for group in range(_GROUPS)
    }


def nail_stem(index: int) -> str:
    """Name an image of the sample set."""
    return f'hand_{index:04d}'


def _paths(index: int) -> Iterator[str]:
    """Image and mask."""
    for folder in ('Images', 'Masks'):
        yield f'{folder}/{index % _GROUPS + 1}/{nail_stem(index)}.png'


def nail_scene(size: tuple[int, int], seed: int, index: int) -> NailScene:
    """Draw a hand.

    Args:
        size: Width and height in pixels.
        seed: As for :func:`write_nails`.
        index: Number of the image, from 0.

    Returns:
        The photograph with the exact nails.
    """
    rng = np.random.default_rng([seed, index])
    style = _STYLES[index % len(_STYLES)]
    image = _background(size, rng)
    instances = np.zeros(size[::-1], np.uint8)
    fingers = list(_fingers(size, style == 'spread', rng))
    skin = np.array(_SKIN[rng.integers(len(_SKIN))]) + rng.normal(0, 6, 3)
    polish = np.array(_NAIL[rng.integers(len(_NAIL))]) + rng.normal(0, 6, 3)
    for finger in fingers:
        _paint(image, finger.shape(size), skin, depth=0.45)
    for number, finger in enumerate(fingers[1:], 1):
        nail = finger.nail(size)
        nail[instances > 0] = 0  # a finger lies over the next one
        instances[nail > 0] = number
        _paint(image, nail, polish + rng.normal(0, 8, 3), depth=0.3)
        _shine(image, nail, finger)
    image = cv2.GaussianBlur(image, (3, 3), 0.7)
    image += rng.normal(0, 2.5, image.shape)
    return NailScene(image.clip(0, 255).astype(np.uint8), instances, style)


@dataclass(frozen=True)
class _Finger:
    """A line from ``start`` to ``tip``, ``width`` thick; all in pixels."""

    start: np.ndarray
    tip: np.ndarray
    width: float

    def shape(self, size: tuple[int, int]) -> np.ndarray:
        ends = [tuple(map(round, end)) for end in (self.start, self.tip)]
        thickness = max(1, round(self.width))
        return cv2.line(_empty(size), *ends, 1, thickness)

    @property
    def along(self) -> np.ndarray:
        line = self.tip - self.start
        return line / np.linalg.norm(line)

    def nail(self, size: tuple[int, int]) -> np.ndarray:
        """Draw an oval near the tip, almost as wide as the finger."""
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
    size: tuple[int, int], spread: bool, rng: np.random.Generator
) -> Iterator[_Finger]:
    """Place the back of the hand and the fingers of a hand from any side."""
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


def _background(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
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
