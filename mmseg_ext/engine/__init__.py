"""Hooks around a model. The import registers them."""

from mmseg_ext.engine.hooks import SegVisHook

__all__ = ['SegVisHook']
