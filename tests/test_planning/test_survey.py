"""One pass over images and labels."""

import os
import unicodedata
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.surveys import PlainMasks, classes
from mmseg_ext.formats.exports.export import (
    InvalidExportError,
    Picture,
    Tally,
)
from mmseg_ext.planning.survey import survey
from mmseg_ext.utils.text import printable

NAMES = ('a b', 'sub/C', unicodedata.normalize('NFD', 'straße_ü'))


@pytest.fixture
def export(tmp_path):
    """Three images of 80x64, of one color each, with masks."""
    pictures = []
    for number, name in enumerate(NAMES):
        image = np.full((64, 80, 3), (10, 20, 30 + number), np.uint8)
        labels = np.full((64, 80), 255, np.uint8)
        labels[:10] = number
        labels[10, :7] = 2
        for path, pixels in (
            (f'images/{name}.PNG', image),
            (f'masks/{name}.png', labels),
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            ok, data = cv2.imencode('.png', pixels)
            assert ok
            (tmp_path / path).write_bytes(data)
        pictures.append(Picture(f'images/{name}.PNG', f'masks/{name}.png'))
    return PlainMasks(tmp_path, tuple(pictures), classes(4), ('three',))


def error_of(export):
    with pytest.raises(InvalidExportError) as caught:
        survey(export, progress=False)
    return caught.value


@pytest.mark.parametrize('nproc', [1, 2])
def test_what_files_hold(export, nproc):
    found = survey(export, nproc, progress=False)
    assert found.export is export
    assert found.pixels.dtype == np.int64
    assert found.pixels.tolist() == [
        [800, 0, 7, 0],
        [0, 800, 7, 0],
        [0, 0, 807, 0],
    ]
    assert [image.size for image in found.images] == [(80, 64)] * 3
    assert [image.mean for image in found.images] == [
        (30 + number, 20, 10) for number in range(3)
    ]
    assert len({image.digest for image in found.images}) == 3


def test_nothing_is_written(export):
    before = sorted(export.folder.rglob('*'))
    survey(export, 2, progress=False)
    assert sorted(export.folder.rglob('*')) == before


def test_a_jpeg_has_its_own_size(export):
    noise = np.random.default_rng(0).integers(0, 255, (301, 403, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9)
    cv2.imwrite(str(export.folder / 'x.JPG'), smooth)
    cv2.imwrite(str(export.folder / 'x.png'), np.ones((301, 403), np.uint8))
    one = replace(export, pictures=(Picture('x.JPG', 'x.png'),))
    found = survey(one, progress=False)
    assert found.images[0].size == (403, 301)
    assert found.pixels.tolist() == [[0, 301 * 403, 0, 0]]
    np.testing.assert_allclose(
        found.images[0].mean, smooth.mean((0, 1))[::-1], atol=1
    )


@dataclass(frozen=True)
class Keyed(PlainMasks):
    """Keys are values and 100, and classes are known in the end."""

    def tally(self, picture):
        size, counts = super().tally(picture)
        return Tally(size, {key + 100: n for key, n in counts.items()})

    def settled(self, tallies):
        keys = sorted(set().union(*(tally.counts for tally in tallies)))
        return replace(self, classes=classes(len(keys) - 1))

    def index_of(self, key):
        return 255 if key == 355 else key - 100


def test_classes_of_all_files_together(export):
    keyed = Keyed(export.folder, export.pictures, None, ())
    found = survey(keyed, 2, progress=False)
    assert found.export.classes == classes(3)
    assert found.pixels.tolist() == [[800, 0, 7], [0, 800, 7], [0, 0, 807]]


def test_all_ignored_and_no_labels(export):
    @dataclass(frozen=True)
    class Empty(PlainMasks):
        def tally(self, picture):
            return Tally((80, 64), {255: 5120} if picture.labels else {})

    pictures = [*export.pictures[:2], export.pictures[2]._replace(labels=None)]
    empty = Empty(export.folder, tuple(pictures), classes(4), ())
    assert not survey(empty, progress=False).pixels.any()


def test_an_image_that_is_none(export):
    file = export.folder / export.pictures[1].name
    file.write_bytes(b'none')
    error = error_of(export)
    assert error.file == str(file)
    assert 'cannot be read as an image (4 bytes)' in error.reason
    assert 'more' not in error.reason


def test_an_image_that_is_cut_off(export):
    file = export.folder / export.pictures[0].name
    file.write_bytes(file.read_bytes()[:-30])
    assert error_of(export).file == str(file)


def test_labels_that_are_missing(export):
    file = export.folder / export.pictures[0].labels
    file.unlink()
    error = error_of(export)
    assert error.file == str(file)
    assert 'No such file' in error.reason


def test_sizes_that_differ(export):
    picture = export.pictures[2]
    file = export.folder / picture.labels
    cv2.imwrite(str(file), np.zeros((64, 81), np.uint8))
    error = error_of(export)
    assert error.file == printable(str(file))
    assert error.reason == printable(
        f'is of 81x64 pixels, its image {picture.name} has 80x64'
    )


def test_an_image_that_exif_turns(export):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = export.folder / 'x.jpg'
    Image.new('RGB', (80, 64)).save(file, exif=exif)
    labels = export.pictures[0].labels
    error = error_of(replace(export, pictures=(Picture('x.jpg', labels),)))
    assert error.file == str(file)
    assert error.reason.startswith('EXIF turns it (orientation 6)')
    assert labels in error.reason


@pytest.mark.parametrize('nproc', [1, 2])
def test_several_wrong_files_are_counted(export, nproc):
    pictures = [Picture(f'{n}.jpg', '0.png') for n in range(5)]
    several = replace(export, pictures=(*export.pictures, *pictures))
    with pytest.raises(InvalidExportError) as caught:
        survey(several, nproc, progress=False)
    error = caught.value
    assert error.file == os.path.join(export.folder, '0.jpg')
    assert '; 5 files are not right, also ' in error.reason
    assert [f'{n}.jpg: ' in error.reason for n in range(5)] == [
        *(False, True, True),
        *(False, False),
    ]
    assert error.reason.endswith('; and 2 more')
    assert '\n' not in str(error)


def test_stems_that_repeat(export):
    twin = Picture('images/a b.jpg', export.pictures[0].labels)
    error = error_of(replace(export, pictures=(*export.pictures[:1], twin)))
    assert error.file == str(export.folder / 'images/a b.jpg')
    assert error.reason.startswith(
        'differs in the suffix only from images/a b.PNG'
    )


def test_names_that_no_list_holds(export):
    broken = Picture('images/a\nb.png')
    error = error_of(replace(export, pictures=(broken,)))
    assert 'line break' in error.reason
    assert '\n' not in str(error)


def test_a_path_that_leaves_the_folder(export):
    outside = Picture('../x.png', export.pictures[0].labels)
    assert 'leaves its root' in str(
        error_of(replace(export, pictures=(outside,)))
    )


def test_too_many_values(export):
    @dataclass(frozen=True)
    class Blended(PlainMasks):
        def tally(self, picture):
            return Tally((80, 64), dict.fromkeys(range(2000), 1))

    blended = Blended(export.folder, export.pictures, None, ())
    error = error_of(blended)
    assert error.file == str(export.folder / export.pictures[0].labels)
    assert 'has 2000 values or colors' in error.reason


def test_no_pictures(export):
    assert error_of(replace(export, pictures=())).file == str(export.folder)


def test_too_many_processes(export):
    with pytest.raises(ValueError, match='nproc=0'):
        survey(export, 0)
