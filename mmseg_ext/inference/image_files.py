"""Image files that a command gets, and the folder that it writes to."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmseg_ext.launch.configs import check_output
from mmseg_ext.utils.files import (
    MAX_NAME,
    find_files,
    name_bytes,
    visible_entries,
)
from mmseg_ext.utils.images import IMAGE_SUFFIXES
from mmseg_ext.utils.text import printable

__all__ = [
    'UNFINISHED',
    'check_folder',
    'check_outside',
    'common_folder',
    'find_images',
    'long_name',
    'stamp_of',
    'stems_of',
    'why_not_opened',
]

#: What the names of pictures end in that are not read, of cameras, phones,
#: browsers and painters, so that they are not left out without a word.
_OTHER_SUFFIXES = (
    *('.arw', '.avif', '.cr2', '.cr3', '.dng', '.exr', '.gif', '.hdr'),
    *('.heic', '.heif', '.hif', '.ico', '.jfif', '.jp2', '.jpe', '.jxl'),
    *('.mpo', '.nef', '.orf', '.pbm', '.pnm', '.psd', '.raf', '.raw'),
    *('.rw2', '.svg', '.tga', '.xcf'),
)

#: In a folder as long as its files are not all there: of which run they are.
UNFINISHED = '.unfinished'


def find_images(
    inputs: Sequence[str | os.PathLike], others: Counter[str] | None = None
) -> list[str]:
    """List images: files as they are, folders with all images below.

    Args:
        inputs: Paths of files and folders.
        others: Gets the number of pictures in the folders that are of no kind
            that is read, by suffix.

    Returns:
        Paths, each once; those of a folder are sorted.

    Raises:
        FileNotFoundError: A path is missing.
        ValueError: A folder has no images.
    """
    paths: dict[str, Path] = {}
    left_out: dict[str, Path] = {}
    for given in map(Path, inputs):
        rest: list[Path] = []
        if given.is_dir():
            found = [given / n for n in find_files(given, IMAGE_SUFFIXES)]
            rest = [given / n for n in find_files(given, _OTHER_SUFFIXES)]
        elif given.is_file():
            found = [given]
        else:
            raise FileNotFoundError(f'there is no image or folder {given}')
        if not found:
            of_others = f', but {len(rest)} of kinds that are not read'
            raise ValueError(
                f'there are no images in {given}{of_others if rest else ""}; '
                f'expected files that end in {", ".join(IMAGE_SUFFIXES)}'
            )
        for known, new in ((paths, found), (left_out, rest)):
            for path in new:
                # By any of its names a folder is searched once.
                place = os.path.join(os.path.realpath(path.parent), path.name)
                known.setdefault(place, path)
    if others is not None:
        others.update(path.suffix.lower() for path in left_out.values())
    return list(map(str, paths.values()))


def common_folder(paths: Sequence[str]) -> str:
    """Return the absolute path of the last folder that all files are below."""
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    return os.path.commonpath(folders)


def stems_of(paths: Sequence[str]) -> dict[str, str]:
    """Return how the files of each image begin, relative to their folder.

    Args:
        paths: The images.

    Returns:
        By image its path below the common folder of all. Suffixes are left
        out, unless there are images that differ in nothing else.
    """
    root = common_folder(paths)
    names = [
        Path(os.path.abspath(path)).relative_to(root).as_posix()
        for path in paths
    ]
    stems = [os.path.splitext(name)[0] for name in names]
    unique = len(set(stems)) == len(stems)
    return dict(zip(paths, stems if unique else names, strict=True))


def long_name(path: str, name: str, what: str) -> str | None:
    """Return why nothing can be written for an image, or None if it can.

    Args:
        path: The image.
        name: A file that is written for it.
        what: What such files are, in words.
    """
    length = name_bytes(os.path.basename(name))
    if length <= MAX_NAME:
        return None
    return (
        f'{printable(path)}: its name is too long: its {what} would have '
        f'{length} bytes in their names, and file systems take {MAX_NAME}; '
        'rename it'
    )


def check_outside(
    inputs: Iterable[str | os.PathLike], out_dir: str | os.PathLike
) -> None:
    """Check that a folder to write is in none that is searched for images.

    Raises:
        ValueError: It is.
    """
    for folder in inputs:
        if Path(folder).resolve() in Path(out_dir).resolve().parents:
            raise ValueError(
                f'out_dir={out_dir} lies in {folder}, where the next run '
                'would look for images: choose another folder'
            )


def stamp_of(files: Sequence[str], options: Sequence[Any]) -> bytes:
    """Return what tells a run from others: files as they are, and options."""
    states = [(f, os.stat(f)) for f in files if os.path.isfile(f)]
    stamps = [(f, state.st_size, state.st_mtime_ns) for f, state in states]
    return repr([stamps, options]).encode()


def check_folder(out_dir: Path, stamp: bytes, what: str) -> None:
    """Check that nothing of another run is in a folder.

    Args:
        out_dir: The folder; it need not be there.
        stamp: Of this run; it is in :data:`UNFINISHED` if that was stopped.
        what: What runs write, in words.

    Raises:
        ValueError: There is something, or what is there is no folder.
    """
    check_output('out_dir', str(out_dir))
    before = None
    with suppress(FileNotFoundError):
        before = (out_dir / UNFINISHED).read_bytes()
    if before == stamp or not any(visible_entries(out_dir)):
        return
    if before is not None:
        raise ValueError(
            f'{out_dir} belongs to a stopped run of other images, config, '
            'checkpoint or options, or of files that have changed since; name '
            'a new folder or remove it'
        )
    raise ValueError(
        f'{out_dir} is not an empty folder, and {what} of other runs would '
        'stay among the new ones; name a new folder or remove it'
    )


def why_not_opened(path: str, error: OSError) -> str:
    """Return in plain words why a file could not be opened."""
    if os.path.islink(path) and not os.path.exists(path):
        return f'{path} is a link to {os.readlink(path)}, which is not there'
    if isinstance(error, PermissionError):
        return f'{path}: there is no permission to read it'
    if error.strerror:
        return f'{path} cannot be opened: {error.strerror}'
    return str(error)
