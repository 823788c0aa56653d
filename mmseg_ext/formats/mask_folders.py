"""A folder of images and one of masks, with or without a class list."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mmseg_ext.formats.color_masks import (
    IGNORE_INDEX,
    ColorClasses,
    find_class_dict,
    load_classes,
    mask_decoder,
)
from mmseg_ext.formats.image_facts import NO_CLASS, LabeledImage
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.utils.files import find_files, read_file
from mmseg_ext.utils.images import IMAGE_SUFFIXES
from mmseg_ext.utils.text import listing, normal_form, printable

__all__ = ['CLASS_FILES', 'LabeledSet', 'read_folders']

#: Names under which class lists without colors lie beside the folders, first
#: that of fast.ai.
CLASS_FILES = ('codes.txt', 'classes.txt')


#: What errors say to do by arguments of a data set, and what is to do here.
_HINTS = {
    "say masks='index' or masks='color' in the data set": 'if they are rows, '
    'give class_dict as a text file, with one name a line',
    "say masks='index' in the data set if they are": 'if they are, give '
    'class_dict as a text file, with one name a line',
    "say in the data set what they are, transparent='ignore' or "
    "transparent='NAME OF A CLASS', or save": 'save',
}


@dataclass(frozen=True, repr=False)
class LabeledSet:
    """Images with label maps, and their classes.

    Attributes:
        name: Of the set, for files about it.
        images: The images.
        names: Names of the classes; None where each value is one.
        palette: RGB color of each class, 0 to 255; None without any.
        ignored: Values of pixels without class.
        notes: What a reader has to know of it.
        folders: Those that are looked through for its images and labels.
    """

    name: str
    images: Sequence[LabeledImage]
    names: Sequence[str] | None = None
    palette: Sequence[Sequence[int]] | None = None
    ignored: Sequence[int] = (IGNORE_INDEX,)
    notes: Sequence[str] = ()
    folders: Sequence[Path] = ()


def read_folders(
    images: str | os.PathLike[str],
    masks: str | os.PathLike[str],
    class_dict: str | os.PathLike[str] | None = None,
) -> LabeledSet:
    """Pair the images of a folder with the masks of another.

    Both are looked through with all folders below. A mask belongs to the
    image of its name, or of its name without an end that most masks have,
    such as ``_L`` in ``a_L.png``. The suffixes may differ.

    Args:
        images: The folder of the images.
        masks: The folder of the masks; it may be the same.
        class_dict: Names of the classes, with the colors where masks have
            colors: a ``class_dict.csv``, or a text file with one name a line.
            By default one beside or in the folders, if there is any.

    Returns:
        The pairs, sorted by name. An image without mask is one whose mask is
        missing.

    Raises:
        FileNotFoundError: A folder is missing or has no images, or no mask
            has an image.
        OSError: The class list cannot be read.
        ValueError: The class list is not right, or two files in a folder
            have the same name but for the suffix.
    """
    images, masks = Path(images), Path(masks)
    photos, labels, unused = _pair(images, masks)
    notes = []
    if unused:
        notes.append(
            f'{len(unused)} mask(s) in {masks} have no image in {images} and '
            f'are not shown: {listing(list(map(printable, unused)))}'
        )
    path = Path(class_dict) if class_dict else _find_classes(images, masks)
    classes = load_classes(path, None) if path else None
    if path and not class_dict:
        notes.append(f'classes: {path}')
    return LabeledSet(
        images.resolve().name,
        [
            LabeledImage(
                name, photos[name], partial(_read, label, classes), label
            )
            for name, label in labels.items()
        ],
        classes.names if classes else None,
        classes.palette if classes else None,
        notes=notes,
        folders=(images, masks),
    )


def _pair(
    images: Path, masks: Path
) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
    """Return images, masks by the names of their images, and masks left.

    Raises:
        FileNotFoundError: There is nothing to pair.
    """
    photos = _files('images', images)
    found = _files('masks', masks)
    same = os.path.samefile(images, masks)
    owners = {stem: list(_owners(stem, photos, same)) for stem in found}
    ends = Counter(
        stem[len(owner) :] for stem in found for owner in owners[stem]
    )
    if not ends and same:
        raise FileNotFoundError(
            f'images and masks both lie in {images}, and no file there has '
            'the name of another with an end such as _L, as a_L.png is the '
            'mask of a.png: give the folder of the masks'
        )
    if not ends:
        raise FileNotFoundError(
            f'no mask in {masks} has the name of an image in {images}, alone '
            f'or with an end such as _L: masks {listing(sorted(found), 3)}; '
            f'images {listing(sorted(photos), 3)}'
        )
    [(end, _)] = ends.most_common(1)
    pairs = {
        stem.removesuffix(end): path
        for stem, path in found.items()
        if stem.removesuffix(end) in owners[stem]
    }
    ours = set(pairs.values())
    if same:
        photos = {k: path for k, path in photos.items() if path not in ours}
    unused = [str(p) for p in found.values() if not same and p not in ours]
    named = {
        path.relative_to(images).as_posix(): (stem, path)
        for stem, path in photos.items()
    }
    labels = {
        name: pairs.get(stem, masks / f'{stem}{end}.png')
        for name, (stem, _) in sorted(named.items())
    }
    return {name: path for name, (_, path) in named.items()}, labels, unused


def _files(argument: str, folder: Path) -> dict[str, Path]:
    """Return the images in a folder by their paths without suffix."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{argument}={str(folder)!r}: there is no such folder'
        )
    names = find_files(folder, IMAGE_SUFFIXES)
    if not names:
        raise FileNotFoundError(
            f'{argument}={str(folder)!r}: expected files that end in '
            + ', '.join(IMAGE_SUFFIXES)
        )
    found: dict[str, Path] = {}
    for name in names:
        stem = normal_form(os.path.splitext(name)[0])
        if stem in found:
            raise ValueError(
                f'{found[stem]} and {folder / name} have the same name but '
                'for the suffix, so which belongs to which mask or image is '
                'not known: remove one of them'
            )
        found[stem] = folder / name
    return found


def _owners(stem: str, photos: Mapping[str, Path], same: bool) -> list[str]:
    """Return the images that a mask may belong to, the longest name first."""
    ends = range(len(stem) - same, 0, -1)
    return [stem[:end] for end in ends if stem[:end] in photos]


def _find_classes(images: Path, masks: Path) -> Path | None:
    """Return a class list beside or in the folders, if there is one."""
    folders = dict.fromkeys(
        [masks.absolute().parent, masks, images.absolute().parent, images]
    )
    if path := find_class_dict(*folders):
        return path
    places = (folder / name for folder in folders for name in CLASS_FILES)
    return next((path for path in places if path.is_file()), None)


def _read(
    path: Path, classes: ColorClasses | None
) -> tuple[np.ndarray, str | None]:
    """Return the label of a mask file, and a warning or None.

    Values of index masks that are no class stay as they are; unknown colors
    are :data:`~mmseg_ext.formats.image_facts.NO_CLASS`.
    """
    data = read_file(path)
    if classes is not None and classes.color_map:
        decoder = mask_decoder(classes.color_map, classes.index_map)
        try:
            decoded = decoder.decode_file(data, str(path), max_unknown=1)
        except ValueError as error:
            raise ValueError(_without_arguments(str(error))) from None
        if decoded.warning:
            decoded.labels[_unknown(data, path, classes)] = NO_CLASS
        return decoded.labels, decoded.warning
    mask = read_mask(data, f'label {path}')
    if mask.palette is None and mask.gray() is None:
        raise ValueError(
            f'label {path} ({mask.form}) is in color: expected class_dict, a '
            'CSV file with the header name,r,g,b and the color of each class'
        )
    labels = mask.labels()
    if classes is None:
        return labels, None
    table = np.arange(IGNORE_INDEX + 1, dtype=np.uint8)
    table[: len(classes.index_map)] = classes.index_map
    return table[labels], None


def _without_arguments(error: str) -> str:
    """Return an error without arguments of data sets, which are not here."""
    for hint, other in _HINTS.items():
        error = error.replace(hint, other)
    return error


def _unknown(data: bytes, path: Path, classes: ColorClasses) -> np.ndarray:
    """Return which pixels of a mask have colors that no class has."""
    known = tuple((color, 0) for color, _ in classes.color_map)
    colors = read_mask(data, f'label {path}').colors()
    return mask_decoder(known, ()).decode_colors(colors)[0] == IGNORE_INDEX
