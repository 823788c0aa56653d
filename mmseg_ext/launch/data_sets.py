"""The images and labels of a data set that a config names."""

import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from mmengine.config import Config
from mmengine.fileio import get
from mmengine.registry import DATASETS, DefaultScope

from mmseg_ext.engine.label_checks import LabelPlace, leaves, read_label
from mmseg_ext.formats.coco import (
    Annotation,
    Category,
    CocoFile,
    CocoImage,
    MaskCode,
    Segmentation,
)
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.formats.image_facts import LabeledImage
from mmseg_ext.formats.mask_folders import LabeledSet
from mmseg_ext.launch.configs import (
    load_config,
    require_keys,
    scope_of,
)
from mmseg_ext.launch.errors import MISFITS, is_empty_set, why_not_built
from mmseg_ext.launch.noise import Quiet
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'SPLITS',
    'CategoryFault',
    'InstanceSet',
    'build_data_set',
    'category_fault',
    'labels_of_config',
    'why_empty',
]

#: The data sets that a config may have.
SPLITS = ('train', 'val', 'test')


class InstanceSet(NamedTuple):
    """Images with instances.

    Attributes:
        name: Of the set, for files about it.
        coco: Images, instances and classes; boxes in pixels.
        paths: The files of the images.
    """

    name: str
    coco: CocoFile
    paths: list[Path]


class _Named(msgspec.Struct):
    """A category of a COCO file."""

    id: int
    name: str


class _Categories(msgspec.Struct):
    """A COCO file; the rest of it is passed over."""

    categories: list[_Named]


class CategoryFault(NamedTuple):
    """How classes differ from a COCO file's categories.

    Attributes:
        text: A line.
        lacking: Whether the file has no category for a class, so that the
            evaluation fails; otherwise their order differs.
    """

    text: str
    lacking: bool


def category_fault(dataset: Any) -> CategoryFault | None:
    """Return how the classes of a data set differ from the categories.

    MMDet passes over classes that the file lacks, and numbers the others in
    the order of the file, whatever that of the config is.

    Args:
        dataset: A built data set without others in it.

    Returns:
        The fault; None if nothing is wrong, or it is of another kind.
    """
    ids = getattr(dataset, 'cat_ids', None)
    if ids is None:
        return None
    file = dataset.ann_file
    try:
        data = get(file, getattr(dataset, 'backend_args', None))
        categories = msgspec.json.decode(data, type=_Categories).categories
    # What is wrong with the file is told elsewhere.
    except (OSError, ValueError):
        return None
    classes = dataset.metainfo.get('classes') or ()
    classes = [classes] if isinstance(classes, str) else [*classes]
    found = [category for category in categories if category.name in classes]
    # Other kinds of data sets have numbers of their own.
    if [category.id for category in found] != list(ids):
        return None
    names = [category.name for category in found]
    if lacking := [name for name in classes if name not in names]:
        every = [category.name for category in categories]
        return CategoryFault(
            f'{file} has no category {_quoted(lacking)}, of the classes of '
            f'the config ({_quoted(classes)}), but {_quoted(every)}: give '
            'metainfo=dict(classes=(...)) these names, letter by letter; '
            "a single one with a comma, ('name',)",
            lacking=True,
        )
    if names != classes:
        return CategoryFault(
            f'{file} has the categories {_quoted(names)} in this order, in '
            'which MMDet numbers them, and the config has the classes '
            f'{_quoted(classes)}, so that they are mistaken for one another: '
            'give metainfo=dict(classes=(...)) the order of the file',
            lacking=False,
        )
    return None


def _quoted(names: Iterable[str]) -> str:
    return listing([repr(printable(name)) for name in names])


def why_empty(error: BaseException) -> str:
    """Return what is known of why a data set is empty, as a clause.

    Args:
        error: One of which :func:`~mmseg_ext.launch.errors.is_empty_set` says
            so.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == '_serialize_data':
            fault = category_fault(frame.f_locals['self'])
            return f'; {fault.text}' if fault else ''
    return ''


def build_data_set(cfg: Config, split: str = 'train') -> Any:
    """Return a data set of a config, built.

    Args:
        cfg: The config.
        split: Which one, of :data:`SPLITS`.

    Raises:
        OSError: A file or folder of it is missing.
        ValueError: The config has none, or it cannot be built, or is empty.
    """
    key = f'{split}_dataloader'
    require_keys(cfg, key)
    with DefaultScope.overwrite_default_scope(scope_of(cfg)):
        try:
            return DATASETS.build(cfg[key].dataset)
        except MISFITS as error:
            if isinstance(error, OSError):
                raise
            if is_empty_set(error):
                raise ValueError(
                    f'{key}.dataset is empty: expected images with labels'
                    + why_empty(error)
                ) from error
            reason = why_not_built(cfg, error)
            if reason is None:
                raise
            raise ValueError(reason) from error


def labels_of_config(
    config: str,
    split: str = 'train',
    cfg_options: dict[str, Any] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> LabeledSet | InstanceSet:
    """Return the images of a config with their labels, before augmentation.

    Labels are those that the data set reads: with its class list,
    ``label_map`` and ``reduce_zero_label``, or without the instances that it
    leaves out. What wrappers repeat is there once.

    Args:
        config: Path or name of a config of MMSeg or MMDet.
        split: Which of its data sets, of :data:`SPLITS`.
        cfg_options: Entries to change in the config.
        on_note: Called with a line for each of these that the config does not
            have yet.

    Returns:
        Label maps of MMSeg, instances of MMDet.

    Raises:
        OSError: A file or folder of the data set is missing.
        ValueError: The config is wrong, or has no such data set.
    """
    require('split', split, split in SPLITS, ', '.join(SPLITS))
    cfg = load_config(config, None, cfg_options, on_note, on_note)
    name = f'{Path(cfg.filename).stem}_{split}'
    # What users print is no name of a sheet.
    with redirect_stdout(sys.stderr), Quiet()():
        dataset = build_data_set(cfg, split)
    parts = leaves(dataset)
    if scope_of(cfg) == 'mmdet':
        return _instances(name, parts, parts[0].metainfo.get('classes') or ())
    info = parts[0].metainfo
    names, palette = info.get('classes'), info.get('palette')
    ignored = {getattr(part, 'ignore_index', IGNORE_INDEX) for part in parts}
    return LabeledSet(
        name,
        [
            _labeled(part, index)
            for part in parts
            for index in range(len(part))
        ],
        names,
        palette if palette and len(palette) == len(names or ()) else None,
        sorted(ignored | {IGNORE_INDEX}),
        folders=[
            Path(folder)
            for part in parts
            if not getattr(part, 'ann_file', None)
            for folder in getattr(part, 'data_prefix', {}).values()
            if folder
        ],
    )


def _labeled(part: Any, index: int) -> LabeledImage:
    """Return an image of a data set of MMSeg."""
    info = part.get_data_info(index)
    label = info.get('seg_map_path')
    return LabeledImage(
        str(info['img_path']),
        Path(info['img_path']),
        partial(_read, LabelPlace(part, index, whole=False)),
        Path(label) if label else None,
    )


def _read(place: LabelPlace) -> tuple[np.ndarray, None]:
    """Return a label as its data set's loader gives it."""
    return read_label(place).label, None


def _instances(name: str, parts: list[Any], classes: Any) -> InstanceSet:
    """Return the instances of data sets of MMDet."""
    paths: list[Path] = []
    images: list[CocoImage] = []
    annotations: list[Annotation] = []
    for part in parts:
        for index in range(len(part)):
            info = part.get_data_info(index)
            number = len(images)
            paths.append(Path(info['img_path']))
            images.append(
                CocoImage(
                    file_name=str(info['img_path']),
                    id=number,
                    width=info.get('width'),
                    height=info.get('height'),
                )
            )
            annotations += [
                _annotation(number, instance)
                for instance in info.get('instances') or ()
            ]
    categories = [Category(id=k, name=n) for k, n in enumerate(classes)]
    return InstanceSet(name, CocoFile(images, annotations, categories), paths)


def _annotation(number: int, instance: dict[str, Any]) -> Annotation:
    """Return an instance of MMDet as COCO has it."""
    left, top, right, bottom = map(float, instance['bbox'])
    mask: Segmentation = None
    match instance.get('mask'):
        case {'size': [height, width], 'counts': counts}:
            if isinstance(counts, bytes):
                counts = counts.decode('ascii')
            mask = MaskCode((int(height), int(width)), counts)
        case list(polygons):
            mask = polygons
    return Annotation(
        image_id=number,
        category_id=int(instance['bbox_label']),
        bbox=[left, top, right - left, bottom - top],
        segmentation=mask,
    )
