"""One step of a validation without the network: its bookkeeping alone.

The metrics of a config get the labels of a few samples as predictions. What
fails then, or is not near the best score, would be so with any model.
"""

import io
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from pycocotools import mask as coco_mask

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.silence import silence
from mmseg_ext.engine.label_checks import same_random_numbers, spread
from mmseg_ext.evaluation.metrics.iou import IoU
from mmseg_ext.formats.coco import Segmentation, check_mask
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.launch.errors import (
    one_line,
    why_not_built,
)
from mmseg_ext.utils.files import is_special

__all__ = ['ValidationStep', 'evaluator_entries', 'try_validation']

#: So many samples are evaluated, of at most so many that are looked at.
_SAMPLES, _LOOKED = 3, 8

#: Arguments of metrics that say where they write; some empty that folder.
_OUTPUTS = ('output_dir', 'outfile_prefix')

#: Where data sets name the files of a sample.
_FILES = ('img_path', 'seg_map_path')

#: Scores that are at their best for perfect predictions, and that best.
_BEST = {
    **dict.fromkeys(
        ('aAcc', 'mIoU', 'mAcc', 'mDice', 'mFscore', 'mPrecision', 'mRecall'),
        100.0,
    ),
    **dict.fromkeys(('bbox_mAP', 'bbox_mAP_50'), 1.0),
    **dict.fromkeys(('segm_mAP', 'segm_mAP_50'), 1.0),
}

#: So much of the best is the best: scores are rounded to two digits, of
#: percents, and to three.
_NEAR = 0.995


class ValidationStep(NamedTuple):
    """What the metrics of a split made of perfect predictions.

    Attributes:
        split: ``'val'`` or ``'test'``.
        fault: With what they fail, in one line; None if they do not.
        scores: The scores; empty where nothing was tried.
        whole: Whether all metrics of the evaluator were tried.
        samples: How many samples were evaluated.
        files: Annotation files of metrics that are not those of the data
            set: the key in the config, and both paths.
    """

    split: str
    fault: str | None = None
    scores: Mapping[str, float] = {}
    whole: bool = False
    samples: int = 0
    files: tuple[tuple[str, str, str], ...] = ()

    @property
    def low(self) -> dict[str, float]:
        """The scores that are below the best ones."""
        return {
            name: score
            for name, score in self.scores.items()
            # Of COCO -1 means that there is nothing to score.
            if 0 <= score < _NEAR * _BEST.get(name.rpartition('/')[2], 0)
        }


def evaluator_entries(cfg: Config, split: str) -> Iterator[tuple[str, Any]]:
    """Yield the configs of the metrics of a split, with their keys.

    Args:
        cfg: The config.
        split: ``'val'`` or ``'test'``.
    """
    key = f'{split}_evaluator'
    found = cfg.get(key)
    if isinstance(found, dict) and 'metrics' in found:
        key, found = f'{key}.metrics', found['metrics']
    if isinstance(found, dict):
        yield key, found
    for number, one in enumerate(found if isinstance(found, list) else ()):
        if isinstance(one, dict):
            yield f'{key}.{number}', one


def try_validation(
    cfg: Config, split: str, dataset: Any
) -> ValidationStep | None:
    """Let the metrics of a split judge the labels of some samples.

    What MMSeg's and MMDet's metrics of label maps, boxes and masks make of
    them is told, of ``IoU``, ``IoUMetric`` and ``CocoMetric``. What they
    would write goes to a folder that is removed.

    Args:
        cfg: The config.
        split: ``'val'`` or ``'test'``.
        dataset: Its data set, built; None if it cannot be.

    Returns:
        What came out; None for a split without metrics or data set, or a test
        that is the same as the validation.
    """
    found = dict(evaluator_entries(cfg, split))
    same = split == 'test' and all(
        cfg.get(f'test_{part}') == cfg.get(f'val_{part}')
        for part in ('evaluator', 'dataloader')
    )
    if not found or dataset is None or same:
        return None
    files = tuple(_other_files(found, dataset))
    step = ValidationStep(split, files=files)
    with _no_words(), tempfile.TemporaryDirectory() as folder:
        try:
            for one in found.values():
                if is_special(path := str(one.get('ann_file') or '')):
                    raise OSError(f'ann_file {path} is a pipe, and no file')
            metrics = [
                METRICS.build(_moved(one, folder)) for one in found.values()
            ]
        # Anything may come out of a user's class.
        except FAULTS as error:
            fault = why_not_built(cfg, error) or one_line(error)
            # A file that is not there is told with it.
            return step._replace(fault=fault)
        tried = [] if files else [one for one in metrics if _is_known(one)]
        with same_random_numbers():
            samples = list(_samples(dataset, tried))
        if not tried or not samples:
            return step
        whole = len(tried) == len(metrics)
        return _evaluate(step._replace(whole=whole), tried, dataset, samples)


def _evaluate(
    step: ValidationStep,
    metrics: Sequence[Any],
    dataset: Any,
    samples: Sequence[Mapping[str, Any]],
) -> ValidationStep:
    """Return a step with the scores of samples, or why there are none."""
    for metric in metrics:
        # Of few samples most classes are not there, nor most images.
        if getattr(metric, 'nan_to_num', None) is not None:
            metric.nan_to_num = None
        if hasattr(metric, 'img_ids'):
            metric.img_ids = [sample['img_id'] for sample in samples]
    try:
        evaluator = Evaluator(metrics)
        evaluator.dataset_meta = dataset.metainfo
        evaluator.process(samples)
        scores = evaluator.evaluate(len(samples))
    # Anything may come out of a user's class.
    except FAULTS as error:
        return step._replace(fault=one_line(error), samples=len(samples))
    numbers = {
        name: float(score)
        for name, score in scores.items()
        if isinstance(score, float | int | np.number)
    }
    return step._replace(
        scores={k: v for k, v in numbers.items() if math.isfinite(v)},
        samples=len(samples),
    )


@contextmanager
def _no_words() -> Iterator[None]:
    """Show nothing of what metrics print and log."""
    with (
        silence(),
        redirect_stdout(io.StringIO()),
        # Of classes that no sample has.
        np.errstate(all='ignore'),
    ):
        yield


def _moved(cfg: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return the config of a metric that writes to another folder."""
    copy = dict(cfg)
    for name in _OUTPUTS:
        if copy.get(name) is not None:
            copy[name] = os.path.join(folder, name)
    return copy


def _is_known(metric: Any) -> bool:
    """Tell whether a metric needs no more than what samples here have."""
    if getattr(metric, 'format_only', False):
        return False
    if isinstance(metric, IoU | IoUMetric):
        return True
    # Of MMDet, which may be absent; others compute in a way of their own.
    kinds = [kind.__name__ for kind in type(metric).mro()]
    if 'CocoMetric' not in kinds:
        return False
    base: Any = type(metric).mro()[kinds.index('CocoMetric')]
    return bool(type(metric).compute_metrics is base.compute_metrics)


def _samples(
    dataset: Any, metrics: Sequence[Any]
) -> Iterator[Mapping[str, Any]]:
    """Yield some samples as a model gives them, with perfect predictions."""
    count = 0
    for index in spread(len(dataset), _LOOKED) if metrics else ():
        # Why a pipeline fails, or a mask cannot be read, is told elsewhere.
        try:
            info = dataset.get_data_info(index)
            if any(is_special(str(info.get(key) or '')) for key in _FILES):
                continue
            _check_masks(info, metrics)
            sample = dataset[index]['data_samples'].to_dict()
            whole = (
                _with_labels(sample, dataset)
                if 'gt_sem_seg' in sample
                else _with_instances(sample, info, dataset, metrics)
            )
        except FAULTS:
            continue
        if whole is not None:
            yield whole
            count += 1
        if count == _SAMPLES:
            return


def _check_masks(info: Mapping[str, Any], metrics: Sequence[Any]) -> None:
    """Check the masks of an image: pycocotools crashes on broken ones.

    Raises:
        ValueError: One is broken.
    """
    for one in info.get('instances') or ():
        _check_mask(one.get('mask'), (info['height'], info['width']))
    for metric in metrics:
        coco = getattr(metric, '_coco_api', None)
        # It may have others there than the data set.
        image = coco.imgs.get(info['img_id']) if coco else None
        if coco is None or image is None:
            continue
        for one in coco.imgToAnns[info['img_id']]:
            size = image['height'], image['width']
            _check_mask(one.get('segmentation'), size)


def _check_mask(mask: Any, size: tuple[int, int]) -> None:
    if isinstance(mask, Mapping) and isinstance(mask.get('counts'), bytes):
        mask = {**mask, 'counts': mask['counts'].decode('ascii')}
    check_mask(msgspec.convert(mask, Segmentation), size)


def _with_labels(
    sample: dict[str, Any], dataset: Any
) -> dict[str, Any] | None:
    """Return a sample whose prediction is its label map, if that is sound."""
    label = sample['gt_sem_seg']['data']
    classes = len(dataset.metainfo.get('classes') or ())
    # With a label that was resized, of which the pipelines' checks tell.
    if classes < 2 or tuple(label.shape[-2:]) != tuple(sample['ori_shape']):
        return None
    known = (label >= 0) & (label < classes)
    # Labels outside the classes are told by what reads the files.
    if not known.any() or not bool((known | (label == IGNORE_INDEX)).all()):
        return None
    predicted = label.long().where(known, torch.zeros((), dtype=torch.long))
    return {**sample, 'pred_sem_seg': dict(data=predicted)}


def _with_instances(
    sample: dict[str, Any],
    info: Mapping[str, Any],
    dataset: Any,
    metrics: Sequence[Any],
) -> dict[str, Any] | None:
    """Return a sample whose predictions are its instances, if sound."""
    found = [
        one
        for one in info.get('instances') or ()
        if not one.get('ignore_flag')
    ]
    classes = dataset.metainfo.get('classes') or ()
    if not found or not all(
        _has_all(getattr(metric, '_coco_api', None), info, classes, len(found))
        for metric in metrics
    ):
        return None
    predicted: dict[str, Any] = {
        'bboxes': torch.tensor([one['bbox'] for one in found]).float(),
        'labels': torch.tensor([one['bbox_label'] for one in found]),
        'scores': torch.ones(len(found)),
    }
    if any('segm' in metric.metrics for metric in metrics):
        size = info['height'], info['width']
        predicted['masks'] = [_code(one['mask'], size) for one in found]
    return {**sample, 'pred_instances': predicted}


def _has_all(
    coco: Any, info: Mapping[str, Any], classes: Sequence[str], count: int
) -> bool:
    """Tell whether a metric knows the same instances of an image."""
    if coco is None:
        return True
    wanted = set(coco.get_cat_ids(cat_names=classes))
    known = [
        one
        for one in coco.imgToAnns.get(info['img_id'], ())
        if one.get('category_id') in wanted and not one.get('iscrowd')
    ]
    return len(known) == count


def _code(mask: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Return a mask of COCO, polygons or runs, as compressed runs."""
    if isinstance(mask, list):
        codes = coco_mask.frPyObjects(mask, *size)
        return dict(coco_mask.merge(codes))
    if isinstance(mask['counts'], list):
        return dict(coco_mask.frPyObjects(mask, *size))
    return dict(mask)


def _other_files(
    found: Mapping[str, Any], dataset: Any
) -> Iterator[tuple[str, str, str]]:
    """Yield annotation files of metrics that are not the data set's."""
    own = getattr(dataset, 'ann_file', None)
    if not isinstance(own, str) or not os.path.isfile(own):
        return
    for key, one in found.items():
        path = one.get('ann_file')
        if not isinstance(path, str) or not os.path.isfile(path):
            continue
        if os.path.samefile(path, own):
            continue
        if Path(path).read_bytes() != Path(own).read_bytes():
            yield f'{key}.ann_file', path, own
