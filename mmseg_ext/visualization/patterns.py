"""Patterns for pixels without class, which no color of a class looks like."""

import numpy as np

__all__ = ['hatch']

#: Pixels from a stripe to the next one, and how many of them are its dark and
#: its light side.
_PERIOD, _WIDTH = 8, 2

_LIGHT = (255, 255, 255)


def hatch(
    picture: np.ndarray,
    where: np.ndarray,
    dark: tuple[int, int, int] = (0, 0, 0),
    crossed: bool = False,
) -> None:
    """Draw stripes on a part of a picture, in place.

    Args:
        picture: uint8 RGB, (H, W, 3).
        where: bool, (H, W).
        dark: RGB color of the dark side of a stripe; the other one is white.
        crossed: Draw stripes in both directions.
    """
    rows, columns = np.ogrid[: where.shape[0], : where.shape[1]]
    steps = [(rows + columns) % _PERIOD]
    if crossed:
        steps.append((rows - columns) % _PERIOD)
    for step in steps:
        picture[where & (step < _WIDTH)] = dark
        picture[where & (step >= _WIDTH) & (step < 2 * _WIDTH)] = _LIGHT
    if crossed:  # so that both directions are seen
        picture[where & (steps[0] < _WIDTH)] = dark
