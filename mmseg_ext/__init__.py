"""Data sets, models, metrics and hooks for MMSegmentation and MMDetection.

Importing the package registers its classes in the OpenMMLab registries, lets
mmengine's own checkpoints pass torch's ``weights_only`` loading, and keeps
mmengine from loading any others. Configs do it with
``custom_imports = dict(imports=['mmseg_ext'])``.
"""

from importlib import import_module

from mmseg_ext.environment import (
    check_environment,
    explain_import_error,
    has_mmdet,
)

__version__ = '0.1.0'

check_environment()
try:
    from mmseg_ext import registry  # noqa: F401  registers the scope
    from mmseg_ext.checkpoint import guard_checkpoint_loaders
    from mmseg_ext.datasets import (
        CamVid,
        ColorMaskDataset,
        FastLoadAnnotations,
        FastPackSegInputs,
        FastPhotoMetricDistortion,
        FastRandomCrop,
        FolderDataset,
        FusedResizeCropFlip,
        IDD_Data,
        LoadColorMasks,
        MapLabels,
        NuImagesDataset,
        PairedDataset,
        RareClassCrop,
        SemanticCopyPaste,
    )
    from mmseg_ext.engine import (
        ClassWeightsHook,
        EvaluationRecordHook,
        FirstBatchHook,
        LabelCheckHook,
        LeanCheckpointHook,
        OfflineRunner,
        RareClassSampler,
        RunPicturesHook,
        SegVisHook,
    )
    from mmseg_ext.evaluation import EvaluationRecord, IoU
    from mmseg_ext.inference.inferencers import extend_inferencers
    from mmseg_ext.models import (
        BalancedCrossEntropy,
        EfficientNetLite,
        FastLovaszLoss,
        MMDeeplabV3,
        PackageWeights,
        lean_encoder_decoder,
        make_lean,
    )
    from mmseg_ext.unpickling import allow_mmengine_checkpoints
except (ImportError, RuntimeError) as error:
    explained = explain_import_error(error)
    if explained is error:
        raise
    raise explained from error

__all__ = [
    'BalancedCrossEntropy',
    'CamVid',
    'ClassWeightsHook',
    'ColorMaskDataset',
    'EfficientNetLite',
    'EvaluationRecord',
    'EvaluationRecordHook',
    'FastLoadAnnotations',
    'FastLovaszLoss',
    'FastPackSegInputs',
    'FastPhotoMetricDistortion',
    'FastRandomCrop',
    'FirstBatchHook',
    'FolderDataset',
    'FusedResizeCropFlip',
    'IDD_Data',
    'IoU',
    'LabelCheckHook',
    'LeanCheckpointHook',
    'LoadColorMasks',
    'MMDeeplabV3',
    'MapLabels',
    'NuImagesDataset',
    'OfflineRunner',
    'PackageWeights',
    'PairedDataset',
    'RareClassCrop',
    'RareClassSampler',
    'RunPicturesHook',
    'SegVisHook',
    'SemanticCopyPaste',
    'lean_encoder_decoder',
    'make_lean',
]

#: Where the classes lie that need MMDetection.
_OF_MMDET = {
    'AugFPN': 'models',
    'ConsistentCascadeRoIHead': 'models',
    'ConsistentFCOSHead': 'models',
    'ConsistentRetinaHead': 'models',
    'ConsistentStandardRoIHead': 'models',
    'InstanceRecord': 'evaluation',
    'NailDataset': 'datasets',
    'SoftRoIExtractor': 'models',
    'TranslateXPixels': 'datasets',
}
if has_mmdet():
    __all__ += list(_OF_MMDET)

allow_mmengine_checkpoints()
guard_checkpoint_loaders()
extend_inferencers()


def __getattr__(name: str) -> type:
    """Return a class that needs MMDetection.

    Raises:
        AttributeError: There is no such class.
        ImportError: MMDetection is not installed. (An AttributeError would
            lose its text in ``from mmseg_ext import ...``.)
    """
    if name not in _OF_MMDET:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    if not has_mmdet():
        raise ImportError(
            f'mmseg_ext.{name} needs the package mmdet, which is not '
            'installed; see docs/install.md, or try: mim install mmdet'
        )
    found: type = getattr(import_module(f'mmseg_ext.{_OF_MMDET[name]}'), name)
    return found
