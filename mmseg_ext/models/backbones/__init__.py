"""Backbones, for MMSegmentation and MMDetection alike."""

from mmseg_ext.models.backbones.efficientnet_lite import EfficientNetLite

__all__ = ['EfficientNetLite']
