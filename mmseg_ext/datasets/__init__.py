"""Data sets and the transforms that read them."""

from mmseg_ext.datasets.camvid import CamVid
from mmseg_ext.datasets.transforms import LoadColorMasks

__all__ = ['CamVid', 'LoadColorMasks']
