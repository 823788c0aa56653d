"""Consistent supervision for RetinaNet."""

from mmdet.models.dense_heads.retina_head import RetinaHead
from mmdet.registry import MODELS

from mmseg_ext.models.dense_heads.consistent_dense_head import (
    ConsistentDenseHead,
)

__all__ = ['ConsistentRetinaHead']


@MODELS.register_module()
class ConsistentRetinaHead(ConsistentDenseHead, RetinaHead):
    """RetinaNet's head, which in training also supervises the laterals.

    Its arguments are those of :class:`ConsistentDenseHead` and of MMDet's
    ``RetinaHead``.
    """
