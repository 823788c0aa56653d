"""Scores of predictions."""

from mmseg_ext.evaluation.metrics import IoU

__all__ = ['IoU']
