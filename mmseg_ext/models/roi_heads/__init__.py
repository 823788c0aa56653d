"""RoI heads of MMDetection's two-stage detectors."""

from mmseg_ext.models.roi_heads.consistent_cascade_roi_head import (
    ConsistentCascadeRoIHead,
)
from mmseg_ext.models.roi_heads.consistent_standard_roi_head import (
    ConsistentStandardRoIHead,
)

__all__ = ['ConsistentCascadeRoIHead', 'ConsistentStandardRoIHead']
