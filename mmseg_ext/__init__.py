"""Data sets, models, metrics and hooks for MMSegmentation and MMDetection.

Importing the package registers its classes in the OpenMMLab registries, lets
mmengine's own checkpoints pass torch's ``weights_only`` loading, and keeps
mmengine from loading any others. Configs do it with
``custom_imports = dict(imports=['mmseg_ext'])``.
"""

from mmseg_ext.environment import check_environment, explain_import_error

__version__ = '0.1.0'

check_environment()
try:
    # Imported to register their classes.
    from mmseg_ext import (  # noqa: F401
        datasets,
        engine,
        evaluation,
        models,
        registry,
    )
    from mmseg_ext.checkpoint import (
        allow_mmengine_checkpoints,
        guard_checkpoint_loaders,
    )
except (ImportError, RuntimeError) as error:
    explained = explain_import_error(error)
    if explained is error:
        raise
    raise explained from error

allow_mmengine_checkpoints()
guard_checkpoint_loaders()
