"""Which images train, and which validate."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from mmseg_ext.converters.core import check_share, seeded_order
from mmseg_ext.formats.exports.export import Picture
from mmseg_ext.planning.likeness import (
    augmented,
    joined,
    name_order,
    sequences,
)
from mmseg_ext.planning.survey import Survey

__all__ = ['Splits', 'divide', 'pattern_of']

#: Where validation gets less or more of the share than these, groups that are
#: larger than it are cut.
_LEAST, _MOST = 1 / 2, 2

#: Blocks that they are cut into, in a share.
_BLOCKS = 2

#: Groups up to this number may also change places by twos, and those beyond
#: the larger one stay where they are: others are enough.
_FEW, _MANY = 100, 20_000

#: How much worse than any share it is that a class is not in validation, that
#: it is not in training, and that a split is empty.
_UNSEEN, _UNTRAINED, _EMPTY = 1e3, 1e6, 1e9

#: The least that a change has to bring, and how many there are at most.
_GAIN, _CHANGES = 1e-5, 200

#: Classes that a reason names.
_NAMED = 5


class Splits(NamedTuple):
    """The images of each split.

    Attributes:
        members: Numbers of the pictures, in ascending order, by ``'train'``,
            ``'val'`` and, where the export has one, ``'test'``.
        given: Whether the export says so.
        reason: How they came about, in a sentence with numbers.
        groups: How many groups stayed together; as many as images where none
            did.
    """

    members: Mapping[str, Sequence[int]]
    given: bool
    reason: str
    groups: int = 0


def divide(
    found: Survey, share: float = 0.2, group: str | None = None, seed: int = 0
) -> Splits:
    """Keep the splits of an export, or make some.

    An export that has two or more of train, val and test keeps them: without
    val, test validates, and there is no test; pictures outside of its splits
    train. Otherwise all pictures are divided: those of one group stay
    together, and each class has about the same share in both, rare classes
    first (iterative stratification, Sechidis et al., 2011). No class is in
    validation only where training could have it, and each one that several
    groups have is in both, if that is possible.

    Args:
        found: The survey.
        share: Of the images, for validation.
        group: Regular expression on the name of a picture; those with equal
            first groups, or equal matches without groups in it, stay
            together. By default sequences are seen by names that differ in
            their last number only, where these numbers are those of frames,
            and near-duplicates stay together; a group is cut into blocks of
            neighboring names where validation would get less than half or
            more than twice of its share.
        seed: What the choice depends on, besides the names.

    Raises:
        ValueError: ``share`` is out of range, ``group`` is no regular
            expression or matches no name, or one split would be empty.
    """
    check_share('share', share)
    pattern = None if group is None else pattern_of(group)
    pictures = found.export.pictures
    names = [picture.name for picture in pictures]
    if given := _given(pictures, pattern is not None):
        return given
    if len(names) < 2:
        raise ValueError(
            f'{found.export.folder} has 1 image with labels; expected 2 or '
            'more, to train and to validate'
        )
    order = seeded_order(range(len(names)), seed, names.__getitem__)
    if pattern is not None:
        groups, why = _by_pattern(pattern, names)
        chosen = _choose(found, groups, share, order)
    else:
        groups, chosen, why = _by_looks(found, names, share, order)
    val = sorted(chain.from_iterable(groups[number] for number in chosen))
    train = sorted(set(range(len(names))) - set(val))
    largest = max(groups, key=len)
    if 2 * len(largest) > len(names):
        where = 'val' if largest[0] in val else 'train'
        why += (
            f'; the largest group has {len(largest)} of {len(names)} images, '
            f'all in {where}'
        )
    reason = f'stratified by class with seed {seed}; {why}'
    return Splits(
        {'train': train, 'val': val},
        False,
        '; '.join((reason, *_unshared(found, train, val))),
        len(groups),
    )


# Splits that are there.


def _given(pictures: Sequence[Picture], grouped: bool) -> Splits | None:
    """Return the splits of an export; None if it has not two.

    Raises:
        ValueError: No picture trains.
    """
    members: dict[str, list[int]] = {'train': [], 'val': [], 'test': []}
    outside: list[int] = []
    for number, picture in enumerate(pictures):
        members.get(picture.split or '', outside).append(number)
    if sum(map(bool, members.values())) < 2:
        return None
    reason = 'as in the export'
    if not members['val']:
        members['val'] = members.pop('test')
        reason += ', whose test split validates'
    if outside:
        members['train'] = sorted(members['train'] + outside)
        reason += f'; {len(outside)} images outside of its splits train'
    if not members['train']:
        held = ' and '.join(
            f'{len(numbers)} in {name}'
            for name, numbers in members.items()
            if numbers
        )
        raise ValueError(
            f'the export has {held} and no image for training; add the '
            'training split, or give the folder of one split alone, which is '
            'then divided'
        )
    if grouped:
        reason += '; group is for folders without splits, and changes nothing'
    kept = {name: numbers for name, numbers in members.items() if numbers}
    return Splits(kept, True, reason, len(pictures))


# Groups.


def pattern_of(group: str) -> re.Pattern[str]:
    """Return the regular expression that groups images.

    Raises:
        ValueError: It is none.
    """
    try:
        return re.compile(group)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f'group={group!r} is no regular expression: {error}; expected one '
            r"such as '^([^_]+)_', which keeps together what is equal before "
            'the first _'
        ) from None


def _by_pattern(
    pattern: re.Pattern[str], names: Sequence[str]
) -> tuple[list[list[int]], str]:
    """Return groups by equal matches, and how they came about.

    Raises:
        ValueError: No name matches, or all match alike.
    """
    first: dict[str, int] = {}
    pairs, matched = [], 0
    for number, name in enumerate(names):
        match = pattern.search(name)
        key = match[1 if pattern.groups else 0] if match else None
        if key is not None:
            matched += 1
            pairs.append((first.setdefault(key, number), number))
    group = pattern.pattern
    if not matched:
        raise ValueError(
            f'group={group!r} matches no name; expected a regular expression '
            f'that matches a part of names such as {names[0]}'
        )
    groups = joined(len(names), pairs)
    if len(groups) < 2:
        raise ValueError(
            f'group={group!r} puts all {len(names)} images into one group, '
            f'{next(iter(first))!r}, so that none is left to validate; '
            'expected one that tells them apart'
        )
    why = f'{len(first)} groups by {group!r} stay together'
    if matched < len(names):
        why += f', {len(names) - matched} images match none'
    return groups, why


def _by_looks(
    found: Survey, names: Sequence[str], share: float, order: Sequence[int]
) -> tuple[list[list[int]], list[int], str]:
    """Return groups of sequences and like images, and those that validate.

    Raises:
        ValueError: All images are equal files.
    """
    total = len(names)
    likeness, films = found.likeness, sequences(names)
    copies = [*likeness.equal, *likeness.copies, *augmented(names)]
    whole = joined(total, chain(copies, likeness.alike, *map(pairwise, films)))
    chosen = _choose(found, whole, share, order)
    held = sum(len(whole[number]) for number in chosen)
    groups, why = whole, _together(whole, len(films), total)
    limit = max(1, share * total)
    large = [each for each in whole if len(each) > limit]
    if large and not _LEAST <= held / (share * total) <= _MOST:
        size = max(1, round(share * total / _BLOCKS))
        places = name_order(names)
        parts: list[Sequence[int]] = [e for e in whole if len(e) <= limit]
        for each in large:
            parts += _blocks(sorted(each, key=places.__getitem__), size)
        # A few images may be near copies and all that there is.
        for kept in (copies, likeness.equal):
            groups = joined(total, chain(kept, *map(pairwise, parts)))
            if len(groups) > 1:
                break
        chosen = _choose(found, groups, share, order)
        why += (
            f'; {len(large)} of them, too large for a share of {share:g}, cut '
            f'into blocks of {size} neighboring names, the nearest of which '
            'are alike'
        )
    if len(groups) < 2:
        raise ValueError(
            f'all {total} images of {found.export.folder} are equal '
            'files, so that none is left to validate; expected at least two '
            'that differ'
        )
    return groups, chosen, why


def _together(groups: Sequence[Sequence[int]], films: int, total: int) -> str:
    """Say which images stay together."""
    several = [each for each in groups if len(each) > 1]
    if not several:
        return 'no sequences in names and no near-duplicates'
    named = f', {films} of them by their names' if films else ''
    return (
        f'{sum(map(len, several))} of {total} images stay together in '
        f'{len(several)} {"group" if len(several) == 1 else "groups"} of '
        f'frames or like images{named}'
    )


def _blocks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield parts of a size, the last one smaller."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


# Stratification.


def _choose(
    found: Survey,
    groups: Sequence[Sequence[int]],
    share: float,
    order: Sequence[int],
) -> list[int]:
    """Return the numbers of the groups that validate.

    Args:
        found: The survey.
        groups: Numbers of pictures.
        share: Of the images.
        order: Numbers of the pictures, as they are to be taken.
    """
    present = found.pixels > 0
    # The images themselves are a class that all have.
    shows = np.column_stack([np.ones(len(present), bool), present])
    counts = np.array([shows[each].sum(0) for each in groups], np.int64)
    group_of = {n: at for at, each in enumerate(groups) for n in each}
    turns = list(dict.fromkeys(group_of[number] for number in order))
    counts = counts[turns]
    counts = counts[:, counts.any(0)]
    chosen = _refine(counts, share, _stratify(counts, share))
    return sorted(turns[at] for at in np.flatnonzero(chosen))


def _stratify(counts: np.ndarray, share: float) -> np.ndarray:
    """Divide groups so that each class has its share, rare classes first.

    Source: Sechidis, Tsoumakas, Vlahavas, On the stratification of
    multi-label data, ECML PKDD 2011, algorithm 1, where an example is a group
    and has each class several times; the largest groups come first.

    Args:
        counts: int64 (groups, classes), images of each class; the first class
            is that of all images.
        share: Of the second part.

    Returns:
        bool (groups,), those of the second part.
    """
    second = np.zeros(len(counts), bool)
    left = np.ones(len(counts), bool)
    wanted = np.multiply.outer((1 - share, share), counts.sum(0))
    while left.any():
        remaining = counts[left].sum(0)
        # What stands for all images comes last of equals.
        remaining = np.where(remaining > 0, remaining, remaining.max() + 1)
        rarest = len(remaining) - 1 - int(np.argmin(remaining[::-1]))
        rows = np.flatnonzero(left & (counts[:, rarest] > 0))
        rows = rows[np.argsort(-counts[rows, rarest], kind='stable')]
        for row in rows.tolist():
            first, other = np.round(wanted[:, [rarest, 0]], 9).tolist()
            second[row] = other > first
            wanted[int(second[row])] -= counts[row]
        left[rows] = False
    return second


def _refine(
    counts: np.ndarray, share: float, second: np.ndarray
) -> np.ndarray:
    """Move groups to the other part, one or two at a time, while it helps.

    Args:
        counts: As for :func:`_stratify`.
        share: Of the second part.
        second: What it returned.
    """
    second = second.copy()
    each = np.arange(min(len(counts), _MANY))
    one, other = each, each
    if len(each) <= _FEW:
        one, other = np.triu_indices(len(each))
    alone = (one == other)[:, None]
    held = counts[second].sum(0)
    now = _cost(held[None], counts, share)[0]
    for _ in range(_CHANGES):
        moved = np.where(second[each, None], -counts[each], counts[each])
        changes = moved[one] + np.where(alone, 0, moved[other])
        costs = _cost(held + changes, counts, share)
        best = int(np.argmin(costs))
        if costs[best] > now - _GAIN:
            break
        flipped = list({int(one[best]), int(other[best])})
        second[flipped] = ~second[flipped]
        held, now = held + changes[best], costs[best]
    return second


def _cost(held: np.ndarray, counts: np.ndarray, share: float) -> np.ndarray:
    """Return how far divisions are from the wanted one.

    Args:
        held: int64 (divisions, classes), images of each class in the second
            part.
        counts: As for :func:`_stratify`.
        share: Of the second part.

    Returns:
        float64 (divisions,): the sum of the squared deviations from the
        share, in which all images weigh as much as all classes, and more for
        each class that is missing where it could be.
    """
    totals = counts.sum(0)
    several = (counts > 0).sum(0) > 1
    off = (held / totals - share) ** 2
    off[:, 0] *= max(1, len(totals) - 1)
    none, every = held == 0, held == totals
    cost = off.sum(1)
    cost += _UNSEEN * (none & several).sum(1)
    cost += _UNTRAINED * every.sum(1)
    cost += _EMPTY * (none | every)[:, 0]
    # Sums differ in the last digits from machine to machine.
    return np.round(cost, 9)


def _unshared(
    found: Survey, train: Sequence[int], val: Sequence[int]
) -> Iterator[str]:
    """Yield which classes are in one of two splits only."""
    assert found.export.classes is not None
    shown = {
        name: (found.pixels[numbers] > 0).any(0)
        for name, numbers in (('train', train), ('val', val))
    }
    for one, other in (('train', 'val'), ('val', 'train')):
        alone = np.flatnonzero(shown[one] & ~shown[other])
        names = [found.export.classes.names[index] for index in alone]
        if names:
            more = len(names) - _NAMED
            yield (
                f'in {one} only: {", ".join(names[:_NAMED])}'
                + f' and {more} more' * (more > 0)
            )
