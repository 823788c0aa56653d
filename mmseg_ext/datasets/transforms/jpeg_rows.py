"""What JPEG files say of themselves, and decoding of their upper rows."""

import struct
from typing import NamedTuple

import numpy as np

try:
    import simplejpeg
except ImportError:  # OpenCV decodes all rows
    simplejpeg = None

__all__ = ['Header', 'decode_rows', 'is_cut_off', 'read_header']

#: What JPEG files begin with, and what an image ends with, after which some
#: cameras write more. Source of all markers: ITU-T T.81, annex B.
_START, _END = b'\xff\xd8', b'\xff\xd9'

#: The second bytes of other markers: frames of all codings, of them the one
#: of sequential coding, and the first scan, which has the pixels.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _SCAN = 0xC0, 0xDA

#: What may be beside the frame in files that all decoders read alike: JFIF,
#: tables, restarts, comments. EXIF may turn an image, and Adobe's segment
#: say that it is in other colors.
_PLAIN = {0xE0, 0xDB, 0xC4, 0xDD, 0xFE}

#: A frame from its marker on: length, bits, height, width, channels.
_FRAME = struct.Struct('>2xHBHHB')
_BITS, _CHANNELS = 8, 3

#: Where in it the height is.
_HEIGHT_AT = 5

#: Rows behind the last one that is needed: colors of half the height are
#: interpolated from row to row, and the decoder works in blocks of 16.
_MORE = 16


class Header(NamedTuple):
    """What is before the pixels.

    Attributes:
        size: Height and width, which EXIF may turn.
        frame: Where the marker of the frame is.
        scan: Where that of the first scan is.
        is_plain: Whether all decoders read the pixels alike.
    """

    size: tuple[int, int]
    frame: int
    scan: int
    is_plain: bool


def read_header(data: bytes) -> Header | None:
    """Read the header of a JPEG file.

    Args:
        data: Content of the file.

    Returns:
        None if it is not whole, or the file of another format.
    """
    if not data.startswith(_START):
        return None
    at, frame, plain = len(_START), 0, True
    # What is before a marker is skipped by decoders, too.
    while 0 < (at := data.find(b'\xff', at)) < len(data) - _FRAME.size:
        marker = data[at + 1]
        if marker == _SCAN and frame:
            _, bits, height, width, channels = _FRAME.unpack_from(data, frame)
            plain = plain and (bits, channels) == (_BITS, _CHANNELS)
            return Header((height, width), frame, at, plain)
        if marker in (0, 0xFF):  # no marker yet
            at += 1
            continue
        if marker in _FRAMES:
            frame = at
        plain = plain and marker in _PLAIN | {_SEQUENTIAL}
        at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return None


def is_cut_off(data: bytes, header: Header) -> bool:
    """Return whether the end is missing, which OpenCV before 4.12 fills up.

    Args:
        data: Content of a JPEG file.
        header: Its header.
    """
    # From the end on; no pixels are coded so.
    return data.rfind(_END, header.scan) < 0


def decode_rows(data: bytes, header: Header, rows: int) -> np.ndarray | None:
    """Decode JPEG from the top down to a row, the same as OpenCV does.

    The header is changed to say that the image is no higher, and what follows
    is not decoded. Damage within a file is not seen then.

    Args:
        data: Content of the file.
        header: Its header.
        rows: How many are needed.

    Returns:
        uint8 (H, W, 3), BGR, of these rows or fewer if it has no more; None
        where OpenCV has to decode the file: without simplejpeg, or with EXIF,
        one or four channels, progressive coding.
    """
    if not simplejpeg or not header.is_plain:
        return None
    is_cut = rows + _MORE < header.size[0]
    if is_cut:
        at = header.frame + _HEIGHT_AT
        height = struct.pack('>H', rows + _MORE)
        data = data[:at] + height + data[at + len(height) :]
    try:
        image: np.ndarray = simplejpeg.decode_jpeg(
            data, 'BGR', strict=not is_cut
        )
    except ValueError:
        return None
    return image[:rows]
