"""Resize, crop and flip in one step, of which only the crop is calculated."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import cv2
import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import BaseTransform, RandomFlip, RandomResize
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS

from mmseg_ext.datasets.transforms.fast_random_crop import is_mixed
from mmseg_ext.datasets.transforms.jpeg_rows import (
    Header,
    decode_rows,
    is_cut_off,
    read_header,
)
from mmseg_ext.utils.arguments import is_integer, is_number, require
from mmseg_ext.utils.images import decode_image

__all__ = ['FusedResizeCropFlip']

#: Height and width.
_Size = tuple[int, int]

#: ``(y0, y1, x0, x1)`` of a crop, y1 and x1 exclusive.
_Box = tuple[int, int, int, int]

_VALUES = np.arange(256)

#: How libjpeg decodes at a part of the size, the smallest part first.
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}

#: How far apart, in pixels of the image, its grid and that of the resized one
#: may be where resizing begins. OpenCV rounds places to 1/2048. Neighbors
#: differ by 255 at most in both directions, so a resized pixel by less than
#: 2 * 255 * (1/768 + 1/2048), which is below one level.
_GAP = 1 / 768

#: The smallest and the largest number that an option may be.
_LEAST, _MOST = np.finfo(float).tiny, np.finfo(float).max

#: Pixels behind a crop that its interpolation may touch.
_MARGIN = 2


class _Source(NamedTuple):
    """An image whose pixels may not be there yet.

    Attributes:
        size: Height and width, as its EXIF turns it.
        image: Its pixels, None if they are to be decoded.
        data: Its JPEG file then.
        header: Of that file.
    """

    size: _Size
    image: np.ndarray | None
    data: bytes = b''
    header: Header | None = None


@TRANSFORMS.register_module()
class FusedResizeCropFlip(BaseTransform):
    """Resize, crop and flip image and labels at random, in one step.

    Takes the place of ``RandomResize``, ``RandomCrop`` and ``RandomFlip``,
    and of ``LoadImageFromFile`` too if that is left out, in a fraction of
    the time::

        dict(type='FastLoadAnnotations'),
        dict(
            type='FusedResizeCropFlip',
            scale=(2048, 1024),
            ratio_range=(0.5, 2.0),
            keep_ratio=True,
            crop_size=(512, 1024),
            cat_max_ratio=0.75,
            prob=0.5,
        ),

    Arguments have the names that they have there, so those of the three
    configs can be put together. From the same random state the same scale,
    crop and flip are drawn, the labels are equal, and so is all that the
    steps tell of an image, such as ``scale_factor``. Each value of an image
    is within one gray level, as only the crop is resized, from the last
    pixel before it on where the pixels of both sizes meet.

    An image that is not loaded yet is read from ``img_path``, as
    ``LoadImageFromFile`` reads it by default. Where it is made smaller by two
    or more, a JPEG file is decoded at a half, a quarter or an eighth of its
    size, which takes less time and averages pixels that are else left out:
    such an image is smoother than upstream's, and differs by more than one
    level. Else, where ``simplejpeg`` is installed, rows below the crop are not
    decoded; then damage in them, or within a file, is not seen.

    Images of other formats have 178,956,970 pixels at most;
    ``LoadImageFromFile`` before this step loads larger ones.

    With ``cat_max_ratio`` crops are judged by their labels, before the image
    is decoded.

    Required keys: ``img`` or ``img_path``; optional: ``gt_seg_map``, (H, W),
    of the same size, which scaled decoding and ``cat_max_ratio`` need.

    Added or changed keys: ``img``, ``img_shape``, ``gt_seg_map``, ``scale``,
    ``scale_factor``, ``keep_ratio``, ``flip``, ``flip_direction``; and
    ``ori_shape`` if it loads the image.

    Args:
        crop_size: Height and width, or one number for both. A crop reaches
            beyond an image that is smaller, and is as small then.
        scale: Width and height to multiply by a ratio; or two such pairs, to
            draw widths and heights between theirs. As in ``RandomResize``.
        ratio_range: Least and largest ratio, for one pair.
        scale_factors: In place of both: factors of each image's own size, of
            which one is drawn, as by ``RandomChoice`` of some ``Resize``.
        keep_ratio: Fit images into the size that was drawn.
        cat_max_ratio: Draw the crop again, up to ten times, where one class
            has this share of its labels or more. As in ``RandomCrop``.
        ignore_index: Label that does not count there.
        prob: Of flips, or one of each direction. As in ``RandomFlip``.
        direction: ``'horizontal'``, ``'vertical'``, ``'diagonal'``, or a list
            of them.
        swap_seg_labels: Pairs of labels that change places in a flip.
        scaled_decode: Whether JPEG files may be decoded at a part of their
            size.
        backend_args: How mmengine's ``fileio`` reads the image.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(
        self,
        crop_size: int | Sequence[int],
        scale: Sequence[Any] | None = None,
        ratio_range: Sequence[float] | None = None,
        scale_factors: Sequence[float] | None = None,
        keep_ratio: bool = False,
        cat_max_ratio: float = 1.0,
        ignore_index: int = 255,
        prob: float | Sequence[float] = 0.5,
        direction: str | Sequence[str] = 'horizontal',
        swap_seg_labels: Sequence | None = None,
        scaled_decode: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        require(
            'cat_max_ratio',
            cat_max_ratio,
            is_number(cat_max_ratio, _LEAST, 1),
            'a share of the labels above 0; 1 sets no limit',
        )
        require(
            'ignore_index',
            ignore_index,
            is_integer(ignore_index),
            'an integer, such as 255',
        )
        require(
            'backend_args',
            backend_args,
            isinstance(backend_args, dict | None),
            'a dict or None',
        )
        for name, switch in (
            ('keep_ratio', keep_ratio),
            ('scaled_decode', scaled_decode),
        ):
            require(name, switch, isinstance(switch, bool), 'True or False')
        self.crop_size = _check_crop_size(crop_size)
        self.scale_factors = _check_factors(scale_factors, scale, ratio_range)
        self.keep_ratio = keep_ratio
        self.cat_max_ratio = cat_max_ratio
        self.ignore_index = ignore_index
        self.scaled_decode = scaled_decode
        self.backend_args = backend_args
        # Upstream's steps draw: a box once, without a limit on classes.
        if scale_factors is None:
            self._scales = _build_scales(scale, ratio_range)
        self._boxes = RandomCrop(self.crop_size)
        self._flip = _build_flip(prob, direction, swap_seg_labels)

    def transform(self, results: dict) -> dict:
        """Resize, crop and flip a sample.

        Raises:
            OSError: There is no such image, or it cannot be read.
            ValueError: The image is cut off or cannot be resized, image and
                label differ in size, or there is no label, or another map
                beside it.
        """
        _check_fields(results)
        source = self._open(results)
        size, label = source.size, results.get('gt_seg_map')
        _check_sides('is', size, results)
        results['scale'] = self._draw_scale(size)
        width, height = results['scale']
        if self.keep_ratio:
            width, height = mmcv.rescale_size(size[::-1], (width, height))
        new = height, width
        _check_sides('would become', new, results)
        box = self._draw_box(size, new, results)
        image, part = _decode(source, new, box, self.scaled_decode, results)
        results['img'] = _resize_crop(image, part, size, new, box, results)
        if label is not None:
            rows, columns = _label_grid(size, new, box)
            results['gt_seg_map'] = _take(label, rows, columns)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (width / size[1], height / size[0])
        results['keep_ratio'] = self.keep_ratio
        return self._flip.transform(results)

    def _open(self, results: dict) -> _Source:
        """Read an image if it is not loaded, and check its size.

        Where its label tells the size, JPEG is not decoded yet.
        """
        label: Any = results.get('gt_seg_map')
        image = results.get('img')
        if image is None:
            data, path = self._read(results), str(results['img_path'])
            header = read_header(data)
            if header and is_cut_off(data, header):
                raise ValueError(
                    f'{path} is cut off ({len(data)} bytes); copy or download '
                    'it again'
                )
            if header and np.ndim(label) >= 2:
                size: _Size = label.shape[:2]
                # EXIF may turn it.
                if sorted(header.size) != sorted(size):
                    raise _misfit(results, header.size)
                results['ori_shape'] = size
                return _Source(size, None, data, header)
            decode = _imdecode if header else decode_image
            image = decode(data, path)
            results['ori_shape'] = image.shape[:2]
        if label is not None and label.shape[:2] != image.shape[:2]:
            raise _misfit(results, image.shape)
        return _Source(image.shape[:2], image)

    def _read(self, results: dict) -> bytes:
        """Read the file of an image."""
        path = results.get('img_path')
        if path is None:
            raise ValueError(
                'a sample has no image: expected img_path, the file, or img'
            )
        try:
            data: bytes = fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError:
            raise FileNotFoundError(f'image {path} is missing') from None
        except OSError as error:
            raise OSError(f'image {path} cannot be read: {error}') from error
        return data

    def _draw_scale(self, size: _Size) -> tuple[int, int]:
        """Draw a width and height."""
        if self.scale_factors is None:
            width, height = self._scales._random_scale()
            return width, height
        index = np.random.choice(np.arange(len(self.scale_factors)))
        factor = self.scale_factors[index]
        return int(size[1] * factor + 0.5), int(size[0] * factor + 0.5)

    def _draw_box(self, size: _Size, new: _Size, results: dict) -> _Box:
        """Draw a crop of the resized image; it may reach beyond it."""
        # Only the shape counts.
        image = {'img': np.broadcast_to(np.uint8(0), new)}
        box = self._boxes.crop_bbox(image)
        if self.cat_max_ratio >= 1:
            return box
        label = results.get('gt_seg_map')
        if label is None:
            raise ValueError(
                f'cat_max_ratio={self.cat_max_ratio} needs labels, and image '
                f'{results.get("img_path")} has none: put a step that loads '
                'them, such as FastLoadAnnotations, before '
                f'{type(self).__name__}, or set cat_max_ratio=1.0'
            )
        countable = label.dtype == np.uint8 and label.ndim == 2
        for _ in range(10):
            rows, columns = _label_grid(size, new, box)
            if countable:
                values, counts = _VALUES, _count(label, rows, columns)
            else:
                part = label[rows][:, columns]
                values, counts = np.unique(part, return_counts=True)
            if is_mixed(values, counts, self.cat_max_ratio, self.ignore_index):
                break
            box = self._boxes.crop_bbox(image)
        return box

    def __repr__(self) -> str:
        """Name the options that matter most."""
        return (
            f'{type(self).__name__}(crop_size={self.crop_size}, '
            f'keep_ratio={self.keep_ratio}, '
            f'cat_max_ratio={self.cat_max_ratio})'
        )


def _is_pair(value: object, least: float, whole: bool) -> bool:
    """Return whether a value is two numbers, or two integers."""
    return (
        isinstance(value, Sequence)
        and len(value) == 2
        and all(
            is_integer(item, least) if whole else is_number(item, least, _MOST)
            for item in value
        )
    )


def _check_crop_size(crop_size: int | Sequence[int]) -> _Size:
    """Return height and width."""
    sides: Any = (crop_size, crop_size) if is_integer(crop_size) else crop_size
    require(
        'crop_size',
        crop_size,
        _is_pair(sides, 1, whole=True),
        'height and width in pixels, 1 or more, or one number for both',
    )
    return tuple(sides)


def _check_factors(
    factors: Sequence[float] | None, *others: object
) -> Sequence[float] | None:
    """Check the factors that one is drawn of, which stand for the others."""
    if factors is not None:
        require(
            'scale_factors',
            factors,
            isinstance(factors, Sequence)
            and len(factors) > 0
            and all(is_number(f, _LEAST, _MOST) for f in factors)
            and others == (None, None),
            'some factors above 0, and neither scale nor ratio_range',
        )
    return factors


def _build_scales(scale: Any, ratio_range: Any) -> RandomResize:
    """Return upstream's step that draws sizes."""
    is_one = _is_pair(scale, 1, whole=True)
    pairs = [scale] if is_one else scale
    require(
        'scale',
        scale,
        isinstance(pairs, Sequence)
        and len(pairs) == (1 if is_one else 2)
        and all(_is_pair(pair, 1, whole=True) for pair in pairs),
        'width and height in pixels, or two such pairs; or scale_factors',
    )
    is_range = _is_pair(ratio_range, _LEAST, whole=False)
    require(
        'ratio_range',
        ratio_range,
        (is_range and ratio_range[0] <= ratio_range[1])
        if is_one
        else ratio_range is None,
        'two finite ratios above 0, the smaller one first, beside one pair of '
        'sides, and None beside two',
    )
    # It knows them by their types.
    scales = tuple(scale) if is_one else [tuple(pair) for pair in pairs]
    return RandomResize(scales, ratio_range)


def _build_flip(prob: Any, direction: Any, swap_seg_labels: Any) -> RandomFlip:
    """Return upstream's step that draws flips, and does them."""
    pairs = [] if swap_seg_labels is None else swap_seg_labels
    require(
        'swap_seg_labels',
        swap_seg_labels,
        isinstance(pairs, Sequence)
        and all(_is_pair(pair, -_MOST, whole=True) for pair in pairs),
        'pairs of labels, such as [(3, 4)], or None',
    )
    require('direction', direction, direction not in ([], ()), 'one or more')
    if isinstance(prob, int) and not isinstance(prob, bool):
        prob = float(prob)
    try:
        return RandomFlip(prob, direction, swap_seg_labels)
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f'prob={prob!r}, direction={direction!r}: expected a probability '
            "from 0 to 1 and 'horizontal', 'vertical', 'diagonal' or a list "
            'of these; or as many probabilities, 1 at most together'
        ) from error


def _check_fields(results: dict) -> None:
    """Refuse what would not be resized."""
    if results.get('seg_map_path') and 'gt_seg_map' not in results:
        raise ValueError(
            f'label {results["seg_map_path"]} is not loaded yet, and would '
            'not be cropped with its image: put the step that loads labels, '
            'such as FastLoadAnnotations, before FusedResizeCropFlip'
        )
    others = {'gt_bboxes', 'gt_keypoints', 'gt_depth_map'} & set(results)
    others |= set(results.get('seg_fields', ())) - {'gt_seg_map'}
    if others:
        raise ValueError(
            f'FusedResizeCropFlip got {", ".join(sorted(others))} of image '
            f'{results.get("img_path")}: expected gt_seg_map alone; use '
            'RandomResize, FastRandomCrop and RandomFlip'
        )


def _check_sides(what: str, size: _Size, results: dict) -> None:
    """Refuse an image without pixels."""
    if min(size) < 1:
        raise ValueError(
            f'image {results.get("img_path")} {what} {size[1]}x{size[0]} '
            'pixels; expected 1 or more each way: leave it out, or use a '
            'larger scale'
        )


def _misfit(results: dict, shape: tuple[int, ...]) -> ValueError:
    """Return the error that a label is not of the size of its image."""
    height, width = shape[:2]
    label = 'x'.join(map(str, results['gt_seg_map'].shape[1::-1]))
    return ValueError(
        f'label {results.get("seg_map_path")} is {label} pixels, its image '
        f'{results.get("img_path")} {width}x{height}; expected equal sizes'
    )


def _decode(
    source: _Source, new: _Size, box: _Box, scaled: bool, results: dict
) -> tuple[np.ndarray, int]:
    """Return an image, and at which part of its size it was decoded.

    Args:
        source: The image.
        new: Height and width that it is to be resized to.
        box: The crop: rows below it may be missing.
        scaled: Whether the image may be decoded at a part of its size.
        results: The sample.

    Raises:
        ValueError: It is no whole image, or not of its label's size.
    """
    if source.image is not None:
        return source.image, 1
    part = _part(source.size, new) if scaled else 1
    header = source.header
    if part == 1 and header and header.size == source.size:
        rows = _span(source.size[0], new[0], box[0], box[1], 1).source.stop
        image = decode_rows(source.data, header, rows)
        if image is not None:
            return image, 1
    flags = _REDUCED.get(part, cv2.IMREAD_COLOR)
    image = _imdecode(source.data, str(results['img_path']), flags)
    height, width = source.size
    if image.shape[:2] != (-(-height // part), -(-width // part)):
        raise _misfit(results, (width, height))
    return image, part


def _imdecode(
    data: bytes, path: str, flags: int = cv2.IMREAD_COLOR
) -> np.ndarray:
    """Decode JPEG of as many pixels as OpenCV allows."""
    image = None
    with suppress(cv2.error):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    # Else this says what is wrong.
    return decode_image(data, path, flags) if image is None else image


def _part(size: _Size, new: _Size) -> int:
    """Return the smallest part of an image that need not be enlarged."""
    for part in _REDUCED:
        if new[0] * part <= size[0] and new[1] * part <= size[1]:
            return part
    return 1


class _Span(NamedTuple):
    """What is resized for a crop, in one direction.

    Attributes:
        source: Of the image.
        crop: Of that, once it is resized.
        scale: By what it is resized.
    """

    source: slice
    crop: slice
    scale: float


def _span(old: int, new: int, start: int, end: int, part: int) -> _Span:
    """Return what is resized for a crop.

    Args:
        old: Pixels of the whole image.
        new: Pixels of the resized image.
        start: First pixel of the crop.
        end: Last one, exclusive; it may be beyond the image.
        part: Part of its size at which the image is there.
    """
    end = min(end, new)
    step = old / new / part
    # From the crop backwards; at 0 both meet.
    places = np.arange(start, -1, -1) * step
    nearest = np.rint(places)
    meet = np.abs(places - nearest) <= min(_GAP, step / 4)
    # The first pixel of the crop may be between two of the image.
    meet &= (nearest <= (start + 0.5) * step - 0.5) | (nearest == 0)
    before = int(np.argmax(meet))
    most = min(-(-old // part), int(np.ceil(end * step)) + _MARGIN)
    return _Span(
        slice(int(nearest[before]), most),
        slice(before, before + end - start),
        new * part / old,
    )


def _resize_crop(
    image: np.ndarray,
    part: int,
    size: _Size,
    new: _Size,
    box: _Box,
    results: dict,
) -> np.ndarray:
    """Resize as much of an image as a crop needs, and cut it out.

    Args:
        image: (H, W) or (H, W, C).
        part: Part of its size at which it is there.
        size: Height and width of the whole image.
        new: Height and width to resize it to.
        box: The crop.
        results: The sample.

    Raises:
        ValueError: OpenCV does not resize such images.
    """
    rows = _span(size[0], new[0], *box[:2], part)
    columns = _span(size[1], new[1], *box[2:], part)
    try:
        resized = cv2.resize(
            _grow(image[rows.source, columns.source], rows, columns),
            None,
            fx=columns.scale,
            fy=rows.scale,
            interpolation=cv2.INTER_LINEAR,
        )
    except cv2.error as error:
        raise ValueError(
            f'image {results.get("img_path")}, {image.dtype} of shape '
            f'{image.shape}, cannot be resized to {new[1]}x{new[0]}: expected '
            f'uint8, uint16, int16 or floats of (H, W) or (H, W, C); {error}'
        ) from error
    return resized[rows.crop, columns.crop]


def _grow(source: np.ndarray, rows: _Span, columns: _Span) -> np.ndarray:
    """Return a part of an image that OpenCV resizes by scales near 1.

    It copies a part whose size would stay, though pixels would move. The last
    row or column is repeated then, until the size changes.
    """
    height, width = source.shape[:2]
    new = round(height * rows.scale), round(width * columns.scale)
    if new != (height, width):
        return source
    below = beside = 0
    if rows.scale != 1:
        below = int(1 / abs(rows.scale - 1)) + 1 - height
    elif columns.scale != 1:
        beside = int(1 / abs(columns.scale - 1)) + 1 - width
    return cv2.copyMakeBorder(
        source, 0, below, 0, beside, cv2.BORDER_REPLICATE
    )


def _label_grid(
    size: _Size, new: _Size, box: _Box
) -> tuple[np.ndarray, np.ndarray]:
    """Return which row and column of the labels each one of a crop is."""
    y0, y1, x0, x1 = box
    return _nearest(size[0], new[0])[y0:y1], _nearest(size[1], new[1])[x0:x1]


def _nearest(old: int, new: int) -> np.ndarray:
    """Return where each pixel is from, as OpenCV finds the nearest one."""
    indices = np.arange(old, dtype=np.int32)[None]
    resized = cv2.resize(indices, (new, 1), interpolation=cv2.INTER_NEAREST)
    return resized.reshape(-1)


def _take(
    label: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return some rows and columns of labels, (H, W) or with more axes."""
    if label.dtype != np.uint8 or label.ndim != 2:
        return label[rows][:, columns]
    # Taking rows and transposing is quicker than taking columns.
    return cv2.transpose(cv2.transpose(label[rows])[columns])


def _count(
    label: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return how often each label is in a crop, int64 (256,).

    Labels are areas: there are far fewer runs of equal ones within a row than
    there are pixels.

    Args:
        label: uint8 (H, W), of the whole image.
        rows: Row of the labels of each row of the crop, ascending.
        columns: The same for columns.
    """
    top, left = rows[0], columns[0]
    part = label[top : rows[-1] + 1, left : columns[-1] + 1]
    height, width = part.shape
    flat = part.ravel()
    ends = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=ends[:-1])
    ends[width - 1 :: width] = True
    last = np.flatnonzero(ends)
    first = np.append(0, last[:-1] + 1)
    at, start = np.divmod(first, width)
    end = last - at * width + 1
    times = np.bincount(rows - top, minlength=height)
    # Columns of the crop that are left of each one of the part.
    before = np.searchsorted(columns - left, np.arange(width + 1))
    sizes = times[at] * (before[end] - before[start])
    # Floats, which are exact up to 2^53.
    return np.bincount(flat[first], sizes, 256).astype(np.int64)
