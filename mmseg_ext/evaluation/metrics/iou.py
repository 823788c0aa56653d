"""IoU and its relatives, from one confusion matrix of the whole data set."""

import logging
import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable

from mmseg_ext.evaluation.functional import (
    class_scores,
    confusion_matrix,
    frequency_weighted_iou,
    pixel_accuracy,
    resize_nearest,
    silent_classes,
)
from mmseg_ext.evaluation.metrics.label_map_writer import LabelMapWriter
from mmseg_ext.evaluation.samples import (
    check_labeled,
    class_names,
    sample_map,
    sample_name,
)
from mmseg_ext.utils.arguments import is_integer, is_number, require
from mmseg_ext.utils.text import listing

__all__ = ['IOU_METRICS', 'IoU']

#: What ``iou_metrics`` may name, each with its columns of class scores.
IOU_METRICS = {
    'mIoU': ('IoU', 'Acc'),
    'mDice': ('Dice',),
    'mFscore': ('Fscore', 'Precision', 'Recall'),
    'mPrecision': ('Precision',),
    'mRecall': ('Recall',),
    'FWIoU': (),
}

#: The largest ``beta``: its square is still a float.
_MAX_BETA = 1e100


@METRICS.register_module()
class IoU(BaseMetric):
    """Mean IoU and other scores from one exact confusion matrix.

    All pixels of the data set are counted into one int64 matrix, on the
    device where the predictions are. Nothing is kept per image, and in
    distributed evaluation the ranks add up their matrices.

    The averaging rule is that of MMSeg's ``IoUMetric``: a mean goes over the
    classes whose score is defined, so mIoU leaves out a class that is neither
    labeled nor predicted anywhere and counts one that is only predicted as 0.

    Where every labeled pixel of the other classes is right, the log points
    out the classes that were never predicted, with their labeled pixels: the
    scores may then look better than the model is, as with masks of 0 and 255
    of which 255 is ignored. Excluded classes and ``ignore_index`` are not
    looked at. A warning tells as well if no pixel was counted at all.

    Results, in percent: ``aAcc`` always; ``mIoU`` with ``mAcc``, ``mDice``,
    ``mFscore`` (with ``mPrecision`` and ``mRecall``), ``mPrecision``,
    ``mRecall`` and ``FWIoU`` as asked for. A table of all classes is logged.

    Args:
        iou_metrics: Any of ``IOU_METRICS``. (mmengine takes a plain
            ``metrics`` in a config for a list of evaluators.)
        ignore_index: Label of the pixels that do not count, an integer.
        exclude: Names of classes that the means leave out. Their pixels still
            count as wrong predictions of the others, and in ``aAcc``.
        classwise: Also return each class's scores, as ``IoU.<class>`` and so
            on, so that they reach the scalars of the work dir.
        beta: Weight of recall against precision in the F score, above 0 and
            finite.
        prefix: Put before the names of the results with a slash.
        resize: Width and height in pixels that predictions and labels are
            resized to, each from its own size and nearest neighbor as Pillow
            does it, before they are compared; None compares them as they are.
            The benchmark of IDD uses (1280, 720).
        output_dir: Also write the predicted label maps to this folder, as
            PNG files with the names of their images. Where two images have
            the same name :class:`LabelMapWriter`, as ``mmseg-ext test --out``
            has it, keeps them apart.
        format_only: Only write label maps: labels are not needed, and there
            are no scores.
        keep_results: Without effect, as with MMSeg's ``IoUMetric``, to which
            MMSeg's own ``test.py --out`` hands it.

    Attributes:
        confusion: The matrix of the newest evaluation, int64 (C, C), row
            label, column prediction, the same on all ranks; None before the
            first one and with ``format_only``.

    Raises:
        ValueError: An argument is of another type or out of range,
            ``iou_metrics`` holds an unknown name, or ``format_only`` comes
            without ``output_dir``.
        OSError: ``output_dir`` cannot be made.
    """

    # Not None, which mmengine takes for forgotten and warns of; the names
    # stay plain, as MMSeg's, for save_best='mIoU'.
    default_prefix = ''

    def __init__(
        self,
        iou_metrics: Sequence[str] = ('mIoU',),
        ignore_index: int = 255,
        exclude: Sequence[str] = (),
        classwise: bool = False,
        beta: float = 1.0,
        prefix: str | None = None,
        resize: Sequence[int] | None = None,
        output_dir: str | None = None,
        format_only: bool = False,
        keep_results: bool = False,
    ) -> None:
        super().__init__(prefix=prefix)
        self.iou_metrics = _names('iou_metrics', iou_metrics)
        self.exclude = tuple(_names('exclude', exclude))
        if not self.iou_metrics or set(self.iou_metrics) - set(IOU_METRICS):
            raise ValueError(
                f'iou_metrics={self.iou_metrics}: expected one or more of '
                f'{list(IOU_METRICS)}'
            )
        require(
            'ignore_index',
            ignore_index,
            is_integer(ignore_index),
            'an integer, such as 255',
        )
        require(
            'beta',
            beta,
            is_number(beta, 0, _MAX_BETA) and beta > 0,
            f'a positive number, at most {_MAX_BETA:g}',
        )
        require(
            'resize',
            resize,
            resize is None or _is_size(resize),
            'width and height in pixels, such as (1280, 720), or None',
        )
        require(
            'prefix', prefix, isinstance(prefix, str | None), 'a text or None'
        )
        require(
            'output_dir',
            output_dir,
            isinstance(output_dir, str | os.PathLike | None),
            'a folder or None',
        )
        for name, switch in (
            ('classwise', classwise),
            ('format_only', format_only),
        ):
            require(name, switch, isinstance(switch, bool), 'True or False')
        if format_only and not output_dir:
            raise ValueError(
                'format_only=True writes label maps alone, so it needs '
                'output_dir'
            )
        self.format_only = format_only
        self._writer = LabelMapWriter(output_dir) if output_dir else None
        if output_dir:
            os.makedirs(output_dir, exist_ok=True)
        self.resize = resize
        self.ignore_index = int(ignore_index)
        self.classwise = classwise
        self.beta = float(beta)
        self.confusion: np.ndarray | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget everything that was counted."""
        self._matrix: torch.Tensor | None = None
        self._last: torch.Tensor | None = None
        self._seen = 0

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch, and write its label maps if asked to.

        Args:
            data_batch: Not used.
            data_samples: One dict for each image with
                ``pred_sem_seg.data`` and ``gt_sem_seg.data``, (1, H, W) or
                (H, W), integers or whole floats.

        Raises:
            ValueError: A label or prediction is outside the class list, is
                no whole number or has several channels, the sizes differ
                without ``resize``, there is no label, or two label maps would
                go to one file.
        """
        if not self.format_only:
            self._count(data_samples)
        if self._writer:
            self._writer.process(data_batch, data_samples)

    def _count(self, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch."""
        num_classes = len(self._class_names())
        for sample in data_samples:
            check_labeled(sample)
            prediction = sample_map(sample, 'pred_sem_seg')
            label = sample_map(sample, 'gt_sem_seg')
            if self.resize:
                prediction = resize_nearest(prediction, self.resize)
                label = resize_nearest(label, self.resize)
            try:
                matrix = confusion_matrix(
                    prediction, label, num_classes, self.ignore_index
                )
            except ValueError as error:
                raise ValueError(f'{sample_name(sample)}: {error}') from None
            self._add(matrix)

    def _add(self, matrix: torch.Tensor) -> None:
        """Add the matrix of one image."""
        self._matrix = (
            matrix if self._matrix is None else self._matrix + matrix
        )
        self._last = matrix
        self._seen += 1

    def _class_names(self) -> list[str]:
        """Return the class names of the data set and check ``exclude``."""
        names = class_names('IoU', self.dataset_meta)
        unknown = [name for name in self.exclude if name not in names]
        if unknown:
            raise ValueError(
                f'exclude={list(self.exclude)}: {unknown} not among the '
                f'classes {names}'
            )
        return names

    def evaluate(self, size: int) -> dict[str, float]:
        """Add up the matrices of all ranks and score them.

        Args:
            size: Number of samples in the data set. Samplers hand sample k to
                rank k mod world size and pad with repeated samples after the
                last one; those beyond ``size`` are not counted.

        Returns:
            Name to percent, the same on all ranks; nothing with
            ``format_only``.
        """
        if self._writer:
            print_log(f'label maps are in {self._writer.folder}', 'current')
            self._writer.results.clear()
        if self.format_only:
            return {}
        names = self._class_names()
        matrix = self._own_matrix(size, len(names))
        seen = torch.tensor(self._seen)
        self._reset()
        all_reduce(seen)
        if not seen:
            raise ValueError(
                'IoU has nothing to score: no sample was processed; is the '
                'data set empty?'
            )
        all_reduce(matrix)
        self.confusion = matrix.cpu().numpy()
        return self.compute_metrics([self.confusion])

    def _own_matrix(self, size: int, num_classes: int) -> torch.Tensor:
        """Return the matrix of this rank's samples, but for a padded last."""
        if self._matrix is None or self._last is None:
            return torch.zeros(num_classes, num_classes, dtype=torch.int64)
        rank, world_size = get_dist_info()
        beyond = sum(
            index * world_size + rank >= size
            for index in (self._seen - 1, self._seen - 2)
        )
        if beyond > 1:
            raise ValueError(
                f'rank {rank} of {world_size} processed {self._seen} samples '
                f'of a data set of {size}: expected a sampler that pads each '
                'rank by one at most (DefaultSampler)'
            )
        return self._matrix - self._last if beyond else self._matrix

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Score confusion matrices.

        Args:
            results: int64 (C, C) matrices, row label, column prediction.

        Returns:
            Name to percent.
        """
        names = self._class_names()
        matrix = np.sum(results, axis=0)
        scores = class_scores(matrix, self.beta)
        columns = list(
            dict.fromkeys(
                column
                for metric in self.iou_metrics
                for column in IOU_METRICS[metric]
            )
        )
        included = np.array([name not in self.exclude for name in names])
        summary = {'aAcc': pixel_accuracy(matrix)}
        for column in columns:
            summary[f'm{column}'] = _mean(scores[column][included])
        if 'FWIoU' in self.iou_metrics:
            summary['FWIoU'] = frequency_weighted_iou(matrix, included)
        self._log_table(names, included, {c: scores[c] for c in columns})
        if matrix.any():
            self._log_silent(names, included, matrix)
        else:
            self._log_nothing()
        if self.classwise:
            summary.update(
                (f'{column}.{name}', scores[column][index])
                for column in columns
                for index, name in enumerate(names)
            )
        return {
            f'{self.prefix}/{key}' if self.prefix else key: float(value) * 100
            for key, value in summary.items()
        }

    def _log_table(
        self,
        names: list[str],
        included: np.ndarray,
        scores: dict[str, np.ndarray],
    ) -> None:
        """Log the scores of each class in percent."""
        table = PrettyTable()
        table.add_column(
            'Class',
            [
                name if inside else f'{name} (excluded)'
                for name, inside in zip(names, included, strict=True)
            ],
        )
        for column, values in scores.items():
            table.add_column(column, np.round(values * 100, 2).tolist())
        print_log(f'per class results:\n{table}', logger='current')

    def _log_nothing(self) -> None:
        """Log that there are no scores, and why."""
        print_log(
            'IoU: no pixel was counted, so there are no scores: in all labels '
            f'every pixel is {self.ignore_index}, which is ignored. Are the '
            'classes of the data set those of the labels, and is its '
            'reduce_zero_label right, which makes 0 ignored?',
            logger='current',
            level=logging.WARNING,
        )

    def _log_silent(
        self, names: list[str], included: np.ndarray, matrix: np.ndarray
    ) -> None:
        """Log which classes were never predicted beside perfect others."""
        looked_at = included & (np.arange(len(names)) != self.ignore_index)
        silent = np.flatnonzero(silent_classes(matrix, looked_at))
        if not silent.size:
            return
        labeled = matrix.sum(1)
        classes = [
            f'{names[index]} (labeled pixels: {labeled[index] or "none"})'
            for index in silent
        ]
        text = (
            f'IoU: never predicted is {listing(classes)}, while every labeled '
            'pixel of the other classes is right.'
        )
        if not labeled[silent].all():
            text += (
                ' A class labeled nowhere has no score, and the means leave '
                f'it out: are its pixels {self.ignore_index}, which is '
                'ignored, as in masks of 0 and 255?'
            )
        if labeled[silent].any():
            text += ' Does the model predict one class only?'
        print_log(text, logger='current', level=logging.WARNING)


def _names(argument: str, value: Any) -> list[str]:
    """Return the names of an argument, which may be a single one."""
    names = [value] if isinstance(value, str) else value
    fits = isinstance(names, Collection) and all(
        isinstance(name, str) for name in names
    )
    require(argument, value, fits, 'a name or a list of names')
    return list(names)


def _is_size(value: object) -> bool:
    """Return whether a value is two positive whole numbers."""
    return (
        isinstance(value, Sequence)
        and len(value) == 2
        and all(is_integer(side, 1) for side in value)
    )


def _mean(scores: np.ndarray) -> float:
    """Return the mean of the defined scores; NaN without any."""
    defined = scores[~np.isnan(scores)]
    return float(defined.mean()) if defined.size else float('nan')
