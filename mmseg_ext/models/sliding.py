"""Sliding windows over an image, of which a strip is held at a time."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_ext.utils.arguments import is_integer, require

__all__ = ['Window', 'check_windows', 'count_windows', 'slide_strips']


class Window(NamedTuple):
    """A part of an image, in pixels; ``bottom`` and ``right`` are outside."""

    top: int
    bottom: int
    left: int
    right: int


def check_windows(crop_size: Any, stride: Any) -> None:
    """Check that windows leave nothing out.

    Args:
        crop_size: Height and width of a window, in pixels.
        stride: By how many pixels the next one is below, or to the right.

    Raises:
        ValueError: One is no pair of integers from 1, or the stride is larger
            than the window.
    """
    for name, pair in (('crop_size', crop_size), ('stride', stride)):
        fits = isinstance(pair, Sequence) and len(pair) == 2
        fits = fits and all(is_integer(side, 1) for side in pair)
        require(name, pair, fits, 'height and width in pixels, such as (2, 3)')
    if stride[0] > crop_size[0] or stride[1] > crop_size[1]:
        raise ValueError(
            f'stride={stride} is larger than crop_size={crop_size}: no window '
            'would reach the pixels between them; expected at most '
            f'{crop_size}'
        )


def count_windows(
    size: Sequence[int], crop_size: Sequence[int], stride: Sequence[int]
) -> int:
    """Return how many windows there are on an image.

    Args:
        size: Height and width of the image.
        crop_size: Those of a window.
        stride: By how many pixels the next one is below, or to the right.
    """
    rows, columns = (
        len(_starts(*sides))
        for sides in zip(size, crop_size, stride, strict=True)
    )
    return rows * columns


def slide_strips(
    decode: Callable[[Sequence[Window]], Tensor],
    size: Sequence[int],
    crop_size: Sequence[int],
    stride: Sequence[int],
    window_batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[int, Tensor]]:
    """Average the logits of windows, from the top of the image down.

    The windows, the order in which their logits are added and so each bit of
    the results are those of ``EncoderDecoder.slide_inference`` of MMSeg. That
    adds each window padded to the size of the image, and holds the logits of
    the whole image; this holds those of a row of windows.

    Args:
        decode: Gets up to ``window_batch`` windows and returns their logits,
            window after window: (windows * B, C, h, w), for B images.
        size: Height and width of the images.
        crop_size: Those of a window; one that is larger is cut to the image.
        stride: By how many pixels the next window is below, or to the right.
        window_batch: How many windows of a row ``decode`` gets at once.
        dtype: In which the logits are added up.

    Yields:
        The top row of a strip, and its logits (B, C, rows, W). Strips follow
        one another without a gap, and each is overwritten by the next.

    Raises:
        ValueError: See :func:`check_windows`.
    """
    check_windows(crop_size, stride)
    height, width = size
    tops = _starts(height, crop_size[0], stride[0])
    lefts = _starts(width, crop_size[1], stride[1])
    rows = _cover(height, crop_size[0], tops)
    columns = _cover(width, crop_size[1], lefts)
    sums: Tensor | None = None
    for top, next_top in pairwise([*tops, height]):
        bottom = min(top + crop_size[0], height)
        windows = [
            Window(top, bottom, left, min(left + crop_size[1], width))
            for left in lefts
        ]
        for start in range(0, len(windows), window_batch):
            batch = windows[start : start + window_batch]
            parts = decode(batch).chunk(len(batch))
            for window, part in zip(batch, parts, strict=True):
                if sums is None:
                    shape = (*part.shape[:2], bottom - top, width)
                    sums = part.new_zeros(shape, dtype=dtype)
                sums[..., window.left : window.right] += part
        assert sums is not None  # an image has windows
        done = next_top - top
        counts = rows[top:next_top, None] * columns
        strip = sums[:, :, :done]
        strip /= counts.to(strip)
        yield top, strip
        # All windows are of one height: the rest moves up.
        rest = sums[:, :, done:].clone()
        sums[:, :, : rest.shape[2]] = rest
        sums[:, :, rest.shape[2] :] = 0


def _starts(length: int, crop: int, stride: int) -> list[int]:
    """Return where windows begin along an axis."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(i * stride, length - crop), 0) for i in range(count)]


def _cover(length: int, crop: int, starts: Sequence[int]) -> Tensor:
    """Return how many windows there are at each pixel along an axis."""
    counts = torch.zeros(length, dtype=torch.int64)
    for start in starts:
        counts[start : start + crop] += 1
    return counts
