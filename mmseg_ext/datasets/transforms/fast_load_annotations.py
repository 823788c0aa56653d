"""Loading of label maps from index masks, at speed."""

import cv2
import mmcv
import numpy as np
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.label_files import put_label, read_label
from mmseg_ext.utils.images import decode_image

__all__ = ['FastLoadAnnotations']


@TRANSFORMS.register_module()
class FastLoadAnnotations(LoadAnnotations):
    """Load a label map from an index mask.

    A drop-in for MMSeg's ``LoadAnnotations`` with the same arguments and the
    same result. 8-bit gray PNG files are decoded by OpenCV, which takes a
    fraction of Pillow's time; all others, among them PNG files with a
    palette, as upstream does. ``reduce_zero_label`` and the ``label_map`` of
    custom classes become one table.

    Beyond upstream, the label must have the size ``ori_shape`` of its image
    if that is known, errors name the file, and an image without
    ``seg_map_path``, as in inference, passes through.

    Required keys: ``seg_map_path``, ``seg_fields``, ``reduce_zero_label``;
    optional: ``label_map``, ``ori_shape``.

    Added keys: ``gt_seg_map``, uint8 (H, W).
    """

    reduce_zero_label: bool | None

    def _load_seg_map(self, results: dict) -> None:
        """Load the label map into ``results``.

        Raises:
            FileNotFoundError: There is no such label.
            ValueError: The label is no image or not of its image's size, or
                data set and transform differ in ``reduce_zero_label``.
        """
        if results.get('seg_map_path') is None:
            return
        label = self._decode(
            read_label(results, self.backend_args), results['seg_map_path']
        )
        table = self._table(results)
        if table is not None:
            label = cv2.LUT(label, table).reshape(label.shape)
        put_label(results, label)
        # As upstream, also where an image is one pixel high or wide.
        results['gt_seg_map'] = results['gt_seg_map'].squeeze()

    def _decode(self, data: bytes, path: str) -> np.ndarray:
        """Return uint8 (H, W), or (H, W, C) if the file is no index mask."""
        backend = self.imdecode_backend
        if backend == 'cv2' or (backend == 'pillow' and _is_gray_png(data)):
            label = decode_image(data, path, cv2.IMREAD_UNCHANGED)
            return label.astype(np.uint8, copy=False)
        try:
            label = mmcv.imfrombytes(data, flag='unchanged', backend=backend)
            return label.astype(np.uint8)
        except Exception as error:  # each format has its own
            raise ValueError(
                f'{path} cannot be read as an image ({len(data)} bytes) by '
                f'the backend {backend!r}: {error}'
            ) from error

    def _table(self, results: dict) -> np.ndarray | None:
        """Return the new value of each of the 256, None if none changes."""
        reduce_zero_label = results['reduce_zero_label']
        if self.reduce_zero_label is None:
            self.reduce_zero_label = reduce_zero_label
        if self.reduce_zero_label != reduce_zero_label:
            raise ValueError(
                f'reduce_zero_label is {reduce_zero_label} in the data set '
                f'and {self.reduce_zero_label} in {type(self).__name__}; '
                'expected the same: set it in the data set only'
            )
        label_map = results.get('label_map') or {}
        if not reduce_zero_label and not label_map:
            return None
        old = np.arange(256, dtype=np.uint8)
        if reduce_zero_label:
            old = np.array([255, *range(254), 255], np.uint8)
        new = old.copy()
        for old_index, new_index in label_map.items():
            new[old == old_index] = new_index
        return new


def _is_gray_png(data: bytes) -> bool:
    """Return whether a file is an 8-bit gray PNG, by its first chunk."""
    depth_and_color = data[24:26]
    return data.startswith(b'\x89PNG') and depth_and_color == b'\x08\x00'
