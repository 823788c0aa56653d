"""Copies of images, found by their hashes."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.real_data import CAMVID, NAILS
from mmseg_ext.doctor import near_duplicates
from mmseg_ext.doctor.hashes import difference_words
from mmseg_ext.doctor.near_duplicates import (
    MANY,
    copies,
    difference,
    find_neighbors,
)
from mmseg_ext.sample_data.nails import nail_scene
from mmseg_ext.sample_data.scenes.render import render_scene


def compressed(image):
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def halved(image):
    return cv2.resize(image, None, fx=0.5, fy=0.5)


def darker(image):
    levels = np.rint(255 * (np.arange(256) / 255) ** 1.3)
    return cv2.LUT(image, levels.astype(np.uint8))


def cropped(image):
    """Cut off 2 % at each side."""
    height, width = (round(side * 0.02) for side in image.shape[:2])
    return image[height:-height, width:-width]


KINDS = {
    'quality-60': compressed,
    'halved': halved,
    'gamma-1.3': darker,
    'cropped': cropped,
    'all': lambda image: compressed(darker(halved(cropped(image)))),
}


def words_of(image):
    """Hash an image at an eighth, or less where that is too small."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    height, width = gray.shape
    factor = max(1, min(8, min(gray.shape) // 32))
    size = (width // factor, height // factor)
    return difference_words(cv2.resize(gray, size, interpolation=3))


def twins(images):
    """Return pairs that are copies, of images or their hashes."""
    words = [
        words_of(image) if isinstance(image, np.ndarray) else image
        for image in images
    ]
    return copies(find_neighbors(np.array(words, np.uint64)))


def photographs(folder):
    return [cv2.imread(str(path)) for path in sorted(folder.iterdir())]


@pytest.fixture(scope='module')
def scenes():
    """Hashes of scenes, by kind of copy; '' for the scenes themselves."""
    images = [render_scene((160, 120), 0, n).image for n in range(24)]
    images += [nail_scene((160, 120), 0, n).image for n in range(12)]
    kinds: dict[str, Callable] = {'': lambda image: image} | KINDS
    return {
        kind: [words_of(change(image)) for image in images]
        for kind, change in kinds.items()
    }


# Hashes.


def test_hash_by_hand():
    """A bright square: two edges each way, the rest is flat."""
    gray = np.zeros((34, 34), np.uint8)
    gray[8:16, 20:26] = 200  # parts 4 to 7, 10 to 12
    expected = np.zeros((4, 16, 16), bool)
    expected[0, 4:8, 9] = expected[1, 4:8, 12] = True
    expected[2, 3, 10:13] = expected[3, 7, 10:13] = True
    words = difference_words(gray)
    text = ''.join(f'{word:064b}' for word in words)
    assert text == ''.join('01'[bit] for bit in expected.ravel().tolist())


def test_flat_images_have_no_bits():
    rng = np.random.default_rng(0)
    gray = rng.integers(120, 123, (60, 80), np.uint8)
    assert difference_words(gray) == (0,) * 16
    assert twins([difference_words(gray)] * 2) == {}


def test_half_of_the_bits_are_set():
    gray = np.random.default_rng(0).integers(0, 256, (45, 60), np.uint8)
    words = difference_words(gray)
    assert sum(word.bit_count() for word in words) == 256


@pytest.mark.parametrize('shape', [(1, 1), (1, 90), (5, 7), (900, 3)])
def test_any_size_is_hashed(shape):
    gray = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert len(difference_words(gray)) == 16


# Neighbors.


def naive_distance(one, other):
    differ = total = 0
    for a, b in zip(one, other, strict=True):
        for x, y in zip(f'{a:064b}', f'{b:064b}', strict=True):
            differ += x != y
            total += int(x) + int(y)
    return differ / total if total >= 64 else 1.0


def random_words(count):
    """Make hashes, each a few bits from one of three."""
    rng = np.random.default_rng(0)
    bits = (rng.random((3, 256)) < 0.5)[rng.integers(0, 3, count)]
    share = rng.choice([0, 0.05, 0.2], (count, 1))
    bits ^= rng.random(bits.shape) < share
    bits[7] = False
    return np.packbits(bits, 1).view('>u8').astype(np.uint64)


@pytest.mark.parametrize('most', [1, 4, 100])
@pytest.mark.parametrize('block', [1, 100, 2**20])
@pytest.mark.parametrize('numpy', ['as it is', 'before 2'])
def test_neighbors_are_those_of_a_double_loop(monkeypatch, most, block, numpy):
    monkeypatch.setattr(near_duplicates, '_BLOCK', block)
    if numpy == 'before 2':
        monkeypatch.delattr(np, 'bitwise_count', raising=False)
    words = random_words(30)
    rows = words.tolist()
    expected = []
    for i, one in enumerate(rows):
        near = [
            (naive_distance(one, other), j)
            for j, other in enumerate(rows)
            if j != i and naive_distance(one, other) <= 0.3
        ]
        expected += [(i, d) for d, _ in sorted(near)[:most]]
    found = find_neighbors(words, 0.3, most)
    assert list(zip(found.first, found.distance, strict=True)) == expected
    for first, second, distance in zip(*found, strict=True):
        assert naive_distance(rows[first], rows[second]) == distance
        assert difference(rows[first], rows[second]) == distance
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(pairs) == len(expected)
    assert 7 not in found.first


@pytest.mark.parametrize('count', [0, 1])
def test_few_images_have_no_neighbors(count):
    assert twins([(2**64 - 1,) * 16] * count) == {}


# Copies.


@pytest.mark.parametrize('kind', KINDS)
def test_copies_of_scenes_are_found(scenes, kind):
    number = len(scenes[''])
    expected = {(n, number + n) for n in range(number)}
    assert set(twins(scenes[''] + scenes[kind])) == expected


def test_all_copies_of_a_scene_are_found(scenes):
    """Each with each; other scenes have none."""
    one = len(scenes[''])
    words = scenes[''] + [scenes[kind][3] for kind in KINDS]
    group = [3, *range(one, one + len(KINDS))]
    assert set(twins(words)) == {(a, b) for a in group for b in group if a < b}


def test_copy_of_an_image_with_flat_parts_is_found():
    image = np.full((360, 480, 3), 200, np.uint8)
    image[100:220, 200:330] = render_scene((240, 180), 1, 0).image[:120, :130]
    other = np.full((360, 480, 3), 200, np.uint8)
    other[40:160, 60:190] = render_scene((240, 180), 1, 1).image[:120, :130]
    assert set(twins([image, other, compressed(image)])) == {(0, 2)}
    assert set(twins([image, other, halved(image)])) == {(0, 2)}


@cache
def view():
    return cv2.GaussianBlur(render_scene((480, 240), 5, 1).image, (0, 0), 1)


def film(step, number=24):
    """Make frames of a camera that turns by so many pixels a frame."""
    rng = np.random.default_rng(0)
    frames = (view()[:, n * step : n * step + 320] for n in range(number))
    return [noisy(frame, rng) for frame in frames]


def fixed(number=24):
    """Make frames of a camera that stands still, with something each time."""
    rng = np.random.default_rng(0)
    place = render_scene((240, 180), 5, 3).image
    thing = render_scene((240, 180), 6, 0).image[75:105, 100:140]
    frames = []
    for _ in range(number):
        frame = place.copy()
        x, y = rng.integers(0, 200), rng.integers(0, 150)
        frame[y : y + 30, x : x + 40] = thing
        frames.append(noisy(frame, rng))
    return frames


def noisy(image, rng):
    noise = rng.integers(-6, 7, image.shape, np.int16)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize('step', [0, 1, 4, 6])
def test_frames_of_a_film_are_no_copies(step):
    words = [words_of(frame) for frame in film(step)]
    near = [difference(one, other) for one, other in pairwise(words)]
    assert np.median(near) < near_duplicates.ALIKE
    assert twins(words) == {}


def test_images_of_a_fixed_camera_are_no_copies():
    words = [words_of(frame) for frame in fixed()]
    near = [difference(one, other) for one, other in pairwise(words)]
    assert max(near) < near_duplicates.ALIKE
    assert twins(words) == {}


@pytest.mark.parametrize('kind', ['quality-60', 'halved', 'gamma-1.3'])
def test_copy_of_a_frame_is_found(kind):
    frames = film(6)
    found = twins([*frames, KINDS[kind](frames[9])])
    assert set(found) == {(9, len(frames))}
    assert found[9, len(frames)] < 0.1


def test_many_alike_images_are_no_copies(scenes):
    """Ten are variants of one image, and eleven are not."""
    ten = [*scenes[''], *[scenes[''][0]] * (MANY - 1)]
    assert len(twins(ten)) == MANY * (MANY - 1) / 2
    assert twins([*ten, scenes[''][0]]) == {}


REAL = [CAMVID / 'train', CAMVID / 'val', NAILS / 'images']


@pytest.mark.parametrize('folder', REAL, ids=lambda path: path.parent.name)
def test_real_photographs(folder: Path):
    """None is a copy of another; those of each kind are found."""
    if not folder.is_dir():
        pytest.skip(f'{folder} is not there')
    images = photographs(folder)
    words = [words_of(image) for image in images]
    assert twins(words) == {}
    some = range(0, len(images), 3)
    for change in KINDS.values():
        planted = [words_of(change(images[number])) for number in some]
        expected = {
            (number, len(words) + place) for place, number in enumerate(some)
        }
        assert set(twins(words + planted)) == expected
