"""Weights of classes, made of the training set before it is trained with."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from mmseg_ext.engine.class_counts import count_classes
from mmseg_ext.engine.label_checks import unseen_classes
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.class_weights import class_weights
from mmseg_ext.utils.text import listing, printable

__all__ = ['ClassWeightsError', 'ClassWeightsHook', 'WeighingLoss']


class ClassWeightsError(ValueError):
    """What the user can mend: weights cannot be made, or do not fit."""


@runtime_checkable
class WeighingLoss(Protocol):
    """A loss that can weigh classes, such as ``BalancedCrossEntropy``."""

    #: The rule by which its weights are made; None where they are given.
    class_weight_rule: str | None
    #: The least and the largest weight; None where there is no rule.
    weight_bounds: tuple[float, float] | None

    def set_class_weight(self, weights: Sequence[float] | np.ndarray) -> None:
        """Take a weight for each class."""

    def check_channels(self, channels: int) -> None:
        """Check that logits of so many channels can be trained with it.

        Raises:
            ValueError: They cannot.
        """


class _Place(NamedTuple):
    """Where in a model a loss is.

    Attributes:
        name: The loss, such as ``'decode_head.loss_decode'``.
        loss: It.
        channels: Channels of the logits that it is the loss of.
        num_classes: Number of classes of their head.
        ignore_index: Label that takes no part.
    """

    name: str
    loss: WeighingLoss
    channels: int
    num_classes: int
    ignore_index: int


@HOOKS.register_module()
class ClassWeightsHook(Hook):
    """Hook that makes the weights of classes that losses ask for.

    Before training, also before one that is resumed, the pixels of each class
    in the labels of the training set are counted, once, as the training reads
    them but for crops. Each ``BalancedCrossEntropy`` of the model whose
    ``class_weight`` is a rule gets the weights, which are logged. A class
    without a pixel gets weight 1, and a warning names it. Where no loss has
    a rule nothing is counted; that all losses fit their heads is checked in
    any case.

    In a distributed training each process counts, and all take what the first
    one has counted.

    Args:
        max_images: In larger data sets so many images are counted, spread
            over the whole, which the log says; None counts all.

    Raises:
        ValueError: ``max_images`` is not an integer of 1 or above.
    """

    def __init__(self, max_images: int | None = 2000) -> None:
        if max_images is not None and (
            type(max_images) is not int or max_images < 1
        ):
            raise ValueError(
                'max_images must be a number of images, an integer of 1 or '
                f'above, or None for all, got {max_images!r}'
            )
        self.max_images = max_images

    def before_train(self, runner: Runner) -> None:
        """Check all losses, and fill those that have a rule.

        Raises:
            ClassWeightsError: A loss does not fit its head, or the labels
                cannot be counted.
        """
        dataset = runner.train_dataloader.dataset
        known: dict[tuple[int, int], np.ndarray] = {}
        for place in _places(runner.model):
            try:
                place.loss.check_channels(place.channels)
                if place.loss.class_weight_rule:
                    key = place.num_classes, place.ignore_index
                    if key not in known:
                        known[key] = self._count(dataset, *key)
                    self._fill(runner, place, known[key])
            except (OSError, TypeError, ValueError) as error:
                raise ClassWeightsError(
                    f'model.{place.name}: {" ".join(str(error).split())}'
                ) from error

    def _count(
        self, dataset: Any, num_classes: int, ignore_index: int
    ) -> np.ndarray:
        """Return what the first process counts, (images, classes)."""
        counts = torch.from_numpy(
            count_classes(
                dataset,
                num_classes,
                ignore_index,
                max_images=self.max_images,
            )
        )
        broadcast(counts)
        return counts.numpy()

    def _fill(self, runner: Runner, place: _Place, counts: np.ndarray) -> None:
        """Hand a loss its weights, and log them."""
        rule, bounds = place.loss.class_weight_rule, place.loss.weight_bounds
        assert rule is not None
        weights = class_weights(counts, rule, bounds)
        place.loss.set_class_weight(weights)
        dataset = runner.train_dataloader.dataset
        names = _names(dataset, len(weights))
        listed = ', '.join(
            f'{name} {weight:.4g}'
            for name, weight in zip(names, weights, strict=True)
        )
        total = len(dataset)
        images = f'{len(counts)} image(s)'
        if len(counts) < total:
            images = (
                f'{len(counts)} of {total} images, spread over all '
                '(max_images of ClassWeightsHook)'
            )
        runner.logger.info(
            f'class weights of model.{place.name} by {rule}, from the pixels '
            f'of {images}: {listed}'
        )
        missing = [
            f'{names[index]} ({index})'
            for index in unseen_classes(dataset, counts, names)
        ]
        if missing:
            runner.logger.warning(
                f'no pixel of {images} has the class(es) {listing(missing)}: '
                f'their weight in model.{place.name} is 1'
            )


def _places(model: nn.Module) -> list[_Place]:
    """Return the losses that can weigh classes, each with its head."""
    found = {}
    # What is within another part comes after it, and is nearer to the loss.
    for name, part in model.named_modules():
        num_classes = getattr(part, 'num_classes', None)
        if not isinstance(num_classes, int):
            continue
        channels = getattr(part, 'out_channels', None)
        ignored = getattr(part, 'ignore_index', None)
        for inner, loss in part.named_modules():
            if isinstance(loss, WeighingLoss):
                place = '.'.join(filter(None, [name, inner]))
                found[loss] = _Place(
                    place.removeprefix('module.'),
                    loss,
                    channels if isinstance(channels, int) else num_classes,
                    num_classes,
                    ignored if isinstance(ignored, int) else IGNORE_INDEX,
                )
    return list(found.values())


def _names(dataset: Any, count: int) -> list[str]:
    """Return the names of classes; numbers where there are none."""
    names = getattr(dataset, 'metainfo', {}).get('classes') or ()
    known = [printable(name) for name in names[:count]]
    return [*known, *map(str, range(len(known), count))]
