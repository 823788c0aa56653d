"""What reads files of others, each with a small set that it reads."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from mmengine.registry import init_default_scope

from mmseg_ext.checkpoint import check_checkpoint, read_checkpoint
from mmseg_ext.converters import (
    camvid,
    cityscapes,
    idd,
    labelme,
    nails,
    nuimages,
)
from mmseg_ext.converters.photographs import photograph_size
from mmseg_ext.datasets.camvid import CamVid
from mmseg_ext.datasets.nails import NailDataset
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.images import decode_image
from mmseg_ext.visualization.coco_sheets import draw_coco_file
from mmseg_ext.visualization.contact_sheets import SheetOptions
from mmseg_ext.visualization.curves import plot_work_dir

__all__ = ['READERS', 'Reader']


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        source: The sample it reads a part of.
        files: Patterns of that part.
        damaged: Pattern of the files that are damaged.
        form: Their format, see ``mutations.FORMATS``.
        read: Reads the set, given its folder, the damaged file, a folder to
            write, and whether invalid files are to be left out.
        skips: Whether it can leave out such a file.
        most: Number of files of each pattern.
    """

    source: str
    files: tuple[str, ...]
    damaged: str
    form: str
    read: Callable[[Path, Path, Path, bool], object]
    skips: bool = False
    most: int = 2

    def copy(self, data: Path, root: Path) -> None:
        """Copy its set from the samples."""
        source = data / self.source
        if source.is_file():
            root.mkdir(parents=True)
            shutil.copy(source, root)
            return
        for pattern in self.files:
            paths = (path for path in source.glob(pattern) if path.is_file())
            for path in sorted(paths)[: self.most]:
                target = root / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)

    def choices(self, root: Path) -> list[Path]:
        """List the files of the set that are damaged."""
        return sorted(root.glob(self.damaged))


def _convert(module: ModuleType) -> Callable[[Path, Path, Path, bool], object]:
    def read(root: Path, path: Path, out: Path, skip: bool) -> None:
        module.convert(root, out, skip_invalid=skip, progress=False)

    return read


def _convert_idd(root: Path, path: Path, out: Path, skip: bool) -> None:
    idd.convert([root], out, skip_invalid=skip, progress=False)


def _header(root: Path, path: Path, out: Path, skip: bool) -> None:
    photograph_size(path)


def _pixels(root: Path, path: Path, out: Path, skip: bool) -> None:
    decode_image(read_file(path), str(path))


def _sheets(root: Path, path: Path, out: Path, skip: bool) -> None:
    draw_coco_file(path, out, root, SheetOptions(num=1))


def _nail_dataset(root: Path, path: Path, out: Path, skip: bool) -> None:
    init_default_scope('mmdet')
    NailDataset(str(path), data_root=str(root), pipeline=[])


def _list_of_stems(root: Path, path: Path, out: Path, skip: bool) -> None:
    init_default_scope('mmseg')
    CamVid(data_root=str(root), ann_file=str(path), pipeline=[])


def _plot(root: Path, path: Path, out: Path, skip: bool) -> None:
    plot_work_dir(root, out)


def _checkpoint(root: Path, path: Path, out: Path, skip: bool) -> None:
    read_checkpoint(path)
    check_checkpoint(torch.nn.Linear(3, 2), path, resume=True)


_CAMVID = 'train/*', 'train_labels/*', 'class_dict.csv'
_CITYSCAPES = (
    *('leftImg8bit/train/*/*', 'leftImg8bit/val/*/*'),
    *('gtFine/train/*/*_instanceIds.png', 'gtFine/val/*/*_instanceIds.png'),
)
_IDD = (
    *('leftImg8bit/train/*/*', 'leftImg8bit/val/*/*'),
    *('gtFine/train/*/*_polygons.json', 'gtFine/val/*/*_polygons.json'),
)
_NAILS = 'Images/*/*', 'Masks/*/*'
_COCO = 'train.json', 'Images/*/*'
_STEMS = (*_CAMVID, 'list.txt')

READERS = {
    'image header': Reader('camvid', ('train/*',), 'train/*', 'png', _header),
    'JPEG header': Reader('labelme', ('0/*',), '0/*.jpg', 'bytes', _header),
    'image': Reader('camvid', ('train/*',), 'train/*', 'png', _pixels),
    'JPEG': Reader('labelme', ('0/*',), '0/*.jpg', 'bytes', _pixels),
    'color mask': Reader(
        *('camvid', _CAMVID, 'train_labels/*', 'png', _convert(camvid), True)
    ),
    'class_dict.csv': Reader(
        *('camvid', _CAMVID, 'class_dict.csv', 'text', _convert(camvid))
    ),
    'ann_file': Reader('stems', _STEMS, 'list.txt', 'text', _list_of_stems),
    'instance ids': Reader(
        *('cityscapes', _CITYSCAPES, 'gtFine/*/*/*.png', 'png'),
        *(_convert(cityscapes), True),
    ),
    # Of val there may be one only, without which there is no such split.
    'IDD polygons': Reader(
        *('idd/IDD_Segmentation', _IDD, 'gtFine/train/*/*.json', 'json'),
        *(_convert_idd, True),
    ),
    'IDD image': Reader(
        *('idd/IDD_Segmentation', _IDD, 'leftImg8bit/train/*/*', 'png'),
        *(_convert_idd, True),
    ),
    'labelme JSON': Reader(
        *('labelme', ('0/*', '1/*'), '*/*.json', 'json'),
        *(_convert(labelme), True),
    ),
    # With one left out, there are still some for each split.
    'nail mask': Reader(
        *('nails', _NAILS, 'Masks/*/*', 'png', _convert(nails), True, 6)
    ),
    'nail image': Reader(
        *('nails', _NAILS, 'Images/*/*', 'png', _convert(nails), True, 6)
    ),
    'nuImages table': Reader(
        *('nuimages', ('v1.0-val/*.json',), 'v1.0-val/*.json', 'json'),
        _convert(nuimages),
        most=99,  # all its tables
    ),
    'COCO sheets': Reader(*('browse', _COCO, 'train.json', 'json', _sheets)),
    'COCO data set': Reader(
        *('browse', _COCO, 'train.json', 'json', _nail_dataset)
    ),
    'train log': Reader(
        *('logs', ('*/vis_data/*',), '*/vis_data/scalars.json'),
        *('json lines', _plot),
    ),
    'test log': Reader('logs', ('*/*.json',), '*/*.json', 'json', _plot),
    'checkpoint': Reader(
        'checkpoint.pth', (), 'checkpoint.pth', 'checkpoint', _checkpoint
    ),
}
