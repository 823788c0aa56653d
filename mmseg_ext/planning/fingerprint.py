"""What a plan depends on: the data in numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec
import numpy as np

from mmseg_ext.doctor.parts import ImageScan
from mmseg_ext.planning.likeness import joined
from mmseg_ext.planning.prepare import Objects, Prepared
from mmseg_ext.planning.splits import Splits
from mmseg_ext.planning.survey import Survey

__all__ = ['ClassFacts', 'Fingerprint', 'encode', 'fingerprint_of']

#: Sizes that are named.
_SIZES = 20

#: Percentiles of the sides of objects.
_PERCENTILES = 5, 50, 95


class ClassFacts(msgspec.Struct, frozen=True):
    """A class in the training split.

    Attributes:
        name: Its name.
        images: In how many images it is.
        pixels: Its pixels; for instances, in their masks as they overlap.
        share: Of all labeled pixels, 0 to 1.
        objects: Its instances; None for label maps.
    """

    name: str
    images: int
    pixels: int
    share: float
    objects: int | None = None


class Fingerprint(msgspec.Struct, frozen=True):
    """Numbers of a data set, as in ``fingerprint.json``.

    Attributes:
        task: ``'semantic'`` or ``'instance'``.
        format: The format that was read.
        images: Number of images by split.
        sizes: Number of images by size, ``'1280x720'``, the commonest first;
            at most 20.
        width: Median width of the images.
        height: Median height.
        largest: Width and height of the image with the most pixels.
        gray: Share of images whose channels are equal.
        mean: Of red, green and blue over training images, 0 to 255.
        deviation: Their standard deviations.
        ignored: Share of pixels without label in the training split, 0 to 1.
        classes: The classes by index; without background for instances.
        imbalance: Pixels of the commonest class by those of the rarest that
            is there; instances by instances.
        object_sides: For instances, the 5th, 50th and 95th percentile of the
            square roots of their areas, in pixels; None for label maps.
        objects_per_image: The mean, and the largest number; None for label
            maps.
        duplicates: Groups of two or more images that are equal or nearly so.
        groups: Groups of images that the splits keep together.
    """

    task: str
    format: str
    images: Mapping[str, int]
    sizes: Mapping[str, int]
    width: float
    height: float
    largest: tuple[int, int]
    gray: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    ignored: float
    classes: list[ClassFacts]
    imbalance: float
    object_sides: tuple[float, float, float] | None = None
    objects_per_image: tuple[float, int] | None = None
    duplicates: int = 0
    groups: int = 0


def fingerprint_of(
    found: Survey, splits: Splits, prepared: Prepared, task: str
) -> Fingerprint:
    """Return the numbers of a data set.

    Means and deviations are over all pixels of the training images, each of
    which weighs the same, at an eighth of their size.

    Args:
        found: The survey.
        splits: The split of each picture.
        prepared: What was drawn.
        task: ``'semantic'`` or ``'instance'``.
    """
    train = splits.members['train']
    images = [found.images[number] for number in train]
    sizes = [image.size or (0, 0) for image in found.images]
    width, height = np.median(np.array(sizes), axis=0).tolist()
    mean, deviation = _colors(images)
    pixels = found.pixels[train]
    total = sum(sizes[number][0] * sizes[number][1] for number in train)
    copies = [*found.likeness.equal, *found.likeness.copies]
    objects = prepared.objects
    classes = _classes(found, train, objects)
    amounts = [
        each.pixels if each.objects is None else each.objects
        for each in classes
    ]
    there = [amount for amount in amounts if amount]
    return Fingerprint(
        task=task,
        format=found.export.NAME,
        images={name: len(each) for name, each in splits.members.items()},
        sizes=_named_sizes(sizes),
        width=width,
        height=height,
        largest=max(sizes, key=lambda size: (size[0] * size[1], size)),
        gray=sum(image.gray for image in found.images) / len(sizes),
        mean=mean,
        deviation=deviation,
        ignored=max(0.0, 1 - int(pixels.sum()) / total),
        classes=classes,
        imbalance=max(there) / min(there) if there else 1.0,
        object_sides=_sides(objects) if objects else None,
        objects_per_image=(
            (sum(amounts) / len(train), objects.most) if objects else None
        ),
        duplicates=sum(len(group) > 1 for group in joined(len(sizes), copies)),
        groups=splits.groups,
    )


def encode(fingerprint: Fingerprint) -> bytes:
    """Return the content of ``fingerprint.json``, for people to read.

    Equal numbers give equal files: each list and table has an order.
    """
    return msgspec.json.format(msgspec.json.encode(fingerprint)) + b'\n'


def _named_sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Return the commonest sizes, of equals the larger one first."""
    counts = sorted(
        Counter(sizes).items(), key=lambda item: (item[1], item[0])
    )
    return {f'{w}x{h}': often for (w, h), often in counts[: -_SIZES - 1 : -1]}


def _colors(
    images: Sequence[ImageScan],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and deviation of red, green and blue over all images."""
    means = np.array([image.mean for image in images])
    within = np.array([image.deviation for image in images])
    # The variance of all is that within images and that between them.
    variance = (within**2).mean(0) + means.var(0)
    red, green, blue = means.mean(0).tolist()
    of_red, of_green, of_blue = np.sqrt(variance).tolist()
    return (red, green, blue), (of_red, of_green, of_blue)


def _classes(
    found: Survey, train: Sequence[int], objects: Objects | None
) -> list[ClassFacts]:
    """Return the classes, of label maps or of instances."""
    classes = found.export.classes
    assert classes is not None
    counted = found.pixels[train]
    images = (counted > 0).sum(0).tolist()
    pixels = counted.sum(0).tolist()
    indices: Sequence[int] = range(len(classes.names))
    if objects:
        indices = classes.objects
        for index in indices:
            name = classes.names[index]
            sides = np.array(objects.sides[name])
            area = float(np.square(sides).mean()) if len(sides) else 0.0
            pixels[index] = round(area * objects.counts[name])
    total = max(1, sum(pixels[index] for index in indices))
    return [
        ClassFacts(
            name := classes.names[index],
            images[index],
            pixels[index],
            pixels[index] / total,
            objects.counts[name] if objects else None,
        )
        for index in indices
    ]


def _sides(objects: Objects) -> tuple[float, float, float]:
    """Return percentiles of the sides of objects."""
    sides = list(chain.from_iterable(objects.sides.values()))
    small, middle, large = np.percentile(sides, _PERCENTILES).tolist()
    return small, middle, large
