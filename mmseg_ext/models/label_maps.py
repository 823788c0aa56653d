"""Label maps from logits, without the logits of all classes in full size."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ['label_map']


def label_map(
    logits: Tensor,
    finish: Callable[[Tensor], Tensor],
    threshold: float | None = None,
) -> Tensor:
    """Return the class of each pixel (to be made lean)."""
    full = finish(logits)[0]
    if len(full) == 1:
        return torch.gt(full.sigmoid(), threshold or 0).to(torch.uint8)
    labels = full.argmax(0, keepdim=True)
    return labels.to(torch.uint8) if len(full) <= 255 else labels
