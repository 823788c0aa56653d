"""Consistent supervision for Faster R-CNN and Mask R-CNN."""

from typing import Any

from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead
from mmdet.models.task_modules.samplers.sampling_result import SamplingResult
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from torch import Tensor

from mmseg_ext.models.consistent_supervision import (
    ConsistentSupervision,
    build_auxiliary,
)

__all__ = ['ConsistentStandardRoIHead']


@MODELS.register_module()
class ConsistentStandardRoIHead(ConsistentSupervision, StandardRoIHead):
    """MMDet's RoI head, which in training also supervises the laterals.

    The RoI layers of the box head's extractor read its RoIs on the laterals of
    all levels too, and an auxiliary head has to reach the same targets. See
    :mod:`mmseg_ext.models.consistent_supervision`.

    Args:
        bbox_head: Config of the box head.
        mask_head: Config of the mask head, if any.
        auxiliary_bbox_head: In what the auxiliary box head differs from
            ``bbox_head``, or, with a ``type``, its whole config. By default
            they are equal.
        auxiliary_mask_head: The same for masks; an empty dict gives a head
            like ``mask_head``. By default masks are not supervised.
        alpha: Weight of the auxiliary losses, at least 0.
        **kwargs: As for MMDet's ``StandardRoIHead``.

    Raises:
        ValueError: There is an auxiliary mask head and no mask head, or
            ``alpha`` is negative.
    """

    def __init__(
        self,
        bbox_head: ConfigType,
        mask_head: OptConfigType = None,
        auxiliary_bbox_head: OptConfigType = None,
        auxiliary_mask_head: OptConfigType = None,
        alpha: float = 0.25,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            bbox_head=bbox_head, mask_head=mask_head, alpha=alpha, **kwargs
        )
        self.auxiliary_bbox_head = build_auxiliary(
            bbox_head, auxiliary_bbox_head
        )
        self.auxiliary_mask_head = None
        if auxiliary_mask_head is not None:
            self.auxiliary_mask_head = build_auxiliary(
                mask_head, auxiliary_mask_head
            )

    def bbox_loss(
        self, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]
    ) -> dict[str, Any]:
        """Return the losses of boxes, as MMDet's head.

        In training ``loss_bbox`` also has ``loss_aux_cls`` and
        ``loss_aux_bbox``.

        Raises:
            TypeError: The neck gave no laterals in training.
        """
        losses = self.auxiliary_bbox_losses(
            self.auxiliary_bbox_head,
            self.bbox_roi_extractor.roi_layers,
            x,
            sampling_results,
            self.train_cfg,
        )
        results = super().bbox_loss(x, sampling_results)
        results['loss_bbox'].update(losses)
        return results

    def mask_loss(
        self,
        x: tuple[Tensor, ...],
        sampling_results: list[SamplingResult],
        bbox_feats: Tensor,
        batch_gt_instances: InstanceList,
    ) -> dict[str, Any]:
        """Return the loss of masks, as MMDet's head.

        In training, with an auxiliary mask head, ``loss_mask`` also has
        ``loss_aux_mask``.
        """
        results = super().mask_loss(
            x, sampling_results, bbox_feats, batch_gt_instances
        )
        if self.auxiliary_mask_head is not None:
            losses = self.auxiliary_mask_losses(
                self.auxiliary_mask_head,
                self.mask_roi_extractor.roi_layers,
                x,
                sampling_results,
                batch_gt_instances,
                self.train_cfg,
            )
            results['loss_mask'].update(losses)
        return results
