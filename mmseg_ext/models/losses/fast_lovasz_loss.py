"""Lovasz-Softmax without sorting."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.arguments import is_integer, is_number, require

__all__ = ['FastLovaszLoss']

#: Steps of the errors, which are from 0 to 1. The order of errors of one step
#: is not known, which changes the loss by less than a step.
_STEPS = 1 << 14


@MODELS.register_module()
class FastLovaszLoss(nn.Module):
    """MMSeg's ``LovaszLoss`` over the batch, in a fraction of its time.

    The loss stands for one minus the mean IoU: each class counts alike, be it
    large or small. Source: Berman et al., "The Lovasz-Softmax loss",
    arXiv:1705.08790, equations 8 and 11.

    There a pixel's error is weighted by how much IoU is lost between it and
    all larger errors, for which MMSeg sorts the errors of each class. Here
    they are counted in a histogram of 16,384 steps instead. The value is that
    of MMSeg up to a step, the gradient that of errors moved by less than one.

    Where all pixels are ignored, the loss is 0, and so is its gradient. All is
    computed in 32 bits, also with AMP. Logits that are NaN make it NaN.

    Args:
        classes: ``'present'`` takes the mean over the classes that have a
            pixel in the batch, ``'all'`` over all: the loss of a class that
            has none is its largest probability.
        loss_weight: Factor of the loss.
        loss_name: Its name in the log; one that does not begin with ``loss_``
            is logged and not trained.
        ignore_index: Label that takes no part, where the head does not say.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(
        self,
        classes: str = 'present',
        loss_weight: float = 1.0,
        loss_name: str = 'loss_lovasz',
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        super().__init__()
        if classes not in ('present', 'all'):
            raise ValueError(
                f"classes must be 'present' or 'all', got {classes!r}"
            )
        require(
            'ignore_index',
            ignore_index,
            is_integer(ignore_index),
            'an integer, such as 255',
        )
        require(
            'loss_weight',
            loss_weight,
            is_number(loss_weight) and math.isfinite(loss_weight),
            'a finite number',
        )
        self.classes = classes
        self.loss_weight = loss_weight
        self.ignore_index = ignore_index
        self._loss_name = loss_name

    @property
    def loss_name(self) -> str:
        """The name of the loss in the log."""
        return self._loss_name

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Compute the loss.

        Args:
            cls_score: Logits, (N, C, ...), such as (N, C, H, W), of two
                classes or more.
            label: Integers from 0 to C - 1, or ``ignore_index``, (N, ...).
            weight: Taken, as MMSeg's does, and not used.
            ignore_index: Label that takes no part.
            **kwargs: Likewise not used.

        Returns:
            The loss, a scalar in 32 bits.

        Raises:
            ValueError: Logits and labels do not fit, or there is one class
                alone.
        """
        ignored = self.ignore_index if ignore_index is None else ignore_index
        _check(cls_score, label, ignored)
        label = label.reshape(len(label), 1, -1)
        scores = cls_score.float().softmax(1).reshape(*cls_score.shape[:2], -1)
        with torch.no_grad():
            slopes, most = _slopes(scores, label, ignored, self.classes)
        return self.loss_weight * (most + torch.sum(scores * slopes))


def _check(cls_score: Tensor, label: Tensor, ignored: int) -> None:
    """Check logits and labels."""
    shape = cls_score.shape
    if len(shape) < 2 or label.shape != (*shape[:1], *shape[2:]):
        raise ValueError(
            'FastLovaszLoss needs logits (N, C, ...) and labels (N, ...), got '
            f'{tuple(shape)} and {tuple(label.shape)}'
        )
    if shape[1] == 1:
        raise ValueError(
            'FastLovaszLoss compares classes, and the head has one channel '
            'alone: with num_classes=1 give the rest a class of its own, such '
            "as classes=('background', 'a') with num_classes=2; with "
            'num_classes=2 and out_channels=1 set out_channels=2, or use '
            "type='LovaszLoss', loss_type='binary'"
        )
    wrong = label[(label != ignored) & ((label < 0) | (label >= shape[1]))]
    if len(wrong):
        raise ValueError(
            f'label {wrong[0].item()} is no class: expected 0 to '
            f'{shape[1] - 1}, or {ignored}, which is ignored'
        )


def _slopes(
    scores: Tensor, label: Tensor, ignored: int, classes: str
) -> tuple[Tensor, Tensor]:
    """Return how the loss depends on each score.

    An error is a score, or one minus the score of the pixel's own class. So
    the loss is linear in the scores as long as the errors keep their order.

    Args:
        scores: float32 (N, C, pixels), 0 to 1.
        label: (N, 1, pixels).
        ignored: Label that takes no part.
        classes: ``'present'`` or ``'all'``.

    Returns:
        float32 (N, C, pixels), what to multiply the scores by, and the loss
        were they 0, a scalar.
    """
    number = scores.shape[1]
    row = torch.arange(number, device=scores.device)[:, None]
    own = label == row
    # Of each class and step first the pixels of others, then its own; a last
    # step has what is ignored.
    places = scores.sub(own.float()).abs_().mul_(_STEPS - 1).int()
    # What is no number must stay within the table; the loss is none either.
    places.clamp_(0, _STEPS - 1).masked_fill_(label == ignored, _STEPS)
    places.add_((row * (_STEPS + 1)).int()).mul_(2).add_(own)
    counts = torch.bincount(
        places.flatten(), minlength=number * (_STEPS + 1) * 2
    ).view(number, _STEPS + 1, 2)[:, :-1]
    of_others, of_own = _weights(*counts.double().unbind(2))
    shares = torch.ones_like(of_own[:, :1])
    hits = counts[..., 1]
    if classes == 'present':
        shares = hits.any(1, keepdim=True).double()
    shares /= shares.sum().clamp(1)
    most = (shares * of_own * hits).sum().float()
    table = torch.stack([shares * of_others, -shares * of_own], 2).float()
    table = F.pad(table, (0, 0, 0, 1)).flatten()
    # Much quicker than table[places].
    slopes = table.index_select(0, places.flatten()).view_as(places)
    return slopes, most


def _weights(others: Tensor, hits: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much IoU an error of each class and step costs.

    Args:
        others: float64 (C, steps), the pixels of other classes in each step,
            the errors rising.
        hits: float64 (C, steps), those of the class itself.

    Returns:
        float64 (C, steps) twice: for a pixel of another class, and of its own.
    """
    total = hits.sum(1, keepdim=True)
    # Were all errors as large or larger wrong, so much would be left of the
    # intersection, and the union would have grown to so much.
    left = total - hits.flip(1).cumsum(1).flip(1)
    after = total + others.flip(1).cumsum(1).flip(1)
    before = after - others
    # Within a step own pixels and others come in either order: the mean.
    of_others = (left + hits / 2) / (before * after).clamp(1)
    of_own = (1 / before.clamp(1) + 1 / after.clamp(1)) / 2
    # Where a class has no pixel, the largest error takes its whole IoU.
    largest = (before == 0) & (others > 0)
    return of_others.where(~largest, 1 / others), of_own
