"""AugFPN: a feature pyramid whose top level keeps the image's context."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.necks.fpn import FPN
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmseg_ext.models.feature_pyramid import FeaturePyramid

__all__ = ['AugFPN']

_EXTRA_CONVS = (False, True, 'on_input', 'on_lateral', 'on_output')


@MODELS.register_module()
class AugFPN(FPN):
    """FPN with residual feature augmentation.

    The top level of FPN loses information when its channels are reduced. So
    the backbone's last map is also pooled to several ratios of its size. Each
    of these maps is reduced by a convolution of its own and resized back.
    Their sum, weighted at each position by a learned attention, is added to
    the top lateral before the top-down pass.

    Source: Guo et al., "AugFPN: Improving Multi-scale Feature Learning for
    Object Detection", arXiv:1912.05384, section 3.2.

    Parameters that :class:`FPN` of MMDet has too have its names, so that its
    checkpoints load. The others have the names of the authors' code
    (``high_lateral_conv``, ``high_lateral_conv_attention``), whose weights
    give the same maps.

    With extra convolutions, as in one-stage detectors, the mean of the
    augmentation over the map is added to the first extra level.

    Args:
        in_channels: Channels of each level of the backbone.
        out_channels: Channels of each output map.
        num_outs: Number of output maps, at least that of the levels used.
        start_level: Index of the first level used.
        end_level: Index of the last level used (inclusive); -1 stands for the
            last of ``in_channels``. If another one is last, there are no extra
            levels.
        add_extra_convs: From what a convolution of stride 2 makes the first of
            the levels above the backbone's: ``'on_input'`` (or True),
            ``'on_lateral'`` or ``'on_output'``. With False these levels are
            subsampled from the one below.
        pool_ratios: Sizes that the last map is pooled to, relative to its
            own, each in (0, 1]. Without any there is no augmentation: the
            neck is then an FPN that gives laterals.
        with_cp: Save memory in training: maps within the neck are computed
            again in the backward pass.
        **kwargs: As for :class:`FPN`.

    Raises:
        ValueError: An argument is out of its range.

    Examples:
        >>> neck = AugFPN([256, 512, 1024, 2048], 256, num_outs=5)
        >>> sizes = ((64, 96), (32, 48), (16, 24), (8, 12))
        >>> inputs = [
        ...     torch.rand(1, channels, *size)
        ...     for channels, size in zip(neck.in_channels, sizes)
        ... ]
        >>> [tuple(level.shape[2:]) for level in neck(inputs)]
        [(64, 96), (32, 48), (16, 24), (8, 12), (4, 6)]
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        num_outs: int,
        start_level: int = 0,
        end_level: int = -1,
        add_extra_convs: bool | str = False,
        *,
        pool_ratios: Sequence[float] = (0.1, 0.2, 0.3),
        with_cp: bool = False,
        **kwargs: Any,
    ) -> None:
        _check_levels(len(in_channels), num_outs, start_level, end_level)
        if add_extra_convs not in _EXTRA_CONVS:
            raise ValueError(
                f'add_extra_convs must be one of {_EXTRA_CONVS}, not '
                f'{add_extra_convs!r}'
            )
        wrong = [ratio for ratio in pool_ratios if not 0 < ratio <= 1]
        if wrong:
            raise ValueError(
                'pool_ratios are relative sizes and must lie in (0, 1], but '
                f'there is {wrong[0]} in {pool_ratios}'
            )
        super().__init__(
            in_channels,
            out_channels,
            num_outs,
            start_level=start_level,
            end_level=end_level,
            add_extra_convs=add_extra_convs,
            **kwargs,
        )
        self.pool_ratios = tuple(pool_ratios)
        self.with_cp = with_cp
        if self.pool_ratios:
            ratios = len(self.pool_ratios)
            top_channels = in_channels[self.backbone_end_level - 1]
            self.high_lateral_conv = nn.ModuleList(
                nn.Conv2d(top_channels, out_channels, 1) for _ in range(ratios)
            )
            self.high_lateral_conv_attention = nn.Sequential(
                nn.Conv2d(out_channels * ratios, out_channels, 1),
                nn.ReLU(),
                nn.Conv2d(out_channels, ratios, 3, padding=1),
            )

    def forward(self, inputs: Sequence[Tensor]) -> FeaturePyramid:
        """Return the pyramid of an image batch.

        Args:
            inputs: Maps of all levels of the backbone, each (N, C, H, W) and
                of any size.

        Returns:
            ``num_outs`` maps, each (N, ``out_channels``, H, W): the levels
            used at their own sizes, then the extra ones, each half as large.
            In training they come with their laterals, before augmentation.

        Raises:
            ValueError: There are not as many maps as ``in_channels``.
        """
        if len(inputs) != len(self.in_channels):
            raise ValueError(
                f'AugFPN takes {len(self.in_channels)} maps, one for each of '
                f'in_channels={self.in_channels}, but got {len(inputs)}'
            )
        if self.with_cp and self.training:
            return checkpoint(self._pyramid, inputs, use_reentrant=False)
        return self._pyramid(inputs)

    def _pyramid(self, inputs: Sequence[Tensor]) -> FeaturePyramid:
        """Return the pyramid from maps of all levels."""
        inputs = inputs[self.start_level : self.backbone_end_level]
        laterals = [
            conv(level)
            for conv, level in zip(self.lateral_convs, inputs, strict=True)
        ]
        augmentation = self._augmentation(inputs[-1])
        merged = self._top_down(laterals, augmentation)
        # The convolutions of extra levels follow those of the laterals.
        outs = [
            conv(level)
            for conv, level in zip(self.fpn_convs, merged, strict=False)
        ]
        sources = {
            'on_input': inputs[-1],
            'on_lateral': merged[-1],
            'on_output': outs[-1],
        }
        if self.add_extra_convs:
            source = sources[self.add_extra_convs]
            outs += self._extra_levels(source, augmentation)
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        # Outside training they would only keep memory from being freed.
        return FeaturePyramid(outs, laterals if self.training else ())

    def _augmentation(self, top: Tensor) -> Tensor | None:
        """Return what to add to the top lateral, (N, C, H, W), if anything."""
        if not self.pool_ratios:
            return None
        size = top.shape[2:]
        pooled = []
        for ratio, conv in zip(
            self.pool_ratios, self.high_lateral_conv, strict=True
        ):
            height, width = (max(1, int(ratio * length)) for length in size)
            context = conv(F.adaptive_avg_pool2d(top, (height, width)))
            pooled.append(
                F.interpolate(
                    context, size=size, mode='bilinear', align_corners=True
                )
            )
        attention = self.high_lateral_conv_attention(torch.cat(pooled, dim=1))
        weights = attention.sigmoid().split(1, dim=1)
        return sum(
            weight * context
            for weight, context in zip(weights, pooled, strict=True)
        )

    def _top_down(
        self, laterals: Sequence[Tensor], augmentation: Tensor | None
    ) -> list[Tensor]:
        """Return each lateral plus what is above it; the laterals stay."""
        *lower, merged = laterals
        if augmentation is not None:
            merged = merged + augmentation
        levels = [merged]
        for lateral in reversed(lower):
            scaled = 'scale_factor' in self.upsample_cfg
            size = None if scaled else lateral.shape[2:]
            levels.append(
                lateral
                + F.interpolate(levels[-1], size=size, **self.upsample_cfg)
            )
        return levels[::-1]

    def _extra_levels(
        self, source: Tensor, augmentation: Tensor | None
    ) -> Iterator[Tensor]:
        """Yield the levels above the backbone's that convolutions make."""
        convs = self.fpn_convs[len(self.lateral_convs) :]
        for index, conv in enumerate(convs):
            if index and self.relu_before_extra_convs:
                source = F.relu(source)
            source = conv(source)
            if index == 0 and augmentation is not None:
                source = source + F.adaptive_avg_pool2d(augmentation, 1)
            yield source


def _check_levels(
    levels: int, num_outs: int, start_level: int, end_level: int
) -> None:
    """Check that the levels are there and the number of outputs fits."""
    last = levels - 1
    if not 0 <= start_level <= last:
        raise ValueError(
            f'start_level={start_level} is out of range: in_channels names '
            f'{levels} levels, 0 to {last}'
        )
    if end_level != -1 and not start_level <= end_level <= last:
        raise ValueError(
            f'end_level={end_level} is out of range: it is the last level '
            f'used (inclusive), so from start_level={start_level} to {last}, '
            'or -1 for the last of in_channels'
        )
    if end_level == -1:
        end_level = last
    used = end_level - start_level + 1
    if num_outs < used:
        raise ValueError(
            f'num_outs={num_outs} is too small: levels {start_level} to '
            f'{end_level} are used, which makes {used} maps'
        )
    if num_outs > used and end_level != last:
        raise ValueError(
            f'num_outs={num_outs} is too large: above end_level={end_level}, '
            f'which is not the last of {levels} levels, there are no extra '
            f'ones, which makes {used} maps'
        )
