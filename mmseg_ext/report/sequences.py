"""Which images are of one sequence, as their names tell.

Images of one drive resemble one another, so that ten of them say less of a
model than ten of ten drives. Scores are therefore resampled by sequences.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmseg_ext.utils.text import normal_form

__all__ = ['FEWEST', 'Sequences', 'find_sequences', 'interval_text']

#: With fewer sequences than these, those of our data sets are cut into pieces.
FEWEST = 10

#: What names of images look like, and the groups that name their sequence;
#: with the type of the data set where others have such names, too.
_KNOWN = {
    'CamVid': ('', r'(?:^|/)(0001TP|0006R0|0016E5|Seq05VD)_f?\d+\.\w+$'),
    'nuImages': ('', r'(?:^|/)([^/]+)__CAM_[A-Z_]+__\d+\.\w+$'),
    'Cityscapes': ('', r'(?:^|/)([^/_]+_\d{6})_\d{6}_leftImg8bit\.\w+$'),
    'IDD': ('', r'(?:^|/)([^/]+)/[^/]+_leftImg8bit\.\w+$'),
    'IDD as converted': ('IDD_Data', r'(?:^|/)(\d+)_[^/]+$'),
}


class Sequences(NamedTuple):
    """Which images are of one sequence.

    Attributes:
        clusters: int64 (N,), the sequence of each image, from 0 on.
        number: How many there are.
        text: What they are, in a sentence.
    """

    clusters: np.ndarray
    number: int
    text: str


def find_sequences(
    names: Sequence[str], dataset: str = '', pattern: str | None = None
) -> Sequences:
    """Find the sequences of images.

    The names of CamVid, Cityscapes, IDD and nuImages tell theirs. Where these
    are few they are cut into pieces of consecutive images. Of other data sets
    each image is a sequence by itself.

    Args:
        names: Of the images, with ``/`` between folders.
        dataset: The type of the data set.
        pattern: A regular expression that is searched in each name: its
            groups, or all that it matches where it has none, name the
            sequence. None goes by the data set.

    Raises:
        ValueError: The pattern is none, or is not in a name.

    >>> find_sequences(['a/1.png', 'a/2.png', 'b/1.png'], '', '^[^/]+').number
    2
    """
    if pattern is not None:
        found = _search(names, _compiled(pattern))
        missing = [n for n, key in zip(names, found, strict=True) if not key]
        if missing:
            others = f' and {len(missing) - 1:,} more' * (len(missing) > 1)
            raise ValueError(
                f'cluster={pattern!r} is not in the name {missing[0]!r}'
                f'{others}; expected a regular expression that is in the '
                'names of all images'
            )
        return _count(found, 'sequences, as --cluster names them')
    for what, (kind, known) in _KNOWN.items():
        found = _search(names, re.compile(known))
        if names and all(found) and kind in ('', dataset):
            return _at_least(names, _count(found, f'sequences of {what}'))
    return Sequences(
        np.arange(len(names)),
        len(names),
        'Each image is taken by itself: where several are of one sequence, '
        'such as frames of a video, say so by --cluster, or intervals are '
        'too narrow.',
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f'cluster={pattern!r} is no regular expression: {error}'
        ) from None


def _search(
    names: Sequence[str], pattern: re.Pattern[str]
) -> list[tuple[str | None, ...]]:
    """Return what names the sequence of each image; () where nothing does."""
    found = [pattern.search(normal_form(name)) for name in names]
    return [(m.groups() or (m[0],)) if m else () for m in found]


def _count(found: Sequence[tuple[str | None, ...]], what: str) -> Sequences:
    """Number sequences in the order in which they come."""
    numbers = {key: index for index, key in enumerate(dict.fromkeys(found))}
    index = np.array([numbers[key] for key in found], np.int64)
    if len(numbers) == 1:
        what = what.replace('sequences', 'sequence', 1)
    return Sequences(
        index, len(numbers), f'The images are of {len(numbers)} {what}.'
    )


def _at_least(names: Sequence[str], found: Sequences) -> Sequences:
    """Cut sequences into pieces where there are few."""
    if found.number >= FEWEST or len(names) < 2:
        return found
    pieces = np.empty(len(names), np.int64)
    number = 0
    for sequence in range(found.number):
        members = np.flatnonzero(found.clusters == sequence)
        order = sorted(members.tolist(), key=lambda k: names[k])
        count = min(len(order), -(-FEWEST * len(order) // len(names)))
        pieces[order] = number + np.arange(len(order)) * count // len(order)
        number += count
    return Sequences(
        pieces,
        number,
        f'{found.text.removesuffix(".")}, too few, and were cut into {number} '
        'pieces of consecutive images: intervals are about these drives, not '
        'about others.',
    )


def interval_text(sequences: Sequences) -> str:
    """Return what intervals are about, in sentences.

    Args:
        sequences: That are drawn for them.
    """
    if sequences.number < 2:
        return (
            f'{sequences.text} One sequence alone says nothing about others, '
            'so there are no intervals: take more sequences, or name shorter '
            'ones by --cluster.'
        )
    return (
        'Intervals of 95 % say how far scores vary with the choice of '
        f'sequences. {sequences.text}'
    )
