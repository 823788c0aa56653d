"""Random crops whose classes are counted by a histogram."""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS

__all__ = ['FastRandomCrop', 'is_mixed']

#: Up to so many pixels, the counts of OpenCV's float32 histogram are exact.
_MAX_PIXELS = 2**24

_VALUES = np.arange(256)


def is_mixed(
    values: np.ndarray,
    counts: np.ndarray,
    cat_max_ratio: float,
    ignore_index: int,
) -> bool:
    """Return whether no label has too large a share of those that count.

    Args:
        values: Labels, (N,).
        counts: How often each is there, int64 (N,).
        cat_max_ratio: The share that is too large.
        ignore_index: The label that does not count.
    """
    counts = counts[ignore_index != values]
    return bool(counts.any() and counts.max() / counts.sum() < cat_max_ratio)


@TRANSFORMS.register_module()
class FastRandomCrop(RandomCrop):
    """Crop image and labels at random.

    A drop-in for MMSeg's ``RandomCrop`` with the same arguments that, from
    the same random state, gives the same crop. With ``cat_max_ratio``,
    upstream sorts the labels of up to ten crops to count them; here a
    histogram counts them. Labels that are not uint8 are left to upstream.
    """

    # A list of its own: MMCV would add the name below to that of RandomCrop,
    # and take each call for two where draws are shared.
    _methods_with_randomness: list[str] = []

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """Draw a crop: ``(y0, y1, x0, x1)``, y1 and x1 exclusive.

        It reaches beyond an image that is smaller.

        Args:
            results: Has ``img`` (H, W, C) and ``gt_seg_map`` (H, W).
        """
        if self.cat_max_ratio >= 1 or not self._is_countable(results):
            return super().crop_bbox(results)
        # Without a limit on the ratio, upstream draws a box and is done.
        boxes = RandomCrop(self.crop_size)
        box = boxes.crop_bbox(results)
        for _ in range(10):
            if self._is_mixed(self.crop(results['gt_seg_map'], box)):
                break
            box = boxes.crop_bbox(results)
        return box

    def _is_countable(self, results: dict) -> bool:
        """Return whether OpenCV counts the labels, and exactly."""
        label = results['gt_seg_map']
        height, width = self.crop_size
        return (
            label.dtype == np.uint8
            and label.shape == results['img'].shape[:2]
            and height * width <= _MAX_PIXELS
        )

    def _is_mixed(self, label: np.ndarray) -> bool:
        """Return whether no class has ``cat_max_ratio`` of the pixels."""
        counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel()
        counts = counts.astype(np.int64)
        return is_mixed(_VALUES, counts, self.cat_max_ratio, self.ignore_index)
