"""RoI layers that take any number of RoIs, in any floating type."""

from typing import Any

import torch
from torch import Tensor

__all__ = ['align']


def align(layer: Any, features: Tensor, rois: Tensor) -> Tensor:
    """Return what a RoI layer reads from a map.

    The layers of MMCV want RoIs in the type of the map. In float16 that would
    put coordinates off by up to a pixel, in bfloat16 by up to four, and
    bfloat16 the layers do not take at all. So both are computed in single
    precision. Without RoIs some layers fail; the result here is empty, but
    still a function of the map, as distributed training needs it.

    Args:
        layer: A RoI layer of MMCV with an ``output_size``, such as
            ``RoIAlign``.
        features: A map of the level of the layer, (N, C, H, W).
        rois: RoIs as rows of image index, x1, y1, x2, y2, in pixels of the
            input image, (R, 5).

    Returns:
        Features of the RoIs, (R, C, h, w), in the type of the map.
    """
    if not len(rois):
        empty = features[:0, :, :1, :1]
        return empty.expand(-1, -1, *layer.output_size)
    half = features.dtype in (torch.float16, torch.bfloat16)
    full = features.float() if half else features
    return layer(full, rois.to(full.dtype)).to(features.dtype)
