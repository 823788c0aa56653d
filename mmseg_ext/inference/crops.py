"""One crop for each instance that a detector found in an image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from PIL import ImageColor

from mmseg_ext.formats.coco import MaskCode, decode_mask

# MMDet may be absent.
if TYPE_CHECKING:
    from mmdet.structures import DetDataSample

__all__ = [
    'KEEP',
    'TRANSPARENT',
    'Background',
    'Box',
    'Crop',
    'check_options',
    'crop_instances',
    'parse_background',
]

#: The background that stays as it is.
KEEP = 'keep'

#: The background that becomes transparent.
TRANSPARENT = 'transparent'

#: What becomes of the background: kept, transparent, or a color (R, G, B).
Background = str | tuple[int, int, int]

#: x1, y1, x2, y2 in pixels; pixel (0, 0) reaches from 0 to 1.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crop:
    """An instance, cut out.

    Attributes:
        image: uint8 BGR (h, w, 3), or BGRA (h, w, 4) if the background is
            transparent; where alpha is 0, the color is black.
        box: In the whole image, without padding.
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
    box: Box
    score: float
    label: int
    area: int | None
    angle: float | None


@dataclass(frozen=True)
class _Own:
    """The pixels that are an instance's own.

    Attributes:
        mask: uint8 (h, w), 255 where pixels are its own, 0 elsewhere.
        corner: x, y of the first pixel of ``mask`` in the image.
    """

    mask: np.ndarray
    corner: tuple[int, int]


@dataclass(frozen=True)
class _Instance:
    """An instance above the threshold; ``own`` is None without masks."""

    box: Box
    score: float
    label: int
    own: _Own | None


def crop_instances(
    image: np.ndarray,
    sample: 'DetDataSample',
    *,
    score_thr: float = 0.5,
    pad: float = 0.1,
    background: Background = KEEP,
    upright: bool = False,
) -> list[Crop]:
    """Cut out the instances of one image.

    Where masks overlap, the pixels belong to the instance with the highest
    score. An instance that has no pixels of its own, because its mask is empty
    or wholly under others, gives no crop.

    Args:
        image: uint8 BGR (H, W, 3).
        sample: With ``pred_instances``: ``scores`` (N,), ``labels`` (N,),
            ``bboxes`` (N, 4) as x1, y1, x2, y2 in pixels of ``image``, and
            ``masks``, if there are any: bool (N, H, W), tensor or array, or N
            dicts of COCO's compressed RLE. Boxes of no size, as detectors
            without boxes give them, are replaced by those of the masks.
        score_thr: Instances that score less are left out; 0 to 1.
        pad: What is added on each side, relative to width and height of the
            box; 0 or more. Crops end at the border of the image.
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
    check_options(score_thr, pad, background)
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
    crops = (
        _crop(image, instance, pad, background, upright)
        for instance in _separate(found, score_thr, image.shape[:2])
    )
    return [crop for crop in crops if crop is not None]


def check_options(
    score_thr: float, pad: float, background: Background
) -> None:
    """Check what is common to all images, see :func:`crop_instances`.

    Raises:
        ValueError: One is out of range.
    """
    if not 0 <= score_thr <= 1:
        raise ValueError(f'score_thr={score_thr}: expected 0 to 1')
    if not 0 <= pad < math.inf:
        raise ValueError(f'pad={pad}: expected 0 or more, relative to the box')
    if background not in (KEEP, TRANSPARENT) and not (
        isinstance(background, tuple)
        and len(background) == 3
        and all(value in range(256) for value in background)
    ):
        raise ValueError(
            f'background={background!r}: expected {KEEP!r}, {TRANSPARENT!r}, '
            'or red, green and blue of 0 to 255'
        )


def _crop(
    image: np.ndarray,
    instance: _Instance,
    pad: float,
    background: Background,
    upright: bool,
) -> Crop | None:
    """Cut out an instance; None if there is nothing to cut out."""
    region = _region(instance.box, pad, image.shape[:2])
    picture, mask = image[region], None
    area = angle = None
    own = instance.own
    if own is not None:
        moments = cv2.moments(own.mask, binaryImage=True)
        area, angle = int(moments['m00']), _lean(moments)
        if area == 0:
            return None
        if upright:
            picture, mask = _turn(image, own, angle, pad)
        else:
            mask = _own_in(region, own)
    if not picture.size:  # the box has no size or is outside
        return None
    return Crop(
        image=_remove_background(picture, mask, background),
        box=instance.box,
        score=instance.score,
        label=instance.label,
        area=area,
        angle=angle,
    )


def _separate(
    found: Any, score_thr: float, shape: tuple[int, int]
) -> Iterator[_Instance]:
    """Yield the instances, best first, with the pixels that are their own."""
    scores, labels, boxes = (
        _array(found[key]) for key in ('scores', 'labels', 'bboxes')
    )
    taken = np.zeros(shape, bool)
    for index in np.argsort(-scores, kind='stable').tolist():
        if not scores[index] >= score_thr:  # lower, or not a number
            return
        box: Box = tuple(boxes[index].tolist())
        own = None
        if 'masks' in found:
            mask = _read_mask(found.masks[index], shape)
            x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
            part = np.s_[y : y + h, x : x + w]
            own = _Own((mask[part] & ~taken[part]) * np.uint8(255), (x, y))
            taken[part] |= mask[part]
            if box[0] >= box[2] or box[1] >= box[3]:
                box = float(x), float(y), float(x + w), float(y + h)
        yield _Instance(box, float(scores[index]), int(labels[index]), own)


def _array(values: Any) -> np.ndarray:
    """Return a tensor of any device, or an array, as array."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _read_mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask as bool (H, W), after a check of its size."""
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
    text = counts if isinstance(counts, str) else counts.decode()
    pixels = decode_mask(MaskCode(size=shape, counts=text), shape)
    return np.ascontiguousarray(pixels).view(bool)


def _lean(moments: dict[str, float]) -> float:
    """Return the angle of the long axis; see :class:`Crop`.

    The axis is that of the ellipse with the same second moments. Its angle to
    the x axis is ``atan2(2 mu11, mu20 - mu02) / 2`` (Hu, "Visual pattern
    recognition by moment invariants", 1962).
    """
    across, along = 2 * moments['mu11'], moments['mu20'] - moments['mu02']
    if math.hypot(across, along) <= 1e-9 * (moments['mu20'] + moments['mu02']):
        return 0.0
    to_x_axis = math.degrees(math.atan2(across, along)) / 2  # clockwise
    return to_x_axis + 90 if to_x_axis <= 0 else to_x_axis - 90


def _region(
    box: Box, pad: float, shape: tuple[int, int]
) -> tuple[slice, slice]:
    """Return the rows and columns of a padded box that are in the image."""
    x1, y1, x2, y2 = box
    dx, dy = pad * (x2 - x1), pad * (y2 - y1)
    rows = _pixels(y1 - dy, y2 + dy, shape[0])
    return rows, _pixels(x1 - dx, x2 + dx, shape[1])


def _pixels(low: float, high: float, size: int) -> slice:
    """Return the pixels that a range touches, inside of the image."""
    start = math.floor(min(max(0, low), size))
    return slice(start, max(start, math.ceil(min(max(0, high), size))))


def _own_in(region: tuple[slice, slice], own: _Own) -> np.ndarray:
    """Return the mask of an instance in a region of the image.

    Returns:
        uint8 of the size of the region, 0 and 255.
    """
    rows, columns = region
    x, y = own.corner
    top, left = min(y, rows.start), min(x, columns.start)
    height, width = own.mask.shape
    bottom, right = max(y + height, rows.stop), max(x + width, columns.stop)
    canvas = np.zeros((bottom - top, right - left), np.uint8)
    canvas[y - top :, x - left :][:height, :width] = own.mask
    return canvas[
        rows.start - top : rows.stop - top,
        columns.start - left : columns.stop - left,
    ]


def _turn(
    image: np.ndarray, own: _Own, angle: float, pad: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut out an instance, turned counterclockwise by an angle.

    Returns:
        uint8 (h, w, 3), and the mask, uint8 (h, w), 0 and 255.
    """
    outlines, _ = cv2.findContours(
        own.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    points = np.concatenate(outlines)[:, 0] + own.corner
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
    matrix[:, 2] += matrix[:, :2] @ own.corner
    mask = cv2.warpAffine(own.mask, matrix, size)
    return picture, cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)[1]


def _remove_background(
    picture: np.ndarray, mask: np.ndarray | None, background: Background
) -> np.ndarray:
    """Return a copy with the background as asked for."""
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
