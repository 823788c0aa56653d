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
from mmseg_ext.formats.color_masks import IGNORE_INDEX, VOID_NAMES
from mmseg_ext.utils.text import listing

__all__ = ['RareClassSampler', 'repeat_factors']

#: So many classes are named in a warning.
_NAMED = 30


@DATA_SAMPLERS.register_module()
class RareClassSampler(InfiniteSampler):
    """Draw images with rare classes more often.

    The rule is that of LVIS (Gupta et al. 2019, repeat factor sampling),
    with classes counted in label maps. A class that is in the share f of all
    images has the factor ``max(1, sqrt(threshold / f))``, and an image the
    largest factor of its classes. In each round through the data an image
    comes as often as its factor says: 2.3 is twice, and with a chance of 0.3
    once more. So every image comes in every round, and none comes too often,
    be there 40 images or 70,000.

    In place of mmengine's ``InfiniteSampler``, for training by iterations::

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
        threshold: Share of the images, above 0 and at most 1. Classes in
            fewer images are rare.
        min_pixels: How many pixels an image has of a class that counts as in
            it, 1 or more.
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
        threshold: float = 0.5,
        min_pixels: int = 1,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        if not shuffle:
            raise ValueError(
                'shuffle=False: RareClassSampler draws at random; expected '
                'True, or InfiniteSampler'
            )
        if not 0 < threshold <= 1:
            raise ValueError(
                f'threshold={threshold}: expected a share of the images, '
                'above 0 and at most 1'
            )
        if min_pixels < 1:
            raise ValueError(
                f'min_pixels={min_pixels}: expected 1 pixel or more'
            )
        names = getattr(dataset, 'metainfo', {}).get('classes')
        if not names:
            raise ValueError(
                f'RareClassSampler: {type(dataset).__name__} has no classes '
                'in its metainfo: expected a data set of MMSeg'
            )
        super().__init__(dataset, seed=seed)
        counts = count_classes(dataset, len(names), ignore_index)
        present = counts >= min_pixels
        _warn_of_missing(present, names)
        self.factors = repeat_factors(present, threshold)

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


def repeat_factors(present: np.ndarray, threshold: float) -> np.ndarray:
    """Return how often each image is to come in a round.

    Args:
        present: bool (images, classes), whether an image has a class.
        shuffle: True: it is there because configs that inherit keep the
            options of ``InfiniteSampler``.
        threshold: Share of the images, above 0; classes in fewer are rare.

    Returns:
        float64 (images,), 1 or more: the largest of
        ``sqrt(threshold / f)`` over the classes of an image, where f is the
        share of the images that have the class, and 1.
    """
    share = present.mean(axis=0)
    # A class in no image has no factor that any image would get.
    factors = np.sqrt(threshold / np.where(share > 0, share, threshold))
    return np.where(present, factors, 1).max(axis=1, initial=1)


def _warn_of_missing(present: np.ndarray, names: Sequence[str]) -> None:
    """Name the classes that no image has."""
    missing = [
        name
        for name, images in zip(names, present.sum(axis=0), strict=True)
        if not images and name.lower() not in VOID_NAMES
    ]
    if missing:
        print_log(
            f'RareClassSampler: none of the {len(present)} images has the '
            f'class(es) {listing(missing, _NAMED)}, so they cannot be drawn; '
            'check the class list and the masks, or min_pixels',
            logger='current',
            level=logging.WARNING,
        )
