"""Nails: masks to COCO instances."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid, InvalidInputError, reading
from mmseg_ext.converters.nail_ids import IDS, read_nails
from mmseg_ext.converters.nail_masks import Nails, Region, is_cut
from mmseg_ext.converters.photographs import check_whole, photograph_size
from mmseg_ext.formats.coco import (
    annotation_row,
    coco_writer,
    polygons_of_box,
)
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.formats.rle import encode_runs, runs_of_box
from mmseg_ext.labels.nails import NAILS
from mmseg_ext.utils.files import find_files, read_file, write_text
from mmseg_ext.utils.images import IMAGE_SUFFIXES
from mmseg_ext.utils.processes import check_nproc
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import csv_text, normal_form, printable

__all__ = ['SEGMENTATIONS', 'SPLITS', 'VAL_FRACTION', 'Report', 'convert']

#: The splits, by the names of their COCO files, that a data set has.
SPLITS = ('train', 'valid')

#: The one that it may have as well.
_TEST = 'test'

#: Forms of the masks in the COCO files.
SEGMENTATIONS = ('rle', 'polygon', 'contour')

#: Share of the pairs for validation, where nothing else is said.
VAL_FRACTION = 0.2

#: Names of folders, in any case, and what they say about the files in them.
_ROLES = {'images': 'image', 'masks': 'mask', 'labels': 'mask'}
_SPLIT_FOLDERS = {
    'train': 'train',
    'training': 'train',
    'valid': 'valid',
    'val': 'valid',
    'validation': 'valid',
    'test': _TEST,
    'tests': _TEST,
    'testing': _TEST,
}


@dataclass
class Report(core.Report):
    """What a conversion did.

    Attributes:
        images: Number of images, by split.
        instances: Number of nails, by split.
        dropped: Number of components left out because they are too small.
        colored: Number of masks whose colors tell nails apart.
        cut: Number of blobs cut into several nails.
        touching: Number of blobs that would be, with ``split_touching``.
        stray: Number of image files in no folder of images or masks.
        unlabeled: Number of image files in folders ``test`` without masks.
        stale: Whether a ``test.json`` of another run is there.
        ids: Number of masks in which each value stands for a nail.
        broken: Number of these values that lie in several places.
        single: Number of masks in which one dark value stands for all nails.
        in_alpha: Number of masks whose alpha shows the nails.
        border: Number of pixels of borders between nails.
        lost: Number of pixels neither near black nor in a nail.
    """

    images: dict[str, int] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    colored: int = 0
    cut: int = 0
    touching: int = 0
    stray: int = 0
    unlabeled: int = 0
    stale: bool = False
    ids: int = 0
    broken: int = 0
    single: int = 0
    in_alpha: int = 0
    border: int = 0
    lost: int = 0

    def add(self, nails: Nails) -> None:
        """Count what a mask is and shows."""
        for name in _COUNTED:
            count = getattr(self, name) + getattr(nails, name)
            setattr(self, name, count)

    def lines(self) -> Iterator[str]:
        """Yield the counts of each split and of what was not taken as is."""
        if self.stray:
            yield (
                f'warning: {self.stray} image files lie below no folder '
                'images, masks or labels'
            )
        if self.unlabeled:
            yield (
                f'{self.unlabeled} image files in folders test passed over: '
                'no mask is there'
            )
        if self.stale:
            yield (
                f'warning: {self.out_dir / _TEST}.json is not of this run: no '
                'pair is in a folder test'
            )
        for split, images in self.images.items():
            yield (
                f'{self.out_dir / split}.json: {images} images, '
                f'{self.instances[split]} nails'
            )
        yield (
            f'{self.colored} masks tell nails apart by color, {self.cut} '
            f'blobs cut, {self.dropped} components left out as too small'
        )
        if self.touching:
            yield (
                f'{self.touching} blobs look like touching nails: '
                'split_touching=True cuts them apart'
            )
        if self.ids:
            yield (
                f'{self.ids} masks hold ids, each one nail; {self.broken} ids '
                'lie in several places'
            )
        if self.single:
            yield f'{self.single} masks have one dark value for all nails'
        if self.in_alpha:
            yield f'{self.in_alpha} masks show nails by alpha alone'
        if self.border:
            yield f'{self.border} pixels of borders (255) are in no nail'
        if self.lost:
            yield (
                f'{self.lost} pixels are neither near black nor in a nail: '
                'taken for background'
            )


#: Numbers of :class:`Nails` that a report sums up.
_COUNTED = (
    *('dropped', 'colored', 'cut'),
    *('ids', 'broken', 'single', 'in_alpha', 'border', 'lost'),
)


def convert(
    data_root: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    segmentation: str = 'rle',
    ids: str = 'auto',
    min_area: int = 20,
    split_touching: bool = False,
    val_fraction: float | None = None,
    folds: int | None = None,
    fold: int = 0,
    seed: int = 0,
    nproc: int = 1,
    skip_invalid: bool = False,
    progress: bool = True,
) -> Report:
    """Write COCO files and lists for photographs of nails and their masks.

    A file below a folder ``images`` is an image, one below ``masks`` or
    ``labels`` a mask; case and depth of folders do not matter, suffixes
    neither. A folder ``train`` or ``training``, ``valid``, ``val`` or
    ``validation``, or ``test``, ``tests`` or ``testing`` above or below says
    the split. Image and mask belong together if stem and all other folders,
    the group, are the same. Hidden files and folders and ``__MACOSX`` are
    passed over, and folders ``test`` if none of them has a mask.

    ``out_dir`` gets ``train.json`` and ``valid.json``, and ``test.json`` if
    there are pairs in a folder ``test``, with file names relative to
    ``data_root`` and all ids from 1, and ``csv_file/{train,valid}_info.csv``,
    likewise for ``test``, with the columns images, masks, width and height.
    Nothing is written before all files were read.

    Of images that EXIF turns, width and height are those that OpenCV, and
    thus MMDet's loader, reads. Masks are read whole. Of images, header and
    end are, which tells files that were cut off; damage in between is not
    seen.

    Args:
        data_root: Folder of images and masks.
        out_dir: Folder to write, by default ``<data_root>/annotations``.
        segmentation: ``'rle'``, exact. Or polygons, which are exact for one
            kind of reader each: ``'polygon'`` follows the edges of pixels,
            for pycocotools and all that is built on it; ``'contour'`` their
            centers, for readers that fill with OpenCV's ``fillPoly``. A nail
            with a hole is cut through the hole into several polygons.
        ids: Whether the values of masks are ids, each of one nail: ``'yes'``,
            ``'no'``, or ``'auto'``, as each mask says. See
            :func:`mmseg_ext.converters.nail_ids.read_nails`.
        min_area: Components and ids of fewer pixels are left out.
        split_touching: Cut blobs of one color apart where they narrow.
        val_fraction: Share of each group for validation, where no folders
            give train and valid, by default :data:`VAL_FRACTION`. Each group
            has at least one image there; groups of one image are taken
            together.
        folds: Divide into so many parts of equal size, give or take one
            image, with a share of each group in each: for cross-validation.
            Takes the place of ``val_fraction``, and divides the pairs that
            no folder gives to a split.
        fold: Which of these parts is for validation, 0 to ``folds - 1``; the
            others are for training.
        seed: What the choice of these depends on, besides the names.
        nproc: Number of processes.
        skip_invalid: Leave out invalid files and list them in
            ``skipped.json``, instead of stopping at the first.
        progress: Show a progress bar.

    Returns:
        Counts, and what was left out.

    Raises:
        FileNotFoundError: The data root is missing or has no pairs.
        ValueError: An argument is out of range, the layout ambiguous, or a
            file invalid.
    """
    _check_arguments(segmentation, ids, min_area)
    _check_folds(folds, fold, val_fraction)
    share = VAL_FRACTION if val_fraction is None else val_fraction
    core.check_share('val_fraction', share)
    check_nproc(nproc)
    data_root = Path(data_root).expanduser()
    out_dir = Path(out_dir or data_root / 'annotations').expanduser()
    report, invalid = Report(out_dir), Invalid(skip_invalid)
    invalid.remove_list(out_dir)
    pairs = _find_pairs(data_root, invalid, report)
    worker = _Worker(data_root, segmentation, ids, min_area, split_touching)
    with working_in(out_dir):
        results = core.run_jobs(worker, pairs, nproc=nproc, progress=progress)
        items = []
        for pair, converted in invalid.sift(results):
            report.add(converted.nails)
            report.touching += converted.touching
            items.append(_Item(pair, converted))
        given = {pair.split for pair in pairs}
        if folds is None:
            chosen = _choose(_free(items), share, seed)
        else:
            chosen = _choose_fold(_free(items), folds, fold, seed, data_root)
        splits = _split(items, given, chosen)
        for split, part in splits.items():
            invalid.check_left(len(part), f'pair for {split}')
            if not part:
                raise ValueError(
                    f'{data_root} has {len(items)} valid pairs of image and '
                    f'mask, none of them for {split}; expected one at least '
                    'for each split'
                )
        for split, part in splits.items():
            with coco_writer(out_dir, dict(enumerate(NAILS, 1))) as writer:
                for pair, converted in part:
                    width, height = converted.size
                    image = {'file_name': pair.image}
                    size = {'width': width, 'height': height}
                    writer.add(image | size, converted.rows)
                writer.save(out_dir / f'{split}.json')
            report.images[split] = writer.images
            report.instances[split] = writer.annotations
            path = out_dir / 'csv_file' / f'{split}_info.csv'
            write_text(path, _csv(part), durable=True)
        report.skipped = invalid.write_list(out_dir)
    stale = (out_dir / f'{_TEST}.json').exists()
    report.stale = stale and _TEST not in splits
    return report


def _check_arguments(segmentation: str, ids: str, min_area: int) -> None:
    if segmentation not in SEGMENTATIONS:
        raise ValueError(
            f'segmentation={segmentation!r}: expected one of {SEGMENTATIONS}'
        )
    if ids not in IDS:
        raise ValueError(f'ids={ids!r}: expected one of {IDS}')
    if min_area < 1:
        raise ValueError(f'min_area={min_area}: expected 1 or more pixels')


def _check_folds(
    folds: int | None, fold: int, val_fraction: float | None
) -> None:
    if folds is None:
        if fold != 0:
            raise ValueError(f'fold={fold}: expected 0 without folds')
    elif folds < 2:
        raise ValueError(f'folds={folds}: expected 2 or more parts')
    elif fold not in range(folds):
        raise ValueError(
            f'fold={fold}: expected 0 to {folds - 1} with folds={folds}'
        )
    elif val_fraction is not None:
        raise ValueError(
            f'val_fraction={val_fraction}: expected none with folds={folds}, '
            'which are parts of equal size'
        )


# What there is.


@dataclass(frozen=True, order=True)
class _Pair:
    """An image and its mask, as paths relative to the data root.

    ``group`` has the folders that say neither split nor kind.
    """

    image: str
    mask: str
    stem: str
    group: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class _Place:
    """What the folders of a file say about it."""

    role: str | None
    split: str | None
    group: tuple[str, ...]


def _find_pairs(root: Path, invalid: Invalid, report: Report) -> list[_Pair]:
    """List the pairs, and count the image files that are elsewhere."""
    if not root.is_dir():
        raise FileNotFoundError(f'data root {root} is missing')
    files: dict[tuple[str | None, tuple[str, ...], str], dict[str, str]]
    files, loose = defaultdict(dict), 0
    for file in find_files(root, IMAGE_SUFFIXES):
        *folders, name = file.split('/')
        place = _place(folders, root)
        if place.role is None:
            report.stray += place.split != _TEST
            loose += place.split == _TEST
            continue
        if fault := core.name_fault(file):
            invalid.note(InvalidInputError(root / file, fault))
            continue
        stem = normal_form(os.path.splitext(name)[0])
        found = files[place.split, place.group, stem]
        if place.role in found:
            both = printable(root / found[place.role]), printable(root / file)
            raise ValueError(
                f'{" and ".join(both)} would both be the {place.role} '
                f'{stem!r} of one group: rename or remove one of them'
            )
        found[place.role] = file
    tests = [key for key in files if key[0] == _TEST]
    if any('mask' in files[key] for key in tests):
        report.stray += loose
    else:
        report.unlabeled = loose + len(tests)
        for key in tests:
            del files[key]
    pairs = []
    for (split, group, stem), found in sorted(
        files.items(), key=lambda item: min(item[1].values())
    ):
        if len(found) == 2:
            pair = _Pair(found['image'], found['mask'], stem, group, split)
            pairs.append(pair)
            continue
        [(role, file)] = found.items()
        other = {'image': 'mask', 'mask': 'image'}[role]
        invalid.note(
            InvalidInputError(root / file, f'the {role} has no {other}')
        )
    if not pairs:
        raise FileNotFoundError(
            f'{root} has no pairs of image and mask; expected images/x.jpg '
            'and masks/x.png, Images/1/x.png and Masks/1/x.png, or '
            'train/images/x.png and train/masks/x.png'
        )
    _check_splits(pairs, root)
    return sorted(pairs)


def _place(folders: Sequence[str], root: Path) -> _Place:
    """Read the folders of a file; no role if it is neither image nor mask."""
    names = [normal_form(folder.casefold()) for folder in folders]
    roles = [name for name in names if name in _ROLES]
    splits = [name for name in names if name in _SPLIT_FOLDERS]
    if not roles:
        return _Place(None, _TEST if _TEST in splits else None, ())
    for found, what in ((roles, 'kind'), (splits, 'split')):
        if len(found) > 1:
            raise ValueError(
                f'{root.joinpath(*folders)} is ambiguous: '
                f'{" and ".join(found)} each say the {what} of the files; '
                'expected one such folder'
            )
    return _Place(
        _ROLES[roles[0]],
        _SPLIT_FOLDERS[splits[0]] if splits else None,
        tuple(name for name in names if name not in (*roles, *splits)),
    )


def _check_splits(pairs: list[_Pair], root: Path) -> None:
    """Check that folders give both splits, or none; test does not matter."""
    by_split = {pair.split: pair for pair in pairs}
    given = [split for split in SPLITS if split in by_split]
    if None in by_split and given:
        raise ValueError(
            f'{root} is ambiguous: {by_split[given[0]].image} lies in the '
            f'folder of a split, {by_split[None].image} in none; expected '
            'train and valid for all images, or for none'
        )
    missing = [split for split in SPLITS if split not in by_split]
    if missing and None not in by_split:
        there, other = ' and '.join(sorted(map(str, by_split))), missing[0]
        raise ValueError(
            f'{root} has pairs for {there}, but none for {other}; expected '
            f'{other}/images and {other}/masks, or no folders train and valid'
        )


# What is done with each pair.


@dataclass(frozen=True)
class _Converted:
    """Size (width, height) of an image, its nails, and counts alone."""

    size: tuple[int, int]
    rows: list[bytes]
    nails: Nails
    touching: int


class _Item(NamedTuple):
    """A pair and what it became."""

    pair: _Pair
    converted: _Converted


@dataclass(frozen=True)
class _Worker:
    """Converts pairs; what a process has to know for it."""

    root: Path
    segmentation: str
    ids: str
    min_area: int
    split_touching: bool

    def __call__(self, pair: _Pair, scratch: Path | None) -> _Converted:
        image, path = self.root / pair.image, self.root / pair.mask
        size = photograph_size(image)
        with reading(path):
            data = read_file(path)
            core.check_header(path, data, image, size)
            check_whole(data)
            mask = read_mask(data, 'it', photographic=True)
        height, width = mask.pixels.shape[:2]
        core.check_size(path, (width, height), image, size)
        try:
            nails = read_nails(
                mask, self.ids, self.min_area, self.split_touching
            )
        except ValueError as error:
            raise InvalidInputError(path, str(error)) from None
        rows = [self.row(region, size) for region in nails.regions]
        touching = 0
        if not (self.split_touching or nails.ids):
            touching = sum(is_cut(r, self.min_area) for r in nails.regions)
        return _Converted(size, rows, replace(nails, regions=[]), touching)

    def row(self, region: Region, size: tuple[int, int]) -> bytes:
        """Make the COCO annotation of a nail."""
        place = region.mask, region.left, region.top
        shape = size[1], size[0]
        mask = encode_runs(runs_of_box(*place, shape), shape)
        if self.segmentation == 'rle':
            return annotation_row(mask, 1)
        centers = self.segmentation == 'contour'
        polygons = polygons_of_box(*place, centers)
        return annotation_row(mask, 1, polygons=polygons)


# What is written.


def _free(items: list[_Item]) -> list[_Pair]:
    """Return the pairs that no folder of a split holds."""
    return [item.pair for item in items if item.pair.split is None]


def _split(
    items: list[_Item], given: set[str | None], chosen: set[_Pair]
) -> dict[str, list[_Item]]:
    """Divide among the splits, as the folders say or as was chosen."""
    names = (*SPLITS, _TEST) if _TEST in given else SPLITS
    splits: dict[str, list[_Item]] = {split: [] for split in names}
    for item in items:
        pair = item.pair
        split = pair.split or ('valid' if pair in chosen else 'train')
        splits[split].append(item)
    return splits


def _choose(
    pairs: Iterable[_Pair], val_fraction: float, seed: int
) -> set[_Pair]:
    """Choose pairs for validation, some of each group.

    Those of a group go by the SHA-256 of seed and name, which neither the
    order of the files nor a library changes.
    """
    groups = _groups(pairs)
    single = [group[0] for group in groups if len(group) == 1]
    chosen: set[_Pair] = set()
    for group in (*(g for g in groups if len(g) > 1), single):
        _, second = core.divide(group, val_fraction, seed, _pair_name)
        chosen.update(second)
    return chosen


def _choose_fold(
    pairs: list[_Pair], folds: int, fold: int, seed: int, root: Path
) -> set[_Pair]:
    """Choose one of equal parts, with a share of each group, likewise.

    Raises:
        ValueError: There are fewer pairs to divide than parts.
    """
    if len(pairs) < folds:
        raise ValueError(
            f'folds={folds}: {root} has {len(pairs)} pairs of image and mask '
            'to divide, those outside of folders such as train and val; '
            'expected one at least for each fold: take fewer folds, or move '
            'the pairs out of such folders'
        )
    ordered = [
        pair
        for group in _groups(pairs)
        for pair in core.seeded_order(group, seed, _pair_name)
    ]
    return set(ordered[fold::folds])


def _groups(pairs: Iterable[_Pair]) -> list[list[_Pair]]:
    groups: dict[tuple[str, ...], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.group].append(pair)
    return list(groups.values())


def _pair_name(pair: _Pair) -> str:
    return '/'.join((*pair.group, pair.stem))


def _csv(items: list[_Item]) -> str:
    """Make a list of pairs."""
    rows = [
        (pair.image, pair.mask, *converted.size) for pair, converted in items
    ]
    return csv_text([('images', 'masks', 'width', 'height'), *rows])
