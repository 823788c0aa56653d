"""What the values of a mask of nails mean: brightness, or ids."""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from mmseg_ext.converters.nail_masks import (
    DARK,
    FEW_PIXELS,
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

__all__ = ['IDS', 'read_nails']

#: Whether the values of masks are ids.
IDS = ('auto', 'yes', 'no')

#: What is no darker in any channel is near white.
_WHITE = 255 - DARK

#: A mask has no more ids than this: they would be those of a photograph.
_MAX_IDS = 255

#: A value counts if this share of its pixels lies amidst their like. Of a nail
#: of 3 by 3 pixels it is a ninth, of JPEG's noise and of smooth edges less.
_SOLID = 0.1

#: Near black and white values are noise if they have less than this share of
#: solid pixels: JPEG's noise around white nails has up to a third.
_NO_NOISE = 0.5

#: What a value surrounds, or a photograph's share of pixels without a color
#: that counts, is more than this.
_MOST = 0.5

#: An id lies in one place if this share of its pixels is one component.
_ONE_PLACE = 0.9

#: The value of borders between objects, and its color in the palette of VOC,
#: which labelme and others write. Source: the VOC2012 development kit.
_BORDER, _BORDER_COLOR = 255, (192, 224, 224)

#: The largest value of 16 bits.
_MAX_16 = 65535

_BRIGHT = (
    f"ids='no' takes what is brighter than {THRESHOLD} for nails, and the "
    'rest for background'
)
_TOO_MANY = (
    f'has more than {_MAX_IDS} values: they are no ids of nails; save '
    'the mask in a lossless format, such as PNG, as it was drawn'
)
_EITHER = f"ids='yes' takes each value for one nail, {_BRIGHT}"


def read_nails(
    mask: Mask,
    ids: str = 'auto',
    min_area: int = 20,
    split_touching: bool = False,
) -> Nails:
    """Find the nails of a mask file.

    Where alpha is at most half of its greatest value is background. If
    all the rest is of one value, alpha alone shows the nails: as white ones.

    Values are the grays as stored; the entries of a palette whose first is
    black or transparent, unless all are gray; else the colors. A value counts
    if ``min_area`` of its pixels are in one place, and a tenth of them lie
    amidst their like (3x3) or touch no other value: others are mixtures at
    smooth edges. So are values near black or near white (within 32), all but
    the most frequent white one, if less than half of their pixels are in such
    places. In formats that change pixels, values count that have a hundredth
    of the pixels of the most frequent one.

    ``'auto'``: If no value counts, nails are what is bright, see
    :func:`find_nails`. If one does, all nails have it; a dark one, of 127 or
    less, has a threshold of its half. Of several bright colors, components of
    each are nails. Several other values are ids if each lies in one place,
    with 90 % of its pixels in one component. If alpha is around a photograph,
    of which less than half has values that count, alpha alone shows the nails.

    ``'yes'``: each value is an id; ``'no'``: none is.

    In formats that change pixels, values near black alone are an error.

    An id is one nail as it stands, in one place or in several. 0 is the
    background. The border between nails is 255 in a palette that has VOC's
    color there, and in gray beside 1 to N, none of which is missing.

    Args:
        mask: As read.
        ids: One of :data:`IDS`.
        min_area: Nails of fewer pixels are left out.
        split_touching: See :func:`find_nails`; ids are never cut.

    Returns:
        The nails, one at least.

    Raises:
        ValueError: There is no nail. Many pixels are neither near black nor
            in a nail. A nail is the background: it reaches all four edges and
            has more than half of the outermost pixels, or it has more than
            half of all pixels and a hole as large as a nail. Or whether
            values are ids cannot be told, as where one surrounds another, or
            many pixels have mixtures of them.
    """
    values = replace(_values(mask), lossy=mask.lossy)
    if ids == 'no':
        nails = values.shown(min_area, split_touching)
    elif ids == 'yes':
        nails = _each_value(values, min_area, sure=True)
    else:
        nails = _detect(values, min_area, split_touching)
    if not nails.regions:
        raise ValueError(
            f'has no nail: no {min_area} pixels (min_area={min_area}) in one '
            'place, of what alpha shows, are bright or have a value of their '
            f'own; the brightest has {values.colors.max()} of 255'
        )
    for region in nails.regions:
        _check_frame(region, values.colors.shape[:2], min_area)
    if ids == 'auto' and (nails.ids or nails.colored):
        _check_none_surrounds(nails.regions)
    return replace(
        nails,
        in_alpha=nails.in_alpha or values.in_alpha,
        border=nails.border or values.border,
    )


@dataclass(frozen=True)
class _Values:
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

    def shown(
        self,
        min_area: int,
        split_touching: bool,
        exact: np.ndarray | None = None,
    ) -> Nails:
        """Find what is bright, or half as bright as JPEG's main value."""
        if not self.lossy or self.colors.max() >= _WHITE:
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


@dataclass(frozen=True)
class _Thing:
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
        return bool(self.color.min() >= _WHITE)


class _Counts:
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


def _values(mask: Mask) -> _Values:
    """Tell the background, and what the values are."""
    opaque = _opaque(mask)
    pixels = mask.pixels
    if opaque is not None:
        inside = pixels[opaque]
        if (inside == inside[0]).all():
            white = opaque.astype(np.uint8) * 255
            return _Values(white, white, opaque, in_alpha=True)
        pixels = pixels.copy()
        pixels[~opaque] = 0
    if mask.palette is not None:
        return _palette_values(mask, opaque)
    gray = _gray(pixels)
    if gray is None:
        return _Values(pixels, None, opaque)
    return _Values(replace(mask, pixels=gray).shown(), gray, opaque)


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


def _palette_values(mask: Mask, opaque: np.ndarray | None) -> _Values:
    """Tell entries that are ids from those that stand for their colors."""
    assert mask.palette is not None
    codes, palette, border = mask.pixels, mask.palette, 0
    clear = np.zeros(codes.shape, bool) if opaque is None else ~opaque
    colors = mask.colors()
    colors[clear] = 0
    gray = _gray(colors)
    if gray is not None:
        return _Values(gray, gray, opaque)
    first = codes == 0
    if palette[0].any() and not (first.any() and clear[first].all()):
        return _Values(colors, None, opaque)
    codes = np.where(clear, 0, codes).astype(np.uint8)
    if tuple(palette[_BORDER].tolist()) == _BORDER_COLOR:
        at_border = codes == _BORDER
        border = int(np.count_nonzero(at_border))
        codes[at_border], colors[at_border] = 0, 0
    return _Values(colors, codes, opaque, border=border)


def _detect(values: _Values, min_area: int, split_touching: bool) -> Nails:
    """Read a mask as what its values say."""
    nails = None
    if values.stored is values.colors:
        nails = _find_plain(values, min_area, split_touching)
    elif values.stored is None and values.lossy:
        nails = values.shown(min_area, split_touching)
    if nails and not nails.many:
        return nails
    things = _find_things(values, min_area)
    if values.opaque is not None and _is_photograph(values, things):
        white = values.opaque.astype(np.uint8) * 255
        nails = find_nails(white, min_area, split_touching)
        return replace(nails, in_alpha=True)
    _check_dark(values, things)
    colors = np.array([thing.color for thing in things])
    brightest = colors.max() if things else 255
    if len(things) == 1 and brightest <= THRESHOLD:
        nails = find_nails(
            values.top,
            min_area,
            split_touching,
            threshold=int(brightest) // 2,
        )
        nails = replace(nails, single=True)
    elif len(things) > 1 and (
        values.stored is not None or (colors.max(axis=1) <= THRESHOLD).any()
    ):
        return _each_value(values, min_area, sure=False)
    elif nails is None:
        exact = colors if things and not values.lossy else None
        nails = values.shown(min_area, split_touching, exact)
    if nails.many:
        column, row = nails.lost_at
        color = np.atleast_1d(values.colors[row, column])[::-1].tolist()
        raise ValueError(
            f'has {nails.lost} pixels that are neither near black nor in a '
            f'nail, such as {color} at column {column}, row {row}: paint '
            'nails white on black, or each with an id in a PNG; or '
            f'{_EITHER}'
        )
    return nails


def _find_plain(
    values: _Values, min_area: int, split_touching: bool
) -> Nails | None:
    """Find nails at low cost if no value counts but white and black.

    Then nothing is lost, either. What lies around the nails is not looked at.

    Args:
        values: Those of a mask in gray.
        min_area: See :func:`find_nails`.
        split_touching: See :func:`find_nails`.

    Returns:
        The nails; None if other values might count.
    """
    gray = values.colors
    left, top, width, height = cv2.boundingRect(gray)
    if not width:
        return Nails([])
    box = gray[top : top + height, left : left + width]
    if values.lossy:
        others = cv2.inRange(box, 1, _WHITE - 1)
        if cv2.countNonZero(cv2.erode(others, np.ones((3, 3), np.uint8))):
            return None
    elif cv2.countNonZero(cv2.inRange(box, 1, 254)) >= min_area:
        return None
    nails = find_nails(box, min_area, split_touching, lost=False)
    regions = [
        Region(left + region.left, top + region.top, region.mask)
        for region in nails.regions
    ]
    return replace(nails, regions=regions)


def _find_things(values: _Values, min_area: int) -> list[_Thing]:
    """List the values that count, see :func:`read_nails`."""
    codes = values.codes
    if codes is None:
        return []
    counts = _Counts(codes)
    counted = counts.solid & (counts.all >= min_area)
    if values.lossy:
        counted &= counts.all >= FEW_SHARE * counts.all.max()
    _check_number(counted)
    colors = np.atleast_3d(values.colors)
    things = []
    for value, region in list_regions(np.where(counted[codes], codes, 0)):
        sizes = pieces(region)
        large = int(sizes[sizes >= min_area].sum())
        row, column = np.unravel_index(region.mask.argmax(), region.mask.shape)
        color = colors[region.top + row, region.left + column]
        if large:
            sure = int(counts.inner[value]) if values.lossy else large
            things.append(_Thing(region, color, sure))
    return _without_noise(values, things)


def _without_noise(values: _Values, things: list[_Thing]) -> list[_Thing]:
    """Leave out what is near black or white, and is noise or a frame."""
    codes, shape = values.codes, values.colors.shape[:2]
    assert codes is not None
    dark = [thing for thing in things if thing.is_dark]
    white = [thing for thing in things if thing.is_white]
    number = np.count_nonzero((values.top <= DARK) & (codes > 0))
    noise = []
    sure = sum(thing.sure for thing in dark)
    if len(dark) < len(things) and sure < _NO_NOISE * number:
        noise += dark
    elif white:
        noise += [t for t in dark if _is_frame_of(t.region, shape)]
    if white:
        main = max(white, key=lambda thing: thing.sure)
        others = [thing for thing in white if thing is not main]
        number = _count_white(values.colors) - int(main.region.mask.sum())
        sure = sum(thing.sure for thing in others)
        if values.lossy or sure < _NO_NOISE * number:
            noise += others
    return [t for t in things if not any(t is other for other in noise)]


def _is_photograph(values: _Values, things: list[_Thing]) -> bool:
    """Tell whether most opaque pixels have no value that counts."""
    assert values.opaque is not None
    if values.codes is None:
        return True
    number = sum(int(thing.region.mask.sum()) for thing in things)
    number += np.count_nonzero(values.opaque & (values.codes == 0))
    return bool(number < _MOST * np.count_nonzero(values.opaque))


def _check_dark(values: _Values, things: list[_Thing]) -> None:
    """Check that values near black are neither beside white, nor noise."""
    dark = [thing for thing in things if thing.is_dark]
    if not dark:
        return
    white = _count_white(values.colors) >= FEW_PIXELS
    if white and all(t.is_dark or t.is_white for t in things):
        raise ValueError(
            f'has the value {_name(values, dark[0].region)} in '
            f'{dark[0].region.mask.sum()} pixels, near black, '
            'and white besides: white nails, or ids and their border? '
            f'{_EITHER}'
        )
    if values.lossy and len(dark) == len(things):
        most = max(thing.color.max() for thing in things)
        raise ValueError(
            f'has no value above {most} of 255, and its format '
            'changes pixels by as much: save it in a lossless one, such '
            'as PNG, as it was drawn'
        )


def _count_white(colors: np.ndarray) -> int:
    """Count the pixels near white."""
    least = colors if colors.ndim == 2 else colors.min(axis=2)
    return cv2.countNonZero(cv2.compare(least, _WHITE, cv2.CMP_GE))


def _each_value(values: _Values, min_area: int, sure: bool) -> Nails:
    """Take each value for a nail.

    Args:
        values: Those of the mask.
        min_area: Nails of fewer pixels are left out.
        sure: Take those that lie in several places, too.
    """
    codes, border = values.codes, values.border
    if codes is None:
        raise ValueError(_TOO_MANY)
    counts = _Counts(codes)
    _check_number(counts.solid & (counts.all >= min_area))
    if values.colors.ndim == 2 and _has_border(np.flatnonzero(counts.all)):
        border = int(counts.all[_BORDER])
        codes = np.where(codes == _BORDER, 0, codes)
    counts.all[_BORDER] -= border if values.colors.ndim == 2 else 0
    mixed, total = counts.all[counts.mixed].sum(), counts.all.sum()
    many = mixed >= max(FEW_PIXELS, FEW_SHARE * total)
    found = [
        (value, region, pieces(region))
        for value, region in list_regions(codes)
    ]
    for value, region, sizes in found:
        if not counts.solid[value] and (many or sizes.max() >= min_area):
            raise ValueError(
                f'has {mixed} pixels of values that hardly lie amidst their '
                f'like, such as {_name(values, region)}: ids were mixed, as '
                'JPEG and resizing do; save it in a lossless format, such as '
                f'PNG, as it was drawn; or {_BRIGHT}'
            )
    regions, dropped, broken = [], 0, 0
    for value, region, sizes in found:
        if sizes.sum() < min_area or not counts.solid[value]:
            dropped += 1
            continue
        regions.append(region)
        if sizes.max() < _ONE_PLACE * sizes.sum():
            broken += 1
            if not sure:
                raise ValueError(
                    f'has {np.count_nonzero(counts.all)} values, of which '
                    f'{_name(values, region)} lies in {len(sizes)} places: '
                    'ids of nails, or of classes? '
                    f'{_EITHER}'
                )
    regions.sort(key=lambda region: (region.top, region.left))
    return Nails(regions, dropped, ids=True, broken=broken, border=border)


def _has_border(values: np.ndarray) -> bool:
    """Tell whether gray ids have VOC's border: 1 to N and 255."""
    others = values[values != _BORDER]
    number = len(others)
    consecutive = 0 < number == others[-1:].sum() < _BORDER - 1
    return number < len(values) and bool(consecutive)


def _name(values: _Values, region: Region) -> str:
    """Return the value of a region as its file has it, for messages."""
    row = region.top
    column = region.left + int(region.mask[0].argmax())
    pixels = values.colors if values.stored is None else values.stored
    pixel = pixels[row, column].tolist()
    return str(pixel[::-1] if isinstance(pixel, list) else pixel)


def _check_number(counted: np.ndarray) -> None:
    if np.count_nonzero(counted) > _MAX_IDS:
        raise ValueError(_TOO_MANY)


def _check_frame(
    region: Region, shape: tuple[int, int], min_area: int
) -> None:
    """Check that a nail is not the background."""
    area = np.count_nonzero(region.mask)
    if _is_frame_of(region, shape):
        raise ValueError(
            'has a nail that reaches all four edges of the picture and holds '
            f'more than half of its outermost pixels, {area} in '
            'all: that is the background; paint nails white on black'
        )
    if 2 * area <= shape[0] * shape[1]:
        return
    around = cv2.copyMakeBorder(
        1 - region.mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1
    )
    sizes = cv2.connectedComponentsWithStats(around, connectivity=4)[2]
    # The first are the nail and what is around it.
    holes = sizes[1:, cv2.CC_STAT_AREA][sizes[1:, cv2.CC_STAT_LEFT] > 0]
    if (holes >= max(min_area, FEW_PIXELS)).any():
        raise ValueError(
            f'has a nail of {area} pixels, more than half of the picture, '
            f'with a hole of {holes.max()}: that is the background; paint '
            'nails white on black'
        )


def _check_none_surrounds(regions: list[Region]) -> None:
    """Check that no nail has most of another within its outline."""
    for outer in regions:
        height, width = outer.mask.shape
        hull = None
        for inner in regions:
            x, y = inner.left - outer.left, inner.top - outer.top
            tall, wide = inner.mask.shape
            if inner is outer or not (
                -wide < x < width and -tall < y < height
            ):
                continue
            if hull is None:
                hull = _hull(outer.mask)
            seen = slice(max(y, 0), y + tall), slice(max(x, 0), x + wide)
            part = inner.mask[max(-y, 0) : height - y, max(-x, 0) : width - x]
            if (hull[seen] & part).sum() > _MOST * inner.mask.sum():
                raise ValueError(
                    f'has a nail of {outer.mask.sum()} pixels at column '
                    f'{outer.left}, row {outer.top}, with another one of '
                    f'{inner.mask.sum()} pixels in it, of another value: a '
                    'nail within a finger, or two nails? Paint nails white '
                    f'on black; or {_EITHER}'
                )


def _hull(mask: np.ndarray) -> np.ndarray:
    """Fill what is around the largest piece, uint8 (H, W)."""
    contours, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    hull = cv2.convexHull(max(contours, key=cv2.contourArea))
    return cv2.fillConvexPoly(np.zeros_like(mask), hull, 1)


def _is_frame_of(region: Region, shape: tuple[int, int]) -> bool:
    return region.mask.shape == shape and _is_frame(region.mask)


def _is_frame(mask: np.ndarray) -> bool:
    """Tell whether there is more than half of the outermost pixels.

    Args:
        mask: uint8 (H, W), 0 or 1.
    """
    inner = mask[1:-1, 1:-1]
    outer = np.count_nonzero(mask) - np.count_nonzero(inner)
    return bool(2 * outer > mask.size - inner.size)
