"""Instances of nails, from the COCO files that the converter writes."""

import os
from typing import Any

import msgspec
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS

from mmseg_ext.datasets.checks import check_keys, expand_paths, read_coco
from mmseg_ext.formats.coco import CocoTraining, Segmentation, check_mask
from mmseg_ext.formats.json_files import decode_json
from mmseg_ext.labels.nails import NAILS
from mmseg_ext.utils.files import read_file

__all__ = ['NailDataset']

_CONVERT = 'write it with mmseg-ext convert nails'
_EXPECTED = f'a COCO file of nails: {_CONVERT}'


class _Coco(COCO):
    """MMDet's reader, for all that the project's own reads, as with a BOM."""

    def __init__(self, annotation_file: str) -> None:
        super().__init__()
        try:
            self.dataset = decode_json(read_file(annotation_file, None), dict)
        except ValueError as error:
            raise ValueError(
                f'{annotation_file} is no COCO file: {error}'
            ) from None
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


@DATASETS.register_module()
class NailDataset(CocoDataset):
    """Photographs of hands with one instance for each nail.

    ``ann_file`` is a COCO file as ``mmseg-ext convert nails``
    writes it, with a category ``nail``. Unlike its base class, which finds no
    instances then, it refuses a file without that category.

    Args:
        ann_file: The COCO file, relative to ``data_root``.
        data_prefix: ``img``, the folder that file names are relative to; by
            default the data root.
        **kwargs: As :class:`mmdet.datasets.CocoDataset`: ``data_root``,
            ``metainfo``, ``pipeline``, ``filter_cfg``, ``backend_args``... In
            paths ``~`` is the user's folder.

    Raises:
        FileNotFoundError: The COCO file, the folder or one of the first
            images is missing.
        TypeError: An argument is unknown, or ``data_prefix`` no dictionary.
        ValueError: ``data_prefix``, ``filter_cfg`` or ``metainfo`` has a
            misspelt key, the COCO file is no JSON of that form, lists no
            images, has no category for a class, a ``file_name`` leaves its
            folder, or a mask is broken or not of the size of its image.
    """

    COCOAPI = _Coco
    METAINFO = {
        'classes': tuple(NAILS),
        'palette': list(NAILS.values()),
    }

    def __init__(
        self,
        ann_file: str = '',
        data_prefix: dict | None = None,
        **kwargs: Any,
    ) -> None:
        check_keys(
            type(self),
            {'data_prefix': data_prefix, **kwargs},
            data_prefix=('img', 'seg'),
            filter_cfg=('filter_empty_gt', 'min_size'),
        )
        options = {
            'ann_file': ann_file,
            'data_prefix': {'img': '', **(data_prefix or {})},
            **kwargs,
        }
        super().__init__(**expand_paths(options))

    def load_data_list(self) -> list[dict]:
        """Read images and instances, in the order of ``ann_file``."""
        coco, paths = read_coco(self, 'img', CocoTraining, _EXPECTED)
        found = [category.name for category in coco.categories]
        for name in self.metainfo['classes']:
            if name not in found:
                raise ValueError(
                    f'ann_file {self.ann_file} has no category {name!r}, only '
                    f'{found}: name the categories in all data sets with '
                    "metainfo=dict(classes=('...',)); a file of hands is "
                    'written by mmseg-ext convert nails'
                )
        names = [
            os.path.join(self.data_prefix['img'], image.file_name)
            for image in coco.images
        ]
        path_of = dict(zip(names, paths, strict=True))
        images = super().load_data_list()
        for image in images:
            image['img_path'] = path_of[image['img_path']]
            try:
                _check_masks(image)
            except ValueError as error:
                raise ValueError(
                    f'ann_file {self.ann_file}: image {image["img_path"]}: '
                    f'{error}'
                ) from None
        return images


def _check_masks(image: dict[str, Any]) -> None:
    """Check the masks of an image: pycocotools crashes on broken ones."""
    size = image['height'], image['width']
    for instance in image['instances']:
        mask = instance.get('mask')
        check_mask(msgspec.convert(mask, Segmentation), size)
