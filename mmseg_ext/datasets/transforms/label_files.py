"""What the transforms that load labels have in common."""

import hashlib
import logging
import os
from contextlib import suppress

import mmengine.fileio as fileio
import numpy as np
import torch
from mmengine.logging import print_log

from mmseg_ext.formats.masks import is_black_and_white

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ['SharedSet', 'put_label', 'read_label', 'warn_of_white']

#: What is known once a file has another value than 0 and 255.
_HAS_INDICES = '0 and 255'


class SharedSet:
    """Names that the workers of a data loader know of each other.

    A flag for each hash, in shared memory: forked workers inherit it, spawned
    ones get a handle on it when PyTorch pickles the transform for them, and it
    lives as long as the transform of the main process. Where it has a thousand
    names, one in a thousand new ones passes for one of them.
    """

    def __init__(self) -> None:
        # NumPy would copy it to spawned workers, and multiprocessing's own
        # arrays cannot be pickled or copied for any other purpose.
        self._flags = torch.zeros(1 << 20, dtype=torch.bool)
        # Without shared memory each process reports for itself.
        with suppress(RuntimeError):
            self._flags.share_memory_()
        # Asked first: PyTorch takes longer than small labels to decode.
        self._here = set[str]()

    def __contains__(self, name: str) -> bool:
        if name not in self._here and self._flags[self._place(name)]:
            self._here.add(name)
        return name in self._here

    def add(self, name: str) -> None:
        """Let all workers know a name."""
        self._flags[self._place(name)] = True

    def claim(self, name: str) -> bool:
        """Add a name, and tell whether no other worker was faster."""
        with open(__file__, 'rb') as file:
            # Without such locks two may be the first.
            with suppress(OSError):
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
            new = name not in self
            self.add(name)
        return new

    def __deepcopy__(self, memo: dict) -> 'SharedSet':
        """Copies of a data set report the same files."""
        return self

    def _place(self, name: str) -> int:
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, 'little') % len(self._flags)


def read_label(results: dict, backend_args: dict | None) -> bytes:
    """Read the file ``seg_map_path`` of a sample.

    Raises:
        FileNotFoundError: There is no such label.
    """
    path = results['seg_map_path']
    try:
        return fileio.get(path, backend_args=backend_args)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'label {path} of image {results.get("img_path")} is missing'
        ) from None


def put_label(results: dict, label: np.ndarray) -> None:
    """Add a label map to a sample, as ``gt_seg_map``.

    Args:
        results: The sample; if it has ``ori_shape``, the label must have
            that height and width.
        label: Array of (H, W), or (H, W, C).

    Raises:
        ValueError: The label is not of the size of its image.
    """
    expected = tuple(results.get('ori_shape', label.shape)[:2])
    if label.shape[:2] != expected:
        raise ValueError(
            f'label {results["seg_map_path"]} is '
            f'{label.shape[1]}x{label.shape[0]} pixels, its image '
            f'{results.get("img_path")} {expected[1]}x{expected[0]}; '
            'expected equal sizes'
        )
    results['gt_seg_map'] = label
    results['seg_fields'].append('gt_seg_map')


def warn_of_white(values: np.ndarray, path: str, known: SharedSet) -> None:
    """Warn if the first index masks are black and white; then look no more.

    Args:
        values: uint8 or uint16 (H, W), what the file holds.
        path: The file.
        known: What the workers know.
    """
    if _HAS_INDICES in known:
        return
    if is_black_and_white(values):
        if known.claim(_HAS_INDICES):
            print_log(
                f'{path} holds 0 and 255 alone. 255 is ignored: if it is an '
                'object here, that is neither trained nor scored. Save the '
                'masks again with 1 in place of 255, let '
                'MapLabels(label_map={255: 1}) follow, or read them as '
                'colors, with ColorMaskDataset and a class_dict.csv that has '
                'a black and a white row, LoadColorMasks, and no '
                "masks='index'.",
                logger='current',
                level=logging.WARNING,
            )
    elif np.setdiff1d(values, (0, 255)).size:
        known.add(_HAS_INDICES)
