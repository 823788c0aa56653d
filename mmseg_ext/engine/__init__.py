"""What goes around a model: hooks, samplers. The import registers them."""

from mmseg_ext.engine.hooks import LabelCheckHook, SegVisHook
from mmseg_ext.engine.samplers import RareClassSampler

__all__ = ['LabelCheckHook', 'RareClassSampler', 'SegVisHook']
