"""Color masks decoded color by color, as tutorials do."""

import numpy as np
from PIL import Image


def decode(path, color_map):
    """Return int labels (H, W) and the number of pixels of unknown color."""
    rgb = np.array(Image.open(path).convert('RGB'))
    labels = np.full(rgb.shape[:2], -1)
    for color, index in color_map:
        labels[(rgb == color).all(axis=2)] = index
    unknown = int((labels == -1).sum())
    labels[labels == -1] = 255
    return labels, unknown
