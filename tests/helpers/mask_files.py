"""Mask files written by hand, of forms that Pillow and OpenCV do not write."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

#: The passes of an interlaced PNG: first row and column, and their steps.
ADAM7 = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)


def saved(image, format='PNG', **options):
    """Return the file that Pillow writes of an array or image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def packed(row, depth):
    """Return a row of pixels in some bits each, or channels of them."""
    if depth == 16:
        return np.asarray(row, '>u2').tobytes()
    values = np.asarray(row, np.uint8).reshape(-1)
    bits = np.unpackbits(values[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits).tobytes()


def chunk(name, data):
    """Return a chunk of a PNG file."""
    check = struct.pack('>I', zlib.crc32(name + data))
    return struct.pack('>I', len(data)) + name + data + check


def exif_chunk(orientation):
    """Return a chunk with an orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    return chunk(b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0'))


def png_file(
    pixels, depth, color, before=b'', after=b'', interlaced=False, piece=1000
):
    """Return a PNG file.

    ``color`` is PNG's: 0 gray, 2 RGB, 3 palette, 4 gray and 6 RGB with alpha.
    ``before`` and ``after`` are chunks that stand around the pixels.
    """
    height, width = pixels.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b''.join(
        b'\0' + packed(row, depth)
        for top, left, down, right in passes
        for row in pixels[top::down, left::right]
        if row.size
    )
    body = zlib.compress(rows)
    header = struct.pack(
        '>IIBBBBB', width, height, depth, color, 0, 0, interlaced
    )
    return b''.join(
        [
            b'\x89PNG\r\n\x1a\n',
            chunk(b'IHDR', header),
            before,
            *(
                chunk(b'IDAT', body[at : at + piece])
                for at in range(0, len(body), piece)
            ),
            after,
            chunk(b'IEND', b''),
        ]
    )


def bmp_file(pixels, bits, palette=()):
    """Return a BMP file of indices, or of 16 bits a pixel."""
    rows = [
        row.astype('<u2').tobytes() if bits == 16 else packed(row, bits)
        for row in pixels[::-1]
    ]
    body = b''.join(row + bytes(-len(row) % 4) for row in rows)
    colors = b''.join(bytes([*color[::-1], 0]) for color in palette)
    start = 54 + len(colors)
    size = start + len(body)
    height, width = pixels.shape
    return b''.join(
        [
            b'BM',
            struct.pack('<IHHI', size, 0, 0, start),
            struct.pack('<IiiHHII', 40, width, height, 1, bits, 0, len(body)),
            struct.pack('<iiII', 0, 0, len(palette), 0),
            colors,
            body,
        ]
    )


def tiff_file(pixels, bits, photometric=1, kind=None, more=(), order='<'):
    """Return a TIFF file of one strip.

    Args:
        pixels: Array of the type that is stored, or of indices of few bits.
        bits: Of a pixel.
        photometric: 0 where white is 0, 1 where black is.
        kind: TIFF's number for unsigned, signed or float.
        more: Tags and their numbers.
        order: ``'<'`` or ``'>'``.
    """
    height, width = pixels.shape
    if bits < 8:
        body = b''.join(packed(row, bits) for row in pixels)
    else:
        body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    body += bytes(len(body) % 2)
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric}
    tags |= {273: 8, 277: 1, 278: height, 279: len(body), **dict(more)}
    if kind:
        tags[339] = kind
    magic = {'<': b'II', '>': b'MM'}[order]
    return b''.join(
        [
            magic + struct.pack(f'{order}HI', 42, 8 + len(body)),
            body,
            struct.pack(f'{order}H', len(tags)),
            *(
                struct.pack(f'{order}HHII', tag, 4, 1, value)
                for tag, value in sorted(tags.items())
            ),
            bytes(4),
        ]
    )
