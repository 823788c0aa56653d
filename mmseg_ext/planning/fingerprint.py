"""What a plan depends on: the data in numbers."""

from collections.abc import Mapping

import msgspec

from mmseg_ext.planning.prepare import Prepared
from mmseg_ext.planning.splits import Splits
from mmseg_ext.planning.survey import Survey

__all__ = ['ClassFacts', 'Fingerprint', 'fingerprint_of']


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

    Args:
        found: The survey.
        splits: The split of each picture.
        prepared: What was drawn.
        task: ``'semantic'`` or ``'instance'``.
    """
    raise NotImplementedError
