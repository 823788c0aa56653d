"""Images from bytes and to files, with errors that name the file."""

import io
import os
import struct
import zlib
from typing import BinaryIO

import cv2
import numpy as np
from isal import isal_zlib
from PIL import Image, UnidentifiedImageError

from mmseg_ext.utils.files import write_bytes

__all__ = [
    'IMAGE_SUFFIXES',
    'MAX_PIXELS',
    'decode_image',
    'decode_labels',
    'encode_labels',
    'encode_png',
    'image_size',
    'open_image',
    'png_rows',
    'write_png',
]

#: What the names of images end in, as for MMDet's inferencer.
IMAGE_SUFFIXES = (
    *('.bmp', '.jpeg', '.jpg', '.pgm', '.png'),
    *('.ppm', '.tif', '.tiff', '.webp'),
)

#: Pixels of the largest image that is decoded, 13,377 each way: the number
#: beyond which Pillow takes an image for a decompression bomb.
MAX_PIXELS = 178_956_970

#: The formats that OpenCV reads of those that Pillow knows. Some others run
#: programs when they are decoded.
_FORMATS = (
    *('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000'),
    *('PNG', 'PPM', 'TIFF', 'WEBP'),
)

_PNG = b'\x89PNG\r\n\x1a\n'

#: An 8-bit gray PNG that is not interlaced, from the ninth byte of its header
#: on. Source: W3C PNG, third edition.
_PLAIN_GRAY = bytes((8, 0, 0, 0, 0))

#: The same of RGB.
_PLAIN_RGB = bytes((8, 2, 0, 0, 0))

#: Chunks of a PNG that say more than its pixels: a transparent color, several
#: pictures, an orientation.
_MORE = {b'tRNS', b'acTL', b'eXIf'}

#: Length and name of a PNG chunk, and the bytes that it has beside its data.
_CHUNK, _CHUNK_EXTRA = struct.Struct('>I4s'), 12


def open_image(file: BinaryIO) -> Image.Image:
    """Read the header of an image.

    Raises:
        UnidentifiedImageError: It is of no format that OpenCV reads.
        Exception: The header is broken, or says that there are more than
            :data:`MAX_PIXELS`. Each format has its own errors.
    """
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:  # names an object, and where it lies
        raise UnidentifiedImageError('its format is unknown') from None


def image_size(data: bytes, name: str) -> tuple[int, int] | None:
    """Return the width and height of an image without decoding it.

    They are those in its header: EXIF may turn the image.

    Args:
        data: Content of the file.
        name: Name of the file, for messages.

    Returns:
        None where Pillow cannot tell and OpenCV might, which by itself reads
        no more than 2^30 pixels.

    Raises:
        ValueError: The header is broken, or there are more than
            :data:`MAX_PIXELS`.
    """
    try:
        if data.startswith(_PNG):
            size = _png_size(data)
        else:
            with open_image(io.BytesIO(data)) as image:
                size = image.size
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise ValueError(f'{name} is too large: {error}') from None
    except MemoryError:
        raise
    except Exception as error:  # each format has its own
        raise ValueError(
            f'{name} cannot be read as an image ({len(data)} bytes): {error}'
        ) from None
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f'{name} is of {size[0]}x{size[1]} pixels; expected at most '
            f'{MAX_PIXELS} in all'
        )
    return size


def _png_size(data: bytes) -> tuple[int, int]:
    """Read the header of a PNG file, and check that its chunks fit in.

    OpenCV makes room for as many bytes as a chunk claims to have.
    """
    if data[8:16] != b'\0\0\0\x0dIHDR':
        raise ValueError('the header is missing')
    at = len(_PNG)
    while at + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, at)
        if at + length + _CHUNK_EXTRA > len(data):
            raise ValueError(f'chunk {kind!r} of {length} bytes is truncated')
        if kind == b'IEND':
            break
        at += length + _CHUNK_EXTRA
    width, height = struct.unpack_from('>II', data, 16)
    return width, height


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
        ValueError: The file is not a whole image, or has more than
            :data:`MAX_PIXELS`.
        MemoryError: There is no memory for it.
    """
    size = image_size(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # for no data at all
        image = None
    if image is None:
        if size:
            # OpenCV does not say what it was short of: MemoryError does.
            np.empty((*size, 3), np.uint8)
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


def decode_labels(data: bytes) -> np.ndarray | None:
    """Decode what :func:`encode_labels` wrote, in a third of OpenCV's time.

    Args:
        data: Content of the file.

    Returns:
        uint8 (H, W); None if it is any other file, or not whole.

    Raises:
        MemoryError: There is no memory for it.
    """
    chunks = _png_chunks(data)
    header = chunks.get(b'IHDR', b'')
    if header[8:] != _PLAIN_GRAY or b'IEND' not in chunks:
        return None
    width, height = struct.unpack_from('>II', header)
    if not 0 < width * height <= MAX_PIXELS:
        return None
    size = height * (width + 1)
    first, stream = isal_zlib.decompressobj(), isal_zlib.decompressobj()
    try:
        # Most files with filters have one in the first row.
        if first.decompress(chunks[b'IDAT'], 1) != b'\0':
            return None
        # One byte more than there is, to read the checksum at the end.
        rows = stream.decompress(chunks[b'IDAT'], size + 1)
    except MemoryError:
        raise
    except Exception:  # isal's own, which its stubs take for no class
        return None
    pixels = np.frombuffer(rows, np.uint8)
    if pixels.size != size or not stream.eof:
        return None
    pixels = pixels.reshape(height, width + 1)
    if pixels[:, 0].any():  # filters
        return None
    return pixels[:, 1:].copy()


def png_rows(data: bytes) -> np.ndarray | None:
    """Return the rows of a plain PNG as they are stored, not yet pixels.

    Args:
        data: Content of the file.

    Returns:
        uint8 (H, 1 + W * C), the filter of each row and what it made of the
        pixels, of C channels, which are 1 or 3; None if it is no PNG of 8-bit
        grays or RGB, has more than pixels, such as a transparent color, or is
        not whole.

    Raises:
        MemoryError: There is no memory for it.
    """
    chunks = _png_chunks(data)
    header = chunks.get(b'IHDR', b'')
    channels = {_PLAIN_GRAY: 1, _PLAIN_RGB: 3}.get(header[8:])
    if channels is None or b'IEND' not in chunks or _MORE & chunks.keys():
        return None
    width, height = struct.unpack_from('>II', header)
    if not 0 < width * height <= MAX_PIXELS:
        return None
    size = height * (width * channels + 1)
    stream = isal_zlib.decompressobj()
    try:
        # One byte more than there is, to read the checksum at the end.
        rows = stream.decompress(chunks[b'IDAT'], size + 1)
    except MemoryError:
        raise
    except Exception:  # isal's own, which its stubs take for no class
        return None
    if len(rows) != size or not stream.eof:
        return None
    return np.frombuffer(rows, np.uint8).reshape(height, -1)


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a PNG by name, those of one name as one.

    They end where one is cut off or damaged, or with the file.
    """
    chunks: dict[bytes, bytes] = {}
    at = len(_PNG) if data.startswith(_PNG) else len(data)
    while at + _CHUNK_EXTRA <= len(data):
        length, kind = _CHUNK.unpack_from(data, at)
        body = data[at + 4 : at + _CHUNK.size + length]
        check = data[at + _CHUNK.size + length : at + _CHUNK_EXTRA + length]
        if isal_zlib.crc32(body).to_bytes(4, 'big') != check:
            break
        chunks[kind] = chunks.get(kind, b'') + body[4:]
        at += length + _CHUNK_EXTRA
    return chunks
