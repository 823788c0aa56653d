"""RoI layers on any number of RoIs, in any floating type."""

import torch
from torch import Tensor, nn


def align(layer: nn.Module, features: Tensor, rois: Tensor) -> Tensor:
    """Apply a RoI layer.

    The layers of MMCV want RoIs of the type of the map. In half precision
    coordinates would be off by up to a pixel, or four in bfloat16, which the
    layers do not take at all; so these types are computed in single
    precision. Without RoIs some layers fail, and here the result is empty
    but still a function of the map, as distributed training needs it.

    Args:
        layer: A RoI layer of MMCV, such as ``RoIAlign``, that knows its
            ``output_size``.
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
