import io
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image, features

from helpers.mask_files import (
    bmp_file,
    chunk,
    exif_chunk,
    png_file,
    saved,
    tiff_file,
)
from mmseg_ext.formats.masks import (
    Mask,
    is_black_and_white,
    is_label_map_png,
    read_mask,
)
from references import masks as reference

#: Colors of a palette that are no grays, black, and one twice.
PALETTE = np.array([(i * 7 % 256, i, 255 - i) for i in range(256)], np.uint8)
PALETTE[3], PALETTE[9] = (0, 0, 0), PALETTE[2]


def values(top, shape=(11, 13), kind=np.uint8, seed=0):
    """Return random pixels from 0 to ``top``, both among them."""
    pixels = np.random.default_rng(seed).integers(0, top + 1, shape)
    pixels.reshape(-1)[:2] = 0, top
    return pixels.astype(kind)


def grays(depth, **options):
    kind = np.uint16 if depth == 16 else np.uint8
    return values((1 << depth) - 1, kind=kind, **options)


def palette_image(pixels, colors=PALETTE):
    image = Image.fromarray(pixels)
    image.putpalette(colors.tobytes())
    return image


def plte(count):
    return chunk(b'PLTE', PALETTE[:count].tobytes())


def encoded(pixels, end, *options):
    """Return the file that OpenCV writes; colors are RGB."""
    bgr = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][:3]]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        bgr = pixels[..., [2, 1, 0, 3]]
    return cv2.imencode(end, bgr, options)[1].tobytes()


def read(data, photographic=False):
    with warnings.catch_warnings():  # by Pillow, about broken tags
        warnings.simplefilter('ignore')
        return read_mask(data, 'folder/x.png', photographic)


# Values.


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize('depth', [1, 2, 4, 8, 16])
def test_gray_png(depth, interlaced):
    pixels = grays(depth)
    mask = read(png_file(pixels, depth, 0, interlaced=interlaced))
    assert mask.form == f'{depth}-bit gray PNG'
    assert mask.is_plain_gray
    assert mask.white == (1 << depth) - 1
    assert mask.pixels.dtype == pixels.dtype
    assert np.array_equal(mask.pixels, pixels)
    assert np.array_equal(mask.indices(), pixels)
    assert mask.transparent is None


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize('depth', [1, 2, 4, 8])
def test_palette_png(depth, interlaced):
    pixels, count = grays(depth), 1 << depth
    mask = read(png_file(pixels, depth, 3, plte(count), interlaced=interlaced))
    assert mask.form == 'palette PNG'
    assert (mask.channels, mask.entries) == (1, count)
    assert not mask.is_plain_gray
    assert np.array_equal(mask.indices(), pixels)
    assert np.array_equal(mask.colors()[..., ::-1], PALETTE[pixels])


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize(
    ('color', 'channels', 'form'),
    [
        (2, 3, 'RGB PNG'),
        (4, 2, '8-bit gray with alpha PNG'),
        (6, 4, 'RGBA PNG'),
    ],
)
def test_png_of_channels(color, channels, form, interlaced):
    pixels = values(255, (11, 13, channels))
    pixels[:2, :, -1] = 0
    mask = read(png_file(pixels, 8, color, interlaced=interlaced))
    assert mask.form == form.removeprefix('8-bit ')
    assert mask.channels == channels
    if channels == 2:
        assert np.array_equal(mask.pixels, pixels[..., 0])
    else:
        assert np.array_equal(mask.pixels, pixels[..., 2::-1])
    if channels == 3:
        assert mask.transparent is None
    else:
        assert np.array_equal(mask.transparent, pixels[..., -1] == 0)


@pytest.mark.parametrize('writer', [saved, encoded])
@pytest.mark.parametrize(
    'pixels',
    [
        pytest.param(grays(8, shape=(40, 31)), id='gray'),
        pytest.param(grays(16, shape=(40, 31)), id='16-bit'),
        pytest.param(values(255, (40, 31, 3)), id='RGB'),
        pytest.param(values(255, (40, 31, 4)) | 1, id='RGBA'),
        pytest.param(
            np.arange(40 * 31).reshape(40, 31).astype(np.uint8), id='smooth'
        ),
    ],
)
def test_png_of_libraries_equals_reference(pixels, writer):
    """Their rows are filtered."""
    end = '.png' if writer is encoded else 'PNG'
    data = writer(pixels, end)
    expected, _ = reference.png(data)
    assert np.array_equal(expected, pixels)
    mask = read(data)
    stored = expected if expected.ndim == 2 else expected[..., 2::-1]
    assert np.array_equal(mask.pixels, stored)


@pytest.mark.parametrize('depth', [1, 2, 4, 8, 16])
def test_transparent_gray(depth):
    pixels, white = grays(depth), (1 << depth) - 1
    clear = chunk(b'tRNS', white.to_bytes(2, 'big'))
    mask = read(png_file(pixels, depth, 0, clear))
    assert np.array_equal(mask.pixels, pixels)
    assert np.array_equal(mask.transparent, pixels == white)
    assert not mask.is_plain_gray
    with pytest.raises(ValueError, match=r'x\.png .*transparent pixels'):
        mask.indices()


def test_transparent_color():
    pixels = values(1, (11, 13, 3)) * 200
    clear = chunk(b'tRNS', b'\0\xc8\0\0\0\xc8')
    mask = read(png_file(pixels, 8, 2, clear))
    expected = (pixels == (200, 0, 200)).all(axis=2)
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(mask.transparent, expected)
    assert np.array_equal(mask.colors()[..., ::-1], pixels)


@pytest.mark.parametrize(
    ('opacity', 'clear'),
    [(b'\xff\0\xff', [1]), (b'\0\x80\0\1', [0, 2]), (b'\1\2\3', [])],
)
def test_transparent_entries(opacity, clear):
    pixels = grays(4)
    before = plte(16) + chunk(b'tRNS', opacity)
    mask = read(png_file(pixels, 4, 3, before))
    expected = np.isin(pixels, clear)
    assert np.array_equal(mask.indices(), pixels)
    if clear:
        assert np.array_equal(mask.transparent, expected)
    else:
        assert mask.transparent is None


@pytest.mark.parametrize('bits', [1, 4, 8])
def test_bmp_with_palette(bits):
    pixels = grays(bits)
    data = bmp_file(pixels, bits, PALETTE[: 1 << bits].tolist())
    entries, colors = reference.bmp(data)
    mask = read(data)
    assert np.array_equal(entries, pixels)
    assert np.array_equal(mask.indices(), entries)
    assert np.array_equal(mask.colors()[..., ::-1], colors[entries])


@pytest.mark.parametrize('shape', [(11, 13), (11, 13, 3), (11, 13, 4)])
def test_bmp_of_libraries_equals_reference(shape):
    pixels = values(255, shape) | 1
    for data in (saved(pixels, 'BMP'), encoded(pixels, '.bmp')):
        stored, palette = reference.bmp(data)
        mask = read(data)
        assert np.array_equal(stored, np.atleast_3d(pixels)[..., :3].squeeze())
        if palette is not None:
            assert np.array_equal(mask.indices(), stored)
            stored = palette[stored]
        assert np.array_equal(mask.colors()[..., ::-1], stored)


def test_bmp_of_black_and_white():
    pixels = grays(1)
    for data in (
        saved(Image.fromarray(pixels * 255).convert('1'), 'BMP'),
        bmp_file(pixels, 1, [(0, 0, 0), (255, 255, 255)]),
    ):
        mask = read(data)
        assert np.array_equal(mask.indices(), pixels)
        assert np.array_equal(mask.shown(), pixels * 255)


@pytest.mark.parametrize('magic', [b'P2', b'P5'])
@pytest.mark.parametrize('white', [1, 2, 11, 100, 254, 255, 256, 999, 65535])
def test_pgm(magic, white):
    pixels = values(white, kind=np.uint16 if white > 255 else np.uint8)
    body = pixels.astype(pixels.dtype.newbyteorder('>')).tobytes()
    if magic == b'P2':
        body = ' '.join(map(str, pixels.ravel())).encode()
    data = magic + b' 13\n11 %d\n' % white + body
    expected, top = reference.pnm(data)
    mask = read(data)
    assert np.array_equal(expected, pixels)
    assert np.array_equal(mask.pixels, expected)
    assert mask.white == top == white
    assert mask.is_plain_gray
    again = read(magic + b' # 7 8\n13 # 9\n11\n%d\n' % white + body)
    assert np.array_equal(again.pixels, expected)


def test_pbm_and_ppm():
    bits, colors = grays(1), values(255, (11, 13, 3))
    plain = ' '.join(map(str, (1 - bits).ravel())).encode()
    for data in (
        saved(Image.fromarray(bits * 255).convert('1'), 'PPM'),
        encoded(bits * 255, '.pbm'),
        b'P1 13 11\n' + plain,
    ):
        expected, _ = reference.pnm(data)
        assert np.array_equal(expected, bits)
        assert np.array_equal(read(data).pixels, bits)
        with pytest.raises(ValueError, match='white as 0, which programs'):
            read(data).indices()
    for data in (
        saved(colors, 'PPM'),
        encoded(colors, '.ppm'),
        b'P3 13 11 255\n' + ' '.join(map(str, colors.ravel())).encode(),
    ):
        expected, _ = reference.pnm(data)
        assert np.array_equal(expected, colors)
        assert np.array_equal(read(data).colors()[..., ::-1], colors)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize(
    ('pixels', 'bits', 'kind'),
    [
        pytest.param(grays(1), 1, 1, id='1 bit'),
        pytest.param(grays(2), 2, 1, id='2 bits'),
        pytest.param(grays(4), 4, 1, id='4 bits'),
        pytest.param(grays(8), 8, 1, id='8 bits'),
        pytest.param(grays(16), 16, 1, id='16 bits'),
        pytest.param(values(300, kind=np.int16), 16, 2, id='signed'),
        pytest.param(values(65535, kind=np.int32), 32, 2, id='32 signed'),
    ],
)
def test_tiff_by_hand(pixels, bits, kind, order):
    mask = read(tiff_file(pixels, bits, kind=kind, order=order))
    assert np.array_equal(mask.indices(), pixels)
    assert mask.indices().dtype in (np.uint8, np.uint16)
    assert mask.white == min((1 << bits) - 1, 65535)


def test_tiff_of_12_and_32_bits():
    pixels = np.array([[0, 1, 2, 4095]], np.uint16)
    body = np.frombuffer(b'\x00\x00\x01\x00\x2f\xff', np.uint8)[None]
    data = tiff_file(body, 12, more=[(256, 4)])
    mask = read(data)
    assert np.array_equal(mask.pixels, pixels)
    assert (mask.form, mask.white) == ('12-bit gray TIFF', 4095)
    mask = read(tiff_file(pixels.astype(np.uint32), 32, kind=1))
    assert np.array_equal(mask.indices(), pixels)


def test_tiff_where_one_bit_of_0_is_white():
    pixels = grays(1)
    mask = read(tiff_file(pixels, 1, photometric=0))
    assert np.array_equal(mask.pixels, 1 - pixels)
    with pytest.raises(ValueError, match='white as 0, which programs'):
        mask.indices()


@pytest.mark.parametrize(
    'compression',
    [
        *('raw', 'tiff_lzw', 'tiff_deflate', 'tiff_adobe_deflate'),
        *('packbits', 'lzma', 'zstd'),
    ],
)
def test_compressed_tiff(compression):
    try:
        files = [
            saved(pixels, 'TIFF', compression=compression)
            for pixels in (grays(8), grays(16), values(255, (11, 13, 3)))
        ]
    except (OSError, RuntimeError):  # libtiff without it
        pytest.skip(f'Pillow writes no TIFF with {compression}')
    gray, wide, colors = map(read, files)
    assert np.array_equal(gray.indices(), grays(8))
    assert np.array_equal(wide.indices(), grays(16))
    assert np.array_equal(colors.colors()[..., ::-1], values(255, (11, 13, 3)))


@pytest.mark.parametrize('compression', ['group3', 'group4', 'tiff_ccitt'])
def test_fax(compression):
    image = Image.fromarray(grays(1) * 255).convert('1')
    mask = read(saved(image, 'TIFF', compression=compression))
    assert np.array_equal(mask.indices(), grays(1))


def test_other_tiff():
    rgba = values(255, (11, 13, 4))
    mask = read(saved(rgba, 'TIFF'))
    assert np.array_equal(mask.pixels, rgba[..., 2::-1])
    assert np.array_equal(mask.transparent, rgba[..., 3] == 0)
    pixels = grays(8)
    mask = read(saved(palette_image(pixels), 'TIFF'))
    assert np.array_equal(mask.indices(), pixels)
    assert np.array_equal(mask.colors()[..., ::-1], PALETTE[pixels])
    planes = np.moveaxis(rgba[..., :3], 2, 0)
    rows = planes.reshape(-1, 13)
    sizes = 8 + np.arange(3, dtype='<u4') * 143
    tail = np.frombuffer(
        np.array([8, 8, 8], '<u2').tobytes()
        + np.array([143] * 3, '<u4').tobytes()
        + sizes.astype('<u4').tobytes(),
        np.uint8,
    )
    at = 8 + rows.size
    whole = np.concatenate([rows.ravel(), tail])[None]
    data = tiff_file(
        whole,
        8,
        photometric=2,
        more=[(256, 13), (257, 11), (277, 3), (278, 11), (284, 2)],
    )
    # Three numbers each stand behind the pixels.
    for tag, kind, place in (
        (258, 3, at),
        (279, 4, at + 6),
        (273, 4, at + 18),
    ):
        old = data.rindex(tag.to_bytes(2, 'little') + b'\4\0\1\0\0\0')
        entry = np.array([tag, kind, 3, 0, place, 0], '<u2').tobytes()
        data = data[:old] + entry + data[old + 12 :]
    assert np.array_equal(read(data).colors()[..., ::-1], rgba[..., :3])


@pytest.mark.parametrize('shape', [(11, 13, 3), (11, 13, 4)])
def test_lossless_webp(shape):
    pixels = values(255, shape)
    mask = read(saved(pixels, 'WEBP', lossless=True, exact=True))
    assert np.array_equal(mask.colors()[..., ::-1], pixels[..., :3])
    if shape[2] == 4:
        assert np.array_equal(mask.transparent, pixels[..., 3] == 0)
    gray = np.repeat(grays(8)[..., None], 3, axis=2)
    mask = read(saved(gray, 'WEBP', lossless=True))
    assert np.array_equal(mask.indices(), gray[..., 0])


def test_gif_has_colors_and_no_indices():
    pixels = np.array([[0, 5, 11, 255, 5]], np.uint8)
    data = saved(palette_image(pixels), 'GIF')
    mask = read(data)
    assert not np.array_equal(mask.pixels, pixels), 'the palette is sorted'
    assert np.array_equal(mask.colors()[..., ::-1], PALETTE[pixels])
    with pytest.raises(ValueError, match=r'x\.png .*no index mask.* as PNG'):
        mask.indices()


def test_transparent_gif():
    pixels = grays(8)
    data = saved(palette_image(pixels), 'GIF', transparency=7, optimize=False)
    mask = read(data)
    assert np.array_equal(mask.transparent, pixels == 7)
    assert np.array_equal(mask.colors()[..., ::-1], PALETTE[pixels])


@pytest.mark.parametrize('turn', [2, 3, 6, 8])
def test_photographs_are_turned(turn):
    """As ImageOps and OpenCV do."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = 255, 0, 0
    exif = Image.Exif()
    exif[274] = turn
    steps = {
        2: lambda image: image[:, ::-1],
        3: lambda image: image[::-1, ::-1],
        6: lambda image: np.rot90(image, 3),
        8: np.rot90,
    }
    expected = steps[turn](pixels)
    for data in (
        png_file(pixels, 8, 2, exif_chunk(turn)),
        png_file(pixels, 8, 2, after=exif_chunk(turn)),
        png_file(pixels, 8, 2, after=exif_chunk(turn) + long_text()),
        saved(pixels, 'TIFF', exif=exif),
        saved(pixels, 'WEBP', lossless=True, exif=exif),
    ):
        assert np.array_equal(read(data, True).colors()[..., ::-1], expected)
        with pytest.raises(ValueError, match=rf'orientation {turn}, .*EXIF'):
            read(data)
    jpeg = read(saved(pixels, 'JPEG', exif=exif, subsampling=0), True)
    assert np.abs(jpeg.colors()[..., ::-1] - expected.astype(int)).max() < 9


def long_text():
    return chunk(b'tEXt', b'Comment\0' + b'x' * 9000)


@pytest.mark.parametrize('format', ['JPEG', 'JPEG2000', 'WEBP', 'AVIF'])
def test_photographs(format):
    names = {'JPEG2000': 'jpg_2000', 'JPEG': 'jpg'}
    if not features.check(names.get(format, format.lower())):
        pytest.skip(f'Pillow without {format}')
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[8:24, 8:24] = 200
    data = saved(pixels, format)
    found = read(data, True).colors()
    assert np.abs(found.astype(int) - pixels).max() < 40
    with pytest.raises(ValueError, match=r'x\.png .*changes pixels'):
        read(data)


# What no label map is.

FLOATS = values(9, kind=np.float32)


def frames(format):
    one, two = grays(8), grays(8, seed=1)
    return saved(
        one,
        format,
        save_all=True,
        append_images=[Image.fromarray(two)],
    )


REFUSED = {
    'empty': (b'', 'format is unknown'),
    'text': (b'<html></html>', 'format is unknown'),
    'only a signature': (b'\x89PNG\r\n\x1a\n', 'header is missing'),
    'no width': (png_file(np.zeros((4, 0), np.uint8), 8, 0), 'cannot be read'),
    'no height': (b'P5 3 0 255\n', 'cannot be read'),
    'of a gigapixel': (
        png_file(grays(8), 8, 0).replace(
            b'\0\0\0\x0d\0\0\0\x0b', b'\0\1\0\0\0\1\0\0', 1
        ),
        'expected at most',
    ),
    'RGB of 16 bits': (
        png_file(values(999, (4, 4, 3), np.uint16), 16, 2),
        '16 bits a channel; expected 8',
    ),
    'gray and alpha of 16 bits': (
        png_file(values(999, (4, 4, 2), np.uint16), 16, 4),
        '16 bits a channel; expected 8',
    ),
    'animated PNG': (frames('PNG'), '2 pages or frames; expected one'),
    'animated GIF': (frames('GIF'), '2 pages or frames; expected one'),
    'animated WebP': (
        saved(
            grays(8),
            'WEBP',
            save_all=True,
            lossless=True,
            append_images=[Image.fromarray(grays(8, seed=1))],
        ),
        '2 pages or frames; expected one',
    ),
    'pages': (frames('TIFF'), '2 pages or frames; expected one'),
    'floats': (saved(FLOATS, 'TIFF'), 'floats; expected integers'),
    'negative': (
        tiff_file(np.array([[-1, 5]], np.int16), 16, kind=2),
        'values from -1 to 5; expected class indices',
    ),
    'negative of 8 bits': (
        tiff_file(np.array([[-1, 5]], np.int8), 8, kind=2),
        'signed pixels of 8 bits',
    ),
    'more than 16 bits': (
        tiff_file(np.array([[65536, 5]], np.int32), 32, kind=2),
        'values from 5 to 65536; expected class indices',
    ),
    'white is 0': (tiff_file(grays(8), 8, photometric=0), 'white as 0'),
    'white is 0 of 4 bits': (
        tiff_file(grays(4), 4, photometric=0),
        'white as 0',
    ),
    'white is 0 of 16 bits': (
        tiff_file(grays(16), 16, photometric=0),
        'white as 0',
    ),
    'JPEG in TIFF': (
        saved(grays(8, shape=(16, 16)), 'TIFF', compression='jpeg'),
        'changes pixels',
    ),
    'lossy WebP': (saved(values(255, (9, 9, 3)), 'WEBP'), 'changes pixels'),
    'lossy WebP with alpha': (
        saved(values(255, (9, 9, 4)), 'WEBP'),
        'changes pixels',
    ),
    'JPEG': (saved(grays(8), 'JPEG'), 'changes pixels'),
    'CMYK': (
        saved(Image.new('CMYK', (3, 3)), 'TIFF'),
        'color space that has no classes',
    ),
    'YCbCr': (
        saved(Image.new('YCbCr', (3, 3)), 'TIFF'),
        'color space that has no classes',
    ),
    'LAB': (
        saved(Image.new('LAB', (3, 3)), 'TIFF'),
        'color space that has no classes',
    ),
    'BMP of 16 bits': (
        bmp_file(values(999, kind=np.uint16), 16),
        '5 or 6 bits a channel',
    ),
    'grays as a palette of 4 bits': (
        bmp_file(grays(4), 4, [(i, i, i) for i in range(16)]),
        '4 bits a pixel and grays as its palette',
    ),
    'black and white in 8 bits': (
        bmp_file(grays(1), 8, [(0, 0, 0), (255, 255, 255)]),
        '8 bits a pixel and grays as its palette',
    ),
    'PPM of 4 bits': (b'P6 1 1 15\n\1\2\3', 'another header'),
    'PGM above its white': (b'P5 2 1 11\n\0\xff', 'up to 255, .* white is 11'),
    'plain PGM above its white': (b'P2 2 1 11\n0 255', 'too large'),
    "Pillow's own PPM": (b'PyP 2 1 255\n\0\3', 'another header'),
    'PFM': (b'Pf 1 1 -1.0\n\0\0\0\0', 'floats'),
    'a palette that is cut': (
        png_file(np.array([[0, 11, 15]], np.uint8), 4, 3, plte(12)),
        r'entry 15, but its palette has 12 colors.* 256 colors',
    ),
}


@pytest.mark.parametrize('what', REFUSED)
def test_refused(what):
    data, words = REFUSED[what]
    with pytest.raises(ValueError, match=rf'folder/x\.png.*{words}') as error:
        read(data)
    assert '\n' not in str(error.value)


def test_pillow_cuts_off_what_a_short_palette_lacks():
    """The usual way to such a file, which the reader refuses."""
    image = Image.fromarray(np.array([[0, 11, 255]], np.uint8))
    image.putpalette(PALETTE[:12].tobytes())
    with pytest.raises(ValueError, match=r'x\.png .*entry 15, .* 12 colors'):
        read(saved(image, 'PNG'))


def test_pixels_that_a_palette_lacks_are_indices_and_no_colors():
    pixels = np.array([[0, 20, 255]], np.uint8)
    mask = read(png_file(pixels, 8, 3, plte(21)))
    assert mask.indices().tolist() == [[0, 20, 255]]
    with pytest.raises(ValueError, match=r'x\.png .*entry 255, .* 21 colors'):
        mask.colors()


# Broken files.

SAMPLES = {
    'gray': png_file(grays(8), 8, 0, piece=50),
    'interlaced': png_file(grays(8), 8, 0, interlaced=True),
    '4 bits': png_file(grays(4), 4, 0),
    'palette': png_file(grays(8), 8, 3, plte(256), piece=50),
    'RGB': saved(values(255, (11, 13, 3)), 'PNG'),
    'BMP': saved(values(255, (11, 13, 3)), 'BMP'),
    'GIF': saved(palette_image(grays(8)), 'GIF'),
    'PGM': saved(grays(8), 'PPM'),
    'plain PGM': b'P2 3 2 9\n0 1 2 3 4 9\n',
    'TIFF': saved(grays(8), 'TIFF'),
    'LZW': saved(values(255, (11, 13, 3)), 'TIFF', compression='tiff_lzw'),
    'fax': saved(
        Image.fromarray(grays(1) * 255).convert('1'),
        'TIFF',
        compression='group4',
    ),
    'WebP': saved(values(255, (11, 13, 3)), 'WEBP', lossless=True),
    'JPEG': saved(values(255, (16, 16, 3)), 'JPEG'),
    'progressive': saved(values(255, (16, 16, 3)), 'JPEG', progressive=True),
}


def read_or_error(data):
    try:
        return read(data, True)
    except MemoryError:
        return 'no memory for x.png'
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize('name', SAMPLES)
def test_cut_anywhere(name):
    """What is read of a cut file is the whole picture, or an error."""
    data = SAMPLES[name]
    whole = read(data, True).pixels
    step = max(1, len(data) // 60)
    for length in {*range(0, len(data), step), len(data) - 9, len(data) - 1}:
        mask = read_or_error(data[:length])
        if isinstance(mask, Mask):
            assert np.array_equal(mask.pixels, whole), length
        else:
            assert 'folder/x.png' in mask


@pytest.mark.parametrize('name', SAMPLES)
def test_flipped_bits(name):
    """Never another error, nor a picture of another size than the header."""
    data, rng = SAMPLES[name], np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            broken[place] ^= 1 << rng.integers(8)
        mask = read_or_error(bytes(broken))
        if isinstance(mask, Mask):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                size = Image.open(io.BytesIO(broken)).size
            assert mask.pixels.shape[1::-1] == size
        else:
            assert 'x.png' in mask


# What masks are asked.


def test_index_masks_of_three_channels():
    gray = grays(8)
    same = np.repeat(gray[..., None], 3, axis=2)
    mask = read(saved(same, 'PNG'))
    assert np.array_equal(mask.indices(), gray)
    assert np.array_equal(mask.gray(), gray)
    assert not mask.is_plain_gray
    same[3, 4] = (1, 2, 3)
    mask = read(saved(same, 'PNG'))
    assert mask.gray() is None
    with pytest.raises(
        ValueError, match=r'x\.png .*such as \[1, 2, 3\].*LoadColorMasks'
    ):
        mask.indices()


@pytest.mark.parametrize('depth', [1, 2, 4, 8])
def test_grays_as_colors(depth):
    pixels = grays(depth)
    expected = np.rint(pixels * (255 / ((1 << depth) - 1)))
    mask = read(png_file(pixels, depth, 0))
    assert np.array_equal(mask.shown(), expected)
    assert np.array_equal(mask.colors(), np.dstack([expected] * 3))


def test_grays_of_16_bits_as_colors():
    small = grays(8).astype(np.uint16)
    assert np.array_equal(read(png_file(small, 16, 0)).shown(), small)
    large = np.array([[0, 257, 65535]], np.uint16)
    assert read(png_file(large, 16, 0)).shown().tolist() == [[0, 1, 255]]


@pytest.mark.parametrize(
    ('labels', 'expected'),
    [
        ([0, 255], True),
        ([0, 1, 255], False),
        ([0, 0], False),
        ([255, 255], False),
        ([0, 254, 255], False),
    ],
)
def test_black_and_white(labels, expected):
    assert is_black_and_white(np.array([labels], np.uint8)) is expected


def test_label_maps_by_their_header():
    assert is_label_map_png(png_file(grays(8), 8, 0))
    for data in (
        png_file(grays(4), 4, 0),
        png_file(grays(8), 8, 3, plte(256)),
        png_file(grays(8), 8, 0, chunk(b'tRNS', b'\0\1')),
        png_file(grays(8), 8, 0, after=exif_chunk(6) + long_text()),
        saved(grays(8), 'BMP'),
        b'',
    ):
        assert not is_label_map_png(data)


def test_masks_are_records():
    mask = Mask('x', 'RGB PNG', values(255, (2, 2, 3)), channels=3)
    with pytest.raises(AttributeError):
        mask.channels = 1


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize(('depth', 'color'), [(1, 0), (4, 0), (8, 3), (8, 4)])
def test_rows_that_are_missing(depth, color, interlaced):
    """A stream that ends well, but early; Pillow takes the rest for 0."""
    channels = 2 if color == 4 else 1
    pixels = np.ones((40, 30, channels), np.uint8)
    before = chunk(b'PLTE', bytes(768)) if color == 3 else b''
    data = png_file(pixels, depth, color, before, interlaced=interlaced)
    assert (read(data).pixels == 1).all()
    header = data[: data.index(b'IHDR') + 21]
    short = png_file(pixels[:20], depth, color, before, interlaced=interlaced)
    data = header + short[len(header) :]
    with pytest.raises(ValueError, match=r'x\.png cannot .*rows are missing'):
        read(data)


@pytest.mark.parametrize('more', [b'\n', b'P5 2 2 255\n0000'])
def test_more_than_a_pgm(more):
    """An end of line in two bytes, or a second image."""
    data = b'P5 2 2 255\n\0\1\2\3'
    assert read(data).pixels.tolist() == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match='bytes more than its header says'):
        read(data + more)
