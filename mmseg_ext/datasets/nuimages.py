"""nuImages, from the files that the converter writes."""

import os
from typing import Annotated, Any

import mmengine.fileio as fileio
import msgspec
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from mmseg_ext.labels.nuimages import NUIMAGES
from mmseg_ext.utils.files import path_inside

#: How many of the first images and masks are looked for on disk. To look for
#: all of them takes minutes on a network drive; loading names the others.
_CHECKED = 3

_CONVERT = 'write it with tools/dataset_converters/nuimages.py'


class _Image(msgspec.Struct):
    file_name: Annotated[str, msgspec.Meta(min_length=1)]


class _CocoFile(msgspec.Struct):
    images: list[_Image]


@DATASETS.register_module()
class NuImagesDataset(BaseSegDataset):
    """nuImages: street scenes with 25 classes in index masks.

    ``ann_file`` is a COCO file that ``tools/dataset_converters/nuimages.py``
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
        test_mode: Do without labels where the masks are not there, as in
            v1.0-test.
        **kwargs: As :class:`mmseg.datasets.BaseSegDataset`: ``data_root``,
            ``metainfo``, ``pipeline``, ``indices``...

    Raises:
        FileNotFoundError: The COCO file, or one of the first images or masks
            is missing.
        ValueError: The COCO file is no JSON of that form, lists no images, or
            a ``file_name`` leaves its folder.
    """

    METAINFO = {
        'classes': tuple(NUIMAGES),
        'palette': [list(color) for color in NUIMAGES.values()],
    }

    def __init__(
        self,
        ann_file: str = '',
        data_prefix: dict | None = None,
        test_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        if data_prefix is None:
            data_prefix = {'seg_map_path': 'annotations/semantic_masks'}
        super().__init__(
            ann_file=ann_file,
            data_prefix={'img_path': '', **data_prefix},
            test_mode=test_mode,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Pair images and masks by name.

        Returns:
            A dict for each image, in the order of ``ann_file``.
        """
        names = self._read_names()
        images = [
            os.path.join(self.data_prefix['img_path'], name) for name in names
        ]
        if missing := self._first_missing(images):
            raise FileNotFoundError(
                f'image {missing} of {self.ann_file} is missing; '
                f"data_root={self.data_root!r} and data_prefix['img_path'] "
                'say where it should be'
            )
        masks = self._masks(names)
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

    def _read_names(self) -> list[str]:
        """Read the file names of the images."""
        path = self.ann_file
        if not path or not fileio.isfile(path, self.backend_args):
            raise FileNotFoundError(
                f'ann_file {path!r} is missing; expected a COCO file of '
                f'nuImages: {_CONVERT}'
            )
        try:
            coco = msgspec.json.decode(
                fileio.get(path, self.backend_args), type=_CocoFile
            )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f'ann_file {path} is no COCO file of nuImages ({error}): '
                f'{_CONVERT}'
            ) from None
        names = [image.file_name for image in coco.images]
        if not names:
            raise ValueError(f'ann_file {path} lists no images')
        root = os.path.abspath(self.data_prefix['img_path'])
        for name in names:
            try:
                path_inside(root, name)
            except ValueError as error:
                raise ValueError(f'ann_file {path}: {error}') from None
        return names

    def _masks(self, names: list[str]) -> list[str]:
        """Give the paths of the masks; none where there are no labels."""
        folder = self.data_prefix.get('seg_map_path')
        if folder is None:
            return []
        masks = [
            os.path.join(
                folder, f'{os.path.splitext(name)[0]}{self.seg_map_suffix}'
            )
            for name in names
        ]
        missing = self._first_missing(masks)
        if missing and self.test_mode:
            return []
        if missing:
            raise FileNotFoundError(
                f'mask {missing} of {self.ann_file} is missing: {_CONVERT}, '
                'or leave seg_map_path out of data_prefix to do without '
                'labels'
            )
        return masks

    def _first_missing(self, paths: list[str]) -> str | None:
        """Give the first of the first files that is not there, if any."""
        for path in paths[:_CHECKED]:
            if not fileio.isfile(path, self.backend_args):
                return path
        return None
