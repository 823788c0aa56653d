"""Values of a PNG file as they are stored, by its specification alone."""

import struct
import zlib

import numpy as np

#: Values of a pixel, by PNG's number for the kind of color.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def stored(data):
    """Return integers, (H, W) or (H, W, channels); not for interlaced ones."""
    at, body = 8, b''
    while at < len(data):
        length, name = struct.unpack_from('>I4s', data, at)
        body += data[at + 8 : at + 8 + length] * (name == b'IDAT')
        at += length + 12
    width, height, bits, color = struct.unpack_from('>IIBB', data, 16)
    channels = CHANNELS[color]
    step = max(1, bits * channels // 8)
    size = (width * channels * bits + 7) // 8
    stream = zlib.decompress(body)
    above, image = [0] * size, []
    for _ in range(height):
        kind, line = stream[0], stream[1 : size + 1]
        stream = stream[size + 1 :]
        row = []
        for index, byte in enumerate(line):
            left = row[index - step] if index >= step else 0
            corner = above[index - step] if index >= step else 0
            guess = left + above[index] - corner
            near = min(
                (left, above[index], corner), key=lambda v: abs(guess - v)
            )
            mean = (left + above[index]) // 2
            row.append(
                (byte + (0, left, above[index], mean, near)[kind]) % 256
            )
        above = row
        digits = ''.join(f'{byte:08b}' for byte in row)
        image.append(
            [
                int(digits[i * bits : (i + 1) * bits], 2)
                for i in range(width * channels)
            ]
        )
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.array(image).reshape(shape)
