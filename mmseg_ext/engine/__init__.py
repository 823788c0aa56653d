"""Hooks, samplers and runners. The import registers them."""

from mmseg_ext.engine.hooks import (
    ClassWeightsHook,
    EvaluationRecordHook,
    FirstBatchHook,
    LabelCheckHook,
    LeanCheckpointHook,
    RunPicturesHook,
    SegVisHook,
)
from mmseg_ext.engine.runners import OfflineRunner
from mmseg_ext.engine.samplers import RareClassSampler

__all__ = [
    'ClassWeightsHook',
    'EvaluationRecordHook',
    'FirstBatchHook',
    'LabelCheckHook',
    'LeanCheckpointHook',
    'OfflineRunner',
    'RareClassSampler',
    'RunPicturesHook',
    'SegVisHook',
]
