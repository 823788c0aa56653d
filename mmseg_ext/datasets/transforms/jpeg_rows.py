"""Decoding of the upper rows of JPEG files, where simplejpeg is installed."""

import struct

import numpy as np

try:
    import simplejpeg
except ImportError:  # OpenCV decodes all rows
    simplejpeg = None

__all__ = ['decode_rows']

#: Markers of JPEG: start of the image, and of a frame of sequential coding.
#: Source: ITU-T T.81, annex B.
_START, _FRAME = b'\xff\xd8', b'\xff\xc0'

#: What may be before the frame in files that all decoders read alike: JFIF,
#: tables, restarts, comments. EXIF may turn an image, and Adobe's segment
#: say that it is in other colors.
_PLAIN = {b'\xff\xe0', b'\xff\xdb', b'\xff\xc4', b'\xff\xdd', b'\xff\xfe'}

#: A frame from its marker on: length, bits, height, width, channels.
_HEADER = struct.Struct('>2xHBHHB')
_BITS, _CHANNELS = 8, 3

#: Where in it the height is.
_HEIGHT_AT = 5

#: Rows behind the last one that is needed: colors of half the height are
#: interpolated from row to row, and the decoder works in blocks of 16.
_MORE = 16


def decode_rows(
    data: bytes, size: tuple[int, int], rows: int
) -> np.ndarray | None:
    """Decode JPEG from the top down to a row, the same as OpenCV does.

    The header is changed to say that the image is no higher, and what follows
    is not decoded. Damage within a file is not seen then.

    Args:
        data: Content of the file.
        size: Height and width that the image has to have.
        rows: How many are needed.

    Returns:
        uint8 (H, W, 3), BGR, of these rows or more; None where OpenCV has to
        decode the file: without simplejpeg, or with EXIF, one or four
        channels, progressive coding.
    """
    at = _frame(data, size) if simplejpeg else None
    if at is None:
        return None
    is_cut = rows + _MORE < size[0]
    if is_cut:
        at += _HEIGHT_AT
        height = struct.pack('>H', rows + _MORE)
        data = data[:at] + height + data[at + len(height) :]
    try:
        image: np.ndarray = simplejpeg.decode_jpeg(
            data, 'BGR', strict=not is_cut
        )
    except ValueError:
        return None
    return image[:rows]


def _frame(data: bytes, size: tuple[int, int]) -> int | None:
    """Return where the frame of an image begins, None of other files."""
    at = len(_START)
    while (marker := data[at : at + 2]) in _PLAIN:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    if not data.startswith(_START) or marker != _FRAME:
        return None
    if at + _HEADER.size > len(data):
        return None
    _, *header = _HEADER.unpack_from(data, at)
    return at if header == [_BITS, *size, _CHANNELS] else None
