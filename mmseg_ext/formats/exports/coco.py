"""COCO: one JSON file with all instances, or one a split."""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.coco import (
    Category,
    CocoImage,
    Id,
    MaskCode,
    Segmentation,
    annotation_row,
    check_mask,
    coco_writer,
)
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Picture,
    left_out,
    split_of,
)
from mmseg_ext.formats.exports.pictures import (
    find_named,
    object_regions,
    place_image,
)
from mmseg_ext.formats.exports.regions import Region, mask_of, polygons_of
from mmseg_ext.formats.exports.shapes import Shapes, classes_of
from mmseg_ext.formats.image_facts import read_size
from mmseg_ext.formats.json_files import decode_json
from mmseg_ext.formats.rle import encode_runs
from mmseg_ext.utils.files import open_file, read_file
from mmseg_ext.utils.images import MAX_PIXELS
from mmseg_ext.utils.text import listing

__all__ = ['Coco', 'write']

#: The lists that a COCO file has.
_LISTS = ('images', 'annotations', 'categories')

#: Bytes of the head of a file, and what tells one of labelme by it, which may
#: be large, so that it is not read.
_HEAD = 1 << 12
_LABELME = re.compile(rb'"(shapes|imagePath)"\s*:')

#: What stands for no mask.
_NO_MASK = re.compile(rb'(null|\[\s*\])?')


class _Category(Category):
    supercategory: str | None = None
    keypoints: msgspec.Raw = msgspec.Raw()


class _Lists(msgspec.Struct):
    """What a COCO file has, its annotations as they stand there."""

    images: list[CocoImage]
    categories: list[_Category]
    annotations: list[msgspec.Raw]


class _Link(msgspec.Struct):
    """What an annotation belongs to."""

    image_id: Id
    category_id: Id
    id: Id | None = None


class _Unread(_Link):
    segmentation: msgspec.Raw = msgspec.Raw()


class _Row(_Link):
    segmentation: Segmentation = None
    iscrowd: int | bool | None = 0


class _Place(NamedTuple):
    """Where the annotations of an image stand in their file.

    Attributes:
        size: Width and height of the image; None where the file lacks them.
        spans: First byte and length of each, int64 (N, 2), as bytes.
    """

    size: tuple[int, int] | None
    spans: bytes


@dataclass
class _File:
    """A COCO file.

    Attributes:
        name: Its path in the folder.
        images: Its images.
        categories: Its categories.
        spans: Where the annotations of each image stand, as in
            :class:`_Place`.
        used: How many annotations each category has, by id.
        bare: How many have no mask.
    """

    name: str
    images: list[CocoImage]
    categories: list[_Category]
    spans: list[bytes]
    used: Counter[Id]
    bare: int

    @property
    def annotations(self) -> int:
        """How many annotations there are."""
        return self.used.total()


@dataclass(frozen=True)
class Coco(Shapes):
    """COCO files of instances, with their images at any place.

    Categories of several files are joined by their names. Masks stay in their
    file until they are asked for: what goes to other processes is small.

    Attributes:
        numbers: For each COCO file the index of the class of each category
            id, or 255.
    """

    NAME = 'coco'
    TITLE = 'COCO JSON'
    TASK = 'instance'

    numbers: Mapping[str, Mapping[Id, int]] = field(
        default_factory=dict, kw_only=True
    )

    @classmethod
    def found(cls, folder: Folder) -> 'Coco | None':
        """Read all COCO files, but for the masks."""
        files, others = _read_files(folder)
        if not files:
            return None
        files, unused = _with_masks(folder, files)
        evidence = [
            f'{file.name} is a COCO file: {len(file.images)} images, '
            f'{file.annotations} annotations, {len(file.categories)} '
            'categories'
            for file in files[:5]
        ]
        if len(files) > 5:
            evidence.append(f'and so are {len(files) - 5} more')
        names, notes = _join(files)
        classes, indices = _classes(folder, files, names)
        pictures = _pictures(folder, files)
        if bare := len(folder.images) - len(pictures):
            unused.append(f'{bare} images are in no COCO file')
        unused += left_out(
            'JSON files are not COCO files of instances', others
        )
        return cls(
            folder.root,
            pictures,
            classes,
            (*evidence, *notes),
            ignored=tuple(unused),
            indices=indices,
            numbers={
                file.name: {
                    category.id: indices[category.name]
                    for category in file.categories
                    if category.name in indices
                }
                for file in files
            },
        )

    def shapes(self, picture: Picture) -> tuple[tuple[int, int], list[Region]]:
        """Read the annotations; see :meth:`Shapes.shapes`."""
        place: _Place = picture.key
        assert picture.labels is not None
        size = place.size or read_size(self.folder / picture.name)
        numbers = self.numbers[picture.labels]
        regions = []
        with open_file(self.folder / picture.labels) as file:
            spans = np.frombuffer(place.spans, np.int64).reshape(-1, 2)
            for start, length in spans.tolist():
                file.seek(start)
                data = file.read(length)
                try:
                    row = decode_json(data, _Row)
                    regions.append(_region(row, numbers, size))
                except ValueError as error:
                    key = decode_json(data, _Link).id
                    raise ValueError(f'annotation {key}: {error}') from None
        return size, regions


def _region(
    row: _Row, numbers: Mapping[Id, int], size: tuple[int, int]
) -> Region:
    """Check an annotation and return it.

    Raises:
        ValueError: It is not right.
    """
    width, height = size
    code = row.segmentation
    if not code:
        raise ValueError(
            'it has no segmentation; a box tells no mask: draw it, or take '
            'the annotation away'
        )
    if row.iscrowd not in (0, 1, None):
        raise ValueError(f'iscrowd {row.iscrowd}; expected 0 or 1')
    check_mask(code, (height, width))
    category, crowd = numbers[row.category_id], bool(row.iscrowd)
    if not isinstance(code, MaskCode):
        return Region(category, code, crowd)
    if isinstance(code.counts, str):
        text = code.counts.encode('ascii')
        return Region(
            category, {'size': [height, width], 'counts': text}, crowd
        )
    runs = np.array(code.counts, np.int64)
    return Region(category, encode_runs(runs, (height, width)), crowd)


# Finding.


def _read_files(folder: Folder) -> tuple[list[_File], list[str]]:
    """Read all COCO files, and name the other JSON files.

    Raises:
        InvalidExportError: A COCO file is not right.
    """
    files, others = [], []
    for name in folder.ending('.json'):
        path = folder.root / name
        try:
            file = _read(path, name)
        except (OSError, ValueError) as error:
            raise InvalidExportError(path, str(error)) from None
        if file is None:
            others.append(name)
        else:
            files.append(file)
    return files, others


def _read(path: Path, name: str) -> _File | None:
    """Read a file but for the masks; None for JSON of another kind.

    Raises:
        OSError: It cannot be read.
        ValueError: It is a COCO file that is not right.
    """
    with open_file(path) as head:
        if _LABELME.search(head.read(_HEAD)):
            return None
    data = read_file(path, None)
    text = data.removeprefix(codecs.BOM_UTF8)
    try:
        keys = {*decode_json(text, dict[str, msgspec.Raw])}
    except ValueError:
        if sum(f'"{key}"'.encode() in text for key in _LISTS) < 2:
            return None
        keys = set(_LISTS)  # it is broken, as is said next
    if not keys >= set(_LISTS):
        return None
    lists = decode_json(text, _Lists)
    if lists.annotations and b'"segments_info"' in bytes(lists.annotations[0]):
        return None  # panoptic segmentation
    return _File(
        name,
        lists.images,
        lists.categories,
        *_link(lists, _address(text) - (len(data) - len(text))),
    )


def _link(lists: _Lists, origin: int) -> tuple[list[bytes], Counter[Id], int]:
    """Find the annotations of each image; see :class:`_File`.

    Args:
        lists: What the file has.
        origin: Where its first byte is in memory.

    Raises:
        ValueError: An id repeats, or belongs to nothing.
    """
    rows = _numbered('images', [image.id for image in lists.images])
    used = Counter(
        dict.fromkeys(
            _numbered('categories', [each.id for each in lists.categories]), 0
        )
    )
    ids: list[Id | None] = []
    spans = np.empty((len(lists.annotations), 2), np.int64)
    owners = np.empty(len(lists.annotations), np.int64)
    bare = 0
    for number, raw in enumerate(lists.annotations):
        try:
            link = msgspec.json.decode(raw, type=_Unread)
        except ValueError as error:
            raise ValueError(f'annotations[{number}]: {error}') from None
        if link.image_id not in rows:
            raise ValueError(
                f'annotation {link.id} is of image_id {link.image_id!r}, '
                'which no image has'
            )
        if link.category_id not in used:
            raise ValueError(
                f'annotation {link.id} is of category_id '
                f'{link.category_id!r}, which no category has'
            )
        used[link.category_id] += 1
        bare += _NO_MASK.fullmatch(memoryview(link.segmentation)) is not None
        spans[number] = _address(raw) - origin, memoryview(raw).nbytes
        owners[number] = rows[link.image_id]
        ids.append(link.id)
    _numbered('annotations', [key for key in ids if key is not None])
    order = np.argsort(owners, kind='stable')
    ends = np.searchsorted(owners[order], np.arange(1, len(rows)))
    parts = np.split(spans[order], ends)
    return [part.tobytes() for part in parts][: len(rows)], used, bare


def _address(data: bytes | msgspec.Raw) -> int:
    """Return where bytes are in memory; a Raw is a part of what it is from."""
    return int(np.frombuffer(data, np.uint8).__array_interface__['data'][0])


def _numbered(what: str, ids: Sequence[Id]) -> dict[Id, int]:
    """Return the place of each id.

    Raises:
        ValueError: One repeats.
    """
    places = {key: place for place, key in enumerate(ids)}
    if len(places) < len(ids):
        [(key, count)] = Counter(ids).most_common(1)
        raise ValueError(
            f'{count} of its {what} have the id {key!r}; expected another for '
            'each'
        )
    return places


def _with_masks(
    folder: Folder, files: list[_File]
) -> tuple[list[_File], list[str]]:
    """Return the files of instances, and what is said of the others.

    Raises:
        InvalidExportError: No file has images, or masks.
    """
    empty = [file.name for file in files if not file.images]
    joints = [
        file.name
        for file in files
        if file.categories
        and all(memoryview(each.keypoints) for each in file.categories)
    ]
    kept = [file for file in files if file.images]
    if not kept:
        raise InvalidExportError(
            folder.root / files[0].name, 'it is a COCO file without images'
        )
    others = [file for file in kept if file.name not in joints]
    notes = left_out('COCO files have no images', empty)
    if others and joints:
        kept = others
        notes.append(f'{len(joints)} COCO files are of keypoints: {joints[0]}')
    total = sum(file.annotations for file in kept)
    if total and sum(file.bare for file in kept) == total:
        first = next(file.name for file in kept if file.annotations)
        raise InvalidExportError(
            folder.root / first,
            f'its {total} annotations have boxes only, and this needs masks: '
            'export polygons or masks',
        )
    return kept, notes


def _join(files: Sequence[_File]) -> tuple[list[str], list[str]]:
    """Return the names of all categories, and what is to be said of them."""
    used = {
        each.name
        for file in files
        for each in file.categories
        if file.used[each.id]
    }
    names: dict[str, None] = {}
    above: dict[str, None] = {}
    for file in files:
        for each in file.categories:
            (above if _is_above(each, file, used) else names)[each.name] = None
    notes = [
        f'category {name!r} is left out: it has no annotations, and is the '
        'supercategory of the others'
        for name in above
    ]
    lists = [{each.name for each in file.categories} for file in files]
    ids = [{each.id: each.name for each in file.categories} for file in files]
    if any(one != lists[0] for one in lists):
        notes.append(
            'the files list other categories: those of all of them are taken'
        )
    elif any(one != ids[0] for one in ids):
        notes.append(
            'the files number the categories in other ways: they are joined '
            'by name'
        )
    return list(names), notes


def _is_above(category: _Category, file: _File, used: set[str]) -> bool:
    """Tell whether a category stands for all others, as Roboflow has one."""
    others = [each for each in file.categories if each is not category]
    return (
        bool(others)
        and category.name not in used
        and category.supercategory != category.name
        and all(each.supercategory == category.name for each in others)
    )


def _classes(
    folder: Folder, files: Sequence[_File], names: Sequence[str]
) -> tuple[Classes, dict[str, int]]:
    """Return the classes, and the index of each name.

    Raises:
        InvalidExportError: They are not right, or the list of the user lacks
            one that is used.
    """
    classes, indices = classes_of(folder, files[0].name, names)
    for file in files:
        for each in file.categories:
            if file.used[each.id] and each.name not in indices:
                raise InvalidExportError(
                    folder.root / file.name,
                    f'category {each.id!r}, {each.name!r}, has annotations '
                    f'and is not in {folder.class_list}, which lists '
                    + listing([*indices]),
                )
    return classes, indices


def _pictures(folder: Folder, files: Sequence[_File]) -> tuple[Picture, ...]:
    """Find the images of all files.

    Raises:
        InvalidExportError: One is missing, not known for sure, of no size, or
            in two files.
    """
    named = [
        (file.name, image.file_name) for file in files for image in file.images
    ]
    found = iter(find_named(named, folder.images))
    owners: dict[str, tuple[_File, CocoImage]] = {}
    pictures = []
    for file in files:
        path = folder.root / file.name
        missing = []
        for image, spans in zip(file.images, file.spans, strict=True):
            images = next(found)
            if not images:
                missing.append(image.file_name)
                continue
            if len(images) > 1:
                raise InvalidExportError(
                    path,
                    f'image {image.id}, {image.file_name!r}, may be '
                    f'{listing(images)}: write there which, as seen from the '
                    'COCO file, or take the others away',
                )
            owner, twin = owners.setdefault(images[0], (file, image))
            if twin is not image:
                raise InvalidExportError(
                    path,
                    f'image {image.id}, {image.file_name!r}, is {images[0]}, '
                    f'as is image {twin.id} of {owner.name}; expected each '
                    'image once, in one split',
                )
            place = _Place(_size(path, image), spans)
            split = split_of(file.name) or split_of(images[0])
            pictures.append(Picture(images[0], file.name, split, place))
        if missing:
            raise InvalidExportError(
                path,
                f'{len(missing)} of its {len(file.images)} images are not in '
                f'the folder: {listing(missing, 3)}; put them there',
            )
    return tuple(sorted(pictures, key=lambda picture: picture.name))


def _size(path: Path, image: CocoImage) -> tuple[int, int] | None:
    """Return the size of an image; None where the file lacks it.

    Raises:
        InvalidExportError: It is none.
    """
    width, height = image.width, image.height
    if width is None or height is None:
        return None
    if not (
        width.is_integer()
        and height.is_integer()
        and min(width, height) > 0
        and width * height <= MAX_PIXELS
    ):
        raise InvalidExportError(
            path,
            f'image {image.id}, {image.file_name!r}, has the size '
            f'{width}x{height}; expected pixels, at most {MAX_PIXELS} in all',
        )
    return int(width), int(height)


# Writing.


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write images, and a COCO file for each split.

    These are ``annotations/instances_<split>.json``, or
    ``instances_default.json``, and ``images``. Categories count from 1, in
    the order of the classes, without the background. Instances become
    polygons, crowds and their masks stay run-length codes. What has no pixel
    is left out.

    Args:
        out: A folder.
        classes: The classes.
        items: The images, with regions.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: There are no regions, or one is of no class of objects.
    """
    ids = {index: number for number, index in enumerate(classes.objects, 1)}
    names = {number: classes.names[index] for index, number in ids.items()}
    splits: dict[str, set[int]] = {}
    with coco_writer(out, names) as writer:
        for item in items:
            rows = [
                row
                for region in object_regions(item, classes)
                for row in _rows(region, item.size, ids[region.category])
            ]
            place_image(item.image, out / 'images' / item.name)
            width, height = item.size
            writer.add(
                {'file_name': item.name, 'width': width, 'height': height},
                rows,
            )
            numbers = splits.setdefault(item.split or 'default', set())
            numbers.add(writer.images)
        for split, numbers in splits.items():
            writer.save(
                out / 'annotations' / f'instances_{split}.json', numbers
            )


def _rows(
    region: Region, size: tuple[int, int], category_id: int
) -> Iterable[bytes]:
    """Yield the row of an instance, or none if it has no pixel."""
    code = coco_mask.encode(np.asfortranarray(mask_of(region, size)))
    if not coco_mask.area(code):
        return
    more: dict[str, Any] = {}
    if region.score is not None:
        more['score'] = region.score
    if not region.crowd:
        more['polygons'] = polygons_of(region, size)
    yield annotation_row(code, category_id, crowd=region.crowd, **more)
