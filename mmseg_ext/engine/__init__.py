"""What runs around a model. The import registers the hooks."""

from mmseg_ext.engine.hooks import SegVisHook

__all__ = ['SegVisHook']
