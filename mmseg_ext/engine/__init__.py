"""What goes around a model: hooks, samplers. The import registers them."""

from mmseg_ext.engine.hooks import (
    ClassWeightsHook,
    LabelCheckHook,
    SegVisHook,
)
from mmseg_ext.engine.samplers import RareClassSampler

__all__ = [
    'ClassWeightsHook',
    'LabelCheckHook',
    'RareClassSampler',
    'SegVisHook',
]
