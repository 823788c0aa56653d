"""What the loading transforms of a data set make of its label files."""

import copy
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mmcv.transforms import LoadAnnotations

from mmseg_ext.engine.label_checks import (
    label_places,
    read_label,
    same_random_numbers,
)
from mmseg_ext.formats.masks import Mask
from mmseg_ext.utils.images import write_png

__all__ = ['LabelLoader', 'find_loader']

#: Loaders that make of each stored value another one, whatever the file, by
#: package and name.
_BY_TABLE = {
    ('mmseg', 'LoadAnnotations'),
    ('mmseg_ext', 'FastLoadAnnotations'),
}

#: Others that depend on nothing but a file, their arguments and `_KEYS`.
_KNOWN = {('mmseg_ext', 'LoadColorMasks')} | _BY_TABLE

#: What may follow a loader and changes values.
_MAPS = ('mmseg_ext', 'MapLabels')

#: What loaders look at of what a data set says, beside the file.
_KEYS = (
    *('label_map', 'reduce_zero_label'),
    *('color_map', 'index_map', 'mask_rules'),
)

#: The form that every loader reads as it is stored.
_GRAY = '8-bit gray PNG'

#: A picture of all values of 8 bits.
_ALL = np.arange(256, dtype=np.uint8).reshape(16, 16)


class LabelLoader(Protocol):
    """Loads the labels of a data set."""

    def identity(self, info: Mapping[str, Any]) -> bytes | None:
        """Return what is equal for loaders that give equal labels.

        Args:
            info: What the data set says of an image.

        Returns:
            None where that cannot be told.
        """

    def table(self, mask: Mask, position: int) -> np.ndarray | None:
        """Return the label of each value that a file stores.

        Args:
            mask: What the file holds.
            position: Which image of the data set it belongs to.

        Returns:
            Integers (256,); None where the file itself has to be loaded.
        """

    def load(self, position: int) -> np.ndarray:
        """Load the label of an image; raises whatever the transforms do.

        Args:
            position: Which image of the data set.
        """


def find_loader(dataset: Any) -> LabelLoader | None:
    """Return what loads the labels of a data set.

    Args:
        dataset: A data set without others in it.

    Returns:
        None if its pipeline loads none.
    """
    steps = list(getattr(getattr(dataset, 'pipeline', None), 'transforms', ()))
    for number, step in enumerate(steps):
        if isinstance(step, LoadAnnotations):
            end = number + 1
            while end < len(steps) and _is(steps[end], _MAPS):
                end += 1
            return _Steps(dataset, steps[number:end])
    return _whole_pipeline(dataset)


def _is(step: Any, *names: tuple[str, str]) -> bool:
    """Tell whether a transform is of one of some packages and names."""
    kind = type(step)
    return (kind.__module__.partition('.')[0], kind.__name__) in names


class _Steps:
    """A loader, and what directly follows it and maps values."""

    def __init__(self, dataset: Any, steps: list[Any]) -> None:
        self._dataset = dataset
        # Transforms may keep count; those of the training stay as they are.
        self._steps = copy.deepcopy(steps)
        first = self._steps[0]
        self._known = _is(first, *_KNOWN)
        self._by_table = _is(first, *_BY_TABLE)
        self._pillow = getattr(first, 'imdecode_backend', None) == 'pillow'
        self._options = repr(
            [(type(step).__qualname__, _options(step)) for step in steps]
        )
        self._tables: dict[bytes, np.ndarray | None] = {}

    def identity(self, info: Mapping[str, Any]) -> bytes | None:
        if not self._known:
            return None
        text = repr((self._options, [info.get(key) for key in _KEYS]))
        return hashlib.sha256(text.encode()).digest()[:8]

    def table(self, mask: Mask, position: int) -> np.ndarray | None:
        palette = (
            self._pillow
            and mask.palette is not None
            and mask.form.endswith('PNG')
        )
        if not self._by_table or not (mask.form == _GRAY or palette):
            return None
        info = self._dataset.get_data_info(position)
        key = self.identity(info)
        if key is None:
            return None
        if key not in self._tables:
            self._tables[key] = self._make_table(info)
        return self._tables[key]

    def load(self, position: int) -> np.ndarray:
        return self._load(self._dataset.get_data_info(position))

    def _load(self, results: dict[str, Any]) -> np.ndarray:
        for step in self._steps:
            results = step(results)
        return np.asarray(results['gt_seg_map'])

    def _make_table(self, info: dict[str, Any]) -> np.ndarray | None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'values.png')
            write_png(path, _ALL)
            try:
                label = self._load({**info, 'seg_map_path': str(path)})
            # The files themselves will tell what it is.
            except Exception:
                return None
        return label.reshape(-1) if label.shape == _ALL.shape else None


def _options(step: Any) -> list[tuple[str, Any]]:
    """Return the arguments of a transform, as it keeps them."""
    return sorted(
        item for item in vars(step).items() if not item[0].startswith('_')
    )


def _whole_pipeline(dataset: Any) -> LabelLoader | None:
    """Return a loader that runs a whole pipeline, if it gives labels."""
    try:
        whole = _Whole(dataset)
        whole.load(0)
    # It gives none, or always fails: the pipelines are looked at as well.
    except Exception:
        return None
    return whole


class _Whole:
    """A pipeline with a loader of the user's own somewhere in it."""

    def __init__(self, dataset: Any) -> None:
        self._places = label_places(dataset)

    def identity(self, info: Mapping[str, Any]) -> bytes | None:
        return None

    def table(self, mask: Mask, position: int) -> np.ndarray | None:
        return None

    def load(self, position: int) -> np.ndarray:
        with same_random_numbers():
            return read_label(self._places[position]).label
