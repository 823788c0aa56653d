"""labelme: a JSON file for each image, with the shapes drawn on it."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.coco import check_mask
from mmseg_ext.formats.color_masks import (
    BACKGROUND_NAMES,
    IGNORE_INDEX,
    VOID_NAMES,
    check_classes,
    voc_color,
)
from mmseg_ext.formats.exports.class_lists import read_class_list
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
    claim,
    find_named,
    object_regions,
    place_image,
)
from mmseg_ext.formats.exports.regions import Region, polygons_of
from mmseg_ext.formats.exports.shapes import Shapes
from mmseg_ext.formats.json_files import decode_json
from mmseg_ext.formats.labelme import (
    BACKGROUND,
    IGNORED,
    LINES,
    LabelmeFile,
    Shape,
    check_labels,
    decode_labelme,
    draw,
    listed_classes,
    read_labelme,
    read_labels,
)
from mmseg_ext.utils.files import write_bytes, write_text
from mmseg_ext.utils.text import listing

__all__ = ['Labelme', 'write']

#: Keys of which a file of labelme has one beside its shapes.
_KEYS = {'imagePath', 'imageData', 'imageHeight', 'imageWidth'}

#: What writes such files: its release sets the keys there are.
_VERSION = '5.4.1'


class _Label(msgspec.Struct):
    label: str
    shape_type: str = 'polygon'


class _Glance(msgspec.Struct):
    """What is read of all files to know the classes."""

    imagePath: str
    shapes: list[_Label]


@dataclass(frozen=True)
class Labelme(Shapes):
    """JSON files of labelme, beside their images or apart from them.

    Label maps are drawn as labelme draws them, with the indices that
    :func:`mmseg_ext.converters.labelme.convert` gives: those of
    ``labels.txt``, or else ``_background_`` and all labels, sorted. Where the
    list has no ``_background_``, pixels in no shape have no label; nor have
    those in shapes that are labeled ``__ignore__`` or as void.
    """

    NAME = 'labelme'
    TITLE = 'labelme JSON'

    @classmethod
    def found(cls, folder: Folder) -> 'Labelme | None':
        """Look at all JSON files, since only all know the classes."""
        files, others = _look(folder)
        if not files:
            return None
        pictures = _pair(folder, files)
        shapes = [shape for file in files.values() for shape in file.shapes]
        used = Counter(shape.label for shape in shapes)
        kinds = Counter(shape.shape_type for shape in shapes)
        classes, indices, source = _classes(folder, used)
        evidence = (
            f'{len(files)} JSON files of labelme, each with its image',
            f'{len(shapes)} shapes of {len(used)} labels: '
            + listing([f'{n} {kind}' for kind, n in kinds.most_common()], 7),
            source,
        )
        ignored = []
        if bare := len(folder.images) - len(pictures):
            ignored.append(f'{bare} images have no JSON file')
        if lines := sum(kinds[kind] for kind in LINES):
            ignored.append(
                f'{lines} points and lines are drawn in label maps, but are '
                'no instances'
            )
        ignored += left_out('JSON files are not of labelme', others)
        return cls(
            folder.root,
            pictures,
            classes,
            evidence,
            ignored=tuple(ignored),
            indices=indices,
        )

    def label_map(self, picture: Picture) -> np.ndarray:
        """Draw the shapes; see :meth:`Export.label_map`."""
        background = self.indices.get(BACKGROUND, IGNORE_INDEX)
        return draw(self._read(picture), self.indices, background)

    def shapes(self, picture: Picture) -> tuple[tuple[int, int], list[Region]]:
        """Read the objects; see :meth:`Shapes.shapes`.

        Shapes of one label and group are one object. Polygons stay polygons;
        others are drawn. Points and lines are left out, and what lies outside
        the image.
        """
        content = self._read(picture)
        objects: dict[Hashable, list[Shape]] = defaultdict(list)
        for number, shape in enumerate(content.shapes):
            if shape.shape_type in LINES:
                continue
            group = shape.group_id
            key = number if group is None else (shape.label, group)
            objects[key].append(shape)
        regions = [
            self._region(content, shapes) for shapes in objects.values()
        ]
        size = content.imageWidth, content.imageHeight
        return size, [region for region in regions if region]

    def _read(self, picture: Picture) -> LabelmeFile:
        """Read the file of a picture, and check all of it."""
        assert picture.labels is not None
        content = decode_labelme(read_labelme(self.folder / picture.labels))
        check_labels(content, self.indices)
        for number, shape in enumerate(content.shapes):
            if shape.shape_type == 'polygon':
                try:
                    check_mask(
                        [_flat(shape)],
                        (content.imageHeight, content.imageWidth),
                    )
                except ValueError as error:
                    raise ValueError(f'shapes[{number}]: {error}') from None
        return content

    def _region(
        self, content: LabelmeFile, shapes: list[Shape]
    ) -> Region | None:
        """Return an object; None if no pixel is in it."""
        category = self.indices[shapes[0].label]
        if all(shape.shape_type == 'polygon' for shape in shapes):
            return Region(category, [_flat(shape) for shape in shapes])
        alone = msgspec.structs.replace(content, shapes=shapes)
        mask = draw(alone, {shapes[0].label: 1}, 0)
        if not mask.any():
            return None
        return Region(category, coco_mask.encode(np.asfortranarray(mask)))


def _flat(shape: Shape) -> list[float]:
    return [side for point in shape.points for side in point]


def _look(folder: Folder) -> tuple[dict[str, _Glance], list[str]]:
    """Return what the files of labelme hold, and names of other JSON files.

    Raises:
        InvalidExportError: A file of labelme is not right.
    """
    files: dict[str, _Glance] = {}
    others, broken = [], []
    for name in folder.ending('.json'):
        path = folder.root / name
        try:
            file = _glance(read_labelme(path))
        except (OSError, _NoJsonError) as error:
            broken.append(InvalidExportError(path, str(error)))
        except ValueError as error:
            raise InvalidExportError(path, str(error)) from None
        else:
            if file is None:
                others.append(name)
            else:
                files[name] = file
    if files and broken:
        raise broken[0]
    return files, others


class _NoJsonError(ValueError):
    """A file is broken, and maybe not of labelme."""


def _glance(data: bytes) -> _Glance | None:
    """Read what is needed of all files; None for JSON of another kind.

    Raises:
        ValueError: It is a file of labelme that is not right.
        _NoJsonError: It is no JSON.
    """
    try:
        keys = decode_json(data, dict[str, msgspec.Raw]).keys()
    except ValueError:
        try:
            decode_json(data, msgspec.Raw)
        except ValueError as error:
            kind = ValueError if b'"shapes"' in data else _NoJsonError
            raise kind(
                f'no labelme file: {error}; save it again, or take it away'
            ) from None
        return None
    if 'shapes' not in keys or not keys & _KEYS:
        return None
    try:
        return decode_json(data, _Glance)
    except ValueError as error:
        raise ValueError(f'no labelme file: {error}') from None


def _pair(folder: Folder, files: Mapping[str, _Glance]) -> tuple[Picture, ...]:
    """Find the image of each file.

    Raises:
        InvalidExportError: It is missing, or that of another file as well.
    """
    named = [(name, file.imagePath) for name, file in files.items()]
    owners: dict[str, str] = {}
    for (name, said), images in zip(
        named, find_named(named, folder.images), strict=True
    ):
        path = folder.root / name
        if not images:
            raise InvalidExportError(
                path,
                f'its image, imagePath {said!r}, is not in the folder: put it '
                'there, or take the JSON file away',
            )
        if len(images) > 1:
            raise InvalidExportError(
                path,
                f'its image, imagePath {said!r}, may be {listing(images)}: '
                'write there which, as seen from the JSON file',
            )
        other = owners.setdefault(images[0], name)
        if other != name:
            raise InvalidExportError(
                path,
                f'its image, imagePath {said!r}, is {images[0]}, which '
                f'{other} has as well; expected one JSON file for each image',
            )
    return tuple(
        Picture(image, name, split_of(name) or split_of(image))
        for image, name in sorted(owners.items())
    )


def _classes(
    folder: Folder, used: Iterable[str]
) -> tuple[Classes, dict[str, int], str]:
    """Return classes, index of each label, and where they come from.

    Raises:
        InvalidExportError: They cannot be read, or are not right.
    """
    path = folder.class_list
    if path is None and 'labels.txt' in folder.files:
        path = folder.root / 'labels.txt'
    try:
        if folder.class_list is not None:
            listed = list(read_class_list(folder.class_list).names)
        else:
            listed = read_labels(path) if path else []
        names = listed_classes(listed, used)
        names = [name for name in names if name.lower() not in VOID_NAMES]
        colors = {name: voc_color(index) for index, name in enumerate(names)}
        check_classes('labels', colors)
    except (OSError, ValueError) as error:
        raise InvalidExportError(path or folder.root, str(error)) from None
    indices = {name: index for index, name in enumerate(names)}
    source = f'the classes are {BACKGROUND} and all labels, sorted'
    if path and listed:
        source = f'{path.name} lists {len(names)} classes'
        if BACKGROUND not in indices:
            source += f', and no {BACKGROUND}: pixels in no shape are ignored'
    ground = [
        index
        for name, index in indices.items()
        if name.lower() in BACKGROUND_NAMES
    ]
    void = {name for name in {*used, *listed} if name.lower() in VOID_NAMES}
    return (
        Classes(
            tuple(names),
            tuple(colors.values()),
            ground[0] if ground else None,
        ),
        {**indices, **dict.fromkeys([IGNORED, *sorted(void)], IGNORE_INDEX)},
        source,
    )


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write images, and the JSON file of each beside it.

    Instances become polygons, those of one instance in a group; drawn as
    labelme draws them, they are their masks. What lies outside the image is
    left out. ``labels.txt`` has the order of the classes. Splits are folders.

    Args:
        out: A folder.
        classes: The classes.
        items: The images, with regions.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: There are no regions, one is of no class of objects, or
            two have the same stem.
    """
    names = [
        BACKGROUND if index == classes.background else name
        for index, name in enumerate(classes.names)
    ]
    write_text(out / 'labels.txt', '\n'.join([IGNORED, *names, '']))
    taken: set[str] = set()
    for item in items:
        shapes = [
            shape
            for number, region in enumerate(object_regions(item, classes), 1)
            for shape in _shapes(region, item.size, names, number)
        ]
        path = out / (item.split or '') / item.name
        claim(taken, str(path.with_suffix('').relative_to(out)), item)
        place_image(item.image, path)
        content: dict[str, Any] = {
            'version': _VERSION,
            'flags': {},
            'shapes': shapes,
            'imagePath': path.name,
            'imageData': None,
            'imageHeight': item.size[1],
            'imageWidth': item.size[0],
        }
        text = msgspec.json.format(msgspec.json.encode(content))
        write_bytes(path.with_suffix('.json'), text + b'\n')


def _shapes(
    region: Region, size: tuple[int, int], names: list[str], number: int
) -> Iterable[dict[str, Any]]:
    polygons = polygons_of(region, size, centers=True)
    score = '' if region.score is None else f'score {region.score:.3f}'
    for points in polygons:
        yield {
            'label': names[region.category],
            'points': np.reshape(points, (-1, 2)).astype(float).tolist(),
            'group_id': number if len(polygons) > 1 else None,
            'description': score,
            'shape_type': 'polygon',
            'flags': {},
        }
