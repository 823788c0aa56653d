"""Random crops that look for rare classes."""

from collections.abc import Collection, Sequence

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.fast_random_crop import FastRandomCrop
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.arguments import is_integer, is_number, require

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
            in the image: one number for each class of the data set, 0 for
            never. Without weights that is one over the square root of its
            pixels in the image: of two classes, the one with a hundredth of
            the pixels is drawn ten times as often.
        cat_max_ratio: Share of a crop that one class may have; up to ten
            others are drawn where it has more, around pixels of the same
            class where it looks for one.
        ignore_index: Label of pixels without class. It is never looked for,
            nor are 255 and labels below 0.

    Raises:
        ValueError: An argument is no such number or out of range, or a label
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
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        super().__init__(crop_size, cat_max_ratio, ignore_index)
        require('prob', prob, is_number(prob, 0, 1), 'a number from 0 to 1')
        require(
            'cat_max_ratio',
            cat_max_ratio,
            is_number(cat_max_ratio, 0),
            'a number of 0 or more, of which 1 or more is no limit',
        )
        require(
            'ignore_index',
            ignore_index,
            is_integer(ignore_index),
            'an integer, such as 255',
        )
        self.prob = prob
        self.class_weights = _checked(class_weights)

    def check_classes(self, numbers: Collection[int]) -> None:
        """Check that it fits a data set; ``LabelCheckHook`` calls it.

        Args:
            numbers: Numbers of classes that fit it.

        Raises:
            ValueError: There is another number of weights.
        """
        weights = self.class_weights
        if weights is not None and len(weights) not in numbers:
            raise ValueError(
                f'class_weights of RareClassCrop has {len(weights)} numbers: '
                f'expected {max(numbers)}, one for each class of the data set'
            )

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
        counts = self._counts(label)
        present = np.flatnonzero(counts)
        if self.class_weights is None:
            weights = 1 / np.sqrt(counts[present])
        elif present.max(initial=0) >= len(self.class_weights):
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

    def _counts(self, label: np.ndarray) -> np.ndarray:
        """Return the pixels of each class."""
        counts = np.bincount(label[label >= 0])
        for ignored in (self.ignore_index, IGNORE_INDEX):
            if 0 <= ignored < len(counts):
                counts[ignored] = 0
        return counts

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
        counts = self._counts(label)
        share: float = counts.max() / counts.sum()
        return share < self.cat_max_ratio


def _checked(weights: Sequence[float] | None) -> np.ndarray | None:
    """Return weights as float64 (classes,).

    Raises:
        ValueError: They are no numbers, negative, not finite, or all 0.
    """
    if weights is None:
        return None
    array = np.asarray(weights)
    require(
        'class_weights',
        weights,
        array.ndim == 1
        and array.dtype.kind in 'iuf'
        and bool(np.isfinite(array).all() and (array >= 0).all())
        and bool(array.any()),
        'one number for each class, 0 or more, and at least one above 0; '
        'rules and files are for losses alone',
    )
    return array.astype(np.float64)
