"""How many pixels of each class the images of a data set have."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from tqdm import tqdm

from mmseg_ext.engine.label_checks import (
    FirstLabel,
    LabelPlace,
    class_fault,
    fitting_numbers,
    label_places,
    read_label,
    same_random_numbers,
    spread,
)
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.text import listing, printable

__all__ = ['count_classes']

#: Decoding leaves Python to others, counting does so in part: more threads
#: gain nothing.
_MOST_THREADS = 4

#: Seconds after which a bar shows how far the count is.
_PATIENCE = 3


def count_classes(
    dataset: Any,
    num_classes: int,
    ignore_index: int = IGNORE_INDEX,
    progress: bool = True,
    max_images: int | None = None,
) -> np.ndarray:
    """Count the pixels of each class in the labels of a data set.

    Labels are read as the training reads them, with the data set's loading
    transform, so class lists, color tables, ``label_map`` and
    ``reduce_zero_label`` take part. Crops and changes of size do not, where
    all transforms are MMSeg's or ours; else a label is what the whole
    pipeline makes of it once. Each file is read once, however often wrappers
    repeat it.

    In a distributed training each process that calls it reads all labels.

    Args:
        dataset: Any built data set of MMSeg, or a wrapper of some, such as
            ``ConcatDataset``, ``RepeatDataset`` or ``ClassBalancedDataset``.
        num_classes: Number of classes, that of the data set; void at the end
            of its list may be left out.
        ignore_index: Label of pixels without class, which are not counted.
        progress: Whether a bar is shown when it takes more than some seconds;
            only the main process shows one.
        max_images: Where there are more images, so many are counted, spread
            over the data set, always the same; None counts all.

    Returns:
        int64 (images, classes), in the order of the data set.

    Raises:
        OSError: A file is missing or cannot be read.
        TypeError: A data set or transform of the user's cannot be copied.
        ValueError: ``num_classes`` is not that of the data set, it is empty,
            an image has no label, or a label cannot be decoded or has values
            that are no class. The file is named.
    """
    _check_number(dataset, num_classes)
    places = label_places(dataset)
    if not places:
        raise ValueError(
            f'{type(dataset).__name__} is empty: expected images with labels'
        )
    if max_images is not None:
        places = [places[k] for k in spread(len(places), max_images)]
    keys = [(id(place.dataset), place.position) for place in places]
    unique = dict(zip(keys, places, strict=True))

    def count(place: LabelPlace) -> np.ndarray:
        return _count(read_label(place), num_classes, ignore_index)

    with (
        same_random_numbers(),
        ThreadPoolExecutor(_num_threads(places)) as pool,
    ):
        bar = tqdm(
            pool.map(count, unique.values()),
            desc='counting the pixels of each class',
            total=len(unique),
            unit=' labels',
            delay=_PATIENCE,
            disable=not (progress and is_main_process()),
        )
        rows = dict(zip(unique, bar, strict=True))
    return np.stack([rows[key] for key in keys])


def _check_number(dataset: Any, num_classes: int) -> None:
    """Refuse a number of classes that is not the data set's.

    Raises:
        ValueError: It is not, or below 1.
    """
    names = getattr(dataset, 'metainfo', {}).get('classes') or ()
    if num_classes < 1 or (
        names and num_classes not in fitting_numbers(names)
    ):
        expected = f'{len(names)}, those of ' if names else '1 or more for '
        raise ValueError(
            f'num_classes={num_classes}: expected {expected}'
            f'{type(dataset).__name__}'
            + (f' ({listing(names)})' if names else '')
        )


def _num_threads(places: Sequence[LabelPlace]) -> int:
    """Return how many labels to read at once."""
    # Whole pipelines draw random numbers, and may not be made for threads.
    if any(place.whole for place in places):
        return 1
    return min(_MOST_THREADS, os.cpu_count() or 1)


def _count(
    label: FirstLabel, num_classes: int, ignore_index: int
) -> np.ndarray:
    """Return the pixels of each class, int64 (classes,)."""
    values = label.label
    kept = values[values != ignore_index]
    # MMSeg's loader gives one axis for images of one row or column.
    if values.ndim > 2 or (
        kept.size and (kept.min() < 0 or kept.max() >= num_classes)
    ):
        raise ValueError(
            class_fault(label, num_classes, [ignore_index])
            or f'label {printable(label.path)} has the shape {values.shape}: '
            'expected height and width'
        )
    return np.bincount(kept, minlength=num_classes).astype(np.int64)
