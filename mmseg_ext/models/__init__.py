"""Models. Those for MMDetection are there only if it is installed."""

from mmseg_ext.environment import has_mmdet
from mmseg_ext.models.backbones import EfficientNetLite
from mmseg_ext.models.lean_inference import make_lean
from mmseg_ext.models.losses import BalancedCrossEntropy, FastLovaszLoss
from mmseg_ext.models.package_weights import PackageWeights
from mmseg_ext.models.segmentors import MMDeeplabV3, lean_encoder_decoder

__all__ = [
    'BalancedCrossEntropy',
    'EfficientNetLite',
    'FastLovaszLoss',
    'MMDeeplabV3',
    'PackageWeights',
    'lean_encoder_decoder',
    'make_lean',
]

if has_mmdet():
    from mmseg_ext.models.dense_heads import (
        ConsistentFCOSHead,
        ConsistentRetinaHead,
    )
    from mmseg_ext.models.necks import AugFPN
    from mmseg_ext.models.roi_extractors import SoftRoIExtractor
    from mmseg_ext.models.roi_heads import (
        ConsistentCascadeRoIHead,
        ConsistentStandardRoIHead,
    )

    __all__ += [
        'AugFPN',
        'ConsistentCascadeRoIHead',
        'ConsistentFCOSHead',
        'ConsistentRetinaHead',
        'ConsistentStandardRoIHead',
        'SoftRoIExtractor',
    ]
