"""Which images belong together: copies, like ones, frames of a film."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmseg_ext.doctor.near_duplicates import ALIKE, copies, find_neighbors
from mmseg_ext.doctor.parts import ImageScan

__all__ = [
    'Likeness',
    'augmented',
    'joined',
    'likeness_of',
    'name_order',
    'sequences',
]

Pair = tuple[int, int]

#: The last number in a name, with what stands before and behind it.
_NUMBERED = re.compile(r'(.*?)([0-9]+)([^0-9]*)', re.DOTALL)

#: A word that names numbers of frames.
_FRAME = re.compile(r'frame', re.IGNORECASE)

#: Frames that were picked of a film: the least number of them, that from which
#: on two steps are common, how many steps are these, and how many are 1.
_FEWEST, _SOME, _COMMON, _FOLLOWING = 3, 5, 0.8, 0.1

#: What Roboflow appends to the names of the variants of an image.
_VARIANT = re.compile(r'\.rf\.[0-9A-Za-z]{20,}$')


class Likeness(NamedTuple):
    """Pairs of images that look the same, the smaller number first.

    Attributes:
        equal: Equal files.
        copies: Others that are copies of one photograph, as the doctor says.
        alike: Further ones, as near to each other as frames of a film.
    """

    equal: Sequence[Pair]
    copies: Sequence[Pair]
    alike: Sequence[Pair]


def likeness_of(images: Sequence[ImageScan]) -> Likeness:
    """Compare all images with one another.

    Args:
        images: With digests and hashes.
    """
    first: dict[bytes, int] = {}
    same = [
        (first.setdefault(image.digest, number), number)
        for number, image in enumerate(images)
    ]
    # Equal files are one here.
    ones = list(first.values())
    neighbors = find_neighbors(
        np.array([images[number].words for number in ones], np.uint64)
    )
    near = copies(neighbors)
    alike = {
        (min(one, other), max(one, other))
        for one, other, distance in zip(
            *(values.tolist() for values in neighbors), strict=True
        )
        if distance <= ALIKE
    }
    return Likeness(
        [pair for pair in same if pair[0] != pair[1]],
        [(ones[one], ones[other]) for one, other in sorted(near)],
        [
            (ones[one], ones[other])
            for one, other in sorted(alike.difference(near))
        ],
    )


def joined(number: int, pairs: Iterable[Pair]) -> list[list[int]]:
    """Return the groups that pairs make of numbers.

    Args:
        number: The numbers are those below it.
        pairs: Any two that belong together.

    Returns:
        Each number once; ascending, as the groups are by their first.
    """
    above = list(range(number))

    def top(item: int) -> int:
        while above[item] != item:
            above[item] = above[above[item]]
            item = above[item]
        return item

    for pair in pairs:
        low, high = sorted(map(top, pair))
        above[high] = low
    groups: dict[int, list[int]] = {}
    for item in range(number):
        groups.setdefault(top(item), []).append(item)
    return list(groups.values())


def augmented(names: Sequence[str]) -> list[Pair]:
    """Return pairs of images that Roboflow made of one by augmentation.

    Args:
        names: Paths such as ``'train/a_jpg.rf.0123456789abcdef0123.jpg'``.
    """
    first: dict[str, int] = {}
    found = []
    for number, name in enumerate(names):
        stem = os.path.splitext(name)[0]
        origin = _VARIANT.sub('', stem)
        if origin != stem and first.setdefault(origin, number) != number:
            found.append((first[origin], number))
    return found


def sequences(names: Sequence[str]) -> list[list[int]]:
    """Return the films that names show.

    Their frames differ in the last number only, but for what all names end
    in, and this number is that of a frame: the name says ``frame``, or most
    steps are equal and above 1, as where every thirtieth frame was taken.
    Ordinary numbers, 1, 2, 3, and those of cameras, such as 3412, 3415, 3416,
    are none.

    Args:
        names: Paths of images.

    Returns:
        Films of two and more frames, in their order.
    """
    films: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for number, (before, value, behind) in enumerate(_parts(names)):
        if value >= 0:
            films.setdefault((before, behind), []).append((value, number))
    return [
        [number for _, number in sorted(frames)]
        for (before, _), frames in films.items()
        if len(frames) > 1
        and (
            _FRAME.search(os.path.basename(before))
            or _are_regular(sorted(value for value, _ in frames))
        )
    ]


def name_order(names: Sequence[str]) -> list[int]:
    """Return for each name its place among all, by the numbers in them."""
    parts = _parts(names)
    order = sorted(
        range(len(names)), key=lambda number: (parts[number], names[number])
    )
    places = [0] * len(names)
    for place, number in enumerate(order):
        places[number] = place
    return places


def _parts(names: Sequence[str]) -> list[tuple[str, int, str]]:
    """Return of each name its last number, with what is before and behind.

    Where there is none, it is -1.
    """
    stems = [os.path.splitext(name)[0] for name in names]
    # As in aachen_000000_000019_leftImg8bit.
    ending = os.path.commonprefix([stem[::-1] for stem in stems])[::-1]  # noqa: RUF071
    ending = ending.rpartition('/')[2].lstrip('0123456789')
    found = []
    for stem in stems:
        match = _NUMBERED.fullmatch(stem.removesuffix(ending))
        if match and '/' not in match[3]:
            found.append((match[1], int(match[2]), match[3]))
        else:
            found.append((stem, -1, ''))
    return found


def _are_regular(values: Sequence[int]) -> bool:
    """Tell whether numbers are those of frames picked of a film."""
    steps = Counter(late - early for early, late in pairwise(values))
    # As in CamVid, of which parts were annotated more densely.
    common = steps.most_common(2 if len(values) >= _SOME else 1)
    return (
        len(values) >= _FEWEST
        and sum(often for _, often in common) >= _COMMON * steps.total()
        and steps[1] <= _FOLLOWING * steps.total()
    )
