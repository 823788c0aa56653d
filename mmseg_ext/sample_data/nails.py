"""Sample photographs of hands, with masks of their nails.

Source of the format: the tree that tutorials of Mask R-CNN on nails use,
``Images/1/x.png`` to ``Images/4/x.png`` and ``Masks`` likewise.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from mmseg_ext.sample_data.output import (
    check_folders,
    checked_root,
    write_same,
)
from mmseg_ext.sample_data.scenes.hands import render_hand
from mmseg_ext.sample_data.scenes.render import check_arguments
from mmseg_ext.utils.images import encode_png

#: Number of folders that images are dealt out to.
_GROUPS = 4

#: How masks show the nails of a hand, in turn: spread fingers in white,
#: closed fingers with a color for each nail, closed fingers in white.
_STYLES = ('spread', 'colored', 'touching')

#: Colors of nails in a colored mask, BGR.
_MASK_COLORS = (
    (0, 0, 255),
    (0, 255, 0),
    (255, 0, 0),
    (0, 255, 255),
    (255, 0, 255),
)


@dataclass(frozen=True)
class NailScene:
    """A hand and what is known about it.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        instances: uint8 (H, W): 1 to N where a nail is, 0 elsewhere.
        style: ``'spread'``: no nails touch, the mask is black and white.
            ``'colored'``: neighbors touch, each has its color in the mask.
            ``'touching'``: they touch and the mask is black and white.
    """

    image: np.ndarray
    instances: np.ndarray
    style: str

    @property
    def mask(self) -> np.ndarray:
        """The mask as on disk, uint8 (H, W, 3), BGR."""
        number = self.instances.max()
        colors = np.full((number + 1, 3), 255, np.uint8)
        if self.style == 'colored':
            colors[1:] = _MASK_COLORS[:number]
        colors[0] = 0
        return colors[self.instances]


def write_nails(
    root: str | os.PathLike,
    num: int = 12,
    size: tuple[int, int] = (480, 360),
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, int]:
    """Write photographs of hands and masks of their nails.

    ``root`` gets ``Images/1/x.png`` to ``Images/4/x.png``, and ``Masks``
    likewise. In a third of the masks nails touch and have colors, in a third
    they touch in white. The same arguments give the same bytes, so a run that
    was stopped is continued by starting it again.

    Args:
        root: Folder to write, new or empty or of an earlier run.
        num: Number of images, at least one a folder.
        size: Width and height in pixels.
        seed: Other seeds give other hands.
        overwrite: Replace files of the same names and other content.
        progress: Show a progress bar.

    Returns:
        Number of images in each folder.

    Raises:
        ValueError: ``num``, ``size`` or ``seed`` is out of range.
        FileExistsError: ``root`` holds other data.
        NotADirectoryError: ``root`` is a file.
    """
    whole = isinstance(num, int | np.integer) and not isinstance(num, bool)
    if not whole or num < _GROUPS:
        raise ValueError(
            f'num: expected a whole number of at least {_GROUPS}, one image '
            f'for each folder, got {num!r}'
        )
    check_arguments(size, seed)
    root = checked_root(root)
    check_folders(root, (path for i in range(num) for path in _paths(i)))
    for index in tqdm(
        range(num), desc='hands', unit='image', disable=not progress
    ):
        scene = nail_scene(size, seed, index)
        pictures = scene.image, scene.mask
        for path, picture in zip(_paths(index), pictures, strict=True):
            write_same(root / path, encode_png(picture), overwrite)
    return {
        f'Images/{group + 1}': len(range(group, num, _GROUPS))
        for group in range(_GROUPS)
    }


def nail_stem(index: int) -> str:
    """Name an image of the sample set."""
    return f'hand_{index:04d}'


def _paths(index: int) -> Iterator[str]:
    """Image and mask."""
    for folder in ('Images', 'Masks'):
        yield f'{folder}/{index % _GROUPS + 1}/{nail_stem(index)}.png'


def nail_scene(size: tuple[int, int], seed: int, index: int) -> NailScene:
    """Draw a hand.

    Args:
        size: Width and height in pixels.
        seed: As for :func:`write_nails`.
        index: Number of the image, from 0.

    Returns:
        The photograph with the exact nails.
    """
    style = _STYLES[index % len(_STYLES)]
    hand = render_hand(size, seed, index, spread=style == 'spread')
    return NailScene(hand.image, hand.nails, style)
