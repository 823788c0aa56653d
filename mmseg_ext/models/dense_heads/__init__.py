"""Heads of MMDetection's one-stage detectors."""

from mmseg_ext.models.dense_heads.consistent_fcos_head import (
    ConsistentFCOSHead,
)
from mmseg_ext.models.dense_heads.consistent_retina_head import (
    ConsistentRetinaHead,
)

__all__ = ['ConsistentFCOSHead', 'ConsistentRetinaHead']
