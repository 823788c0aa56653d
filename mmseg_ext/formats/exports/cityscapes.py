"""The tree of Cityscapes, and those that are like it.

``leftImg8bit/SPLIT/CITY/x_leftImg8bit.png`` has its labels in
``gtFine/SPLIT/CITY/x_gtFine_labelTrainIds.png``, or in ``..._labelIds.png``
with the ids of the whole table, and its instances in
``..._instanceIds.png``: of 16 bits, 1000 times a label id and a number.
Source: README of cityscapesScripts. Others' trees have folders of other names,
and a list of classes of their own.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmseg_ext.formats.color_masks import IGNORE_INDEX
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
    labels_to_write,
    object_regions,
    sample_masks,
)
from mmseg_ext.formats.exports.pictures import claim, place_image
from mmseg_ext.formats.exports.regions import Region, mask_of
from mmseg_ext.labels.cityscapes import CITYSCAPES_LABELS
from mmseg_ext.utils.files import write_bytes, write_text
from mmseg_ext.utils.images import encode_labels, write_png
from mmseg_ext.utils.text import normal_form

__all__ = ['Cityscapes', 'write']

#: Ends of names, which may be in either case.
_IMAGE = re.compile(r'_leftImg8bit\.\w+$', re.IGNORECASE)
_LABEL = re.compile(
    r'_gtFine_(labelTrainIds|labelIds|instanceIds)\.png$', re.IGNORECASE
)
_OTHER = re.compile(r'_gtFine_(?!instance)\w*ids\.png$', re.IGNORECASE)
_POLYGONS = '_gtfine_polygons.json'

#: Kinds of labels, the one that is preferred first, and how they are spelled.
_KINDS = {'labeltrainids': 'labelTrainIds', 'labelids': 'labelIds'}

#: Values from here on are those of single objects.
_STEP = 1000

#: The table without what is never drawn, and the classes of training.
_TABLE = [label for label in CITYSCAPES_LABELS if label.id >= 0]
_TRAINED = [label for label in _TABLE if label.train_id < IGNORE_INDEX]


@dataclass(frozen=True)
class Cityscapes(MaskTree):
    """A tree of Cityscapes.

    Where there are files of instance ids, only what is numbered there is an
    instance; of Cityscapes' own classes, groups that are not told apart are
    crowds.

    Attributes:
        own: Whether the classes are those of a list beside the tree, or given
            with it; else those of Cityscapes.
    """

    NAME = 'cityscapes'
    TITLE = 'a tree of Cityscapes'
    INSTEAD_OF = frozenset({'index-masks', 'color-masks'})

    own: bool = field(default=False, kw_only=True)

    @classmethod
    def found(cls, folder: Folder) -> 'Cityscapes | None':
        """Return the images with labels in a folder."""
        images = [name for name in folder.images if _IMAGE.search(name)]
        by_kind: dict[str, list[str]] = defaultdict(list)
        for name in folder.images:
            if match := _LABEL.search(name):
                by_kind[match[1].lower()].append(name)
        kind = max(_KINDS, key=lambda each: len(by_kind[each]))
        labels = by_kind[kind]
        if not images or not labels:
            if images and not any(map(_OTHER.search, folder.images)):
                _refuse_polygons(folder)
            return None
        rows = ClassRows.read(folder, labels, by_color=False)
        own = rows is not None
        rows = rows or _own_rows(kind)
        objects = {_start(n, _LABEL): n for n in by_kind['instanceids']}
        ignored: list[str] = []
        pictures = [
            Picture(
                image,
                label,
                split_of(image),
                objects.get(_start(label, _LABEL)),
            )
            for image, label in _pair(folder, images, labels, ignored)
        ]
        if not own:
            pictures = _without_dummies(folder, pictures, rows, ignored)
        if not pictures:
            raise InvalidExportError(
                folder.root / labels[0],
                f'none of {len(labels)} label images has an image and a '
                'class; expected x_leftImg8bit.png in a folder that differs '
                'from that of x_gtFine_labelIds.png in one name, such as '
                'leftImg8bit and gtFine',
            )
        told = sum(picture.key is not None for picture in pictures)
        return cls(
            folder.root,
            tuple(sorted(pictures)),
            None,
            (
                f'{len(pictures)} images end in _leftImg8bit and have labels '
                f'that end in _gtFine_{_KINDS[kind]}.png',
                *([f'{told} of them have instance ids'] if told else ()),
                f'classes: those of {rows.source}',
            ),
            ignored=tuple(ignored),
            own=own,
        ).with_rows(rows)

    def regions(self, picture: Picture) -> Sequence[Region]:
        """Return the instances in a picture."""
        if picture.key is None:
            return super().regions(picture)
        assert self.classes is not None
        labels, ground = self.label_map(picture), self.classes.background
        ids = self.objects_of(picture, labels.shape)
        single = np.where(ids >= _STEP, ids, 0)
        found = object_regions(labels, single, ground)
        if not self.own:
            things = [
                self.classes.names.index(label.name)
                for label in _TRAINED
                if label.has_instances
            ]
            groups = (ids < _STEP) & np.isin(labels, things)
            found += [
                region._replace(crowd=True)
                for region in object_regions(
                    labels, groups.astype(np.int32), ground
                )
            ]
        return found


def _refuse_polygons(folder: Folder) -> None:
    """Check that there are not polygons alone."""
    if names := folder.ending(_POLYGONS):
        raise InvalidExportError(
            folder.root / names[0],
            'the label images are missing; expected '
            '*_gtFine_labelTrainIds.png beside the polygons: draw them with '
            'csCreateTrainIdLabelImgs of cityscapesScripts, or for IDD with '
            'mmseg-ext convert idd',
        )


def _own_rows(kind: str) -> ClassRows:
    """Return Cityscapes' classes by what stands in a kind of label images."""
    if kind == 'labeltrainids':
        names = {label.train_id: label.name for label in _TRAINED}
    else:
        names = {label.id: label.name for label in _TABLE}
    return ClassRows(
        names,
        {label.name: label.color for label in _TABLE},
        'Cityscapes',
        frozenset(names.values()) - {label.name for label in _TRAINED},
    )


def _start(path: str, end: re.Pattern[str]) -> str:
    """Return the path of a file without its end."""
    return end.sub('', normal_form(path))


def _pair(
    folder: Folder,
    images: Sequence[str],
    labels: Sequence[str],
    ignored: list[str],
) -> Iterator[tuple[str, str]]:
    """Yield images and their labels, whose folders differ in one name at most.

    Args:
        folder: The user's.
        images: The images.
        labels: The label images.
        ignored: Gets a sentence about images and labels that are alone.

    Raises:
        InvalidExportError: A label fits two images, or an image two labels;
            or it has none, where others of its folder have one.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for image in images:
        by_name[_start(image, _IMAGE).split('/')[-1]].append(image)
    owners: dict[str, str] = {}
    alone = []
    for label in labels:
        start = _start(label, _LABEL)
        fits: dict[int, list[str]] = defaultdict(list)
        for image in by_name[start.split('/')[-1]]:
            apart = _differences(_start(image, _IMAGE), start)
            if apart <= 1 and split_of(image) == split_of(label):
                fits[apart].append(image)
        best = fits[min(fits)] if fits else []
        if len(best) > 1 or (best and best[0] in owners):
            other = best[1] if len(best) > 1 else owners[best[0]]
            raise InvalidExportError(
                folder.root / label,
                f'belongs to {best[0]}, and so does {other}, or else the '
                'other way round: rename one of them',
            )
        if best:
            owners[best[0]] = label
        else:
            alone.append(label)
    ignored += left_out('label images have no image', alone)
    labeled = {os.path.dirname(image) for image in owners}
    bare = [image for image in images if image not in owners]
    for image in bare:
        if os.path.dirname(image) in labeled:
            raise InvalidExportError(
                folder.root / image,
                'has no label image, as others in its folder have: add it, '
                'or remove the image',
            )
    ignored += left_out('images in folders without labels', bare)
    yield from owners.items()


def _differences(one: str, other: str) -> int:
    """Return in how many folders two paths differ."""
    first, second = one.split('/'), other.split('/')
    if len(first) != len(second):
        return len(first) + len(second)
    return sum(a != b for a, b in zip(first, second, strict=True))


def _without_dummies(
    folder: Folder,
    pictures: list[Picture],
    rows: ClassRows,
    ignored: list[str],
) -> list[Picture]:
    """Leave the test split out where its labels hold no class.

    The release has such files in the place of the real ones.
    """
    tests = [picture for picture in pictures if picture.split == 'test']
    masks = sample_masks(folder, [p.labels or '' for p in tests])
    known = [key for key, i in rows.indices.items() if i != IGNORE_INDEX]
    if not tests or any(np.isin(mask.pixels, known).any() for mask in masks):
        return pictures
    ignored.append(
        f'{len(tests)} images of the test split: their labels are dummies, '
        f'in {len(masks)} looked at no pixel has a class'
    )
    return [picture for picture in pictures if picture.split != 'test']


# Writing.


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write the tree of Cityscapes, with indices of classes as train ids.

    ``classes.txt`` has the names, unless they are those of Cityscapes. Images
    without split go to ``train``, and those without folder to the city
    ``city``.

    Args:
        out: The folder to write.
        classes: The classes.
        items: Images with labels; instances of those with regions are written
            as well. Ids of labels are those of Cityscapes, or else the index
            of the class and 1.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: An item has no labels, or not the right ones; or more
            instances than ids; or two become the same.
    """
    own = classes.names != tuple(label.name for label in _TRAINED)
    number = len(classes.names)
    ids = range(1, number + 1) if own else [label.id for label in _TRAINED]
    table = np.zeros(IGNORE_INDEX + 1, np.uint16)
    table[:number] = ids
    seen: set[str] = set()
    for item in items:
        *folders, name = item.name.split('/')
        city = '_'.join(folders) or 'city'
        base, suffix = os.path.splitext(_bare(name))
        start = f'{item.split or "train"}/{city}/{base}'
        claim(seen, start, item)
        labels = labels_to_write(item, classes)
        there = out / 'gtFine' / f'{start}_gtFine_'
        write_bytes(Path(f'{there}labelTrainIds.png'), encode_labels(labels))
        if item.regions:
            write_png(
                Path(f'{there}instanceIds.png'),
                _instance_ids(item, table[labels], ids),
            )
        place_image(
            item.image, out / f'leftImg8bit/{start}_leftImg8bit{suffix}'
        )
    if own:
        write_text(out / 'classes.txt', '\n'.join(classes.names) + '\n')


def _bare(name: str) -> str:
    """Return the name of an image without the end that it gets."""
    suffix = os.path.splitext(name)[1]
    return _IMAGE.sub(suffix, name)


def _instance_ids(
    item: Annotated, ids: np.ndarray, label_ids: Sequence[int]
) -> np.ndarray:
    """Return instance ids, uint16 (H, W), over ids of labels."""
    counts: Counter[int] = Counter()
    for region in item.regions:
        label = label_ids[region.category]
        value = label
        if not region.crowd:
            value = label * _STEP + counts[label]
            counts[label] += 1
        if counts[label] > _STEP or value > np.iinfo(np.uint16).max:
            raise ValueError(
                f'{item.name}: instance {counts[label]} of label id {label} '
                f'has no number; this format holds {_STEP} a label, with ids '
                'up to 64'
            )
        ids[mask_of(region, item.size) > 0] = value
    return ids
