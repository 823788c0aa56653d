"""Packing of images and labels, at speed."""

import cv2
import numpy as np
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

__all__ = ['FastPackSegInputs']


@TRANSFORMS.register_module()
class FastPackSegInputs(PackSegInputs):
    """Pack image and labels for a segmentor.

    A drop-in for MMSeg's ``PackSegInputs`` with the same arguments and the
    same result. OpenCV takes the channels of an image apart, in a fraction
    of PyTorch's time.
    """

    def transform(self, results: dict) -> dict:
        """Pack a sample.

        Args:
            results: The sample, whose ``img`` is (H, W, C) or (H, W).
        """
        image = results.get('img')
        if image is not None and image.ndim == 3 and image.dtype == np.uint8:
            height, width, channels = image.shape
            planes = np.empty((channels, height, width), np.uint8)
            cv2.split(image, list(planes))
            # Upstream turns it back, and has nothing left to copy.
            results = {**results, 'img': planes.transpose(1, 2, 0)}
        return super().transform(results)
