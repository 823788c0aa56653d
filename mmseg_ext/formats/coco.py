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
    'CocoWriter',
    'MaskCode',
    'Segmentation',
    'annotation_row',
    'coco_writer',
    'decode_coco',
    'decode_mask',
    'polygons_of_box',
]

#: pycocotools walks along each edge of a polygon.
_Coordinate = Annotated[float, msgspec.Meta(ge=-1e5, le=1e5)]

#: Bytes of annotations that are held in memory before they go to disk.
_SPOOL = 1 << 24


# Reading: msgspec checks the types. Other fields are not read.


class _Named(msgspec.Struct):
    file_name: Annotated[str, msgspec.Meta(min_length=1)]


class CocoImage(_Named):
    """An image, by the name of its file."""

    id: int | str
    width: int
    height: int


class Category(msgspec.Struct):
    """A class."""

    id: int
    name: str


class MaskCode(msgspec.Struct):
    """A mask in run-length code, compressed (a text) or not (numbers)."""

    size: tuple[int, int]
    counts: str | list[Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]]


#: A mask in code or as polygons (x and y in turn), if there is one.
Segmentation = MaskCode | list[list[_Coordinate]] | None


class Annotation(msgspec.Struct):
    """An instance: left, top, width and height of its box, and its mask."""

    image_id: int | str
    category_id: int
    bbox: tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate]
    segmentation: Segmentation = None


class CocoImages(msgspec.Struct):
    """The images of a COCO file; the rest is passed over at speed."""

    images: list[_Named]


class CocoHeader(CocoImages):
    """The images and categories of a COCO file."""

    categories: list[Category]


class CocoFile(msgspec.Struct):
    """A COCO file."""

    images: list[CocoImage]
    annotations: list[Annotation]
    categories: list[Category]


#: How much of a COCO file is read.
CocoKind = TypeVar('CocoKind', CocoFile, CocoHeader, CocoImages)


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
        coco = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no COCO file: {error}') from None
    if not coco.images:
        raise ValueError(f'{path} lists no images')
    return coco


def decode_mask(
    segmentation: Segmentation, size: tuple[int, int]
) -> np.ndarray | None:
    """Decode the mask of an annotation, and check it.

    pycocotools trusts what it is given.

    Args:
        segmentation: The mask in any of COCO's forms.
        size: Height and width of the image.

    Returns:
        uint8 (H, W), 0 or 1; None if there is no mask.

    Raises:
        ValueError: The mask is broken, or its size is not that of the image.
    """
    height, width = size
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        for points in segmentation:
            if len(points) < 6 or len(points) % 2:
                raise ValueError(
                    f'a polygon of {len(points)} numbers; expected x and y of '
                    'at least three points'
                )
        codes = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(coco_mask.merge(codes))
    if segmentation.size != size:
        raise ValueError(
            f'a mask of height x width {segmentation.size}, its image has '
            f'{size}'
        )
    if isinstance(segmentation.counts, str):
        [runs] = decode_runs([segmentation.counts.encode('ascii')], size)
    else:
        runs = np.array(segmentation.counts, np.int64)
        if runs.sum() != height * width:
            raise ValueError(
                f'the runs of a mask cover {runs.sum()} pixels, expected '
                f'{height * width}'
            )
    columns = np.zeros(width * height, np.uint8)
    paint_runs(columns, runs, 1)
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
    mask: np.ndarray, left: int, top: int
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

    Returns:
        Polygons, each x and y of its points in turn, in pixels.
    """
    # In a mask of twice the size no part is thinner than a contour.
    double = mask.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(
        double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    for contour, links in zip(contours, hierarchy[0], strict=True):
        if links[3] >= 0:  # a hole
            x, _, width, _ = cv2.boundingRect(contour)
            column = (x + width // 2) // 2
            return polygons_of_box(
                mask[:, :column], left, top
            ) + polygons_of_box(mask[:, column:], left + column, top)
    return [
        ((contour.reshape(-1, 2) + 0.5) / 2 + (left, top)).ravel().tolist()
        for contour in contours
    ]


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
