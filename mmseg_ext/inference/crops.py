"""One crop for each instance that a detector finds in photographs."""

import csv
import io
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from PIL import ImageColor
from tqdm import tqdm

from mmseg_ext.checkpoint import (
    check_checkpoint,
    read_checkpoint,
    weights_only,
)
from mmseg_ext.formats.rle import decode_runs, paint_runs
from mmseg_ext.launch.configs import load_config, scope_of
from mmseg_ext.utils.files import write_text
from mmseg_ext.utils.images import decode_image, write_png

# MMDet may be absent.
if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmdet.structures import DetDataSample

KEEP = 'keep'
TRANSPARENT = 'transparent'

#: What becomes of the background: kept, transparent, or a color (R, G, B).
Background = str | tuple[int, int, int]

#: Of ``crops.csv``.
COLUMNS = (
    *('image', 'crop', 'x1', 'y1', 'x2', 'y2'),
    *('score', 'area', 'angle', 'label'),
)

#: Of the files that count as images in a folder, as for MMDet's inferencer.
SUFFIXES = (
    *('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm'),
    *('.tif', '.tiff', '.webp'),
)


@dataclass(frozen=True)
class Crop:
    """An instance, cut out.

    Attributes:
        image: uint8 BGR (h, w, 3), or BGRA (h, w, 4) with a transparent
            background, which is black for who ignores alpha.
        box: x1, y1, x2, y2 in pixels of the whole image, without padding.
        score: 0 to 1.
        label: Class index.
        area: Number of pixels that are the instance's own; None without
            masks.
        angle: How far the long axis of these pixels leans to the right of
            upright, in degrees, above -90 to 90; the higher end of the axis
            counts as its top. 0 where no axis is the longest, None without
            masks.
    """

    image: np.ndarray
    box: tuple[float, float, float, float]
    score: float
    label: int
    area: int | None
    angle: float | None


@dataclass(frozen=True)
class _Instance:
    """An instance above the threshold.

    Attributes:
        box: x1, y1, x2, y2.
        score: 0 to 1.
        label: Class index.
        own: uint8 (h, w), 255 where pixels are its own, 0 elsewhere; None
            without masks.
        corner: x, y of the first pixel of ``own`` in the image.
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    own: np.ndarray | None = None
    corner: tuple[int, int] = (0, 0)


def crop_instances(
    image: np.ndarray,
    sample: 'DetDataSample',
    score_thr: float = 0.5,
    pad: float = 0.1,
    background: Background = KEEP,
    upright: bool = False,
) -> list[Crop]:
    """Cut out the instances of one image.

    Where masks overlap, the pixels are those of the instance with the highest
    score. An instance without any of its own, be it that its mask is empty or
    wholly under others, gives no crop.

    Args:
        image: uint8 BGR (H, W, 3).
        sample: With ``pred_instances``: ``scores`` (N,), ``labels`` (N,),
            ``bboxes`` (N, 4) as x1, y1, x2, y2 in pixels of ``image``, and
            ``masks``: bool (N, H, W), tensor or array, or N dicts of COCO's
            compressed RLE. Boxes without size, as of detectors that have
            none, are taken from the masks.
        score_thr: Instances that score less are left out.
        pad: What is added on each side, relative to width and height of the
            box. Crops end at the border of the image.
        background: ``'keep'``, ``'transparent'``, or the color (R, G, B) that
            all but the instance gets.
        upright: Turn the instance by its ``angle``, so that its long axis is
            vertical, and crop along its own pixels instead of the box. What
            lies outside of the image is black where the background is kept.

    Returns:
        The crops, highest score first.

    Raises:
        ValueError: An argument is out of range, the masks are of another size
            than the image, or there are none and they are needed.
    """
    _check_options(score_thr, pad)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'image is {image.dtype} {image.shape}; expected uint8 (H, W, 3)'
        )
    found = sample.pred_instances
    if 'masks' not in found and (upright or background != KEEP):
        raise ValueError(
            'the detector gives boxes but no masks: without them there is no '
            'background to remove and no axis to turn upright; take a model '
            'with a mask head, such as Mask R-CNN'
        )
    crops = []
    for instance in _separate(found, score_thr, image.shape[:2]):
        area = angle = None
        if instance.own is not None:
            moments = cv2.moments(instance.own, binaryImage=True)
            area, angle = int(moments['m00']), _lean(moments)
        if area == 0:
            continue
        if upright:
            picture, mask = _turn(image, instance, angle, pad)
        else:
            region = _region(instance.box, pad, image.shape[:2])
            picture, mask = image[region], _own_in(region, instance)
        if not picture.size:  # the box has no size or is outside
            continue
        crops.append(
            Crop(
                image=_remove_background(picture, mask, background),
                box=instance.box,
                score=instance.score,
                label=instance.label,
                area=area,
                angle=angle,
            )
        )
    return crops


def _check_options(score_thr: float, pad: float) -> None:
    """Check what is common to all images."""
    if not 0 <= score_thr <= 1:
        raise ValueError(f'score_thr is {score_thr}; expected 0 to 1')
    if not 0 <= pad < math.inf:
        raise ValueError(
            f'pad is {pad}; expected 0 or more, relative to the box'
        )


def _separate(
    found: Any, score_thr: float, shape: tuple[int, int]
) -> Iterator[_Instance]:
    """Give the instances, best first, with the pixels that are their own."""
    scores, labels, boxes = (
        _array(found[key]) for key in ('scores', 'labels', 'bboxes')
    )
    taken = np.zeros(shape, bool)
    for index in np.argsort(-scores, kind='stable').tolist():
        if not scores[index] >= score_thr:  # lower, or not a number
            return
        box = tuple(boxes[index].tolist())
        facts = float(scores[index]), int(labels[index])
        if 'masks' not in found:
            yield _Instance(box, *facts)
            continue
        mask = _read_mask(found.masks[index], shape)
        x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
        part = np.s_[y : y + h, x : x + w]
        own = (mask[part] & ~taken[part]) * np.uint8(255)
        taken[part] |= mask[part]
        if box[0] >= box[2] or box[1] >= box[3]:
            box = tuple(map(float, (x, y, x + w, y + h)))
        yield _Instance(box, *facts, own, (x, y))


def _array(values: Any) -> np.ndarray:
    """Give a tensor of any device, or an array, as array."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _read_mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    """Give a mask as bool (H, W), and check its size."""
    if isinstance(mask, dict):
        size = tuple(mask['size'])
    else:
        mask = _array(mask)
        size = mask.shape
    if size != shape:
        raise ValueError(
            f'a mask is of height x width {"x".join(map(str, size))}, its '
            f'image of {shape[0]}x{shape[1]}; predictions have to be at the '
            'size of the image'
        )
    if not isinstance(mask, dict):
        return np.ascontiguousarray(mask, bool)
    counts = mask['counts']
    counts = counts.encode() if isinstance(counts, str) else counts
    columns = np.zeros(shape[0] * shape[1], np.uint8)
    paint_runs(columns, decode_runs([counts], shape)[0], 1)
    return np.ascontiguousarray(columns.reshape(shape[::-1]).T.view(bool))


def _lean(moments: dict[str, float]) -> float:
    """Give the angle of the long axis, see :class:`Crop`.

    The axis is that of the ellipse with the same second moments; it is at
    ``atan2(2 mu11, mu20 - mu02) / 2`` to the x axis (Hu, "Visual pattern
    recognition by moment invariants", 1962).
    """
    across, along = 2 * moments['mu11'], moments['mu20'] - moments['mu02']
    if math.hypot(across, along) <= 1e-9 * (moments['mu20'] + moments['mu02']):
        return 0.0
    to_x_axis = math.degrees(math.atan2(across, along)) / 2  # clockwise
    return to_x_axis + 90 if to_x_axis <= 0 else to_x_axis - 90


def _region(
    box: tuple[float, float, float, float],
    pad: float,
    shape: tuple[int, int],
) -> tuple[slice, slice]:
    """Give the rows and columns of a padded box that are in the image."""
    x1, y1, x2, y2 = box
    dx, dy = pad * (x2 - x1), pad * (y2 - y1)
    return _pixels(y1 - dy, y2 + dy, shape[0]), _pixels(
        x1 - dx, x2 + dx, shape[1]
    )


def _pixels(low: float, high: float, size: int) -> slice:
    """Give the pixels that a range touches, inside of the image."""
    start = math.floor(min(max(0, low), size))
    return slice(start, max(start, math.ceil(min(max(0, high), size))))


def _own_in(
    region: tuple[slice, slice], instance: _Instance
) -> np.ndarray | None:
    """Give the mask of an instance in a region of the image.

    Returns:
        uint8 of the size of the region, 0 and 255; None without masks.
    """
    if instance.own is None:
        return None
    rows, columns = region
    x, y = instance.corner
    top, left = min(y, rows.start), min(x, columns.start)
    height, width = instance.own.shape
    bottom, right = max(y + height, rows.stop), max(x + width, columns.stop)
    canvas = np.zeros((bottom - top, right - left), np.uint8)
    canvas[y - top :, x - left :][:height, :width] = instance.own
    return canvas[
        rows.start - top : rows.stop - top,
        columns.start - left : columns.stop - left,
    ]


def _turn(
    image: np.ndarray, instance: _Instance, angle: float, pad: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut out an instance, turned counterclockwise by an angle.

    Returns:
        uint8 (h, w, 3), and the mask, uint8 (h, w), 0 and 255.
    """
    outlines, _ = cv2.findContours(
        instance.own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    points = np.concatenate(outlines)[:, 0] + instance.corner
    matrix = cv2.getRotationMatrix2D((0, 0), angle, 1)
    turned = points @ matrix[:, :2].T
    low, high = turned.min(0), turned.max(0)
    # A pixel reaches half a pixel beyond its center. What is less than a
    # millionth is a rounding error of right angles.
    extent = np.ceil(high - low + 1 - 1e-6)
    size = extent + 2 * np.ceil(pad * extent - 1e-6)
    matrix[:, 2] = (size - 1) / 2 - (low + high) / 2
    size = size.astype(int).tolist()
    picture = cv2.warpAffine(image, matrix, size)
    matrix[:, 2] += matrix[:, :2] @ instance.corner
    mask = cv2.warpAffine(instance.own, matrix, size)
    return picture, cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)[1]


def _remove_background(
    picture: np.ndarray, mask: np.ndarray | None, background: Background
) -> np.ndarray:
    """Give a copy with all but the mask as asked for."""
    if background == KEEP:
        return picture.copy()
    result = np.zeros_like(picture)
    if background != TRANSPARENT:
        result[:] = background[::-1]
    cv2.copyTo(picture, mask, result)
    if background == TRANSPARENT:
        result = cv2.cvtColor(result, cv2.COLOR_BGR2BGRA)
        result[..., 3] = mask
    return result


# Files.


@dataclass
class CropReport:
    """What was done.

    Attributes:
        images: Number of images that were read.
        crops: Number of crops.
        unreadable: Path of each image that was not, and why.
    """

    images: int = 0
    crops: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def crop_files(
    config: str,
    checkpoint: str,
    images: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
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
    on, highest score first. ``crops.csv`` lists them and is written last.

    Args:
        config: Path of an MMDet config, or the name of one of this package.
        checkpoint: Path of a checkpoint; loaded with ``weights_only``.
        images: Image files, and folders that are searched with all below.
        out_dir: Folder to write; new or empty.
        score_thr: See :func:`crop_instances`.
        pad: See :func:`crop_instances`.
        background: See :func:`crop_instances`.
        upright: See :func:`crop_instances`.
        batch_size: Images that the detector takes at once.
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
    _check_options(score_thr, pad)
    if batch_size < 1:
        raise ValueError(f'batch_size is {batch_size}; expected 1 or more')
    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(
            f'{out_dir} is not an empty folder, and crops of other runs would '
            'stay among the new ones; name a new folder or remove it'
        )
    paths = find_images(images)
    stems = _stems(paths)
    detector = load_detector(config, checkpoint, device)
    classes = detector.model.dataset_meta['classes']
    report, rows = CropReport(), []
    with tqdm(total=len(paths), unit='image', disable=not progress) as bar:
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            batch = _read(chunk, report.unreadable)
            samples = detect(detector, list(batch.values()))
            for (path, image), sample in zip(
                batch.items(), samples, strict=True
            ):
                crops = crop_instances(
                    image, sample, score_thr, pad, background, upright
                )
                for number, crop in enumerate(crops, 1):
                    name = f'{stems[path]}_{number:03}.png'
                    write_png(out_dir / name, crop.image)
                    rows.append(_row(path, name, crop, classes))
            report.images += len(batch)
            bar.update(len(chunk))
    report.crops = len(rows)
    _write_table(out_dir / 'crops.csv', rows)
    return report


def find_images(inputs: Sequence[str | os.PathLike]) -> list[str]:
    """List images: files as they are, folders with all images below.

    Args:
        inputs: Paths of files and folders.

    Returns:
        Paths, each once, folders in the order of the names in them.

    Raises:
        FileNotFoundError: A path is missing.
        ValueError: A folder has no images.
    """
    paths: dict[str, str] = {}
    for given in map(Path, inputs):
        if given.is_dir():
            found = sorted(
                path
                for path in given.rglob('*')
                if path.suffix.lower() in SUFFIXES and path.is_file()
            )
        elif given.is_file():
            found = [given]
        else:
            raise FileNotFoundError(f'there is no image or folder {given}')
        if not found:
            raise ValueError(
                f'there are no images in {given}; expected files that end in '
                f'{", ".join(SUFFIXES)}'
            )
        for path in found:
            paths.setdefault(os.path.abspath(path), str(path))
    return list(paths.values())


def _stems(paths: Sequence[str]) -> dict[str, str]:
    """Name the crops of each image, relative to the output folder.

    Suffixes are left out, unless there are images that differ in nothing
    else.
    """
    places = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(place) for place in places])
    names = [Path(place).relative_to(root).as_posix() for place in places]
    stems = [os.path.splitext(name)[0] for name in names]
    unique = len(set(stems)) == len(stems)
    return dict(zip(paths, stems if unique else names, strict=True))


def load_detector(
    config: str, checkpoint: str, device: str | None = None
) -> 'DetInferencer':
    """Load a detector with MMDet's inferencer.

    Args:
        config: Path of an MMDet config, or the name of one of this package.
        checkpoint: Path of a checkpoint; loaded with ``weights_only``.
        device: Where it runs; by default on a GPU if there is one.

    Returns:
        The inferencer. Where the checkpoint does not say what its classes are
        called, ``model.dataset_meta`` has the names of the config.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: There is no such config, it is not one of MMDet, the
            checkpoint is refused or does not fit, or the device is not there.
    """
    cfg = load_config(config)
    absent = [k for k in ('model', 'test_dataloader') if k not in cfg]
    if scope_of(cfg) != 'mmdet' or absent:
        raise ValueError(
            f'{config} is not the config of a detector: expected one with '
            'default_scope mmdet, a model and a test_dataloader'
        )
    _check_device(device)
    content = read_checkpoint(checkpoint)
    # After load_config, which says if MMDet is not installed.
    from mmdet.apis import DetInferencer

    # Of no use here; the inferencer wants one, without a folder to write to.
    cfg.visualizer = dict(type='DetLocalVisualizer')
    with weights_only(), warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'dataset_meta or class names are')
        detector = DetInferencer(
            cfg, checkpoint, device=device, show_progress=False
        )
    check_checkpoint(detector.model, checkpoint)
    if 'dataset_meta' not in content.get('meta', {}):
        detector.model.dataset_meta['classes'] = _classes(cfg)
    return detector


def _check_device(device: str | None) -> None:
    """Check that there is a device of that name."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(
            f'device {device!r} cannot be used: {reason}'
        ) from None


def _classes(cfg: Config) -> Sequence[str]:
    """Give the names of the classes of a config's test set."""
    from mmdet.registry import DATASETS

    dataset = {**cfg.test_dataloader.dataset, 'lazy_init': True}
    return DATASETS.build(dataset).metainfo['classes']


def detect(
    detector: 'DetInferencer', images: Sequence[np.ndarray]
) -> list['DetDataSample']:
    """Detect instances in a batch of images.

    Args:
        detector: MMDet's inferencer.
        images: uint8 BGR (H, W, 3) of any sizes.

    Returns:
        A sample for each image.
    """
    if not images:
        return []
    results = detector(
        list(images), batch_size=len(images), return_datasamples=True
    )
    return results['predictions']


def _read(
    paths: Sequence[str], unreadable: dict[str, str]
) -> dict[str, np.ndarray]:
    """Decode images as MMDet's loader does; note what cannot be read."""
    images = {}
    for path in paths:
        try:
            images[path] = decode_image(Path(path).read_bytes(), path)
        except (OSError, ValueError) as error:
            unreadable[path] = str(error)
    return images


def _row(path: str, name: str, crop: Crop, classes: Sequence[str]) -> list:
    """Give the row of a crop."""
    return [
        path,
        name,
        *(f'{value:.2f}' for value in crop.box),
        f'{crop.score:.4f}',
        crop.area,
        None if crop.angle is None else f'{crop.angle:.2f}',
        classes[crop.label],
    ]


def _write_table(path: Path, rows: Sequence[list]) -> None:
    """Write ``crops.csv``, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def parse_background(text: str) -> Background:
    """Read ``keep``, ``transparent`` or a color.

    Args:
        text: A color is a name or a code of CSS: ``white``, ``#808080``.

    Returns:
        The word, or (R, G, B).

    Raises:
        ValueError: It is none of these.
    """
    if text in (KEEP, TRANSPARENT):
        return text
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise ValueError(
            f'{text!r} is no background: expected {KEEP}, {TRANSPARENT}, or '
            'a color such as white or #808080'
        ) from None
