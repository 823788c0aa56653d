"""Hooks for mmengine's runner."""

from mmseg_ext.engine.hooks.label_check_hook import (
    LabelCheckError,
    LabelCheckHook,
)
from mmseg_ext.engine.hooks.seg_vis_hook import SegVisHook

__all__ = ['LabelCheckError', 'LabelCheckHook', 'SegVisHook']
