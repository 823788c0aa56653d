"""What no converter may fall over: one bad file among good ones.

Each converter stops at it, naming it, or passes over it with ``skip_invalid``.
"""

import builtins
import errno
import functools
import importlib
import io
import json
import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from isal import isal_zlib
from PIL import Image

from mmseg_ext.sample_data import (
    write_camvid,
    write_cityscapes,
    write_idd,
    write_nails,
)


def write_labelme(root, **_):
    """Write four photographs with a rectangle each."""
    root.mkdir()
    for stem in 'abcd':
        pixels = np.random.default_rng(ord(stem)).integers(0, 256, (40, 60, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(root / f'{stem}.png')
        shape = {'label': 'road', 'points': [[1, 2], [30, 20]]}
        shape['shape_type'] = 'rectangle'
        content = {'shapes': [shape], 'imagePath': f'{stem}.png'}
        content |= {'imageWidth': 60, 'imageHeight': 40}
        (root / f'{stem}.json').write_text(json.dumps(content))


SIZE = 240, 180

WRITERS = {
    'camvid': write_camvid,
    'cityscapes': write_cityscapes,
    'idd': write_idd,
    'labelme': write_labelme,
    'nails': write_nails,
}

#: A file of each kind that the converters read.
IMAGES = [
    ('camvid', 'train_labels/*.png'),
    ('cityscapes', 'leftImg8bit/train/*/*.png'),
    ('cityscapes', 'gtFine/train/*/*_instanceIds.png'),
    ('idd', 'IDD_Segmentation/leftImg8bit/train/*/*.png'),
    ('idd', 'IDD_Segmentation/gtFine/train/*/*_labellevel3Ids.png'),
    ('idd', 'idd20kII/leftImg8bit/train/*/*.jpg'),
    ('labelme', '*.png'),
    ('nails', 'Images/1/*.png'),
    ('nails', 'Masks/1/*.png'),
]
TEXTS = [
    ('idd', 'idd20kII/gtFine/train/*/*_polygons.json'),
    ('labelme', '*.json'),
]

#: Those that are decoded, of which no more than their ends is read else.
DECODED = [pair for pair in IMAGES if re.search('Ids|abels|Masks', pair[1])]


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Return a function that writes the samples of a converter, once."""

    @functools.cache
    def write(name):
        root = tmp_path_factory.mktemp('samples') / name
        WRITERS[name](root, num=8, size=SIZE, progress=False)
        return root

    return write


@pytest.fixture
def spoiled(written, tmp_path):
    """Return a function that spoils a file in a copy of samples."""

    def spoil(name, pattern, how):
        root = shutil.copytree(written(name), tmp_path / 'set')
        path = sorted(root.glob(pattern))[0]
        how(path)
        return root, path

    return spoil


def convert(name, root, out, **options):
    module = importlib.import_module(f'mmseg_ext.converters.{name}')
    roots = sorted(root.iterdir()) if name == 'idd' else root
    return module.convert(roots, out, progress=False, **options)


def check_named(name, root, path, out):
    """Check that a file is named, and that all others are converted."""
    with pytest.raises(ValueError, match='skip_invalid=True') as error:
        convert(name, root, out / 'strict')
    assert str(error.value).startswith(f'{path}: ')
    [skip] = convert(name, root, out / 'loose', skip_invalid=True).skipped
    assert skip.file == str(path)
    assert str(error.value).startswith(f'{path}: {skip.reason};')
    return skip.reason


# Whatever is no file.


def link_to(path, target):
    path.unlink()
    path.symlink_to(target)


def pipe(path):
    os.mkfifo(path.with_suffix('.pipe'))
    link_to(path, path.with_suffix('.pipe'))


def device(path):
    link_to(path, '/dev/zero')


def nowhere(path):
    link_to(path, 'nowhere')


def no_bytes(path):
    path.write_bytes(b'')


@pytest.mark.parametrize('how', [pipe, device, nowhere, no_bytes])
@pytest.mark.parametrize(('name', 'pattern'), IMAGES + TEXTS)
def test_no_files(spoiled, tmp_path, name, pattern, how):
    root, path = spoiled(name, pattern, how)
    check_named(name, root, path, tmp_path)


@pytest.mark.parametrize(('name', 'pattern'), IMAGES + TEXTS)
def test_files_that_may_not_be_read(
    spoiled, tmp_path, monkeypatch, name, pattern
):
    root, path = spoiled(name, pattern, lambda path: path.chmod(0))
    plain = builtins.open

    def refuse(file, *args, **kwargs):
        """Refuse, for root as well, who may read all files."""
        named = isinstance(file, (str, os.PathLike)) and os.path.exists(file)
        if named and path.samefile(file):
            raise PermissionError(errno.EACCES, 'Permission denied', str(file))
        return plain(file, *args, **kwargs)

    if os.geteuid() == 0:
        monkeypatch.setattr(builtins, 'open', refuse)
    assert 'ermission denied' in check_named(name, root, path, tmp_path)


# Images.


def png(width, height, *chunks):
    data = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    parts = [(b'IHDR', data, 13), *chunks]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', length)
        + kind
        + data
        + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data, length in [*parts, (b'IEND', b'', 0)]
    )


def gigantic(path):
    path.write_bytes(png(25_000, 25_000))


def claims_gigabytes(path):
    path.write_bytes(png(*SIZE, (b'IDAT', b'x' * 12, (1 << 31) - 1)))


def without_header(path):
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(4) + b'IHDR' + bytes(99))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-20])


def unwritten(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 4].ljust(len(data) + 999, b'\0'))


def avif(path):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, 'AVIF')
    data = bytearray(file.getvalue())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)


def program(path):
    path.write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n')


@pytest.mark.parametrize(
    'how',
    [
        *(gigantic, without_header, cut_off),
        *(unwritten, avif, program),
    ],
)
@pytest.mark.parametrize(('name', 'pattern'), IMAGES)
def test_images(spoiled, tmp_path, name, pattern, how):
    root, path = spoiled(name, pattern, how)
    check_named(name, root, path, tmp_path)


@pytest.mark.parametrize(('name', 'pattern'), DECODED)
def test_chunk_of_gigabytes(spoiled, tmp_path, name, pattern):
    root, path = spoiled(name, pattern, claims_gigabytes)
    reason = check_named(name, root, path, tmp_path)
    assert 'of 2147483647 bytes is truncated' in reason


@pytest.mark.parametrize(('name', 'pattern'), DECODED)
def test_no_file_is_left_out_where_memory_is_short(
    spoiled, tmp_path, monkeypatch, name, pattern
):
    def decode(*_):
        raise MemoryError

    root, _ = spoiled(name, pattern, Path.exists)
    monkeypatch.setattr(cv2, 'imdecode', decode)
    monkeypatch.setattr(isal_zlib, 'decompressobj', decode)
    with pytest.raises(OSError, match=r'memory is short for .*\.png'):
        convert(name, root, tmp_path / 'out', skip_invalid=True)


@pytest.mark.parametrize(
    ('name', 'pattern'), [pair for pair in DECODED if pair[0] != 'camvid']
)
def test_labels_are_decoded_only_if_their_size_fits(
    spoiled, tmp_path, name, pattern
):
    """The pixels of this one are broken, too, and nobody gets that far."""
    root, path = spoiled(
        name, pattern, lambda path: path.write_bytes(png(9000, 9000))
    )
    assert check_named(name, root, path, tmp_path).startswith(
        'is of 9000x9000 pixels'
    )


# Texts.


def change(path, edit):
    text = path.read_text()
    path.write_text(text.replace('{', '{"more": ' + edit + ', ', 1))


def nested(path, depth=1000):
    change(path, '[' * depth + ']' * depth)


def nested_deep(path):
    nested(path, 100_000)


def huge_size(path):
    text = path.read_text()
    for key in ('imgWidth', 'imageWidth'):
        text = text.replace(f'"{key}": ', f'"{key}": {"9" * 5000}')
    path.write_text(text)


def as_utf16(path):
    path.write_bytes(path.read_text().encode('utf-16'))


def as_cp1252(path):
    text = path.read_text().replace('"label": "', '"label": "ß', 1)
    path.write_bytes(text.encode('cp1252'))


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        (nested, 'it is nested too deep'),
        (nested_deep, 'it is nested too deep'),
        (huge_size, 'out of range'),
        (as_utf16, 'it is encoded as UTF-16: save it as UTF-8'),
        (as_cp1252, 'it is not encoded as UTF-8: byte 0xdf in line 1, as in'),
    ],
)
@pytest.mark.parametrize(('name', 'pattern'), TEXTS)
def test_texts(spoiled, tmp_path, name, pattern, how, reason):
    root, path = spoiled(name, pattern, how)
    assert reason in check_named(name, root, path, tmp_path)


@pytest.mark.parametrize(('name', 'pattern'), TEXTS)
def test_a_mark_of_utf8_and_other_fields_do_no_harm(
    spoiled, tmp_path, name, pattern
):
    def how(path):
        change(path, '9' * 5000)
        path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())

    root, _ = spoiled(name, pattern, how)
    assert convert(name, root, tmp_path / 'out').skipped == []


def test_sizes_of_labels_are_bounded(spoiled, tmp_path):
    """Each side alone is within its bounds."""

    def how(path):
        content = json.loads(path.read_text())
        content |= {'imageWidth': 60_000, 'imageHeight': 60_000}
        path.write_text(json.dumps(content))

    root, path = spoiled('labelme', '*.json', how)
    reason = check_named('labelme', root, path, tmp_path)
    assert 'expected at most 178956970 pixels' in reason


def test_all_files_are_there():
    """Patterns that find nothing would test nothing."""
    names = {name for name, _ in IMAGES + TEXTS}
    assert names == set(WRITERS)
    found = {path.stem for path in Path(__file__).parent.glob('test_*.py')}
    assert {f'test_{name}' for name in names} <= found
