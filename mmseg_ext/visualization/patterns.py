"""Patterns for pixels without class, which no color of a class looks like."""

import numpy as np

__all__ = ['IGNORED', 'STRANGE', 'squares']

#: Light and dark squares of pixels that are ignored, two grays as in panels.
IGNORED = (236, 236, 236), (144, 144, 144)

#: Light and dark squares of values that are no class, white and red.
STRANGE = (255, 255, 255), (200, 0, 0)

#: So many squares fit along a picture, of at least so many pixels.
_ALONG, _LEAST = 90, 3


def squares(
    shape: tuple[int, int],
    colors: tuple[tuple[int, int, int], tuple[int, int, int]],
) -> np.ndarray:
    """Return squares of two colors in turn.

    Args:
        shape: Height and width, in pixels.
        colors: RGB, 0 to 255.

    Returns:
        uint8 RGB, (H, W, 3).
    """
    side = max(max(shape) // _ALONG, _LEAST)
    rows, columns = (np.arange(length) // side for length in shape)
    odd = (rows[:, None] + columns) % 2
    return np.array(colors, np.uint8)[odd]
