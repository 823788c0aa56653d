"""Labels from logits, a class at a time, in the memory of a few maps."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

__all__ = ['label_map']

#: Classes at a time on other devices than the CPU, where each call costs.
DEVICE_BLOCK = 4

#: The largest height + width of maps, and the number of them, that PyTorch
#: resizes on the CPU in channels-last order, whatever order they are in.
SMALL = 128
FEW = 3

#: Classes at a time in channels-last order. There PyTorch rounds classes that
#: fill a vector of the processor otherwise than those left over, and takes
#: four at least: a multiple of the length of any vector.
VECTORS = 64


@torch.no_grad()
def label_map(
    logits: Tensor,
    finish: Callable[[Tensor], Tensor],
    threshold: float | None = None,
) -> Tensor:
    """Return the labels of ``finish(logits)`` without all of it in memory.

    A running maximum over the classes gives exactly the labels of
    ``finish(logits).argmax(1)``: the first of equal classes, and the first
    NaN where there is one. Each class is rounded as if all were resized at
    once. In memory there is one class at a time, on other devices than the
    CPU a few. Where PyTorch resizes classes together there are all of them,
    from 128 on blocks of 64 to 127: if the logits are in channels-last order
    or, on the CPU, a resize makes maps as small as 64x64.

    Args:
        logits: (1, C, h, w), of any device and float type.
        finish: Takes any block of classes (1, k, h, w) to the final size
            (1, k, H, W), each class by itself: resizes (by PyTorch's
            `interpolate`), slices, flips. It is called more than once for
            some blocks.
        threshold: If there is one class only, a pixel is 1 where its
            probability is greater, else 0. Without effect for more classes.

    Returns:
        Labels (1, H, W), on the device of the logits: uint8 for up to 255
        classes, else int64.

    Raises:
        ValueError: There is one class, and no threshold.
    """
    classes = logits.shape[1]
    if classes == 1:
        if threshold is None:
            raise ValueError(
                'threshold=None: expected a number, as there is one class'
            )
        return (finish(logits)[0].sigmoid() > threshold).to(torch.uint8)
    blocks = _blocks(classes, _block_size(logits, finish))
    best, index = _top(logits, finish, blocks[0])
    best = best.clone()  # what `finish` gives may be the logits themselves
    kind = torch.uint8 if classes <= 255 else torch.int64
    labels = torch.zeros_like(best, dtype=kind).add_(index)
    for block in blocks[1:]:
        _take_over(best, labels, *_top(logits, finish, block))
    if best.isnan().any():
        for block in reversed(blocks):
            score, index = _top(logits, finish, block)
            labels.copy_(torch.where(score.isnan(), index, labels))
    return labels


def _top(
    logits: Tensor, finish: Callable[[Tensor], Tensor], block: slice
) -> tuple[Tensor, Tensor | int]:
    """Return the highest score (1, H, W) in a block, and its first class."""
    part = logits[:, block]
    if logits.is_contiguous(memory_format=torch.channels_last):
        part = part.contiguous(memory_format=torch.channels_last)
    scores = finish(part)[0]
    if len(scores) == 1:
        return scores, block.start
    score, index = scores.max(0, keepdim=True)
    return score, index + block.start


def _take_over(
    best: Tensor, labels: Tensor, score: Tensor, index: Tensor | int
) -> None:
    """Put later classes where they are better; NaN stays in the best."""
    wins = (score > best).view(torch.uint8).to(labels.dtype)
    torch.maximum(best, score, out=best)
    # The highest number is the latest class: much quicker than a mask.
    torch.maximum(labels, wins.mul_(index), out=labels)


def _blocks(classes: int, size: int) -> list[slice]:
    """Cut classes into blocks of a size; the last takes what is left over."""
    starts = range(0, max(classes - size, 0) + 1, size)
    return [
        slice(start, stop)
        for start, stop in zip(starts, [*starts[1:], classes], strict=True)
    ]


def _block_size(logits: Tensor, finish: Callable[[Tensor], Tensor]) -> int:
    """Return how many classes at a time are rounded as all of them are."""
    # Maps of one pixel are in both orders.
    if logits.stride(1) <= logits.stride(3):
        return VECTORS
    if logits.device.type != 'cpu':
        return DEVICE_BLOCK
    with _Resizes() as resizes:
        finish(logits[:, :1])
    small = logits.shape[1] == FEW or resizes.smallest <= SMALL
    return VECTORS if small else 1


class _Resizes(TorchFunctionMode):
    """Note the smallest height + width that is made by a resize."""

    smallest = sys.maxsize

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function."""
        result = func(*args, **(kwargs or {}))
        if func is interpolate:
            self.smallest = min(self.smallest, sum(result.shape[-2:]))
        return result
