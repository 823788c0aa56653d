"""What a segmentor made of each image, for reports and comparisons."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmseg.registry import METRICS

from mmseg_ext.evaluation.functional import confusion_matrix
from mmseg_ext.evaluation.image_record import (
    ImageRecord,
    confidence_of,
    count_image,
    ignored_value,
    join_records,
    small_maps,
)
from mmseg_ext.evaluation.metrics.run_record import RunRecord, image_names
from mmseg_ext.evaluation.samples import (
    check_labeled,
    sample_map,
    sample_name,
)
from mmseg_ext.formats.run_records import map_path, write_counts, write_maps
from mmseg_ext.utils.arguments import is_integer, is_number, require

__all__ = ['EvaluationRecord']


@dataclass(frozen=True)
class _Image:
    """What is kept of an image until all are there."""

    path: str
    brightness: float
    record: ImageRecord


@METRICS.register_module()
class EvaluationRecord(RunRecord):
    """Counts of each image and its label maps, in a run directory.

    It is a metric beside others, and has no scores of its own: what it leaves
    behind is what ``mmseg-ext report --from`` and ``mmseg-ext compare`` read.
    The hook of the same name adds it to a run's evaluators, with a folder of
    its own for each validation. Confusion matrices are those that ``IoU``
    counts.

    Args:
        out_dir: The run directory; what an evaluation before left there is
            replaced.
        ignore_index: Label of the pixels that do not count, an integer.
        probs: Also count how sure the model is of right and wrong pixels.
            Samples need ``seg_logits`` for it, which our lean models keep
            with ``keep_logits=True``. It takes a multiple of the time.
        boundary_share: Width of a boundary, as a share of an image's diagonal.
        data_root: Folder of the data set: images in it are named relative to
            it. By default, and where images lie elsewhere, their common
            folder takes its place.
        strict: Whether what cannot be recorded is an error. By default it is,
            else it is a warning in the log, and the run goes on.

    Raises:
        ValueError: An argument is of another type or out of range.
    """

    task = 'semantic'

    def __init__(
        self,
        out_dir: str | os.PathLike[str],
        ignore_index: int = 255,
        probs: bool = False,
        boundary_share: float = 0.02,
        data_root: str = '',
        strict: bool = True,
    ) -> None:
        super().__init__(out_dir, data_root, strict)
        require(
            'ignore_index',
            ignore_index,
            is_integer(ignore_index),
            'an integer, such as 255',
        )
        require('probs', probs, isinstance(probs, bool), 'True or False')
        require(
            'boundary_share',
            boundary_share,
            is_number(boundary_share, 0, 1) and boundary_share > 0,
            'a number above 0 and at most 1',
        )
        self.ignore_index = int(ignore_index)
        self.probs = probs
        self.boundary_share = float(boundary_share)

    def _count(
        self, sample: dict[str, Any], index: int, brightness: float
    ) -> _Image:
        """Count an image, and write its label maps."""
        check_labeled(sample)
        prediction = sample_map(sample, 'pred_sem_seg').cpu()
        label = sample_map(sample, 'gt_sem_seg').cpu()
        count = len(self._classes())
        ignored = ignored_value(count, self.ignore_index)
        try:
            matrix = confusion_matrix(
                prediction, label, count, self.ignore_index
            )
            predictions, labels = small_maps(
                prediction, label, count, self.ignore_index
            )
            confidence = _confidence(sample) if self.probs else None
        except ValueError as error:
            raise ValueError(f'{sample_name(sample)}: {error}') from None
        record = count_image(
            matrix.numpy(),
            predictions,
            labels,
            ignored,
            self.boundary_share,
            confidence,
        )
        write_maps(self.out_dir, index, labels, predictions)
        return _Image(sample['img_path'], brightness, record)

    def _write(self, results: list[_Image]) -> dict[str, Any]:
        """Write the counts."""
        root, paths, names = image_names(
            [each.path for each in results], self._known['data_root']
        )
        counts = join_records(
            [each.record for each in results],
            names,
            paths,
            [each.brightness for each in results],
        )
        write_counts(self.out_dir, counts)
        self._remove_beyond(len(results))
        return {
            'data_root': root,
            'ignore_index': ignored_value(
                len(self._classes()), self.ignore_index
            ),
            'boundary_share': self.boundary_share,
            'probs': self.probs,
        }

    def _remove_beyond(self, count: int) -> None:
        """Remove maps of images that a sampler repeats, or of other runs."""
        for path in map_path(self.out_dir, 0).parent.glob('*.png'):
            if path.stem.isdecimal() and int(path.stem) >= count:
                path.unlink(missing_ok=True)


def _confidence(sample: dict[str, Any]) -> np.ndarray:
    """Return how sure the model is of each pixel, (H, W)."""
    if 'seg_logits' not in sample:
        raise ValueError(
            'no seg_logits, of which probs=True tells how sure the model is; '
            'expected them in the samples: our lean models keep them with '
            'keep_logits=True in the config of the model'
        )
    logits = sample['seg_logits']['data']
    prediction = sample_map(sample, 'pred_sem_seg').to(logits.device)
    return confidence_of(logits, prediction).cpu().numpy()
