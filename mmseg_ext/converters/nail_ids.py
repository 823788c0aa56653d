"""What the values of a mask of nails mean: brightness, or ids."""

from dataclasses import replace

import cv2
import numpy as np

from mmseg_ext.converters.nail_masks import (
    FEW_PIXELS,
    FEW_SHARE,
    THRESHOLD,
    Nails,
    Region,
    find_nails,
    list_regions,
    pieces,
)
from mmseg_ext.converters.nail_values import (
    BORDER,
    WHITE,
    Thing,
    Values,
    count_values,
    count_white,
    find_things,
    is_frame,
    read_values,
)
from mmseg_ext.formats.masks import Mask

__all__ = ['IDS', 'read_nails']

#: Whether the values of masks are ids.
IDS = ('auto', 'yes', 'no')

#: What a value surrounds, or a photograph's share of pixels without a color
#: that counts, is more than this.
_MOST = 0.5

#: An id lies in one place if this share of its pixels is one component.
_ONE_PLACE = 0.9

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
    values = read_values(mask)
    if ids == 'no':
        nails = find_nails(values.colors, min_area, split_touching)
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


def _detect(values: Values, min_area: int, split_touching: bool) -> Nails:
    """Read a mask as what its values say."""
    nails = None
    if values.stored is values.colors:
        nails = _find_plain(values, min_area, split_touching)
    elif values.stored is None and values.lossy:
        nails = values.shown(min_area, split_touching)
    if nails and not nails.many:
        return nails
    things = find_things(values, min_area)
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
    values: Values, min_area: int, split_touching: bool
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
        others = cv2.inRange(box, 1, WHITE - 1)
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


def _is_photograph(values: Values, things: list[Thing]) -> bool:
    """Tell whether most opaque pixels have no value that counts."""
    assert values.opaque is not None
    if values.codes is None:
        return True
    number = sum(int(thing.region.mask.sum()) for thing in things)
    black = values.opaque & (values.codes == 0)
    number += int(np.count_nonzero(black))
    return bool(number < _MOST * np.count_nonzero(values.opaque))


def _check_dark(values: Values, things: list[Thing]) -> None:
    """Check that values near black are neither beside white, nor noise."""
    dark = [thing for thing in things if thing.is_dark]
    if not dark:
        return
    white = count_white(values.colors) >= FEW_PIXELS
    if white and all(t.is_dark or t.is_white for t in things):
        raise ValueError(
            f'has the value {values.name(dark[0].region)} in '
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


def _each_value(values: Values, min_area: int, sure: bool) -> Nails:
    """Take each value for a nail.

    Args:
        values: Those of the mask.
        min_area: Nails of fewer pixels are left out.
        sure: Take those that lie in several places, too.
    """
    codes, border = values.codes, values.border
    counts = count_values(values, min_area)
    assert codes is not None
    if values.colors.ndim == 2 and _has_border(np.flatnonzero(counts.all)):
        border = int(counts.all[BORDER])
        codes = np.where(codes == BORDER, 0, codes)
    counts.all[BORDER] -= border if values.colors.ndim == 2 else 0
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
                f'like, such as {values.name(region)}: ids were mixed, as '
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
                    f'{values.name(region)} lies in {len(sizes)} places: '
                    'ids of nails, or of classes? '
                    f'{_EITHER}'
                )
    regions.sort(key=lambda region: (region.top, region.left))
    return Nails(regions, dropped, ids=True, broken=broken, border=border)


def _has_border(values: np.ndarray) -> bool:
    """Tell whether gray ids have VOC's border: 1 to N and 255."""
    others = values[values != BORDER]
    number = len(others)
    consecutive = 0 < number == others[-1:].sum() < BORDER - 1
    return number < len(values) and bool(consecutive)


def _check_frame(
    region: Region, shape: tuple[int, int], min_area: int
) -> None:
    """Check that a nail is not the background."""
    area = np.count_nonzero(region.mask)
    if is_frame(region, shape):
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
