"""Semantic segmentation models for MMSegmentation."""

from mmseg_ext.models.segmentors.lean_encoder_decoder import (
    lean_encoder_decoder,
)
from mmseg_ext.models.segmentors.mm_deeplabv3 import MMDeeplabV3

__all__ = ['MMDeeplabV3', 'lean_encoder_decoder']
