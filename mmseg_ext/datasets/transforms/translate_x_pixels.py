"""Horizontal translation by a number of pixels."""

import numpy as np
from mmdet.datasets.transforms import TranslateX
from mmdet.registry import TRANSFORMS

__all__ = ['TranslateXPixels']


@TRANSFORMS.register_module()
class TranslateXPixels(TranslateX):
    """MMDet's ``TranslateX`` by pixels in place of a share of the width.

    ``TranslateX`` rounds the share to one decimal: of 2048 pixels it moves
    none, 204, 409 and so on. In MMDet 2.x, ``Translate`` of level 5 moved 125.

    Args:
        offset: How far the image moves, in pixels, 0 or more.
        prob: Probability that it moves at all.
        reversal_prob: Probability that it moves to the left, not the right.
        img_border_value: What is filled in: a value for all channels, or one
            for each in the order of the image, which is BGR.
        mask_border_value: What is filled in in masks.
        seg_ignore_label: What is filled in in label maps.
        interpolation: As OpenCV's, by name.

    Raises:
        ValueError: ``offset`` is no whole number from 0.
    """

    def __init__(
        self,
        offset: int,
        prob: float = 1.0,
        reversal_prob: float = 0.5,
        img_border_value: int | float | tuple[float, ...] = 128,
        mask_border_value: int = 0,
        seg_ignore_label: int = 255,
        interpolation: str = 'bilinear',
    ) -> None:
        if not isinstance(offset, int) or offset < 0:
            raise ValueError(
                f'offset: expected a whole number of pixels from 0, got '
                f'{offset!r}; reversal_prob says how often it is to the left'
            )
        super().__init__(
            prob=prob,
            reversal_prob=reversal_prob,
            img_border_value=img_border_value,
            mask_border_value=mask_border_value,
            seg_ignore_label=seg_ignore_label,
            interpolation=interpolation,
        )
        self.offset = offset

    def transform(self, results: dict) -> dict:
        """Move image, boxes, masks and label map; in place."""
        # Half a pixel more, as TranslateX cuts off what is left of the
        # product of share and width.
        self._share = (self.offset + 0.5) / results['img_shape'][1]
        return super().transform(results)

    def _get_mag(self) -> float:
        reverse = np.random.rand() < self.reversal_prob
        return -self._share if reverse else self._share

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(offset={self.offset}, '
            f'prob={self.prob}, '
            f'reversal_prob={self.reversal_prob}, '
            f'img_border_value={self.img_border_value}, '
            f'mask_border_value={self.mask_border_value}, '
            f'seg_ignore_label={self.seg_ignore_label}, '
            f'interpolation={self.interpolation})'
        )
