"""Instances of nails, from the COCO files that the converter writes."""

import os

import mmengine.fileio as fileio
import msgspec
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from mmseg_ext.labels.nails import NAILS
from mmseg_ext.utils.files import path_inside

_CONVERT = 'write it with tools/dataset_converters/nails.py'


class _Image(msgspec.Struct):
    file_name: str


class _Category(msgspec.Struct):
    name: str


class _CocoFile(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]


@DATASETS.register_module()
class NailDataset(CocoDataset):
    """Photographs of hands with one instance for each nail.

    ``ann_file`` is a COCO file as ``tools/dataset_converters/nails.py``
    writes it, with a category ``nail``. Unlike its base class, which finds no
    instances then, it refuses a file without that category.

    Args:
        ann_file: The COCO file, relative to ``data_root``.
        data_prefix: ``img``, the folder that file names are relative to.
        **kwargs: As :class:`mmdet.datasets.CocoDataset`: ``data_root``,
            ``metainfo``, ``pipeline``, ``filter_cfg``...

    Raises:
        FileNotFoundError: The COCO file is missing.
        ValueError: The COCO file is no JSON of that form, lists no images,
            has no category for a class, or a ``file_name`` leaves its folder.
    """

    METAINFO = {
        'classes': tuple(NAILS),
        'palette': list(NAILS.values()),
    }

    def load_data_list(self) -> list[dict]:
        """Read images and instances.

        Returns:
            A dict for each image, in the order of ``ann_file``.
        """
        self._check_file()
        return super().load_data_list()

    def _check_file(self) -> None:
        """Check what the base class takes on trust."""
        path = self.ann_file
        if not path or not fileio.isfile(path, self.backend_args):
            raise FileNotFoundError(
                f'ann_file {path!r} is missing; expected a COCO file of '
                f'nails: {_CONVERT}'
            )
        try:
            coco = msgspec.json.decode(
                fileio.get(path, self.backend_args), type=_CocoFile
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f'ann_file {path} is no COCO file of nails ({error}): '
                f'{_CONVERT}'
            ) from None
        if not coco.images:
            raise ValueError(f'ann_file {path} lists no images')
        names = [category.name for category in coco.categories]
        for name in self.metainfo['classes']:
            if name not in names:
                raise ValueError(
                    f'ann_file {path} has no category {name!r}, only {names}: '
                    f'{_CONVERT}, or name its category in '
                    "metainfo=dict(classes=('...',))"
                )
        root = os.path.abspath(self.data_prefix.get('img') or '')
        for image in coco.images:
            try:
                path_inside(root, image.file_name)
            except ValueError as error:
                raise ValueError(f'ann_file {path}: {error}') from None
