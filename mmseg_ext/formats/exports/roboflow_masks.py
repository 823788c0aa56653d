"""Roboflow's "Semantic Segmentation Masks".

``train``, ``valid`` and ``test`` each hold images ``x.jpg``, their index masks
``x_mask.png``, and ``_classes.csv`` with the columns ``Pixel Value`` and
``Class``. Source: exports of Roboflow.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Picture,
    left_out,
    split_of,
)
from mmseg_ext.formats.exports.mask_trees import (
    ClassRows,
    MaskTree,
    by_stem,
    labels_to_write,
)
from mmseg_ext.formats.exports.pictures import claim, place_image
from mmseg_ext.utils.files import write_bytes, write_text
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.text import csv_text, printable

__all__ = ['RoboflowMasks', 'write']

_LIST, _END = '_classes.csv', '_mask'

#: What Roboflow calls the folders of splits.
_FOLDERS = {'train': 'train', 'val': 'valid', 'test': 'test', None: 'train'}


@dataclass(frozen=True)
class RoboflowMasks(MaskTree):
    """Folders of splits, each with images, masks and a list of values."""

    NAME = 'roboflow-masks'
    TITLE = 'Roboflow semantic masks'
    INSTEAD_OF = frozenset({'index-masks', 'color-masks'})

    @classmethod
    def found(cls, folder: Folder) -> 'RoboflowMasks | None':
        """Return the splits in a folder."""
        roots = [
            name.removesuffix(_LIST)
            for name in folder.files
            if name.split('/')[-1] == _LIST
        ]
        pictures: list[Picture] = []
        evidence: list[str] = []
        ignored: list[str] = []
        for root in roots:
            if found := _read_folder(folder, root, ignored):
                pictures += found
                evidence.append(
                    f'{len(found)} images in {root or "."} have masks that '
                    f'end in {_END}'
                )
        labels = [picture.labels or '' for picture in pictures]
        rows = ClassRows.read(folder, labels, False, [_LIST])
        if rows is None:
            return None
        evidence.append(f'{rows.source} has {len(rows.names)} values')
        return cls(
            folder.root,
            tuple(sorted(pictures)),
            None,
            tuple(evidence),
            ignored=tuple(ignored),
        ).with_rows(rows)


def _read_folder(
    folder: Folder, root: str, ignored: list[str]
) -> list[Picture]:
    """Pair the images and masks of a folder.

    Raises:
        InvalidExportError: An image has no mask.
    """
    here = {n for n in folder.images if os.path.dirname(n) == root[:-1]}
    inner = Folder(folder.root, tuple(sorted(here)))
    labels = by_stem(inner, root, _END)
    if not labels:
        return []
    images = {
        stem: name
        for stem, name in by_stem(inner, root).items()
        if name not in labels.values()
    }
    if bare := sorted(images.keys() - labels.keys()):
        raise InvalidExportError(
            folder.root / images[bare[0]],
            f'has no mask; expected {printable(bare[0])}{_END}.png beside it, '
            f'as {len(images) - len(bare)} of {len(images)} images have: add '
            'the mask, or remove the image',
        )
    alone = [labels[stem] for stem in labels.keys() - images.keys()]
    ignored += left_out(f'masks in {root or "."} have no image', alone)
    split = split_of(f'{root}x')
    return [
        Picture(name, labels[stem], split) for stem, name in images.items()
    ]


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write Roboflow's folders; images without split go to ``train``.

    Args:
        out: The folder to write.
        classes: The classes; their indices are the pixel values.
        items: Images with labels. Folders in their names become part of the
            names of files.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: An item has no labels, or not the right ones; or two have
            the same stem.
    """
    seen: set[str] = set()
    for item in items:
        folder = _FOLDERS[item.split]
        name = item.name.replace('/', '_')
        stem = os.path.splitext(name)[0]
        claim(seen, f'{folder}/{stem}', item)
        data = encode_labels(labels_to_write(item, classes))
        write_bytes(out / folder / f'{stem}{_END}.png', data)
        place_image(item.image, out / folder / name)
    text = 'Pixel Value, Class\n' + ''.join(
        f'{index}, {csv_text([[name]])}'
        for index, name in enumerate(classes.names)
    )
    for folder in sorted({path.split('/')[0] for path in seen}):
        write_text(out / folder / _LIST, text)
