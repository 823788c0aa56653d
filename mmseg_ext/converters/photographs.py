"""Photographs: their size as loaders see it, and whether they are whole."""

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from mmseg_ext.converters.core import reading
from mmseg_ext.utils.images import decode_image

__all__ = ['decode_whole', 'photograph_size']

#: What JPEG and PNG files begin with, and end with if they are whole.
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89P': b'IEND\xaeB`\x82'}

#: Orientations that turn a photograph by 90 degrees.
_TURNED = (5, 6, 7, 8)


def photograph_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a photograph as loaders read it.

    Loaders of MMSeg and MMDet turn photographs as their EXIF says. Header and
    end of the file are read, which tells files that were cut off; damage in
    between is not seen.

    Raises:
        InvalidInputError: It cannot be read as an image.
    """
    with reading(path), open(path, 'rb') as file:
        with Image.open(file) as image:
            size = image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        if orientation not in _TURNED and _is_whole(file):
            return size
        # Which formats OpenCV turns depends on its version.
        file.seek(0)
        height, width = decode_whole(file.read()).shape[:2]
        return width, height


def decode_whole(data: bytes) -> np.ndarray:
    """Decode an image that was not cut off.

    Returns:
        uint8 (H, W, 3), BGR, turned as its EXIF says.

    Raises:
        OSError: It was cut off.
        ValueError: It is no image.
    """
    file = io.BytesIO(data)
    if not _is_whole(file):
        # OpenCV 4 fills up what is missing, and Pillow does not.
        with Image.open(file) as image:
            image.load()
    return decode_image(data, 'it')


def _is_whole(file: BinaryIO) -> bool:
    """Tell files with a right end from other ones and other formats."""
    file.seek(0)
    end = _ENDS.get(file.read(2))
    file.seek(-min(32, file.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = file.read().rstrip(b'\0')
    file.seek(0)
    return end is not None and tail.endswith(end)
