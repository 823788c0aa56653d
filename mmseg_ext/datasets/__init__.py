"""Data sets and the transforms that read them."""

from mmseg_ext.datasets.camvid import CamVid
from mmseg_ext.datasets.idd import IDD_Data
from mmseg_ext.datasets.nuimages import NuImagesDataset
from mmseg_ext.datasets.transforms import (
    FastLoadAnnotations,
    FastPhotoMetricDistortion,
    FastRandomCrop,
    LoadColorMasks,
)

__all__ = [
    'CamVid',
    'FastLoadAnnotations',
    'FastPhotoMetricDistortion',
    'FastRandomCrop',
    'IDD_Data',
    'LoadColorMasks',
    'NuImagesDataset',
]
