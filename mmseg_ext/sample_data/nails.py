"""Sample photographs of hands, with masks of their nails.

Source of the format: the tree that tutorials of Mask R-CNN on nails use,
``Images/1/x.png`` to ``Images/4/x.png`` and ``Masks`` likewise. The folders
of images stand for splits. In a third of the masks nails touch and have
colors, in a third they touch in white.
"""

from dataclasses import dataclass

import numpy as np

from mmseg_ext.sample_data.output import Drawn, SetWriter, Slot, check_num
from mmseg_ext.sample_data.scenes.hands import render_hand
from mmseg_ext.utils.images import encode_png

__all__ = ['NailScene', 'nail_scene', 'nail_stem', 'write_nails']

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


def nail_stem(index: int) -> str:
    """Return the stem of an image, as in ``hand_0007``."""
    return f'hand_{index:04d}'


def nail_scene(size: tuple[int, int], seed: int, index: int) -> NailScene:
    """Draw a hand.

    Args:
        size: Width and height in pixels.
        seed: Seed of the set.
        index: Number of the image, from 0.

    Returns:
        The photograph, and the exact nails.
    """
    style = _STYLES[index % len(_STYLES)]
    image, nails = render_hand(size, seed, index, spread=style == 'spread')
    return NailScene(image, nails, style)


def _folders(num: int) -> dict[str, range]:
    """Deal numbers of images out to the folders."""
    check_num(num, _GROUPS, 'folder')
    return {f'Images/{i + 1}': range(i, num, _GROUPS) for i in range(_GROUPS)}


def _paths(slot: Slot) -> list[str]:
    """List image and mask."""
    image = f'{slot.split}/{nail_stem(slot.number)}.png'
    return [image, image.replace('Images', 'Masks')]


def _draw(slot: Slot, size: tuple[int, int], seed: int) -> Drawn:
    scene = nail_scene(size, seed, slot.number)
    return Drawn(map(encode_png, (scene.image, scene.mask)))


#: Write hands and the masks of their nails; see ``SetWriter``.
write_nails = SetWriter('hands', (480, 360), _paths, _draw, _folders)
