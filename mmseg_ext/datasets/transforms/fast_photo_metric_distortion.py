"""Photometric distortion by look-up tables."""

import cv2
import mmcv
import numpy as np
from mmseg.datasets.transforms import PhotoMetricDistortion
from mmseg.registry import TRANSFORMS
from numpy import random

__all__ = ['FastPhotoMetricDistortion']

_VALUES = np.arange(256, dtype=np.uint8)

#: OpenCV's name for each combination of axes to flip.
_FLIP_CODES = {(0,): 0, (1,): 1, (0, 1): -1}


@TRANSFORMS.register_module()
class FastPhotoMetricDistortion(PhotoMetricDistortion):
    """Distort brightness, contrast, saturation and hue at random.

    A drop-in for MMSeg's ``PhotoMetricDistortion`` with the same arguments
    that, from the same random state, gives the same image. Upstream
    calculates each pixel in float32 and hues in int64; here that is done
    once for each of the 256 values. Images that are not uint8 are left to
    upstream.
    """

    def transform(self, results: dict) -> dict:
        """Distort ``img``, (H, W, 3) in BGR order, of a sample."""
        if results['img'].dtype == np.uint8:
            results['img'] = _without_flips(results['img'])
        return super().transform(results)

    def convert(
        self, img: np.ndarray, alpha: float = 1, beta: float = 0
    ) -> np.ndarray:
        """Return ``alpha * img + beta``, clipped to 0 to 255, as uint8."""
        if img.dtype != np.uint8:
            return super().convert(img, alpha, beta)
        table = super().convert(_VALUES, alpha, beta)
        shift = int(table[128]) - 128
        if img.shape[2:] == (3,) and (table == _shifted(shift)).all():
            # Sums take a third of the time of a table.
            add = cv2.add if shift > 0 else cv2.subtract
            return add(img, (abs(shift),) * 3)
        return cv2.LUT(img, table).reshape(img.shape)

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """Scale the saturation of BGR (H, W, 3), in one of two cases."""
        if img.dtype != np.uint8:
            return super().saturation(img)
        if not random.randint(2):
            return img
        alpha = random.uniform(self.saturation_lower, self.saturation_upper)
        return _change_hsv(img, 1, self.convert(_VALUES, alpha))

    def hue(self, img: np.ndarray) -> np.ndarray:
        """Turn the hue of BGR (H, W, 3), in one of two cases."""
        if img.dtype != np.uint8:
            return super().hue(img)
        if not random.randint(2):
            return img
        delta = random.randint(-self.hue_delta, self.hue_delta)
        # OpenCV's unit in 8 bits are two degrees.
        hues = (_VALUES.astype(int) + delta) % 180
        return _change_hsv(img, 0, hues.astype(np.uint8))


def _shifted(shift: int) -> np.ndarray:
    """Return the values plus a number, 0 to 255."""
    return np.clip(_VALUES.astype(int) + shift, 0, 255)


def _change_hsv(
    img: np.ndarray, channel: int, table: np.ndarray
) -> np.ndarray:
    """Look the values of one HSV channel of a BGR image up in a table."""
    hsv = mmcv.bgr2hsv(img)
    # Copying a channel out and in is quicker than a table for all three.
    changed = cv2.LUT(cv2.extractChannel(hsv, channel), table)
    return mmcv.hsv2bgr(cv2.insertChannel(changed, hsv, channel))


def _without_flips(img: np.ndarray) -> np.ndarray:
    """Copy a flipped view, which else every function of OpenCV does.

    NumPy, which they leave it to, copies value by value.
    """
    axes = tuple(axis for axis in (0, 1) if img.strides[axis] < 0)
    if not axes:
        return img
    return cv2.flip(np.flip(img, axes), _FLIP_CODES[axes])
