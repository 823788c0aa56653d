"""Necks of MMDetection's detectors."""

from mmseg_ext.models.necks.aug_fpn import AugFPN

__all__ = ['AugFPN']
