"""Nails of a mask found pixel by pixel."""

import numpy as np
from PIL import Image


def components(mask):
    """Return the 8-connected components of bool (H, W), each as bool."""
    width = mask.shape[1] + 2  # nothing is beyond the last column
    padded = np.pad(mask, 1)
    left = set(np.flatnonzero(padded).tolist())
    steps = [i * width + j for i in (-1, 0, 1) for j in (-1, 0, 1)]
    found = []
    while left:
        reached = [left.pop()]
        for pixel in reached:
            for step in steps:
                if pixel + step in left:
                    left.remove(pixel + step)
                    reached.append(pixel + step)
        component = np.zeros(padded.size, bool)
        component[reached] = True
        found.append(component.reshape(padded.shape)[1:-1, 1:-1])
    return found


def nails(path, min_area=20):
    """Return the nails of a mask file, and what is too small."""
    gray = np.asarray(Image.open(path).convert('L'))
    found = components(gray > 127)
    large = [component for component in found if component.sum() >= min_area]
    return large, len(found) - len(large)


def box(mask):
    """Return left, top, width and height of bool (H, W)."""
    rows, columns = np.nonzero(mask)
    left, top = columns.min(), rows.min()
    return [left, top, columns.max() + 1 - left, rows.max() + 1 - top]


def ids(values):
    """Return the pixels of each value of (H, W) but 0, each as bool."""
    return [
        np.array([[pixel == value for pixel in row] for row in values])
        for value in sorted({int(v) for row in values for v in row} - {0})
    ]


def voc_palette():
    """Return VOC's colors, RGB, made bit by bit from the entries."""
    colors = []
    for entry in range(256):
        color = [0, 0, 0]
        for place, bit in enumerate(reversed(range(8))):
            for channel in range(3):
                color[channel] |= (entry >> (3 * place + channel) & 1) << bit
        colors.append(color)
    return colors
