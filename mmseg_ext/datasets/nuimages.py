"""nuImages, from the files that the converter writes."""

import os
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from mmseg_ext.datasets.checks import (
    SEG_FOLDERS,
    check_keys,
    expand_paths,
    first_missing,
    locate,
    read_coco,
)
from mmseg_ext.formats.coco import CocoImages
from mmseg_ext.labels.nuimages import NUIMAGES

__all__ = ['NuImagesDataset']

_CONVERT = 'write it with mmseg-ext convert nuimages'
_EXPECTED = f'a COCO file of nuImages: {_CONVERT}'


@DATASETS.register_module()
class NuImagesDataset(BaseSegDataset):
    """nuImages: street scenes with 25 classes in index masks.

    ``ann_file`` is a COCO file that ``mmseg-ext convert nuimages``
    wrote, for a version or for the 2,400 images of ``val2400``; one of
    OpenMMLab's tutorial does as well. Its ``images`` are read and their order
    is kept; the instances, nearly all of the file, are passed over. The mask
    of ``samples/X.jpg`` is ``samples/X.png`` in the folder of the masks.

    Args:
        ann_file: The COCO file, relative to ``data_root``.
        data_prefix: ``img_path`` and ``seg_map_path``, the folders that
            images and masks are relative to; without ``seg_map_path`` there
            are no labels. By default the data root and
            ``annotations/semantic_masks``.
        **kwargs: As :class:`mmseg.datasets.BaseSegDataset`: ``data_root``,
            ``metainfo``, ``pipeline``, ``indices``, ``backend_args``... With
            ``test_mode`` there are no labels where the masks are not there,
            as in v1.0-test. In paths ``~`` is the user's folder.

    Raises:
        FileNotFoundError: The COCO file, the folder or one of the first
            images or masks is missing.
        TypeError: An argument is unknown, or ``data_prefix`` no dictionary.
        ValueError: ``data_prefix`` or ``metainfo`` has a misspelt key, the
            COCO file is no JSON of that form, lists no images, or a
            ``file_name`` leaves its folder.
    """

    METAINFO = {
        'classes': tuple(NUIMAGES),
        'palette': [list(color) for color in NUIMAGES.values()],
    }

    def __init__(
        self,
        ann_file: str = '',
        data_prefix: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if data_prefix is None:
            data_prefix = {'seg_map_path': 'annotations/semantic_masks'}
        given = {'data_prefix': data_prefix, **kwargs}
        check_keys(type(self), given, data_prefix=SEG_FOLDERS)
        options = {
            'ann_file': ann_file,
            'data_prefix': {'img_path': '', **data_prefix},
            **kwargs,
        }
        super().__init__(**expand_paths(options))

    def load_data_list(self) -> list[dict]:
        """Pair images and masks by name, in the order of ``ann_file``."""
        coco, images = read_coco(self, 'img_path', CocoImages, _EXPECTED)
        masks = self._masks([image.file_name for image in coco.images])
        return [
            {
                'img_path': image,
                'label_map': self.label_map,
                'reduce_zero_label': self.reduce_zero_label,
                'seg_fields': [],
            }
            | ({'seg_map_path': masks[index]} if masks else {})
            for index, image in enumerate(images)
        ]

    def _masks(self, names: list[str]) -> list[str]:
        """Return the paths of the masks; none where there are no labels."""
        folder = self.data_prefix.get('seg_map_path')
        if folder is None:
            return []
        masks = locate(
            folder,
            [
                f'{os.path.splitext(name)[0]}{self.seg_map_suffix}'
                for name in names
            ],
            self.backend_args,
        )
        missing = first_missing(masks, self.backend_args)
        if missing and self.test_mode:
            return []
        if missing:
            raise FileNotFoundError(
                f'mask {missing} of {self.ann_file} is missing: {_CONVERT}, '
                'or leave seg_map_path out of data_prefix to do without '
                'labels'
            )
        return masks
