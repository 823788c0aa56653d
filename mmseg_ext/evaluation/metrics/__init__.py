"""Metrics that configs name."""

from mmseg_ext.evaluation.metrics.iou import IoU

__all__ = ['IoU']
