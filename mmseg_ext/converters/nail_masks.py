"""Masks of nails: which pixels are which nail."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

__all__ = [
    'DARK',
    'FEW_PIXELS',
    'FEW_SHARE',
    'NOISE',
    'THRESHOLD',
    'Nails',
    'Region',
    'find_nails',
    'is_cut',
    'list_regions',
    'pieces',
]

#: Brighter pixels belong to a nail.
THRESHOLD = 127

#: How far from black, in each channel, what is near black may be. Real masks
#: in JPEG stray farther only along the edges of nails.
DARK = 32

#: That far from a nail its edge reaches where it is smooth, in pixels.
_EDGE = 3

#: Pixels are few if they are fewer than this, or than this share of those
#: that they are compared with.
FEW_PIXELS, FEW_SHARE = 20, 0.01

#: How far the channels of a gray mask, and the pixels of one color, may be
#: apart. JPEG moves the channels of real masks by up to 52.
NOISE = 64

#: A color counts if so many pixels have it that lie amidst others of it.
_MIN_VOTES = 5

#: Touching nails are cut apart where the neck between them is narrower than
#: this share of the smaller one's width.
_NECK = 0.8

#: How finely necks are looked for, as a share of the widest place.
_STEPS = 32

#: Pixels between nails that are dealt out at a time.
_LINE_PIXELS = 1 << 16


@dataclass(frozen=True)
class Region:
    """Some pixels of a mask.

    Attributes:
        left: Column of the first pixel.
        top: Row of the first pixel.
        mask: uint8 (h, w), 1 for the pixels, else 0; no more than the box.
    """

    left: int
    top: int
    mask: np.ndarray


@dataclass(frozen=True)
class Nails:
    """What a mask shows.

    Attributes:
        regions: The nails, from top to bottom.
        dropped: Number of components left out because they are too small.
        colored: Whether colors tell nails apart.
        cut: Number of blobs cut into several nails.
        lost: Number of pixels that are neither near black nor in a nail, nor
            at its edge, whatever its size.
        lost_at: Column and row of the first one.
        many: Whether these are many.
        ids: Whether each value stands for a nail.
        single: Whether one dark value stands for all nails.
        in_alpha: Whether alpha shows the nails, and colors do not.
        broken: Number of ids that lie in several places.
        border: Number of pixels with the value of a border between nails.
    """

    regions: list[Region]
    dropped: int = 0
    colored: bool = False
    cut: int = 0
    lost: int = 0
    lost_at: tuple[int, int] = (0, 0)
    many: bool = False
    ids: bool = False
    single: bool = False
    in_alpha: bool = False
    broken: int = 0
    border: int = 0


def find_nails(
    mask: np.ndarray,
    min_area: int = 20,
    split_touching: bool = False,
    *,
    threshold: int = THRESHOLD,
    exact: np.ndarray | None = None,
    lost: bool = True,
) -> Nails:
    """Separate the nails of a mask.

    Nails are the 8-connected components of the pixels brighter than 127 in
    gray. In a mask with a saturated color, or several exact ones, pixels
    count whose brightest channel is above 127, and components are of one
    color.

    Lost are blocks of 3x3 pixels that are brighter than 32 in a channel and
    more than 3 pixels away from all that is bright: nails too dark to be
    seen. They are many from 20 pixels and a hundredth of the bright ones on.

    Args:
        mask: uint8 (H, W, 3), BGR, or (H, W), gray.
        min_area: Components of fewer pixels are left out.
        split_touching: Cut blobs of one color apart where they narrow: the
            distance transform says where, a watershed how.
        threshold: What to take in place of 127.
        exact: Colors of the nails, uint8 (N, 3), BGR: other pixels are
            mixtures of them. By default colors are looked for, and may vary
            as in JPEG.
        lost: Look for what is lost.

    Returns:
        The nails.
    """
    colors: list[np.ndarray] = []
    bright = top = mask
    if mask.ndim == 3:
        bright = top = cv2.cvtColor(mask, cv2.COLOR_BGR2GRAY)
        uncolored = cv2.cvtColor(bright, cv2.COLOR_GRAY2BGR)
        several = exact is not None and len(exact) > 1
        if several or cv2.norm(mask, uncolored, cv2.NORM_INF) > NOISE:
            top = mask.max(axis=2)
            if exact is None:
                colors = _find_colors(mask, threshold)
            elif several or (np.ptp(exact, axis=1) > NOISE).any():
                colors = list(exact.astype(np.int16))
    if colors:
        bright = top
    noise = NOISE if exact is None else 0
    bright = cv2.threshold(bright, threshold, 1, cv2.THRESH_BINARY)[1]
    found, dropped, cut = [], 0, 0
    for blob in _components(bright):
        parts = [blob]
        if len(colors) > 1:
            parts = _separate_colors(blob, mask, colors, noise)
        if split_touching:
            halves = [_cut(part, min_area) for part in parts]
            cut += sum(len(several) > 1 for several in halves)
            parts = [part for several in halves for part in several]
        large = [p for p in parts if np.count_nonzero(p.mask) >= min_area]
        dropped += len(parts) - len(large)
        found += large
    found.sort(key=lambda region: (region.top, region.left))
    nails = Nails(found, dropped, len(colors) > 1, cut)
    if lost and (number := cv2.countNonZero(dim := _find_lost(top, bright))):
        row, column = map(int, np.unravel_index(dim.argmax(), dim.shape))
        least = max(FEW_PIXELS, FEW_SHARE * cv2.countNonZero(bright))
        return replace(
            nails, lost=number, lost_at=(column, row), many=number >= least
        )
    return nails


def is_cut(region: Region, min_area: int = 20) -> bool:
    """Tell whether ``split_touching`` cuts some pixels into several nails.

    Args:
        region: As :func:`find_nails` returns them.
        min_area: Each part has so many pixels.
    """
    return bool(_halve(region, min_area))


def _find_lost(top: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Find blocks of 3x3 that are neither near black nor near a nail.

    Args:
        top: uint8 (H, W), the brightest channel.
        bright: uint8 (H, W), 1 in nails.

    Returns:
        uint8 (H, W), 1 in the blocks, else 0.
    """
    dim = cv2.threshold(top, DARK, 1, cv2.THRESH_BINARY)[1]
    edges = np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)
    dim = cv2.subtract(dim, cv2.dilate(bright, edges))
    return cv2.morphologyEx(dim, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))


def list_regions(codes: np.ndarray) -> Iterator[tuple[int, Region]]:
    """Yield the pixels of each value but 0, in the order of the values.

    Args:
        codes: uint8 or uint16 (H, W).
    """
    for number, (rows, columns) in _boxes(codes, 1):
        box = (codes[rows, columns] == number).astype(np.uint8)
        yield number, Region(columns.start, rows.start, box)


def pieces(region: Region) -> np.ndarray:
    """Return the sizes of the 8-connected components, in pixels."""
    _, labels = cv2.connectedComponents(region.mask, connectivity=8)
    return np.bincount(labels[region.mask == 1])[1:]


def _components(
    binary: np.ndarray, left: int = 0, top: int = 0
) -> list[Region]:
    """Return the 8-connected components of uint8 (H, W), moved."""
    contours, hierarchy = cv2.findContours(
        binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    regions = []
    for index, contour in enumerate(contours):
        if hierarchy[0, index, 3] >= 0:  # a hole
            continue
        x, y, width, height = cv2.boundingRect(contour)
        box = binary[y : y + height, x : x + width]
        # Labeling boxes costs a tenth of labeling the whole mask.
        count, labels = cv2.connectedComponents(box, connectivity=8)
        if count > 2:
            column, row = contour[0, 0]
            box = (labels == labels[row - y, column - x]).astype(np.uint8)
        regions.append(Region(left + x, top + y, box))
    return regions


def _find_colors(mask: np.ndarray, threshold: int) -> list[np.ndarray]:
    """List the colors of a mask; none unless one of them is saturated.

    A darker shade of a more frequent one along its edges is none.

    Returns:
        int16 (3,) each, BGR.
    """
    # Along edges, smoothing and JPEG mix colors.
    gradient = cv2.morphologyEx(
        mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    flat = (mask.max(axis=2) > threshold) & (gradient.max(axis=2) <= NOISE)
    pixels, votes = np.unique(mask[flat], axis=0, return_counts=True)
    pixels = pixels.astype(np.int16)
    colors: list[np.ndarray] = []
    while votes.any():
        color = pixels[votes.argmax()]
        near = _far(pixels, color) <= NOISE
        if votes[near].sum() >= _MIN_VOTES and not any(
            _is_shade(color, other) and _is_edge(mask, color, other)
            for other in colors
        ):
            colors.append(color)
        votes[near] = 0
    saturated = any(np.ptp(color) > NOISE for color in colors)
    return colors if saturated else []


def _is_shade(color: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether a color is another one mixed with black."""
    share = color.max() / other.max()
    return bool(share < 1 and _far(other * share, color) <= DARK)


def _is_edge(mask: np.ndarray, color: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether nine of ten pixels of a color lie at the edge of another.

    The edge may be as wide as the ramps of a picture made twice as large.
    """
    pixels = mask.astype(np.int16)
    found = (_far(pixels, other) <= NOISE).astype(np.uint8)
    near = cv2.dilate(found, np.ones((2 * _EDGE + 1,) * 2, np.uint8)) > 0
    at = (_far(pixels, color) <= NOISE) & (found == 0)
    return bool(np.count_nonzero(at & near) >= 0.9 * np.count_nonzero(at))


def _far(pixels: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Return the largest difference of a channel."""
    return np.abs(pixels - color).max(axis=-1)


def _separate_colors(
    blob: Region, mask: np.ndarray, colors: list[np.ndarray], noise: int
) -> list[Region]:
    """Return the components of each color, which may vary by noise."""
    height, width = blob.mask.shape
    pixels = mask[
        blob.top : blob.top + height, blob.left : blob.left + width
    ].astype(np.int16)
    # One color at a time: a mask may have a hundred.
    least = _far(pixels, colors[0])
    codes = np.zeros(least.shape, np.int32)
    for code, color in enumerate(colors):
        far = _far(pixels, color)
        codes[far < least] = code
        np.minimum(least, far, out=least)
    known = (least <= noise) & (blob.mask == 1)
    if not known.any():
        return [blob]
    # A mixed color becomes that of the nearest pixel that has one.
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8),
        cv2.DIST_L2,
        5,
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    code_of = np.zeros(nearest.max() + 1, codes.dtype)
    code_of[nearest[known]] = codes[known]
    codes = np.where(blob.mask, code_of[nearest], -1)
    return [
        part
        for code in range(len(colors))
        for part in _components(
            (codes == code).astype(np.uint8), blob.left, blob.top
        )
    ]


def _cut(blob: Region, min_area: int) -> list[Region]:
    """Cut a blob apart where it narrows; parts have ``min_area`` pixels."""
    done, todo = [], [blob]
    while todo:
        piece = todo.pop()
        parts = _halve(piece, min_area)
        if parts:
            todo += reversed(parts)
        else:
            done.append(piece)
    return done


def _halve(blob: Region, min_area: int) -> list[Region]:
    """Cut a blob where it narrows most; none if it does not."""
    mask = cv2.copyMakeBorder(blob.mask, 2, 2, 2, 2, cv2.BORDER_CONSTANT)
    markers = _seeds(cv2.distanceTransform(mask, cv2.DIST_L2, 5))
    if markers is None:
        return []
    markers[markers > 0] += 1
    markers[mask == 0] = 1
    # Where the image is flat, a watershed takes pixels to the seed that is
    # nearest within the blob. The lines it leaves go to the part with more
    # pixels around.
    cv2.watershed(cv2.merge([mask * 255] * 3), markers)
    _fill_lines(markers, mask)
    parts = []
    for number, (rows, columns) in _boxes(markers, 2):
        part = (markers[rows, columns] == number).astype(np.uint8)
        if np.count_nonzero(part) < min_area:
            return []
        place = blob.left - 2 + columns.start, blob.top - 2 + rows.start
        parts += _components(part, *place)
    if min(np.count_nonzero(part.mask) for part in parts) < min_area:
        return []
    return parts


def _fill_lines(markers: np.ndarray, mask: np.ndarray) -> None:
    """Assign pixels of a blob that no part has to the one most around.

    Args:
        markers: int32 (H, W), above 1 for parts; changed in place. Pixels
            outside of the blob become 0.
        mask: uint8 (H, W), 1 for the blob, which no edge of the image meets.
    """
    places = np.argwhere((mask == 1) & (markers <= 1))
    steps = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    owners = []
    for start in range(0, len(places), _LINE_PIXELS):
        pixels = places[start : start + _LINE_PIXELS, None] + steps
        around = markers[pixels[..., 0], pixels[..., 1]]
        votes = (around[:, :, None] == around[:, None]).sum(axis=2)
        votes[around <= 1] = 0
        most = votes.max(axis=1, keepdims=True)
        # Of parts with as many, the first one gets it.
        first = np.where(votes == most, around, markers.size).min(axis=1)
        owners.append(np.where(most[:, 0], first, 2))
    if owners:
        markers[tuple(places.T)] = np.concatenate(owners)
    markers[mask == 0] = 0


def _boxes(
    markers: np.ndarray, first_number: int
) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield each part, from a number on, and the rows and columns of it."""
    rows, columns = np.nonzero(markers >= first_number)
    if not len(rows):
        return
    numbers = markers[rows, columns]
    order = np.argsort(numbers, kind='stable')
    found, first = np.unique(numbers[order], return_index=True)
    for number, pixels in zip(
        found.tolist(), np.split(order, first[1:]), strict=True
    ):
        yield number, (_reach(rows[pixels]), _reach(columns[pixels]))


def _reach(places: np.ndarray) -> slice:
    return slice(places.min(), places.max() + 1)


def _seeds(distance: np.ndarray) -> np.ndarray | None:
    """Find inner parts of nails; None without a neck.

    The blob is worn down from its edge. The first pieces that it falls into
    and that are much wider than the neck that broke are what is looked for.

    Args:
        distance: float32 (H, W), that of each pixel from the edge.

    Returns:
        int32 (H, W): 1 to N for the pieces, 0 elsewhere.
    """
    top, neck = distance.max(), distance * _NECK
    for level in np.arange(0, top, max(top / _STEPS, 0.5)):
        count, labels = cv2.connectedComponents(
            (distance > level).astype(np.uint8), connectivity=8
        )
        if count > 2:
            wide = np.bincount(labels[neck > level], minlength=count) > 0
            if np.count_nonzero(wide) > 1:
                numbers = np.where(wide, np.cumsum(wide), 0)
                return numbers.astype(np.int32)[labels]
    return None
