"""Consistent supervision for one-stage detectors."""

from collections.abc import Sequence
from typing import Any

from mmcv.ops import RoIAlign
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules.samplers.sampling_result import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, OptConfigType, OptInstanceList
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmseg_ext.models.consistent_supervision import (
    ConsistentSupervision,
    build_auxiliary,
)

__all__ = ['TRAIN_CFG', 'ConsistentDenseHead']

#: Which predictions become RoIs, and which of these are sampled.
TRAIN_CFG = {
    'proposal': {
        'nms_pre': 2000,
        'score_thr': 0.01,
        'min_bbox_size': 0,
        'nms': {'type': 'nms', 'iou_threshold': 0.7},
        'max_per_img': 1000,
    },
    'assigner': {
        'type': 'MaxIoUAssigner',
        'pos_iou_thr': 0.5,
        'neg_iou_thr': 0.5,
        'min_pos_iou': 0.5,
        'match_low_quality': False,
    },
    'sampler': {
        'type': 'RandomSampler',
        'num': 512,
        'pos_fraction': 0.25,
        'add_gt_as_proposals': True,
    },
    'pos_weight': -1,
}

#: Points in each direction of a bin of RoIAlign.
_SAMPLING_RATIO = 2


class ConsistentDenseHead(ConsistentSupervision, BaseDenseHead):
    """Mixin of one-stage heads that in training also supervise the laterals.

    A one-stage detector has no RoIs. So what the head predicts in training is
    filtered, matched with the ground truth and sampled, as in the second stage
    of a two-stage detector. The samples are read on the laterals of the
    backbone's levels (strides 8, 16 and 32), where an auxiliary head with two
    fully connected layers has to find class and box. See
    :mod:`mmseg_ext.models.consistent_supervision`.

    The upstream head, after it among the bases, has a ``prior_generator``.

    Args:
        num_classes: Number of classes without the background.
        in_channels: Channels of the maps.
        auxiliary_bbox_head: In what the auxiliary head differs from
            ``Shared2FCBBoxHead`` with its defaults, or, with a ``type``, its
            whole config.
        auxiliary_train_cfg: How RoIs are made: ``proposal``, a ``test_cfg``
            that filters predictions, ``assigner``, ``sampler`` and
            ``pos_weight`` as in the ``train_cfg`` of a RoI head. What is left
            out is as in the authors' configs.
        alpha: Weight of the auxiliary losses, at least 0.
        **kwargs: As for the upstream head.

    Raises:
        ValueError: ``alpha`` is negative.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        auxiliary_bbox_head: OptConfigType = None,
        auxiliary_train_cfg: OptConfigType = None,
        alpha: float = 0.25,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            alpha=alpha,
            **kwargs,
        )
        main = {
            'type': 'Shared2FCBBoxHead',
            'num_classes': num_classes,
            'in_channels': in_channels,
        }
        head = build_auxiliary(main, auxiliary_bbox_head)
        self.auxiliary_bbox_head = head
        self.auxiliary_roi_layers = nn.ModuleList(
            RoIAlign(head.roi_feat_size, 1 / stride, _SAMPLING_RATIO)
            for stride, _ in self.prior_generator.strides
        )
        config = ConfigDict({**TRAIN_CFG, **(auxiliary_train_cfg or {})})
        self.auxiliary_train_cfg = config
        self.auxiliary_assigner = TASK_UTILS.build(config.assigner)
        self.auxiliary_sampler = TASK_UTILS.build(
            config.sampler, default_args={'context': self}
        )

    def loss(
        self, x: tuple[Tensor, ...], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return the losses of the upstream head and, in training, ours.

        These are ``loss_aux_cls`` and ``loss_aux_bbox``.

        Raises:
            TypeError: The neck gave no laterals in training.
        """
        if not self.training:
            return super().loss(x, batch_data_samples)
        outputs = self(x)
        batch_gt, batch_ignored, metas = unpack_gt_instances(
            batch_data_samples
        )
        losses = self.loss_by_feat(*outputs, batch_gt, metas, batch_ignored)
        proposals = self._proposals(outputs, metas)
        losses.update(
            self.auxiliary_bbox_losses(
                self.auxiliary_bbox_head,
                self.auxiliary_roi_layers,
                x,
                self._sample(proposals, batch_gt, batch_ignored),
                self.auxiliary_train_cfg,
            )
        )
        return losses

    def _proposals(
        self, outputs: Sequence[list[Tensor]], metas: list[dict]
    ) -> InstanceList:
        """Return the boxes in the head's maps, one set for each image."""
        # Half precision is off by some pixels, and MMCV's NMS does not take
        # it.
        full = [[level.float() for level in maps] for maps in outputs]
        return self.predict_by_feat(
            *full,
            batch_img_metas=metas,
            cfg=self.auxiliary_train_cfg.proposal,
        )

    def _sample(
        self,
        proposals: InstanceList,
        batch_gt: InstanceList,
        batch_ignored: OptInstanceList,
    ) -> list[SamplingResult]:
        """Return samples of predictions, matched with the ground truth."""
        results = []
        for proposal, gt, ignored in zip(
            proposals, batch_gt, batch_ignored, strict=True
        ):
            proposal.priors = proposal.pop('bboxes')
            assigned = self.auxiliary_assigner.assign(proposal, gt, ignored)
            results.append(
                self.auxiliary_sampler.sample(assigned, proposal, gt)
            )
        return results
