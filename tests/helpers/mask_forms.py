"""One label map in each of the ways in which people store them.

imageio is not among the writers: for PNG, BMP, GIF, WebP and PPM it hands the
array to Pillow, and what comes out is what Pillow writes here.
"""

import io
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
from matplotlib import pyplot
from PIL import Image

from helpers.mask_files import (
    bmp_file,
    chunk,
    exif_chunk,
    png_file,
    saved,
    tiff_file,
)


@dataclass(frozen=True, eq=False)
class Truth:
    """A label map, and the classes that its colors stand for.

    Attributes:
        labels: uint8 (H, W), class index or 255.
        colors: Those of the classes; the last is that of 255 with ``void``.
    """

    labels: np.ndarray
    colors: tuple[tuple[int, int, int], ...]
    void: bool = False

    @cached_property
    def class_dict(self):
        names = [f'class {index}' for index in range(len(self.colors))]
        if self.void:
            names[-1] = 'Void'
        return dict(zip(names, self.colors, strict=True))

    @cached_property
    def palette(self):
        """The color of each index, uint8 (256, 3)."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.colors)] = self.colors
        palette[255] = self.colors[-1]
        return palette

    @property
    def rgb(self):
        return self.palette[self.labels]

    @property
    def is_black_and_white(self):
        """Whether grays are the same as indices of 1 bit."""
        return self.colors == (_BLACK, _WHITE)

    @property
    def gray(self):
        """The colors as grays; None if they are none."""
        rgb = self.rgb
        same = (rgb == rgb[..., :1]).all()
        return np.ascontiguousarray(rgb[..., 0]) if same else None


def _blocks(indices, seed=0):
    """Return (32, 48) of blocks of 4x4 pixels, with each of the indices."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice(indices, (8, 12)).astype(np.uint8)
    blocks.reshape(-1)[1 : 1 + len(indices)] = indices
    return blocks.repeat(4, axis=0).repeat(4, axis=1)


#: The grays, as a palette.
_RAMP = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_TWO = ((128, 64, 128), (255, 0, 0))
_ROWS = ((255, 0, 0), _WHITE, _BLACK, (20, 200, 90))
_MANY = tuple((60 + 17 * i, 255 - 9 * i, 5 * i) for i in range(11))

TRUTHS = {
    'two classes': Truth(_blocks([0, 1]), _TWO),
    'black and white': Truth(_blocks([0, 1]), (_BLACK, _WHITE)),
    'white and black': Truth(_blocks([0, 1]), (_WHITE, _BLACK)),
    '11 classes and 255': Truth(
        _blocks([*range(11), 255]), (*_MANY, _BLACK), void=True
    ),
    'black and white among others': Truth(_blocks([0, 1, 2, 3]), _ROWS),
    'only black and white of others': Truth(_blocks([1, 2]), _ROWS),
    'only black of others': Truth(_blocks([2]), _ROWS),
    'background': Truth(_blocks([0]), _TWO),
    'black background': Truth(_blocks([0]), (_BLACK, _WHITE)),
}


def _fits(bits):
    """Leave a form out where labels need more bits."""

    def decorate(write):
        def checked(labels):
            return write(labels) if labels.max() < 1 << bits else None

        return checked

    return decorate


def _three(gray):
    return np.repeat(gray[..., None], 3, axis=2)


def _encoded(pixels, end):
    """Return what OpenCV writes of grays or RGB."""
    bgr = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    return cv2.imencode(end, bgr)[1].tobytes()


def _with_alpha(rgb, alpha=255):
    return np.dstack([rgb, np.broadcast_to(np.uint8(alpha), rgb.shape[:2])])


def _paletted(labels, palette):
    image = Image.fromarray(labels)
    image.putpalette(np.ascontiguousarray(palette).tobytes())
    return image


def _plotted(pixels, **options):
    """Return what matplotlib's ``imsave`` writes."""
    file = io.BytesIO()
    pyplot.imsave(file, pixels, format='png', **options)
    return file.getvalue()


def _frames(pixels, format):
    return saved(
        pixels,
        format,
        save_all=True,
        append_images=[Image.fromarray(pixels[::-1])],
    )


#: What a viewer shows as grays, or takes for them.
_EITHER = {
    'gray PNG': lambda gray: saved(gray, 'PNG'),
    'gray PNG by OpenCV': lambda gray: _encoded(gray, '.png'),
    'interlaced gray PNG': lambda gray: png_file(gray, 8, 0, interlaced=True),
    'gray PNG with alpha': lambda gray: saved(
        Image.fromarray(gray).convert('LA'), 'PNG'
    ),
    'gray PNG, 0 transparent': lambda gray: saved(gray, 'PNG', transparency=0),
    'gray as RGB PNG': lambda gray: saved(_three(gray), 'PNG'),
    'gray as RGB PNG by OpenCV': lambda gray: _encoded(_three(gray), '.png'),
    'gray as RGBA PNG': lambda gray: saved(_with_alpha(_three(gray)), 'PNG'),
    'gray by matplotlib, 0 to 255': lambda gray: _plotted(
        gray, cmap='gray', vmin=0, vmax=255
    ),
    'gray palette': lambda gray: saved(_paletted(gray, _RAMP), 'PNG'),
    '16-bit PNG': lambda gray: _encoded(gray.astype(np.uint16), '.png'),
    '16-bit PNG by Pillow': lambda gray: saved(gray.astype(np.uint16), 'PNG'),
    'gray BMP': lambda gray: saved(gray, 'BMP'),
    'gray BMP by OpenCV': lambda gray: _encoded(gray, '.bmp'),
    'gray GIF': lambda gray: saved(gray, 'GIF'),
    'PGM': lambda gray: saved(gray, 'PPM'),
    'PGM by OpenCV': lambda gray: _encoded(gray, '.pgm'),
    'plain PGM': lambda gray: (
        b'P2 48 32 255\n' + ' '.join(map(str, gray.ravel())).encode()
    ),
    'gray as PPM': lambda gray: saved(_three(gray), 'PPM'),
    'gray TIFF': lambda gray: saved(gray, 'TIFF'),
    'gray TIFF by OpenCV': lambda gray: _encoded(gray, '.tif'),
    'gray TIFF, deflated': lambda gray: saved(
        gray, 'TIFF', compression='tiff_deflate'
    ),
    'TIFF where 0 is white': lambda gray: tiff_file(
        255 - gray, 8, photometric=0
    ),
    '16-bit TIFF': lambda gray: saved(gray.astype(np.uint16), 'TIFF'),
    '32-bit TIFF': lambda gray: saved(gray.astype(np.int32), 'TIFF'),
    'signed TIFF': lambda gray: tiff_file(gray.astype(np.int8), 8, kind=2),
    'float TIFF': lambda gray: saved(gray.astype(np.float32), 'TIFF'),
    'gray TIFF of two pages': lambda gray: _frames(gray, 'TIFF'),
    'gray lossless WebP': lambda gray: saved(
        _three(gray), 'WEBP', lossless=True
    ),
    'gray WebP': lambda gray: saved(_three(gray), 'WEBP'),
    'gray JPEG': lambda gray: saved(gray, 'JPEG', quality=95),
    'gray JPEG by OpenCV': lambda gray: _encoded(gray, '.jpg'),
    'gray JPEG 2000': lambda gray: _encoded(gray, '.jp2'),
    'animated gray PNG': lambda gray: _frames(gray, 'PNG'),
    'gray PNG turned by EXIF': lambda gray: png_file(
        gray, 8, 0, exif_chunk(3)
    ),
    'gray PNG turned by EXIF behind': lambda gray: png_file(
        gray, 8, 0, after=exif_chunk(3) + chunk(b'tEXt', b'a\0' + b'b' * 9999)
    ),
}

#: The indices as they are.
INDICES = {f'indices: {name}': write for name, write in _EITHER.items()} | {
    'indices: 1-bit PNG': _fits(1)(lambda labels: png_file(labels, 1, 0)),
    'indices: 1-bit PNG by Pillow': _fits(1)(
        lambda labels: saved(Image.fromarray(labels > 0), 'PNG')
    ),
    'indices: 2-bit PNG': _fits(2)(lambda labels: png_file(labels, 2, 0)),
    'indices: 4-bit PNG': _fits(4)(lambda labels: png_file(labels, 4, 0)),
    'indices: PGM of 15': _fits(4)(
        lambda labels: b'P5 48 32 15\n' + labels.tobytes()
    ),
    'indices: PPM of 15': _fits(4)(
        lambda labels: b'P6 48 32 15\n' + _three(labels).tobytes()
    ),
    'indices: PBM': _fits(1)(
        lambda labels: saved(Image.fromarray(labels > 0), 'PPM')
    ),
    'indices: 4-bit TIFF': _fits(4)(lambda labels: tiff_file(labels, 4)),
    'indices: 4-bit BMP of grays': _fits(4)(
        lambda labels: bmp_file(labels, 4, [(i, i, i) for i in range(16)])
    ),
    'indices: 1-bit BMP': _fits(1)(
        lambda labels: bmp_file(labels, 1, [_BLACK, _WHITE])
    ),
    'indices: 8-bit BMP of 2 colors': _fits(1)(
        lambda labels: bmp_file(labels, 8, [_BLACK, _WHITE])
    ),
    'indices: by matplotlib': _plotted,
    # It stretches what it is given from black to white.
    'indices: gray by matplotlib': lambda labels: _plotted(
        labels, cmap='gray'
    ),
}

#: Those that are the same file as the colors of other labels, where black and
#: white are classes, but not 0 and 1.
_BLACK_AND_WHITE = (
    *('indices: 1-bit PNG', 'indices: 1-bit PNG by Pillow', 'indices: PBM'),
    *('indices: 1-bit BMP', 'indices: gray by matplotlib'),
)

#: Entries of a palette, which has the colors of the classes.
ENTRIES = {
    'palette PNG': lambda labels, palette: saved(
        _paletted(labels, palette), 'PNG'
    ),
    'interlaced palette PNG': lambda labels, palette: png_file(
        labels, 8, 3, chunk(b'PLTE', palette.tobytes()), interlaced=True
    ),
    '4-bit palette PNG': lambda labels, palette: (
        png_file(labels, 4, 3, chunk(b'PLTE', palette[:16].tobytes()))
        if labels.max() < 16
        else None
    ),
    '1-bit palette PNG': lambda labels, palette: (
        png_file(labels, 1, 3, chunk(b'PLTE', palette[:2].tobytes()))
        if labels.max() < 2
        else None
    ),
    'short palette': lambda labels, palette: saved(
        _paletted(labels, palette[:12]), 'PNG'
    ),
    '0 of a palette transparent': lambda labels, palette: saved(
        _paletted(labels, palette), 'PNG', transparency=0
    ),
    'palette TIFF': lambda labels, palette: saved(
        _paletted(labels, palette), 'TIFF'
    ),
    'palette BMP': lambda labels, palette: saved(
        _paletted(labels, palette), 'BMP'
    ),
    'palette GIF': lambda labels, palette: saved(
        _paletted(labels, palette), 'GIF'
    ),
}

#: The colors of the classes.
COLORS = {
    'RGB PNG': lambda rgb: saved(rgb, 'PNG'),
    'RGB PNG by OpenCV': lambda rgb: _encoded(rgb, '.png'),
    'interlaced RGB PNG': lambda rgb: png_file(rgb, 8, 2, interlaced=True),
    'RGBA PNG': lambda rgb: saved(_with_alpha(rgb), 'PNG'),
    'RGBA PNG, half clear': lambda rgb: saved(_with_alpha(rgb, 128), 'PNG'),
    'RGBA PNG, a corner clear': lambda rgb: saved(
        _with_alpha(rgb, np.indices(rgb.shape[:2]).max(axis=0) > 3), 'PNG'
    ),
    'RGB PNG by matplotlib': _plotted,
    'RGB PNG of 16 bits': lambda rgb: _encoded(
        rgb.astype(np.uint16) * 257, '.png'
    ),
    'RGB PNG of 16 bits, unscaled': lambda rgb: _encoded(
        rgb.astype(np.uint16), '.png'
    ),
    'RGB PNG turned by EXIF': lambda rgb: png_file(rgb, 8, 2, exif_chunk(3)),
    'animated RGB PNG': lambda rgb: _frames(rgb, 'PNG'),
    'RGB BMP': lambda rgb: saved(rgb, 'BMP'),
    'RGB BMP by OpenCV': lambda rgb: _encoded(rgb, '.bmp'),
    'RGBA BMP': lambda rgb: saved(_with_alpha(rgb), 'BMP'),
    'BMP of 16 bits': lambda rgb: bmp_file(
        (rgb.astype(np.uint16) >> 3)
        @ np.array([1 << 10, 1 << 5, 1], np.uint16),
        16,
    ),
    'PPM': lambda rgb: saved(rgb, 'PPM'),
    'PPM by OpenCV': lambda rgb: _encoded(rgb, '.ppm'),
    'RGB TIFF': lambda rgb: saved(rgb, 'TIFF'),
    'RGB TIFF, LZW': lambda rgb: saved(rgb, 'TIFF', compression='tiff_lzw'),
    'RGB TIFF by OpenCV': lambda rgb: _encoded(rgb, '.tif'),
    'RGBA TIFF': lambda rgb: saved(_with_alpha(rgb), 'TIFF'),
    'RGB TIFF of two pages': lambda rgb: _frames(rgb, 'TIFF'),
    'JPEG in TIFF': lambda rgb: saved(rgb, 'TIFF', compression='jpeg'),
    'CMYK TIFF': lambda rgb: saved(
        Image.fromarray(rgb).convert('CMYK'), 'TIFF'
    ),
    'YCbCr TIFF': lambda rgb: saved(
        Image.fromarray(rgb).convert('YCbCr'), 'TIFF'
    ),
    'lossless WebP': lambda rgb: saved(rgb, 'WEBP', lossless=True),
    'lossless WebP with alpha': lambda rgb: saved(
        _with_alpha(rgb), 'WEBP', lossless=True
    ),
    'WebP': lambda rgb: saved(rgb, 'WEBP'),
    'JPEG': lambda rgb: saved(rgb, 'JPEG', quality=95),
    'JPEG by OpenCV': lambda rgb: _encoded(rgb, '.jpg'),
    'JPEG 2000': lambda rgb: saved(rgb, 'JPEG2000'),
    'sorted palette PNG': lambda rgb: saved(
        Image.fromarray(rgb).quantize(256, dither=Image.Dither.NONE), 'PNG'
    ),
    'GIF': lambda rgb: saved(rgb, 'GIF'),
    'animated GIF': lambda rgb: _frames(rgb, 'GIF'),
}

#: The colors of the classes, where they are grays.
GRAYS = {f'shown: {name}': write for name, write in _EITHER.items()} | {
    'shown: 1-bit PNG': lambda gray: png_file(gray >> 7, 1, 0),
    'shown: 2-bit PNG': lambda gray: png_file(gray >> 6, 2, 0),
    'shown: 4-bit PNG': lambda gray: png_file(gray >> 4, 4, 0),
    'shown: 16-bit PNG of 65535': lambda gray: png_file(
        gray.astype(np.uint16) * 257, 16, 0
    ),
    'shown: 1-bit palette PNG': lambda gray: png_file(
        gray >> 7, 1, 3, chunk(b'PLTE', bytes([*_BLACK, *_WHITE]))
    ),
    'shown: turned 1-bit palette PNG': lambda gray: png_file(
        1 - (gray >> 7), 1, 3, chunk(b'PLTE', bytes([*_WHITE, *_BLACK]))
    ),
    'shown: 1-bit BMP': lambda gray: bmp_file(gray >> 7, 1, [_BLACK, _WHITE]),
    'shown: turned 1-bit BMP': lambda gray: bmp_file(
        1 - (gray >> 7), 1, [_WHITE, _BLACK]
    ),
    'shown: 8-bit BMP of 2 colors': lambda gray: bmp_file(
        gray >> 7, 8, [_BLACK, _WHITE]
    ),
    'shown: PBM': lambda gray: saved(Image.fromarray(gray > 0), 'PPM'),
    'shown: fax': lambda gray: saved(
        Image.fromarray(gray > 0), 'TIFF', compression='group4'
    ),
    'shown: 1-bit TIFF where 0 is white': lambda gray: tiff_file(
        1 - (gray >> 7), 1, photometric=0
    ),
}

#: What ImageMagick is given after the file that it reads.
_MAGICK = {
    'PNG': ['png:-'],
    'PNG8': ['png8:-'],
    'PNG24': ['png24:-'],
    'PNG32': ['png32:-'],
    'BMP': ['bmp3:-'],
    'GIF': ['gif:-'],
    'TIFF': ['-compress', 'lzw', 'tiff:-'],
    'JPEG': ['jpeg:-'],
}


def _magick():
    """Return the program of ImageMagick; None without it."""
    for name in ('magick', 'convert'):
        if program := shutil.which(name):
            done = subprocess.run(
                [program, '--version'], capture_output=True, check=False
            )
            if done.stdout.startswith(b'Version: ImageMagick'):
                return program
    return None


MAGICK = _magick()


def _magicked(pixels, options):
    """Return what ImageMagick makes of a PNG."""
    done = subprocess.run(
        [MAGICK, 'png:-', *options],
        input=saved(pixels, 'PNG'),
        capture_output=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


@cache
def forms(truth):
    """Return the files of a label map, by what they are."""
    files = {}
    for name, write in INDICES.items():
        files[name] = write(truth.labels)
    for name, write in ENTRIES.items():
        files[name] = write(truth.labels, truth.palette)
    for name, write in COLORS.items():
        files[name] = write(truth.rgb)
    if truth.gray is not None:
        if not truth.is_black_and_white:
            for name in _BLACK_AND_WHITE:
                del files[name]
        for name, write in GRAYS.items():
            files[name] = write(truth.gray)
    if MAGICK:
        for name, options in _MAGICK.items():
            files[f'ImageMagick: {name}'] = _magicked(truth.rgb, options)
            files[f'indices: ImageMagick: {name}'] = _magicked(
                truth.labels, options
            )
    return {name: data for name, data in files.items() if data}


def file_name(form):
    """Return a name that a form has in messages; all readers take it."""
    return form.translate(str.maketrans(' :,', '___')) + '.png'
