"""Scores of predictions, and records of them.

Those of MMDetection are there where it is installed.
"""

from mmseg_ext.environment import has_mmdet
from mmseg_ext.evaluation.metrics import EvaluationRecord, IoU

__all__ = ['EvaluationRecord', 'IoU']

if has_mmdet():
    from mmseg_ext.evaluation.metrics import InstanceRecord

    __all__ += ['InstanceRecord']
