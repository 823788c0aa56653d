"""What is in an image file: header, pixels at an eighth, hashes."""

import hashlib
import io
import struct
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from mmseg_ext.doctor.hashes import difference_words
from mmseg_ext.doctor.parts import ImageScan
from mmseg_ext.utils.images import decode_image, open_image

__all__ = [
    'DIGEST_SIZE',
    'NAME',
    'Header',
    'as_line',
    'read_header',
    'scan_image',
]

#: Stands for a file in a text beside which its name is shown.
NAME = 'the file'

#: Bytes of a digest: among a million files two are equal by chance once in
#: 10^26 times.
DIGEST_SIZE = 16

#: An image is reduced to an eighth, the most that JPEG decoders do while they
#: decode; small ones less, so that this many rows and columns stay.
_SCALES = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}
_LEAST = 32

_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'

_PNG = b'\x89PNG\r\n\x1a\n'

#: Where a PNG has its bits a channel.
_PNG_BITS = 24

#: Length and name of a PNG chunk, and the bytes that it has beside its data.
_CHUNK, _CHUNK_EXTRA = struct.Struct('>I4s'), 12

#: TIFF's tag for the bits of each channel.
_BITS_PER_SAMPLE = 258

#: The EXIF orientations that swap width and height, and all that there are.
_ASIDE, _TURNS = range(5, 9), range(1, 9)


class Header(NamedTuple):
    """What the header of an image says.

    Attributes:
        form: As :attr:`~mmseg_ext.doctor.parts.ImageScan.form`.
        size: Width and height, before it is turned; None if Pillow does not
            know the format.
        turned: The EXIF orientation.
    """

    form: str = ''
    size: tuple[int, int] | None = None
    turned: int = 1


def scan_image(data: bytes) -> ImageScan:
    """Look at an image as the loaders of MMSeg and MMDet decode it.

    Args:
        data: Content of the file.

    Returns:
        What it holds; with a fault if it is broken, cut off or no image.
    """
    digest = hashlib.sha256(data).digest()[:DIGEST_SIZE]
    header = read_header(data)
    try:
        small, size = _reduced(data, header)
    # Each format has its own errors.
    except Exception as error:
        return ImageScan(fault=as_line(error), form=header.form, digest=digest)
    mean, deviation = cv2.meanStdDev(small)
    return ImageScan(
        size=size,
        form=header.form,
        turned=header.turned,
        gray=_is_gray(small),
        mean=_rgb(mean),
        deviation=_rgb(deviation),
        digest=digest,
        words=difference_words(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)),
    )


def _is_gray(image: np.ndarray) -> bool:
    """Tell whether all channels are equal; few pixels tell most colors."""
    return not any(
        np.ptp(pixels, axis=2).any() for pixels in (image[::8, ::8], image)
    )


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    """Return the values of blue, green and red in the other order."""
    blue, green, red = values.ravel().tolist()
    return red, green, blue


def as_line(error: BaseException) -> str:
    """Return the text of an error without line breaks.

    Args:
        error: One about a file.
    """
    return ' '.join(str(error).split()) or type(error).__name__


def read_header(data: bytes) -> Header:
    """Return what Pillow finds in the header; nothing if it finds none.

    Args:
        data: Content of the file.
    """
    try:
        with open_image(io.BytesIO(data)) as image:
            return Header(
                _form(image, data), image.size, _orientation(image, data)
            )
    # Decoding says what is wrong.
    except Exception:
        return Header()


def _form(image: Image.Image, data: bytes) -> str:
    """Return format and mode; Pillow's mode for color has 8 bits always."""
    bits = 0
    if image.format == 'PNG':
        bits = data[_PNG_BITS]
    elif image.format == 'TIFF':
        tags = getattr(image, 'tag_v2', {})
        bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
    wide = bits > 8 and not image.mode.startswith(('I', 'F'))
    return f'{image.format} {image.mode}{f";{bits}" if wide else ""}'


def _orientation(image: Image.Image, data: bytes) -> int:
    """Return the EXIF orientation, 1 where there is none."""
    if image.format == 'PNG' and b'eXIf' in _chunk_names(data):
        image.load()  # it may stand behind the pixels
    elif 'exif' not in image.info and image.format != 'TIFF':
        return 1
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    return turn if turn in _TURNS else 1


def _chunk_names(data: bytes) -> set[bytes]:
    """Return the names of the chunks of a PNG."""
    names, at = set(), len(_PNG)
    while at + _CHUNK.size <= len(data):
        size, name = _CHUNK.unpack_from(data, at)
        names.add(name)
        at += size + _CHUNK_EXTRA
    return names


def _reduced(
    data: bytes, header: Header
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image.

    Returns:
        uint8 (H, W, 3) BGR, reduced; and width and height before that.

    Raises:
        ValueError: It is broken or cut off.
    """
    if data.startswith(_JPEG) and header.size:
        _check_end(data)
        scale = _scale(header.size)
        flags = _SCALES.get(scale, cv2.IMREAD_COLOR)
        small = decode_image(data, NAME, flags)
        return small, _as_decoded(header, small.shape, scale)
    whole = decode_image(data, NAME)
    height, width = whole.shape[:2]
    scale = _scale((width, height))
    if scale > 1:
        size = -(-width // scale), -(-height // scale)
        small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    else:
        small = whole
    return small, (width, height)


def _check_end(data: bytes) -> None:
    """Check that a JPEG is whole: OpenCV 4 fills up what is missing.

    Raises:
        ValueError: It is cut off.
    """
    # Cameras write more behind the end.
    if not data.rstrip(b'\0').endswith(_JPEG_END):
        try:
            with open_image(io.BytesIO(data)) as image:
                image.load()
        except OSError as error:
            raise ValueError(
                f'{NAME} is cut off ({len(data)} bytes): {error}; copy or '
                'download it again'
            ) from None


def _scale(size: tuple[int, int]) -> int:
    """Return by how much to reduce an image."""
    return next((n for n in _SCALES if min(size) >= n * _LEAST), 1)


def _as_decoded(
    header: Header, shape: tuple[int, ...], scale: int
) -> tuple[int, int]:
    """Return width and height, swapped where the decoder has turned it.

    Programs differ in where they look for an orientation.
    """
    assert header.size
    aside = header.size[::-1]
    straight, turned = (
        (-(-size[1] // scale), -(-size[0] // scale)) == shape[:2]
        for size in (header.size, aside)
    )
    if straight and turned:
        turned = header.turned in _ASIDE
    return aside if turned else header.size
