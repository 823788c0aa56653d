"""Consistent supervision for Cascade R-CNN and Cascade Mask R-CNN."""

from typing import Any, TypeAlias

from mmdet.models.roi_heads.cascade_roi_head import CascadeRoIHead
from mmdet.models.task_modules.samplers.sampling_result import SamplingResult
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor, nn

from mmseg_ext.models.consistent_supervision import (
    ConsistentSupervision,
    build_auxiliary,
)

__all__ = ['ConsistentCascadeRoIHead']

#: One config for all stages, or one for each.
_StageConfigs: TypeAlias = ConfigType | list[ConfigType]


@MODELS.register_module()
class ConsistentCascadeRoIHead(ConsistentSupervision, CascadeRoIHead):
    """MMDet's cascade, which in training also supervises the laterals.

    Each stage does as :class:`ConsistentStandardRoIHead`, with auxiliary heads
    of its own, its RoIs and its targets. The auxiliary losses of a stage are
    weighted like its main ones.

    Args:
        num_stages: Number of stages.
        stage_loss_weights: Weight of each stage.
        bbox_head: Config of the box heads.
        mask_head: Config of the mask heads, if any.
        auxiliary_bbox_head: In what the auxiliary box heads differ from
            ``bbox_head``, or, with a ``type``, their whole config. By default
            they are equal.
        auxiliary_mask_head: The same for masks; an empty dict gives heads
            like ``mask_head``. By default masks are not supervised.
        alpha: Weight of the auxiliary losses, at least 0.
        **kwargs: As for MMDet's ``CascadeRoIHead``.

    Raises:
        ValueError: There is an auxiliary mask head and no mask head, or
            ``alpha`` is negative.
    """

    def __init__(
        self,
        num_stages: int,
        stage_loss_weights: list[float],
        bbox_head: _StageConfigs,
        mask_head: _StageConfigs | None = None,
        auxiliary_bbox_head: _StageConfigs | None = None,
        auxiliary_mask_head: _StageConfigs | None = None,
        alpha: float = 0.25,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_stages=num_stages,
            stage_loss_weights=stage_loss_weights,
            bbox_head=bbox_head,
            mask_head=mask_head,
            alpha=alpha,
            **kwargs,
        )
        self.auxiliary_bbox_head = self._stages(bbox_head, auxiliary_bbox_head)
        self.auxiliary_mask_head = None
        if auxiliary_mask_head is not None:
            self.auxiliary_mask_head = self._stages(
                mask_head, auxiliary_mask_head
            )

    def _stages(
        self, main: _StageConfigs, changes: _StageConfigs | None
    ) -> nn.ModuleList:
        """Build an auxiliary head for each stage."""
        mains, others = (
            each if isinstance(each, list) else [each] * self.num_stages
            for each in (main, changes)
        )
        return nn.ModuleList(
            build_auxiliary(config, change)
            for config, change in zip(mains, others, strict=True)
        )

    def bbox_loss(
        self,
        stage: int,
        x: tuple[Tensor, ...],
        sampling_results: list[SamplingResult],
    ) -> dict[str, Any]:
        """Return the losses of boxes at a stage, as MMDet's head.

        In training ``loss_bbox`` also has ``loss_aux_cls`` and
        ``loss_aux_bbox``.

        Raises:
            TypeError: The neck gave no laterals in training.
        """
        losses = self.auxiliary_bbox_losses(
            self.auxiliary_bbox_head[stage],
            self.bbox_roi_extractor[stage].roi_layers,
            x,
            sampling_results,
            self.train_cfg[stage],
        )
        results = super().bbox_loss(stage, x, sampling_results)
        results['loss_bbox'].update(losses)
        return results

    def mask_loss(
        self,
        stage: int,
        x: tuple[Tensor, ...],
        sampling_results: list[SamplingResult],
        batch_gt_instances: InstanceList,
    ) -> dict[str, Any]:
        """Return the loss of masks at a stage, as MMDet's head.

        In training, with auxiliary mask heads, ``loss_mask`` also has
        ``loss_aux_mask``.
        """
        results = super().mask_loss(
            stage, x, sampling_results, batch_gt_instances
        )
        if self.auxiliary_mask_head is not None:
            losses = self.auxiliary_mask_losses(
                self.auxiliary_mask_head[stage],
                self.mask_roi_extractor[stage].roi_layers,
                x,
                sampling_results,
                batch_gt_instances,
                self.train_cfg[stage],
            )
            results['loss_mask'].update(losses)
        return results
