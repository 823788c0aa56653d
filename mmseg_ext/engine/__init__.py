"""Hooks around a model. The import registers them."""

from mmseg_ext.engine.hooks import (
    ClassWeightsHook,
    LabelCheckHook,
    SegVisHook,
)

__all__ = ['ClassWeightsHook', 'LabelCheckHook', 'SegVisHook']
