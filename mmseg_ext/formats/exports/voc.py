"""Pascal VOC's tree of segmentation masks, as VOC and labelme2voc have it.

``JPEGImages/x.jpg`` has its classes in ``SegmentationClass/x.png``, of indices
with 255 for the borders of objects and what is not labeled, and maybe its
instances in ``SegmentationObject/x.png``. ``ImageSets/Segmentation/*.txt``
list the images of each split. Source: the development kit of VOC 2012.
labelme2voc adds ``class_names.txt``; where it has arrays in
``SegmentationClass``, the masks are in ``SegmentationClassPNG``.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmseg_ext.formats.color_masks import IGNORE_INDEX, voc_color
from mmseg_ext.formats.exports.class_lists import read_lines
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Masks,
    Picture,
    Tally,
    left_out,
    split_of,
)
from mmseg_ext.formats.exports.mask_trees import (
    MADE,
    VOID_COLOR,
    ClassRows,
    MaskTree,
    by_stem,
    color_key,
    key_color,
    labels_to_write,
    sample_masks,
)
from mmseg_ext.formats.exports.pictures import claim, place_image
from mmseg_ext.formats.exports.regions import mask_of
from mmseg_ext.utils.files import atomic_path, write_text
from mmseg_ext.utils.text import listing, normal_form, printable

__all__ = [
    'VOC_NAMES',
    'Voc',
    'VocTree',
    'find_trees',
    'has_labelmap',
    'mask_folders',
    'write',
    'write_tree',
]

#: The classes of VOC 2012 by index.
VOC_NAMES = (
    *('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus'),
    *('car', 'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse'),
    *('motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train'),
    'tvmonitor',
)

#: Where the images of each split are listed.
_LISTS = 'ImageSets/Segmentation/'

#: The list of all images but those of test.
_WHOLE = 'trainval.txt'

#: The folder of the masks, and what is before it.
_MASKS = re.compile(r'((?:[^/]+/)*?)(SegmentationClass(?:PNG)?)/')

#: Names of VOC's own images. Its folders have those of other data as well.
_OWN = re.compile(r'/20(?:0[5-9]|1[0-2])_\d{6}\.\w+$')

#: The classes that masks without list may have: those of 8-bit labels.
_MOST_CLASSES = 253

#: The largest number of an instance.
_MOST_OBJECTS = 254


class VocTree(NamedTuple):
    """What is in the folders of a tree.

    Attributes:
        root: Path of the tree in the user's folder, with ``/`` at its end; or
            nothing.
        pictures: The images with masks that are to be used.
        evidence: What there is.
        ignored: What is not used.
    """

    root: str
    pictures: tuple[Picture, ...]
    evidence: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Voc(MaskTree):
    """A tree of VOC's.

    Where lists are, they say which images there are: others are left out.

    Attributes:
        own: Whether names are those of VOC's own images, so that masks
            without a list of classes have those of VOC.
    """

    NAME = 'voc'
    TITLE = 'Pascal VOC masks'
    INSTEAD_OF = frozenset({'index-masks', 'color-masks'})

    own: bool = field(default=False, kw_only=True)

    @classmethod
    def found(cls, folder: Folder) -> 'Voc | None':
        """Return the tree or trees in a folder."""
        if has_labelmap(folder):
            return None
        trees = find_trees(folder)
        if not trees:
            return None
        pictures = tuple(sorted(p for tree in trees for p in tree.pictures))
        labels = [picture.labels or '' for picture in pictures]
        masks = sample_masks(folder, labels)
        by_color = any(
            mask.palette is None and mask.gray() is None for mask in masks
        )
        forms = listing(sorted({mask.form for mask in masks}))
        own = all(_OWN.search(picture.name) for picture in pictures)
        rows = ClassRows.read(folder, labels, by_color)
        if by_color and rows:
            rows = _with_void(rows)
        evidence = [
            *(line for tree in trees for line in tree.evidence),
            f'{len(masks)} masks looked at: {forms}, '
            + ('colors' if by_color else 'indices'),
        ]
        if rows:
            evidence.append(f'classes: those of {rows.source}')
        export = cls(
            folder.root,
            pictures,
            None,
            tuple(evidence),
            Masks(colors={}) if by_color else Masks(label_map={}),
            ignored=tuple(line for tree in trees for line in tree.ignored),
            by_color=by_color,
            own=own,
        )
        return export.with_rows(rows) if rows else export

    def rows_of(self, tallies: Sequence[Tally]) -> ClassRows:
        """Return VOC's classes, or one for each value."""
        values = set().union(*(each.counts for each in tallies))
        void = color_key(VOID_COLOR) if self.by_color else IGNORE_INDEX
        own = _own_rows(self.by_color)
        if self.own and values <= own.names.keys() | {void}:
            return _with_void(own) if self.by_color else own
        if len(values) > _MOST_CLASSES:
            raise InvalidExportError(
                self.folder,
                f'masks hold {len(values)} colors or values, and there is no '
                f'list of classes; expected at most {_MOST_CLASSES}: add a '
                'class_dict.csv with those that are classes',
            )
        if self.by_color:
            ordered = sorted(values - {0, void})
            names = {0: 'background'} if 0 in values else {}
            names |= {key: f'class_{i}' for i, key in enumerate(ordered, 1)}
            shown = {name: key_color(key) for key, name in names.items()}
            return _with_void(ClassRows(names, shown, MADE))
        if values == {0, IGNORE_INDEX}:
            names = {0: 'background', IGNORE_INDEX: 'object'}
        else:
            names = {
                value: f'class_{value}' if value else 'background'
                for value in sorted(values - {IGNORE_INDEX})
            }
        colors = {name: voc_color(i) for i, name in enumerate(names.values())}
        return ClassRows(names, colors, MADE)


def _own_rows(by_color: bool) -> ClassRows:
    """Return VOC's own classes."""
    colors = {name: voc_color(index) for index, name in enumerate(VOC_NAMES)}
    names = {
        color_key(colors[name]) if by_color else index: name
        for index, name in enumerate(VOC_NAMES)
    }
    return ClassRows(names, colors, 'VOC 2012')


def _with_void(rows: ClassRows) -> ClassRows:
    """Return classes by color with that of borders, which is none."""
    key = color_key(VOID_COLOR)
    if key in rows.names or 'void' in rows.colors:
        return rows
    return ClassRows(
        {**rows.names, key: 'void'},
        {**rows.colors, 'void': VOID_COLOR},
        rows.source,
    )


def has_labelmap(folder: Folder) -> bool:
    """Tell whether a tree of masks has the list of classes that CVAT writes.

    Args:
        folder: The user's.
    """
    return any(
        f'{root}labelmap.txt' in folder.files for root in mask_folders(folder)
    )


def mask_folders(folder: Folder) -> dict[str, str]:
    """Return the folders of masks by what is before them.

    Args:
        folder: The user's.

    Returns:
        ``'SegmentationClass'``, or ``'SegmentationClassPNG'`` where that has
        no images, by the path before it, with ``/`` at its end; or nothing.
    """
    found: dict[str, str] = {}
    for name in folder.images:
        if match := _MASKS.match(name):
            root, masks = match.groups()
            found[root] = min(masks, found.get(root, masks))
    return found


# The tree.


def find_trees(folder: Folder, drawn_only: bool = False) -> list[VocTree]:
    """Find the images and masks of VOC's trees in a folder.

    There may be several where their folders name different splits.

    Args:
        folder: The user's.
        drawn_only: Whether images in which nothing is drawn have no mask, as
            CVAT exports them; else one that is listed must have one, except
            for those of test, which VOC does not publish.

    Returns:
        The trees that have images; none if this is no such folder.

    Raises:
        InvalidExportError: It is one, and not right.
    """
    trees = [
        _read_tree(folder, root, masks, drawn_only)
        for root, masks in sorted(mask_folders(folder).items())
        if any(n.startswith(f'{root}JPEGImages/') for n in folder.images)
    ]
    splits = [split_of(f'{tree.root}x') for tree in trees]
    if len(trees) > 1 and (None in splits or len({*splits}) < len(splits)):
        raise InvalidExportError(
            folder.root,
            f'holds {len(trees)} trees of masks, '
            f'{listing([tree.root or "." for tree in trees])}; expected one, '
            'or one for each split: give the folder of one',
        )
    return trees


def _read_tree(
    folder: Folder, root: str, masks: str, drawn_only: bool
) -> VocTree:
    """Pair images and masks, and look who is listed."""
    labels = by_stem(folder, f'{root}{masks}/')
    images = by_stem(folder, f'{root}JPEGImages/')
    objects = _objects(folder, root)
    paired = images.keys() & labels.keys()
    if not paired:
        raise InvalidExportError(
            folder.root / next(iter(labels.values())),
            f'no mask of {len(labels)} in {root}{masks} has an image of its '
            f'name in {root}JPEGImages: put the images there',
        )
    lists = _read_lists(folder, root, images, labels, drawn_only)
    splits = _splits(folder, lists)
    chosen = sorted(splits if lists else paired)
    if not chosen:
        raise InvalidExportError(
            folder.root / f'{root}{_LISTS}',
            f'no image that is listed has a mask in {root}{masks}: mend the '
            'lists, or remove them to use all images with masks',
        )
    whole = split_of(f'{root}x')
    pictures = tuple(
        Picture(
            images[stem],
            labels[stem],
            splits.get(stem) or whole,
            objects.get(stem),
        )
        for stem in chosen
    )
    ignored = (
        *left_out(
            f'masks in {root}{masks} have no image',
            [labels[stem] for stem in labels.keys() - paired],
        ),
        *left_out(
            f'images with masks are in no list of {root}{_LISTS}',
            [images[stem] for stem in paired - {*chosen}],
        ),
        *left_out(
            f'images in {root}JPEGImages have no mask',
            [images[stem] for stem in images.keys() - paired],
        ),
    )
    told = sum(picture.key is not None for picture in pictures)
    evidence = [
        f'{len(pictures)} images in {root}JPEGImages have masks in '
        f'{root}{masks}'
        + (f', {told} also in SegmentationObject' if told else '')
    ]
    if lists:
        sizes = ', '.join(
            f'{os.path.basename(name)} {len(stems)}'
            for name, stems in lists.items()
        )
        evidence.append(f'listed in {root}{_LISTS}: {sizes}')
    return VocTree(root, pictures, tuple(evidence), ignored)


def _objects(folder: Folder, root: str) -> dict[str, str]:
    """Return the files of instances by their stems."""
    return by_stem(folder, f'{root}SegmentationObject/') or by_stem(
        folder, f'{root}SegmentationObjectPNG/'
    )


def _read_lists(
    folder: Folder,
    root: str,
    images: Mapping[str, str],
    labels: Mapping[str, str],
    drawn_only: bool,
) -> dict[str, list[str]]:
    """Return the stems with masks that each list has, by its path."""
    lists: dict[str, list[str]] = {}
    for name in folder.files:
        rest = name.removeprefix(f'{root}{_LISTS}')
        if rest == name or '/' in rest or not rest.lower().endswith('.txt'):
            continue
        is_test = split_of(rest) == 'test'
        lists[name] = stems = []
        for number, quoted in read_lines(folder.root / name):
            # Datumaro, by which CVAT exports, quotes names with blanks.
            line = quoted.strip('"')
            stem = _stem(line, images)
            where = f'line {number}: {printable(line)} '
            if stem is not None and stem in labels:
                stems.append(stem)
            elif stem is None and not is_test:
                raise InvalidExportError(
                    folder.root / name,
                    f'{where}is no image in {root}JPEGImages; expected the '
                    'name of one without suffix: add the image, or remove '
                    'the line',
                )
            elif not (is_test or drawn_only):
                raise InvalidExportError(
                    folder.root / name,
                    f'{where}has no mask: add it, or remove the line',
                )
    return lists


def _stem(line: str, images: Mapping[str, str]) -> str | None:
    """Return the stem of the image that a line names; None for no image."""
    name = normal_form(line.replace('\\', '/'))
    _, _, inner = name.rpartition('JPEGImages/')
    for stem in (name, inner, os.path.splitext(inner)[0]):
        if stem in images:
            return stem
    return None


def _splits(
    folder: Folder, lists: Mapping[str, Sequence[str]]
) -> dict[str, str | None]:
    """Return the split of each stem in a list.

    Those of ``trainval`` alone train where others validate or test.

    Raises:
        InvalidExportError: One is in two splits.
    """
    named: dict[str, str] = {}
    for name, stems in lists.items():
        if split_of(os.path.basename(name)) is None:
            continue
        for stem in stems:
            other = named.setdefault(stem, name)
            if split_of(os.path.basename(other)) != split_of(
                os.path.basename(name)
            ):
                raise InvalidExportError(
                    folder.root / name,
                    f'has {printable(stem)}, as {folder.root / other} has; '
                    'expected each image in one split: remove it from one',
                )
    found = {stem: split_of(os.path.basename(n)) for stem, n in named.items()}
    held_out = bool({'val', 'test'} & {*found.values()})
    for name, stems in lists.items():
        whole = os.path.basename(name).lower() == _WHOLE
        for stem in stems:
            found.setdefault(stem, 'train' if whole and held_out else None)
    return found


# Writing.


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write VOC's tree: masks with VOC's palette, and ``class_names.txt``.

    Args:
        out: The folder to write.
        classes: The classes; a mask holds their indices, and 255.
        items: Images with labels; instances of those with regions are written
            as well. Groups become 255 in these files.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: An item has no labels, or not the right ones; or more
            than 254 instances; or two have the same stem.
    """

    def save(path: Path, values: np.ndarray) -> None:
        image = Image.fromarray(values)
        image.putpalette([c for i in range(256) for c in voc_color(i)])
        with atomic_path(path) as temporary:
            image.save(temporary)

    write_tree(
        out,
        items,
        lambda item: labels_to_write(item, classes),
        save,
        save,
    )
    write_text(out / 'class_names.txt', '\n'.join(classes.names) + '\n')


def write_tree(
    out: Path,
    items: Iterable[Annotated],
    labels_of: Callable[[Annotated], np.ndarray],
    save_labels: Callable[[Path, np.ndarray], None],
    save_objects: Callable[[Path, np.ndarray], None],
    list_all: bool = False,
    background: int | None = None,
) -> None:
    """Write images, masks, instances and lists.

    Args:
        out: The folder to write.
        items: The images.
        labels_of: Returns the label map of one.
        save_labels: Writes a label map, uint8 (H, W).
        save_objects: Writes numbers of instances, uint8 (H, W).
        list_all: Whether images are listed where none has a split, too.
        background: A class; images of it alone get a file of instances, with
            none, so that it is not taken for one.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: An item is not right, or two have the same stem.
    """
    lists: dict[str | None, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for item in items:
        stem = os.path.splitext(item.name)[0]
        claim(seen, stem, item)
        labels = labels_of(item)
        save_labels(out / f'SegmentationClass/{stem}.png', labels)
        if item.regions or (labels == background).all():
            save_objects(
                out / f'SegmentationObject/{stem}.png', _number_objects(item)
            )
        place_image(item.image, out / 'JPEGImages' / item.name)
        lists[item.split].append(stem)
    if list_all or lists.keys() - {None}:
        for split, stems in lists.items():
            text = ''.join(f'{stem}\n' for stem in stems)
            write_text(out / f'{_LISTS}{split or "default"}.txt', text)


def _number_objects(item: Annotated) -> np.ndarray:
    """Paint the numbers of instances, from 1 on, later over earlier ones.

    Returns:
        uint8 (H, W), 0 for no instance, 255 for groups.

    Raises:
        ValueError: There are too many.
    """
    width, height = item.size
    objects, number = np.zeros((height, width), np.int32), 0
    for region in item.regions:
        number += not region.crowd
        value = IGNORE_INDEX if region.crowd else number
        objects[mask_of(region, item.size) > 0] = value
    if number > _MOST_OBJECTS:
        raise ValueError(
            f'{item.name}: {number} instances; this format holds at most '
            f'{_MOST_OBJECTS} an image'
        )
    return objects.astype(np.uint8)
