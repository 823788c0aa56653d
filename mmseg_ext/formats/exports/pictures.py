"""Images beside files that name them: found in a folder, and written."""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from mmseg_ext.formats.exports.export import Annotated, Classes, split_of
from mmseg_ext.formats.exports.regions import Region
from mmseg_ext.utils.files import atomic_path
from mmseg_ext.utils.text import normal_form

__all__ = ['claim', 'find_named', 'object_regions', 'place_image']

#: What stands between the parts of a path of any system, and before the path
#: of a file that Label Studio serves.
_BETWEEN = re.compile(r'[\\/]+|\?d=')


def find_named(
    named: Sequence[tuple[str, str]], images: Iterable[str]
) -> list[list[str]]:
    r"""Find the images that files of labels name.

    A path counts from the folder of the file that names it. Where no image
    is there, as where the files were moved or the path is one of another
    machine, an image of the same name is meant: if there are several, those
    with the longest equal end of the path, then those of the split or the
    folder that the file is called by, then those below a folder ``images``.
    Images that another path leads to are not meant.

    Args:
        named: A file and the path that it names: with ``/`` or ``\``,
            relative, absolute or an address.
        images: What there is. As the files, relative to the root.

    Returns:
        For each path the images that it may mean: one, none where it is
        missing, or several, sorted.
    """
    there = {normal_form(name): name for name in images}
    there |= {name: name for name in there.values()}
    parts = [
        [part for part in _BETWEEN.split(path) if part] for _, path in named
    ]
    exact = [
        _at(there, os.path.dirname(file), names)
        for (file, _), names in zip(named, parts, strict=True)
    ]
    left = set(there.values()).difference(exact)
    by_name = defaultdict(list)
    for name in sorted(left):
        by_name[normal_form(os.path.basename(name))].append(name)
    found = []
    for (file, _), names, place in zip(named, parts, exact, strict=True):
        if place is not None:
            found.append([place])
            continue
        base = normal_form(names[-1]) if names else ''
        alike = by_name.get(base) or by_name.get(unquote(base), [])
        ranks = {image: _rank(file, names, image) for image in alike}
        best = max(ranks.values(), default=None)
        found.append([image for image in alike if ranks[image] == best])
    return found


def _at(there: dict[str, str], folder: str, names: list[str]) -> str | None:
    """Return the image at a path that counts from a folder, if it is one."""
    if not names:
        return None
    path = os.path.normpath(os.path.join(folder, *names))
    return there.get(path) or there.get(normal_form(path))


def _rank(file: str, names: list[str], image: str) -> tuple[int, bool, bool]:
    """Tell how well an image fits a path that a file names."""
    *folders, _ = image.split('/')
    said = [normal_form(name) for name in reversed(names[:-1])]
    equal = 0
    for one, other in zip(said, reversed(folders), strict=False):
        if one != normal_form(other):
            break
        equal += 1
    split, stem = split_of(file), os.path.splitext(os.path.basename(file))[0]
    ends = tuple(f'_{folder}' for folder in folders)
    kin = split is not None and split == split_of(image)
    return (
        equal,
        kin or f'_{stem}'.endswith(ends),
        'images' in folders,
    )


def place_image(image: Path, path: Path) -> None:
    """Link an image to a place where a tool looks for it, or copy it.

    Args:
        image: The file; a link is resolved.
        path: The place. Missing folders are made.

    Raises:
        OSError: It cannot be read or written.
    """
    source = os.path.realpath(image)
    if path.exists() and path.samefile(source):
        return
    with atomic_path(path) as temporary:
        # Not every file system has hard links, and none to another.
        with suppress(OSError):
            os.link(source, temporary)
            return
        shutil.copyfile(source, temporary)


def claim(taken: set[str], path: str, item: Annotated) -> None:
    """Take the path of a file that belongs to one image alone.

    Args:
        taken: The paths of those before; it is added.
        path: The path, without suffix.
        item: The image.

    Raises:
        ValueError: It is taken.
    """
    if path in taken:
        raise ValueError(
            f'{item.name}: another image becomes {path} as well, by its name '
            'but for the suffix; expected names that differ'
        )
    taken.add(path)


def object_regions(item: Annotated, classes: Classes) -> Sequence[Region]:
    """Return the instances of an image that is to be written.

    Raises:
        ValueError: One is of no class of objects, or there is a label map
            alone.
    """
    for number, region in enumerate(item.regions):
        if region.category not in classes.objects:
            raise ValueError(
                f'{item.name}: regions[{number}] is of class '
                f'{region.category}; expected one of {classes.objects}'
            )
    if not item.regions and item.labels is not None:
        shown = np.isin(item.labels, classes.objects)
        if shown.any():
            raise ValueError(
                f'{item.name} has a label map and no regions; this format '
                'holds regions, such as those of regions_of_map'
            )
    return item.regions
