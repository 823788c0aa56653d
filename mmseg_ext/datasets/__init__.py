"""Data sets and the transforms that read them.

Those of MMDetection are there where it is installed.
"""

from mmseg_ext.datasets.camvid import CamVid
from mmseg_ext.datasets.color_masks import ColorMaskDataset
from mmseg_ext.datasets.folder import FolderDataset
from mmseg_ext.datasets.idd import IDD_Data
from mmseg_ext.datasets.nuimages import NuImagesDataset
from mmseg_ext.datasets.paired import PairedDataset
from mmseg_ext.datasets.transforms import (
    FastLoadAnnotations,
    FastPackSegInputs,
    FastPhotoMetricDistortion,
    FastRandomCrop,
    FusedResizeCropFlip,
    LoadColorMasks,
    MapLabels,
    RareClassCrop,
    SemanticCopyPaste,
)
from mmseg_ext.environment import has_mmdet

__all__ = [
    'CamVid',
    'ColorMaskDataset',
    'FastLoadAnnotations',
    'FastPackSegInputs',
    'FastPhotoMetricDistortion',
    'FastRandomCrop',
    'FolderDataset',
    'FusedResizeCropFlip',
    'IDD_Data',
    'LoadColorMasks',
    'MapLabels',
    'NuImagesDataset',
    'PairedDataset',
    'RareClassCrop',
    'SemanticCopyPaste',
]

if has_mmdet():
    from mmseg_ext.datasets.nails import NailDataset
    from mmseg_ext.datasets.transforms import TranslateXPixels

    __all__ += ['NailDataset', 'TranslateXPixels']
