"""A tiny CamVid with labels made up by its tests."""

import numpy as np
from PIL import Image

from mmseg_ext.labels.camvid import CAMVID32


def write_pair(root, split, stem, shape=(24, 32), seed=0):
    """Write a random image and a label of random 4x4 blocks of classes."""
    rng = np.random.default_rng(seed)
    colors = np.array(list(CAMVID32.values()), np.uint8)
    blocks = rng.integers(0, len(colors), (shape[0] // 4, shape[1] // 4))
    label = colors[blocks].repeat(4, axis=0).repeat(4, axis=1)
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    for folder, name, pixels in (
        (split, f'{stem}.png', image),
        (f'{split}_labels', f'{stem}_L.png', label),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / folder / name)


def write_class_dict(root, colors=CAMVID32):
    """Write ``class_dict.csv`` with spaces after some of the commas."""
    rows = [f'{name},{r}, {g},{b}' for name, (r, g, b) in colors.items()]
    text = '\n'.join(['name,r,g,b', *rows])
    (root / 'class_dict.csv').write_text(text)
