"""Crops of the instances in image files, as PNG files and a table."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from mmseg_ext.inference.crops import (
    KEEP,
    Background,
    Crop,
    check_options,
    crop_instances,
)
from mmseg_ext.inference.detectors import detect, load_detector
from mmseg_ext.utils.files import (
    MAX_NAME,
    find_files,
    name_bytes,
    read_file,
    visible_entries,
    write_bytes,
    write_text,
)
from mmseg_ext.utils.images import IMAGE_SUFFIXES, decode_image, write_png
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import csv_text, is_unicode, printable

# MMDet may be absent.
if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmdet.structures import DetDataSample

__all__ = ['CropReport', 'crop_files', 'find_images']

#: What the names of pictures end in that are not read, of cameras, phones,
#: browsers and painters, so that they are not left out without a word.
_OTHER_SUFFIXES = (
    *('.arw', '.avif', '.cr2', '.cr3', '.dng', '.exr', '.gif', '.hdr'),
    *('.heic', '.heif', '.hif', '.ico', '.jfif', '.jp2', '.jpe', '.jxl'),
    *('.mpo', '.nef', '.orf', '.pbm', '.pnm', '.psd', '.raf', '.raw'),
    *('.rw2', '.svg', '.tga', '.xcf'),
)

#: What transforms, PyTorch and MMDet raise for images that they cannot take,
#: such as a strip that is resized to a height of 0.
_DETECTION_ERRORS = (
    *(ArithmeticError, AssertionError, LookupError),
    *(RuntimeError, ValueError, cv2.error),
)


#: In a folder as long as its crops are not all there: of which run they are.
_UNFINISHED = '.unfinished'


@dataclass
class CropReport:
    """Result of :func:`crop_files`.

    Attributes:
        images: Number of images that were searched.
        crops: Number of crops.
        unreadable: Why an image could not be read, searched or listed, by its
            path.
        others: Number of pictures in the folders that are of no kind that is
            read, by suffix.
    """

    images: int = 0
    crops: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


class _Row(NamedTuple):
    """Row of ``crops.csv``; the fields are its header."""

    image: str
    crop: str
    x1: str
    y1: str
    x2: str
    y2: str
    score: str
    area: int | None
    angle: str | None
    label: str


def crop_files(
    config: str,
    checkpoint: str,
    images: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    score_thr: float = 0.5,
    pad: float = 0.1,
    background: Background = KEEP,
    upright: bool = False,
    batch_size: int = 1,
    device: str | None = None,
    progress: bool = True,
) -> CropReport:
    """Detect instances in image files and write a crop of each.

    Crops are PNG files, laid out in ``out_dir`` like the images below their
    common folder: instances of ``a/hand.jpg`` are ``a/hand_001.png`` and so
    on, highest score first. ``crops.csv`` lists them and is written last,
    also if images could not be read, or if the detector fails for some.

    Args:
        config: Path of an MMDet config, or the name of one of this package.
        checkpoint: Path of a checkpoint; loaded with ``weights_only``.
        images: Image files, and folders that are searched with all below.
        out_dir: Folder to write: new, empty, or of the same call when it was
            stopped.
        score_thr: See :func:`crop_instances`.
        pad: See :func:`crop_instances`.
        background: See :func:`crop_instances`.
        upright: See :func:`crop_instances`.
        batch_size: Number of images that the detector takes at once.
        device: Such as ``'cpu'`` or ``'cuda:0'``; by default a GPU if there
            is one.
        progress: Show a progress bar.

    Returns:
        Counts, and the images that could not be read.

    Raises:
        FileNotFoundError: The checkpoint or an image is missing.
        ValueError: An argument is out of range, there are no images,
            ``out_dir`` is not empty, config and checkpoint do not fit, or the
            detector lacks the masks that are needed.
    """
    check_options(score_thr, pad, background)
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size}: expected 1 or more')
    out_dir = Path(out_dir)
    report, rows = CropReport(), []
    found = find_images(images, report.others)
    stems = _stems(found)
    report.unreadable = _unfit(stems)
    paths = [path for path in found if path not in report.unreadable]
    options = [score_thr, pad, str(background), upright, batch_size, device]
    stamp = _stamp([checkpoint, *paths], [config, *options])
    for folder in images:
        if Path(folder).resolve() in out_dir.resolve().parents:
            raise ValueError(
                f'out_dir={out_dir} lies in {folder}, where the next run '
                'would look for images: choose another folder'
            )
    _check_folder(out_dir, stamp)
    detector = load_detector(config, checkpoint, device)
    classes = detector.model.dataset_meta['classes']
    with (
        working_in(out_dir),
        tqdm(total=len(paths), unit='image', disable=not progress) as bar,
    ):
        write_bytes(out_dir / _UNFINISHED, stamp)
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            batch = _read(chunk, report.unreadable)
            for path, sample in _detect(detector, batch, report.unreadable):
                crops = crop_instances(
                    batch[path],
                    sample,
                    score_thr=score_thr,
                    pad=pad,
                    background=background,
                    upright=upright,
                )
                report.images += 1
                for number, crop in enumerate(crops, 1):
                    name = _crop_name(stems[path], number)
                    write_png(out_dir / name, crop.image)
                    rows.append(_row(path, name, crop, classes))
            bar.update(len(chunk))
        text = csv_text([_Row._fields, *rows])
        write_text(out_dir / 'crops.csv', text, durable=True)
        (out_dir / _UNFINISHED).unlink()
    report.crops = len(rows)
    return report


def _stamp(files: Sequence[str], options: Sequence[Any]) -> bytes:
    """Return what tells a run from others: files as they are, and options."""
    states = [(f, os.stat(f)) for f in files if os.path.isfile(f)]
    stamps = [(f, state.st_size, state.st_mtime_ns) for f, state in states]
    return repr([stamps, options]).encode()


def _check_folder(out_dir: Path, stamp: bytes) -> None:
    """Check that no crops of another run are in a folder.

    Raises:
        ValueError: There are, or what is there is no folder.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        if (out_dir / _UNFINISHED).read_bytes() == stamp:
            return
    other = out_dir.exists() and not out_dir.is_dir()
    if other or any(visible_entries(out_dir)):
        raise ValueError(
            f'{out_dir} is not an empty folder, and crops of other runs would '
            'stay among the new ones; name a new folder or remove it'
        )


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
            raise ValueError(
                f'there are no images in {given}, and {len(rest)} pictures of '
                'kinds that are not read; expected files that end in '
                f'{", ".join(IMAGE_SUFFIXES)}'
            )
        for known, new in ((paths, found), (left_out, rest)):
            for path in new:
                # By any of its names a folder is searched once.
                place = os.path.join(os.path.realpath(path.parent), path.name)
                known.setdefault(place, path)
    if others is not None:
        others.update(path.suffix.lower() for path in left_out.values())
    return list(map(str, paths.values()))


def _stems(paths: Sequence[str]) -> dict[str, str]:
    """Return how the crops of each image begin, relative to the output folder.

    Suffixes are left out, unless there are images that differ in nothing
    else.
    """
    places = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(place) for place in places])
    names = [Path(place).relative_to(root).as_posix() for place in places]
    stems = [os.path.splitext(name)[0] for name in names]
    unique = len(set(stems)) == len(stems)
    return dict(zip(paths, stems if unique else names, strict=True))


def _crop_name(stem: str, number: int) -> str:
    return f'{stem}_{number:03}.png'


def _unfit(stems: Mapping[str, str]) -> dict[str, str]:
    """Return why images cannot be listed or their crops not be written."""
    reasons = {}
    for path, stem in stems.items():
        name = os.path.basename(_crop_name(stem, 1))
        if not is_unicode(path):
            reason = 'is not UTF-8, which crops.csv has to be'
        elif name_bytes(name) > MAX_NAME:
            reason = f'is too long: its crops would have {name_bytes(name)} '
            reason += f'bytes in their names, and file systems take {MAX_NAME}'
        else:
            continue
        reasons[path] = f'{printable(path)}: its name {reason}; rename it'
    return reasons


def _read(
    paths: Sequence[str], unreadable: dict[str, str]
) -> dict[str, np.ndarray]:
    """Return images by their paths; note in ``unreadable`` what fails."""
    images = {}
    for path in paths:
        try:
            images[path] = decode_image(read_file(path), path)
        except (OSError, ValueError) as error:
            unreadable[path] = printable(str(error))
    return images


def _detect(
    detector: 'DetInferencer',
    images: Mapping[str, np.ndarray],
    unreadable: dict[str, str],
) -> Iterator[tuple[str, 'DetDataSample']]:
    """Yield path and sample of the images that the detector can take."""
    try:
        samples = detect(detector, list(images.values()))
    except _DETECTION_ERRORS as error:
        if len(images) == 1:
            [(path, image)] = images.items()
            height, width = image.shape[:2]
            reason = ' '.join(str(error).split()) or type(error).__name__
            unreadable[path] = (
                f'{printable(path)}: the detector fails for its '
                f'{width}x{height} pixels: {reason}'
            )
            return
    else:
        yield from zip(images, samples, strict=True)
        return
    # One by one, to tell for which it fails.
    for path, image in images.items():
        yield from _detect(detector, {path: image}, unreadable)


def _row(path: str, name: str, crop: Crop, classes: Sequence[str]) -> _Row:
    """Return the row of a crop."""
    x1, y1, x2, y2 = (f'{value:.2f}' for value in crop.box)
    score = f'{crop.score:.4f}'
    angle = None if crop.angle is None else f'{crop.angle:.2f}'
    label = classes[crop.label]
    return _Row(path, name, x1, y1, x2, y2, score, crop.area, angle, label)
