"""What a data set of a config reads: in place where it can, else drawn."""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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
from mmseg_ext.utils.files import find_files, open_file, write_text
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import listing

__all__ = ['Prepared', 'prepare']

Result = TypeVar('Result')

#: Folders of what is written.
_LABELS, _ANNOTATIONS = 'labels', 'annotations'

#: Sides of objects that are kept for each class.
_MOST_SIDES = 10_000

#: What errors of converters say to do, and what is to do here.
_HINTS = {
    'use overwrite=True, or another out_dir': 'remove the folder, or choose '
    'another name for the config',
    'give all data roots in one run, remove it, or choose another out_dir': (
        'remove the folder, or choose another name for the config'
    ),
}

#: Where a PNG file says how many bits a channel has, and what it shows: grays
#: of 8 bits, or a palette. MMSeg's loader reads these as they are stored.
_PNG = b'\x89PNG\r\n\x1a\n'
_FORM, _GRAY_8, _PALETTE = slice(24, 26), b'\x08\x00', 3


@dataclass(frozen=True)
class Prepared:
    """What a config says of its data.

    Paths are relative to ``data_root``, or begin with the folder of the files
    that were written, as :func:`prepare` was given it.

    Attributes:
        dataset: Arguments of the data set that all splits have: ``type``,
            ``metainfo`` with ``classes`` and ``palette``, suffixes, but
            neither ``data_root`` nor a pipeline.
        splits: Further arguments by ``'train'``, ``'val'`` and, where there is
            one, ``'test'``: ``data_prefix`` and, where a folder has images of
            other splits, ``ann_file``.
        loader: Type of the step that loads the labels: ``'LoadAnnotations'``;
            ``'FastLoadAnnotations'`` for index masks that MMSeg's does not
            read as they are stored, such as grays of three channels; or
            ``'LoadColorMasks'``.
        written: How many files were drawn or written.
        kept: How many were there from a run that was stopped.
        objects: For instances, those of each class in the training split, and
            the square roots of their areas, as ``{name: [side, ...]}``; at
            most 10,000 a class. Groups do not count. None for label maps.
        counts: For instances, the number of those of each class in the
            training split, all of them. None for label maps.
        most: The most instances in an image of the training split.
        dropped: How many instances were left out because they have no pixel.
    """

    dataset: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    loader: str
    written: int = 0
    kept: int = 0
    objects: Mapping[str, list[float]] | None = None
    counts: Mapping[str, int] | None = None
    most: int = 0
    dropped: int = 0


def prepare(
    found: Survey,
    splits: Splits,
    task: str,
    out_dir: Path,
    in_config: str,
    nproc: int = 1,
    progress: bool = True,
) -> Prepared:
    """Write what the data set of a config reads beside the user's files.

    These stay as they are. Semantic: lists of images, unless the folders are
    those of the splits; and label maps, ``labels/<picture>.png``, where the
    files of the export are no masks that a data set reads. Instance:
    ``annotations/<split>.json``, COCO files with the names of the pictures,
    also where the export is one, since its ids, paths and classes are checked
    and completed. A run that was stopped goes on where it was.

    Args:
        found: The survey.
        splits: The split of each picture.
        task: ``'semantic'`` or ``'instance'``.
        out_dir: Where to write.
        in_config: How the config names this folder, such as
            ``'{{ fileDirname }}/mine'``.
        nproc: Number of processes.
        progress: Show a progress bar.

    Raises:
        InvalidExportError: A file of the export is not right.
        OSError: A file cannot be written.
        ValueError: There are no objects, or none in the training or in the
            validation; names do not tell images and labels apart; ``out_dir``
            lies in the folder of the export, or holds files that this export
            does not give.
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
    run = _Run(found.export, members, out_dir, in_config, nproc, progress)
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
    in_config: str
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
        masks = self.export.masks
        pictures = [
            job.picture for jobs in self.members.values() for job in jobs
        ]
        if masks and all(picture.labels for picture in pictures):
            places = self.places(None)
            arguments, loader = _in_place(self.export, masks, pictures)
            prefix, written, kept = '', 0, 0
        else:
            names = [_label_name(picture) for picture in pictures]
            places = self.places(Listing(self.out_dir / _LABELS, names))
            arguments, loader = {'type': 'FolderDataset'}, 'LoadAnnotations'
            prefix = f'{self.in_config}/{_LABELS}'
            written, kept = self.draw(pictures)
        lists = self.write_lists(places)
        metainfo = {
            'classes': self.classes.names,
            'palette': [list(color) for color in self.classes.palette],
        }
        endings = places.img_suffix
        return Prepared(
            {
                **arguments,
                'metainfo': metainfo,
                'img_suffix': endings[0] if len(endings) == 1 else endings,
                'seg_map_suffix': places.seg_map_suffix,
            },
            {
                split: {
                    'data_prefix': {
                        'img_path': place.images,
                        'seg_map_path': '/'.join(
                            filter(None, (prefix, place.labels))
                        ),
                    },
                    **lists.get(split, {}),
                }
                for split, place in places.splits.items()
            },
            loader,
            written + len(lists),
            kept,
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

    def draw(self, pictures: Sequence[Picture]) -> tuple[int, int]:
        """Draw the label maps; return how many, and how many were there."""
        for picture in pictures:
            if fault := core.name_fault(_label_name(picture)):
                file = self.export.folder / picture.name
                raise InvalidExportError(file, fault)
        drawer = _Drawer(self.export, Outputs(self.out_dir))
        targets = [drawer.target(picture) for picture in pictures]
        written = 0
        try:
            drawer.outputs.refuse_strangers(targets)
            for _, _, new in self.results(drawer, 'label maps'):
                written += new
        except InvalidExportError:
            raise
        except ValueError as error:
            text = str(error)
            for old, hint in _HINTS.items():
                text = text.replace(old, hint)
            raise ValueError(text) from None
        return written, len(targets) - written

    def write_lists(self, places: Places) -> dict[str, dict[str, str]]:
        """Write the lists of splits; return the argument of each."""
        arguments = {}
        for split, place in places.splits.items():
            if place.lines is not None:
                text = ''.join(f'{line}\n' for line in place.lines)
                write_text(self.out_dir / f'{split}.txt', text, durable=True)
                ann_file = f'{self.in_config}/{split}.txt'
                arguments[split] = {'ann_file': ann_file}
        return arguments

    def instances(self) -> Prepared:
        """Write COCO files."""
        names, classes = self.classes.names, self.classes.objects
        ids = {index: number for number, index in enumerate(classes, 1)}
        if not ids:
            raise ValueError(
                f'{self.export.folder} has no objects: its one class is '
                f'{listing(names)}, the background'
            )
        for jobs in self.members.values():
            for picture, _ in jobs:
                if fault := core.name_fault(picture.name):
                    file = self.export.folder / picture.name
                    raise InvalidExportError(file, fault)
        sides = {names[index]: array('d') for index in classes}
        images: dict[str, set[int]] = {split: set() for split in self.members}
        objects = dict.fromkeys(self.members, 0)
        most = dropped = 0
        place = f'{self.in_config}/{_ANNOTATIONS}'
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
                writer.save(
                    self.out_dir / _ANNOTATIONS / f'{split}.json', numbers
                )
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
                split: {
                    'ann_file': f'{place}/{split}.json',
                    'data_prefix': {'img': ''},
                }
                for split in images
            },
            'LoadAnnotations',
            len(images),
            objects={name: _some(found) for name, found in sides.items()},
            counts={name: len(found) for name, found in sides.items()},
            most=most,
            dropped=dropped,
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
    outputs: Outputs

    def target(self, picture: Picture) -> Path:
        """Return where the label map of a picture goes."""
        return self.outputs.out_dir / _LABELS / _label_name(picture)

    def __call__(self, job: Job, scratch: Path | None) -> bool:
        """Draw one; tell whether it was not there."""
        picture, size = job
        root = self.export.folder
        file = root / (picture.labels or picture.name)
        with reading(file, ''):
            labels = self.export.label_map(picture)
            self.check_values(labels)
        height, width = labels.shape
        core.check_size(file, (width, height), root / picture.name, size)
        return self.outputs.write_png(
            self.target(picture), encode_labels(labels), file, scratch
        )

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
