"""What the loading transforms of a data set make of its label files."""

import copy
import hashlib
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mmcv.transforms import LoadAnnotations

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.engine.label_checks import (
    label_places,
    read_label,
    same_random_numbers,
)
from mmseg_ext.formats.masks import Mask
from mmseg_ext.utils.images import write_png

__all__ = ['LabelLoader', 'find_loader', 'first_step']

#: Loaders of indices and of colors, by package and name. What they make of a
#: pixel depends on its value, their arguments and `_KEYS`, and nothing else.
_OF_INDICES = {
    ('mmseg', 'LoadAnnotations'),
    ('mmseg_ext', 'FastLoadAnnotations'),
}
_OF_COLORS = {('mmseg_ext', 'LoadColorMasks')}

#: What may follow a loader and changes values.
_MAPS = {('mmseg_ext', 'MapLabels')}

#: What loaders look at of what a data set says, beside the file.
_KEYS = (
    *('label_map', 'reduce_zero_label'),
    *('color_map', 'index_map', 'mask_rules'),
)

#: The form that every loader reads as it is stored.
_GRAY = '8-bit gray PNG'

#: Label maps have fewer colors; what blurs them makes more.
_MOST_COLORS = 4096


class LabelLoader(Protocol):
    """Loads the labels of a data set."""

    def identity(self, info: Mapping[str, Any]) -> bytes | None:
        """Return what is equal for loaders that give equal labels.

        Args:
            info: What the data set says of an image.

        Returns:
            None where that cannot be told.
        """

    def labels(
        self, mask: Mask, values: np.ndarray, position: int, identity: bytes
    ) -> np.ndarray | None:
        """Return the labels of the values that a file stores.

        Args:
            mask: What the file holds.
            values: Those in it, (N,): grays or entries of its palette, or
                colors, ``red << 16 | green << 8 | blue``.
            position: Which image of the data set it belongs to.
            identity: What :meth:`identity` gives for it.

        Returns:
            int64 (N,); None where the file itself has to be loaded.
        """

    def load(self, position: int) -> np.ndarray:
        """Load the label of an image; raises whatever the transforms do.

        Args:
            position: Which image of the data set.
        """


def first_step(dataset: Any, kind: type) -> Any:
    """Return the first transform of a kind; None if there is none.

    Args:
        dataset: A data set without others in it.
        kind: Class of the transform.
    """
    steps = _steps(dataset)
    return next((step for step in steps if isinstance(step, kind)), None)


def _steps(dataset: Any) -> list[Any]:
    return list(getattr(getattr(dataset, 'pipeline', None), 'transforms', ()))


def find_loader(dataset: Any) -> LabelLoader | None:
    """Return what loads the labels of a data set.

    Args:
        dataset: A data set without others in it.

    Returns:
        None if its pipeline loads none.
    """
    steps = _steps(dataset)
    for number, step in enumerate(steps):
        if isinstance(step, LoadAnnotations):
            end = number + 1
            while end < len(steps) and _is(steps[end], _MAPS):
                end += 1
            return _Steps(dataset, steps[number:end])
    return _whole_pipeline(dataset)


def _is(step: Any, names: Collection[tuple[str, str]]) -> bool:
    """Tell whether a transform is of one of some packages and names."""
    kind = type(step)
    return (kind.__module__.partition('.')[0], kind.__name__) in names


class _Steps:
    """A loader, and what directly follows it and maps values."""

    def __init__(self, dataset: Any, steps: list[Any]) -> None:
        self._dataset = dataset
        first = steps[0]
        self._indices = _is(first, _OF_INDICES)
        self._colors = _is(first, _OF_COLORS)
        self._options = ''
        if self._indices or self._colors:
            names = [
                (type(step).__qualname__, _options(step)) for step in steps
            ]
            self._options = repr(names)
        self._steps = steps
        # Transforms may keep count; those of the training stay as they are.
        with suppress(*FAULTS):  # a user's own may not be copied
            self._steps = copy.deepcopy(steps)
        first = self._steps[0]
        self._pillow = getattr(first, 'imdecode_backend', None) == 'pillow'
        self._strict = self._steps
        if self._colors:
            # A share of unknown colors is one of a whole file.
            first = copy.copy(first)
            first.max_unknown = 0
            self._strict = [first, *self._steps[1:]]
        self._labels: dict[bytes, dict[int, int]] = {}

    def identity(self, info: Mapping[str, Any]) -> bytes | None:
        if not self._options:
            return None
        text = repr((self._options, [info.get(key) for key in _KEYS]))
        return hashlib.sha256(text.encode()).digest()[:8]

    def labels(
        self, mask: Mask, values: np.ndarray, position: int, identity: bytes
    ) -> np.ndarray | None:
        if not self._goes_by_value(mask) or len(values) > _MOST_COLORS:
            return None
        known = self._labels.setdefault(identity, {})
        new = [value for value in values.tolist() if value not in known]
        if new:
            info = self._dataset.get_data_info(position)
            try:
                labels = self._ask(new, mask.pixels.ndim == 3, info)
            # The file itself tells what is wrong.
            except FAULTS:
                return None
            known.update(zip(new, labels, strict=True))
        return np.array([known[value] for value in values.tolist()])

    def _goes_by_value(self, mask: Mask) -> bool:
        """Tell whether equal values of such files get equal labels."""
        if mask.pixels.ndim == 3:
            return self._colors and mask.alpha is None
        # Other backends give the colors of a palette.
        palette = self._pillow and mask.palette is not None
        return self._indices and (
            (mask.form == _GRAY and mask.is_plain_gray)
            or (palette and mask.form.endswith('PNG'))
        )

    def _ask(
        self, values: list[int], colors: bool, info: dict[str, Any]
    ) -> list[int]:
        """Let the transforms load a picture of some values."""
        row = np.array(values)
        if colors:
            row = row[:, None] >> (0, 8, 16) & 255
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'values.png')
            write_png(path, np.stack([row, row]).astype(np.uint8))
            results = {**info, 'seg_map_path': str(path)}
            label = _load(self._strict, results)
        return label.reshape(2, -1)[0].tolist()

    def load(self, position: int) -> np.ndarray:
        return _load(self._steps, self._dataset.get_data_info(position))


def _load(steps: Iterable[Any], results: dict[str, Any]) -> np.ndarray:
    """Return the label that some transforms load."""
    for step in steps:
        results = step(results)
    return np.asarray(results['gt_seg_map'])


def _options(step: Any) -> list[tuple[str, Any]]:
    """Return the arguments of a transform, as it keeps them."""
    return sorted(
        item for item in vars(step).items() if not item[0].startswith('_')
    )


def _whole_pipeline(dataset: Any) -> LabelLoader | None:
    """Return a loader that runs a whole pipeline, if it gives labels."""
    # It may give none, or fail: then pipelines are looked at by themselves.
    with suppress(*FAULTS):
        whole = _Whole(dataset)
        for position in {0, len(dataset) // 2, len(dataset) - 1}:
            with suppress(*FAULTS):
                whole.load(position)
                return whole
    return None


class _Whole:
    """A pipeline with a loader of the user's own somewhere in it."""

    def __init__(self, dataset: Any) -> None:
        self._places = label_places(dataset)

    def identity(self, info: Mapping[str, Any]) -> bytes | None:
        return None

    def labels(
        self, mask: Mask, values: np.ndarray, position: int, identity: bytes
    ) -> np.ndarray | None:
        return None

    def load(self, position: int) -> np.ndarray:
        with same_random_numbers():
            return read_label(self._places[position]).label
