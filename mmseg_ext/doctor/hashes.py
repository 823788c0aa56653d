"""Difference hashes: which parts of an image are brighter than those beside.

They stay nearly the same when an image is compressed, resized or brightened.
"""

import cv2
import numpy as np

__all__ = ['SIDE', 'difference_words']

#: Rows and columns of parts that are compared with those beside them. With 12
#: frames of CamVid that lie near each other are as alike as copies are, with
#: 20 or 24 copies of half the size differ twice as much.
SIDE = 16

#: Differences below this many levels of gray are noise and compression.
_NOISE = 1.0


def difference_words(gray: np.ndarray) -> tuple[int, ...]:
    """Return the difference hash of an image, as 64-bit words.

    There are two bits for each part and each of two neighbors: that the
    neighbor is clearly brighter, and that it is clearly darker. Half of the
    differences are clear, the greater ones, and fewer where an image is flat:
    what compression changes are the others. An image without any gives zeros.

    Args:
        gray: uint8 (H, W), an image reduced by the mean of its pixels, as
            ``cv2.INTER_AREA`` does, to 32 rows and columns or more. With
            15, copies differ as much as other images do.

    Returns:
        Sixteen words: brighter to the right, darker to the right, brighter
        below, darker below.
    """
    means = cv2.resize(
        gray.astype(np.float32),
        (SIDE + 1, SIDE + 1),
        interpolation=cv2.INTER_AREA,
    )
    bits = []
    for beside in (means[:-1, 1:], means[1:, :-1]):
        difference = beside - means[:-1, :-1]
        clear = max(float(np.median(np.abs(difference))), _NOISE)
        bits += [difference >= clear, difference <= -clear]
    return tuple(np.packbits(bits).view('>u8').tolist())
