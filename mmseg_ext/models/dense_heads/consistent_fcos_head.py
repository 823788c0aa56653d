"""Consistent supervision for FCOS."""

from collections.abc import Sequence

from mmdet.models.dense_heads.fcos_head import FCOSHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor

from mmseg_ext.models.dense_heads.consistent_dense_head import (
    ConsistentDenseHead,
)

__all__ = ['ConsistentFCOSHead']


@MODELS.register_module()
class ConsistentFCOSHead(ConsistentDenseHead, FCOSHead):
    """FCOS's head, which in training also supervises the laterals.

    Its arguments are those of :class:`ConsistentDenseHead` and of MMDet's
    ``FCOSHead``.
    """

    def _proposals(
        self, outputs: Sequence[list[Tensor]], metas: list[dict]
    ) -> InstanceList:
        """Return the boxes in the head's maps, one set for each image."""
        scores, distances, centernesses = outputs
        # Then MMDet's head, in training, gives them in units of the stride.
        if self.norm_on_bbox:
            distances = [
                level * stride
                for level, stride in zip(distances, self.strides, strict=True)
            ]
        return super()._proposals((scores, distances, centernesses), metas)
