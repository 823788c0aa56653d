"""Predicted label maps, written as files."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmseg_ext.evaluation.functional import single_map, whole_numbers
from mmseg_ext.utils.images import write_png

__all__ = ['LabelMapWriter']


class LabelMapWriter(BaseMetric):
    """A metric that writes predicted label maps, laid out like the images.

    It is not registered: configs have no use for it, since which folders the
    images lie in is known only where a test is started, from the data set.

    The values are those that MMSeg's ``IoUMetric`` writes: class indices, one
    higher where the data set was loaded with ``reduce_zero_label``. Files keep
    the subfolders of their images, so that two of the same name in different
    folders do not overwrite each other.

    Args:
        folder: Where the files go.
        image_roots: Folders that the images lie in. The file of an image that
            is in none of them goes into ``folder`` itself.
    """

    # Not None, which mmengine warns of; there are no scores to name.
    default_prefix = ''

    def __init__(
        self, folder: str | os.PathLike, image_roots: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.image_roots = [os.path.abspath(root) for root in image_roots]
        self._images: dict[Path, str] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the label maps of a batch.

        Args:
            data_batch: Not used.
            data_samples: One dict for each image with ``img_path`` and
                ``pred_sem_seg.data``, (1, H, W) or (H, W), integers or whole
                floats.

        Raises:
            ValueError: There is no label map, it has several channels, its
                values are not whole or do not fit into 8 bits, or its file
                belongs to another image.
        """
        for sample in data_samples:
            image = sample['img_path']
            self._claim(sample)
            if 'pred_sem_seg' not in sample:
                raise ValueError(
                    f'{image}: there is no pred_sem_seg to write; expected '
                    'the predictions of a segmentor'
                )
            try:
                label_map = single_map(sample['pred_sem_seg']['data'])
                label_map = whole_numbers('the', label_map)
            except ValueError as error:
                raise ValueError(
                    f'{image}: pred_sem_seg has {error}'
                ) from None
            if sample.get('reduce_zero_label'):
                label_map = label_map.long() + 1
            for value in label_map.aminmax():
                if not 0 <= value <= 255:
                    raise ValueError(
                        f'{image}: class {value} does not fit into an 8-bit '
                        'label map'
                    )
            target = self._target(image)
            write_png(target, label_map.to(torch.uint8).cpu().numpy())
            self.results.append(str(target))

    def check(self, samples: Iterable[dict]) -> None:
        """Check that each image can have a file of its own, before a test.

        Args:
            samples: What a data set knows of its images: ``img_path``, and
                ``seg_map_path`` where there are labels.

        Raises:
            ValueError: Two label maps would go to one file, or one would
                overwrite an image or label of the data set.
        """
        for sample in samples:
            self._claim(sample)

    def _claim(self, sample: dict) -> None:
        """Take the file of an image for it; refuse one that is taken."""
        image = sample['img_path']
        target = self._target(image)
        other = self._images.setdefault(target, image)
        if other != image:
            raise ValueError(
                f'{target} would hold the label maps of both {other} and '
                f'{image}: test the data sets one by one'
            )
        for source in (image, sample.get('seg_map_path')):
            if source and _is_same_file(target, source):
                raise ValueError(
                    f'the label map of {image} would overwrite {source}: '
                    'expected a folder without data'
                )

    def _target(self, image: str) -> Path:
        """Return the file for an image."""
        path = Path(os.path.abspath(image))
        for root in self.image_roots:
            if path.is_relative_to(root):
                return self.folder / path.relative_to(root).with_suffix('.png')
        return self.folder / f'{path.stem}.png'

    def compute_metrics(self, results: list[str]) -> dict[str, float]:
        """Log how many files were written; there are no scores."""
        MMLogger.get_current_instance().info(
            f'{len(results)} label maps are in {self.folder}'
        )
        return {}


def _is_same_file(target: Path, source: str) -> bool:
    """Return whether two paths lead to the same file that is there."""
    try:
        return os.path.samefile(target, source)
    except OSError:
        return False
