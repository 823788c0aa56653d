"""Losses for MMSegmentation."""

from mmseg_ext.models.losses.balanced_cross_entropy import BalancedCrossEntropy

__all__ = ['BalancedCrossEntropy']
