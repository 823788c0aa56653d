"""CamVid, and any data set of color masks with a ``class_dict.csv``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg.registry import DATASETS

from mmseg_ext.datasets.paired import PairedDataset
from mmseg_ext.formats.color_masks import find_class_dict, load_classes
from mmseg_ext.labels.camvid import CAMVID32


@DATASETS.register_module()
class CamVid(PairedDataset):
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
        img_suffix: End of an image's name, or several ends.
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
        img_suffix: str | Sequence[str] = '.png',
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
