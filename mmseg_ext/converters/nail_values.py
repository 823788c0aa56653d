"""The values of a mask of nails: how often they are, and which count."""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from mmseg_ext.converters.nail_masks import (
    DARK,
    FEW_SHARE,
    NOISE,
    THRESHOLD,
    Nails,
    Region,
    find_nails,
    list_regions,
    pieces,
)
from mmseg_ext.formats.masks import Mask

__all__ = [
    'BORDER',
    'WHITE',
    'Counts',
    'Thing',
    'Values',
    'count_values',
    'count_white',
    'find_things',
    'is_frame',
    'read_values',
]

#: What is no darker in any channel is near white.
WHITE = 255 - DARK

#: A mask has no more ids than this: they would be those of a photograph.
_MAX_IDS = 255

#: A value counts if this share of its pixels lies amidst their like. Of a nail
#: of 3 by 3 pixels it is a ninth, of JPEG's noise and of smooth edges less.
_SOLID = 0.1

#: Near black and white values are noise if they have less than this share of
#: solid pixels: JPEG's noise around white nails has up to a third.
_NO_NOISE = 0.5

#: The value of borders between objects, and its color in the palette of VOC,
#: which labelme and others write. Source: the VOC2012 development kit.
BORDER, _BORDER_COLOR = 255, (192, 224, 224)

#: The largest value of 16 bits.
_MAX_16 = 65535


@dataclass(frozen=True)
class Values:
    """The values of a mask without alpha, and how they look.

    Attributes:
        colors: uint8 (H, W), gray, or (H, W, 3), BGR.
        stored: uint8 or uint16 (H, W); None if these are the colors.
        opaque: bool (H, W), what is not transparent; None if all is opaque.
        in_alpha: Whether alpha shows the nails.
        border: Number of pixels of a border, which are 0 here.
        lossy: Whether the format may have changed them.
    """

    colors: np.ndarray
    stored: np.ndarray | None
    opaque: np.ndarray | None = None
    in_alpha: bool = False
    border: int = 0
    lossy: bool = False

    @cached_property
    def codes(self) -> np.ndarray | None:
        """The values, uint8 or uint16 (H, W), with numbers for colors.

        None if there are more colors than 16 bits can count, or, in formats
        that change them, than ids may be.
        """
        if self.stored is not None:
            return self.stored
        blue, green, red = (
            channel.astype(np.uint32) for channel in cv2.split(self.colors)
        )
        packed = blue | green << 8 | red << 16
        some = packed > 0
        found, numbers = np.unique(packed[some], return_inverse=True)
        if len(found) > (_MAX_IDS if self.lossy else _MAX_16):
            return None
        codes = np.zeros(packed.shape, np.uint16)
        codes[some] = numbers + 1
        return codes

    @property
    def top(self) -> np.ndarray:
        """The brightest channel, uint8 (H, W)."""
        return self.colors if self.colors.ndim == 2 else self.colors.max(2)

    def name(self, region: Region) -> str:
        """Return the value of a region as its file has it, for messages.

        Args:
            region: Pixels of one value.

        Returns:
            The number, or the color as ``[red, green, blue]``.
        """
        row = region.top
        column = region.left + int(region.mask[0].argmax())
        pixels = self.colors if self.stored is None else self.stored
        pixel = pixels[row, column].tolist()
        return str(pixel[::-1] if isinstance(pixel, list) else pixel)

    def shown(
        self,
        min_area: int,
        split_touching: bool,
        exact: np.ndarray | None = None,
    ) -> Nails:
        """Find what is bright, or half as bright as the main value of JPEG.

        Args:
            min_area: See :func:`find_nails`.
            split_touching: See :func:`find_nails`.
            exact: See :func:`find_nails`.

        Returns:
            The nails; many pixels are lost if some are near that half.
        """
        if not self.lossy or self.colors.max() >= WHITE:
            return find_nails(
                self.colors, min_area, split_touching, exact=exact
            )
        often = 2 * DARK + int(_histogram(self.top)[2 * DARK :].argmax())
        if often > THRESHOLD + NOISE:
            return find_nails(self.colors, min_area, split_touching)
        # Near the threshold no value may be.
        for threshold in (often * 3 // 4, often // 2):
            nails = find_nails(
                self.colors, min_area, split_touching, threshold=threshold
            )
            if nails.many:
                break
        return replace(nails, single=often <= THRESHOLD and not nails.colored)


@dataclass(frozen=True, eq=False)
class Thing:
    """A value that counts.

    Attributes:
        region: Its pixels.
        color: uint8 (1,) or (3,), its gray or color.
        sure: Number of pixels that are no noise.
    """

    region: Region
    color: np.ndarray
    sure: int

    @property
    def is_dark(self) -> bool:
        """Whether it is near black."""
        return bool(self.color.max() <= DARK)

    @property
    def is_white(self) -> bool:
        """Whether it is near white."""
        return bool(self.color.min() >= WHITE)


class Counts:
    """How often the values of a mask occur.

    Args:
        codes: uint8 or uint16 (H, W).

    Attributes:
        all: int64 (N,), the number of pixels of each value, 0 for 0.
        inner: int64 (N,), those amidst their like.
        solid: bool (N,), whether enough are amidst their like, or touch no
            other value but 0.
    """

    def __init__(self, codes: np.ndarray) -> None:
        around = np.ones((3, 3), np.uint8)
        most = cv2.dilate(codes, around)
        least = cv2.erode(codes, around)
        self.all = _histogram(codes)
        self.inner = _histogram(codes, cv2.compare(most, least, cv2.CMP_EQ))
        some = np.where(codes == 0, np.iinfo(codes.dtype).max, codes)
        apart = (cv2.erode(some, around) == most).astype(np.uint8)
        lone = _histogram(codes, apart)
        self.solid = np.maximum(self.inner, lone) >= _SOLID * self.all

    @property
    def mixed(self) -> np.ndarray:
        """The values that are not solid, sorted."""
        return np.flatnonzero((self.all > 0) & ~self.solid)


def _histogram(
    codes: np.ndarray, where: np.ndarray | None = None
) -> np.ndarray:
    """Count each value but 0."""
    bins = np.iinfo(codes.dtype).max + 1
    counts = cv2.calcHist([codes], [0], where, [bins], [0, bins])
    counts[0] = 0
    return counts.ravel().astype(np.int64)


def read_values(mask: Mask) -> Values:
    """Tell the background, and what the values are.

    Args:
        mask: As read.

    Returns:
        Its values. If all that is opaque is of one, alpha shows white nails.
    """
    return replace(_values(mask), lossy=mask.lossy)


def _values(mask: Mask) -> Values:
    """Tell values but whether they are exact."""
    opaque = _opaque(mask)
    pixels = mask.pixels
    if opaque is not None:
        inside = pixels[opaque]
        if (inside == inside[0]).all():
            white = opaque.astype(np.uint8) * 255
            return Values(white, white, opaque, in_alpha=True)
        pixels = pixels.copy()
        pixels[~opaque] = 0
    if mask.palette is not None:
        return _palette_values(mask, opaque)
    gray = _gray(pixels)
    if gray is None:
        return Values(pixels, None, opaque)
    return Values(replace(mask, pixels=gray).shown(), gray, opaque)


def _gray(pixels: np.ndarray) -> np.ndarray | None:
    """Return one of equal channels, in half the time of ``Mask.gray``."""
    if pixels.ndim == 2:
        return pixels
    first = cv2.extractChannel(pixels, 0)
    same = cv2.cvtColor(first, cv2.COLOR_GRAY2BGR)
    return None if cv2.norm(pixels, same, cv2.NORM_INF) else first


def _opaque(mask: Mask) -> np.ndarray | None:
    """Return where a mask is opaque, bool (H, W); None if all of it is."""
    if mask.alpha is None:
        return None
    least, most = int(mask.alpha.min()), int(mask.alpha.max())
    return mask.alpha > most / 2 if least <= most / 2 < most else None


def _palette_values(mask: Mask, opaque: np.ndarray | None) -> Values:
    """Tell entries that are ids from those that stand for their colors."""
    assert mask.palette is not None
    codes, palette, border = mask.pixels, mask.palette, 0
    clear = np.zeros(codes.shape, bool) if opaque is None else ~opaque
    colors = mask.colors()
    colors[clear] = 0
    gray = _gray(colors)
    if gray is not None:
        return Values(gray, gray, opaque)
    first = codes == 0
    if palette[0].any() and not (first.any() and clear[first].all()):
        return Values(colors, None, opaque)
    codes = np.where(clear, 0, codes).astype(np.uint8)
    if tuple(palette[BORDER].tolist()) == _BORDER_COLOR:
        at_border = codes == BORDER
        border = int(np.count_nonzero(at_border))
        codes[at_border], colors[at_border] = 0, 0
    return Values(colors, codes, opaque, border=border)


def count_values(values: Values, min_area: int) -> Counts:
    """Count the values that may be ids.

    Args:
        values: Those of a mask.
        min_area: Number of pixels of the smallest nail.

    Returns:
        How often they are.

    Raises:
        ValueError: There are more than ids may be.
    """
    if values.codes is not None:
        counts = Counts(values.codes)
        solid = counts.solid & (counts.all >= min_area)
        if np.count_nonzero(solid) <= _MAX_IDS:
            return counts
    raise ValueError(
        f'has more than {_MAX_IDS} values: they are no ids of nails; save '
        'the mask in a lossless format, such as PNG, as it was drawn'
    )


def find_things(values: Values, min_area: int) -> list[Thing]:
    """List the values that count, as ``nail_ids.read_nails`` says.

    Args:
        values: Those of a mask.
        min_area: Number of pixels of the smallest nail.

    Returns:
        What counts; nothing if there are too many colors to be counted.

    Raises:
        ValueError: More values count than ids may be.
    """
    codes = values.codes
    if codes is None:
        return []
    counts = count_values(values, min_area)
    counted = counts.solid & (counts.all >= min_area)
    if values.lossy:
        counted &= counts.all >= FEW_SHARE * counts.all.max()
    colors = np.atleast_3d(values.colors)
    things = []
    for value, region in list_regions(np.where(counted[codes], codes, 0)):
        sizes = pieces(region)
        large = int(sizes[sizes >= min_area].sum())
        row, column = np.unravel_index(region.mask.argmax(), region.mask.shape)
        color = colors[region.top + row, region.left + column]
        if large:
            sure = int(counts.inner[value]) if values.lossy else large
            things.append(Thing(region, color, sure))
    return _without_noise(values, things)


def _without_noise(values: Values, things: list[Thing]) -> list[Thing]:
    """Leave out what is near black or white, and is noise or a frame."""
    codes, shape = values.codes, values.colors.shape[:2]
    assert codes is not None
    dark = [thing for thing in things if thing.is_dark]
    white = [thing for thing in things if thing.is_white]
    noise: list[Thing] = []
    number = int(np.count_nonzero((values.top <= DARK) & (codes > 0)))
    sure = sum(thing.sure for thing in dark)
    if len(dark) < len(things) and sure < _NO_NOISE * number:
        noise += dark
    elif white:
        noise += [thing for thing in dark if is_frame(thing.region, shape)]
    if white:
        main = max(white, key=lambda thing: thing.sure)
        others = [thing for thing in white if thing is not main]
        number = count_white(values.colors) - int(main.region.mask.sum())
        sure = sum(thing.sure for thing in others)
        if values.lossy or sure < _NO_NOISE * number:
            noise += others
    return [thing for thing in things if thing not in noise]


def count_white(colors: np.ndarray) -> int:
    """Count the pixels near white.

    Args:
        colors: uint8 (H, W), gray, or (H, W, 3).

    Returns:
        How many have no channel more than 32 from 255.
    """
    least = colors if colors.ndim == 2 else colors.min(axis=2)
    return cv2.countNonZero(cv2.compare(least, WHITE, cv2.CMP_GE))


def is_frame(region: Region, shape: tuple[int, int]) -> bool:
    """Tell whether a region is what lies along the edges of a picture.

    Args:
        region: Some pixels of it.
        shape: Height and width of the picture.

    Returns:
        Whether it reaches all four edges, and has more than half of the
        outermost pixels.
    """
    mask = region.mask
    if mask.shape != shape:
        return False
    inner = mask[1:-1, 1:-1]
    outer = np.count_nonzero(mask) - np.count_nonzero(inner)
    return bool(2 * outer > mask.size - inner.size)
