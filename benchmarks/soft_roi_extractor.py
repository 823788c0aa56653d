"""Soft RoI selection against its steps written plainly.

512 RoIs of all sizes and 256 channels on the levels of an image of 1344x800,
forward and backward, on one thread. The baseline is a list of four RoIAlign
calls, which are concatenated for the attention and summed with its weights.

Run by itself it prints the peak memory of both, beside the maps.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from common import in_own_process, pyramid
from mmseg_ext.models.roi_extractors.soft_roi_extractor import (
    SoftRoIExtractor,
)
from timing import Row, interleaved

#: Height and width.
SIZE = (800, 1344)
STRIDES = [4, 8, 16, 32]
CHANNELS = 256
ROIS = 512
ROUNDS = 5


def run() -> list[Row]:
    """Time forward and backward pass."""
    ways = make_ways()
    torch.testing.assert_close(*(way() for way in ways.values()))
    times = interleaved(
        {name: both_ways(way) for name, way in ways.items()}, ROUNDS
    )
    return [
        Row(
            f'SoftRoIExtractor, {ROIS} RoIs',
            'RoIAlign and attention, plainly',
            times['ours'],
            times['plain'],
        )
    ]


def make_ways() -> dict[str, Callable[[], Tensor]]:
    """Return both ways to extract features, with the same weights."""
    torch.manual_seed(0)
    extractor = SoftRoIExtractor(
        {'type': 'RoIAlign', 'output_size': 7, 'sampling_ratio': 2},
        CHANNELS,
        STRIDES,
    )
    maps = pyramid(SIZE, STRIDES, [CHANNELS] * len(STRIDES))
    rois = make_rois()
    return {
        'ours': lambda: extractor(maps, rois),
        'plain': lambda: plain(extractor, maps, rois),
    }


def make_rois() -> Tensor:
    """Make RoIs with sides of 16 to 512 pixels within the image."""
    height, width = SIZE
    sides = 16 * 32 ** torch.rand(ROIS, 2)
    corners = torch.rand(ROIS, 2) * (torch.tensor([width, height]) - sides)
    return torch.cat([torch.zeros(ROIS, 1), corners, corners + sides], 1)


def plain(
    extractor: SoftRoIExtractor, maps: list[Tensor], rois: Tensor
) -> Tensor:
    """Extract features step by step."""
    levels = [
        layer(level, rois)
        for layer, level in zip(extractor.roi_layers, maps, strict=True)
    ]
    joined = torch.cat(levels, dim=1)
    weights = extractor.spatial_attention_conv(joined).sigmoid()
    return sum(
        weights[:, index, None] * level for index, level in enumerate(levels)
    )


def both_ways(way: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a function that passes forward and backward."""
    return lambda: way().sum().backward()


# Memory.


def pass_once(name: str | None) -> None:
    """Pass forward and backward in one way, or only make what both need."""
    ways = make_ways()
    # Memory that is only taken once, whatever is computed.
    torch.rand(1, 1, 64, 64, requires_grad=True).sum().backward()
    if name:
        both_ways(ways[name])()


def main() -> None:
    """Print the peak memory of both ways, beside the maps."""
    maps = in_own_process(pass_once, None)
    for name in ('ours', 'plain'):
        print(f'{name}: {in_own_process(pass_once, name) - maps:.0f} MiB')


if __name__ == '__main__':
    main()
