"""Crops of the instances in image files, as PNG files and a table."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
from mmseg_ext.inference.image_files import (
    UNFINISHED,
    check_folder,
    check_outside,
    find_images,
    long_name,
    stamp_of,
    stems_of,
    why_not_opened,
)
from mmseg_ext.utils.files import read_file, write_bytes, write_text
from mmseg_ext.utils.images import decode_image, write_png
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import csv_text, is_unicode, printable

# MMDet may be absent.
if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmdet.structures import DetDataSample

__all__ = ['CropReport', 'crop_files']

#: What transforms, PyTorch and MMDet raise for images that they cannot take,
#: such as a strip that is resized to a height of 0.
_DETECTION_ERRORS = (
    *(ArithmeticError, AssertionError, LookupError),
    *(RuntimeError, ValueError, cv2.error),
)


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
    stems = stems_of(found)
    report.unreadable = _unfit(stems)
    paths = [path for path in found if path not in report.unreadable]
    options = [score_thr, pad, str(background), upright, batch_size, device]
    stamp = stamp_of([checkpoint, *paths], [config, *options])
    check_outside(images, out_dir)
    check_folder(out_dir, stamp, 'crops')
    detector = load_detector(config, checkpoint, device)
    classes = detector.model.dataset_meta['classes']
    with (
        working_in(out_dir),
        tqdm(total=len(paths), unit='image', disable=not progress) as bar,
    ):
        write_bytes(out_dir / UNFINISHED, stamp)
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
        (out_dir / UNFINISHED).unlink()
    report.crops = len(rows)
    return report


def _crop_name(stem: str, number: int) -> str:
    return f'{stem}_{number:03}.png'


def _unfit(stems: Mapping[str, str]) -> dict[str, str]:
    """Return why images cannot be listed or their crops not be written."""
    reasons = {}
    for path, stem in stems.items():
        reason = long_name(path, _crop_name(stem, 1), 'crops')
        if not is_unicode(path):
            reason = (
                f'{printable(path)}: its name is not UTF-8, which crops.csv '
                'has to be; rename it'
            )
        if reason:
            reasons[path] = reason
    return reasons


def _read(
    paths: Sequence[str], unreadable: dict[str, str]
) -> dict[str, np.ndarray]:
    """Return images by their paths; note in ``unreadable`` what fails."""
    images = {}
    for path in paths:
        try:
            images[path] = decode_image(read_file(path), path)
        except OSError as error:
            unreadable[path] = printable(why_not_opened(path, error))
        except ValueError as error:
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
