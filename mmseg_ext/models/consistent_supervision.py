"""Consistent supervision: the laterals of a neck learn from the RoIs too.

Source: Guo et al., "AugFPN: Improving Multi-scale Feature Learning for Object
Detection", arXiv:1912.05384, section 3.1. The levels of a pyramid are summed,
but come from layers of different depth. In training the same RoIs are read on
the laterals of all levels, before any of them is augmented or summed, and one
auxiliary head, the same for all levels, has to detect the objects in each.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmdet.models.roi_heads.bbox_heads.bbox_head import BBoxHead
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import FCNMaskHead
from mmdet.models.task_modules.samplers.sampling_result import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmseg_ext.models.roi_extractors.align import align

__all__ = ['ConsistentSupervision', 'build_auxiliary']

#: Prefix of the names of modules that are used in training only.
_AUXILIARY = 'auxiliary_'

#: Prefix of the names of a head's losses, which its accuracies lack.
_LOSS = 'loss_'


class ConsistentSupervision(BaseModule):
    """Mixin of heads that supervise laterals, to stand before MMDet's head.

    The names of a head's auxiliary modules start with ``auxiliary_``. They
    are used in training only, and a checkpoint need not have them.

    Args:
        *args: As for the upstream head.
        alpha: Weight of the auxiliary losses, λ in the paper, at least 0.
        **kwargs: As for the upstream head.

    Raises:
        ValueError: ``alpha`` is negative.
    """

    def __init__(self, *args: Any, alpha: float = 0.25, **kwargs: Any) -> None:
        if alpha < 0:
            raise ValueError(
                f'alpha is the weight of losses, at least 0, not {alpha}'
            )
        super().__init__(*args, **kwargs)
        self.alpha = alpha

    def laterals(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the laterals that came with the output of the neck.

        They are maps (N, C, H, W), the finest first.

        Raises:
            TypeError: There are none.
        """
        laterals = getattr(features, 'laterals', ())
        if not laterals:
            raise TypeError(
                f'{type(self).__name__} supervises the laterals of the neck, '
                f'but the {type(features).__name__} that the neck gave has '
                'no `laterals`: take a neck that gives them in training, '
                'such as AugFPN, or a head without consistent supervision'
            )
        return laterals

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        """Load weights; without auxiliary ones the head keeps its own."""
        start = prefix + _AUXILIARY
        if not any(key.startswith(start) for key in state_dict):
            own = self.state_dict(prefix=prefix)
            state_dict.update(
                {k: v for k, v in own.items() if k.startswith(start)}
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def auxiliary_bbox_losses(
        self,
        head: BBoxHead,
        roi_layers: Iterable[nn.Module],
        features: Sequence[Tensor],
        sampling_results: list[SamplingResult],
        train_cfg: ConfigType,
    ) -> dict[str, Tensor]:
        """Return the losses of boxes, each summed over all levels.

        Args:
            head: An auxiliary box head, such as ``Shared2FCBBoxHead``.
            roi_layers: A RoI layer for each level; there may be more of them.
            features: Output of the neck.
            sampling_results: RoIs with their targets for each image.
            train_cfg: Config of the RoI head's training.

        Returns:
            Scalars ``loss_aux_cls`` and ``loss_aux_bbox``; where the head
            calls a loss ``loss_x``, it is ``loss_aux_x``. Empty outside
            training.

        Raises:
            TypeError: The neck gave no laterals.
        """
        if not self.training:
            return {}
        rois = bbox2roi([result.priors for result in sampling_results])
        targets = head.get_targets(sampling_results, train_cfg)
        total: dict[str, Tensor] = {}
        laterals = self.laterals(features)
        for layer, lateral in zip(roi_layers, laterals, strict=False):
            scores, boxes = head(align(layer, lateral, rois))
            losses = head.loss(scores, boxes, rois, *targets)
            if not len(rois):
                # Heads leave it out then, but in distributed training every
                # parameter has to take part.
                losses['loss_cls'] = scores.sum()
            for name, loss in losses.items():
                if name.startswith(_LOSS):
                    total[name] = total.get(name, 0) + loss
        return {
            f'{_LOSS}aux_{name.removeprefix(_LOSS)}': self.alpha * loss
            for name, loss in total.items()
        }

    def auxiliary_mask_losses(
        self,
        head: FCNMaskHead,
        roi_layers: Iterable[nn.Module],
        features: Sequence[Tensor],
        sampling_results: list[SamplingResult],
        batch_gt_instances: InstanceList,
        train_cfg: ConfigType,
    ) -> dict[str, Tensor]:
        """Return the loss of masks, summed over all levels.

        Arguments and errors are those of :meth:`auxiliary_bbox_losses`, but
        the head is an ``FCNMaskHead`` or another one of its kind, and
        ``batch_gt_instances`` have the masks of each image.

        Returns:
            The scalar ``loss_aux_mask``. Empty outside training.
        """
        if not self.training:
            return {}
        rois = bbox2roi([result.pos_priors for result in sampling_results])
        # To cut these out of the images' masks takes long: once for all.
        targets = head.get_targets(
            sampling_results, batch_gt_instances, train_cfg
        )
        labels = torch.cat([r.pos_gt_labels for r in sampling_results])
        if head.class_agnostic:
            labels = torch.zeros_like(labels)
        total: Any = 0
        laterals = self.laterals(features)
        for layer, lateral in zip(roi_layers, laterals, strict=False):
            masks = head(align(layer, lateral, rois))
            if len(rois):
                total = total + head.loss_mask(masks, targets, labels)
            else:
                total = total + masks.sum()
        return {'loss_aux_mask': self.alpha * total}


def build_auxiliary(main: OptConfigType, changes: OptConfigType) -> nn.Module:
    """Build an auxiliary head.

    Args:
        main: Config of the main head beside it.
        changes: What is to differ, or, with a ``type``, a whole config.

    Raises:
        ValueError: There is no main head.
    """
    if main is None:
        raise ValueError(
            f'the auxiliary head {dict(changes)} has no main head to stand '
            'beside: leave it out, or add that head (mask_head)'
        )
    changes = changes or {}
    whole = 'type' in changes
    config = copy.deepcopy(changes if whole else {**main, **changes})
    return MODELS.build(config)
