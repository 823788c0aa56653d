"""Hooks for mmengine's runner."""

from mmseg_ext.engine.hooks.seg_vis_hook import SegVisHook

__all__ = ['SegVisHook']
