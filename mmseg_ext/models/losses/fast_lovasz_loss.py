"""Lovasz-Softmax without sorting."""

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_ext.formats.color_masks import IGNORE_INDEX

__all__ = ['FastLovaszLoss']

#: Steps of the errors, which are from 0 to 1. Errors of one step may change
#: places, which changes the loss by less than a step.
_STEPS = 1 << 14


@MODELS.register_module()
class FastLovaszLoss(nn.Module):
    """MMSeg's ``LovaszLoss`` over the batch, in a fraction of its time.

    The loss stands for one minus the mean IoU: each class counts alike, be it
    large or small. Source: Berman et al., "The Lovasz-Softmax loss",
    arXiv:1705.08790, equations 8 and 11.

    There a pixel's error is weighted by how much IoU is lost between it and
    all larger errors, for which MMSeg sorts the errors of each class. Here
    they are counted in a histogram of 16,384 steps instead. Value and
    gradient are those of MMSeg up to a step.

    Where all pixels are ignored, the loss is 0, and so is its gradient.

    Args:
        classes: ``'present'`` takes the mean over the classes that have a
            pixel in the batch, ``'all'`` over all.
        loss_weight: Factor of the loss.
        loss_name: Its name in the log.
        ignore_index: Label that takes no part, where the head does not say.

    Raises:
        ValueError: ``classes`` is none of these.
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
            ValueError: There is one class alone.
        """
        classes = cls_score.shape[1]
        if classes < 2:
            raise ValueError(
                'FastLovaszLoss compares classes, and the head has one '
                'channel alone (out_channels=1): set out_channels=2, or use '
                "type='LovaszLoss', loss_type='binary'"
            )
        ignored = self.ignore_index if ignore_index is None else ignore_index
        label = label.flatten(1)[:, None]
        scores = cls_score.float().flatten(2).softmax(1)
        with torch.no_grad():
            slopes, most = _slopes(scores, label, ignored, self.classes)
        return self.loss_weight * (most + torch.sum(scores * slopes))


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
    ).view(number, _STEPS + 1, 2)
    others, hits = counts[:, :-1].double().unbind(2)
    total = hits.sum(1, keepdim=True)
    # Were all errors as large or larger wrong, so much would be left of the
    # intersection, and the union would have grown to so much.
    left = total - hits.flip(1).cumsum(1).flip(1)
    after = total + others.flip(1).cumsum(1).flip(1)
    before = (after - others).clamp(1)
    after = after.clamp(1)
    # Within a step own pixels and others come in either order: the mean.
    of_others = (left + hits / 2) / (before * after)
    of_own = (1 / before + 1 / after) / 2
    weights = torch.ones_like(total)
    if classes == 'present':
        weights = (total > 0).double()
    weights /= weights.sum().clamp(1)
    table = counts.new_zeros(counts.shape, dtype=torch.float32)
    table[:, :-1, 0] = weights * of_others
    table[:, :-1, 1] = -weights * of_own
    most = (weights * of_own * hits).sum().float()
    return table.flatten()[places], most
