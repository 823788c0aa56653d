"""Metrics that configs name.

Those of MMDetection are there where it is installed.
"""

from mmseg_ext.environment import has_mmdet
from mmseg_ext.evaluation.metrics.evaluation_record import EvaluationRecord
from mmseg_ext.evaluation.metrics.iou import IoU
from mmseg_ext.evaluation.metrics.label_map_writer import LabelMapWriter

__all__ = ['EvaluationRecord', 'IoU', 'LabelMapWriter']

if has_mmdet():
    from mmseg_ext.evaluation.metrics.instance_record import InstanceRecord

    __all__ += ['InstanceRecord']
