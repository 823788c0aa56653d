"""Loading of label maps from index masks, at speed."""

import logging

import cv2
import mmcv
import numpy as np
from mmengine.logging import print_log
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.label_files import (
    SharedSet,
    put_label,
    read_label,
    warn_of_white,
)
from mmseg_ext.formats.masks import read_mask

__all__ = ['FastLoadAnnotations']

_IGNORE_INDEX = 255

#: The backends that :func:`mmseg_ext.formats.masks.read_mask` stands for; None
#: is the one that mmcv is set to.
_OURS = ('pillow', 'cv2', None)


@TRANSFORMS.register_module()
class FastLoadAnnotations(LoadAnnotations):
    """Load a label map from an index mask.

    A drop-in for MMSeg's ``LoadAnnotations`` with the same arguments and,
    where that gives class indices, the same result. 8-bit gray PNG files are
    decoded by OpenCV, which takes a fraction of Pillow's time.
    ``reduce_zero_label`` and the ``label_map`` of custom classes become one
    table.

    Values are those that are stored, as
    :func:`mmseg_ext.formats.masks.read_mask` reads them. Where upstream
    scales them (grays of 2 and 4 bits, PGM), or gives colors for a palette or
    several channels that are equal, one line for each form of file says so in
    the log. What holds no class indices from 0 to 255, or has lost some, is
    an error.

    The first mask of 0 and 255 alone, whose object would be ignored, gives a
    warning, if none before had another value.

    Beyond upstream, the label must have the size ``ori_shape`` of its image
    if that is known, errors name the file, and an image without
    ``seg_map_path``, as in inference, passes through.

    Required keys: ``seg_map_path``, ``seg_fields``, ``reduce_zero_label``;
    optional: ``label_map``, ``ori_shape``.

    Added keys: ``gt_seg_map``, uint8 (H, W).

    Args:
        reduce_zero_label: As the data set has it; give it there alone.
        backend_args: How mmengine's ``fileio`` reads the files.
        imdecode_backend: All but ``'tifffile'``, which knows more kinds of
            TIFF files, give the same.
    """

    reduce_zero_label: bool | None

    def __init__(
        self,
        reduce_zero_label: bool | None = None,
        backend_args: dict | None = None,
        imdecode_backend: str | None = 'pillow',
    ) -> None:
        super().__init__(reduce_zero_label, backend_args, imdecode_backend)
        self._known = SharedSet()

    def _load_seg_map(self, results: dict) -> None:
        """Load the label map into ``results``.

        Raises:
            FileNotFoundError: There is no such label.
            ValueError: The label holds no class indices or is not of its
                image's size, or data set and transform differ in
                ``reduce_zero_label``.
        """
        path = results.get('seg_map_path')
        if path is None:
            return
        data = read_label(results, self.backend_args)
        label = self._decode(data, str(path))
        table = self._table(results)
        if table is None or table[_IGNORE_INDEX] == _IGNORE_INDEX:
            warn_of_white(label, str(path), self._known)
        if table is not None:
            label = cv2.LUT(label, table).reshape(label.shape)
        put_label(results, label)
        # As upstream, also where an image is one pixel high or wide.
        results['gt_seg_map'] = results['gt_seg_map'].squeeze()

    def _decode(self, data: bytes, path: str) -> np.ndarray:
        """Return uint8 (H, W)."""
        backend = self.imdecode_backend
        if backend not in _OURS:
            return _decode_by_mmcv(data, path, backend)
        mask = read_mask(data, path)
        label = mask.labels()
        # What is black is the same by all ways of reading.
        if mask.form not in self._known and label.any():
            difference = _difference(label, data, backend)
            if self._known.claim(mask.form) and difference:
                print_log(
                    f'{path} ({mask.form}): class indices are read as they '
                    f"are stored; MMSeg's LoadAnnotations {difference}. "
                    'Other files of this form are not named.',
                    logger='current',
                    level=logging.WARNING,
                )
        # Transforms may write in it, and Pillow's arrays are read-only.
        return np.require(label, requirements='W')

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


def _difference(
    label: np.ndarray, data: bytes, backend: str | None
) -> str | None:
    """Say what upstream makes of a file, None if it reads the same."""
    try:
        theirs = mmcv.imfrombytes(data, flag='unchanged', backend=backend)
        theirs = theirs.squeeze().astype(np.uint8)
    except Exception:  # each format has its own
        return 'cannot read it'
    if theirs.shape != label.squeeze().shape:
        return (
            f'makes of it an array of shape {theirs.shape}, which fails in '
            'the loss'
        )
    wrong = theirs != label.squeeze()
    if not wrong.any():
        return None
    return (
        f'reads {theirs[wrong][0]} where {label.squeeze()[wrong][0]} is stored'
    )


def _decode_by_mmcv(data: bytes, path: str, backend: str) -> np.ndarray:
    """Return uint8 (H, W), as a backend of mmcv decodes it."""
    try:
        label = mmcv.imfrombytes(data, flag='unchanged', backend=backend)
    except Exception as error:  # each format has its own
        raise ValueError(
            f'{path} cannot be read as an image ({len(data)} bytes) by '
            f"imdecode_backend={backend!r}: {error}; use 'pillow'"
        ) from error
    least, most = label.min(), label.max()
    indices = label.ndim == 2 and label.dtype.kind in 'biu'
    if not indices or least < 0 or most > _IGNORE_INDEX:
        raise ValueError(
            f'{path}, read by imdecode_backend={backend!r}, holds '
            f'{label.dtype} of shape {label.shape}, {least} to {most}; '
            'expected an index mask, integers from 0 to 255 of one channel: '
            'save it as an 8-bit gray PNG'
        )
    return label.astype(np.uint8)
