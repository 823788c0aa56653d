"""Other numbers for the classes of label maps."""

from collections.abc import Mapping

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from mmseg_ext.utils.arguments import is_integer, require

__all__ = ['MapLabels']

#: The largest value of a label in MMSeg, which holds them in 8 bits.
_LARGEST = 255


@TRANSFORMS.register_module()
class MapLabels(BaseTransform):
    """Renumber the values of a label map.

    For masks whose values are not those of the class list, such as 0 and 255
    for background and object, without writing them anew. It stands after the
    transform that loads them, in the pipelines of all data sets::

        dict(type='LoadAnnotations'),
        dict(type='MapLabels', label_map={255: 1}),

    Values that ``label_map`` lacks stay. All change at once: with
    ``{0: 1, 1: 0}`` the two are exchanged. 255 is what losses and scores
    leave out. ``reduce_zero_label`` and a data set's own ``label_map`` act
    before, in the loading transform.

    Required key: ``gt_seg_map``, integers (H, W), which is changed; a sample
    without it, as in inference, passes through.

    Args:
        label_map: ``old value -> new value``, integers from 0 to 255.

    Raises:
        ValueError: ``label_map`` is empty, no dictionary, or has other keys
            or values.
    """

    def __init__(self, label_map: Mapping[int, int]) -> None:
        require(
            'label_map',
            label_map,
            isinstance(label_map, Mapping)
            and bool(label_map)
            and all(
                is_integer(value, 0) and value <= _LARGEST
                for pair in label_map.items()
                for value in pair
            ),
            'old and new values of labels, integers from 0 to 255, such as '
            '{255: 1}',
        )
        self.label_map = {int(old): int(new) for old, new in label_map.items()}
        self._table = np.arange(_LARGEST + 1, dtype=np.uint8)
        self._table[list(self.label_map)] = list(self.label_map.values())

    def transform(self, results: dict) -> dict:
        """Change the label map of a sample.

        Args:
            results: Of a pipeline.

        Raises:
            ValueError: The label map has values below 0 or above 255.
        """
        label = results.get('gt_seg_map')
        if label is not None:
            results['gt_seg_map'] = self._mapped(label)
        return results

    def _mapped(self, label: np.ndarray) -> np.ndarray:
        """Return a label map with new values, of the same type."""
        if label.dtype == np.uint8:
            return cv2.LUT(label, self._table).reshape(label.shape)
        if label.size and not 0 <= label.min() <= label.max() <= _LARGEST:
            raise ValueError(
                f'MapLabels: a label map has values from {label.min()} to '
                f'{label.max()}; expected 0 to {_LARGEST}'
            )
        return self._table[label].astype(label.dtype)

    def __repr__(self) -> str:
        """Name the options."""
        return f'{type(self).__name__}(label_map={self.label_map})'
