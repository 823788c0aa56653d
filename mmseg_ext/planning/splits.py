"""Which images train, and which validate."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmseg_ext.planning.survey import Survey

__all__ = ['Splits', 'divide']


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
    val, test validates; pictures outside of its splits train. Otherwise all
    pictures are divided: those of one group stay together, and each class has
    about the same share in both, rare classes first (iterative
    stratification, Sechidis et al., 2011).

    Args:
        found: The survey.
        share: Of the images, for validation.
        group: Regular expression on the name of a picture; those with equal
            first groups, or equal matches without groups in it, stay
            together. By default sequences are seen by names that differ in
            their last number only, where these numbers are those of frames,
            and near-duplicates stay together.
        seed: What the choice depends on, besides the names.

    Raises:
        ValueError: ``share`` is out of range, ``group`` is no regular
            expression or matches no name, or one split would be empty.
    """
    raise NotImplementedError
