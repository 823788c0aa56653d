"""The instances of a picture as rows of a COCO file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pycocotools import mask as coco_mask

from mmseg_ext.converters.core import reading
from mmseg_ext.formats.coco import MaskCode, annotation_row, check_mask
from mmseg_ext.formats.exports.export import Export, Picture
from mmseg_ext.formats.exports.regions import Region
from mmseg_ext.formats.rle import Rle
from mmseg_ext.utils.text import listing

__all__ = ['InstanceLister', 'Instances', 'Job']

#: Numbers of the shortest polygon with an area.
_POINTS = 6


class Job(NamedTuple):
    """A picture to work on.

    Attributes:
        picture: The picture.
        size: Its width and height as loaders see it.
    """

    picture: Picture
    size: tuple[int, int]


class Instances(NamedTuple):
    """The instances of a picture.

    Attributes:
        rows: As from :func:`annotation_row`.
        sides: The class of each, and the square root of its area; without
            groups.
        dropped: How many have no pixel.
    """

    rows: list[bytes]
    sides: list[tuple[int, float]]
    dropped: int


@dataclass(frozen=True)
class InstanceLister:
    """Makes rows of COCO files; what a process has to know for it.

    Attributes:
        export: The export, settled.
        ids: The number of each class in the files, by its index.
    """

    export: Export
    ids: Mapping[int, int]

    def __call__(self, job: Job, scratch: Path | None) -> Instances:
        """Return the instances of a picture.

        Polygons stay polygons. Those of fewer than three points have no area
        and are left out.

        Args:
            job: The picture.
            scratch: Not used.

        Raises:
            InvalidInputError: The file of the labels is not right.
        """
        picture, size = job
        root = self.export.folder
        rows, sides, dropped = [], [], 0
        with reading(root / (picture.labels or picture.name), ''):
            for region in self.export.regions(picture):
                code, polygons = _checked(region, size)
                number = self.number(region.category)
                area = float(coco_mask.area(code)) if code else 0
                if code is None or not area:
                    dropped += 1
                    continue
                crowd = region.crowd
                rows.append(
                    annotation_row(
                        code, number, crowd=crowd, polygons=polygons
                    )
                )
                if not crowd:
                    sides.append((region.category, area**0.5))
        return Instances(rows, sides, dropped)

    def number(self, category: int) -> int:
        """Return the number of a class.

        Args:
            category: Its index.

        Raises:
            ValueError: There are no instances of it.
        """
        if category not in self.ids:
            raise ValueError(
                f'has an instance of the class with index {category}; '
                f'expected {listing([*self.ids])}'
            )
        return self.ids[category]


def _checked(
    region: Region, size: tuple[int, int]
) -> tuple[Rle | None, list[list[float]] | None]:
    """Return the mask of an instance in code, and its polygons if it has any.

    Raises:
        ValueError: As for :func:`check_mask`.
    """
    width, height = size
    if isinstance(region.mask, dict):
        rows, columns = region.mask['size']
        text = region.mask['counts'].decode('ascii')
        check_mask(MaskCode((rows, columns), text), (height, width))
        return region.mask, None
    polygons = [[*each] for each in region.mask if len(each) >= _POINTS]
    check_mask(polygons, (height, width))
    if not polygons:
        return None, None
    codes = coco_mask.frPyObjects(polygons, height, width)
    return coco_mask.merge(codes), polygons
