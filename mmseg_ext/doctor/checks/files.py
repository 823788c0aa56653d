"""Image files, their pairs and sizes."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.checks.images import is_turned_label
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.label_families import distinct_parts
from mmseg_ext.doctor.parts import Part
from mmseg_ext.utils.files import find_files
from mmseg_ext.utils.text import normal_form

__all__ = [
    'images_are_known',
    'images_are_read',
    'labels_have_images',
    'sizes_are_equal',
]

UNKNOWN = Code(
    'images-unknown',
    Level.WARNING,
    'what is wrong with these files is seen in training alone',
    "let the data set give each image a dict with 'img_path'",
)
IMAGE_MISSING = Code(
    'image-missing',
    Level.ERROR,
    'FileNotFoundError when it is loaded, after minutes or hours',
    'add the file, or take its line out of ann_file',
)
IMAGE_UNREADABLE = Code(
    'image-unreadable',
    Level.ERROR,
    '"failed to load image", or an image whose lower part is gray, after '
    'minutes or hours',
    'copy or download the file again; of Git LFS: git lfs pull',
)
ALONE = Code(
    'label-without-image',
    Level.WARNING,
    'it is never used: fewer images are trained than were labeled',
    'add the image, or check img_suffix; else remove the label',
)
SIZES = Code(
    'size-differs',
    Level.ERROR,
    'labels beside their objects, or an error of shapes in the loss, in '
    'PackSegInputs, or at the first validation',
    'make the label again in the size of its image',
)

#: Classes whose ``load_data_list`` pairs by names in two folders.
_PAIRING = ('BaseSegDataset', 'PairedDataset')


@check(UNKNOWN)
def images_are_known(case: Case) -> Iterator[Finding]:
    """Yield data sets that do not tell where their images are."""
    for part in distinct_parts(case):
        if number := len(part.unknown):
            yield UNKNOWN.found(
                f'{number} of {part.total} entries have no img_path: their '
                'files were not looked at',
                part.split,
                value=number,
            )


@check(IMAGE_MISSING, IMAGE_UNREADABLE)
def images_are_read(case: Case) -> Iterator[Finding]:
    """Yield images that are missing or broken."""
    for part in distinct_parts(case):
        special = part.coco.special if part.coco is not None else ()
        for place, image, _ in part.samples:
            # Of all that a COCO file names, its own check tells at once.
            if image.missing and part.coco is not None:
                continue
            if place.image in special:
                continue
            if image.missing:
                text = 'there is no such file'
                yield IMAGE_MISSING.found(text, part.split, place.image)
            elif image.fault is not None:
                yield IMAGE_UNREADABLE.found(
                    image.fault, part.split, place.image
                )


@check(SIZES)
def sizes_are_equal(case: Case) -> Iterator[Finding]:
    """Yield labels of another size than their images."""
    for part in distinct_parts(case):
        for sample in part.samples:
            place, image, label = sample
            size = label.size if label else None
            # Of turned images their own check tells.
            if (
                size is None
                or image.size is None
                or size == image.size
                or is_turned_label(sample)
            ):
                continue
            yield SIZES.found(
                'image {}x{}, label {}x{}'.format(*image.size, *size),
                part.split,
                place.label,
                [list(image.size), list(size)],
                others=[place.image],
            )


@check(ALONE)
def labels_have_images(case: Case) -> Iterator[Finding]:
    """Yield labels in the folders of data sets that have no image."""
    folders: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for part in distinct_parts(case) if case.semantic else ():
        dataset = part.dataset
        if _pairs_by_name(dataset):
            key = dataset.data_prefix['seg_map_path'], dataset.seg_map_suffix
            folders[key].append(part)
    for (folder, ending), parts in folders.items():
        for name in _alone(folder, ending, [each.dataset for each in parts]):
            yield ALONE.found(
                'no image has its name',
                parts[0].split,
                os.path.join(folder, name),
            )


def _pairs_by_name(dataset: Any) -> bool:
    """Tell whether images and labels of a data set pair by their names."""
    kind = next(
        (k for k in type(dataset).__mro__ if 'load_data_list' in vars(k)), None
    )
    prefix = getattr(dataset, 'data_prefix', None) or {}
    return (
        kind is not None
        and kind.__name__ in _PAIRING
        and all(
            os.path.isdir(prefix.get(key) or '')
            for key in ('img_path', 'seg_map_path')
        )
    )


def _alone(folder: str, ending: str, datasets: Sequence[Any]) -> list[str]:
    """Return the labels in a folder that none of some data sets can use."""
    stems: set[str] = set()
    for dataset in datasets:
        suffixes = dataset.img_suffix
        suffixes = [suffixes] if isinstance(suffixes, str) else suffixes
        for name in _listing(dataset.data_prefix['img_path'], suffixes):
            # A name may end in several of them.
            stems.update(
                normal_form(name[: -len(suffix)])
                for suffix in suffixes
                if name.lower().endswith(suffix.lower())
            )
    labels = _listing(folder, [ending])
    alone = [
        name
        for name in labels
        if normal_form(name[: -len(ending)]) not in stems
    ]
    # Where no name fits, the suffixes are wrong, and all labels missing.
    return alone if len(alone) < len(labels) else []


def _listing(folder: str, endings: Sequence[str]) -> list[str]:
    return find_files(folder, endings, lambda link, why: None)
