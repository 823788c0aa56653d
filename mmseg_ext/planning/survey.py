"""One pass over all images and labels of an export."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmseg_ext.doctor.parts import ImageScan
from mmseg_ext.formats.exports.export import Export

__all__ = ['Survey', 'survey']


@dataclass(frozen=True)
class Survey:
    """What all files of an export hold.

    Attributes:
        export: It, settled.
        images: What each image holds, in the order of its pictures.
        pixels: int64 (pictures, classes), pixels of each class; those of 255
            count in no class.
    """

    export: Export
    images: Sequence[ImageScan]
    pixels: np.ndarray


def survey(export: Export, nproc: int = 1, progress: bool = True) -> Survey:
    """Read each image and each label file of an export once.

    Args:
        export: Not settled yet.
        nproc: Number of processes.
        progress: Show a progress bar.

    Raises:
        InvalidExportError: A file cannot be read or is not right, an image
            and its labels differ in size, or two names differ in the suffix
            only; the first such file is named, and how many there are.
        ValueError: ``nproc`` is out of range.
    """
    raise NotImplementedError
