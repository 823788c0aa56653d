import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.converters.core import InvalidInputError
from mmseg_ext.converters.photographs import decode_whole, photograph_size

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


def encode(suffix, exif=None):
    file = io.BytesIO()
    formats = {'.jpg': 'JPEG', '.tif': 'TIFF'}
    options = {'exif': exif} if exif else {}
    kind = formats.get(suffix, suffix[1:].upper())
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def write(folder, suffix, data):
    path = folder / f'x{suffix}'
    path.write_bytes(data)
    return path


def turned(orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    'suffix', ['.jpg', '.png', '.bmp', '.tif', '.webp', '.avif', '.ppm']
)
def test_whole_photographs(tmp_path, suffix):
    if suffix == '.avif' and not cv2.haveImageReader('x.avif'):
        pytest.skip('this OpenCV has no AVIF')
    path = write(tmp_path, suffix, encode(suffix))
    assert photograph_size(path) == (120, 90)
    assert decode_whole(path.read_bytes()).shape == (90, 120, 3)


@pytest.mark.parametrize('share', [0, 0.001, 0.02, 0.5, 0.99])
@pytest.mark.parametrize(
    'suffix', ['.jpg', '.png', '.bmp', '.tif', '.webp', '.avif']
)
def test_photographs_that_were_cut_off(tmp_path, suffix, share):
    data = encode(suffix)
    path = write(tmp_path, suffix, data[: int(share * len(data))])
    with pytest.raises(InvalidInputError, match='cannot be read') as error:
        photograph_size(path)
    assert error.value.file == str(path)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_photographs_that_were_not_written_to_their_end(tmp_path, suffix):
    """As a power cut leaves them: of full length, the rest are zeros."""
    data = encode(suffix)
    part = data[: len(data) // 2].ljust(len(data), b'\0')
    with pytest.raises(InvalidInputError, match='bytes are zeros: it was'):
        photograph_size(write(tmp_path, suffix, part))
    for zeros in (16, 4096):
        padded = write(tmp_path, suffix, data + bytes(zeros))
        assert photograph_size(padded) == (120, 90)


@pytest.mark.parametrize('place', [b'IDAT', b'IEND'])
def test_exif_of_png_turns_wherever_it_stands(tmp_path, place):
    data = encode('.png')
    exif = turned().tobytes().removeprefix(b'Exif\0\0')
    chunk = b'eXIf' + exif
    chunk = struct.pack('>I', len(exif)) + chunk
    chunk += struct.pack('>I', zlib.crc32(chunk[4:]))
    at = data.index(place) - 4
    path = write(tmp_path, '.png', data[:at] + chunk + data[at:])
    height, width = cv2.imread(str(path)).shape[:2]
    assert photograph_size(path) == (width, height)


def test_png_is_not_decoded(tmp_path, monkeypatch):
    path = write(tmp_path, '.png', encode('.png'))
    monkeypatch.setattr(cv2, 'imdecode', None)
    monkeypatch.setattr(Image.Image, 'load', None)
    assert photograph_size(path) == (120, 90)


def test_damage_in_between_is_not_seen(tmp_path):
    """The other side of reading only header and end, as docs say."""
    data = bytearray(encode('.jpg'))
    data[len(data) // 2] ^= 255
    assert photograph_size(write(tmp_path, '.jpg', data)) == (120, 90)


@pytest.mark.parametrize('kind', ['missing', 'folder', 'pipe', 'link', 'loop'])
def test_what_is_no_file(tmp_path, kind):
    path = tmp_path / 'x.png'
    if kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'link':
        path.symlink_to(tmp_path / 'nowhere.png')
    elif kind == 'loop':
        path.symlink_to(path)
    with pytest.raises(InvalidInputError, match='cannot be read as an image'):
        photograph_size(path)


def test_programs_are_no_images(tmp_path):
    """Pillow would hand PostScript to Ghostscript."""
    text = '%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 10\nshowpage\n'
    path = write(tmp_path, '.png', text.encode())
    with pytest.raises(InvalidInputError, match='cannot be read as an image'):
        photograph_size(path)
    with pytest.raises(OSError, match='its format is unknown'):
        decode_whole(text.encode())
