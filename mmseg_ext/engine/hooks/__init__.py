"""Hooks for mmengine's runner."""

from mmseg_ext.engine.hooks.class_weights_hook import (
    ClassWeightsError,
    ClassWeightsHook,
)
from mmseg_ext.engine.hooks.evaluation_record_hook import EvaluationRecordHook
from mmseg_ext.engine.hooks.first_batch_hook import FirstBatchHook
from mmseg_ext.engine.hooks.label_check_hook import (
    LabelCheckError,
    LabelCheckHook,
)
from mmseg_ext.engine.hooks.lean_checkpoint_hook import LeanCheckpointHook
from mmseg_ext.engine.hooks.run_pictures_hook import RunPicturesHook
from mmseg_ext.engine.hooks.seg_vis_hook import SegVisHook

__all__ = [
    'ClassWeightsError',
    'ClassWeightsHook',
    'EvaluationRecordHook',
    'FirstBatchHook',
    'LabelCheckError',
    'LabelCheckHook',
    'LeanCheckpointHook',
    'RunPicturesHook',
    'SegVisHook',
]
