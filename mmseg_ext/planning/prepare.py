"""What a data set of a config reads: in place where it can, else drawn."""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from mmseg_ext.converters import core
from mmseg_ext.converters.core import InvalidInputError, reading
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.formats.coco import coco_writer
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.formats.exports.export import (
    Classes,
    Export,
    InvalidExportError,
    Masks,
    Picture,
)
from mmseg_ext.planning.instance_rows import InstanceLister, Job
from mmseg_ext.planning.places import Listing, Places, find_places
from mmseg_ext.planning.splits import Splits
from mmseg_ext.planning.survey import Survey
from mmseg_ext.utils.files import (
    find_files,
    open_file,
    write_bytes,
    write_text,
)
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import listing

__all__ = ['Objects', 'Prepared', 'Written', 'prepare']

Result = TypeVar('Result')

#: Folders of what is written.
_LABELS, _ANNOTATIONS = 'labels', 'annotations'

#: Sides of objects that are kept for each class.
_MOST_SIDES = 10_000

#: Where a PNG file says how many bits a channel has, and what it shows: grays
#: of 8 bits, or a palette. MMSeg's loader reads these as they are stored.
_PNG = b'\x89PNG\r\n\x1a\n'
_FORM, _GRAY_8, _PALETTE = slice(24, 26), b'\x08\x00', 3


class Written(str):
    """The path of a written file or folder, relative to that of all these."""


class Objects(NamedTuple):
    """The instances of the training split; groups do not count.

    Attributes:
        sides: The square roots of their areas by class, at most 10,000 each.
        counts: Their number by class.
        most: The most in an image.
        dropped: How many were left out because they have no pixel, in all
            splits.
    """

    sides: Mapping[str, Sequence[float]]
    counts: Mapping[str, int]
    most: int
    dropped: int


class Prepared(NamedTuple):
    """What a config says of its data.

    Paths are relative to ``data_root``, or :class:`Written`.

    Attributes:
        dataset: Arguments of the data set that all splits have: ``type``,
            ``metainfo`` with ``classes`` and, where no ``class_dict`` has the
            colors, ``palette``; suffixes, but neither ``data_root`` nor a
            pipeline.
        splits: Further arguments by ``'train'``, ``'val'`` and, where there is
            one, ``'test'``: ``data_prefix`` and, where a folder has images of
            other splits, ``ann_file``.
        loader: Type of the step that loads the labels: ``'LoadAnnotations'``;
            ``'FastLoadAnnotations'`` for index masks that MMSeg's does not
            read as they are stored, such as grays of three channels; or
            ``'LoadColorMasks'``.
        objects: The instances; None for label maps.
    """

    dataset: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    loader: str = 'LoadAnnotations'
    objects: Objects | None = None


def prepare(
    found: Survey,
    splits: Splits,
    task: str,
    out_dir: Path,
    nproc: int = 1,
    progress: bool = True,
) -> Prepared:
    """Write what the data set of a config reads beside the user's files.

    These stay as they are. Semantic: lists of images, unless the folders are
    those of the splits; and label maps, ``labels/<picture>.png``, where the
    files of the export are no masks that a data set reads. Instance:
    ``annotations/<split>.json``, COCO files with the names of the pictures,
    also where the export is one, since its ids, paths and classes are checked
    and completed. Label maps that are there whole are taken for those of this
    export.

    Args:
        found: The survey.
        splits: The split of each picture.
        task: ``'semantic'`` or ``'instance'``.
        out_dir: Where to write; what is there is replaced.
        nproc: Number of processes.
        progress: Show a progress bar.

    Raises:
        InvalidExportError: A file of the export is not right.
        OSError: A file cannot be written.
        ValueError: There are no objects, or none in the training or in the
            validation; names do not tell images and labels apart; or
            ``out_dir`` lies in the folder of the export.
    """
    root = found.export.folder
    if out_dir.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f'{out_dir} is to be written, and lies in {root}, which stays as '
            'it is: choose another place for the config'
        )
    members = {
        split: [_job(found, number) for number in numbers]
        for split, numbers in splits.members.items()
    }
    run = _Run(found.export, members, out_dir, nproc, progress)
    with working_in(out_dir):
        return run.semantic() if task == 'semantic' else run.instances()


def _job(found: Survey, number: int) -> Job:
    """Return a picture with the size of its image."""
    picture, size = found.export.pictures[number], found.images[number].size
    if size is None:
        raise InvalidExportError(
            found.export.folder / picture.name, 'cannot be read as an image'
        )
    return Job(picture, size)


@dataclass(frozen=True)
class _Run:
    """What both tasks need."""

    export: Export
    members: Mapping[str, Sequence[Job]]
    out_dir: Path
    nproc: int
    progress: bool

    @property
    def classes(self) -> Classes:
        assert self.export.classes is not None, 'the export is not settled'
        return self.export.classes

    def results(
        self, work: Callable[[Job, Path | None], Result], desc: str
    ) -> Iterator[tuple[str, Job, Result]]:
        """Work on all pictures; yield the split of each, and what came.

        Raises:
            InvalidExportError: A file is not right.
        """
        jobs = [job for jobs in self.members.values() for job in jobs]
        splits = [s for s, jobs in self.members.items() for _ in jobs]
        done = core.run_jobs(
            work,
            jobs,
            nproc=self.nproc,
            scratch=self.out_dir,
            desc=desc,
            progress=self.progress,
        )
        with closing(done):
            for split, (job, result) in zip(splits, done, strict=True):
                if isinstance(result, InvalidInputError):
                    raise InvalidExportError(result.file, result.reason)
                yield split, job, result

    def semantic(self) -> Prepared:
        """Write lists and label maps."""
        classes, masks = self.classes, self.export.masks
        metainfo: dict[str, Any] = {'classes': classes.names}
        pictures = [
            job.picture for jobs in self.members.values() for job in jobs
        ]
        in_place = masks and all(picture.labels for picture in pictures)
        if masks and in_place:
            places = self.places(None)
            arguments, loader = _in_place(self.export, masks, pictures)
        else:
            names = [_label_name(picture) for picture in pictures]
            places = self.places(Listing(self.out_dir / _LABELS, names))
            arguments, loader = {'type': 'FolderDataset'}, 'LoadAnnotations'
            drawer = _Drawer(self.export, self.out_dir / _LABELS)
            for _ in self.results(drawer, 'label maps'):
                pass
        if 'class_dict' not in arguments:
            metainfo['palette'] = [list(color) for color in classes.palette]
        splits: dict[str, dict[str, Any]] = {}
        for split, (images, labels, lines) in places.splits.items():
            if not in_place:
                labels = Written('/'.join(filter(None, (_LABELS, labels))))
            prefix = {'img_path': images, 'seg_map_path': labels}
            splits[split] = {'data_prefix': prefix}
            if lines is not None:
                name = Written(f'{split}.txt')
                text = ''.join(f'{line}\n' for line in lines)
                write_text(self.out_dir / name, text, durable=True)
                splits[split]['ann_file'] = name
        endings = places.img_suffix
        return Prepared(
            {
                **arguments,
                'metainfo': metainfo,
                'img_suffix': endings[0] if len(endings) == 1 else endings,
                'seg_map_suffix': places.seg_map_suffix,
            },
            splits,
            loader,
        )

    def places(self, labels: Listing | None) -> Places:
        """Return how a data set finds the pictures and their labels.

        Args:
            labels: The label maps that are drawn; None for masks in place.

        Raises:
            InvalidExportError: It cannot.
        """
        pairs = {
            split: [
                (
                    picture.name,
                    _label_name(picture) if labels else picture.labels or '',
                )
                for picture, _ in jobs
            ]
            for split, jobs in self.members.items()
        }
        root = self.export.folder
        images = Listing(root, find_files(root))
        places = find_places(pairs, images, labels)
        listed = places is None or any(
            place.lines is not None for place in places.splits.values()
        )
        names = [
            name for pair in pairs.values() for both in pair for name in both
        ]
        for name in names if listed else ():
            if fault := core.name_fault(name, in_list=True):
                raise InvalidExportError(root / name, fault)
        if places is None:
            raise InvalidExportError(
                root,
                'the names of its files tell images and labels not apart, '
                f'such as {listing(names, 2)}: a data set finds others than '
                'these; put images into one folder and labels into another, '
                'with equal names but for the suffix',
            )
        return places

    def instances(self) -> Prepared:
        """Write COCO files."""
        names, classes = self.classes.names, self.classes.objects
        ids = {index: number for number, index in enumerate(classes, 1)}
        if not ids:
            raise ValueError(
                f'{self.export.folder} has no objects: its one class is '
                f'{listing(names)}, the background'
            )
        sides = {names[index]: array('d') for index in classes}
        images: dict[str, set[int]] = {split: set() for split in self.members}
        objects = dict.fromkeys(self.members, 0)
        most = dropped = 0
        files = {s: Written(f'{_ANNOTATIONS}/{s}.json') for s in self.members}
        categories = {ids[index]: names[index] for index in classes}
        with coco_writer(self.out_dir, categories) as writer:
            lister = InstanceLister(self.export, ids)
            for split, job, listed in self.results(lister, 'instances'):
                width, height = job.size
                writer.add(
                    {
                        'file_name': job.picture.name,
                        'width': width,
                        'height': height,
                    },
                    listed.rows,
                )
                images[split].add(writer.images)
                objects[split] += len(listed.sides)
                dropped += listed.dropped
                if split == 'train':
                    most = max(most, len(listed.sides))
                    for index, side in listed.sides:
                        sides[names[index]].append(side)
            self.check_objects(objects)
            for split, numbers in images.items():
                writer.save(self.out_dir / files[split], numbers)
        return Prepared(
            {
                'type': 'CocoDataset',
                'metainfo': {
                    'classes': tuple(categories.values()),
                    # MMDet draws with tuples alone.
                    'palette': [self.classes.palette[k] for k in classes],
                },
            },
            {
                split: {'ann_file': file, 'data_prefix': {'img': ''}}
                for split, file in files.items()
            },
            objects=Objects(
                {name: _some(found) for name, found in sides.items()},
                {name: len(found) for name, found in sides.items()},
                most,
                dropped,
            ),
        )

    def check_objects(self, objects: Mapping[str, int]) -> None:
        """Check that there is something to learn and to score."""
        root = self.export.folder
        if not any(objects.values()):
            raise ValueError(
                f'{root} has no objects: none of its '
                f'{len(self.export.pictures)} pictures shows one; expected '
                f'{listing(self.classes.names)}'
            )
        for split in ('train', 'val'):
            if not objects.get(split, 1):
                raise ValueError(
                    f'{root}: no picture of the split {split} shows an '
                    'object: divide them otherwise'
                )


def _label_name(picture: Picture) -> str:
    """Return the name of the label map of a picture."""
    return f'{os.path.splitext(picture.name)[0]}.png'


def _in_place(
    export: Export, masks: Masks, pictures: Sequence[Picture]
) -> tuple[dict[str, Any], str]:
    """Return the data set that reads masks as they are, and the loader."""
    if masks.colors is not None:
        colors = {name: list(rgb) for name, rgb in masks.colors.items()}
        return {
            'type': 'ColorMaskDataset',
            'class_dict': colors,
            'masks': 'color',
        }, 'LoadColorMasks'
    arguments: dict[str, Any] = {'type': 'FolderDataset'}
    label_map = dict(masks.label_map or {})
    if any(old != new for old, new in label_map.items()):
        arguments['label_map'] = label_map
    root = export.folder
    plain = all(_is_plain(root / (each.labels or '')) for each in pictures)
    return arguments, 'LoadAnnotations' if plain else 'FastLoadAnnotations'


def _is_plain(path: Path) -> bool:
    """Tell whether MMSeg's loader reads a mask as it is stored."""
    with open_file(path) as file:
        start = file.read(_FORM.stop)
    form = start[_FORM]
    return start.startswith(_PNG) and (
        form == _GRAY_8 or form[1:] == bytes([_PALETTE])
    )


@dataclass(frozen=True)
class _Drawer:
    """Draws label maps; what a process has to know for it."""

    export: Export
    out_dir: Path

    def __call__(self, job: Job, scratch: Path | None) -> None:
        """Draw one, unless it is there from a run that was stopped."""
        picture, size = job
        path = self.out_dir / _label_name(picture)
        if Outputs(self.out_dir).is_whole(path, size):
            return
        root = self.export.folder
        file = root / (picture.labels or picture.name)
        with reading(file, ''):
            labels = self.export.label_map(picture)
            self.check_values(labels)
        height, width = labels.shape
        core.check_size(file, (width, height), root / picture.name, size)
        write_bytes(path, encode_labels(labels), scratch)

    def check_values(self, labels: np.ndarray) -> None:
        """Check that a label map has classes alone."""
        assert self.export.classes
        end = len(self.export.classes.names)
        odd = cv2.inRange(labels, end, IGNORE_INDEX - 1)
        if odd.any():
            values = np.unique(labels[odd > 0]).tolist()
            raise ValueError(
                f'holds the value(s) {listing(values)}: '
                f'expected class indices 0 to {end - 1}, or {IGNORE_INDEX}'
            )


def _some(sides: Sequence[float]) -> list[float]:
    """Return all of few numbers, and of many some, spread over them."""
    step = max(1.0, len(sides) / _MOST_SIDES)
    return [sides[int(k * step)] for k in range(min(len(sides), _MOST_SIDES))]
