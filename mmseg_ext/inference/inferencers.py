"""Upstream's inferencers with models of ours, found by name."""

import logging
import re
import warnings
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.infer import BaseInferencer
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn

from mmseg_ext.checkpoint import check_checkpoint
from mmseg_ext.launch.errors import closest
from mmseg_ext.registry import SCOPE, configs_folder

__all__ = ['NO_WEIGHTS', 'extend_inferencers']


class _Kind(NamedTuple):
    """What the models of a package are, and what takes them."""

    model: str
    inferencer: str


#: By the package whose classes a config names, its ``default_scope``.
_KINDS = {
    'mmseg': _Kind('a segmentor', 'mmseg.apis.MMSegInferencer'),
    'mmdet': _Kind('a detector', 'mmdet.apis.DetInferencer'),
}

#: The ``Task`` of segmentors in our metafiles; those of detectors differ.
_SEGMENTATION = 'Semantic Segmentation'

#: What our metafiles have as ``Weights``. ``mim download`` fails without; it
#: fetches what follows the last slash unless such a file is there, and so
#: leaves it at writing the config.
NO_WEIGHTS = 'none/'

#: What upstream says of a random model, among other lines.
_OF_UPSTREAM = (
    'Checkpoint is not loaded, and the inf',
    'weights is None, use',
)


def extend_inferencers() -> None:
    """Make upstream's inferencers tell our segmentors from our detectors.

    MMEngine's ``BaseInferencer`` finds the models of all packages by name.
    What it calls on the way, be it a registry or a file, learns neither which
    inferencer asks nor whether there are weights. So three methods are
    extended here. With the scope ``mmseg_ext``

    - ``list_models`` lists what the inferencer can run,
    - classes are looked up where the config says, in MMSeg or in MMDet,
    - a segmentor's name given to ``DetInferencer``, or a detector's to
      ``MMSegInferencer``, is an error that names the other one.

    A line tells that a model is random, or a part of it that the weights lack,
    for this scope and for any config that imports this package. Others' models
    are not touched. A name of ours that is given without the scope gets it
    named, and a misspelt one the nearest.
    """
    found = BaseInferencer._load_model_from_metafile
    BaseInferencer._load_model_from_metafile = _load_model(found)
    BaseInferencer.list_models = _list_models(BaseInferencer.list_models)
    BaseInferencer._init_model = _init_model(BaseInferencer._init_model)


def _load_model(upstream: Callable) -> Callable:
    """Return ``_load_model_from_metafile`` with hints at names of ours."""

    @wraps(upstream)
    def load_model(
        inferencer: BaseInferencer, model: str
    ) -> tuple[Config, str]:
        try:
            return upstream(inferencer, model)
        # The latter where there is no scope.
        except (ValueError, AssertionError) as error:
            stem = model.removesuffix('.py')
            names = [path.stem for path in configs_folder().rglob('*.py')]
            if inferencer.scope == SCOPE:
                raise ValueError(f'{error}{closest(stem, names)}') from error
            if stem not in names:
                raise
            raise ValueError(
                f'{error}; {stem} is a model of {SCOPE}: give scope={SCOPE!r}'
            ) from error

    return load_model


def _list_models(upstream: Callable) -> classmethod:
    """Return ``list_models`` with our scope."""

    @wraps(upstream)
    def list_models(
        inferencer: type[BaseInferencer],
        scope: str | None = None,
        patterns: str = '.*',
    ) -> list[str]:
        if scope != SCOPE:
            return upstream(scope, patterns)
        package = _package_of(inferencer)
        names = [
            model['Name']
            for model in BaseInferencer._get_models_from_metafile(
                BaseInferencer._get_repo_or_mim_dir(scope)
            )
            if package in (None, _package_for(model['Metadata']['Task']))
            and re.match(patterns, model['Name'])
        ]
        print_log('\n'.join(f'model_name: {n}' for n in names), 'current')
        return names

    return classmethod(list_models)


def _init_model(upstream: Callable) -> Callable:
    """Return ``_init_model`` that looks at configs of ours first."""

    @wraps(upstream)
    def init_model(
        inferencer: BaseInferencer,
        cfg: Config | ConfigDict,
        weights: str | None,
        device: str = 'cpu',
    ) -> nn.Module:
        if not _is_ours(inferencer, cfg):
            return upstream(inferencer, cfg, weights, device)
        name = _name_of(cfg)
        scope = cfg.get('default_scope')
        package = _package_of(type(inferencer))
        if package and scope in _KINDS and scope != package:
            kind = _KINDS[scope]
            raise ValueError(
                f'{name} is {kind.model}, expected '
                f'{_KINDS[package].model}: use {kind.inferencer}'
            )
        if inferencer.scope == SCOPE and scope:
            inferencer.scope = scope
            DefaultScope.get_instance(
                f'{scope}-{datetime.now()}', scope_name=scope
            )
        if weights is not None and weights != NO_WEIGHTS:
            model = upstream(inferencer, cfg, weights, device)
            _tell_what_is_random(name, model, weights)
            return model
        print_log(
            f'{name}: no weights were given, so the model is random, and so '
            "is what it finds; give weights='CHECKPOINT'",
            'current',
            logging.WARNING,
        )
        with warnings.catch_warnings():
            for message in _OF_UPSTREAM:
                warnings.filterwarnings('ignore', message)
            return upstream(inferencer, cfg, None, device)

    return init_model


def _tell_what_is_random(name: str, model: nn.Module, weights: str) -> None:
    """Tell if weights leave a part of a model, or all of it, random."""
    try:
        check_checkpoint(model, weights)
    except ValueError as error:
        print_log(
            f'{name}: the model is random, in part or as a whole, and so is '
            f'what it finds: {error}',
            'current',
            logging.WARNING,
        )


def _is_ours(inferencer: BaseInferencer, cfg: Config | ConfigDict) -> bool:
    """Return whether a config was asked of us or imports this package."""
    if not cfg:  # as the checkpoint says, which upstream reads
        return False
    imports: Any = cfg.get('custom_imports', {}).get('imports', ())
    return inferencer.scope == SCOPE or SCOPE in imports


def _name_of(cfg: Config | ConfigDict) -> str:
    """Return what a user knows a config by."""
    file = getattr(cfg, 'filename', None)
    return Path(file).stem if file else 'the config'


def _package_of(inferencer: type) -> str | None:
    """Return the package whose models an inferencer takes; None for any."""
    packages = (
        base.__module__.partition('.')[0] for base in inferencer.__mro__
    )
    return next((p for p in packages if p in _KINDS), None)


def _package_for(task: str) -> str:
    """Return the package whose classes do what a metafile calls a task."""
    return 'mmseg' if task == _SEGMENTATION else 'mmdet'
