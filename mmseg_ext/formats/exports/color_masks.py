"""Images beside masks in which each class has a color."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from mmseg_ext.formats.color_masks import (
    IGNORE_INDEX,
    voc_color,
    write_class_dict,
)
from mmseg_ext.formats.exports.class_lists import ClassList
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Masks,
    Tally,
)
from mmseg_ext.formats.exports.index_masks import mask_places
from mmseg_ext.formats.exports.mask_trees import (
    MADE,
    ClassRows,
    MaskTree,
    key_color,
)
from mmseg_ext.formats.exports.pairing import find_pairs
from mmseg_ext.utils.images import write_png
from mmseg_ext.utils.text import listing

__all__ = ['ColorMasks', 'write']

#: More colors without a list are those of blended edges.
_MOST = 64

_VOID = 'void'


@dataclass(frozen=True)
class ColorMasks(MaskTree):
    """A folder of images and color masks."""

    NAME = 'color-masks'
    TITLE = 'color masks'

    @classmethod
    def found(cls, folder: Folder) -> 'ColorMasks | None':
        """Return what is in a folder; see :meth:`Export.found`.

        An image and its mask have names that are alike; the list of classes
        lies beside the masks or further above.
        """
        pairs = find_pairs(folder, 'color')
        if pairs is None:
            return None
        for look in pairs.looks:
            if look.lossy or look.kind == 'blended':
                raise InvalidExportError(
                    folder.root / look.name,
                    f'is a color mask ({look.form}) with more than {_MOST} '
                    'colors: JPEG or smoothing blended those of neighbors, '
                    'and classes at edges are lost; export the masks again '
                    'as PNG, without smoothing',
                )
        listed, rows = pairs.classes, None
        if listed and listed.colors:
            rows = ClassRows.of(listed, pairs.class_name, by_color=True)
        elif folder.class_list is not None:
            raise InvalidExportError(
                folder.class_list,
                'has names without colors, but the masks have colors; '
                'expected a CSV file with the header name,r,g,b and the '
                'color of each class',
            )
        keys = {key for look in pairs.looks for key in look.colors}
        evidence = pairs.told(
            f'{len(keys)} {"color" if len(keys) == 1 else "colors"}',
            rows is not None and keys <= rows.names.keys(),
        )
        if listed and not rows:
            evidence[1] = (
                f'{pairs.class_name} has no colors, so that it is not used'
            )
        export = cls(
            folder.root,
            pairs.pictures,
            None,
            (*evidence, pairs.evidence),
            Masks(colors={}),
            ignored=pairs.ignored,
            by_color=True,
        )
        return export.with_rows(rows) if rows else export

    def rows_of(self, tallies: Sequence[Tally]) -> ClassRows:
        """Return a class for each color; see :meth:`MaskTree.rows_of`."""
        counts: Counter[int] = Counter()
        for each in tallies:
            counts.update(each.counts)
        if len(counts) > _MOST:
            sizes = [len(each.counts) for each in tallies]
            most = sizes.index(max(sizes))
            rare = [key_color(k) for k, _ in counts.most_common()[:-4:-1]]
            raise InvalidExportError(
                self.folder / (self.pictures[most].labels or ''),
                f'has {max(sizes)} colors, all masks together '
                f'{len(counts)}, the rarest {listing(rare)}; expected at most '
                f'{_MOST} without a list of classes. Edges were blended, by '
                'JPEG or by a resize: export the masks again as PNG without '
                'smoothing, or give a list with the colors of all classes',
            )
        listed = ClassList(
            tuple(f'class_{k}' for k in range(1, len(counts) + 1)),
            tuple(map(key_color, sorted(counts))),
        )
        rows = ClassRows.of(listed, MADE, by_color=True)
        return replace(rows, zero=True)

    def told_of(
        self, rows: ClassRows, tallies: Sequence[Tally]
    ) -> Sequence[str]:
        """Say how many colors there are; see :meth:`MaskTree.told_of`."""
        black = sum(each.counts.get(0, 0) for each in tallies)
        total = sum(sum(each.counts.values()) for each in tallies)
        return [
            f'no list of colors: all files together have {len(rows.names)}, '
            f'each is a class; {black / total:.1%} of the pixels are black'
        ]


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write ``images/``, ``masks/`` of RGB PNGs, and ``class_dict.csv``.

    Those of a split lie in a folder of its name. Pixels of 255 get a color
    that no class has, which the list calls void.

    Args:
        out: The folder.
        classes: The classes.
        items: The images, with label maps.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: As for :func:`mmseg_ext.formats.exports.index_masks.write`,
            or two classes have one color.
    """
    taken = set(classes.palette)
    free = next(
        color for k in range(256) if (color := voc_color(k)) not in taken
    )
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(classes.palette), 0] = classes.palette
    table[IGNORE_INDEX] = free
    table = np.ascontiguousarray(table[..., ::-1])
    void = False
    for labels, path in mask_places(out, classes, items):
        write_png(path, cv2.applyColorMap(labels, table))
        void |= bool((labels == IGNORE_INDEX).any())
    colors = dict(zip(classes.names, classes.palette, strict=True))
    if void:
        colors[_VOID] = free
    write_class_dict(out / 'class_dict.csv', colors)
