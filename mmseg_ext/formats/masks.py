"""Mask files: what one holds, whatever the way it was saved.

A label map is saved in many ways, and most libraries hand the pixels of all
of them on as numbers, without what these numbers are: an index, a gray that
was scaled, an entry of a palette, a color. :func:`read_mask` keeps that apart,
and refuses what no label map survives. What the numbers then mean is what the
data set declares: :meth:`Mask.indices` or :meth:`Mask.colors`.
"""

import io
import re
import struct
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from isal import isal_zlib
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import (
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    TiffImageFile,
)

from mmseg_ext.utils.images import (
    decode_image,
    decode_labels,
    image_size,
    open_image,
)

__all__ = ['Mask', 'is_black_and_white', 'is_label_map_png', 'read_mask']

#: Formats that keep each pixel as it is. WebP and TIFF may, the others that
#: OpenCV reads, JPEG, JPEG 2000 and AVIF, do not or cannot be told.
_LOSSLESS = ('BMP', 'GIF', 'PNG', 'PPM', 'TIFF', 'WEBP')

#: Compressions within TIFF that change pixels, by Pillow's names.
_LOSSY_TIFF = ('jpeg', 'tiff_jpeg', 'webp')

_PNG = b'\x89PNG\r\n\x1a\n'

#: Bits a channel and kind of pixels, bytes 24 and 25 of a PNG, where OpenCV
#: gives what is stored. Source: W3C PNG, third edition.
_PLAIN_PNG = {
    b'\x08\x00': '8-bit gray PNG',
    b'\x10\x00': '16-bit gray PNG',
    b'\x08\x02': 'RGB PNG',
    b'\x08\x06': 'RGBA PNG',
}

#: Chunks of a PNG that say more than its header: a transparent color, several
#: pictures, an orientation. And the one that ends it.
_MORE, _END = {b'tRNS', b'acTL', b'eXIf'}, b'IEND'

#: Length and name of a chunk, and the bytes that it has beside its data.
_CHUNK, _CHUNK_EXTRA = struct.Struct('>I4s'), 12

#: Channels by a PNG's number for the kind of pixels.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: The passes of an interlaced PNG: first row and column, and their steps.
_ADAM7 = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)

_JPEG_END = b'\xff\xd9'

#: Pillow's modes that may be label maps, and what they are.
_MODES = {
    '1': 'gray',
    'L': 'gray',
    'LA': 'gray with alpha',
    'P': 'palette',
    'RGB': 'RGB',
    'RGBA': 'RGBA',
    'I': 'integer',
    'I;16': 'gray',
    'I;16B': 'gray',
    'I;16L': 'gray',
}

#: White in grays of 8 and 16 bits.
_WHITE_8, _WHITE_16 = 255, 65535

#: The largest value of a label in MMSeg, and how many beyond it are named.
_LARGEST, _LISTED = 255, 3

#: Alpha of what is not transparent at all.
_OPAQUE = 255

#: TIFF's tag for the bits of each channel.
_BITS_PER_SAMPLE = 258

#: The header of PGM and PPM up to the value of white.
_PNM = re.compile(
    rb'P[2356](?:(?:\s|#[^\r\n]*[\r\n])+(\d+)){3}(?=\s)', re.ASCII
)

#: TIFF's numbers for gray where 0 is white, and for signed integers.
_WHITE_IS_ZERO, _SIGNED = 0, 2

#: Where a BMP has its bits for each pixel, and how many are gray by Pillow's
#: modes; with others it takes grays in the palette for pixels.
_BMP_BITS = struct.Struct('<28xH')
_BMP_GRAYS = {('1', 1), ('L', 8)}


@dataclass(frozen=True)
class Mask:
    """What a mask file holds.

    Attributes:
        name: Name of the file, for messages.
        form: What it is, in words, such as ``'4-bit gray PNG'``.
        pixels: As stored, never scaled: uint8 or uint16 (H, W), grays or
            entries of the palette; or uint8 (H, W, 3), BGR.
        channels: 1 for grays and palettes, 2 to 4 with colors or alpha.
        white: The largest gray, which is white: 1, 3, 15, 255 or 65535, or
            what a PGM file says.
        palette: uint8 (256, 3), BGR; None without one.
        entries: How many colors of the palette the file has; the others are
            black.
        transparent: bool (H, W), the pixels of alpha 0; None if there are
            none.
        alpha: uint8 (H, W); None if all pixels are opaque, at 255.
        lossy: Whether the format may have changed the pixels.
        white_is_zero: Whether the file has 0 for white, as PBM does: pixels
            are as shown, and some programs give them the other way round.
    """

    name: str
    form: str
    pixels: np.ndarray
    channels: int = 1
    white: int = _WHITE_8
    palette: np.ndarray | None = None
    entries: int = 256
    transparent: np.ndarray | None = None
    alpha: np.ndarray | None = None
    lossy: bool = False
    white_is_zero: bool = False

    @property
    def is_plain_gray(self) -> bool:
        """Whether there is one channel of grays and nothing else."""
        return (
            self.channels == 1
            and self.palette is None
            and self.transparent is None
        )

    def indices(self) -> np.ndarray:
        """Return the class indices of an index mask.

        Those of a palette are its entries, whatever their colors; three equal
        channels are one.

        Returns:
            uint8 or uint16 (H, W).

        Raises:
            ValueError: It is in color, has transparent pixels, has 0 for
                white, or is a GIF with a palette, whose entries writers
                number as they like.
        """
        if self.white_is_zero:
            raise ValueError(
                f'{self.name} ({self.form}) has white as 0, which programs '
                'read in two ways; expected an index mask: save it as PNG'
            )
        if self.palette is not None and self.form.endswith('GIF'):
            raise ValueError(
                f'{self.name} ({self.form}) is no index mask: programs that '
                'write GIF sort the palette, and its entries are no indices '
                'any more; save the label map as PNG'
            )
        if self.transparent is not None and self.palette is None:
            count = np.count_nonzero(self.transparent)
            raise ValueError(
                f'{self.name} ({self.form}) has {count} transparent pixels; '
                'expected an index mask, where each pixel has a class or 255: '
                'save it without alpha'
            )
        gray = self.gray()
        if gray is None:
            place = np.ptp(self.pixels, axis=2).argmax()
            color = self.pixels.reshape(-1, 3)[place, ::-1].tolist()
            raise ValueError(
                f'{self.name} ({self.form}) is in color, such as {color}; '
                'expected an index mask, whose pixels are class indices: read '
                'color masks with ColorMaskDataset and LoadColorMasks'
            )
        return gray

    def labels(self) -> np.ndarray:
        """Return the class indices as MMSeg holds them, in 8 bits.

        Returns:
            uint8 (H, W).

        Raises:
            ValueError: As for :meth:`indices`, or one is above 255.
        """
        indices = self.indices()
        if indices.dtype == np.uint8:
            return indices
        if (wrong := indices[indices > _LARGEST]).size:
            values = ', '.join(map(str, np.unique(wrong)[:_LISTED]))
            raise ValueError(
                f'{self.name} ({self.form}) has {wrong.size} pixels above '
                f'{_LARGEST}, such as {values}; expected class indices, 0 to '
                f'{_LARGEST - 1}, or {_LARGEST} for pixels to ignore: number '
                'the classes anew'
            )
        return indices.astype(np.uint8)

    def gray(self) -> np.ndarray | None:
        """Return the one channel, or one of three that are equal.

        Returns:
            uint8 or uint16 (H, W), as stored; None of a picture in color.
        """
        if self.pixels.ndim == 2:
            return self.pixels
        # Few pixels tell most pictures.
        if np.ptp(self.pixels[::16, ::16], axis=2).any():
            return None
        blue, green, red = cv2.split(self.pixels)
        if np.array_equal(blue, green) and np.array_equal(blue, red):
            return blue
        return None

    def colors(self) -> np.ndarray:
        """Return the picture as a viewer shows it, without alpha.

        Grays of fewer bits reach from black to white; those of 16 bits are
        taken as of 8 if none is above 255.

        Returns:
            uint8 (H, W, 3), BGR.

        Raises:
            ValueError: There are pixels whose entry the palette lacks.
        """
        if self.palette is not None and self.pixels.max() >= self.entries:
            raise ValueError(_beyond_palette(self))
        if self.pixels.ndim == 3:
            return self.pixels
        if self.palette is not None:
            return cv2.applyColorMap(self.pixels, self.palette[:, None])
        return cv2.cvtColor(self.shown(), cv2.COLOR_GRAY2BGR)

    def shown(self) -> np.ndarray:
        """Return the grays of one channel as a viewer shows them.

        Returns:
            uint8 (H, W), 0 to 255.
        """
        if self.white == _WHITE_8:
            return self.pixels
        if self.white == _WHITE_16 and self.pixels.max() <= _WHITE_8:
            return self.pixels.astype(np.uint8)
        table = np.rint(np.arange(_WHITE_16 + 1) * (_WHITE_8 / self.white))
        return _table(self.pixels, np.minimum(table, _WHITE_8))


def read_mask(data: bytes, name: str, photographic: bool = False) -> Mask:
    """Read a mask file.

    Args:
        data: Content of the file.
        name: Name of the file, for messages.
        photographic: Take formats that change pixels, such as JPEG, as well,
            and turn the mask as its EXIF says: where colors are compared by
            a threshold, and masks were edited as photographs are.

    Returns:
        What it holds.

    Raises:
        ValueError: It is no whole image, of a lossy format, turned by EXIF,
            of several pages or frames; or its pixels are floats, negative,
            of more than 16 bits, or in a color space without classes.
        MemoryError: There is no memory for it.
    """
    if form := _plain_png(data):
        pixels = decode_labels(data)
        if pixels is None:
            pixels = decode_image(data, name, cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 2:
            white = _WHITE_16 if pixels.dtype == np.uint16 else _WHITE_8
            return Mask(name, form, pixels, white=white)
        return _with_alpha(name, form, pixels)
    if data.startswith(_PNG):
        image_size(data, name)  # names a chunk that is cut off
    try:
        with open_image(io.BytesIO(data)) as image:
            mask = _read_with_pillow(image, data, name, photographic)
            return replace(
                mask,
                lossy=_is_lossy(image, data),
                white_is_zero=_has_white_as_zero(image, data),
            )
    except (MemoryError, _FormError):
        raise
    except Exception as error:  # each format has its own
        raise ValueError(
            f'{name} cannot be read as an image ({len(data)} bytes): {error}; '
            'copy or download it again'
        ) from None


def is_black_and_white(labels: np.ndarray) -> bool:
    """Tell whether the values of an index mask are 0 and 255 alone.

    Masks of two classes come so more often than as 0 and 1, and their objects
    are then ignored.

    Args:
        labels: uint8 (H, W).

    Returns:
        Whether both are there, and nothing else is.
    """
    white = np.count_nonzero(labels == _WHITE_8)
    some = np.count_nonzero(labels)
    return bool(0 < white == some < labels.size)


def is_label_map_png(data: bytes) -> bool:
    """Tell by its header whether a file is an 8-bit gray PNG.

    Every loader reads these alike.

    Args:
        data: Content of the file.
    """
    return _plain_png(data) == _PLAIN_PNG[b'\x08\x00']


class _FormError(ValueError):
    """A form that no label map has, told in a sentence."""


def _plain_png(data: bytes) -> str | None:
    """Return the form of a PNG that OpenCV gives as stored; else None."""
    form = _PLAIN_PNG.get(data[24:26]) if data.startswith(_PNG) else None
    if form is None:
        return None
    at = len(_PNG)
    while at + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, at)
        if kind in _MORE:
            return None
        if kind == _END:
            return form
        at += length + _CHUNK_EXTRA
    return None


def _beyond_palette(mask: Mask) -> str:
    return (
        f'{mask.name} ({mask.form}) has pixels of entry {mask.pixels.max()}, '
        f'but its palette has {mask.entries} colors: programs that write a '
        'short palette cut larger numbers off; save it again with 256 '
        'colors, or without a palette'
    )


def _with_alpha(name: str, form: str, pixels: np.ndarray) -> Mask:
    """Return a mask of BGR or BGRA."""
    channels = pixels.shape[2]
    if channels == 3:
        return Mask(name, form, pixels, channels)
    colors = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    return _mask(name, form, colors, pixels[..., 3], channels=channels)


def _mask(
    name: str,
    form: str,
    pixels: np.ndarray,
    alpha: np.ndarray,
    **others: Any,
) -> Mask:
    """Return a mask with its alpha, if that says anything."""
    least = alpha.min()
    if least == _OPAQUE:
        return Mask(name, form, pixels, **others)
    clear = alpha == 0 if least == 0 else None
    return Mask(name, form, pixels, transparent=clear, alpha=alpha, **others)


def _read_with_pillow(
    image: Image.Image, data: bytes, name: str, photographic: bool
) -> Mask:
    """Read a file of any form but a plain PNG."""
    kind = _MODES.get(image.mode, f"{image.mode} (by Pillow's name)")
    white = _white(image, data)
    bits = white.bit_length()
    form = f'{kind} {image.format}'
    if kind == 'gray':
        form = f'{bits}-bit {form}'
    if fault := _fault(image, data, bits, photographic):
        raise _FormError(
            f'{name} ({form}) {fault}: save it again without loss, as a gray, '
            'palette or RGB PNG'
        )
    if image.format == 'PNG' and _lacks_rows(data, *image.size):
        raise ValueError('rows are missing')
    if image.format == 'JPEG':
        if not data.rstrip(b'\0').endswith(_JPEG_END):
            image.load()  # OpenCV 4 fills up what is missing
        # OpenCV turns it as well.
        return Mask(name, form, decode_image(data, name), channels=3)
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn != 1 and not photographic:
        raise _FormError(
            f'{name} ({form}) has the EXIF orientation {turn}, and loaders '
            'differ in what they make of it: save it as it should lie, '
            'without EXIF'
        )
    if turn != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == 'P':
        return _from_palette(image, data, name, form)
    transparency = image.info.get('transparency')
    pixels = np.asarray(image)
    if image.mode == 'LA':
        gray = np.ascontiguousarray(pixels[..., 0])
        return _mask(name, form, gray, pixels[..., 1], channels=2)
    if pixels.ndim == 3:
        order = [2, 1, 0, 3][: pixels.shape[2]]
        bgr = np.ascontiguousarray(pixels[..., order])
        if transparency is None:
            return _with_alpha(name, form, bgr)
        alpha = _alpha((pixels == transparency).all(axis=2))
        return _mask(name, form, bgr, alpha, channels=4)
    if image.format == 'PPM' and image.mode != '1':
        gray = _unscaled_pgm(pixels, data, white, name, form)
    else:
        gray = _unscaled(pixels, image.mode, white, name, form)
    if transparency is None:
        return Mask(name, form, gray, white=white)
    if white == 1:
        transparency = min(transparency, 1)  # Pillow's is of 8 bits here
    alpha = _alpha(gray == transparency)
    return _mask(name, form, gray, alpha, channels=2, white=white)


def _from_palette(
    image: Image.Image, data: bytes, name: str, form: str
) -> Mask:
    """Return the entries of a palette, and their colors."""
    pixels = np.asarray(image)
    palette = np.zeros((256, 3), np.uint8)
    colors = np.array(image.getpalette('RGB'), np.uint8).reshape(-1, 3)
    palette[: len(colors)] = colors[:, ::-1]
    opacity = np.full(256, _OPAQUE, np.uint8)
    transparency = image.info.get('transparency')
    if isinstance(transparency, bytes):
        opacity[: len(transparency)] = list(transparency)
    elif transparency is not None:
        opacity[transparency] = 0
    mask = _mask(
        name,
        form,
        pixels,
        _table(pixels, opacity),
        palette=palette,
        entries=len(colors),
    )
    cut = image.format == 'PNG' and data[24] < 8
    if cut and pixels.max() >= len(colors):
        raise _FormError(_beyond_palette(mask))
    return mask


def _table(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the entries of a table at some indices, as uint8."""
    table = table.astype(np.uint8)
    if values.dtype != np.uint8:
        return table[values]
    return cv2.LUT(values, table[:256]).reshape(values.shape)


def _alpha(clear: np.ndarray) -> np.ndarray:
    """Return the alpha of a picture with one transparent color."""
    return np.where(clear, 0, _OPAQUE).astype(np.uint8)


def _fault(
    image: Image.Image, data: bytes, bits: int, photographic: bool
) -> str | None:
    """Say why an image cannot hold a label map, if it cannot."""
    if (frames := getattr(image, 'n_frames', 1)) > 1:
        return f'has {frames} pages or frames; expected one'
    if image.mode == 'F':
        return 'has pixels of floats; expected integers'
    if image.mode not in _MODES:
        return (
            'has pixels in a color space that has no classes; expected grays, '
            'a palette, RGB or RGBA'
        )
    if bits > 8 and not image.mode.startswith('I'):
        return f'has {bits} bits a channel; expected 8'
    if odd := _odd(image, data, bits):
        return odd
    if not photographic and _is_lossy(image, data):
        return (
            'is of a format that changes pixels, so that classes at edges are '
            'lost; expected a lossless one'
        )
    return None


def _odd(image: Image.Image, data: bytes, bits: int) -> str | None:
    """Say what Pillow does not read as it is stored, if anything."""
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        if bits > 1 and tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
            return 'has white as 0, which programs read in two ways'
        if bits == 8 and tags.get(SAMPLEFORMAT, (0,))[0] == _SIGNED:
            return 'has signed pixels of 8 bits; expected unsigned ones'
    if image.format == 'BMP':
        (stored,) = _BMP_BITS.unpack_from(data)
        if stored == 16:
            return 'has 5 or 6 bits a channel; expected 8'
        if image.mode in '1L' and (image.mode, stored) not in _BMP_GRAYS:
            return f'has {stored} bits a pixel and grays as its palette'
    if image.format == 'PPM' and image.mode != '1':
        header = _PNM.match(data)
        color = image.mode != 'L' and image.mode != 'I'
        if not header or (color and int(header[1]) != _WHITE_8):
            return 'has another header than PGM, or PPM of 8 bits'
        size = image.width * image.height * (3 if color else 1 + (bits > 8))
        more = len(data) - header.end() - 1 - size
        if data[:2] in (b'P5', b'P6') and more > 0:
            return f'has {more} bytes more than its header says'
    return None


def _lacks_rows(data: bytes, width: int, height: int) -> bool:
    """Tell whether a PNG has fewer pixels than its header says.

    Pillow takes the missing ones for 0.
    """
    bits, color, interlaced = data[24], data[25], data[28]
    depth = bits * _PNG_CHANNELS[color]
    missing = 0
    for top, left, down, right in _ADAM7 if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            missing += rows * (1 + -(-columns * depth // 8))
    stream, at = isal_zlib.decompressobj(), len(_PNG)
    while missing > 0 and at + _CHUNK.size <= len(data):
        size, kind = _CHUNK.unpack_from(data, at)
        start = at + _CHUNK.size
        if kind == b'IDAT':
            piece = data[start : start + size]
            missing -= len(stream.decompress(piece, missing))
        at += size + _CHUNK_EXTRA
    return missing > 0


def _has_white_as_zero(image: Image.Image, data: bytes) -> bool:
    """Tell whether a file of one bit, which is read as shown, has 0 white."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    return data[:2] in (b'P1', b'P4')


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    if image.format == 'WEBP':
        # The chunk of lossy pixels; that of lossless ones is VP8L.
        return b'VP8L' not in data or b'VP8 ' in data[:64]
    compression = image.info.get('compression')
    return image.format not in _LOSSLESS or compression in _LOSSY_TIFF


def _white(image: Image.Image, data: bytes) -> int:
    """Return the value that is white in the file."""
    if image.mode == '1':
        return 1
    if image.format == 'PNG' and image.mode != 'P':
        return (1 << data[24]) - 1
    if isinstance(image, TiffImageFile) and image.mode != 'P':
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
        return min((1 << max(bits)) - 1, _WHITE_16)
    if image.format == 'PPM' and (header := _PNM.match(data)):
        return int(header[1])
    return _WHITE_16 if image.mode.startswith('I') else _WHITE_8


def _unscaled(
    pixels: np.ndarray, mode: str, white: int, name: str, form: str
) -> np.ndarray:
    """Return one channel as it is stored: Pillow makes 8 bits of fewer."""
    if mode == '1':
        return pixels.astype(np.uint8)
    if mode == 'L':
        if white == _WHITE_8:
            return pixels
        return _table(pixels, np.rint(np.arange(256) * (white / _WHITE_8)))
    least, most = pixels.min(), pixels.max()
    if least < 0 or most > _WHITE_16:
        raise _FormError(
            f'{name} ({form}) holds values from {least} to {most}; expected '
            f'class indices, 0 to {_WHITE_16}'
        )
    return pixels.astype(np.uint16)


def _unscaled_pgm(
    pixels: np.ndarray, data: bytes, white: int, name: str, form: str
) -> np.ndarray:
    """Return the grays of a PGM as they are stored.

    Pillow scales them to 8 or 16 bits, and cuts off what is above white.
    """
    wide = white > _WHITE_8
    if data.startswith(b'P5'):
        header = _PNM.match(data)
        assert header  # else it was refused
        kind = '>u2' if wide else 'u1'
        stored = np.frombuffer(data, kind, pixels.size, header.end() + 1)
        if (most := int(stored.max())) > white:
            raise _FormError(
                f'{name} ({form}) holds values up to {most}, but its header '
                f'says that white is {white}'
            )
    gray = np.rint(pixels * (white / (_WHITE_16 if wide else _WHITE_8)))
    return gray.astype(np.uint16 if wide else np.uint8)
