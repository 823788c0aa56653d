"""Images that files name: found by any path, and put where tools look."""

import os

import pytest

from mmseg_ext.formats.exports.pictures import find_named, place_image


@pytest.mark.parametrize(
    ('file', 'said', 'images', 'expected'),
    [
        ('x.json', 'a.png', ['a.png', 'b/a.png'], ['a.png']),
        ('b/x.json', 'a.png', ['a.png', 'b/a.png'], ['b/a.png']),
        ('b/x.json', '../a.png', ['a.png', 'b/a.png'], ['a.png']),
        ('x.json', 'c/a.png', ['d/c/a.png', 'd/a.png'], ['d/c/a.png']),
        ('x.json', 'c\\a.png', ['d/c/a.png', 'd/a.png'], ['d/c/a.png']),
        ('x.json', 'a.png', ['c/a.png', 'd/a.png'], ['c/a.png', 'd/a.png']),
        ('x.json', 'a.png', ['masks/a.png', 'images/a.png'], ['images/a.png']),
        ('ann/val.json', 'a.png', ['train/a.png', 'valid/a.png'])
        + (['valid/a.png'],),
        ('x_day.json', 'a.png', ['day/a.png', 'night/a.png'], ['day/a.png']),
        ('monday.json', 'a.png', ['day/a.png', 'o/a.png'])
        + (['day/a.png', 'o/a.png'],),
        ('x.json', 'A.png', ['a.png'], []),
        ('x.json', '', ['a.png'], []),
        ('x.json', '../../a.png', ['a.png'], ['a.png']),
        ('x.json', '/', ['a.png'], []),
    ],
)
def test_path_and_what_it_means(file, said, images, expected):
    assert find_named([(file, said)], images) == [expected]


def test_image_that_another_path_leads_to_is_not_meant():
    named = [('b/x.json', 'a.png'), ('c/x.json', 'a.png')]
    assert find_named(named, ['c/a.png', 'd/a.png']) == [
        ['d/a.png'],
        ['c/a.png'],
    ]
    assert find_named(named, ['c/a.png']) == [[], ['c/a.png']]


def test_placed_by_link_or_copy(tmp_path, monkeypatch):
    source, link = tmp_path / 'a.png', tmp_path / 'link.png'
    source.write_bytes(b'data')
    link.symlink_to(source)
    for image in (source, link):
        place = tmp_path / 'out' / image.name
        place_image(image, place)
        place_image(image, place)
        assert place.samefile(source)
        assert not place.is_symlink()

    def fails(*_):
        raise OSError('no links here')

    monkeypatch.setattr(os, 'link', fails)
    place_image(source, tmp_path / 'copy.png')
    assert (tmp_path / 'copy.png').read_bytes() == b'data'
    assert not (tmp_path / 'copy.png').samefile(source)
    assert not list((tmp_path / 'out').glob('.*'))
