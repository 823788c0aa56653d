"""The test evaluator by the names of metrics, and what writes predictions."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.utils import is_abs

from mmseg_ext.evaluation.metrics.iou import IOU_METRICS
from mmseg_ext.evaluation.metrics.label_map_writer import LabelMapWriter
from mmseg_ext.launch.configs import (
    check_output,
    data_sets,
    scope_of,
)
from mmseg_ext.launch.errors import type_name

__all__ = [
    'DETECTION_METRICS',
    'choose_evaluator',
    'prediction_writer',
    'set_evaluator',
]

#: Metrics of instances; those of semantic segmentation are ``IOU_METRICS``.
DETECTION_METRICS = ('bbox', 'segm')

#: Options that mean the same in upstream's ``IoUMetric`` and in ``IoU``.
_SHARED_IOU_OPTIONS = ('ignore_index', 'beta', 'prefix')


def set_evaluator(cfg: Config, names: Sequence[str]) -> str:
    """Set the test evaluator of a config to that of :func:`choose_evaluator`.

    Returns:
        A line that says which evaluator was set and which it replaces.
    """
    replaced = [type_name(evaluator) for evaluator in _evaluators(cfg)]
    chosen = cfg.test_evaluator = choose_evaluator(cfg, names)
    options = ', '.join(
        f'{key}={value!r}' for key, value in chosen.items() if key != 'type'
    )
    line = f'the test evaluator is {chosen["type"]}({options})'
    others = [name for name in replaced if name != chosen['type']]
    return f'{line} in place of {", ".join(others)}' if others else line


def choose_evaluator(cfg: Config, names: Sequence[str]) -> dict[str, Any]:
    """Choose the evaluator for the names of metrics.

    Args:
        cfg: The config of a segmentor or detector. What its own
            ``test_evaluator`` says about the same scores is kept.
        names: Any of ``IOU_METRICS`` for MMSeg, or of ``DETECTION_METRICS``
            for MMDet.

    Returns:
        Config of ``IoU`` or ``CocoMetric``.

    Raises:
        ValueError: A name is unknown, the names or the config belong to
            different packages, or there is no COCO annotation file.
    """
    names = list(dict.fromkeys(names))
    families: dict[str, Collection[str]] = {
        'mmseg': IOU_METRICS,
        'mmdet': DETECTION_METRICS,
    }
    known = [name for family in families.values() for name in family]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f'metrics={unknown}: expected one or more of ' + ', '.join(known)
        )
    wanted = [p for p, family in families.items() if set(names) & set(family)]
    if len(wanted) > 1:
        raise ValueError(
            f'metrics={names} mixes metrics of semantic segmentation '
            f'({", ".join(IOU_METRICS)}) with those of detection '
            f'({", ".join(DETECTION_METRICS)}); give those of one kind'
        )
    # Configs of scope mmseg_ext are MMSeg configs.
    scope = scope_of(cfg).removesuffix('_ext')
    if [scope] != wanted:
        raise ValueError(
            f'metrics={names} is for configs with default_scope '
            f'{wanted[0]}; this one has {scope}'
        )
    return _iou(cfg, names) if scope == 'mmseg' else _coco(cfg, names)


def _evaluators(cfg: Config) -> list[ConfigDict]:
    """Return the config's own test evaluators."""
    evaluators = cfg.get('test_evaluator') or []
    return [evaluators] if isinstance(evaluators, dict) else list(evaluators)


def _options(cfg: Config, kind: str) -> dict[str, Any] | None:
    """Return the options of the config's first evaluator of a class."""
    for evaluator in _evaluators(cfg):
        if type_name(evaluator) == kind:
            return {k: v for k, v in evaluator.items() if k != 'type'}
    return None


def _iou(cfg: Config, names: list[str]) -> dict[str, Any]:
    """Configure ``IoU`` with the options of the config's own."""
    options = _options(cfg, 'IoU')
    if options is None:
        upstream = _options(cfg, 'IoUMetric') or {}
        options = {
            k: v for k, v in upstream.items() if k in _SHARED_IOU_OPTIONS
        }
    # Scores were asked for.
    options.pop('format_only', None)
    return {'type': 'IoU', **options, 'iou_metrics': names}


def _coco(cfg: Config, names: list[str]) -> dict[str, Any]:
    """Configure ``CocoMetric`` with the options of the config's own."""
    options = _options(cfg, 'CocoMetric') or {}
    if not options.get('ann_file'):
        options.update(_annotations(cfg))
    ann_file = options['ann_file']
    remote = options.get('backend_args') or '://' in ann_file
    if not remote and not Path(ann_file).is_file():
        raise ValueError(
            f'metrics={names}: there is no annotation file {ann_file}'
        )
    options.update(metric=names, format_only=False)
    return {'type': 'CocoMetric', **options}


def _annotations(cfg: Config) -> dict[str, Any]:
    """Take the COCO annotation file from the test set.

    Returns:
        ``ann_file``, joined with ``data_root``, and ``backend_args`` if given.
    """
    found = {}
    for data_set in data_sets(cfg.get('test_dataloader') or {}):
        ann_file = os.path.expanduser(data_set.get('ann_file') or '')
        if not ann_file.endswith('.json'):
            continue
        data_root = os.path.expanduser(data_set.get('data_root') or '')
        if data_root and not is_abs(ann_file):
            ann_file = os.path.join(data_root, ann_file)
        found[ann_file] = {'ann_file': ann_file}
        if data_set.get('backend_args'):
            found[ann_file]['backend_args'] = data_set['backend_args']
    if len(found) != 1:
        raise ValueError(
            'the metrics bbox and segm need one COCO annotation file (.json), '
            'from the CocoMetric in test_evaluator or from '
            'test_dataloader.dataset; the config gives '
            + (', '.join(found) or 'none')
        )
    return found.popitem()[1]


def prediction_writer(cfg: Config, out: str) -> BaseMetric:
    """Return the metric that writes predictions.

    Args:
        cfg: The config of a segmentor or detector.
        out: A folder for a segmentor, a pickle file for a detector.

    Raises:
        ValueError: ``out`` is the wrong one of the two, or cannot be made.
    """
    pickle_file = out.endswith(('.pkl', '.pickle'))
    if scope_of(cfg) == 'mmdet':
        if not pickle_file:
            raise ValueError(
                f"out={out!r}: a detector's predictions go to a pickle file, "
                'so expected a name that ends in .pkl or .pickle'
            )
        check_output('out', out, folder=False)
        # MMDet may be absent.
        from mmdet.evaluation import DumpDetResults

        return DumpDetResults(out_file_path=out)
    if pickle_file or (os.path.exists(out) and not os.path.isdir(out)):
        raise ValueError(
            f'out={out!r}: label maps are written as PNG files, so expected a '
            'folder'
        )
    check_output('out', out)
    roots = [
        os.path.join(
            os.path.expanduser(data_set.get('data_root') or ''),
            os.path.expanduser(
                (data_set.get('data_prefix') or {}).get('img_path') or ''
            ),
        )
        for data_set in data_sets(cfg.test_dataloader)
    ]
    return LabelMapWriter(out, roots)
