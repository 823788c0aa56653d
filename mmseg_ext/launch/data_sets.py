"""The images and labels of a data set that a config names."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from mmseg_ext.engine.label_checks import LabelPlace, leaves, read_label
from mmseg_ext.formats.coco import (
    Annotation,
    Category,
    CocoFile,
    CocoHeader,
    CocoImage,
    MaskCode,
    Segmentation,
    decode_coco,
)
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.formats.image_facts import LabeledImage
from mmseg_ext.formats.mask_folders import LabeledSet
from mmseg_ext.launch.configs import (
    data_sets,
    load_config,
    require_keys,
    scope_of,
)
from mmseg_ext.launch.errors import MISFITS, is_empty_set, why_not_built
from mmseg_ext.launch.noise import Quiet
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.text import listing

__all__ = ['SPLITS', 'InstanceSet', 'build_data_set', 'labels_of_config']

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
                    + _other_classes(cfg[key])
                ) from error
            reason = why_not_built(cfg, error)
            if reason is None:
                raise
            raise ValueError(reason) from error


def _other_classes(cfg: ConfigDict) -> str:
    """Say that a COCO file has none of the classes, if that is so."""
    for leaf in data_sets(cfg):
        # Of another form, or another data set.
        with suppress(AttributeError, LookupError, OSError, ValueError):
            path = Path(leaf.get('data_root') or '', leaf.ann_file)
            coco = decode_coco(read_file(path, None), str(path), CocoHeader)
            names = [category.name for category in coco.categories]
            with DATASETS.switch_scope_and_registry(None) as registry:
                known = registry.get(leaf.type).METAINFO
            given = leaf.get('metainfo') or known
            if not set(names).intersection(given['classes']):
                return (
                    f'; its classes are {listing(given["classes"])}, and '
                    f'{path} has the categories {listing(names)}: give '
                    'metainfo.classes of the data set their names'
                )
    return ''


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
