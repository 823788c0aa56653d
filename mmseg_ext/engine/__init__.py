"""Hooks around a model. The import registers them."""

from mmseg_ext.engine.hooks import LabelCheckHook, SegVisHook

__all__ = ['LabelCheckHook', 'SegVisHook']
