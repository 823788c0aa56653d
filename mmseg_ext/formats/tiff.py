"""TIFF files: what their headers say of the pixels."""

import os
import warnings

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mmseg_ext.utils.files import open_file

__all__ = ['check_tiff']

#: The first bytes of TIFF and BigTIFF in both byte orders, and how many bytes
#: their headers have.
_HEADERS = {b'II*\0': 8, b'MM\0*': 8, b'II+\0': 16, b'MM\0+': 16}

#: Tags, and their values where there are none. Source: TIFF 6.0, section 8.
_BITS, _CHANNELS = 258, 277

#: Bits of a channel that loaders of color images keep, and their channels.
_MOST_BITS = 8
_COLOR = (1, 3)


def check_tiff(path: str | os.PathLike[str]) -> None:
    """Check that a TIFF file is an image of gray or colors in 8 bits.

    OpenCV reads others without a word: of 16 bits it keeps the upper 8, of
    four channels the first three.

    Args:
        path: An image. A file of another format passes, and so does one whose
            header is broken, which its reader tells.

    Raises:
        OSError: It cannot be opened.
        ValueError: It has more bits, or another number of channels.
    """
    with open_file(path) as file:
        header = file.read(16)
        length = _HEADERS.get(header[:4])
        if length is None:
            return
        try:
            tags = ImageFileDirectory_v2(header[:length])
            file.seek(tags.next)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                tags.load(file)
            bits = max(tags.get(_BITS, (1,)))
            channels = tags.get(_CHANNELS, 1)
        except MemoryError:
            raise
        except Exception:  # anything may come out of a foreign file
            return
    if bits > _MOST_BITS:
        raise ValueError(
            f'{os.fspath(path)} is a TIFF of {bits} bits a channel; expected '
            f'{_MOST_BITS}, to which a reader of colors would cut them: write '
            'it with 8 bits, scaled as the images of the training were, such '
            'as with gdal_translate -ot Byte -scale'
        )
    if channels not in _COLOR:
        raise ValueError(
            f'{os.fspath(path)} is a TIFF of {channels} channels; expected 3 '
            '(red, green, blue) or 1 (gray): write it with the channels that '
            'the network was trained with, such as with gdal_translate '
            '-b 1 -b 2 -b 3'
        )
