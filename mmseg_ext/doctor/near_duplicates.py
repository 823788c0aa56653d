"""Which images are copies of one another, from their difference hashes.

That two images are alike does not make them copies: frames of a film are
alike, and so are all images of a camera that stands still. Copies are more
alike than they are to any other image.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    'ALIKE',
    'MANY',
    'Neighbors',
    'copies',
    'difference',
    'find_neighbors',
]

#: Distance up to which images can be copies. Measured: at most 0.26 for
#: copies of scenes, of CamVid and of nails that were compressed at quality
#: 60, halved, of gamma 1.3, or without 2 % at the sides; 0.41 and more
#: between 3,000 street scenes, 0.29 between frames of CamVid that follow one
#: another, and 0.21 between drawn hands, which are often alike.
ALIKE = 0.3

#: How much nearer copies are to one another than to other images. Frames of
#: a film have one before and one after that are equally far.
_NEARER = 2 / 3

#: Distance up to which nothing can be said: images of one place of which the
#: one copy is compressed differ so much from another.
_NOISE = 0.1

#: Where more images than these are alike, they are a film, or the camera
#: stands still; copies and variants of one image are fewer.
MANY = 10

#: Distance up to which other images matter.
_NEAR = ALIKE / _NEARER

#: Bits that two hashes have set at least, on average, of some 256: less is
#: too little to tell by.
_LEAST_BITS = 32

#: Pairs that are compared at a time, in 8 MiB.
_BLOCK = 2**20


class Neighbors(NamedTuple):
    """The images that are nearest to each image.

    Attributes:
        first: int (P,), indices of images, ascending.
        second: int (P,), of other images, the nearest first.
        distance: float (P,), 0 to 1: bits that differ of those that are set
            in the hash of either, counted twice where set in both.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    distance: NDArray[np.float64]


def difference(one: Sequence[int], other: Sequence[int]) -> float:
    """Return how far two hashes differ, 0 to 1, as in :class:`Neighbors`.

    Args:
        one: Words of the one.
        other: As many of the other.

    Returns:
        1 where too little is known of both to tell.
    """
    set_bits = sum(word.bit_count() for word in (*one, *other))
    if set_bits < 2 * _LEAST_BITS:
        return 1.0
    pairs = zip(one, other, strict=True)
    return sum((a ^ b).bit_count() for a, b in pairs) / set_bits


def find_neighbors(
    words: NDArray[np.uint64], limit: float = _NEAR, most: int = MANY
) -> Neighbors:
    """Compare the hashes of all images with one another.

    Memory grows with the number of images, not with that of pairs.

    Args:
        words: uint64 (N, W), the hashes of N images.
        limit: Distance up to which images are neighbors, below 1.
        most: At most so many neighbors of each image, the nearest.
    """
    # Word by word, so that what is compared lies in a row.
    columns = np.ascontiguousarray(words.T)
    bits = _count_ones(columns).sum(0, dtype=np.int32)
    step = max(1, _BLOCK // max(1, len(words)))
    found = [
        _of_rows(columns, bits, slice(start, start + step), limit, most)
        for start in range(0, len(words), step)
    ]
    if not found:
        none = np.zeros(0, np.intp)
        return Neighbors(none, none, np.zeros(0))
    return Neighbors(*map(np.concatenate, zip(*found, strict=True)))


def _of_rows(
    columns: NDArray[np.uint64],
    bits: NDArray[np.int32],
    rows: slice,
    limit: float,
    most: int,
) -> Neighbors:
    """Find the neighbors of some images."""
    set_bits = bits[rows, None] + bits
    differ = np.zeros(set_bits.shape, np.uint16)
    for word in columns:
        differ += _count_ones(word[rows, None] ^ word)
    own = np.arange(len(differ))
    differ[own, own + rows.start] = np.iinfo(differ.dtype).max
    near = differ <= limit * set_bits
    near &= set_bits >= 2 * _LEAST_BITS
    # Most images have none.
    some = np.flatnonzero(near.any(1))
    distance = np.ones((len(some), len(bits)))
    np.divide(differ[some], set_bits[some], out=distance, where=near[some])
    nearest = np.argpartition(distance, min(most, len(bits) - 1))[:, :most]
    nearest.sort()
    distance = np.take_along_axis(distance, nearest, 1)
    order = np.argsort(distance, kind='stable')
    nearest = np.take_along_axis(nearest, order, 1)
    distance = np.take_along_axis(distance, order, 1)
    row, place = np.nonzero(distance <= limit)
    return Neighbors(
        some[row] + rows.start, nearest[row, place], distance[row, place]
    )


def _count_ones(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return how many bits of each word are set."""
    if hasattr(np, 'bitwise_count'):
        return np.bitwise_count(words)
    # NumPy before 2. Source: Hacker's Delight, 2nd edition, section 5-1.
    ones = words - (words >> np.uint64(1) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    ones = (ones & pairs) + (ones >> np.uint64(2) & pairs)
    ones = ones + (ones >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
    ones = ones * np.uint64(0x0101010101010101) >> np.uint64(56)
    return ones.astype(np.uint8)


def copies(neighbors: Neighbors) -> dict[tuple[int, int], float]:
    """Return the pairs of images that are copies of one another.

    They belong to a group, of two or a few more, whose images are nearer to
    one another than to any other image. Frames of a film are no such group,
    nor are the images of a camera that stands still.

    Args:
        neighbors: What :func:`find_neighbors` returns for all images.

    Returns:
        The distance of each pair of indices, the smaller index first.
    """
    near: dict[int, dict[int, float]] = {}
    for first, second, distance in zip(
        *(values.tolist() for values in neighbors), strict=True
    ):
        near.setdefault(first, {})[second] = distance
    found = {}
    for image in near:
        for group in _groups(image, near):
            for other in group - {image}:
                pair = min(image, other), max(image, other)
                found[pair] = near[image][other]
    return found


def _groups(
    image: int, near: dict[int, dict[int, float]]
) -> Iterator[set[int]]:
    """Yield the groups of copies that an image is in, the smallest first."""
    group = {image}
    for other, distance in near[image].items():
        if distance > ALIKE or len(group) == MANY:
            return
        group.add(other)
        if _stands_out(group, near):
            yield set(group)


def _stands_out(group: set[int], near: dict[int, dict[int, float]]) -> bool:
    """Say whether images are nearer to one another than to any other."""
    widest, gap = 0.0, _NEAR
    for image in group:
        inside = [near[image].get(other, 1.0) for other in group - {image}]
        widest = max(widest, *inside)
        outside = (d for other, d in near[image].items() if other not in group)
        gap = min(gap, next(outside, _NEAR))
        if widest > _NEARER * gap or gap <= _NOISE:
            return False
    return True
