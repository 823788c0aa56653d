"""CVAT's "Segmentation mask 1.1": VOC's tree with a list of colors.

``labelmap.txt`` has a line ``name:r,g,b:parts:actions`` for each class, and
comments that begin with ``#``. Masks are RGB; those of instances have the
colors of VOC's palette. Images in which nothing was drawn have no mask, though
they are listed. Source: the format ``voc_segmentation`` of Datumaro, by which
CVAT exports.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmseg_ext.formats.color_masks import IGNORE_INDEX, Color, voc_color
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Tally,
)
from mmseg_ext.formats.exports.mask_trees import (
    VOID_COLOR,
    ClassRows,
    MaskTree,
    labels_to_write,
    sample_masks,
)
from mmseg_ext.formats.exports.voc import (
    find_trees,
    has_labelmap,
    mask_folders,
    write_tree,
)
from mmseg_ext.utils.files import write_text
from mmseg_ext.utils.images import write_png
from mmseg_ext.utils.text import listing

__all__ = ['Cvat', 'write']

_LIST = 'labelmap.txt'

_BLACK = (0, 0, 0)


@dataclass(frozen=True)
class Cvat(MaskTree):
    """A tree of CVAT's.

    CVAT lists a background always: where no mask has it, it is no class.
    """

    NAME = 'cvat'
    TITLE = 'CVAT segmentation masks'
    INSTEAD_OF = frozenset({'index-masks', 'color-masks'})

    @classmethod
    def found(cls, folder: Folder) -> 'Cvat | None':
        """Return the tree or trees in a folder."""
        if not has_labelmap(folder):
            return None
        trees = find_trees(folder, drawn_only=True)
        if not trees:
            _require_images(folder)
            return None
        pictures = tuple(sorted(p for tree in trees for p in tree.pictures))
        labels = [picture.labels or '' for picture in pictures]
        masks = sample_masks(folder, labels)
        by_color = not all(mask.is_plain_gray for mask in masks)
        rows = ClassRows.read(folder, labels, by_color, [_LIST])
        assert rows is not None
        forms = listing(sorted({mask.form for mask in masks}))
        export = cls(
            folder.root,
            pictures,
            None,
            (
                *(line for tree in trees for line in tree.evidence),
                f'{rows.source} lists {len(rows.names)} colors; {len(masks)} '
                f'masks looked at: {forms}, '
                + ('colors' if by_color else 'indices'),
            ),
            ignored=tuple(line for tree in trees for line in tree.ignored),
            by_color=by_color,
        )
        return export.with_rows(rows)

    def settled(self, tallies: Sequence[Tally]) -> 'Cvat':
        """Return it without background where that is nowhere."""
        settled = super().settled(tallies)
        assert settled.rows is not None
        assert settled.classes is not None
        index = settled.classes.background
        if index is None or any(
            settled.index_of(key) == index
            for tally in tallies
            for key in tally.counts
        ):
            return settled
        name = frozenset({settled.classes.names[index]})
        return settled.with_rows(replace(settled.rows, left_out=name))


def _require_images(folder: Folder) -> None:
    """Check that an export of masks alone lies beside images at least."""
    for root, masks in mask_folders(folder).items():
        own = tuple(f'{root}Segmentation{kind}/' for kind in _KINDS)
        if all(name.startswith(own) for name in folder.images):
            raise InvalidExportError(
                folder.root / root / masks,
                f'the images of these masks are missing in {root}JPEGImages: '
                'export from CVAT again with "Save images", or copy them '
                'there under the names of the masks',
            )


#: Folders of masks are called Segmentation and this.
_KINDS = ('Class', 'ClassPNG', 'Object', 'ObjectPNG')


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write CVAT's tree: RGB masks, and ``labelmap.txt``.

    The background is called so and black, as CVAT wants it. Others have their
    colors, or where these are black or stand twice, some of VOC's palette.
    Pixels of 255 become those of a row ``void``. Where an image has a file of
    instances, CVAT opens these alone; where it has none, each class is one,
    the background as well.

    Args:
        out: The folder to write.
        classes: The classes.
        items: Images with labels; instances of those with regions are written
            as well. Groups have the color of void in these files.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: An item has no labels, or not the right ones; or more
            than 254 instances; or two have the same stem; or the list cannot
            hold the name of a class.
    """
    colors = _colors(classes)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = [color[::-1] for color in colors.values()]
    table[IGNORE_INDEX] = VOID_COLOR[::-1]
    numbers = np.array([voc_color(i)[::-1] for i in range(256)], np.uint8)
    void = False

    def labels_of(item: Annotated) -> np.ndarray:
        nonlocal void
        labels = labels_to_write(item, classes)
        void |= bool((labels == IGNORE_INDEX).any())
        return labels

    write_tree(
        out,
        items,
        labels_of,
        lambda path, labels: write_png(path, table[labels]),
        lambda path, objects: write_png(path, numbers[objects]),
        list_all=True,
        background=classes.background,
    )
    rows = {'background': _BLACK, **colors} | (
        {'void': VOID_COLOR} if void else {}
    )
    lines = [f'{n}:{r},{g},{b}::\n' for n, (r, g, b) in rows.items()]
    write_text(
        out / _LIST, ''.join(('# label:color_rgb:parts:actions\n', *lines))
    )


def _colors(classes: Classes) -> dict[str, Color]:
    """Return the colors of classes, by the names that CVAT gets."""
    taken = {_BLACK, VOID_COLOR}
    own = {*classes.palette, *taken}
    spare = (c for c in map(voc_color, range(IGNORE_INDEX)) if c not in own)
    colors: dict[str, Color] = {}
    for index, name in enumerate(classes.names):
        if index == classes.background:
            colors['background'] = _BLACK
            continue
        if ':' in name or name.startswith('#') or name in ('background', ''):
            raise ValueError(
                f'classes: {_LIST} cannot hold the name {name!r}; expected '
                'one without :, that does not begin with # and is not the '
                'name of the background'
            )
        color = classes.palette[index]
        colors[name] = next(spare) if color in taken else color
        taken.add(color)
    return colors
