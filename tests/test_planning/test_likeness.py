"""Which images belong together, by names and by looks."""

import numpy as np
import pytest

from helpers.real_data import CAMVID
from helpers.surveys import near_words, random_words
from mmseg_ext.doctor.parts import ImageScan
from mmseg_ext.planning.likeness import (
    augmented,
    joined,
    likeness_of,
    name_order,
    sequences,
)


def test_pairs_make_groups():
    pairs = [(5, 1), (1, 3), (0, 0), (6, 5), (2, 4)]
    assert joined(8, pairs) == [[0], [1, 3, 5, 6], [2, 4], [7]]
    assert joined(0, []) == []


def test_a_long_chain_is_one_group():
    number = 20_000
    pairs = [(n, n + 1) for n in reversed(range(number - 1))]
    assert joined(number, pairs) == [list(range(number))]


def scans(words, digests=None):
    digests = digests or [str(number).encode() for number in range(len(words))]
    return [
        ImageScan(size=(9, 9), words=each, digest=digest)
        for each, digest in zip(words, digests, strict=True)
    ]


def test_equal_files_copies_and_like_images():
    generator = np.random.default_rng(0)
    one, *others = (random_words(generator) for _ in range(5))
    copy = near_words(one, 0.05, generator)
    film = [others[0]]
    for _ in range(3):
        film.append(near_words(film[-1], 0.2, generator))
    words = [one, others[1], copy, one, *film]
    found = likeness_of(scans(words, [b'0', b'1', b'2', b'0', *b'abcd']))
    assert found.equal == [(0, 3)]
    assert found.copies == [(0, 2)]
    assert found.alike == [(4, 5), (5, 6), (6, 7)]


def test_flat_images_are_not_alike():
    found = likeness_of(scans([(0,) * 16] * 3))
    assert found == ([], [], [])


@pytest.mark.parametrize(
    ('names', 'films'),
    [
        pytest.param(
            ['0001TP_006690', '0001TP_006720', '0001TP_006750', 'x_1'],
            [[0, 1, 2]],
            id='every-thirtieth',
        ),
        pytest.param(
            ['v_f120', 'v_f60', 'v_f180', 'w_f60', 'w_f121', 'w_f500'],
            [[1, 0, 2]],
            id='out-of-order-and-irregular',
        ),
        pytest.param(
            [f'{n:04}' for n in range(1, 313)], [], id='ordinary-numbers'
        ),
        pytest.param(
            [f'IMG_{n}' for n in (3412, 3415, 3416, 3420, 3421, 3427, 3430)],
            [],
            id='camera',
        ),
        pytest.param(
            ['frame_000123', 'frame_000124', 'other'], [[0, 1]], id='frames'
        ),
        pytest.param(
            ['v1/Frame7', 'v2/Frame7', 'v1/Frame9'], [[0, 2]], id='folders'
        ),
        pytest.param(
            [f'aachen_{n:06}_leftImg8bit' for n in (10, 40, 70)],
            [[0, 1, 2]],
            id='common-ending',
        ),
        pytest.param(
            [f'aachen_{n:06}_000019_leftImg8bit' for n in (10, 40, 70)],
            [[0, 1, 2]],
            id='common-number',
        ),
        pytest.param(['v1/0010', 'v2/0010', 'v3/0010'], [], id='equal-names'),
        pytest.param(['frame', 'b', ''], [], id='no-numbers'),
        pytest.param(['frame_1'], [], id='one'),
    ],
)
def test_films_by_names(names, films):
    assert sequences([f'{name}.png' for name in names]) == films


def test_camvid_has_three_films():
    """Its steps are of 270 frames, and of 12 where it is denser."""
    names = [
        *(f'0001TP_{n:06}' for n in range(6690, 8311, 270)),
        *(f'0006R0_f{n:05}' for n in range(960, 3931, 270)),
        *('0016E5_00630', '0016E5_00901', '0016E5_01170', '0016E5_04440'),
        *(f'0016E5_{n:05}' for n in range(4710, 7681, 270)),
        *(f'0016E5_{n:05}' for n in range(7959, 8152, 12)),
    ]
    assert [len(film) for film in sequences(names)] == [7, 12, 33]
    if CAMVID.is_dir():
        real = [
            path.name
            for split in ('train', 'val')
            for path in sorted((CAMVID / split).iterdir())
        ]
        assert [len(film) for film in sequences(real)] == [7, 12, 39]


def test_variants_of_an_image():
    code, other = '0123456789abcdef0123456789abcdef', 'f' * 32
    names = [
        f'a_jpg.rf.{code}.jpg',
        'a_jpg.jpg',
        f'b_jpg.rf.{code}.jpg',
        f'a_jpg.rf.{other}.jpg',
        f'train/a_jpg.rf.{other}.jpg',
    ]
    assert augmented(names) == [(0, 3)]


def test_order_of_names_goes_by_numbers():
    names = ['a10.png', 'a9.png', 'b1.png', 'a.png', 'a2.png']
    assert name_order(names) == [3, 2, 4, 0, 1]
