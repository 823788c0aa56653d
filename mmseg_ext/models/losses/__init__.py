"""Losses of MMSegmentation's heads."""

from mmseg_ext.models.losses.balanced_cross_entropy import BalancedCrossEntropy
from mmseg_ext.models.losses.fast_lovasz_loss import FastLovaszLoss

__all__ = ['BalancedCrossEntropy', 'FastLovaszLoss']
