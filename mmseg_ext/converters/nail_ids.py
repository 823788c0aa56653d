"""What the values of a mask of nails mean: brightness, or ids."""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from mmseg_ext.converters.nail_masks import (
    DARK,
    FEW_PIXELS,
    FEW_SHARE,
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

#: A mask has no more ids than this: they would be the grays of a photograph.
_MAX_IDS = 255

#: A value counts if this share of its pixels lies amidst their like. Of a nail
#: of 3 by 3 pixels it is a ninth, of JPEG's noise and of smooth edges less.
_SOLID = 0.1

#: That share where values near black are beside white ones: JPEG's noise
#: around white nails has up to a third.
_SOLID_DARK = 0.5

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
    black or transparent, unless all are gray; else the colors. Those count
    of whose pixels a tenth lie amidst their like (3x3), and that have at
    least a hundredth of the pixels of the most frequent one besides 0.

    ``'auto'``: masks in color show nails as :func:`find_nails` finds them.
    So do those whose values are all near black or near white (within 32), and
    those with one value that is bright, above 127 in a channel. One dark
    value stands for all nails, which are the components of what is nearer to
    it than to 0. Several values are ids if each lies in one place, with 90 %
    of its pixels in one component. So it is with colors if some are lost.

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
            in a nail. A nail is the picture's frame: it reaches all four
            edges and has more than half of the outermost pixels. Or whether
            values are ids cannot be told, or many pixels have mixtures of
            them.
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
            f'has no nail: no {min_area} pixels in one place are brighter '
            f'than {THRESHOLD}, or have an id; the brightest has '
            f'{values.colors.max()} of 255'
        )
    for region in nails.regions:
        _check_frame(region, values.colors.shape[:2])
    return replace(
        nails,
        in_alpha=values.in_alpha,
        border=nails.border or values.border,
    )


@dataclass(frozen=True)
class _Values:
    """The values of a mask without alpha, and how they look.

    Attributes:
        colors: uint8 (H, W), gray, or (H, W, 3), BGR.
        stored: uint8 or uint16 (H, W); None if these are the colors.
        in_alpha: Whether alpha shows the nails.
        border: Number of pixels of a border, which are 0 here.
        lossy: Whether the format may have changed them.
    """

    colors: np.ndarray
    stored: np.ndarray | None
    in_alpha: bool = False
    border: int = 0
    lossy: bool = False

    @cached_property
    def codes(self) -> np.ndarray | None:
        """The values, uint8 or uint16 (H, W), with numbers for colors.

        None if there are more colors than ids may be.
        """
        if self.stored is not None:
            return self.stored
        blue, green, red = (
            channel.astype(np.uint32) for channel in cv2.split(self.colors)
        )
        packed = blue | green << 8 | red << 16
        some = packed > 0
        found, numbers = np.unique(packed[some], return_inverse=True)
        if len(found) > _MAX_IDS:
            return None
        codes = np.zeros(packed.shape, np.uint8)
        codes[some] = numbers + 1
        return codes

    def shown(self, min_area: int, split_touching: bool) -> Nails:
        """Find what is bright."""
        return find_nails(self.colors, min_area, split_touching)


class _Counts:
    """How often the values of a mask occur.

    Args:
        codes: uint8 or uint16 (H, W).

    Attributes:
        all: int64 (N,), the number of pixels of each value, 0 for 0.
        inner: int64 (N,), those amidst their like.
    """

    def __init__(self, codes: np.ndarray) -> None:
        steps = cv2.morphologyEx(
            codes, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
        )
        self.all = _histogram(codes, None)
        self.inner = _histogram(codes, cv2.compare(steps, 0, cv2.CMP_EQ))

    @property
    def values(self) -> np.ndarray:
        """All values but 0, sorted."""
        return np.flatnonzero(self.all)

    @property
    def labels(self) -> np.ndarray:
        """Those that count, see :func:`read_nails`, sorted."""
        often = self.all >= FEW_SHARE * self.all.max()
        return np.flatnonzero((self.all > 0) & often & self._solid)

    @property
    def mixed(self) -> np.ndarray:
        """Those that hardly lie amidst their like, sorted."""
        return np.flatnonzero((self.all > 0) & ~self._solid)

    @property
    def _solid(self) -> np.ndarray:
        return self.inner >= _SOLID * self.all


def _histogram(codes: np.ndarray, where: np.ndarray | None) -> np.ndarray:
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
            return _Values(white, white, in_alpha=True)
        pixels = pixels.copy()
        pixels[~opaque] = 0
    if mask.palette is not None:
        return _palette_values(mask, opaque)
    gray = _gray(pixels)
    if gray is None:
        return _Values(pixels, None)
    return _Values(replace(mask, pixels=gray).shown(), gray)


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
        return _Values(gray, gray)
    first = codes == 0
    if palette[0].any() and not (first.any() and clear[first].all()):
        return _Values(colors, None)
    codes = np.where(clear, 0, codes).astype(np.uint8)
    if tuple(palette[_BORDER].tolist()) == _BORDER_COLOR:
        at_border = codes == _BORDER
        border = int(np.count_nonzero(at_border))
        codes[at_border], colors[at_border] = 0, 0
    return _Values(colors, codes, border=border)


def _detect(values: _Values, min_area: int, split_touching: bool) -> Nails:
    """Read a mask as what its values say."""
    nails = None
    if values.stored is values.colors:
        nails = _find_plain(values.colors, min_area, split_touching)
        if nails:
            return nails
    elif values.stored is None:
        nails = values.shown(min_area, split_touching)
        if not nails.many:
            return nails
    if values.codes is not None:
        counts = _Counts(values.codes)
        labels = counts.labels
        look = _look(values, labels)
        if _is_black_and_white(values, counts, look):
            pass
        elif values.lossy and len(labels) > 0 and look.max() <= DARK:
            raise ValueError(
                f'has no value above {look.max()} of 255, and its format '
                'changes pixels by as much: save it in a lossless one, such '
                'as PNG, as it was drawn'
            )
        elif len(labels) > 1:
            return _each_value(values, min_area, sure=False)
        elif len(labels) == 1 and look.max() <= THRESHOLD:
            return _single(values, int(look.max()), min_area, split_touching)
    nails = nails or values.shown(min_area, split_touching)
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
    gray: np.ndarray, min_area: int, split_touching: bool
) -> Nails | None:
    """Find nails at low cost if no value counts but white and black.

    Then nothing is lost, either. What lies around the nails is not looked at.

    Args:
        gray: uint8 (H, W).
        min_area: See :func:`find_nails`.
        split_touching: See :func:`find_nails`.

    Returns:
        The nails; None if other values might count.
    """
    left, top, width, height = cv2.boundingRect(gray)
    if not width:
        return Nails([])
    box = gray[top : top + height, left : left + width]
    others = cv2.inRange(box, 1, _WHITE - 1)
    if cv2.countNonZero(cv2.erode(others, np.ones((3, 3), np.uint8))):
        return None
    nails = find_nails(box, min_area, split_touching, lost=False)
    regions = [
        Region(left + region.left, top + region.top, region.mask)
        for region in nails.regions
    ]
    return replace(nails, regions=regions)


def _look(values: _Values, labels: np.ndarray) -> np.ndarray:
    """Return the colors of values, uint8 (N, 1 or 3)."""
    if values.codes is values.colors:
        return labels[:, None]
    colors = np.atleast_3d(values.colors)
    table = np.zeros((_MAX_16 + 1, colors.shape[2]), np.uint8)
    table[values.codes] = colors
    return table[labels]


def _is_black_and_white(
    values: _Values, counts: _Counts, look: np.ndarray
) -> bool:
    """Tell masks in black and white from those with other values.

    Args:
        values: Those of the mask.
        counts: How often they occur.
        look: Colors of the labels.

    Raises:
        ValueError: Dark values might be ids, and white the border.
    """
    dark, white = (look <= DARK).all(axis=1), (look >= _WHITE).all(axis=1)
    if not (dark | white).all():
        return False
    if not white.any() and _count_white(values.colors) < FEW_PIXELS:
        return False
    for label in counts.labels[dark].tolist():
        inside = (values.codes == label).astype(np.uint8)
        noise = counts.inner[label] < _SOLID_DARK * counts.all[label]
        if not noise and not _is_frame(inside):
            raise ValueError(
                f'has the value {label} in {counts.all[label]} pixels, and '
                'white besides: white nails, or ids and their border? '
                f'{_EITHER}'
            )
    return True


def _count_white(colors: np.ndarray) -> int:
    """Count the pixels near white."""
    least = colors if colors.ndim == 2 else colors.min(axis=2)
    return cv2.countNonZero(cv2.compare(least, _WHITE, cv2.CMP_GE))


def _single(
    values: _Values, look: int, min_area: int, split_touching: bool
) -> Nails:
    """Find the nails of a mask in which all have one dark value."""
    top = values.colors if values.colors.ndim == 2 else values.colors.max(2)
    near = (top > look // 2).astype(np.uint8) * 255
    nails = find_nails(near, min_area, split_touching)
    return replace(nails, single=True)


def _each_value(values: _Values, min_area: int, sure: bool) -> Nails:
    """Take each value for a nail.

    Args:
        values: Those of the mask.
        min_area: Nails of fewer pixels are left out.
        sure: Take those that lie in several places, too.
    """
    codes, border = values.codes, values.border
    if codes is None or len((counts := _Counts(codes)).values) > _MAX_IDS:
        raise ValueError(
            f'has more than {_MAX_IDS} values: they are no ids of nails; save '
            'the mask in a lossless format, such as PNG, as it was drawn'
        )
    if values.colors.ndim == 2 and _has_border(counts.values):
        border = int(counts.all[_BORDER])
        codes = np.where(codes == _BORDER, 0, codes)
    mixed, total = counts.all[counts.mixed].sum(), counts.all.sum()
    if mixed >= max(FEW_PIXELS, FEW_SHARE * total):
        raise ValueError(
            f'has {mixed} pixels of values that hardly lie amidst their '
            f'like, such as {counts.mixed[0]}: ids were mixed, as JPEG and '
            'resizing do; save it in a lossless format, such as PNG, as it '
            f'was drawn; or {_BRIGHT}'
        )
    regions, dropped, broken = [], 0, 0
    for value, region in list_regions(codes):
        sizes = pieces(region)
        if sizes.sum() < min_area:
            dropped += 1
            continue
        regions.append(region)
        if sizes.max() < _ONE_PLACE * sizes.sum():
            broken += 1
            if not sure:
                raise ValueError(
                    f'has {len(counts.values)} values, of which {value} lies '
                    f'in {len(sizes)} places: ids of nails, or of classes? '
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


def _check_frame(region: Region, shape: tuple[int, int]) -> None:
    """Check that a nail is not the background."""
    if region.mask.shape == shape and _is_frame(region.mask):
        raise ValueError(
            'has a nail that reaches all four edges of the picture and holds '
            f'more than half of its outermost pixels, {region.mask.sum()} in '
            'all: that is the background; paint nails white on black'
        )


def _is_frame(mask: np.ndarray) -> bool:
    """Tell whether there is more than half of the outermost pixels.

    Args:
        mask: uint8 (H, W), 0 or 1.
    """
    inner = mask[1:-1, 1:-1]
    outer = np.count_nonzero(mask) - np.count_nonzero(inner)
    return bool(2 * outer > mask.size - inner.size)
