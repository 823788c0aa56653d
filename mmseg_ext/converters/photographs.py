"""Photographs: their size as loaders see it, and whether they are whole."""

import io
import os
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from mmseg_ext.converters.core import reading
from mmseg_ext.utils.files import open_file, read_file
from mmseg_ext.utils.images import decode_image, open_image

__all__ = ['check_whole', 'decode_whole', 'photograph_size']

#: What JPEG and PNG files begin with, and end with if they are whole.
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89P': b'IEND\xaeB`\x82'}

#: Orientations that turn a photograph by 90 degrees.
_TURNED = (5, 6, 7, 8)

#: PNG files may have their EXIF behind the pixels, within so many bytes.
_EXIF = 1 << 16

#: A file with so many zeros in place of its end was given its length and not
#: written, as downloads and copies are that a power cut stopped.
_UNWRITTEN = 512


def photograph_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the width and height of a photograph as loaders read it.

    Loaders of MMSeg and MMDet turn photographs as their EXIF says. Of JPEG
    and PNG files, header and end are read, which tells files that were cut
    off or not written to their end; damage in between is not seen. Files of
    other formats are decoded.

    Raises:
        InvalidInputError: It cannot be read as an image.
    """
    with reading(path), open_file(path) as file:
        with open_image(file) as image:
            size = image.size
            # PNG's own getexif would decode the image.
            exif = Image.Image.getexif(image)
            turned = exif.get(ExifTags.Base.Orientation) in _TURNED
            if image.format == 'PNG':
                turned = turned or b'eXIf' in _read_tail(file, _EXIF)
        if not turned and _is_whole(file):
            return size
    # Which formats OpenCV turns depends on its version.
    with reading(path):
        height, width = decode_whole(read_file(path)).shape[:2]
    return width, height


def decode_whole(data: bytes) -> np.ndarray:
    """Decode an image that was not cut off.

    Returns:
        uint8 (H, W, 3), BGR, turned as its EXIF says.

    Raises:
        Exception: It was cut off, or is no image. Each format has its own
            errors: see :func:`mmseg_ext.converters.core.reading`.
    """
    check_whole(data)
    return decode_image(data, 'it')


def check_whole(data: bytes) -> None:
    """Check that an image was not cut off, which OpenCV fills up.

    Raises:
        Exception: As of :func:`decode_whole`.
    """
    file = io.BytesIO(data)
    if not _is_whole(file):
        written = data.rstrip(b'\0')
        zeros, end = len(data) - len(written), _ENDS.get(data[:2])
        if end and zeros >= _UNWRITTEN and not written.endswith(end):
            raise ValueError(
                f'its last {zeros} bytes are zeros: it was not written to its '
                'end'
            )
        # OpenCV 4 fills up what is missing, and Pillow does not.
        with open_image(file) as image:
            image.load()


def _is_whole(file: BinaryIO) -> bool:
    """Tell files with a right end from other ones and other formats."""
    file.seek(0)
    end = _ENDS.get(file.read(2))
    tail = _read_tail(file, 32).rstrip(b'\0')
    file.seek(0)
    return end is not None and tail.endswith(end)


def _read_tail(file: BinaryIO, size: int) -> bytes:
    """Return the last bytes of a file."""
    file.seek(-min(size, file.seek(0, os.SEEK_END)), os.SEEK_END)
    return file.read()
