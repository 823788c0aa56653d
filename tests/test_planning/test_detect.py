"""Which format a folder is of."""

from dataclasses import replace
from types import ModuleType

import cv2
import numpy as np
import pytest

from helpers.surveys import PlainMasks, classes
from mmseg_ext.formats.exports.export import (
    Folder,
    InvalidExportError,
    Picture,
)
from mmseg_ext.planning import detect as module
from mmseg_ext.planning.detect import AmbiguousError, detect

READING = PlainMasks('x', (Picture('a.png'),), classes(2), ('1 PNG', 'two'))


@pytest.fixture
def known(monkeypatch):
    """Formats by their names, as if each were a module."""
    modules = {}
    monkeypatch.setattr(module, 'formats', lambda: modules)

    def add(name, answer, instead_of=()):
        class Format(PlainMasks):
            NAME = name
            TITLE = f'{name} files'
            INSTEAD_OF = frozenset(instead_of)

            @classmethod
            def found(cls, folder):
                if isinstance(answer, Exception):
                    raise answer
                return answer and cls(
                    folder.root, READING.pictures, classes(2), answer
                )

        modules[name] = ModuleType(name)
        modules[name].Format = Format
        Format.__module__ = name

    return add


def folder(tmp_path):
    return Folder.listed(tmp_path)


def test_the_only_one(known, tmp_path):
    known('one', None)
    known('two', ('right',))
    found = detect(folder(tmp_path))
    assert (found.NAME, found.evidence, found.ignored) == (
        'two',
        ('right',),
        (),
    )


def test_several(known, tmp_path):
    known('one', ('3 PNG', 'a list'))
    known('two', None)
    known('three', ('3 colors',))
    with pytest.raises(AmbiguousError) as caught:
        detect(folder(tmp_path))
    assert str(caught.value).splitlines() == [
        f'{tmp_path} can be read in 2 ways; say which one is right:',
        '  --format one: one files',
        '    3 PNG',
        '    a list',
        '  --format three: three files',
        '    3 colors',
    ]
    assert [each.NAME for each in caught.value.readings] == ['one', 'three']
    assert detect(folder(tmp_path), 'three').NAME == 'three'


def test_one_takes_the_place_of_others(known, tmp_path):
    known('one', ('x',))
    known('two', ('x',), {'one', 'three'})
    known('three', ('x',))
    assert detect(folder(tmp_path)).NAME == 'two'
    assert detect(folder(tmp_path), 'one').NAME == 'one'


def test_that_does_not_fit_takes_no_place(known, tmp_path):
    known('one', ('x',))
    known('two', None, {'one'})
    assert detect(folder(tmp_path)).NAME == 'one'


def test_a_name_that_is_none(known, tmp_path):
    known('labelme', None)
    known('voc', None)
    with pytest.raises(ValueError, match="'labelmi'") as caught:
        detect(folder(tmp_path), 'labelmi')
    assert str(caught.value) == (
        "format='labelmi': expected one of labelme, voc; close: labelme"
    )


def test_one_is_not_right(known, tmp_path):
    known('one', InvalidExportError('b.json', 'is broken'))
    known('two', None)
    with pytest.raises(InvalidExportError) as caught:
        detect(folder(tmp_path))
    assert str(caught.value) == (
        'b.json: is broken (taken for one files; if it is of another format, '
        'say so with --format)'
    )
    with pytest.raises(InvalidExportError) as caught:
        detect(folder(tmp_path), 'one')
    assert str(caught.value) == 'b.json: is broken'


def test_two_are_not_right(known, tmp_path):
    known('one', InvalidExportError('b.json', 'is broken'))
    known('two', InvalidExportError('c.txt', 'is empty'))
    known('three', InvalidExportError('d.txt', 'is covered'))
    known('four', None, {'three'})
    known('five', InvalidExportError('e', 'is more exact'), {'three'})
    with pytest.raises(InvalidExportError) as caught:
        detect(folder(tmp_path))
    assert caught.value.file == 'b.json'
    assert caught.value.reason.endswith(
        '; taken for two files: c.txt: is empty; taken for five files: e: is '
        'more exact'
    )


def test_what_fits_wins(known, tmp_path):
    known('one', InvalidExportError('b.json', 'is broken'))
    known('two', ('x',))
    found = detect(folder(tmp_path))
    assert found.NAME == 'two'
    assert found.ignored == (
        'as one files it is not right: b.json: is broken',
    )


def test_what_is_surely_of_another_format_does_not_win(known, tmp_path):
    """A VOC tree without some labels is no folder of masks."""
    known('masks', ('x',))
    known('voc', InvalidExportError('a.jpg', 'has no labels'), {'masks'})
    with pytest.raises(InvalidExportError, match='has no labels'):
        detect(folder(tmp_path))
    assert detect(folder(tmp_path), 'masks').NAME == 'masks'


# Nothing fits.


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(path.suffix.lower(), pixels)
    assert ok
    path.write_bytes(data)


def photograph():
    return np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def reason(known, root, name=None):
    known('one', None)
    known('two', None)
    with pytest.raises(InvalidExportError) as caught:
        detect(Folder.listed(root), name)
    assert caught.value.file == str(root)
    return caught.value.reason


def test_empty_folder(known, tmp_path):
    (tmp_path / '.hidden.png').touch()
    assert reason(known, tmp_path) == (
        'the folder is empty; expected one of: one files (one), two files '
        '(two); datum convert of the package datumaro turns exports of other '
        'formats into one of these'
    )


def test_only_one_format_is_expected_that_was_asked(known, tmp_path):
    assert 'expected two files (two); datum' in reason(known, tmp_path, 'two')


def test_no_folder(known, tmp_path):
    assert reason(known, tmp_path / 'none').startswith(
        'there is no such folder; '
    )


def test_an_archive(known, tmp_path):
    (tmp_path / 'a.zip').touch()
    assert reason(known, tmp_path / 'a.zip').startswith('is a file; unpack')


def test_images_only(known, tmp_path):
    for number in range(12):
        write(tmp_path / f'ä {number}.JPG', photograph())
    assert reason(known, tmp_path).startswith(
        'has 12 .jpg and nothing else: images without labels; expected'
    )


def test_masks_only(known, tmp_path):
    for number in range(30):
        mask = np.full((50, 40), number % 3, np.uint8)
        write(tmp_path / f'{number}.png', mask)
    write(tmp_path / 'x.bmp', np.full((50, 40, 3), (9, 0, 255), np.uint8))
    assert reason(known, tmp_path).startswith(
        'has 30 .png, 1 .bmp and nothing else: masks only, without the '
        'images that they belong to; expected'
    )


def test_images_and_masks(known, tmp_path):
    write(tmp_path / 'images/a.png', photograph())
    write(tmp_path / 'masks/b.png', np.zeros((40, 60), np.uint8))
    (tmp_path / 'LICENSE').touch()
    assert reason(known, tmp_path).startswith(
        'has 2 .png, 1 without suffix: images and masks whose names do not '
        'go together; '
    )


def test_gray_photographs_and_broken_files_are_images(known, tmp_path):
    write(tmp_path / 'a.png', photograph()[..., 0])
    (tmp_path / 'b.png').write_bytes(b'none')
    assert 'images without labels' in reason(known, tmp_path)


def test_no_images(known, tmp_path):
    for number in range(8):
        (tmp_path / f'a.x{number}').touch()
    assert reason(known, tmp_path).startswith(
        'has 1 .x0, 1 .x1, 1 .x2, 1 .x3, 1 .x4 and 3 other files, and no '
        'images; '
    )


def test_readings_stay_as_they_are(known, tmp_path):
    known('one', ('x',))
    found = detect(folder(tmp_path))
    assert found == replace(found, ignored=())
