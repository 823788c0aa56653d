"""Difference hashes: which parts of an image are brighter than those beside.

They stay nearly the same when an image is compressed, resized or brightened.
"""

import cv2
import numpy as np

__all__ = ['SIDE', 'difference_words']

#: Rows and columns of the parts of an image that are compared.
SIDE = 16


def difference_words(gray: np.ndarray) -> tuple[int, ...]:
    """Return the difference hash of an image, as 64-bit words.

    Args:
        gray: uint8 (H, W), of any size, such as an eighth of the image's.
    """
    size = SIDE + 1
    means = cv2.resize(
        gray.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA
    )
    bits = [
        means[:-1, 1:] > means[:-1, :-1],
        means[1:, :-1] > means[:-1, :-1],
    ]
    words = np.packbits(bits).view('>u8')
    return tuple(int(word) for word in words)
