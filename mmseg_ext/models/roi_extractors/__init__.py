"""RoI extractors of MMDetection's two-stage detectors."""

from mmseg_ext.models.roi_extractors.soft_roi_extractor import (
    SoftRoIExtractor,
)

__all__ = ['SoftRoIExtractor']
