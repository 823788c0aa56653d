"""An export made by hand, and surveys of it without files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmseg_ext.doctor.parts import ImageScan
from mmseg_ext.formats.exports.export import (
    Classes,
    Export,
    Picture,
    Tally,
)
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.planning.survey import Survey
from mmseg_ext.utils.files import read_file


@dataclass(frozen=True)
class PlainMasks(Export):
    """Index masks; 255 is no class."""

    NAME = 'plain'
    TITLE = 'plain masks'

    @classmethod
    def found(cls, folder):
        raise NotImplementedError

    def tally(self, picture):
        pixels = self.label_map(picture)
        values, counts = np.unique(pixels, return_counts=True)
        height, width = pixels.shape
        return Tally(
            (width, height),
            dict(zip(values.tolist(), counts.tolist(), strict=True)),
        )

    def label_map(self, picture):
        data = read_file(self.folder / picture.labels)
        return read_mask(data, 'it').pixels

    def regions(self, picture):
        raise NotImplementedError


def classes(number, background=None):
    """Return classes a, b, c and so on."""
    names = tuple(chr(ord('a') + index) for index in range(number))
    return Classes(names, ((0, 0, 0),) * number, background)


def random_words(generator):
    """Return a hash with half of its bits set."""
    words = generator.integers(0, 2**63, 16, np.uint64)
    return tuple(words.tolist())


def near_words(words, share, generator):
    """Return a hash that differs from another one by a distance."""
    bits = sum(word.bit_count() for word in words)
    flips = generator.choice(1024, round(2 * share * bits), replace=False)
    changed = list(words)
    for flip in flips.tolist():
        changed[flip // 64] ^= 1 << (flip % 64)
    return tuple(changed)


def surveyed(pixels, names=None, splits=None, words=None, **others):
    """Return a survey of images of 10x10 pixels.

    Args:
        pixels: Of each class, a row for each image.
        names: Of the images.
        splits: Of each image, as the export says.
        words: Hashes; by default no two images are alike.
        **others: Further attributes of all images.
    """
    pixels = np.asarray(pixels, np.int64)
    number, width = pixels.shape
    names = names or [f'{index:04}.png' for index in range(number)]
    generator = np.random.default_rng(0)
    words = words or [random_words(generator) for _ in range(number)]
    export = PlainMasks(
        Path('data'),
        tuple(
            Picture(name, None, split)
            for name, split in zip(
                names, splits or [None] * number, strict=True
            )
        ),
        classes(width),
        ('made by hand',),
    )
    images = [
        ImageScan(
            **{
                'size': (10, 10),
                'digest': str(index).encode(),
                'words': words[index],
                **others,
            }
        )
        for index in range(number)
    ]
    return Survey(export, images, pixels)
