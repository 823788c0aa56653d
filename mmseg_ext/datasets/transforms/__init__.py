"""Steps of data pipelines."""

from mmseg_ext.datasets.transforms.fast_load_annotations import (
    FastLoadAnnotations,
)
from mmseg_ext.datasets.transforms.fast_pack_seg_inputs import (
    FastPackSegInputs,
)
from mmseg_ext.datasets.transforms.fast_photo_metric_distortion import (
    FastPhotoMetricDistortion,
)
from mmseg_ext.datasets.transforms.fast_random_crop import FastRandomCrop
from mmseg_ext.datasets.transforms.fused_resize_crop_flip import (
    FusedResizeCropFlip,
)
from mmseg_ext.datasets.transforms.load_color_masks import LoadColorMasks
from mmseg_ext.datasets.transforms.map_labels import MapLabels
from mmseg_ext.datasets.transforms.rare_class_crop import RareClassCrop
from mmseg_ext.datasets.transforms.semantic_copy_paste import (
    SemanticCopyPaste,
)
from mmseg_ext.environment import has_mmdet

__all__ = [
    'FastLoadAnnotations',
    'FastPackSegInputs',
    'FastPhotoMetricDistortion',
    'FastRandomCrop',
    'FusedResizeCropFlip',
    'LoadColorMasks',
    'MapLabels',
    'RareClassCrop',
    'SemanticCopyPaste',
]

if has_mmdet():
    from mmseg_ext.datasets.transforms.translate_x_pixels import (
        TranslateXPixels,
    )

    __all__ += ['TranslateXPixels']
