"""COCO files as tables, whatever is wrong with them.

Nothing in such a file stops the reading: fields that are missing or of
another type are noted, and stand as NaN or -1 in the tables.
"""

import codecs
import json
import math
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hotcoco import COCO
from mmengine.config import ConfigDict
from mmengine.fileio import join_path
from mmengine.registry import DATASETS
from mmengine.utils import is_abs
from PIL import ExifTags

from mmseg_ext.doctor.coco_masks import Mask, MaskLook, look_at_mask
from mmseg_ext.formats.image_facts import read_size
from mmseg_ext.launch.errors import one_line
from mmseg_ext.utils.files import open_file, read_file
from mmseg_ext.utils.images import open_image
from mmseg_ext.utils.text import decode_text

__all__ = [
    'NO_CROWD',
    'ODD_CROWD',
    'Annotations',
    'Categories',
    'CocoTable',
    'Images',
    'Source',
    'read_coco_tables',
]

#: ``iscrowd`` that is missing or empty, and that is neither 0 nor 1.
NO_CROWD, ODD_CROWD = -1, 2

#: The classes of MMDet that read files of another form, though they are made
#: of the one that reads COCO's.
_OTHERS = frozenset({'CocoPanopticDataset', 'LVISV05Dataset'})

#: A PNG that EXIF turns says so near its beginning.
_HEAD = 4096

#: The orientations of EXIF by which width and height change places.
_SIDEWAYS = range(5, 9)

#: Beyond any length or area in pixels.
_LARGEST = 1e15

#: Rows that are not read yet, or are.
_Rows = list[Any]


class Images(NamedTuple):
    """The images of a COCO file, one a row.

    Attributes:
        ids: Their ids; None where one is missing.
        names: Their ``file_name``; empty where it is missing.
        paths: Their files, as MMDet joins them.
        sizes: float64 (I, 2): width and height as the COCO file has them.
        files: float64 (I, 2): those of the files as loaders see them, NaN
            where a file cannot be read.
        missing: bool (I,): whether there is no such file.
        special: bool (I,): whether it is a pipe, a device or a folder.
    """

    ids: list[Any]
    names: list[str]
    paths: list[str]
    sizes: np.ndarray
    files: np.ndarray
    missing: np.ndarray
    special: np.ndarray


class Categories(NamedTuple):
    """The categories of a COCO file, one a row.

    Attributes:
        ids: Their ids; None where one is missing.
        names: Their names; empty where one is missing.
        labels: int64 (C,): the number that MMDet gives each; -1 where it is
            no class of the config.
        empty: Rows of those without an annotation.
    """

    ids: list[Any]
    names: list[str]
    labels: np.ndarray
    empty: list[int]


class Annotations(NamedTuple):
    """The annotations of a COCO file, one a row.

    Attributes:
        ids: Their ids; None where one is missing.
        image_ids: Their ``image_id``, in the same way.
        category_ids: Their ``category_id``, in the same way.
        images: int64 (N,): the row of their image; -1 without one.
        categories: int64 (N,): the row of their category; -1 without one.
        labels: int64 (N,): the number of their class; -1 without one.
        boxes: float64 (N, 4): left, top, width, height; NaN without one.
        areas: float64 (N,): what the file says.
        crowd: int8 (N,): ``iscrowd``: 0, 1, :data:`NO_CROWD` or
            :data:`ODD_CROWD`.
        ignored: bool (N,): whether ``ignore`` is set.
        masks: int8 (N,): each of :class:`~mmseg_ext.doctor.coco_masks.Mask`.
        coded: bool (N,): whether the mask is given as runs.
        fails: bool (N,): whether an evaluation of masks fails of it.
        mask_boxes: float64 (N, 4): left, top, right, bottom of the mask.
        mask_areas: float64 (N,): pixels of the mask.
        twins: Rows whose box is also that of another of its class and image,
            but for 5 %.
    """

    ids: list[Any]
    image_ids: list[Any]
    category_ids: list[Any]
    images: np.ndarray
    categories: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray
    masks: np.ndarray
    coded: np.ndarray
    fails: np.ndarray
    mask_boxes: np.ndarray
    mask_areas: np.ndarray
    twins: list[int]


@dataclass
class CocoTable:
    """What a COCO file holds.

    Attributes:
        path: The file.
        fault: Why it cannot be used at all, in one line; None if it can.
        classes: The classes of the config.
        images: Its images.
        categories: Its categories.
        annotations: Its annotations.
        wrong: Rows of ``'images'``, ``'categories'`` or ``'annotations'``
            with a field that is missing or of another type, by list and
            field.
    """

    path: str
    fault: str | None = None
    classes: tuple[str, ...] = ()
    images: Images = field(default_factory=lambda: _images([], '', {}, True))
    categories: Categories = field(
        default_factory=lambda: _categories([], (), {})
    )
    annotations: Annotations = field(
        default_factory=lambda: _no_annotations(0)
    )
    wrong: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    @property
    def broken(self) -> set[str]:
        """The files of images on which loading fails, or never ends.

        It does so on their masks, or on what is no file.
        """
        rows = self.annotations
        bad = (rows.images >= 0) & np.isin(
            rows.masks, (Mask.CORRUPT, Mask.OTHER_SIZE, Mask.ODD)
        )
        return {
            *(self.images.paths[row] for row in rows.images[bad]),
            *self.special,
        }

    @property
    def special(self) -> set[str]:
        """What the file names as images, and is no file."""
        rows = np.flatnonzero(self.images.special)
        return {self.images.paths[row] for row in rows}

    @property
    def measurable(self) -> bool:
        """Whether pycocotools can measure with it, as it should."""
        rows = self.annotations
        wrong_ids = any(key == 0 or isinstance(key, str) for key in rows.ids)
        crowds = np.isin(rows.crowd, (0, 1)).all()
        return bool(not wrong_ids and crowds and not self.broken)

    @property
    def resized(self) -> np.ndarray:
        """Whether the file of an image has another size, bool (I,)."""
        other = np.abs(self.images.sizes - self.images.files) > 0
        return np.asarray(other.any(axis=1))


class Source(NamedTuple):
    """A data set that may read a COCO file.

    Attributes:
        cfg: Its config.
        dataset: It, built; None if it cannot be.
        classes: Its classes, as far as they are known.
    """

    cfg: ConfigDict
    dataset: Any = None
    classes: tuple[str, ...] = ()


def read_coco_tables(sources: Iterable[Source]) -> list[CocoTable | None]:
    """Read the COCO files of data sets, each file once.

    Args:
        sources: The data sets.

    Returns:
        The table of each; None for data sets of another kind, and for those
        whose file is not there.
    """
    known: dict[tuple[Any, ...], CocoTable] = {}
    return [_table(source, known) for source in sources]


def _table(
    source: Source, known: dict[tuple[Any, ...], CocoTable]
) -> CocoTable | None:
    """Return the table of a data set, among those that are known."""
    try:
        kind = _kind(source.cfg)
        path, prefix = _paths(source)
    # What a config names may be anything; that it is not built is told.
    except Exception:
        return None
    if kind is None or not os.path.isfile(path):
        return None
    local = prefix is not None and not source.cfg.get('backend_args')
    # MMDet's own reader ends at one; it is the most frequent.
    marked = source.dataset is not None or not _is_mmdets(kind.COCOAPI)
    key = path, prefix, source.classes, local, marked
    if key not in known:
        known[key] = _read(path, prefix or '', source.classes, local, marked)
    return known[key]


def _is_mmdets(kind: type) -> bool:
    return kind.__module__.startswith('mmdet.')


def _kind(cfg: ConfigDict) -> Any:
    """Return the class of a data set that reads COCO files, or None."""
    kind = cfg.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    names = {each.__name__ for each in getattr(kind, '__mro__', ())}
    return kind if 'CocoDataset' in names and not names & _OTHERS else None


def _paths(source: Source) -> tuple[str, str | None]:
    """Return the COCO file of a data set, and the folder of its images.

    Without a folder most classes fail: None stands for it then.
    """
    dataset, cfg = source.dataset, source.cfg
    if dataset is not None:
        return str(dataset.ann_file), str(dataset.data_prefix['img'])
    root = cfg.get('data_root') or ''
    prefix = (cfg.get('data_prefix') or {}).get('img')
    path, folder = (
        each if is_abs(each) or not root else join_path(root, each)
        for each in (str(cfg.get('ann_file', '')), str(prefix or ''))
    )
    return os.path.expanduser(path), (
        None if prefix is None else os.path.expanduser(folder)
    )


def _read(
    path: str, prefix: str, classes: tuple[str, ...], local: bool, marked: bool
) -> CocoTable:
    """Read a COCO file, which may begin with a BOM if ``marked``."""
    wrong: dict[tuple[str, str], list[int]] = {}
    try:
        lists = _lists(read_file(path, None), marked)
        images = _images(lists['images'], prefix, wrong, local)
        categories = _categories(lists['categories'], classes, wrong)
        annotations = _annotations(
            lists['annotations'], images, categories, wrong
        )
    except OSError as error:
        return CocoTable(path, one_line(error), classes)
    except ValueError as error:
        return CocoTable(path, str(error), classes)
    twins, empty = _health(images, categories, annotations)
    return CocoTable(
        path,
        None,
        classes,
        images,
        categories._replace(empty=empty),
        annotations._replace(twins=twins),
        wrong,
    )


def _lists(data: bytes, marked: bool) -> dict[str, _Rows]:
    """Return the lists of a COCO file, whose rows are not read yet.

    Held as they are in the file, they take no more memory than that.

    Raises:
        ValueError: It is no JSON, or has not these lists.
    """
    names = ('images', 'categories', 'annotations')
    if data.startswith(codecs.BOM_UTF8) and not marked:
        raise ValueError(
            'it begins with a BOM (byte order mark), at which MMDet ends: '
            'save it as UTF-8 without one'
        )
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        try:
            file = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            rows = {
                name: msgspec.json.decode(file[name], type=list[msgspec.Raw])
                for name in names
                if name in file
            }
        except ValueError:
            # MMDet reads with Python, which knows NaN.
            file = rows = json.loads(decode_text(data, 'it'))
    except RecursionError:
        raise ValueError('it is nested too deep') from None
    except ValueError as error:
        raise ValueError(f'it is no JSON: {error}') from None
    if not isinstance(file, dict):
        raise ValueError(
            f'it has a {type(file).__name__} at its top; expected an object '
            'with images, categories and annotations'
        )
    if lacking := [name for name in names[:2] if name not in rows]:
        raise ValueError(
            f'it has no {" and no ".join(lacking)}, but {[*file][:5]}'
        )
    for name in names:
        if not isinstance(rows.get(name, []), list):
            raise ValueError(f'its {name} are no list')
    return {name: rows.get(name, []) for name in names}


def _rows_of(
    rows: _Rows, name: str, wrong: dict[tuple[str, str], list[int]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a list, empty ones for those that are no object.

    Raises:
        ValueError: One has a number that is too long for Python.
    """
    for number, raw in enumerate(rows):
        row = raw
        if isinstance(raw, msgspec.Raw):
            try:
                row = msgspec.json.decode(raw)
            except ValueError as error:
                raise ValueError(
                    f'row {number} (from 0) of {name}: {error}'
                ) from None
        if not isinstance(row, dict):
            wrong.setdefault((name, ''), []).append(number)
            row = {}
        yield row


def _number(value: Any) -> float:
    """Return a number as float; NaN if it is none, or is of no image."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) < _LARGEST else math.nan


def _text(value: Any) -> str:
    """Return a text; an empty one if it is none."""
    return value if isinstance(value, str) else ''


def _id(value: Any) -> Any:
    """Return an id; None if there is none by which rows can be found."""
    return value if isinstance(value, Hashable) else None


def _index(ids: Sequence[Any]) -> dict[Any, int]:
    """Return the rows of ids, the last of each, as pycocotools does."""
    return {key: row for row, key in enumerate(ids) if key is not None}


class _Notes:
    """Notes fields that are missing or of another type."""

    def __init__(
        self, name: str, wrong: dict[tuple[str, str], list[int]]
    ) -> None:
        self._name, self._wrong = name, wrong

    def check(self, number: int, **right: bool) -> None:
        """Note the fields of a row that are not right."""
        if self._wrong.get((self._name, ''), [-1])[-1] == number:
            return  # it has no fields at all
        for key, fits in right.items():
            if not fits:
                rows = self._wrong.setdefault((self._name, key), [])
                rows.append(number)


def _images(
    rows: _Rows,
    prefix: str,
    wrong: dict[tuple[str, str], list[int]],
    local: bool,
) -> Images:
    """Read images, and the headers of their files if they are local."""
    notes = _Notes('images', wrong)
    ids, names, paths = [], [], []
    sizes = np.full((len(rows), 2), np.nan)
    files = np.full((len(rows), 2), np.nan)
    missing = np.zeros(len(rows), bool)
    special = np.zeros(len(rows), bool)
    for number, row in enumerate(_rows_of(rows, 'images', wrong)):
        name, key = _text(row.get('file_name')), _id(row.get('id'))
        size = _number(row.get('width')), _number(row.get('height'))
        notes.check(
            number,
            id=key is not None,
            file_name=bool(name),
            width=math.isfinite(size[0]),
            height=math.isfinite(size[1]),
        )
        path = os.path.join(prefix, name) if name else ''
        ids.append(key)
        names.append(name)
        paths.append(path)
        sizes[number] = size
        if name and local:
            found = _file_size(path)
            if found is None and not os.path.isfile(path):
                special[number] = os.path.exists(path)
                missing[number] = not special[number]
            files[number] = found or (math.nan, math.nan)
    return Images(ids, names, paths, sizes, files, missing, special)


def _file_size(path: str) -> tuple[int, int] | None:
    """Read width and height of an image from its header, as loaders see it.

    Returns:
        None where it cannot be read, of which others tell.
    """
    try:
        with open_file(path) as file:
            head = file.read(_HEAD)
            file.seek(0)
            with open_image(file) as image:
                width, height = image.size
                if image.format == 'JPEG':
                    turn = image.getexif().get(ExifTags.Base.Orientation)
                    return (height, width) if turn in _SIDEWAYS else image.size
        if b'Exif' in head or b'eXIf' in head:
            return read_size(Path(path))
        return width, height
    # Each format has its own.
    except Exception:
        return None


def _categories(
    rows: _Rows,
    classes: Sequence[str],
    wrong: dict[tuple[str, str], list[int]],
) -> Categories:
    """Read categories, and number them as MMDet does: in their order."""
    notes = _Notes('categories', wrong)
    ids, names = [], []
    for number, row in enumerate(_rows_of(rows, 'categories', wrong)):
        name, key = _text(row.get('name')), _id(row.get('id'))
        notes.check(number, id=key is not None, name=bool(name))
        ids.append(key)
        names.append(name)
    chosen = [row for row, name in enumerate(names) if name in classes]
    label_of = {ids[row]: label for label, row in enumerate(chosen)}
    labels = np.array([label_of.get(key, -1) for key in ids], np.int64)
    return Categories(ids, names, labels, [])


def _no_annotations(count: int) -> Annotations:
    """Return as many annotations of which nothing is known."""
    return Annotations(
        ids=[],
        image_ids=[],
        category_ids=[],
        images=np.full(count, -1),
        categories=np.full(count, -1),
        labels=np.full(count, -1),
        boxes=np.full((count, 4), np.nan),
        areas=np.full(count, np.nan),
        crowd=np.zeros(count, np.int8),
        ignored=np.zeros(count, bool),
        masks=np.zeros(count, np.int8),
        coded=np.zeros(count, bool),
        fails=np.zeros(count, bool),
        mask_boxes=np.full((count, 4), np.nan),
        mask_areas=np.full(count, np.nan),
        twins=[],
    )


def _annotations(
    rows: _Rows,
    images: Images,
    categories: Categories,
    wrong: dict[tuple[str, str], list[int]],
) -> Annotations:
    """Read annotations."""
    table = _no_annotations(len(rows))
    notes = _Notes('annotations', wrong)
    image_of, category_of = _index(images.ids), _index(categories.ids)
    sizes = _mask_sizes(images)
    for number, row in enumerate(_rows_of(rows, 'annotations', wrong)):
        keys = [_id(row.get(k)) for k in ('id', 'image_id', 'category_id')]
        for known, key in zip(
            (table.ids, table.image_ids, table.category_ids),
            keys,
            strict=True,
        ):
            known.append(key)
        image = image_of.get(keys[1], -1)
        table.images[number] = image
        table.categories[number] = category_of.get(keys[2], -1)
        table.boxes[number] = _box(row.get('bbox'))
        table.areas[number] = _number(row.get('area'))
        table.crowd[number] = _crowd(row)
        table.ignored[number] = ignored = bool(row.get('ignore'))
        notes.check(
            number,
            id=keys[0] is not None,
            image_id='image_id' in row
            and isinstance(row['image_id'], Hashable),
            category_id='category_id' in row
            and isinstance(row['category_id'], Hashable),
            bbox=ignored or bool(np.isfinite(table.boxes[number]).all()),
            area=ignored or math.isfinite(table.areas[number]),
        )
        size = sizes[image] if image >= 0 else None
        _set_mask(table, number, look_at_mask(row.get('segmentation'), size))
    inside = table.categories >= 0
    table.labels[inside] = categories.labels[table.categories[inside]]
    return table


def _mask_sizes(images: Images) -> list[tuple[int, int] | None]:
    """Return height and width of masks: of the file where it is known."""
    known = np.where(np.isnan(images.files), images.sizes, images.files)
    return [
        (int(height), int(width))
        if np.isfinite((width, height)).all()
        else None
        for width, height in known
    ]


def _box(value: Any) -> list[float]:
    """Return a box; NaN if it is none."""
    if not isinstance(value, list) or len(value) != 4:
        return [math.nan] * 4
    return [_number(each) for each in value]


def _crowd(row: dict[str, Any]) -> int:
    """Return whether an annotation is a crowd."""
    value = row.get('iscrowd', NO_CROWD)
    if value is NO_CROWD or value in (0, 1):
        return int(value)
    # MMDet takes all else that is not empty for 1.
    return ODD_CROWD if value else NO_CROWD


def _set_mask(table: Annotations, number: int, look: MaskLook) -> None:
    """Note what was seen of a mask."""
    table.masks[number] = look.mask
    table.coded[number] = look.code
    table.fails[number] = look.fails
    table.mask_areas[number] = look.area
    if look.box is not None:
        table.mask_boxes[number] = look.box


def _health(
    images: Images, categories: Categories, annotations: Annotations
) -> tuple[list[int], list[int]]:
    """Ask hotcoco what it finds right.

    It gets whole rows alone, which it knows by their numbers: of others it
    raises, or writes to the terminal. Its check of boxes outside the image
    takes rounding for a fault, and it has none of masks.

    Returns:
        Rows of annotations that are almost the same, and of categories
        without any.
    """
    rows = np.flatnonzero(
        (annotations.images >= 0)
        & (annotations.categories >= 0)
        & np.isfinite(annotations.boxes).all(axis=1)
    )
    try:
        file = COCO.from_arrays(
            [
                {'id': row, 'width': 1, 'height': 1, 'file_name': ''}
                for row in range(len(images.ids))
            ],
            [
                {'id': row, 'name': str(row)}
                for row in range(len(categories.ids))
            ],
            annotations.images[rows],
            annotations.categories[rows],
            annotations.boxes[rows],
            ids=rows,
        )
        warnings = file.healthcheck()['warnings']
    # Its panics are no errors to Python, but end the run as well.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | MemoryError | SystemExit):
            raise
        return [], []
    found = {each['code']: sorted(each['affected_ids']) for each in warnings}
    return (
        found.get('near_duplicate', []),
        found.get('zero_instance_category', []),
    )
