"""Which images a training draws. The import registers the samplers."""

from mmseg_ext.engine.samplers.rare_class_sampler import RareClassSampler

__all__ = ['RareClassSampler']
