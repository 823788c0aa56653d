"""Sliding windows over an image."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmseg_ext.utils.arguments import is_integer, require

__all__ = [
    'Window',
    'check_windows',
    'count_windows',
    'slide_strips',
    'slide_whole',
]


class Window(NamedTuple):
    """A part of an image, in pixels; ``bottom`` and ``right`` are outside."""

    top: int
    bottom: int
    left: int
    right: int


def check_windows(
    crop_size: Any,
    stride: Any,
    names: Sequence[str] = ('crop_size', 'stride'),
) -> None:
    """Check that windows leave nothing out.

    Args:
        crop_size: Height and width of a window, in pixels.
        stride: By how many pixels the next one is below, or to the right.
        names: What errors call the two.

    Raises:
        ValueError: One is no pair of integers from 1, or the stride is larger
            than the window.
    """
    for name, pair in zip(names, (crop_size, stride), strict=True):
        fits = isinstance(pair, Sequence) and len(pair) == 2
        fits = fits and all(is_integer(side, 1) for side in pair)
        require(
            name,
            pair,
            fits,
            'height and width such as (512, 512), both 1 or more',
        )
    if stride[0] > crop_size[0] or stride[1] > crop_size[1]:
        raise ValueError(
            f'{names[1]}={stride} is larger than {names[0]}={crop_size}: no '
            'window would reach the pixels between them; expected at most '
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


def slide_whole(
    decode: Callable[[Sequence[Window]], Tensor],
    size: Sequence[int],
    crop_size: Sequence[int],
    stride: Sequence[int],
    window_batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Average the logits of windows over the whole image.

    The windows, the order in which their logits are added and so each bit of
    the result are those of ``EncoderDecoder.slide_inference`` of MMSeg. That
    adds each window padded to the size of the image; this adds it where it
    belongs.

    Args:
        decode: Gets up to ``window_batch`` windows and returns their logits,
            window after window: (windows * B, C, h, w), for B images.
        size: Height and width of the images.
        crop_size: Those of a window; one that is larger is cut to the image.
        stride: By how many pixels the next window is below, or to the right.
        window_batch: How many windows of a row ``decode`` gets at once.
        dtype: In which the logits are added up.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: See :func:`check_windows`.
    """
    grid = _Grid.over(size, crop_size, stride)
    sums: Tensor | None = None
    for windows in grid.windows:
        for window, part in _decoded(decode, windows, window_batch):
            if sums is None:
                sums = part.new_zeros((*part.shape[:2], *size), dtype=dtype)
            sums[
                ..., window.top : window.bottom, window.left : window.right
            ] += part
    assert sums is not None  # an image has windows
    sums /= grid.counts().to(sums)
    return sums


def slide_strips(
    decode: Callable[[Sequence[Window]], Tensor],
    size: Sequence[int],
    crop_size: Sequence[int],
    stride: Sequence[int],
    window_batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[int, Tensor]]:
    """Average the logits of windows, from the top of the image down.

    They are those of :func:`slide_whole`, of which this holds a row of
    windows.

    Args:
        decode: See :func:`slide_whole`.
        size: Likewise.
        crop_size: Likewise.
        stride: Likewise.
        window_batch: Likewise.
        dtype: Likewise.

    Yields:
        The top row of a strip, and its logits (B, C, rows, W). Strips follow
        one another without a gap, and each is overwritten by the next.

    Raises:
        ValueError: See :func:`check_windows`.
    """
    grid = _Grid.over(size, crop_size, stride)
    tops = [windows[0].top for windows in grid.windows]
    sums: Tensor | None = None
    done = 0
    for windows, next_top in zip(
        grid.windows, [*tops[1:], size[0]], strict=True
    ):
        top, bottom, *_ = windows[0]
        if sums is not None:
            _move_up(sums, done)
        for window, part in _decoded(decode, windows, window_batch):
            if sums is None:
                shape = (*part.shape[:2], bottom - top, size[1])
                sums = part.new_zeros(shape, dtype=dtype)
            sums[..., window.left : window.right] += part
        assert sums is not None  # a row has windows
        done = next_top - top
        strip = sums[:, :, :done]
        strip /= grid.counts(slice(top, next_top)).to(strip)
        yield top, strip


class _Grid(NamedTuple):
    """The windows over an image.

    Attributes:
        windows: Row after row of them, all of one size.
        rows: How many of these rows there are at each pixel, (H,).
        columns: Likewise, (W,).
    """

    windows: list[list[Window]]
    rows: Tensor
    columns: Tensor

    @classmethod
    def over(
        cls,
        size: Sequence[int],
        crop_size: Sequence[int],
        stride: Sequence[int],
    ) -> '_Grid':
        """Place windows over an image."""
        check_windows(crop_size, stride)
        height, width = size
        tops = _starts(height, crop_size[0], stride[0])
        lefts = _starts(width, crop_size[1], stride[1])
        windows = [
            [
                Window(
                    top,
                    min(top + crop_size[0], height),
                    left,
                    min(left + crop_size[1], width),
                )
                for left in lefts
            ]
            for top in tops
        ]
        return cls(
            windows,
            _cover(height, crop_size[0], tops),
            _cover(width, crop_size[1], lefts),
        )

    def counts(self, rows: slice = slice(None)) -> Tensor:
        """Return how many windows there are at each pixel of some rows."""
        return self.rows[rows, None] * self.columns


def _decoded(
    decode: Callable[[Sequence[Window]], Tensor],
    windows: Sequence[Window],
    window_batch: int,
) -> Iterator[tuple[Window, Tensor]]:
    """Yield the windows of a row and the logits of each, (B, C, h, w)."""
    for start in range(0, len(windows), window_batch):
        batch = windows[start : start + window_batch]
        yield from zip(batch, decode(batch).chunk(len(batch)), strict=True)


def _move_up(sums: Tensor, rows: int) -> None:
    """Move what is below some rows to the top, and fill up with zeros.

    In place: memory that is new costs more than what is done with it.
    """
    rest = sums.shape[2] - rows
    # No part overlaps the one that it is moved to.
    for start in range(0, rest, rows):
        end = min(start + rows, rest)
        sums[:, :, start:end] = sums[:, :, start + rows : end + rows]
    sums[:, :, rest:] = 0


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
