"""CamVid, the preset of a data set of color masks."""

from collections.abc import Sequence
from typing import Any

from mmseg.registry import DATASETS

from mmseg_ext.datasets.color_masks import ColorMaskDataset
from mmseg_ext.labels.camvid import CAMVID32

__all__ = ['CamVid']


@DATASETS.register_module()
class CamVid(ColorMaskDataset):
    """CamVid: street scenes with RGB masks.

    Expects the 32-class release: image ``X.png``, label ``X_L.png`` in RGB,
    and ``class_dict.csv`` in the data root. Without one the classes are the
    32 of the release, and masks have to be in exactly their colors. Index
    masks written by
    ``mmseg-ext convert camvid`` are read by pointing
    ``seg_map_path`` at them.

    Arguments and errors are those of :class:`ColorMaskDataset`.

    Args:
        grouping: ``'camvid11'`` merges the classes into the 11 of the
            benchmark; None takes the list as it is.
        data_prefix: By default ``train`` and ``train_labels``.
        img_suffix: End of an image's name, or several ends.
        seg_map_suffix: End of a label's name.
        **kwargs: The others.
    """

    METAINFO = {
        'classes': tuple(CAMVID32),
        'palette': [list(color) for color in CAMVID32.values()],
    }

    _OF_A_RELEASE = True

    def __init__(
        self,
        grouping: str | None = None,
        data_prefix: dict | None = None,
        img_suffix: str | Sequence[str] = '.png',
        seg_map_suffix: str = '_L.png',
        **kwargs: Any,
    ) -> None:
        super().__init__(
            grouping,
            data_prefix=data_prefix
            or {'img_path': 'train', 'seg_map_path': 'train_labels'},
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            **kwargs,
        )
