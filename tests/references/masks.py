"""Mask files read with NumPy and zlib alone, from their specifications."""

import struct
import zlib

import numpy as np


def unpacked(data, bits):
    """Return the values of a row, most significant bits first."""
    if bits == 16:
        return np.frombuffer(data, '>u2')
    values = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, bits)
    return values @ (1 << np.arange(bits)[::-1])


def _unfiltered(kind, line, above, step):
    """Undo the filter of a row of a PNG, byte by byte."""
    row = [0] * len(line)
    for at, byte in enumerate(line):
        left = row[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        up = above[at]
        near = left + up - corner
        nearest = min((left, up, corner), key=lambda value: abs(near - value))
        row[at] = byte + (0, left, up, (left + up) // 2, nearest)[kind] & 255
    return row


def png(data):
    """Return pixels as stored, (H, W) or (H, W, C), and the chunks."""
    chunks, at = {}, 8
    while at < len(data):
        length, name = struct.unpack_from('>I4s', data, at)
        body = data[at + 8 : at + 8 + length]
        chunks[name] = chunks.get(name, b'') + body
        at += length + 12
    width, height, depth, color = struct.unpack_from('>IIBB', chunks[b'IHDR'])
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    stream = zlib.decompress(chunks[b'IDAT'])
    size = (width * channels * depth + 7) // 8
    step = max(1, channels * depth // 8)
    above, rows = [0] * size, []
    for top in range(0, height * (size + 1), size + 1):
        line = stream[top + 1 : top + 1 + size]
        above = _unfiltered(stream[top], line, above, step)
        rows.append(unpacked(bytes(above), depth)[: width * channels])
    pixels = np.array(rows).reshape(height, width, channels)
    return (pixels[..., 0] if channels == 1 else pixels), chunks


def pnm(data):
    """Return the pixels of P1 to P6 without comments, and what is white."""
    magic, rest = data[:2], data[2:]
    header = []
    while len(header) < (2 if magic in (b'P1', b'P4') else 3):
        rest = rest.lstrip()
        digits = len(rest) - len(rest.lstrip(b'0123456789'))
        header.append(int(rest[:digits]))
        rest = rest[digits:]
    width, height, white = (*header, 1)[:3]
    channels = 3 if magic in (b'P3', b'P6') else 1
    if magic == b'P4':
        rest = rest[1:]
        size = (width + 7) // 8
        rows = [
            unpacked(rest[top : top + size], 1)[:width]
            for top in range(0, height * size, size)
        ]
        return 1 - np.array(rows), white
    if magic == b'P1':
        bits = [int(chr(byte)) for byte in b''.join(rest.split())]
        return 1 - np.array(bits).reshape(height, width), white
    if magic in (b'P5', b'P6'):
        values = np.frombuffer(rest[1:], np.uint8 if white < 256 else '>u2')
    else:
        values = np.array([int(word) for word in rest.split()])
    pixels = values.reshape(height, width, channels)
    return (pixels[..., 0] if channels == 1 else pixels), white


def bmp(data):
    """Return the pixels of a BMP without compression, and its palette.

    They are entries of the palette, or RGB.
    """
    (start,) = struct.unpack_from('<I', data, 10)
    (header,) = struct.unpack_from('<I', data, 14)
    width, height, _, bits = struct.unpack_from('<iiHH', data, 18)
    (used,) = struct.unpack_from('<I', data, 46)
    size = (width * bits + 31) // 32 * 4
    rows = []
    for row in range(height):
        at = start + row * size
        line = data[at : at + size]
        if bits <= 8:
            rows.insert(0, unpacked(line, bits)[:width])
        else:
            pixels = np.frombuffer(line[: width * bits // 8], np.uint8)
            rows.insert(0, pixels.reshape(width, -1)[:, 2::-1])
    palette = None
    if bits <= 8:
        count = used or 1 << bits
        colors = np.frombuffer(data, np.uint8, 4 * count, 14 + header)
        palette = colors.reshape(-1, 4)[:, 2::-1]
    return np.array(rows), palette
