"""Images and labels that are there twice, in one split or in two."""

import os
import shlex
from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.near_duplicates import (
    ALIKE,
    copies,
    difference,
    find_neighbors,
)
from mmseg_ext.doctor.parts import Part, Sample

__all__ = [
    'images_are_in_one_split',
    'images_are_there_once',
    'labels_are_there_once',
    'splits_have_no_copies',
]

_LEAK = 'scores are better than on new images: these were learned'

REPEATED = Code(
    'image-repeated',
    Level.NOTE,
    'the image counts twice, in training or in the scores',
    'remove one of the files and its label',
)
IN_TWO = Code(
    'image-in-two-splits',
    Level.WARNING,
    _LEAK,
    'remove the image and its label from one of the splits',
)
NEAR = Code(
    'near-duplicate',
    Level.WARNING,
    _LEAK,
    'look at both; if they are one photograph, remove it from one split',
)
ALIKE_SPLITS = Code(
    'splits-alike',
    Level.NOTE,
    'scores may be better than on new images, which are less alike',
    'if these are films, put all frames of a film into one split',
)
LABEL = Code(
    'label-repeated',
    Level.WARNING,
    'one of the images is learned or scored with the label of the other',
    'look at both labels, and draw or export the wrong one again',
)


class _Image(NamedTuple):
    """An image of a data set."""

    part: Part
    sample: Sample

    @property
    def split(self) -> str:
        return self.part.split

    @property
    def file(self) -> str:
        return self.sample.place.image

    def out(self) -> str:
        """Tell how to take it out of its split."""
        listed = getattr(self.part.dataset, 'ann_file', '')
        if listed and not os.path.isdir(listed):
            return f'take {os.path.basename(self.file)} out of {listed}'
        files = filter(None, self.sample.place[1:])
        return f'move it out of {self.split}: mv {shlex.join(files)} FOLDER'


@check(REPEATED)
def images_are_there_once(case: Case) -> Iterator[Finding]:
    """Yield files of a split that are equal to another of the split."""
    for images in _splits(case).values():
        for first, *others in _equal_images(images):
            for image in others:
                labeled = _other_label(image, first)
                yield REPEATED.found(
                    f'equal to another image of the split{labeled}',
                    image.split,
                    image.file,
                    mend=image.out(),
                    others=[first.file],
                    # Two labels for one image: one of them is wrong.
                    level=Level.WARNING if labeled else None,
                )


@check(IN_TWO)
def images_are_in_one_split(case: Case) -> Iterator[Finding]:
    """Yield images that are in a split before, too."""
    splits = _splits(case)
    train = splits.get('train', [])
    for name, split in case.splits.items():
        equal = _files(split.parts) == _names(train)
        if train and equal and name not in splits:
            yield IN_TWO.found(
                f'all {len(train)} images are those of train',
                name,
                mend=f'give {split.key}.dataset files of its own',
            )
    for group in _equal_images(list(chain(*splits.values()))):
        for image in group:
            before = [
                other
                for other in group[: group.index(image)]
                if other.split != image.split
            ]
            if before:
                yield _leak(IN_TWO, 'equal to an image', image, before)


@check(NEAR, ALIKE_SPLITS)
def splits_have_no_copies(case: Case) -> Iterator[Finding]:
    """Yield images that are copies of images of a split before.

    Where images are alike without being copies, as frames of a film are,
    there is one finding for both splits.
    """
    images = [
        image
        for image in chain(*_splits(case).values())
        if image.sample.image.words
    ]
    # Equal files are told by another check, and are one here.
    groups = list(_by_digest(images).values())
    words = np.array(
        [group[0].sample.image.words for group in groups], np.uint64
    )
    if not len(words):
        return
    neighbors = find_neighbors(words)
    found = copies(neighbors)
    for (first, second), distance in found.items():
        yield from _near(groups[first], groups[second], distance)
    alike = [
        (int(first), int(second))
        for first, second, distance in zip(*neighbors, strict=True)
        if distance <= ALIKE
        and (min(first, second), max(first, second)) not in found
    ]
    yield from _alike_splits(groups, alike, images)


@check(LABEL)
def labels_are_there_once(case: Case) -> Iterator[Finding]:
    """Yield label maps that are equal to that of an image of another look.

    That alike images have equal labels, of a camera that stands still, is no
    wonder, and neither that labels of one class are equal.
    """
    by_label: dict[bytes, list[_Image]] = {}
    for image in chain(*_splits(case).values()):
        label = image.sample.label
        if label is not None and label.digest and _classes(image) > 1:
            by_label.setdefault(label.digest, []).append(image)
    for first, *others in by_label.values():
        for image in others:
            if _same_file(image, first) or _look_alike(image, first):
                continue
            yield LABEL.found(
                f'equal to that of another image of {first.split}',
                image.split,
                image.sample.place.label,
                others=[str(first.sample.place.label)],
            )


# Splits.


def _splits(case: Case) -> dict[str, list[_Image]]:
    """Return the images of each split, each file once.

    A split that has the same files as one before is left out, as where
    ``test_dataloader = val_dataloader``.
    """
    splits: dict[str, list[_Image]] = {}
    for name, split in case.splits.items():
        images: dict[str, _Image] = {}
        for part in split.parts:
            for sample in part.samples:
                file = os.path.normpath(sample.place.image)
                images.setdefault(file, _Image(part, sample))
        known = [_names(others) for others in splits.values()]
        if images and set(images) not in known:
            splits[name] = list(images.values())
    return splits


def _names(images: Sequence[_Image]) -> set[str]:
    """Return the files of images."""
    return {os.path.normpath(image.file) for image in images}


def _files(parts: Sequence[Part]) -> set[str]:
    """Return the image files of data sets."""
    return _names([_Image(p, sample) for p in parts for sample in p.samples])


# Pairs.


def _by_digest(images: Sequence[_Image]) -> dict[bytes, list[_Image]]:
    """Return images by what is in their files."""
    groups: dict[bytes, list[_Image]] = {}
    for image in images:
        groups.setdefault(image.sample.image.digest, []).append(image)
    return groups


def _equal_images(images: Sequence[_Image]) -> list[list[_Image]]:
    """Return the groups of images whose files are equal."""
    known = [image for image in images if image.sample.image.digest]
    return [g for g in _by_digest(known).values() if len(g) > 1]


def _near(
    ones: Sequence[_Image], others: Sequence[_Image], distance: float
) -> Iterator[Finding]:
    """Yield the findings of two images that each may be in many files."""
    splits = dict.fromkeys(image.split for image in (*ones, *others))
    for early, late in combinations(splits, 2):
        for first, second in ((ones, others), (others, ones)):
            before = [image for image in first if image.split == early]
            for image in second:
                if before and image.split == late:
                    yield _leak(NEAR, 'a copy', image, before, distance)


def _leak(
    code: Code,
    what: str,
    image: _Image,
    before: Sequence[_Image],
    distance: float | None = None,
) -> Finding:
    """Return the finding of an image that is in splits before."""
    one = before[0]
    labeled = _other_label(image, one)
    differ = '' if distance is None else f': {distance:.0%} of hashes differ'
    names = ' and '.join(dict.fromkeys(other.split for other in before))
    return code.found(
        f'{what} of {os.path.basename(one.file)} in {names}{labeled}{differ}',
        image.split,
        image.file,
        None if distance is None else round(distance, 3),
        mend=one.out(),
        others=[other.file for other in before],
    )


def _alike_splits(
    groups: Sequence[Sequence[_Image]],
    pairs: Sequence[tuple[int, int]],
    images: Sequence[_Image],
) -> Iterator[Finding]:
    """Yield the pairs of splits of which images are alike."""
    names = list(dict.fromkeys(image.split for image in images))
    for early, late in combinations(names, 2):
        alike = {
            image.file: other.file
            for first, second in pairs
            for image in groups[second]
            for other in groups[first]
            if (other.split, image.split) == (early, late)
        }
        if alike:
            total = sum(image.split == late for image in images)
            image, other = next(iter(alike.items()))
            yield ALIKE_SPLITS.found(
                f'{len(alike)} of {total} images are as alike to images of '
                f'{early} as frames of one film, or of a camera that stands '
                'still',
                late,
                value=len(alike),
                others=[image, other],
            )


# Labels.


def _other_label(image: _Image, other: _Image) -> str:
    """Say that labels of two images, of one size, are not equal."""
    one, two = image.sample.label, other.sample.label
    if one is None or two is None or one.size is None or one.size != two.size:
        return ''
    return '' if one.digest == two.digest else ', with another label'


def _classes(image: _Image) -> int:
    """Return how many classes, or colors, a label shows."""
    label = image.sample.label
    if label is None:
        return 0
    pixels = label.values if label.loaded is None else label.loaded
    return len(set(pixels) - {image.part.ignore_index}) or label.colors


def _same_file(image: _Image, other: _Image) -> bool:
    """Say whether two images have equal files, or one label file."""
    one, two = image.sample, other.sample
    same_label = one.place.label == two.place.label
    return same_label or one.image.digest == two.image.digest


def _look_alike(image: _Image, other: _Image) -> bool:
    """Say whether two images look the same, or this is not known."""
    one, two = image.sample.image.words, other.sample.image.words
    return not one or not two or difference(one, two) <= ALIKE
