"""Label maps in files of many forms."""

import numpy as np
from PIL import Image

from helpers.mask_files import png_file, saved


def gray_png(pixels, bits):
    """Return a gray PNG of few bits, which Pillow does not write."""
    return png_file(pixels, bits, 0)


def in_all_forms(labels):
    """Return PNG files of the same label map, by the name of their form."""
    image = Image.fromarray(labels)
    colored = Image.fromarray(labels, 'P')
    colored.putpalette(bytes(range(256)) * 3)  # says nothing of the values
    opaque = Image.new('L', image.size, 255)
    few = {bits: labels.max() < 1 << bits for bits in (1, 2, 4)}
    return {
        **{f'{b} bits': gray_png(labels, b) for b, fit in few.items() if fit},
        '16 bits': saved(labels.astype(np.uint16)),
        'palette': saved(colored),
        **{
            f'{b}-bit palette': saved(colored, bits=b)
            for b, fit in few.items()
            if fit
        },
        'RGB': saved(Image.merge('RGB', [image] * 3)),
        'LA': saved(Image.merge('LA', [image, opaque])),
        'RGBA': saved(Image.merge('RGBA', [image] * 3 + [opaque])),
    }
