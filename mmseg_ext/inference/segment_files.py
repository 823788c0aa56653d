"""Label maps of image files, as PNG files and pictures."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from mmseg_ext.inference.image_files import (
    UNFINISHED,
    check_folder,
    check_outside,
    common_folder,
    find_images,
    long_name,
    stamp_of,
    stems_of,
    why_not_opened,
)
from mmseg_ext.inference.segmentors import Segmentor, load_segmentor
from mmseg_ext.utils.files import write_bytes
from mmseg_ext.utils.images import encode_labels, encode_png, write_png
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import printable
from mmseg_ext.visualization.panel import (
    Style,
    draw_panel,
    fit_tile,
    make_style,
)

__all__ = ['LABELS', 'PICTURES', 'SegmentReport', 'segment_files']

#: Folder of the label maps, in the one that is given.
LABELS = 'labels'

#: Folder of the pictures, beside it.
PICTURES = 'pictures'

#: What transforms, PyTorch and MMSeg raise for images that they cannot take.
_ERRORS = (
    *(ArithmeticError, AssertionError, LookupError),
    *(RuntimeError, ValueError, cv2.error),
)

#: What torch says where the CPU has no memory left, in one of its builds.
_NO_MEMORY = ("can't allocate memory", 'not enough memory')

#: Seconds after which a bar counts the windows of an image.
_SLOW = 2


@dataclass
class SegmentReport:
    """Result of :func:`segment_files`.

    Attributes:
        folder: That which label maps are laid out like: the common one of
            all images.
        images: Number of images that have label maps.
        unreadable: Why an image could not be read or segmented, by its path.
        others: Number of pictures in the folders that are of no kind that is
            read, by suffix.
    """

    folder: str
    images: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


class _Files(NamedTuple):
    """What is written for an image; ``picture`` is None without pictures."""

    labels: Path
    picture: Path | None

    def are_there(self) -> bool:
        """Return whether an earlier run wrote them; each is whole."""
        return all(path is None or path.exists() for path in self)


def segment_files(
    config: str,
    checkpoint: str,
    images: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    *,
    crop_size: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    window_batch: int | None = None,
    pictures: bool = True,
    device: str | None = None,
    cfg_options: dict[str, Any] | None = None,
    progress: bool = True,
    on_note: Callable[[str], None] | None = None,
) -> SegmentReport:
    """Segment image files and write a label map and a picture of each.

    Labels are those of a test with this config, or of ``MMSegInferencer``:
    indices of its classes. They are PNG files, laid out in ``labels`` like
    the images below their common folder: ``labels/a/street.png`` for
    ``a/street.jpg``, of 8 bits, or 16 for more than 255 classes. Pictures in
    ``pictures`` have the same names: the image, the labels and both over
    another, made small, over a legend.

    Where windows slide over images of their own size, memory holds the image
    as uint8, its labels and the logits of a row of windows; any image that
    OpenCV reads will do, of up to 2^30 pixels.

    Args:
        config: See :func:`load_segmentor`.
        checkpoint: See :func:`load_segmentor`.
        images: Image files, and folders that are searched with all below.
        out_dir: Folder to write: new, empty, or of the same call when it was
            stopped, which then goes on.
        crop_size: See :func:`load_segmentor`.
        stride: See :func:`load_segmentor`.
        window_batch: See :func:`load_segmentor`.
        pictures: Write pictures, too.
        device: See :func:`load_segmentor`.
        cfg_options: See :func:`load_segmentor`.
        progress: Show a progress bar.
        on_note: See :func:`load_segmentor`.

    Returns:
        Counts, and the images that could not be read or segmented.

    Raises:
        FileNotFoundError: The checkpoint or an image is missing.
        ValueError: As for :func:`load_segmentor`; or there are no images,
            ``out_dir`` is not empty, or pictures lack names and colors of
            the classes.
    """
    out_dir = Path(out_dir)
    others: Counter[str] = Counter()
    found = find_images(images, others)
    report = SegmentReport(common_folder(found), others=others)
    stems = stems_of(found)
    for path, stem in stems.items():
        if reason := long_name(path, f'{stem}.png', 'label map'):
            report.unreadable[path] = reason
    paths = [path for path in found if path not in report.unreadable]
    options = [crop_size, stride, window_batch, pictures, device, cfg_options]
    stamp = stamp_of([checkpoint, *paths], [config, *options])
    check_outside(images, out_dir)
    check_folder(out_dir, stamp, 'label maps')
    segmentor = load_segmentor(
        config,
        checkpoint,
        device,
        crop_size=crop_size,
        stride=stride,
        window_batch=window_batch,
        cfg_options=cfg_options,
        on_note=on_note,
    )
    style = _style_of(segmentor) if pictures else None
    with working_in(out_dir):
        write_bytes(out_dir / UNFINISHED, stamp)
        for path in tqdm(paths, unit='image', disable=not progress):
            name = f'{stems[path]}.png'
            files = _Files(
                out_dir / LABELS / name,
                out_dir / PICTURES / name if pictures else None,
            )
            if not files.are_there():
                reason = _segment(segmentor, path, files, style, progress)
                if reason:
                    report.unreadable[path] = printable(reason)
                    continue
            report.images += 1
        (out_dir / UNFINISHED).unlink()
    return report


def _style_of(segmentor: Segmentor) -> Style:
    """Return how the classes of a segmentor are shown.

    Raises:
        ValueError: It has no names and colors for them.
    """
    wanted = segmentor.model.num_classes
    names, colors = segmentor.classes or (), segmentor.palette or ()
    where = "the checkpoint, or else the config's test set"
    mend = 'go without by pictures=False'
    if not len(names) == len(colors) == wanted:
        raise ValueError(
            f'the model has {wanted} classes, and {where}, {len(names)} names '
            f'and {len(colors)} colors for them, which pictures need; {mend}'
        )
    try:
        return make_style(names, colors, where)
    except ValueError as error:
        raise ValueError(f'{error}; {mend}') from error


def _segment(
    segmentor: Segmentor,
    path: str,
    files: _Files,
    style: Style | None,
    progress: bool,
) -> str | None:
    """Write the files of an image; return why it has none, if that fails."""
    try:
        image = segmentor.read(path)
    except OSError as error:
        return why_not_opened(path, error)
    except ValueError as error:
        return str(error)
    except MemoryError:
        return f'{path}: memory does not suffice to read it; divide it'
    try:
        labels = _labels_of(segmentor, image, progress)
    except (MemoryError, *_ERRORS) as error:
        return _why_not_segmented(segmentor, path, image['img'].shape, error)
    # What a stop leaves out comes last: whole files are not made again.
    if style and files.picture:
        shown = _as_rgb(fit_tile(image['img'], cv2.INTER_AREA))
        maps = {'prediction': fit_tile(labels, cv2.INTER_NEAREST)}
        panel = draw_panel(os.path.basename(path), shown, maps, style)
        write_png(files.picture, panel[..., ::-1])
    eight = labels.dtype == np.uint8
    write_bytes(
        files.labels,
        encode_labels(labels)
        if eight
        else encode_png(labels.astype(np.uint16)),
    )
    return None


def _labels_of(
    segmentor: Segmentor, image: Mapping[str, Any], progress: bool
) -> np.ndarray:
    """Segment an image; where that takes long, with a bar of its windows."""
    with tqdm(
        unit='window', leave=False, delay=_SLOW, disable=not progress
    ) as bar:
        return segmentor.segment(image, partial(_show, bar))


def _show(bar: tqdm, done: int, total: int) -> None:
    """Show how many windows of an image are done."""
    bar.total = total
    bar.update(done - bar.n)


def _why_not_segmented(
    segmentor: Segmentor, path: str, shape: Sequence[int], error: BaseException
) -> str:
    """Return in one line why a model fails for an image, and what to do."""
    size = f'{shape[1]}x{shape[0]} pixels'
    short = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    if short or any(text in str(error) for text in _NO_MEMORY):
        mend = (
            'give smaller windows with crop_size and stride, or window_batch=1'
            if segmentor.slides
            else 'give crop_size=512 for windows that slide over it'
        )
        return f'{path}: memory does not suffice for its {size}; {mend}'
    reason = ' '.join(str(error).split()) or type(error).__name__
    return f'{path}: the segmentor fails for its {size}: {reason}'


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """Return what a loader gave as a picture, uint8 RGB (H, W, 3)."""
    if image.ndim == 2 or image.shape[2] < 3:
        gray = image if image.ndim == 2 else image[..., 0]
        image = np.repeat(gray[..., None], 3, axis=2)
    return np.clip(image[..., 2::-1], 0, 255).astype(np.uint8)
