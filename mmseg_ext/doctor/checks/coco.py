"""COCO files: lists, ids, and the images that they name.

What MMDet and pycocotools do of each fault was seen by letting them do it.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.checks.coco_classes import coco_classes_are_categories
from mmseg_ext.doctor.checks.coco_masks import (
    coco_masks_are_polygons,
    coco_masks_are_runs,
)
from mmseg_ext.doctor.checks.data_sets import EMPTY, NOT_BUILT
from mmseg_ext.doctor.coco_masks import Mask
from mmseg_ext.doctor.coco_tables import CocoTable
from mmseg_ext.doctor.coco_use import (
    coco_parts,
    counted,
    is_used,
    level_of,
    loads_masks,
    metrics_of,
    of_annotations,
    of_images,
)
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.parts import Part
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'coco_annotations_have_places',
    'coco_fields_are_there',
    'coco_files_are_readable',
    'coco_ids_are_unique',
    'coco_images_are_files',
    'coco_sets_are_built',
    'coco_sets_hold_images',
    'coco_sizes_are_right',
]

UNREADABLE = Code(
    'coco-unreadable',
    Level.ERROR,
    'the run ends before its first iteration (JSONDecodeError, '
    'AssertionError or KeyError), or the data set is empty',
    'write the file again: an object with the lists images, annotations and '
    'categories',
)
FIELD = Code(
    'coco-field-wrong',
    Level.ERROR,
    'KeyError, TypeError or ValueError while the data set is built',
    'write the field as a number, text or list as COCO has it',
)
ALL_SMALL = Code(
    'coco-all-small',
    Level.ERROR,
    'the run ends with "need at least one array to concatenate"',
    'lower min_size in filter_cfg',
)
NO_ANNOTATIONS = Code(
    'coco-no-annotations',
    Level.ERROR,
    'in a training "need at least one array to concatenate", or nothing is '
    'learned; in an evaluation all scores are -1',
    'name the file with annotations in ann_file',
)
ID_REPEATED = Code(
    'coco-id-repeated',
    Level.ERROR,
    'of annotations "AssertionError: Annotation ids ... are not unique!"; of '
    'categories all objects get one class; of images the last one gets the '
    'annotations of all',
    'give each row of a list its own id',
)
ID_ZERO = Code(
    'coco-id-zero',
    Level.WARNING,
    "pycocotools' evaluation takes a match with annotation 0 for none: AP is "
    'lower than it is',
    'count ids of annotations from 1',
)
NO_IMAGE = Code(
    'coco-no-image',
    Level.WARNING,
    "the annotations are left out without a word; KeyError: 'image_id' where "
    'there is none',
    'give image_id the id of an image, as the same type (1 is not "1")',
)
NO_CATEGORY = Code(
    'coco-no-category',
    Level.WARNING,
    'the annotations are left out without a word; KeyError: '
    "'category_id' where there is none",
    'give category_id the id of a category, or list the category',
)
NAME_REPEATED = Code(
    'coco-name-repeated',
    Level.WARNING,
    'each entry has a part of the annotations of the file: objects of the '
    'others are learned as background, and counted as false',
    'list each file once, with all of its annotations',
)
FILE_MISSING = Code(
    'coco-file-missing',
    Level.ERROR,
    'FileNotFoundError in the first epoch that comes to the image; of a pipe '
    'the run waits for ever',
    'set data_prefix=dict(img=...) to the folder that file_name is relative '
    'to, or copy the files there',
)
SIZE_DIFFERS = Code(
    'coco-size-differs',
    Level.WARNING,
    'objects beyond the size in the COCO file are left out without a word, '
    'and polygons of the images count as missed in an evaluation of masks; '
    'runs of another size than the file, too, are scrambled, or end the '
    'training with "cannot reshape array"',
    'write width and height of the files as they are loaded, turned by EXIF',
)

#: So many names that files share are in the value of a finding.
_NAMES = 1000


@check(UNREADABLE)
def coco_files_are_readable(case: Case) -> Iterator[Finding]:
    """Yield files that are no COCO files."""
    for part in case.parts:
        if part.coco is not None and part.coco.fault is not None:
            yield UNREADABLE.found(part.coco.fault, part.split, part.coco.path)


@check(FIELD)
def coco_fields_are_there(case: Case) -> Iterator[Finding]:
    """Yield fields that are missing or of another type.

    Those that name an image or category are told with what they name.
    """
    for part, table in coco_parts(case):
        for (name, key), rows in table.wrong.items():
            if key in ('image_id', 'category_id'):
                continue
            text = (
                f'no {key}, or none that can be used' if key else 'no object'
            )
            yield FIELD.found(
                f'{len(rows):,} of {name}: {text} (row {listing(rows, 3)}, '
                'from 0)',
                part.split,
                table.path,
                {'list': name, 'field': key, 'rows': rows[:_NAMES]},
            )
        texts = np.array([isinstance(i, str) for i in table.annotations.ids])
        if texts.any() and metrics_of(case, part):
            text = 'a text as id, where the evaluation needs a number'
            yield of_annotations(FIELD, part, texts, text)


@check(ALL_SMALL, NO_ANNOTATIONS)
def coco_sets_hold_images(case: Case) -> Iterator[Finding]:
    """Yield data sets whose filter leaves nothing, or without annotations."""
    for part, table in coco_parts(case):
        rows, images = table.annotations, table.images
        if not images.ids:
            continue
        if not rows.ids:
            if is_used(case, part):
                yield NO_ANNOTATIONS.found(
                    f'no annotations, but {counted(len(images.ids), "image")}',
                    part.split,
                    table.path,
                )
            continue
        options = part.cfg.get('filter_cfg') or {}
        if part.cfg.get('test_mode') or not options:
            continue
        shorter = images.sizes.min(axis=1)
        smallest = options.get('min_size', 0)
        if (shorter < smallest).all():
            yield ALL_SMALL.found(
                f'all {len(shorter):,} images have a side below '
                f'min_size={smallest}: the longest of their shorter sides is '
                f'{shorter.max():.15g}',
                part.split,
                table.path,
                float(shorter.max()),
                change={f'{part.key}.filter_cfg.min_size': int(shorter.min())},
            )
        without = np.setdiff1d(
            np.arange(len(images.ids)), rows.images[rows.labels >= 0]
        )
        if options.get('filter_empty_gt') and 0 < len(without) < len(shorter):
            yield of_images(
                NO_ANNOTATIONS,
                part,
                without,
                'left out, since there is no annotation of a class',
                Level.NOTE,
                'set filter_empty_gt=False to learn them as background',
            )


@check(ID_REPEATED, ID_ZERO)
def coco_ids_are_unique(case: Case) -> Iterator[Finding]:
    """Yield ids that repeat, and annotations of id 0."""
    for part, table in coco_parts(case):
        for name, ids in (
            ('annotations', table.annotations.ids),
            ('categories', table.categories.ids),
            ('images', table.images.ids),
        ):
            counts = Counter(key for key in ids if key is not None)
            if len(counts) == len(ids):
                continue
            twice = [key for key, count in counts.items() if count > 1]
            if twice:
                yield ID_REPEATED.found(
                    f'{counted(len(twice), "id")} of {name} repeat: '
                    f'{listing([printable(str(key)) for key in twice])}',
                    part.split,
                    table.path,
                    {'list': name, 'ids': twice[:_NAMES]},
                    # Labels are wrong, but the training goes on.
                    level=Level.WARNING if name == 'images' else None,
                )
        zero = np.array([key == 0 for key in table.annotations.ids], bool)
        if zero.any() and metrics_of(case, part):
            yield of_annotations(ID_ZERO, part, zero, 'the id 0')


@check(NO_IMAGE, NO_CATEGORY)
def coco_annotations_have_places(case: Case) -> Iterator[Finding]:
    """Yield annotations of images or categories that there are not."""
    for part, table in coco_parts(case):
        rows = table.annotations
        for code, key, places, ids, known in (
            (
                NO_IMAGE,
                'image_id',
                rows.images,
                rows.image_ids,
                table.images.ids,
            ),
            (
                NO_CATEGORY,
                'category_id',
                rows.categories,
                rows.category_ids,
                table.categories.ids,
            ),
        ):
            if wrong := table.wrong.get(('annotations', key)):
                hit = np.array(wrong)
                text = f'no {key}'
                yield of_annotations(code, part, hit, text, Level.ERROR)
            hit = places < 0
            hit[
                [*(wrong or []), *table.wrong.get(('annotations', ''), [])]
            ] = False
            # Ids that repeat or are missing are told by themselves.
            if 0 < len({*known} - {None}) == len(known) and hit.any():
                found = [*dict.fromkeys(ids[r] for r in np.flatnonzero(hit))]
                yield of_annotations(
                    code,
                    part,
                    hit,
                    f'{_values(key, found)}, which no '
                    f'{key.removesuffix("_id")} has as id '
                    f'({listing([repr(each) for each in known], 3)})',
                    level_of(case, part, hit),
                    values=found[:_NAMES],
                )


def _values(key: str, values: Sequence[Any]) -> str:
    shown = [printable(repr(each)) for each in values]
    return f'{key} {listing(shown, 3)}'


@check(NAME_REPEATED, FILE_MISSING)
def coco_images_are_files(case: Case) -> Iterator[Finding]:
    """Yield names of files that repeat, and files that are missing."""
    for part, table in coco_parts(case):
        images = table.images
        counts = Counter(filter(None, images.names))
        twice = {name for name, count in counts.items() if count > 1}
        if twice:
            rows = [n for n, name in enumerate(images.names) if name in twice]
            yield of_images(
                NAME_REPEATED, part, rows, 'the file_name of another'
            )
        missing = np.flatnonzero(images.missing)
        if len(missing):
            yield of_images(
                FILE_MISSING,
                part,
                missing,
                f'no such file in {os.path.dirname(images.paths[missing[0]])}',
                change=_prefix(part, table),
            )
        if images.special.any():
            yield of_images(
                FILE_MISSING,
                part,
                np.flatnonzero(images.special),
                'a pipe, a device or a folder; expected a file',
                mend='put the image there',
            )


def _prefix(part: Part, table: CocoTable) -> dict[str, Any]:
    """Return the folder in which the images are, as a change.

    It is one beside or above the COCO file or the folder in the config.
    """
    images = table.images
    if not images.missing.all():
        return {}
    root = part.cfg.get('data_root') or ''
    places = {os.path.dirname(table.path), root or os.curdir}
    for place in [*places]:
        if os.path.isdir(place):
            with os.scandir(place) as entries:
                places |= {each.path for each in entries if each.is_dir()}
    for place in sorted(places, key=len):
        paths = (os.path.join(place, name) for name in images.names)
        if all(map(os.path.isfile, paths)):
            folder = os.path.relpath(place, root) if root else place
            folder = '' if folder == os.curdir else folder
            return {f'{part.folder}.img': folder}
    return {}


@check(SIZE_DIFFERS)
def coco_sizes_are_right(case: Case) -> Iterator[Finding]:
    """Yield images whose files are of another size."""
    for part, table in coco_parts(case):
        images, rows = table.images, table.annotations
        other = table.resized
        if not other.any():
            continue
        turned = (images.sizes[:, ::-1] == images.files).all(axis=1) & other
        hit = (rows.images >= 0) & other[rows.images]
        hit &= rows.masks == Mask.OTHER_SIZE
        fails = hit.any() and loads_masks(part)
        first = np.flatnonzero(other)
        told, real = (
            'x'.join(f'{side:.15g}' for side in sizes[first[0]])
            for sizes in (images.sizes, images.files)
        )
        yield of_images(
            SIZE_DIFFERS,
            part,
            first,
            f'another size than that of the file: {told} instead of {real}'
            + (f', {turned.sum():,} of them turned' if turned.any() else ''),
            Level.ERROR if fails else None,
        )


@check(NOT_BUILT, EMPTY)
def coco_sets_are_built(case: Case) -> Iterator[Finding]:
    """Yield data sets that cannot be built or are empty for other reasons."""
    told = {
        (found.split, found.file)
        for each in (
            coco_files_are_readable,
            coco_fields_are_there,
            coco_classes_are_categories,
            coco_sets_hold_images,
            coco_ids_are_unique,
            coco_annotations_have_places,
            coco_images_are_files,
            coco_sizes_are_right,
            coco_masks_are_polygons,
            coco_masks_are_runs,
        )
        for found in each(case)
        if found.level == Level.ERROR
    }
    for part in case.parts:
        table = part.coco
        if table is None or (part.split, table.path) in told:
            continue
        if part.empty:
            yield EMPTY.found(_why_empty(part, table), part.split, table.path)
        elif part.fault is not None:
            yield NOT_BUILT.found(part.fault, part.split, table.path)


def _why_empty(part: Part, table: CocoTable) -> str:
    """Return what is known of why a data set is empty."""
    number = len(table.images.ids)
    if not number:
        return 'the COCO file lists no images'
    options = dict(part.cfg.get('filter_cfg') or {})
    return (
        f'none of {counted(number, "image")} is left by '
        f'filter_cfg={options}, indices and the class of the data set'
    )
