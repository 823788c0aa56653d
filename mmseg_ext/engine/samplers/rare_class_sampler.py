"""Drawing of images with rare classes more often."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS

from mmseg_ext.engine.class_counts import count_classes
from mmseg_ext.engine.label_checks import unseen_classes
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.arguments import is_integer, is_number, require
from mmseg_ext.utils.text import listing

__all__ = ['RareClassSampler', 'repeat_factors']

#: So many classes are named in a warning.
_NAMED = 30


@DATA_SAMPLERS.register_module()
class RareClassSampler(InfiniteSampler):
    """Draw images with rare classes more often.

    An image that has k times as much of a rare class as the images have on
    average gets the factor ``sqrt(k)``: the largest of all rare classes, not
    below 1, and at most ``max_factor``. Much or little is a class's share of
    the labeled pixels of an image; rare are the classes whose mean share is
    below the median of all that occur. In each round through the data an
    image comes as often as its factor says: 2.3 is twice, and with a chance
    of 0.3 once more. So every image comes in every round, and none comes too
    often, be there 40 images or 70,000.

    The repeat factors of LVIS (Gupta et al. 2019), of which this is a kind,
    count whether a class is in an image. In street scenes most classes are in
    most images, and only the amount tells them apart.

    In place of mmengine's ``InfiniteSampler``, for training by iterations;
    like that it never ends, and nor would an epoch of ``EpochBasedTrainLoop``,
    which ``mmseg-ext train`` refuses with it::

        train_dataloader = dict(sampler=dict(type='RareClassSampler'))

    The order follows from the seed alone. In a distributed training all
    processes together draw what one alone would. mmengine's loop resumes by
    taking as many batches as before, so the order goes on where it stopped if
    ``randomness=dict(seed=...)`` is set.

    All labels are read once when it is built: see
    :func:`mmseg_ext.engine.class_counts.count_classes`.

    Attributes:
        factors: float64 (images,), 1 or more, how often an image comes in a
            round on average.

    Args:
        dataset: A data set of MMSeg with labels, or a wrapper of some.
            mmengine's runner gives it, as it gives ``seed``.
        seed: Seed of the order, the same in all processes; drawn if None.
        shuffle: True: it is there because configs that inherit keep the
            options of ``InfiniteSampler``.
        classes: Names of the rare classes, if not those below the median.
        max_factor: Largest factor of an image, 1 or more.
        ignore_index: Label of pixels without class.

    Raises:
        OSError: A label is missing or cannot be read.
        ValueError: An argument is out of range; the data set has no list of
            classes or no labels, or a label has other values.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int | None = None,
        shuffle: bool = True,
        classes: Sequence[str] | None = None,
        max_factor: float = 10.0,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        if not shuffle:
            raise ValueError(
                'shuffle=False: RareClassSampler draws at random; expected '
                'True, or InfiniteSampler'
            )
        require(
            'max_factor',
            max_factor,
            is_number(max_factor, 1),
            'a number of 1 or more',
        )
        require(
            'ignore_index',
            ignore_index,
            is_integer(ignore_index),
            'an integer, such as 255',
        )
        names = getattr(dataset, 'metainfo', {}).get('classes')
        if not names:
            raise ValueError(
                f'RareClassSampler: {type(dataset).__name__} has no classes '
                'in its metainfo: expected a data set of MMSeg'
            )
        chosen = None if classes is None else _indices_of(classes, names)
        super().__init__(dataset, seed=seed)
        counts = count_classes(dataset, len(names), ignore_index)
        _warn_of_missing(dataset, counts, names)
        self.factors = repeat_factors(counts, chosen, max_factor)

    def _infinite_indices(self) -> Iterator[int]:
        """Yield images, round by round, for all processes."""
        chance = torch.Generator()
        chance.manual_seed(self.seed)
        factors = torch.from_numpy(self.factors)
        while True:
            more = torch.rand(len(factors), generator=chance) < factors.frac()
            times = factors.long() + more
            round_ = torch.arange(len(factors)).repeat_interleave(times)
            order = torch.randperm(len(round_), generator=chance)
            yield from round_[order].tolist()


def repeat_factors(
    counts: np.ndarray,
    rare: Sequence[int] | None = None,
    max_factor: float = 10.0,
) -> np.ndarray:
    """Return how often each image is to come in a round.

    Args:
        counts: Pixels of each class, (images, classes).
        rare: Indices of the rare classes; those whose mean share is below the
            median of all that occur if None.
        max_factor: Largest factor, 1 or more.

    Returns:
        float64 (images,): the square root of how many times as much as on
        average an image has of a rare class, for the class of which it has
        most; between 1 and ``max_factor``.
    """
    # An image without labels has no share of anything.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    means = shares.mean(axis=0)
    occurs = means > 0
    if rare is None:
        below = means < np.median(means[occurs]) if occurs.any() else occurs
        rare = np.flatnonzero(below & occurs).tolist()
    rare = [index for index in rare if occurs[index]]
    times = shares[:, rare] / means[rare]
    most: np.ndarray = np.sqrt(times).max(axis=1, initial=1)
    return most.clip(max=max_factor)


def _indices_of(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the places of classes in the list of all.

    Raises:
        ValueError: One is not in it, or there is none.
    """
    # A text would be taken for a list of letters.
    fits = isinstance(classes, Sequence) and not isinstance(classes, str)
    require(
        'classes',
        classes,
        fits and bool(classes) and all(name in names for name in classes),
        'a list of names of the rare classes, out of '
        f'{listing(names, _NAMED)}',
    )
    return [list(names).index(name) for name in classes]


def _warn_of_missing(
    dataset: Any, counts: np.ndarray, names: Sequence[str]
) -> None:
    """Name the classes that no image has."""
    missing = [names[i] for i in unseen_classes(dataset, counts, names)]
    if missing:
        print_log(
            f'RareClassSampler: none of the {len(counts)} images has the '
            f'class(es) {listing(missing, _NAMED)}, so they cannot be drawn; '
            'check the class list and the masks',
            logger='current',
            level=logging.WARNING,
        )
