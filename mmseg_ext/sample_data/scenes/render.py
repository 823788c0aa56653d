"""Draws one street scene."""

import numpy as np

from mmseg_ext.sample_data.scenes.layout import Layout
from mmseg_ext.sample_data.scenes.painter import Painter
from mmseg_ext.sample_data.scenes.scene import Scene

__all__ = ['check_arguments', 'is_whole', 'render_scene']

_MIN_SIDE, _MAX_SIDE = 32, 8192


def render_scene(
    size: tuple[int, int] = (480, 360), seed: int = 0, index: int = 0
) -> Scene:
    """Draw one street scene.

    What is in it follows from ``seed`` and ``index`` alone. ``size`` says how
    finely it is drawn, and its proportions how much of the sides is seen.

    Args:
        size: Width and height in pixels, each 32 to 8192.
        seed: Seed of the set.
        index: Number of the scene in the set.

    Returns:
        The picture and its objects. Every pixel shows one of them.

    Raises:
        ValueError: An argument is not a whole number or out of range.
    """
    check_arguments(size, seed)
    if not is_whole(index) or index < 0:
        raise ValueError(f'index={index!r}: expected a whole number from 0')
    size = (int(size[0]), int(size[1]))
    layout = Layout(size, np.random.default_rng((seed, index, 0)))
    painter = Painter(layout.view, np.random.default_rng((seed, index, 1)))
    for item in layout.backdrop:
        painter.paint(item)
    painter.finish_ground([s for i in layout.standing for s in i.shadows])
    for item in layout.standing:
        painter.paint(item)
    return Scene(painter.photograph(), painter.objects)


def check_arguments(size: tuple[int, int], seed: int) -> None:
    """Check what a scene is to be drawn with.

    Raises:
        ValueError: ``size`` is not two whole numbers from 32 to 8192, or
            ``seed`` not a whole number from 0.
    """
    good = (
        isinstance(size, tuple | list)
        and len(size) == 2
        and all(map(is_whole, size))
        and all(_MIN_SIDE <= side <= _MAX_SIDE for side in size)
    )
    if not good:
        raise ValueError(
            f'size={size!r}: expected width and height in pixels, two whole '
            f'numbers from {_MIN_SIDE} to {_MAX_SIDE}'
        )
    if not is_whole(seed) or seed < 0:
        raise ValueError(f'seed={seed!r}: expected a whole number from 0')


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
