"""A data set in numbers, computed by hand."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from helpers.surveys import classes, near_words, random_words, surveyed
from mmseg_ext.planning.fingerprint import (
    ClassFacts,
    Fingerprint,
    encode,
    fingerprint_of,
)
from mmseg_ext.planning.prepare import Objects, Prepared
from mmseg_ext.planning.splits import Splits

PIXELS = [[60, 20, 0, 0], [80, 0, 0, 0], [0, 60, 4, 0], [0, 0, 90, 10]]
SIZES = [(10, 10), (20, 10), (10, 10), (10, 20)]
SPLITS = Splits({'train': [0, 1, 2], 'val': [3]}, False, 'by hand', 3)
DRAWN = Prepared({}, {})


@pytest.fixture
def found():
    found = surveyed(PIXELS)
    scans = [
        msgspec.structs.replace(
            scan,
            size=size,
            gray=number == 3,
            mean=(30.0 * number, 100.0, 255.0),
            deviation=(10.0, 10.0 * number, 0.0),
        )
        for number, (scan, size) in enumerate(
            zip(found.images, SIZES, strict=True)
        )
    ]
    return replace(found, images=scans)


def test_label_maps(found):
    facts = fingerprint_of(found, SPLITS, DRAWN, 'semantic')
    assert facts == Fingerprint(
        task='semantic',
        format='plain',
        images={'train': 3, 'val': 1},
        sizes={'10x10': 2, '20x10': 1, '10x20': 1},
        width=10.0,
        height=10.0,
        largest=(20, 10),
        gray=0.25,
        mean=(30.0, 100.0, 255.0),
        deviation=facts.deviation,
        # Of 400 pixels.
        ignored=pytest.approx(176 / 400),
        classes=[
            ClassFacts('a', 2, 140, 140 / 224),
            ClassFacts('b', 2, 80, 80 / 224),
            ClassFacts('c', 1, 4, 4 / 224),
            ClassFacts('d', 0, 0, 0.0),
        ],
        imbalance=35.0,
        duplicates=0,
        groups=3,
    )
    # Means 0, 30, 60 with 10 within each; 0, 10, 20 within.
    expected = (700**0.5, (500 / 3) ** 0.5, 0)
    assert facts.deviation == pytest.approx(expected)
    assert list(facts.sizes) == ['10x10', '20x10', '10x20']


def test_deviation_is_that_of_all_pixels(found):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3))
    scans = [
        msgspec.structs.replace(
            scan,
            mean=tuple(image.mean((0, 1)).tolist()),
            deviation=tuple(image.std((0, 1)).tolist()),
        )
        for scan, image in zip(found.images, images, strict=False)
    ]
    facts = fingerprint_of(
        replace(found, images=[*scans, found.images[3]]),
        SPLITS,
        DRAWN,
        'semantic',
    )
    assert facts.mean == pytest.approx(images.mean((0, 1, 2)))
    assert facts.deviation == pytest.approx(images.std((0, 1, 2)))


def test_instances(found):
    export = replace(found.export, classes=classes(4, background=0))
    sides = {'b': [2.0, 4.0], 'c': [2.0], 'd': []}
    objects = Objects(sides, {'b': 2, 'c': 1, 'd': 0}, 2, 0)
    prepared = DRAWN._replace(objects=objects)
    facts = fingerprint_of(
        replace(found, export=export), SPLITS, prepared, 'instance'
    )
    assert facts.classes == [
        ClassFacts('b', 2, 20, 20 / 24, 2),
        ClassFacts('c', 1, 4, 4 / 24, 1),
        ClassFacts('d', 0, 0, 0.0, 0),
    ]
    assert facts.imbalance == 2.0
    assert facts.object_sides == pytest.approx((2.0, 2.0, 3.8))
    assert facts.objects_per_image == (1.0, 2)


def test_more_objects_than_are_listed(found):
    export = replace(found.export, classes=classes(4, background=0))
    sides = {'b': [3.0] * 4, 'c': [], 'd': []}
    objects = Objects(sides, {'b': 40, 'c': 0, 'd': 0}, 20, 0)
    prepared = DRAWN._replace(objects=objects)
    facts = fingerprint_of(
        replace(found, export=export), SPLITS, prepared, 'instance'
    )
    assert facts.classes[0] == ClassFacts('b', 2, 360, 1.0, 40)
    assert facts.imbalance == 1.0


def test_all_ignored():
    facts = fingerprint_of(
        surveyed(np.zeros((3, 2))),
        Splits({'train': [0, 2], 'val': [1]}, True, ''),
        DRAWN,
        'semantic',
    )
    assert facts.ignored == 1.0
    assert facts.imbalance == 1.0
    assert [each.share for each in facts.classes] == [0.0, 0.0]


def test_shapes_that_overlap_leave_no_negative_share():
    facts = fingerprint_of(
        surveyed([[90, 30], [90, 30]]),
        Splits({'train': [0], 'val': [1]}, True, ''),
        DRAWN,
        'semantic',
    )
    assert facts.ignored == 0.0


def test_duplicates_are_groups():
    generator = np.random.default_rng(0)
    words = [random_words(generator) for _ in range(7)]
    words[4] = near_words(words[0], 0.05, generator)
    found = surveyed(np.ones((7, 1)), words=words)
    scans = list(found.images)
    scans[5] = msgspec.structs.replace(scans[5], digest=scans[0].digest)
    scans[6] = msgspec.structs.replace(scans[6], digest=scans[1].digest)
    splits = Splits({'train': [*range(6)], 'val': [6]}, True, '')
    facts = fingerprint_of(
        replace(found, images=scans), splits, DRAWN, 'semantic'
    )
    assert facts.duplicates == 2


def test_at_most_twenty_sizes(found):
    many = surveyed(np.ones((90, 1)))
    scans = [
        msgspec.structs.replace(scan, size=(10 + number % 30, 9))
        for number, scan in enumerate(many.images[:-1])
    ]
    scans.append(msgspec.structs.replace(many.images[-1], size=(25, 9)))
    splits = Splits({'train': [*range(80)], 'val': [*range(80, 90)]}, True, '')
    facts = fingerprint_of(
        replace(many, images=scans), splits, DRAWN, 'semantic'
    )
    assert list(facts.sizes)[:2] == ['25x9', '38x9']
    assert facts.sizes['25x9'] == 4
    assert len(facts.sizes) == 20


def test_the_file(found):
    facts = fingerprint_of(found, SPLITS, DRAWN, 'semantic')
    data = encode(facts)
    assert data == encode(facts)
    assert msgspec.json.decode(data, type=Fingerprint) == facts
    lines = data.decode().splitlines()
    assert lines[:2] == ['{', '  "task": "semantic",']
    assert '  "object_sides": null,' in lines
    assert data.endswith(b'}\n')
