"""Random crops that look for rare classes."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.fast_random_crop import FastRandomCrop

__all__ = ['RareClassCrop']

#: As often as upstream, other crops are drawn where one class fills them.
_OTHERS = 10


@TRANSFORMS.register_module()
class RareClassCrop(FastRandomCrop):
    """Crop image and labels at random, often around a pixel of a rare class.

    With probability ``prob`` one of the classes in the image is drawn, then
    one of its pixels, and then one of the crops within the image that hold
    the pixel, all alike. Else, and where no pixel has a class, it crops as
    ``FastRandomCrop`` and MMSeg's ``RandomCrop`` do, whose place it takes::

        dict(type='RareClassCrop', crop_size=(240, 320), cat_max_ratio=0.75)

    Args:
        crop_size: Height and width, or one number for both.
        prob: How often to look for a class, 0 to 1.
        class_weights: How likely each class is drawn, relative to the others
            in the image; 0 for never. Without weights that is one over the
            square root of its pixels in the image: of two classes, the one
            with a hundredth of the pixels is drawn ten times as often.
        cat_max_ratio: Share of a crop that one class may have; up to ten
            others are drawn where it has more, around pixels of the same
            class where it looks for one.
        ignore_index: Label of pixels without class.

    Raises:
        ValueError: ``prob`` or ``class_weights`` is out of range, or a label
            has no weight.
    """

    # As in FastRandomCrop.
    _methods_with_randomness: list[str] = []

    def __init__(
        self,
        crop_size: int | tuple[int, int],
        prob: float = 0.5,
        class_weights: Sequence[float] | None = None,
        cat_max_ratio: float = 1.0,
        ignore_index: int = 255,
    ) -> None:
        super().__init__(crop_size, cat_max_ratio, ignore_index)
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob}: expected 0 to 1')
        self.prob = prob
        self.class_weights = _checked(class_weights)

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """Draw a crop: ``(y0, y1, x0, x1)``, y1 and x1 exclusive.

        It reaches beyond an image that is smaller.

        Args:
            results: Has ``img`` (H, W, C) and, unless all crops are to be
                plain, ``gt_seg_map`` (H, W).
        """
        label = results.get('gt_seg_map')
        if label is None or np.random.random() >= self.prob:
            return super().crop_bbox(results)
        wanted = self._draw_class(label)
        if wanted is None:
            return super().crop_bbox(results)
        pixels = np.flatnonzero(label == wanted)
        for _ in range(1 + _OTHERS):
            pixel = divmod(np.random.choice(pixels), label.shape[1])
            box = self._box_around(pixel, label.shape)
            if self.cat_max_ratio >= 1 or self._is_varied(
                self.crop(label, box)
            ):
                break
        return box

    def _draw_class(self, label: np.ndarray) -> int | None:
        """Draw one of the classes in an image, None if there is none."""
        counts = np.bincount(label[label != self.ignore_index])
        present = np.flatnonzero(counts)
        if self.class_weights is None:
            weights = 1 / np.sqrt(counts[present])
        elif len(counts) > len(self.class_weights):
            raise ValueError(
                f'class_weights has {len(self.class_weights)} numbers, and '
                f'a label holds class {present[-1]}: expected one for each '
                'class of the data set'
            )
        else:
            weights = self.class_weights[present]
        total = weights.sum()
        if not total:
            return None
        return int(np.random.choice(present, p=weights / total))

    def _box_around(
        self, pixel: tuple[int, int], shape: tuple[int, ...]
    ) -> tuple[int, int, int, int]:
        """Draw one of the crops in the image that hold a pixel."""
        y0, x0 = (
            np.random.randint(
                max(place - crop + 1, 0), min(place, max(size - crop, 0)) + 1
            )
            for place, crop, size in zip(
                pixel, self.crop_size, shape, strict=True
            )
        )
        height, width = self.crop_size
        return y0, y0 + height, x0, x0 + width

    def _is_varied(self, label: np.ndarray) -> bool:
        """Return whether no class has ``cat_max_ratio`` of the pixels."""
        counts = np.bincount(label[label != self.ignore_index])
        share: float = counts.max() / counts.sum()
        return share < self.cat_max_ratio


def _checked(weights: Sequence[float] | None) -> np.ndarray | None:
    """Return weights as float64 (classes,).

    Raises:
        ValueError: They are negative, not finite, or all 0.
    """
    if weights is None:
        return None
    array = np.asarray(weights, np.float64)
    good = array.ndim == 1 and np.isfinite(array).all() and (array >= 0).all()
    if not good or not array.any():
        raise ValueError(
            f'class_weights={weights}: expected one number for each class, '
            '0 or more, and at least one above 0'
        )
    return array
