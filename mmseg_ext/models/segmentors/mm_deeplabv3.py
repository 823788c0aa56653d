"""torchvision's segmentation networks as a segmentor of MMSegmentation."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmseg.models.losses import accuracy
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.models.segmentors.encoder_decoder import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.utils import (
    ConfigType,
    OptConfigType,
    OptMultiConfig,
    OptSampleList,
    SampleList,
    add_prefix,
)
from torch import Tensor, nn

from mmseg_ext.models.segmentors.torchvision_networks import (
    find_builder,
    load_backbone,
    replace_pooled_norms,
)
from mmseg_ext.utils.text import listing

__all__ = ['MMDeeplabV3']

_DEFAULT_LOSS = {'type': 'CrossEntropyLoss', 'avg_non_ignore': True}

#: Weight of the auxiliary loss where none is given, as in MMSeg's configs.
_DEFAULT_AUXILIARY_LOSS_WEIGHT = 0.4


@MODELS.register_module()
class MMDeeplabV3(EncoderDecoder):
    """DeepLabV3, or another segmentation network of torchvision.

    The network comes from torchvision, all the rest from MMSeg: the losses,
    whole or sliding inference, and results at the size of the original image
    with padding removed and flips undone. Metrics, hooks, inferencers and
    test-time augmentation therefore work as with any MMSeg model.

    Sources: Chen et al., "Rethinking Atrous Convolution for Semantic Image
    Segmentation", arXiv:1706.05587; ``torchvision.models.segmentation``.

    The constructor never downloads: the network starts with random weights.
    ``backbone_init`` is loaded by :meth:`init_weights`, which mmengine's
    runner calls before training and not before testing or inference.

    A training batch of a single image, such as the last, incomplete one of
    an epoch, leaves the batch normalization in ASPP's pooling branch with one
    value for each channel. That branch then uses its running statistics, and
    a warning says so once.

    Args:
        num_classes: Number of classes, at least 2.
        network: Name of a network in ``torchvision.models.segmentation``.
        loss_decode: Config of a loss, or several. None stands for MMSeg's
            ``CrossEntropyLoss``, averaged over the pixels that are not
            ignored.
        auxiliary_loss_weight: Factor on the losses of the auxiliary head; 0
            builds the network without that head. None stands for 0.4, or 0
            for a network that has no such head (LR-ASPP).
        ignore_index: Label value that takes no part in the losses.
        align_corners: How logits are resized; see
            ``torch.nn.functional.interpolate``.
        backbone_init: Weights for the backbone in mmengine's notation:
            ``'torchvision://resnet50'``, a URL, or a file. They may hold an
            image classifier's last layers, which are left out. Files with
            anything but weights are refused.
        train_cfg: Not used; MMSeg's tools set it.
        test_cfg: As in MMSeg: ``dict(mode='whole')``, the default, or
            ``dict(mode='slide', crop_size=(h, w), stride=(h, w))``.
        data_preprocessor: Config of MMSeg's ``SegDataPreProcessor``.
        pretrained: Must be None; MMSeg's tools set it.
        init_cfg: Further initialization, as for every mmengine model.

    Raises:
        ImportError: torchvision is absent or goes with another torch.
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, or torchvision has no
            such network.

    Examples:
        >>> model = MODELS.build(dict(type='MMDeeplabV3', num_classes=11))
        >>> model.eval()(torch.rand(1, 3, 36, 48)).shape
        torch.Size([1, 11, 36, 48])
    """

    def __init__(
        self,
        num_classes: int,
        network: str = 'deeplabv3_resnet50',
        loss_decode: ConfigType | Sequence[ConfigType] | None = None,
        auxiliary_loss_weight: float | None = None,
        ignore_index: int = 255,
        align_corners: bool = False,
        backbone_init: str | None = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        pretrained: None = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        # EncoderDecoder's constructor would build backbone and heads from
        # MMSeg's registry; what is wanted of that class is its inference.
        BaseSegmentor.__init__(
            self, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        _check_integer('num_classes', num_classes, minimum=2)
        _check_integer('ignore_index', ignore_index, minimum=None)
        if pretrained is not None:
            raise ValueError(
                f'pretrained={pretrained!r} is not supported: give the '
                "backbone's weights as backbone_init"
            )
        builder = find_builder(network)
        auxiliary = _auxiliary_loss_weight(auxiliary_loss_weight, builder)
        self.network = builder(
            weights=None,
            weights_backbone=None,
            num_classes=num_classes,
            aux_loss=auxiliary > 0,
        )
        replace_pooled_norms(self.network)
        if isinstance(loss_decode, Sequence):
            losses = loss_decode
        else:
            losses = [_DEFAULT_LOSS if loss_decode is None else loss_decode]
        self.loss_decode = nn.ModuleList(MODELS.build(loss) for loss in losses)

        self.num_classes = self.out_channels = num_classes
        self.auxiliary_loss_weight = auxiliary
        self.ignore_index = ignore_index
        self.align_corners = align_corners
        self.backbone_init = backbone_init
        self.train_cfg = train_cfg
        self.test_cfg = ConfigDict({'mode': 'whole', **(test_cfg or {})})

    @property
    def with_auxiliary_head(self) -> bool:
        """Whether the network was built with an auxiliary head."""
        return self.auxiliary_loss_weight > 0

    def init_weights(self) -> None:
        """Initialize as every mmengine model, then load ``backbone_init``.

        Raises:
            FileNotFoundError: ``backbone_init`` names no file.
            ValueError: It cannot be loaded or does not fit the backbone.
        """
        first_call = not self.is_init
        super().init_weights()
        if first_call and self.backbone_init is not None:
            load_backbone(self.network.backbone, self.backbone_init)

    def extract_feat(self, inputs: Tensor) -> dict[str, Tensor]:
        """Run the backbone on images (N, 3, H, W).

        Returns:
            Feature maps (N, C, h, w) under torchvision's names: ``'out'``
            and, with an auxiliary head, ``'aux'``; ``'low'`` and ``'high'``
            for LR-ASPP.
        """
        return self.network.backbone(inputs)

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: list[dict] | None = None
    ) -> Tensor:
        """Return logits (N, num_classes, H, W) of images (N, 3, H, W).

        MMSeg's inference gives ``batch_img_metas``, which are not used.
        """
        logits = self._decode(self.extract_feat(inputs))
        return self._resize(logits, inputs.shape[2:])

    def _forward(
        self, inputs: Tensor, data_samples: OptSampleList = None
    ) -> Tensor:
        """Return logits (N, num_classes, H, W) of images (N, 3, H, W)."""
        return self.encode_decode(inputs)

    def loss(
        self, inputs: Tensor, data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Labels are checked before they reach the loss, since a GPU would
        answer a label out of range with an assertion that ends the process.
        The check waits for the device once for a batch; MMSeg's loss and
        accuracy do so too.

        Args:
            inputs: Float images, (N, 3, H, W).
            data_samples: One for each image, with a ``gt_sem_seg`` of class
                indices, (1, H, W).

        Returns:
            Scalars, named as by every MMSeg model: ``decode.loss_ce`` and
            ``decode.acc_seg`` (percent), and with an auxiliary head
            ``aux.loss_ce``, already weighted, and ``aux.acc_seg``.

        Raises:
            ValueError: A sample has no label, or a label value is neither a
                class index nor ``ignore_index``.
        """
        labels = _stack_labels(data_samples)
        self._check_labels(labels, data_samples)

        features = self.extract_feat(inputs)
        losses = add_prefix(
            self._losses_of(self._decode(features), labels), 'decode'
        )
        if self.with_auxiliary_head:
            auxiliary = self._losses_of(
                self.network.aux_classifier(features['aux']),
                labels,
                self.auxiliary_loss_weight,
            )
            losses.update(add_prefix(auxiliary, 'aux'))
        return losses

    def _decode(self, features: dict[str, Tensor]) -> Tensor:
        """Run the classifier; LR-ASPP's takes all the features."""
        return self.network.classifier(features.get('out', features))

    def _resize(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Resize logits to (height, width)."""
        return F.interpolate(
            logits,
            size=size,
            mode='bilinear',
            align_corners=self.align_corners,
        )

    def _losses_of(
        self, logits: Tensor, labels: Tensor, weight: float = 1.0
    ) -> dict[str, Tensor]:
        """Return the losses of a head, times ``weight``, and its accuracy."""
        logits = self._resize(logits, labels.shape[1:])
        losses: dict[str, Tensor] = {}
        for criterion in self.loss_decode:
            value = criterion(logits, labels, ignore_index=self.ignore_index)
            name = str(criterion.loss_name)
            losses[name] = losses.get(name, 0) + weight * value
        losses['acc_seg'] = accuracy(
            logits, labels, ignore_index=self.ignore_index
        )
        return losses

    def _check_labels(self, labels: Tensor, data_samples: SampleList) -> None:
        """Check that values are classes or ignored."""
        outside = (labels < 0) | (labels >= self.num_classes)
        wrong = outside & (labels != self.ignore_index)
        if not wrong.any():
            return
        image = int(wrong.flatten(1).any(dim=1).nonzero()[0])
        values = labels[image][wrong[image]].unique().tolist()
        path = data_samples[image].metainfo.get('seg_map_path')
        raise ValueError(
            f'label {path or f"of image {image} of the batch"} holds the '
            f'values {listing(values)}: expected class indices 0 to '
            f'{self.num_classes - 1} or the ignore index {self.ignore_index}; '
            'check num_classes and how the labels were made'
        )


def _check_integer(name: str, value: object, minimum: int | None) -> None:
    """Check the type and range of an argument."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f'{name} must be an integer, got {value!r}')
    if minimum is not None and value < minimum:
        raise ValueError(f'{name} must be at least {minimum}, got {value}')


def _auxiliary_loss_weight(
    weight: float | None, builder: Callable[..., Any]
) -> float:
    """Return the weight after a check, or the default in its place."""
    has_head = 'aux_loss' in inspect.signature(builder).parameters
    if weight is None:
        return _DEFAULT_AUXILIARY_LOSS_WEIGHT if has_head else 0.0
    if not isinstance(weight, (int, float)) or isinstance(weight, bool):
        raise TypeError(
            f'auxiliary_loss_weight must be a number, got {weight!r}'
        )
    if not 0 <= weight < float('inf'):
        raise ValueError(
            f'auxiliary_loss_weight must be 0 or above, got {weight}'
        )
    if weight > 0 and not has_head:
        raise ValueError(
            f'{builder.__name__} has no auxiliary head: '
            f'auxiliary_loss_weight must be 0, got {weight}'
        )
    return float(weight)


def _stack_labels(data_samples: SampleList) -> Tensor:
    """Stack the label maps, (N, H, W) int64."""
    for sample in data_samples:
        if 'gt_sem_seg' not in sample:
            raise ValueError(
                f'{sample.metainfo.get("img_path", "a data sample")} has no '
                'gt_sem_seg: add LoadAnnotations to the training pipeline'
            )
    return torch.cat(
        [sample.gt_sem_seg.data for sample in data_samples]
    ).long()
