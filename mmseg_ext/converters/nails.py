"""Nails: black-and-white masks to COCO instances."""

import csv
import hashlib
import io
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import cv2
import msgspec
import numpy as np
from PIL import ExifTags, Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from mmseg_ext.converters.invalid import InvalidFileError, Skip
from mmseg_ext.labels.nails import NAILS
from mmseg_ext.utils.files import write_bytes, write_text
from mmseg_ext.utils.images import decode_image
from mmseg_ext.utils.processes import check_nproc, ordered_map

SPLITS = ('train', 'valid')
SEGMENTATIONS = ('rle', 'polygon')

#: Names of folders, in any case, and what they say about the files in them.
_ROLES = {'images': 'image', 'masks': 'mask', 'labels': 'mask'}
_SPLIT_FOLDERS = {
    'train': 'train',
    'valid': 'valid',
    'val': 'valid',
    'validation': 'valid',
}
_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')

#: Brighter pixels belong to a nail.
_THRESHOLD = 127

#: How far the channels of a gray mask, and the pixels of one color, may be
#: apart. JPEG moves the channels of real masks by up to 52.
_NOISE = 64

#: A color counts if so many pixels have it that lie amidst others of it.
_MIN_VOTES = 5

#: Touching nails are cut apart where the neck between them is narrower than
#: this share of the smaller one's width.
_NECK = 0.8

#: How finely necks are looked for, as a share of the widest place.
_STEPS = 32

#: What JPEG and PNG files begin with, and end with if they are whole.
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89P': b'IEND\xaeB`\x82'}

#: Orientations that turn a photograph by 90 degrees.
_TURNED = (5, 6, 7, 8)

#: What Pillow and OpenCV raise for files that are no images.
_IMAGE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)

#: Images a process converts at a time.
_BATCH = 8


@dataclass
class Report:
    """What a conversion did.

    Attributes:
        images: Number of images, by split.
        instances: Number of nails, by split.
        dropped: Number of components left out because they are too small.
        colored: Number of masks whose colors tell nails apart.
        cut: Number of blobs cut into several nails.
        stray: Number of image files in no folder of images or masks.
        skipped: Files that were left out because they are invalid.
    """

    images: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(SPLITS, 0)
    )
    instances: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(SPLITS, 0)
    )
    dropped: int = 0
    colored: int = 0
    cut: int = 0
    stray: int = 0
    skipped: list[Skip] = field(default_factory=list)


def convert(
    data_root: str | os.PathLike,
    out_dir: str | os.PathLike,
    segmentation: str = 'rle',
    min_area: int = 20,
    split_touching: bool = False,
    val_fraction: float = 0.2,
    seed: int = 0,
    nproc: int = 1,
    skip_invalid: bool = False,
) -> Report:
    """Write COCO files and lists for photographs of nails and their masks.

    A file below a folder ``images`` is an image, one below ``masks`` or
    ``labels`` a mask; case and depth of folders do not matter, suffixes
    neither. A folder ``train``, ``valid``, ``val`` or ``validation`` above or
    below says the split. Image and mask belong together if stem and all other
    folders, the group, are the same. Hidden files and folders and
    ``__MACOSX`` are passed over.

    ``out_dir`` gets ``train.json`` and ``valid.json``, with file names
    relative to ``data_root`` and all ids from 1, and
    ``csv_file/{train,valid}_info.csv`` with the columns images, masks, width
    and height. Nothing is written before all files were read.

    Of images that EXIF turns, width and height are those that OpenCV, and
    thus MMDet's loader, reads. Masks are read whole. Of images, header and
    end are, which tells files that were cut off; damage in between is not
    seen.

    Args:
        data_root: Folder of images and masks.
        out_dir: Folder to write, usually ``<data_root>/annotations``.
        segmentation: ``'rle'``, exact; or ``'polygon'``, in which a nail with
            a hole is cut through the hole into several polygons.
        min_area: Components of fewer pixels are left out.
        split_touching: Cut blobs of one color apart where they narrow.
        val_fraction: Share of each group for validation, where no folders
            give a split. Each group has at least one image there; groups of
            one image are taken together.
        seed: What the choice of these depends on, besides the names.
        nproc: Number of processes.
        skip_invalid: Leave out invalid files and list them in
            ``skipped.json``, instead of stopping at the first.

    Returns:
        Counts, and what was left out.

    Raises:
        FileNotFoundError: The data root is missing or has no pairs.
        ValueError: An argument is out of range, the layout ambiguous, or a
            file invalid.
    """
    _check_arguments(segmentation, min_area, val_fraction)
    check_nproc(nproc)
    data_root, out_dir = Path(data_root), Path(out_dir)
    report = Report()

    def on_invalid(file: str, reason: str) -> None:
        if not skip_invalid:
            raise ValueError(
                f'{data_root / file}: {reason}; mend it, or leave such files '
                'out with --skip-invalid'
            )
        report.skipped.append(Skip(file, reason))

    pairs, report.stray = _find_pairs(data_root, on_invalid)
    worker = _Worker(data_root, segmentation, min_area, split_touching)
    converted = _convert_pairs(pairs, worker, nproc, on_invalid, report)
    splits = _split(converted, data_root, val_fraction, seed)
    for split, items in splits.items():
        report.images[split] = len(items)
        report.instances[split] = sum(len(i.instances) for i in items)
        write_bytes(out_dir / f'{split}.json', _coco(items))
        write_text(out_dir / 'csv_file' / f'{split}_info.csv', _csv(items))
    report.skipped.sort()
    if skip_invalid:
        listed = msgspec.json.format(msgspec.json.encode(report.skipped))
        write_bytes(out_dir / 'skipped.json', listed + b'\n')
    return report


def _check_arguments(
    segmentation: str, min_area: int, val_fraction: float
) -> None:
    if segmentation not in SEGMENTATIONS:
        raise ValueError(
            f'segmentation={segmentation!r}: expected one of {SEGMENTATIONS}'
        )
    if min_area < 1:
        raise ValueError(f'min_area={min_area}: expected 1 or more pixels')
    if not 0 < val_fraction < 1:
        raise ValueError(
            f'val_fraction={val_fraction}: expected a share between 0 and 1'
        )


# What there is.


@dataclass(frozen=True, order=True)
class _Pair:
    """An image and its mask, as paths relative to the data root.

    ``group`` has the folders that say neither split nor kind.
    """

    image: str
    mask: str
    stem: str
    group: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class _Place:
    """What the folders of a file say about it."""

    role: str
    split: str | None
    group: tuple[str, ...]


def _find_pairs(
    root: Path, on_invalid: Callable[[str, str], None]
) -> tuple[list[_Pair], int]:
    """List the pairs, and count the image files that are elsewhere."""
    if not root.is_dir():
        raise FileNotFoundError(f'data root {root} is missing')
    files: dict[tuple, dict[str, str]] = defaultdict(dict)
    stray = 0
    for folder, names in _walk(root):
        place = _place(folder, root)
        if place is None:
            stray += len(names)
            continue
        for name in names:
            file, stem = '/'.join((*folder, name)), os.path.splitext(name)[0]
            found = files[place.split, place.group, stem]
            if place.role in found:
                raise ValueError(
                    f'{root / found[place.role]} and {root / file} would both '
                    f'be the {place.role} {stem!r} of one group: rename or '
                    'remove one of them'
                )
            found[place.role] = file
    pairs = []
    for (split, group, stem), found in sorted(
        files.items(), key=lambda item: min(item[1].values())
    ):
        if len(found) == 2:
            pair = _Pair(found['image'], found['mask'], stem, group, split)
            pairs.append(pair)
        elif 'image' in found:
            on_invalid(found['image'], 'the image has no mask')
        else:
            on_invalid(found['mask'], 'the mask has no image')
    if not pairs:
        raise FileNotFoundError(
            f'{root} has no pairs of image and mask; expected images/x.jpg '
            'and masks/x.png, Images/1/x.png and Masks/1/x.png, or '
            'train/images/x.png and train/masks/x.png'
        )
    _check_splits(pairs, root)
    return sorted(pairs), stray


def _walk(root: Path) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Give folders below the root, as their parts, and their image files."""
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not name.startswith('.') and name != '__MACOSX'
        ]
        names = [
            name
            for name in sorted(names)
            if name.lower().endswith(_SUFFIXES) and not name.startswith('.')
        ]
        yield Path(folder).relative_to(root).parts, names


def _place(folders: tuple[str, ...], root: Path) -> _Place | None:
    """Read the folders of a file; None if it is neither image nor mask."""
    names = [folder.casefold() for folder in folders]
    roles = [name for name in names if name in _ROLES]
    splits = [name for name in names if name in _SPLIT_FOLDERS]
    if not roles:
        return None
    for found, what in ((roles, 'kind'), (splits, 'split')):
        if len(found) > 1:
            raise ValueError(
                f'{root.joinpath(*folders)} is ambiguous: '
                f'{" and ".join(found)} each say the {what} of the files; '
                'expected one such folder'
            )
    return _Place(
        _ROLES[roles[0]],
        _SPLIT_FOLDERS[splits[0]] if splits else None,
        tuple(name for name in names if name not in (*roles, *splits)),
    )


def _check_splits(pairs: list[_Pair], root: Path) -> None:
    """See that folders give both splits, or none."""
    by_split = {pair.split: pair for pair in pairs}
    if None in by_split and len(by_split) > 1:
        given = by_split.get('train') or by_split['valid']
        raise ValueError(
            f'{root} is ambiguous: {given.image} lies in the folder of a '
            f'split, {by_split[None].image} in none; expected train and valid '
            'for all images, or for none'
        )
    if len(by_split) == 1 and None not in by_split:
        (split,) = by_split
        other = 'valid' if split == 'train' else 'train'
        raise ValueError(
            f'{root} has pairs for {split}, but none for {other}; expected '
            f'{other}/images and {other}/masks, or no folders for splits'
        )


# What is done with each pair.


@dataclass(frozen=True)
class _Converted:
    """A pair, its size (width, height), and its nails without ids."""

    pair: _Pair
    size: tuple[int, int]
    instances: list[dict[str, Any]]
    dropped: int
    colored: bool
    cut: int


@dataclass(frozen=True)
class _Worker:
    """Converts pairs; what a process has to know for it."""

    root: Path
    segmentation: str
    min_area: int
    split_touching: bool

    def __call__(
        self, pairs: list[_Pair]
    ) -> list[_Converted | InvalidFileError]:
        """Convert a batch; an invalid pair comes back as its error."""
        results = []
        for pair in pairs:
            try:
                results.append(self.convert(pair))
            except InvalidFileError as error:
                results.append(error)
        return results

    def convert(self, pair: _Pair) -> _Converted:
        size = _image_size(self.root, pair.image)
        mask = _read_mask(self.root, pair.mask)
        height, width = mask.shape[:2]
        if (width, height) != size:
            _invalid(
                pair.mask,
                f'is of {width}x{height} pixels, its image {pair.image} of '
                f'{size[0]}x{size[1]}',
            )
        nails = find_nails(mask, self.min_area, self.split_touching)
        if not nails.regions:
            _invalid(
                pair.mask,
                f'has no nail: no {self.min_area} pixels in one place are '
                f'brighter than {_THRESHOLD}; the brightest has '
                f'{mask.max()} of 255',
            )
        return _Converted(
            pair,
            size,
            _instances(nails.regions, size, self.segmentation),
            nails.dropped,
            nails.colored,
            nails.cut,
        )


def _invalid(file: str, reason: str) -> NoReturn:
    raise InvalidFileError(file, reason)


def _convert_pairs(
    pairs: list[_Pair],
    worker: _Worker,
    nproc: int,
    on_invalid: Callable[[str, str], None],
    report: Report,
) -> list[_Converted]:
    """Convert all pairs and count."""
    converted = []
    with tqdm(total=len(pairs), unit=' images') as bar:
        results = ordered_map(worker, _batches(pairs), nproc)
        for result in itertools.chain.from_iterable(results):
            bar.update()
            if isinstance(result, InvalidFileError):
                on_invalid(result.file, result.reason)
                continue
            report.dropped += result.dropped
            report.colored += result.colored
            report.cut += result.cut
            converted.append(result)
    return converted


def _batches(pairs: list[_Pair]) -> Iterator[list[_Pair]]:
    for start in range(0, len(pairs), _BATCH):
        yield pairs[start : start + _BATCH]


def _image_size(root: Path, name: str) -> tuple[int, int]:
    """Give width and height of an image as MMDet's loader reads it."""
    try:
        with open(os.path.join(root, name), 'rb') as file:
            with Image.open(file) as image:
                size = image.size
                orientation = image.getexif().get(ExifTags.Base.Orientation)
            if orientation not in _TURNED and _is_whole(file):
                return size
            # Which formats OpenCV turns depends on its version.
            file.seek(0)
            return _decode(file.read()).shape[1::-1]
    except _IMAGE_ERRORS as error:
        _invalid(name, f'cannot be read as an image: {error}')


def _read_mask(root: Path, name: str) -> np.ndarray:
    """Read a mask, turned as its EXIF says; uint8 (H, W, 3), BGR."""
    try:
        with open(os.path.join(root, name), 'rb') as file:
            return _decode(file.read())
    except _IMAGE_ERRORS as error:
        _invalid(name, f'cannot be read as an image: {error}')


def _decode(data: bytes) -> np.ndarray:
    """Decode an image that was not cut off."""
    file = io.BytesIO(data)
    if not _is_whole(file):
        # OpenCV 4 fills up what is missing, and Pillow does not.
        with Image.open(file) as image:
            image.load()
    return decode_image(data, 'it')


def _is_whole(file: BinaryIO) -> bool:
    """Tell files with a right end from other ones and other formats."""
    file.seek(0)
    end = _ENDS.get(file.read(2))
    file.seek(-min(32, file.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = file.read().rstrip(b'\0')
    file.seek(0)
    return end is not None and tail.endswith(end)


# From masks to nails.


@dataclass(frozen=True)
class Region:
    """Some pixels of a mask.

    Attributes:
        left: Column of the first pixel.
        top: Row of the first pixel.
        mask: uint8 (h, w), 1 for the pixels, else 0; no more than the box.
    """

    left: int
    top: int
    mask: np.ndarray


@dataclass(frozen=True)
class Nails:
    """What a mask shows.

    Attributes:
        regions: The nails, from top to bottom.
        dropped: Number of components left out because they are too small.
        colored: Whether colors tell nails apart.
        cut: Number of blobs cut into several nails.
    """

    regions: list[Region]
    dropped: int
    colored: bool
    cut: int


def find_nails(
    mask: np.ndarray, min_area: int = 20, split_touching: bool = False
) -> Nails:
    """Separate the nails of a mask.

    Nails are the 8-connected components of the pixels brighter than 127 in
    gray. In a mask with a saturated color, pixels count whose brightest
    channel is above 127, and components are of one color.

    Args:
        mask: uint8 (H, W, 3), BGR.
        min_area: Components of fewer pixels are left out.
        split_touching: Cut blobs of one color apart where they narrow: the
            distance transform says where, a watershed how.

    Returns:
        The nails.
    """
    bright = cv2.cvtColor(mask, cv2.COLOR_BGR2GRAY)
    uncolored = cv2.cvtColor(bright, cv2.COLOR_GRAY2BGR)
    colors = []
    if cv2.norm(mask, uncolored, cv2.NORM_INF) > _NOISE:
        colors = _find_colors(mask)
    if colors:
        bright = mask.max(axis=2)
    bright = cv2.threshold(bright, _THRESHOLD, 1, cv2.THRESH_BINARY)[1]
    found, dropped, cut = [], 0, 0
    for blob in _components(bright):
        parts = [blob]
        if len(colors) > 1:
            parts = _separate_colors(blob, mask, colors)
        elif split_touching:
            parts = _cut(blob, min_area)
            cut += len(parts) > 1
        large = [p for p in parts if np.count_nonzero(p.mask) >= min_area]
        dropped += len(parts) - len(large)
        found += large
    found.sort(key=lambda region: (region.top, region.left))
    return Nails(found, dropped, len(colors) > 1, cut)


def _components(
    binary: np.ndarray, left: int = 0, top: int = 0
) -> list[Region]:
    """Give the 8-connected components of uint8 (H, W), moved by an offset."""
    contours, hierarchy = cv2.findContours(
        binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    regions = []
    for index, contour in enumerate(contours):
        if hierarchy[0, index, 3] >= 0:  # a hole
            continue
        x, y, width, height = cv2.boundingRect(contour)
        box = binary[y : y + height, x : x + width]
        # Labeling boxes costs a tenth of labeling the whole mask.
        count, labels = cv2.connectedComponents(box, connectivity=8)
        if count > 2:
            column, row = contour[0, 0]
            box = (labels == labels[row - y, column - x]).astype(np.uint8)
        regions.append(Region(left + x, top + y, box))
    return regions


def _find_colors(mask: np.ndarray) -> list[np.ndarray]:
    """List the colors of a mask; none unless one of them is saturated.

    Returns:
        int16 (3,) each, BGR.
    """
    # Along edges, smoothing and JPEG mix colors.
    gradient = cv2.morphologyEx(
        mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    flat = (mask.max(axis=2) > _THRESHOLD) & (gradient.max(axis=2) <= _NOISE)
    pixels, votes = np.unique(mask[flat], axis=0, return_counts=True)
    pixels, colors = pixels.astype(np.int16), []
    while votes.any():
        color = pixels[votes.argmax()]
        near = _far(pixels, color) <= _NOISE
        if votes[near].sum() >= _MIN_VOTES:
            colors.append(color)
        votes[near] = 0
    saturated = any(np.ptp(color) > _NOISE for color in colors)
    return colors if saturated else []


def _far(pixels: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Give the largest difference of a channel."""
    return np.abs(pixels - color).max(axis=-1)


def _separate_colors(
    blob: Region, mask: np.ndarray, colors: list[np.ndarray]
) -> list[Region]:
    """Give the components of each color."""
    height, width = blob.mask.shape
    pixels = mask[
        blob.top : blob.top + height, blob.left : blob.left + width
    ].astype(np.int16)
    far = np.stack([_far(pixels, color) for color in colors])
    known = (far.min(axis=0) <= _NOISE) & (blob.mask == 1)
    if not known.any():
        return [blob]
    codes = far.argmin(axis=0)
    # A mixed color becomes that of the nearest pixel that has one.
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8),
        cv2.DIST_L2,
        5,
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    code_of = np.zeros(nearest.max() + 1, codes.dtype)
    code_of[nearest[known]] = codes[known]
    codes = np.where(blob.mask, code_of[nearest], -1)
    return [
        part
        for code in range(len(colors))
        for part in _components(
            (codes == code).astype(np.uint8), blob.left, blob.top
        )
    ]


def _cut(blob: Region, min_area: int) -> list[Region]:
    """Cut a blob apart where it narrows; parts have ``min_area`` pixels."""
    mask = cv2.copyMakeBorder(blob.mask, 2, 2, 2, 2, cv2.BORDER_CONSTANT)
    seeds = _seeds(cv2.distanceTransform(mask, cv2.DIST_L2, 5))
    if not seeds:
        return [blob]
    markers = np.zeros(mask.shape, np.int32)
    for number, seed in enumerate(seeds, 2):
        markers[seed] = number
    markers[mask == 0] = 1
    # Where the image is flat, a watershed takes pixels to the seed that is
    # nearest within the blob. The lines it leaves go to the part with more
    # pixels around.
    cv2.watershed(cv2.merge([mask * 255] * 3), markers)
    numbers = range(2, len(seeds) + 2)
    around = [
        cv2.boxFilter((markers == n).astype(np.float32), -1, (3, 3))
        for n in numbers
    ]
    owner = np.where(markers > 1, markers, np.argmax(around, axis=0) + 2)
    owner[mask == 0] = 0
    parts = [
        part
        for number in numbers
        for part in _components(
            (owner == number).astype(np.uint8), blob.left - 2, blob.top - 2
        )
    ]
    if min(np.count_nonzero(part.mask) for part in parts) < min_area:
        return [blob]
    return [piece for part in parts for piece in _cut(part, min_area)]


def _seeds(distance: np.ndarray) -> list[np.ndarray]:
    """Find inner parts of nails: bool (H, W) each, none without a neck.

    The blob is worn down from its edge. The first pieces that it falls into
    and that are much wider than the neck that broke are what is looked for.

    Args:
        distance: float32 (H, W), that of each pixel from the edge.
    """
    top = distance.max()
    for level in np.arange(0, top, max(top / _STEPS, 0.5)):
        count, labels = cv2.connectedComponents(
            (distance > level).astype(np.uint8), connectivity=8
        )
        pieces = [labels == number for number in range(1, count)]
        wide = [p for p in pieces if distance[p].max() * _NECK > level]
        if len(wide) > 1:
            return wide
    return []


def _instances(
    regions: list[Region], size: tuple[int, int], segmentation: str
) -> list[dict[str, Any]]:
    """Make COCO annotations without ids; box and area are the mask's."""
    width, height = size
    codes = coco_mask.frPyObjects(
        [
            {'size': [height, width], 'counts': _runs(region, size)}
            for region in regions
        ],
        height,
        width,
    )
    boxes, areas = coco_mask.toBbox(codes), coco_mask.area(codes)
    instances = []
    for region, code, box, area in zip(
        regions, codes, boxes.tolist(), areas.tolist(), strict=True
    ):
        if segmentation == 'polygon':
            shape = _polygons(region.mask, region.left, region.top)
        else:
            shape = {
                'size': [height, width],
                'counts': code['counts'].decode('ascii'),
            }
        instances.append(
            {
                'category_id': 1,
                'bbox': box,
                'area': area,
                'iscrowd': 0,
                'segmentation': shape,
            }
        )
    return instances


def _runs(region: Region, size: tuple[int, int]) -> np.ndarray:
    """Give the lengths of runs down the columns, zeros first; int64 (R,)."""
    width, height = size
    rows, columns = region.mask.shape
    # With a zero above and below, each run begins and ends in its column.
    framed = np.zeros((columns, rows + 2), np.uint8)
    framed[:, 1:-1] = region.mask.T
    pixels = framed.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    column, row = np.divmod(changes, rows + 2)
    bounds = (region.left + column) * height + region.top + row
    if rows == height:  # runs may go on in the next column
        bounds, counts = np.unique(bounds, return_counts=True)
        bounds = bounds[counts == 1]
    bounds = np.concatenate(([0], bounds, [width * height]))
    runs = bounds[1:] - bounds[:-1]
    return runs if runs[-1] else runs[:-1]


def _polygons(mask: np.ndarray, left: int, top: int) -> list[list[float]]:
    """Outline a mask, a quarter pixel within its edges.

    Drawn by the rule that a pixel is in if its center is, as pycocotools
    does, this gives back the mask. COCO's polygons are united, and cannot
    have holes, so a mask with a hole is cut there.
    """
    # In a mask of twice the size no part is thinner than a contour.
    double = mask.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(
        double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    for contour, links in zip(contours, hierarchy[0], strict=True):
        if links[3] >= 0:  # a hole
            x, _, width, _ = cv2.boundingRect(contour)
            column = (x + width // 2) // 2
            return _polygons(mask[:, :column], left, top) + _polygons(
                mask[:, column:], left + column, top
            )
    return [
        ((contour.reshape(-1, 2) + 0.5) / 2 + (left, top)).ravel().tolist()
        for contour in contours
    ]


# What is written.


def _split(
    items: list[_Converted], root: Path, val_fraction: float, seed: int
) -> dict[str, list[_Converted]]:
    """Divide among the splits, as the folders say or by the seed."""
    splits = {split: [] for split in SPLITS}
    given = any(item.pair.split for item in items)
    chosen = set() if given else _choose(items, val_fraction, seed)
    for item in items:
        pair = item.pair
        split = pair.split or ('valid' if pair in chosen else 'train')
        splits[split].append(item)
    for split, part in splits.items():
        if not part:
            raise ValueError(
                f'{root} has {len(items)} valid pairs of image and mask, none '
                f'of them for {split}; expected one at least for each split'
            )
    return splits


def _choose(
    items: Iterable[_Converted], val_fraction: float, seed: int
) -> set[_Pair]:
    """Choose pairs for validation, some of each group.

    Those of a group go by the SHA-256 of seed and name, which neither the
    order of the files nor a library changes.
    """

    def rank(pair: _Pair) -> str:
        name = '/'.join((*pair.group, pair.stem))
        return hashlib.sha256(f'{seed}:{name}'.encode()).hexdigest()

    groups = defaultdict(list)
    for item in items:
        groups[item.pair.group].append(item.pair)
    single = [pairs[0] for pairs in groups.values() if len(pairs) == 1]
    chosen = set()
    for pairs in (*(p for p in groups.values() if len(p) > 1), single):
        number = max(1, round(len(pairs) * val_fraction))
        number = min(number, len(pairs) - 1)
        chosen.update(sorted(pairs, key=rank)[: max(number, 0)])
    return chosen


def _coco(items: list[_Converted]) -> bytes:
    """Make a COCO file; ids count from 1."""
    annotations = [
        {'image_id': number, **instance}
        for number, item in enumerate(items, 1)
        for instance in item.instances
    ]
    content = {
        'categories': [
            {'id': number, 'name': name}
            for number, name in enumerate(NAILS, 1)
        ],
        'images': [
            {
                'id': number,
                'file_name': item.pair.image,
                'width': item.size[0],
                'height': item.size[1],
            }
            for number, item in enumerate(items, 1)
        ],
        'annotations': [
            {'id': number, **annotation}
            for number, annotation in enumerate(annotations, 1)
        ],
    }
    return msgspec.json.encode(content) + b'\n'


def _csv(items: list[_Converted]) -> str:
    """Make a list of pairs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['images', 'masks', 'width', 'height'])
    for item in items:
        writer.writerow([item.pair.image, item.pair.mask, *item.size])
    return text.getvalue()
