"""Losses for rare classes against MMSeg's, forward and backward.

Logits of 11 classes for four crops of 320x240, on one thread; a tenth of the
pixels is ignored, and three of four are right.
"""

from collections.abc import Callable

import torch
from mmseg.models.losses import CrossEntropyLoss, LovaszLoss
from torch import Tensor, nn

from mmseg_ext.models import BalancedCrossEntropy, FastLovaszLoss
from timing import Row, interleaved

#: N, C, H and W.
SHAPE = (4, 11, 240, 320)
IGNORED = 255
ROUNDS = 15

#: Ours, and MMSeg's beside it.
PAIRS: tuple[tuple[nn.Module, nn.Module], ...] = (
    (FastLovaszLoss(), LovaszLoss(reduction='none')),
    (BalancedCrossEntropy(), CrossEntropyLoss(avg_non_ignore=True)),
)


def run() -> list[Row]:
    """Time each pair, after a check that both have the same value."""
    logits, label = make_batch()
    rows = []
    for pair in PAIRS:
        ways = {
            type(loss).__name__: both_ways(loss, logits, label)
            for loss in pair
        }
        values = [way() for way in ways.values()]
        torch.testing.assert_close(*values, rtol=1e-5, atol=0)
        ours, other = interleaved(ways, ROUNDS).values()
        name, baseline = ways
        what = f'{name}, {SHAPE[1]} classes, {SHAPE[0]} crops of '
        what += f'{SHAPE[3]}x{SHAPE[2]}'
        rows.append(Row(what, f"MMSeg's `{baseline}`", ours, other))
    return rows


def make_batch() -> tuple[Tensor, Tensor]:
    """Return logits that want gradients, and labels."""
    generator = torch.Generator().manual_seed(0)
    batch, classes, *size = SHAPE
    label = torch.randint(classes, (batch, *size), generator=generator)
    logits = torch.randn(SHAPE, generator=generator)
    # So much higher than ten others that three of four are right.
    logits.scatter_add_(1, label[:, None], torch.full(SHAPE, 2.5))
    label[torch.rand(label.shape, generator=generator) < 0.1] = IGNORED
    return logits.requires_grad_(), label


def both_ways(
    loss: nn.Module, logits: Tensor, label: Tensor
) -> Callable[[], Tensor]:
    """Return a function that passes forward and backward."""

    def call() -> Tensor:
        logits.grad = None
        value = loss(logits, label, ignore_index=IGNORED)
        value.backward()
        return value.detach()

    return call
