"""CamVid, and any data set of color masks with a ``class_dict.csv``."""

import logging
import os
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from mmseg_ext.converters.camvid import load_classes
from mmseg_ext.labels.camvid import CAMVID32
from mmseg_ext.utils.color_masks import find_class_dict
from mmseg_ext.utils.files import path_inside


@DATASETS.register_module()
class CamVid(BaseSegDataset):
    """CamVid: street scenes with RGB masks.

    Expects the 32-class release: image ``X.png``, label ``X_L.png`` in RGB,
    and ``class_dict.csv`` in the data root. Index masks written by
    ``tools/dataset_converters/camvid.py`` are read by pointing
    ``seg_map_path`` at them. Load the labels with ``LoadColorMasks``.

    The class list and palette come from the ``class_dict.csv`` beside the
    label folder, else from the one in the data root, else they are the 32
    classes of the release. Void keeps its place in the list of 32, so that
    the indices are the rows of the file, but its pixels become 255.

    Args:
        grouping: ``'camvid11'`` merges the classes into the 11 of the
            benchmark; None takes the list as it is.
        class_dict: Another CSV file, relative to the data root.
        data_root: Folder that the other paths are relative to.
        data_prefix: ``img_path`` and ``seg_map_path``, the folders of images
            and labels; without ``seg_map_path`` there are no labels.
        img_suffix: End of an image's name.
        seg_map_suffix: End of a label's name.
        **kwargs: As :class:`mmseg.datasets.BaseSegDataset`: ``ann_file`` (a
            list of stems), ``metainfo``, ``pipeline``, ``indices``...

    Raises:
        FileNotFoundError: A folder or listed file is missing, a folder holds
            no images, or an image has no label.
        ValueError: The grouping is unknown or does not fit the class list,
            or the CSV file is not right.
    """

    METAINFO = {
        'classes': tuple(CAMVID32),
        'palette': [list(color) for color in CAMVID32.values()],
    }

    def __init__(
        self,
        grouping: str | None = None,
        class_dict: str | None = None,
        data_root: str | None = None,
        data_prefix: dict | None = None,
        img_suffix: str = '.png',
        seg_map_suffix: str = '_L.png',
        metainfo: dict | None = None,
        **kwargs: Any,
    ) -> None:
        root = Path(data_root or '')
        data_prefix = data_prefix or {
            'img_path': 'train',
            'seg_map_path': 'train_labels',
        }
        labels = data_prefix.get('seg_map_path')
        if class_dict:
            table = root / class_dict
        else:
            folders = [(root / labels).parent] if labels else []
            table = find_class_dict(*folders, root)
        self._classes = load_classes(table, grouping)
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix,
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            metainfo={
                'classes': self._classes.names,
                'palette': [list(color) for color in self._classes.palette],
                **(metainfo or {}),
            },
            **kwargs,
        )

    def get_label_map(self, new_classes: list[str]) -> dict[int, int] | None:
        """Map the classes of the data to those of ``metainfo``.

        MMSeg compares with the class list of the class; here that of the
        instance counts, which the CSV file gives.

        Args:
            new_classes: Class names to use; a part of the data set's.

        Returns:
            Old index to new index or 255; None if nothing changes.
        """
        names = self._classes.names
        if tuple(new_classes) == names:
            return None
        unknown = [name for name in new_classes if name not in names]
        if unknown:
            raise ValueError(
                f'metainfo classes {unknown} are not among {list(names)}'
            )
        new = {name: index for index, name in enumerate(new_classes)}
        return {
            index: new.get(name, self.ignore_index)
            for index, name in enumerate(names)
        }

    def get_data_info(self, idx: int) -> dict:
        """Give paths and class maps of a sample.

        Args:
            idx: Position in the data set.

        Returns:
            MMSeg's data info with ``color_map`` and ``index_map``.
        """
        info = super().get_data_info(idx)
        info['color_map'] = self._classes.color_map
        info['index_map'] = self._classes.index_map
        return info

    def load_data_list(self) -> list[dict]:
        """Pair images and labels by name.

        Returns:
            A dict for each image, sorted by path or as ``ann_file`` lists
            them.
        """
        images = self._folder('img_path')
        labels = self._folder('seg_map_path')
        if images is None:
            raise ValueError(
                f'{type(self).__name__}: data_prefix={self.data_prefix} names '
                'no img_path, the folder of the images'
            )
        stems = self._listed_stems() or self._stems(images, self.img_suffix)
        if not stems:
            raise FileNotFoundError(
                f'{images} holds no *{self.img_suffix} images'
            )
        if labels:
            self._check_pairs(images, labels, set(stems))
        return [
            {
                'img_path': str(images / f'{stem}{self.img_suffix}'),
                'label_map': self.label_map,
                'reduce_zero_label': self.reduce_zero_label,
                'seg_fields': [],
            }
            | (
                {'seg_map_path': str(labels / f'{stem}{self.seg_map_suffix}')}
                if labels
                else {}
            )
            for stem in stems
        ]

    def _folder(self, key: str) -> Path | None:
        """Give one of the folders of ``data_prefix``, which must be there."""
        if not self.data_prefix.get(key):
            return None
        folder = Path(self.data_prefix[key])
        if not folder.is_dir():
            raise FileNotFoundError(
                f'{type(self).__name__}: folder {folder} is missing; '
                f'data_root={self.data_root!r} and data_prefix[{key!r}] say '
                'where it should be'
            )
        return folder

    def _listed_stems(self) -> list[str]:
        """Read the stems in ``ann_file``; none without one."""
        if not self.ann_file:
            return []
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'ann_file {self.ann_file} is missing; expected a text file '
                'with one stem a line'
            )
        lines = Path(self.ann_file).read_text(encoding='utf-8').splitlines()
        stems = [line.strip() for line in lines if line.strip()]
        if not stems:
            raise ValueError(f'ann_file {self.ann_file} lists no stems')
        for stem in stems:
            path_inside(self.data_prefix['img_path'], stem)
        return stems

    def _check_pairs(
        self, images: Path, labels: Path, stems: set[str]
    ) -> None:
        """Say which images and labels have no partner."""
        on_disk = self._stems(images, self.img_suffix)
        labeled = set(self._stems(labels, self.seg_map_suffix))
        for missing, folder, what in (
            (stems - set(on_disk), images, 'listed stem(s) without image'),
            (stems - labeled, labels, 'image(s) without label'),
        ):
            if missing:
                raise FileNotFoundError(
                    f'{len(missing)} {what} in {folder}: {_some(missing)}; '
                    'add the files, or list the stems to use in ann_file'
                )
        alone = labeled - set(on_disk)
        if alone:
            print_log(
                f'{len(alone)} label(s) in {labels} have no image in '
                f'{images} and are not used: {_some(alone)}',
                logger='current',
                level=logging.WARNING,
            )

    def _stems(self, folder: Path, suffix: str) -> list[str]:
        """List the files of a folder that end in ``suffix``, without it."""
        # Hidden files are not data: macOS leaves ._X.png beside X.png.
        names = (
            path.relative_to(folder).as_posix()
            for path in folder.rglob(f'*{suffix}')
            if not path.name.startswith('.')
        )
        # Where both lie in one folder, X_L.png also ends like an image.
        is_label = suffix != self.seg_map_suffix and (
            self.data_prefix.get('seg_map_path')
            == self.data_prefix['img_path']
        )
        return sorted(
            name.removesuffix(suffix)
            for name in names
            if not (is_label and name.endswith(self.seg_map_suffix))
        )


def _some(stems: set[str], limit: int = 10) -> str:
    """Name the first stems of a set."""
    rest = len(stems) - limit
    return ', '.join(sorted(stems)[:limit]) + f' and {rest} more' * (rest > 0)
