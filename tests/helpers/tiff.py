"""Tiled TIFF files, which neither OpenCV nor Pillow writes."""

import io
import struct

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_FORMATS = {3: 'H', 4: 'I', 7: 'B'}

#: Copied from what Pillow says of a tile: bits, compression, colors,
#: predictor, tables of JPEG, subsampling.
_COPIED = {258: 3, 259: 3, 262: 3, 317: 3, 347: 7, 530: 3}


def tiled_tiff(image, compression, big=False, side=64):
    """Encode an image in tiles, with the directory before them.

    Args:
        image: uint8 RGB, (H, W, 3).
        compression: As Pillow names it.
        big: As BigTIFF.
        side: Of a tile, a multiple of 16.
    """
    height, width = image.shape[:2]
    tiles = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            part = image[top : top + side, left : left + side]
            lack = [(0, side - length) for length in part.shape[:2]]
            tile, tags = _strip(np.pad(part, [*lack, (0, 0)]), compression)
            tiles.append(tile)
    entries = {
        **{256: (4, [width]), 257: (4, [height]), 277: (3, [3])},
        **{284: (3, [1]), 322: (4, [side]), 323: (4, [side])},
        325: (4, [len(tile) for tile in tiles]),
    }
    for tag, kind in _COPIED.items():
        if tag in tags:
            value = tags[tag]
            values = [value] if isinstance(value, int) else list(value)
            entries[tag] = kind, values
    starts = np.cumsum([0, *(len(tile) for tile in tiles)])[:-1]
    for _ in range(2):  # the first tells how long the directory is
        entries[324] = 4, starts.tolist()
        directory = _directory(entries, big)
        starts = starts - starts[0] + len(directory)
    return directory + b''.join(tiles)


def _strip(tile, compression):
    """Return the bytes of a tile and its tags, as Pillow writes them."""
    buffer = io.BytesIO()
    rows = {278: len(tile)}
    image = Image.fromarray(tile)
    image.save(buffer, 'TIFF', compression=compression, tiffinfo=rows)
    data = buffer.getvalue()
    tags = ImageFileDirectory_v2(data[:8])
    buffer.seek(tags.next)
    tags.load(buffer)
    [start], [length] = tags[273], tags[279]
    return data[start : start + length], tags


def _directory(entries, big):
    """Return a header and the directory behind it."""
    head = (
        struct.pack('<2sHHHQ', b'II', 43, 8, 0, 16)
        if big
        else struct.pack('<2sHI', b'II', 42, 8)
    )
    count, entry, offset, inline = (
        ('<Q', '<HHQ', '<Q', 8) if big else ('<H', '<HHI', '<I', 4)
    )
    length = struct.calcsize(entry) + inline
    behind = len(head) + struct.calcsize(count) + len(entries) * length
    behind += inline
    body, values = struct.pack(count, len(entries)), b''
    for tag, (kind, numbers) in sorted(entries.items()):
        data = struct.pack(f'<{len(numbers)}{_FORMATS[kind]}', *numbers)
        body += struct.pack(entry, tag, kind, len(numbers))
        if len(data) <= inline:
            body += data.ljust(inline, b'\0')
        else:
            body += struct.pack(offset, behind + len(values))
            values += data
    return head + body + bytes(inline) + values
