import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.utils.images import (
    MAX_PIXELS,
    decode_image,
    decode_labels,
    encode_labels,
    image_size,
    write_png,
)


def read(path, *flags):
    return decode_image(path.read_bytes(), str(path), *flags)


def test_round_trip(tmp_path):
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    write_png(tmp_path / 'new' / 'a.png', image)
    assert (read(tmp_path / 'new' / 'a.png') == image).all()
    write_png(tmp_path / 'b.png', image[..., 0].copy())
    assert (
        read(tmp_path / 'b.png', cv2.IMREAD_UNCHANGED) == image[..., 0]
    ).all()


@pytest.mark.parametrize('share', [0, 0.5, 0.99])
def test_truncated_file_is_named(tmp_path, share):
    path = tmp_path / 'a.png'
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    write_png(path, noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r'a\.png cannot be read'):
        read(path)


def test_what_is_no_image(tmp_path):
    with pytest.raises(ValueError, match='an array of float64 and shape'):
        write_png(tmp_path / 'a.png', np.zeros((2, 3, 7)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (37, 53), (900, 1600)])
def test_labels_come_back(shape):
    labels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = encode_labels(labels)
    picture = Image.open(io.BytesIO(data))
    picture.load()  # checks the sums of the chunks
    assert picture.mode == 'L'
    assert (np.asarray(picture) == labels).all()
    assert (decode_image(data, 'x', cv2.IMREAD_UNCHANGED) == labels).all()
    np.testing.assert_array_equal(decode_labels(data), labels)


def split_pixels(data):
    """Return a PNG whose pixels are in two chunks, behind one of text."""
    start, end = data.index(b'IDAT') + 4, data.index(b'IEND') - 8
    pixels = data[start:end]
    chunks = (b'tEXt', b'a\0b'), (b'IDAT', pixels[:9]), (b'IDAT', pixels[9:])
    return (
        data[: start - 8]
        + b''.join(chunk(*both) for both in chunks)
        + data[end + 4 :]
    )


def test_labels_in_several_chunks():
    labels = np.random.default_rng(0).integers(0, 256, (37, 53), np.uint8)
    data = split_pixels(encode_labels(labels))
    assert (decode_image(data, 'x', cv2.IMREAD_UNCHANGED) == labels).all()
    found = decode_labels(data)
    np.testing.assert_array_equal(found, labels)
    found[0, 0] = 7  # transforms write in it


def pillow_png(labels, mode='L', **options):
    file = io.BytesIO()
    Image.fromarray(labels).convert(mode).save(file, 'PNG', **options)
    return file.getvalue()


def test_labels_of_others_are_left_to_opencv():
    """Filters, palettes, colors, and what is no PNG."""
    ramp = np.add.outer(np.arange(64), np.arange(99)).astype(np.uint8)
    for data in (
        cv2.imencode('.png', ramp, [cv2.IMWRITE_PNG_FILTER, 16])[1].tobytes(),
        pillow_png(ramp, 'P'),
        pillow_png(ramp, 'RGB'),
        pillow_png(ramp.astype(np.uint16)),
        cv2.imencode('.bmp', ramp)[1].tobytes(),
        b'',
    ):
        assert decode_labels(data) is None


def test_damaged_labels_are_left_to_opencv():
    """Each byte but those of what says nothing; and each way to cut it."""
    labels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    data = encode_labels(labels)
    for at in range(len(data)):
        assert decode_labels(data[:at]) is None
        wrong = bytearray(data)
        wrong[at] ^= 4
        assert decode_labels(bytes(wrong)) is None
    # Another number of rows than the header says, with right checksums.
    for height in (3, 5, 1 << 31):
        header = struct.pack('>IIBBBBB', 5, height, 8, 0, 0, 0, 0)
        other = data[:8] + chunk(b'IHDR', header) + data[33:]
        assert decode_labels(other) is None


@pytest.mark.parametrize(
    'array',
    [
        pytest.param(np.zeros((2, 2), np.int64), id='int64'),
        pytest.param(np.zeros((2, 2, 3), np.uint8), id='colors'),
        pytest.param(np.zeros((0, 2), np.uint8), id='empty'),
    ],
)
def test_what_is_no_label_map(array):
    with pytest.raises(ValueError, match='is no label map'):
        encode_labels(array)


# Hostile files.


def chunk(name, data, length=None):
    """Return a PNG chunk, which may claim another length."""
    length = len(data) if length is None else length
    check = struct.pack('>I', zlib.crc32(name + data))
    return struct.pack('>I', length) + name + data + check


def png(width, height, *more):
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        [chunk(b'IHDR', header), *more, chunk(b'IEND', b'')]
    )


def with_size(suffix, code, width, height):
    """Return a small image whose header gives another size."""
    file = io.BytesIO()
    Image.new('RGB', (1259, 1361)).save(file, suffix)
    data = file.getvalue()
    for old, new in ((1259, width), (1361, height)):
        assert data.count(struct.pack(code, old)) >= 1
        data = data.replace(struct.pack(code, old), struct.pack(code, new))
    return data


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(png(25_000, 25_000), id='png'),
        pytest.param(png(1 << 31, 1 << 31), id='png-2^62'),
        pytest.param(with_size('jpeg', '>H', 60_000, 60_000), id='jpeg'),
        pytest.param(with_size('bmp', '<I', 60_000, 60_000), id='bmp'),
        pytest.param(with_size('tiff', '<H', 60_000, 60_000), id='tiff'),
        pytest.param(with_size('gif', '<H', 60_000, 60_000), id='gif'),
        pytest.param(b'P6 60000 60000 255\n' + bytes(99), id='ppm'),
    ],
)
def test_size_is_known_before_decoding(data, monkeypatch):
    """A file of some bytes may claim to have gigapixels."""
    monkeypatch.setattr(cv2, 'imdecode', None)
    with pytest.raises(ValueError, match=r'^x\.png (is of|is too large)'):
        decode_image(data, 'x.png')


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(
            png(4, 4, chunk(b'IDAT', b'x' * 10, (1 << 31) - 1)), id='pixels'
        ),
        pytest.param(
            png(4, 4, chunk(b'acTL', b'x' * 10, 1 << 30)), id='other'
        ),
        pytest.param(
            b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', b''), id='empty-header'
        ),
        pytest.param(b'\x89PNG\r\n\x1a\n', id='no-header'),
        pytest.param(
            b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', b'x' * 99, 1 << 31),
            id='header',
        ),
    ],
)
def test_chunks_lie_in_the_file(data, monkeypatch):
    """OpenCV makes room for as many bytes as a chunk claims to have."""
    monkeypatch.setattr(cv2, 'imdecode', None)
    with pytest.raises(ValueError, match=r'^x\.png cannot be read as an imag'):
        decode_image(data, 'x.png')


def test_largest_image():
    width = 13_377
    assert image_size(png(width, width), 'x') == (width, width)
    assert MAX_PIXELS == 178_956_970
    with pytest.raises(ValueError, match='13378x13378 pixels; expected at mo'):
        image_size(png(width + 1, width + 1), 'x')


def outcome(data):
    """Return the dimensions of an image, or the error."""
    try:
        return decode_image(data, 'x.png').ndim
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize('suffix', ['png', 'jpeg', 'bmp', 'tiff', 'webp'])
def test_any_damage_is_named(suffix):
    """No error of a library gets through, whatever is wrong."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    pixels = rng.integers(0, 256, (9, 11, 3), np.uint8)
    Image.fromarray(pixels).save(file, suffix.upper())
    good = file.getvalue()
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(0, min(len(data), 80), 3):
            data[place] = rng.integers(0, 256)
        data = bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])
        result = outcome(data)
        assert result == 3 or result.startswith('x.png '), data
