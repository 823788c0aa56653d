"""Soft RoI selection: each RoI takes from all levels what it needs."""

import torch
from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import (
    BaseRoIExtractor,
)
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from torch import Tensor, nn
from torch.nn.functional import pad

from mmseg_ext.models.roi_extractors.align import align

__all__ = ['SoftRoIExtractor']

_XAVIER = {'type': 'Xavier', 'layer': 'Conv2d', 'distribution': 'uniform'}


@MODELS.register_module()
class SoftRoIExtractor(BaseRoIExtractor):
    """Sum of the RoI features of all levels, weighted at each position.

    ``SingleRoIExtractor``, which it can replace in any config, takes the
    features of a RoI from one level, chosen by its size. Here all levels are
    read, and a small network looks at all of them and gives each level a
    weight between 0 and 1 at each position. As in both extractors, there may
    be fewer maps than strides: the first levels are read, the others count as
    zero, and from a single map a RoI gets its plain features, unweighted.

    Source: Guo et al., "AugFPN: Improving Multi-scale Feature Learning for
    Object Detection", arXiv:1912.05384, section 3.4. The parameters have the
    names of the authors' code.

    Large RoIs are read on fine levels as well, where RoIAlign's adaptive
    sampling (``sampling_ratio=0``) takes very many points. The authors take
    two points of a bin in each direction (``sampling_ratio=2``).

    Args:
        roi_layer: Config of a RoI layer of MMCV.
        out_channels: Channels of the maps and of the result.
        featmap_strides: Strides of the levels, in pixels.
        finest_scale: Not used; configs of ``SingleRoIExtractor`` may set it.
        init_cfg: Initialization; Xavier's, uniform, by default.
    """

    def __init__(
        self,
        roi_layer: ConfigType,
        out_channels: int,
        featmap_strides: list[int],
        finest_scale: int = 56,
        init_cfg: OptMultiConfig = _XAVIER,
    ) -> None:
        super().__init__(roi_layer, out_channels, featmap_strides, init_cfg)
        self.finest_scale = finest_scale
        levels = len(featmap_strides)
        self.spatial_attention_conv = nn.Sequential(
            nn.Conv2d(out_channels * levels, out_channels, 1),
            nn.ReLU(),
            nn.Conv2d(out_channels, levels, 3, padding=1),
        )

    def forward(
        self,
        feats: tuple[Tensor, ...],
        rois: Tensor,
        roi_scale_factor: float | None = None,
    ) -> Tensor:
        """Return the features of RoIs.

        Args:
            feats: Maps of the first levels or of all, each (N, C, H, W).
            rois: RoIs as rows of image index, x1, y1, x2, y2, in pixels of
                the input image, (R, 5). There may be none.
            roi_scale_factor: Factor on the width and height of the RoIs.

        Returns:
            Features, (R, C, h, w) for a ``roi_layer`` of output size h, w.

        Raises:
            ValueError: There is no map, or there are more than strides.
        """
        missing = self.num_inputs - len(feats)
        if not 0 <= missing < self.num_inputs:
            raise ValueError(
                f'SoftRoIExtractor takes 1 to {self.num_inputs} maps, one for '
                f'each of featmap_strides={self.featmap_strides}, but got '
                f'{len(feats)}'
            )
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        if len(feats) == 1:
            result = align(self.roi_layers[0], feats[0], rois)
            # Distributed training wants all parameters to take part.
            unused = sum(p.sum() for p in self.parameters()) * 0
            return result + unused.to(result.dtype)
        # One tensor, which the sum below reads too: a list beside it would
        # take twice the memory.
        levels = torch.stack(
            [
                align(layer, level, rois)
                for layer, level in zip(self.roi_layers, feats, strict=False)
            ],
            dim=1,
        )
        seen = levels.flatten(1, 2)
        if missing:
            seen = pad(seen, (0, 0, 0, 0, 0, missing * self.out_channels))
        attention = self.spatial_attention_conv(seen)
        weights = attention.sigmoid().to(levels.dtype).split(1, dim=1)
        total = levels.new_zeros(())
        for level, weight in zip(levels.unbind(1), weights, strict=False):
            total = torch.addcmul(total, level, weight)
        return total
