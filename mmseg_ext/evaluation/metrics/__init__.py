"""Metrics that configs name."""

from mmseg_ext.evaluation.metrics.iou import IoU
from mmseg_ext.evaluation.metrics.label_map_writer import LabelMapWriter

__all__ = ['IoU', 'LabelMapWriter']
