"""Hooks, samplers and runners. The import registers them."""

from mmseg_ext.engine.hooks import (
    ClassWeightsHook,
    LabelCheckHook,
    RunPicturesHook,
    SegVisHook,
)
from mmseg_ext.engine.runners import OfflineRunner
from mmseg_ext.engine.samplers import RareClassSampler

__all__ = [
    'ClassWeightsHook',
    'LabelCheckHook',
    'OfflineRunner',
    'RareClassSampler',
    'RunPicturesHook',
    'SegVisHook',
]
