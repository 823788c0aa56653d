"""Supervisely's projects: a JSON file an image, and one of the classes.

Source: Supervisely, "Annotation JSON format", and ``supervisely.geometry`` of
its SDK, whose rules of drawing are these.
"""

import base64
import binascii
import io
import posixpath
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
from PIL import Image, ImageColor

from mmseg_ext.formats.color_masks import Color
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Picture,
    left_out,
    split_of,
)
from mmseg_ext.formats.exports.pictures import object_regions, place_image
from mmseg_ext.formats.exports.regions import Region, mask_of, region_of_mask
from mmseg_ext.formats.exports.shapes import Shapes, classes_of
from mmseg_ext.formats.json_files import Coordinate, decode_json
from mmseg_ext.utils.files import read_file, write_bytes
from mmseg_ext.utils.images import MAX_PIXELS, decode_image, image_size
from mmseg_ext.utils.text import listing, normal_form

__all__ = ['Supervisely', 'write']

#: Folders of a data set, and the file of a project.
_IMAGES, _LABELS, _META = 'img', 'ann', 'meta.json'

#: Bits behind the point of coordinates that are drawn.
_BITS = 8

#: Bytes that the file of a mask may have beside its pixels.
_EXTRA = 1 << 16


class _Class(msgspec.Struct):
    title: str
    shape: str = ''
    color: str = ''


class _Meta(msgspec.Struct):
    classes: list[_Class]


class _Size(msgspec.Struct):
    height: int
    width: int

    def __post_init__(self) -> None:
        """Check what is drawn."""
        least = min(self.height, self.width)
        if least < 1 or self.height * self.width > MAX_PIXELS:
            raise ValueError(
                f'width {self.width} and height {self.height}; expected 1 to '
                f'{MAX_PIXELS} pixels'
            )


_Points = list[tuple[Coordinate, Coordinate]]


class _Outline(msgspec.Struct):
    exterior: _Points = []
    interior: list[_Points] = []


class _Bitmap(msgspec.Struct):
    data: str
    origin: tuple[int, int]


class _Object(msgspec.Struct):
    classTitle: str
    geometryType: str
    points: _Outline | None = None
    bitmap: _Bitmap | None = None


class _Annotation(msgspec.Struct):
    size: _Size
    objects: list[_Object]


class Supervisely(Shapes):
    """A project: folders with images and with JSON files of shapes."""

    NAME = 'supervisely'
    TITLE = 'Supervisely project'

    @classmethod
    def found(cls, folder: Folder) -> 'Supervisely | None':
        """Return what is in a folder; see :meth:`Export.found`.

        Data sets are folders with ``img`` and ``ann``; ``meta.json`` lies
        above them, and those named train, val or test are splits.
        """
        if (project := _read_meta(folder)) is None:
            return None
        labels = {
            normal_form(name): name
            for name in folder.ending('.json')
            if f'/{_LABELS}/' in f'/{name}' and name.startswith(project.start)
        }
        pictures = []
        for name in folder.images:
            *above, place, file = f'/{name}'.split('/')
            if place != _IMAGES or not name.startswith(project.start):
                continue
            wanted = '/'.join([*above, _LABELS, f'{file}.json'])[1:]
            found = labels.pop(normal_form(wanted), None)
            if found is None:
                raise InvalidExportError(
                    folder.root / name,
                    f'its labels are missing; expected {wanted}: export the '
                    'project again, or remove the image',
                )
            pictures.append(Picture(name, found, split_of(name)))
        if not pictures:
            return None
        used = {picture.name for picture in pictures}
        others = [name for name in folder.images if name not in used]
        titles = [each.title for each in project.classes]
        colors = [_color(each.color) for each in project.classes]
        classes, indices = classes_of(folder, project.file, titles, colors)
        return cls(
            folder.root,
            tuple(pictures),
            classes,
            (
                f'{len(pictures)} images in folders {_IMAGES} with a JSON '
                f'file in {_LABELS}',
                f'{len(indices)} classes in '
                f'{folder.class_list or project.file}: '
                + listing(list(indices)),
            ),
            ignored=(
                *left_out(f'images outside of folders {_IMAGES}', others),
                *left_out('files without image', labels.values()),
            ),
            indices=indices,
        )

    def shapes(self, picture: Picture) -> tuple[tuple[int, int], list[Region]]:
        """Read the objects of a picture."""
        data = read_file(self.folder / (picture.labels or ''))
        content = decode_json(data, _Annotation)
        size = content.size.width, content.size.height
        found = []
        for number, each in enumerate(content.objects):
            try:
                found.append(self._region(each, size))
            except ValueError as error:
                raise ValueError(f'objects[{number}]: {error}') from None
        return size, found

    def _region(self, found: _Object, size: tuple[int, int]) -> Region:
        if found.classTitle not in self.indices:
            raise ValueError(
                f'class {found.classTitle!r} is not in the list; expected '
                f'one of {listing(list(self.indices))}'
            )
        read = _READERS.get(found.geometryType)
        if read is None:
            raise ValueError(
                f'geometryType {found.geometryType!r}, class '
                f'{found.classTitle!r}; expected one of {", ".join(_READERS)}:'
                ' convert these objects in Supervisely, or remove them'
            )
        mask, left, top = read(found, size)
        index = self.indices[found.classTitle]
        return region_of_mask(mask, index, left, top, size)


# The classes.


class _Project(NamedTuple):
    """What a ``meta.json`` says, its path, and how names below it begin."""

    file: str
    start: str
    classes: list[_Class]


def _read_meta(folder: Folder) -> _Project | None:
    """Return the project in a folder."""
    projects = []
    for file in folder.ending(_META):
        if posixpath.basename(file) != _META:
            continue
        start = file.removesuffix(_META)
        path = folder.root / file
        below = [name for name in folder.files if name.startswith(start)]
        if all(
            any(f'/{part}/' in f'/{name}' for name in below)
            for part in (_IMAGES, _LABELS)
        ):
            try:
                meta = decode_json(read_file(path), _Meta)
            except (OSError, ValueError) as error:
                raise InvalidExportError(
                    path, f'no file of Supervisely: {error}'
                ) from None
            projects.append(_Project(file, start, meta.classes))
    if len(projects) > 1:
        files = listing([project.file for project in projects])
        raise InvalidExportError(
            folder.root,
            f'{len(projects)} projects of Supervisely, {files}; expected one: '
            'give the folder of one',
        )
    return projects[0] if projects else None


def _color(text: str) -> Color | None:
    """Return the color of ``#RRGGBB``; None for anything else."""
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        return None
    return red, green, blue


# Shapes: a mask in a box, its left and its top.

_Box = tuple[np.ndarray, int, int]

#: What lies outside of its image.
_NOTHING = np.zeros((1, 1), np.uint8), 0, 0


def _bitmap(found: _Object, size: tuple[int, int]) -> _Box:
    if found.bitmap is None:
        raise ValueError('geometryType is bitmap, but bitmap is missing')
    data = _inflated(found.bitmap.data, size)
    left, top = found.bitmap.origin
    mask_size = image_size(data, 'the bitmap')
    if mask_size:
        right, bottom = left + mask_size[0], top + mask_size[1]
        if min(left, top) < 0 or right > size[0] or bottom > size[1]:
            raise ValueError(
                f'a bitmap of {mask_size[0]}x{mask_size[1]} pixels at {left}, '
                f'{top} leaves its image of {size[0]}x{size[1]}'
            )
    pixels = decode_image(data, 'the bitmap', cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[:, :, 3]
    if pixels.ndim != 2:
        raise ValueError(
            'the bitmap is in color; expected gray, or alpha: export again'
        )
    return (pixels > 0).astype(np.uint8), left, top


def _inflated(text: str, size: tuple[int, int]) -> bytes:
    """Return the PNG file of a bitmap.

    Raises:
        ValueError: It is broken, or larger than one of the image could be.
    """
    most = 4 * (size[0] + 1) * size[1] + _EXTRA
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(base64.b64decode(text, validate=True), most)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f'the bitmap is broken: {error}') from None
    if not stream.eof:
        raise ValueError(
            f'the bitmap is cut off, or has more than the {most} bytes that '
            'one of its image may have'
        )
    return data


def _polygon(found: _Object, size: tuple[int, int]) -> _Box:
    points = found.points or _Outline()
    for each in [points.exterior, *points.interior]:
        if len(each) < 3:
            raise ValueError(f'a polygon of {len(each)} points; expected 3')
    corners = np.array(points.exterior)
    first, last = corners.min(0), corners.max(0) + 1
    left, top = np.clip(np.floor(first).astype(int), 0, size).tolist()
    right, bottom = np.clip(np.ceil(last).astype(int), 0, size).tolist()
    if right <= left or bottom <= top:
        return _NOTHING
    mask = np.zeros((bottom - top, right - left), np.uint8)
    for each, value in [
        (points.exterior, 1),
        *((inner, 0) for inner in points.interior),
    ]:
        ring = np.rint((np.array(each) - (left, top)) * (1 << _BITS))
        cv2.fillPoly(mask, [ring.astype(np.int32)], value, shift=_BITS)
    return mask, left, top


def _rectangle(found: _Object, size: tuple[int, int]) -> _Box:
    points = found.points or _Outline()
    if len(points.exterior) != 2:
        raise ValueError(
            f'a rectangle of {len(points.exterior)} points; expected 2'
        )
    (left, top), (right, bottom) = np.sort(
        np.rint(points.exterior).astype(int), axis=0
    )
    left, top = max(left, 0), max(top, 0)
    shape = min(bottom + 1, size[1]) - top, min(right + 1, size[0]) - left
    if min(shape) <= 0:
        return _NOTHING
    return np.ones(shape, np.uint8), int(left), int(top)


_READERS: dict[str, Callable[[_Object, tuple[int, int]], _Box]] = {
    'bitmap': _bitmap,
    'polygon': _polygon,
    'rectangle': _rectangle,
}


# Writing.


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write a project, a data set a split.

    Instances with one outline are written as polygons, whose points are
    whole pixels; all others as bitmaps.

    Args:
        out: A folder.
        classes: The classes.
        items: The images, with regions.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: There are no regions, or one is of no class of objects.
    """
    for item in items:
        *folders, name = item.name.split('/')
        place = out / (item.split or 'ds')
        for each in folders:  # data sets within data sets
            place = place / 'datasets' / each
        width, height = item.size
        content = {
            'description': '',
            'tags': [],
            'size': {'height': height, 'width': width},
            'objects': [
                _object(region, classes, item.size)
                for region in object_regions(item, classes)
            ],
        }
        place_image(item.image, place / _IMAGES / name)
        write_bytes(
            place / _LABELS / f'{name}.json', msgspec.json.encode(content)
        )
    meta = {
        'classes': [
            {
                'title': classes.names[index],
                'shape': 'any',
                'color': '#{:02X}{:02X}{:02X}'.format(*classes.palette[index]),
            }
            for index in classes.objects
        ],
        'tags': [],
        'projectType': 'images',
    }
    write_bytes(out / _META, msgspec.json.encode(meta), durable=True)


def _object(
    region: Region, classes: Classes, size: tuple[int, int]
) -> dict[str, Any]:
    title = {'classTitle': classes.names[region.category], 'tags': []}
    if not isinstance(region.mask, dict) and len(region.mask) == 1:
        # A whole number is the center of a pixel here.
        points = np.rint(np.reshape(region.mask[0], (-1, 2)) - 0.5).astype(int)
        outline = {'exterior': points.tolist(), 'interior': []}
        return {**title, 'geometryType': 'polygon', 'points': outline}
    mask = mask_of(region, size)
    left, top, width, height = cv2.boundingRect(mask)
    box = mask[top : top + max(height, 1), left : left + max(width, 1)]
    bitmap = {'data': _deflated(box), 'origin': [left, top]}
    return {**title, 'geometryType': 'bitmap', 'bitmap': bitmap}


def _deflated(mask: np.ndarray) -> str:
    image = Image.fromarray(mask)
    image.putpalette([0, 0, 0, 255, 255, 255])
    file = io.BytesIO()
    image.save(file, 'PNG', transparency=0)
    return base64.b64encode(zlib.compress(file.getvalue())).decode()
