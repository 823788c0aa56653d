"""IDD, from the folder that the converter writes."""

from collections.abc import Sequence
from typing import Any

from mmseg.registry import DATASETS

from mmseg_ext.datasets.paired import PairedDataset
from mmseg_ext.labels.idd import IDD_LABELS, IDD_LEVEL3, UNLABELLED

__all__ = ['IDD_Data']

_COLORS = {label.name: label.color for label in IDD_LABELS}


@DATASETS.register_module()
class IDD_Data(PairedDataset):
    """IDD 20K: street scenes of India with the classes of level 3.

    Expects what ``mmseg-ext convert idd`` writes: images of part I
    (PNG) and part II (JPEG) side by side in ``train_img`` and ``val_img``,
    8-bit level-3 ids of the same stems in ``train_label`` and ``val_label``,
    and the stems of each split in ``splits``.

    The class list has 27 names: the 26 classes, whose indices are the level-3
    ids, and ``unlabelled``. The last has no pixels, since those without class
    are 255, which is ignored; leave it out of means with
    ``IoU(exclude=['unlabelled'])``. The palette is that of the release.

    Args:
        data_prefix: ``img_path`` and ``seg_map_path``, the folders of images
            and labels; without ``seg_map_path`` there are no labels. By
            default ``train_img`` and ``train_label``.
        img_suffix: End of an image's name, or several ends.
        seg_map_suffix: End of a label's name.
        **kwargs: As for :class:`PairedDataset`, whose errors it has:
            ``data_root``, ``ann_file`` (a list of stems), ``metainfo``,
            ``pipeline``, ``indices``...
    """

    METAINFO = {
        'classes': (*IDD_LEVEL3, UNLABELLED),
        'palette': [
            list(color)
            for color in (*IDD_LEVEL3.values(), _COLORS['unlabeled'])
        ],
    }

    def __init__(
        self,
        data_prefix: dict | None = None,
        img_suffix: str | Sequence[str] = ('.jpg', '.png'),
        seg_map_suffix: str = '.png',
        **kwargs: Any,
    ) -> None:
        super().__init__(
            data_prefix=data_prefix
            or {'img_path': 'train_img', 'seg_map_path': 'train_label'},
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            **kwargs,
        )
