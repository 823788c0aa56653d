"""Label maps in files of many forms."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def saved(image, format='PNG', **options):
    """Return the file that Pillow writes of an array or image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def gray_png(pixels, bits):
    """Return a gray PNG of few bits, which Pillow does not write."""

    def chunk(name, data):
        check = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + check

    lines = (
        ''.join(f'{value:0{bits}b}' for value in row.tolist())
        for row in pixels
    )
    whole = (line.ljust(-len(line) % 8 + len(line), '0') for line in lines)
    rows = b''.join(
        bytes([0, *(int(line[i : i + 8], 2) for i in range(0, len(line), 8))])
        for line in whole
    )
    size = pixels.shape[::-1]
    header = struct.pack('>IIBBBBB', *size, bits, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        (
            chunk(b'IHDR', header),
            chunk(b'IDAT', zlib.compress(rows)),
            chunk(b'IEND', b''),
        )
    )


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
