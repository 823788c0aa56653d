"""COCO files of instances: reading, writing, and masks in their rows."""

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, NamedTuple, TypeVar

import cv2
import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.json_files import Coordinate, Side, decode_json
from mmseg_ext.formats.rle import Rle, decode_runs, paint_runs
from mmseg_ext.utils.files import atomic_path, naming

__all__ = [
    'Annotation',
    'Category',
    'CocoFile',
    'CocoHeader',
    'CocoImage',
    'CocoImages',
    'CocoKind',
    'CocoTraining',
    'CocoWriter',
    'Id',
    'MaskCode',
    'Segmentation',
    'annotation_row',
    'check_mask',
    'coco_writer',
    'decode_coco',
    'decode_mask',
    'mask_extent',
    'polygons_of_box',
]

#: Pixels of the longest outline of a polygon, of each edge the longer side.
#: pycocotools keeps some 50 bytes for each and counts them in 32 bits, beyond
#: which it crashes. No outline of an object is nearly as long.
_MAX_OUTLINE = 1 << 22

#: Bytes of annotations that are held in memory before they go to disk.
_SPOOL = 1 << 24


# Reading: msgspec checks the types. Other fields are not read.


class _Named(msgspec.Struct):
    file_name: Annotated[str, msgspec.Meta(min_length=1)]


#: Any value by which pycocotools finds what belongs together.
Id = int | float | str


class CocoImage(_Named):
    """An image, by the name of its file; the size may be missing."""

    id: Id
    width: float | None = None
    height: float | None = None


class Category(msgspec.Struct):
    """A class."""

    id: Id
    name: str


class MaskCode(msgspec.Struct):
    """A mask in run-length code, compressed (a text) or not (numbers)."""

    size: tuple[Side, Side]
    counts: str | list[Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]]


#: A mask in code or as polygons (x and y in turn), if there is one.
Segmentation = MaskCode | list[list[Coordinate]] | None


class Annotation(msgspec.Struct):
    """An instance: its box and its mask, each of which may be missing.

    The box is left, top, width and height; without one it is None or empty.
    """

    image_id: Id
    category_id: Id | None = None
    bbox: list[Coordinate] | None = None
    segmentation: Segmentation = None

    def __post_init__(self) -> None:
        """Check what types do not tell."""
        if self.bbox and len(self.bbox) != 4:
            raise ValueError(
                f'bbox of {len(self.bbox)} numbers; expected left, top, width '
                'and height'
            )


class CocoImages(msgspec.Struct):
    """The images of a COCO file; the rest is passed over at speed."""

    images: list[_Named]


class CocoHeader(CocoImages):
    """The images and categories of a COCO file."""

    categories: list[Category]


class CocoFile(msgspec.Struct):
    """A COCO file, of which pycocotools asks for no more than images."""

    images: list[CocoImage]
    annotations: list[Annotation] = []
    categories: list[Category] = []


class _TrainingImage(_Named):
    id: Id
    width: Side
    height: Side


class _TrainingAnnotation(msgspec.Struct):
    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    area: float


class CocoTraining(msgspec.Struct):
    """A COCO file to train with, of which MMDet asks for more."""

    images: list[_TrainingImage]
    categories: list[Category]
    annotations: list[_TrainingAnnotation] = []

    def __post_init__(self) -> None:
        """Check what types do not tell."""
        for what, rows in (
            ('images', self.images),
            ('annotations', self.annotations),
        ):
            ids = {row.id for row in rows}
            if len(ids) < len(rows):
                raise ValueError(
                    f'{len(rows)} {what} have {len(ids)} different values of '
                    'id; expected one for each'
                )


#: How much of a COCO file is read.
CocoKind = TypeVar('CocoKind', CocoFile, CocoHeader, CocoImages, CocoTraining)


def decode_coco(data: bytes, path: str, kind: type[CocoKind]) -> CocoKind:
    """Decode a COCO file and check what is read of it.

    Args:
        data: Its content.
        path: Its name, for messages.
        kind: What to read of it.

    Raises:
        ValueError: It is no COCO file, or lists no images.
    """
    try:
        coco = decode_json(data, kind)
    except ValueError as error:
        raise ValueError(f'{path} is no COCO file: {error}') from None
    if not coco.images:
        raise ValueError(f'{path} lists no images')
    return coco


def check_mask(segmentation: Segmentation, size: tuple[int, int]) -> None:
    """Check a mask before pycocotools gets it, which trusts what it is given.

    Args:
        segmentation: The mask in any of COCO's forms.
        size: Height and width of the image.

    Raises:
        ValueError: The mask is broken, its size is not that of the image, or
            it would take gigabytes to draw it.
    """
    if isinstance(segmentation, MaskCode):
        _read_runs(segmentation, size)
        return
    for points in segmentation or ():
        if len(points) < 6 or len(points) % 2:
            raise ValueError(
                f'a polygon of {len(points)} numbers; expected x and y of at '
                'least three points'
            )
        corners = np.array(points).reshape(-1, 2)
        edges = np.abs(corners - np.roll(corners, 1, axis=0))
        outline = edges.max(axis=1).sum()
        if outline > _MAX_OUTLINE:
            raise ValueError(
                f'a polygon with an outline of {outline:.0f} pixels; expected '
                f'at most {_MAX_OUTLINE}'
            )


def mask_extent(
    segmentation: Segmentation, size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """Check a mask, and tell where it lies without drawing it.

    Args:
        segmentation: The mask in any of COCO's forms.
        size: Height and width of the image.

    Returns:
        Left, top, right and bottom in pixels, of polygons that lie outside
        the image in part as well; None if no pixel of the image is in it.

    Raises:
        ValueError: As for :func:`check_mask`.
    """
    height, width = size
    if isinstance(segmentation, MaskCode):
        ends = np.cumsum(_read_runs(segmentation, size))
        runs = np.stack([ends[0:-1:2], ends[1::2] - 1])  # first and last pixel
        runs = runs[:, runs[0] <= runs[1]]
        if not runs.size:
            return None
        columns, rows = runs // height, runs % height
        if (columns[0] != columns[1]).any():
            rows = np.array([0, height - 1])
        return (
            *(float(columns.min()), float(rows.min())),
            *(float(columns.max() + 1), float(rows.max() + 1)),
        )
    check_mask(segmentation, size)
    corners = [np.array(each).reshape(-1, 2) for each in segmentation or ()]
    inside = [
        each
        for each in corners
        if (each.max(axis=0) > 0).all()
        and (each.min(axis=0) < (width, height)).all()
    ]
    if not inside:
        return None
    points = np.concatenate(inside)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _read_runs(code: MaskCode, size: tuple[int, int]) -> np.ndarray:
    """Return the runs of a mask, as from :func:`decode_runs`."""
    if code.size != size:
        raise ValueError(
            f'a mask of height x width {code.size}, its image has {size}'
        )
    if isinstance(code.counts, str):
        [runs] = decode_runs([code.counts.encode('ascii')], size)
        return runs
    runs = np.array(code.counts, np.int64)
    if runs.sum() != size[0] * size[1]:
        raise ValueError(
            f'the runs of a mask cover {runs.sum()} pixels, expected '
            f'{size[0] * size[1]}'
        )
    return runs


def decode_mask(
    segmentation: Segmentation, size: tuple[int, int]
) -> np.ndarray | None:
    """Decode the mask of an annotation, and check it.

    Args:
        segmentation: The mask in any of COCO's forms.
        size: Height and width of the image.

    Returns:
        uint8 (H, W), 0 or 1; None if there is no mask.

    Raises:
        ValueError: As for :func:`check_mask`.
    """
    height, width = size
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        check_mask(segmentation, size)
        codes = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(coco_mask.merge(codes))
    columns = np.zeros(width * height, np.uint8)
    paint_runs(columns, _read_runs(segmentation, size), 1)
    return columns.reshape(width, height).T


# Writing.


def annotation_row(
    mask: Rle,
    category_id: int,
    *,
    crowd: bool = False,
    polygons: list[list[float]] | None = None,
    **more: Any,
) -> bytes:
    """Make the row of an instance; box and area are those of the mask.

    Args:
        mask: The mask, not empty.
        category_id: Its class.
        crowd: Whether it is a group of objects.
        polygons: Written in place of the mask.
        **more: Further fields.

    Returns:
        A JSON object without the ids of instance and image.
    """
    code = {'size': mask['size'], 'counts': mask['counts'].decode('ascii')}
    return msgspec.json.encode(
        {
            'category_id': category_id,
            'bbox': coco_mask.toBbox(mask).tolist(),
            'area': int(coco_mask.area(mask)),
            'iscrowd': int(crowd),
            'segmentation': code if polygons is None else polygons,
            **more,
        }
    )


def polygons_of_box(
    mask: np.ndarray, left: int, top: int, centers: bool = False
) -> list[list[float]]:
    """Outline a mask that lies in a box of an image.

    The outlines run a quarter pixel within the edges. Drawn by the rule that
    a pixel is in if its center is, as pycocotools does, they give back the
    mask. COCO's polygons are united, and cannot have holes, so a mask with a
    hole is cut there.

    Args:
        mask: uint8 (h, w), 0 or 1.
        left: Column of the image that the box begins in.
        top: Row of the image that the box begins in.
        centers: Let the outlines run through the centers of the outermost
            pixels. OpenCV's ``fillPoly``, which fills the pixels that an
            outline passes too, gives back the mask then.

    Returns:
        Polygons, each x and y of its points in turn, in pixels.
    """
    # In a mask of twice the size no part is thinner than a contour.
    double = mask.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(
        double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    holes = [
        cv2.boundingRect(contour)
        for contour, links in zip(contours, hierarchy[0], strict=True)
        if links[3] >= 0
    ]
    if holes:
        columns = [(x + width // 2) // 2 for x, _, width, _ in holes]
        # Near the middle, so that many holes do not take many rounds.
        cut = min(columns, key=lambda column: abs(2 * column - mask.shape[1]))
        return [
            *polygons_of_box(mask[:, :cut], left, top, centers),
            *polygons_of_box(mask[:, cut:], left + cut, top, centers),
        ]
    if centers:
        contours, _ = cv2.findContours(
            mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        points = [contour.reshape(-1, 2) for contour in contours]
        # COCO's polygons have three points at least.
        points = [np.resize(each, (max(len(each), 3), 2)) for each in points]
    else:
        points = [(contour.reshape(-1, 2) + 0.5) / 2 for contour in contours]
    return [(each + (left, top)).ravel().tolist() for each in points]


class _Part(NamedTuple):
    """An image of a file that is written, and where its annotations lie."""

    image: bytes
    annotations: int
    start: int
    stop: int


class CocoWriter:
    """Collects images with their annotations and writes COCO files of them.

    Annotations are held on disk when they are many. Ids of annotations count
    from 1: COCO's evaluation takes a match with instance 0 for none. Made by
    :func:`coco_writer`.
    """

    def __init__(
        self,
        folder: str,
        spool: SpooledTemporaryFile[bytes],
        head: Mapping[str, Any],
    ) -> None:
        self._folder, self._spool, self._head = folder, spool, head
        self._parts: dict[int, _Part] = {}
        self.annotations = 0

    @property
    def images(self) -> int:
        """The number of images so far."""
        return len(self._parts)

    def add(
        self,
        image: Mapping[str, Any],
        rows: Sequence[bytes],
        number: int | None = None,
    ) -> None:
        """Add an image and its annotations.

        Args:
            image: Its fields but for the id.
            rows: As from :func:`annotation_row`.
            number: Its id; by default images count from 1.
        """
        number = number or len(self._parts) + 1
        data = b','.join(
            b'{"id":%d,"image_id":%d,%b' % (row_id, number, row[1:])
            for row_id, row in enumerate(rows, self.annotations + 1)
        )
        start = self._spool.tell()
        if start + len(data) > _SPOOL:  # now it goes to disk
            os.makedirs(self._folder, exist_ok=True)
        self._spool.write(data)
        self.annotations += len(rows)
        encoded = msgspec.json.encode({'id': number, **image})
        stop = self._spool.tell()
        self._parts[number] = _Part(encoded, len(rows), start, stop)

    def save(
        self,
        path: str | os.PathLike[str],
        numbers: Container[int] | None = None,
        order: Sequence[str] = ('categories', 'images', 'annotations'),
    ) -> None:
        """Write a COCO file, whole or not at all.

        Args:
            path: The file.
            numbers: Ids of the images to write; by default all. They and
                their annotations keep their ids.
            order: The keys of the file, in their order.
        """
        parts = [
            part
            for number, part in self._parts.items()
            if numbers is None or number in numbers
        ]
        end = self._spool.tell()
        with (
            atomic_path(path, durable=True) as temporary,
            open(temporary, 'wb') as file,
        ):
            for place, key in enumerate(order):
                file.write(b',' if place else b'{')
                file.write(b'"%b":' % key.encode())
                if key == 'images':
                    file.write(b'[%b]' % b','.join(p.image for p in parts))
                elif key == 'annotations':
                    comma = b'['
                    for part in filter(lambda p: p.annotations, parts):
                        self._spool.seek(part.start)
                        rows = self._spool.read(part.stop - part.start)
                        file.write(comma + rows)
                        comma = b','
                    file.write(b']' if comma == b',' else b'[]')
                else:
                    file.write(msgspec.json.encode(self._head[key]))
            file.write(b'}\n')
        self._spool.seek(end)


@contextmanager
def coco_writer(
    folder: str | os.PathLike[str],
    categories: Mapping[int, str],
    **more: Any,
) -> Iterator[CocoWriter]:
    """Open a writer of COCO files.

    Args:
        folder: Where it puts what it cannot hold in memory; nothing stays.
        categories: ``{id: name}``.
        **more: Further keys of the files, such as ``info``.
    """
    listed = [{'id': key, 'name': name} for key, name in categories.items()]
    folder = os.fspath(folder)
    with naming(folder), SpooledTemporaryFile(_SPOOL, dir=folder) as spool:
        yield CocoWriter(folder, spool, {'categories': listed, **more})
