"""Classes that no training image has are left out of all splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.formats.exports.export import (
    Classes,
    Export,
    Folder,
    Masks,
    Picture,
    Tally,
)
from mmseg_ext.formats.exports.regions import Region
from mmseg_ext.planning.splits import Splits
from mmseg_ext.planning.survey import Survey

__all__ = ['leave_out_unlearned']


def leave_out_unlearned(
    found: Survey, splits: Splits, task: str
) -> tuple[Survey, list[str]]:
    """Leave out what a model cannot learn, but would be judged by.

    Pixels of such a class become 255; there are no instances of it. A class
    that no image has at all stays in a semantic task: it takes nothing from
    the scores.

    Args:
        found: The survey.
        splits: The split of each picture.
        task: ``'semantic'`` or ``'instance'``.

    Returns:
        The survey without these classes, and their names.
    """
    export = found.export
    classes = export.classes
    assert classes is not None
    trained = found.pixels[splits.members['train']].sum(axis=0) > 0
    wanted = trained | (found.pixels.sum(axis=0) == 0)
    if task == 'instance':
        wanted = trained.copy()
        if classes.background is not None:
            wanted[classes.background] = True
    kept = np.flatnonzero(wanted).tolist()
    if len(kept) == len(classes.names) or not trained.any():
        return found, []
    new = [IGNORE_INDEX] * len(classes.names)
    for index, old in enumerate(kept):
        new[old] = index
    ground = classes.background
    left = Classes(
        tuple(classes.names[old] for old in kept),
        tuple(classes.palette[old] for old in kept),
        None if ground is None else kept.index(ground),
    )
    narrow = _Narrowed(
        export.folder,
        export.pictures,
        left,
        export.evidence,
        export.masks and _narrowed(export.masks, new),
        ignored=export.ignored,
        export=export,
        new=tuple(new),
    )
    names = [name for name in classes.names if name not in left.names]
    return replace(found, export=narrow, pixels=found.pixels[:, kept]), names


def _narrowed(masks: Masks, new: Sequence[int]) -> Masks:
    """Return how mask files are read with other indices."""
    if masks.label_map is None:
        return masks
    indices = {**dict(enumerate(range(len(new)))), **masks.label_map}
    return Masks(
        {
            value: IGNORE_INDEX if index == IGNORE_INDEX else new[index]
            for value, index in indices.items()
        }
    )


@dataclass(frozen=True, kw_only=True)
class _Narrowed(Export):
    """An export without some of its classes.

    Attributes:
        export: It, with all.
        new: The new index of each class, or 255.
    """

    export: Export
    new: tuple[int, ...]

    def __getattribute__(self, name: str) -> Any:
        """Return an attribute; names of the format are those of the export."""
        if name in ('NAME', 'TITLE', 'TASK'):
            return getattr(self.export, name)
        return super().__getattribute__(name)

    @classmethod
    def found(cls, folder: Folder) -> None:
        """Return None: it is not found, but made."""

    def tally(self, picture: Picture) -> Tally:
        """Count as the export does."""
        return self.export.tally(picture)

    def index_of(self, key: int) -> int:
        """Return the new index of a key of a tally, or 255."""
        return self._table[self.export.index_of(key)].item()

    def label_map(self, picture: Picture) -> np.ndarray:
        """Return the label map with new indices."""
        return self._table[self.export.label_map(picture)]

    def regions(self, picture: Picture) -> list[Region]:
        """Return the instances of the classes that are left."""
        return [
            region._replace(category=self.new[region.category])
            for region in self.export.regions(picture)
            if self.new[region.category] != IGNORE_INDEX
        ]

    @property
    def _table(self) -> np.ndarray:
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
        table[: len(self.new)] = self.new
        return table
