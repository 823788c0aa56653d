"""Steps of data pipelines."""

from mmseg_ext.datasets.transforms.load_color_masks import LoadColorMasks

__all__ = ['LoadColorMasks']
