"""What is in a label file, and what a data set's loader makes of it."""

import hashlib
from typing import NamedTuple

import cv2
import numpy as np
from msgspec.structs import replace

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.image_scans import (
    DIGEST_SIZE,
    NAME,
    as_line,
    read_header,
)
from mmseg_ext.doctor.label_loaders import LabelLoader
from mmseg_ext.doctor.parts import GRID, LabelScan
from mmseg_ext.formats.image_facts import as_map
from mmseg_ext.formats.masks import Mask, read_mask
from mmseg_ext.launch.errors import one_line

__all__ = ['Source', 'Tally', 'scan_label', 'tally']

#: Pixels that are counted at a time, so that large files take no more memory.
_BLOCK = 1 << 19

#: The bits of a color.
_COLOR = 0xFFFFFF

#: Of fewer runs nothing can be said.
_RUNS = 50

#: A run of this length or less, between two others, may be a blended edge.
_SHORT = 2

#: Stands in a grid for what has no place in 8 bits, and for ignored pixels.
_OTHER = 255


class Tally(NamedTuple):
    """The values of an array, and how often each is there.

    Attributes:
        values: int64 (N,), ascending; of colors ``red << 16 | green << 8 |
            blue``.
        counts: int64 (N,).
        digest: Equal for arrays of equal shape and values.
        blended: As :attr:`~mmseg_ext.doctor.parts.LabelScan.blended`.
    """

    values: np.ndarray
    counts: np.ndarray
    digest: bytes
    blended: float = 0.0

    def as_dict(self) -> dict[int, int]:
        """Return the counts by value."""
        pairs = zip(self.values.tolist(), self.counts.tolist(), strict=True)
        return dict(pairs)


def tally(pixels: np.ndarray) -> Tally:
    """Count the values of a label map, or the colors of one.

    Labels are flat: to count the ends of runs of equal pixels takes a part of
    the time that each pixel takes.

    Args:
        pixels: Integers (H, W), or uint8 (H, W, 3), BGR.
    """
    colors = pixels.ndim == 3
    flat = pixels.reshape(-1, 3) if colors else pixels.reshape(-1)
    digest = hashlib.sha256(repr(pixels.shape).encode())
    values, counts, blended = [], [], [0.0]
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        block = _keys(block) if colors else block
        ends = _places_of(block[1:] != block[:-1]) + 1
        starts = np.concatenate([[0], ends]).astype(np.int32)
        firsts = block[starts]
        if colors:
            firsts &= _COLOR
        digest.update(starts.tobytes())
        digest.update(firsts.astype(np.int32).tobytes())
        lengths = np.diff(starts, append=len(block))
        found, total = _sum(firsts, lengths)
        values.append(found)
        counts.append(total)
        blended.append(0.0 if colors else _blended(firsts, lengths))
    if not values:
        none = np.zeros(0, np.int64)
        return Tally(none, none, digest.digest()[:DIGEST_SIZE])
    found, total = values[0], counts[0]
    if len(values) > 1:
        found, total = _sum(np.concatenate(values), np.concatenate(counts))
    return Tally(found, total, digest.digest()[:DIGEST_SIZE], max(blended))


def _blended(firsts: np.ndarray, lengths: np.ndarray) -> float:
    """Return the share of runs whose values lie between their neighbors'.

    Args:
        firsts: The values of the runs.
        lengths: Their lengths; long ones do not count.
    """
    if len(firsts) < _RUNS:
        return 0.0
    rises = firsts[1:] > firsts[:-1]
    # Neighbors differ, so what does not rise falls.
    between = rises[1:] == rises[:-1]
    return float((between & (lengths[1:-1] <= _SHORT)).mean())


def _places_of(flags: np.ndarray) -> np.ndarray:
    """Return where flags, bool (N,), are set, in half of NumPy's time.

    Few are: most words of eight of them have none.
    """
    whole = len(flags) // 8 * 8
    words = flags[:whole].view(np.uint64)
    some = np.flatnonzero(words != 0)
    within = np.flatnonzero(words[some].view(bool))
    places = some[within >> 3] * 8 + (within & 7)
    rest = np.flatnonzero(flags[whole:]) + whole
    return np.concatenate([places, rest])


def _keys(colors: np.ndarray) -> np.ndarray:
    """Return each color of uint8 (N, 3), BGR, as a number, uint32 (N,).

    That of the color is in the lower 24 bits; the others are the same.
    """
    bgra = cv2.cvtColor(colors[None], cv2.COLOR_BGR2BGRA)
    return bgra.view('<u4').ravel()


def _sum(
    values: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add the counts of equal values, int64 each, by ascending value."""
    if values.dtype == np.uint8:
        total = np.bincount(values, counts).astype(np.int64)
        found = np.flatnonzero(total)
        return found, total[found]
    order = np.argsort(values)
    values = values[order]
    starts = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate([[0], starts])
    total = np.add.reduceat(counts[order], starts, dtype=np.int64)
    return values[starts].astype(np.int64), total


class Source(NamedTuple):
    """Where a label comes from.

    Attributes:
        loader: Loads the labels of its data set; None if nothing does.
        position: Which image of the data set it belongs to.
        identity: What the loader's ``identity`` gives for it.
    """

    loader: LabelLoader | None = None
    position: int = 0
    identity: bytes = b''


def scan_label(data: bytes, source: Source) -> LabelScan:
    """Look at a label file, and at what it is loaded as.

    Args:
        data: Content of the file.
        source: Where it comes from.

    Returns:
        What it holds; with a fault if it is broken or of a form that no label
        map has.
    """
    try:
        mask, strict = _read(data)
        found = tally(mask.pixels)
    # Each format has its own errors.
    except FAULTS as error:
        header = read_header(data)
        scan = LabelScan(
            size=header.size, fault=as_line(error), form=header.form
        )
        return _with_loaded(scan, source)
    height, width = mask.pixels.shape[:2]
    size = width, height
    if not strict:  # EXIF may have turned it
        size = read_header(data).size or size
    flat = mask.pixels.ndim == 2
    values = found if flat else _as_gray(found)
    scan = LabelScan(
        size=size,
        form=mask.form,
        lossy=mask.lossy,
        values=values.as_dict() if values else {},
        colors=0 if flat else len(found.values),
        digest=found.digest,
        blended=found.blended,
    )
    if not strict:
        return _with_loaded(scan, source)
    return _with_loaded(scan, source, mask, found)


def _as_gray(colors: Tally) -> Tally | None:
    """Return the grays of a file whose channels are equal; else None."""
    red, green, blue = (colors.values >> bits & 255 for bits in (16, 8, 0))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return colors._replace(values=blue)
    return None


def _read(data: bytes) -> tuple[Mask, bool]:
    """Read a label file, and tell whether it is of a form for labels."""
    try:
        return read_mask(data, NAME), True
    except ValueError:
        return read_mask(data, NAME, photographic=True), False


def _with_loaded(
    scan: LabelScan,
    source: Source,
    mask: Mask | None = None,
    found: Tally | None = None,
) -> LabelScan:
    """Add what a label is loaded as.

    Args:
        scan: What the file holds.
        source: Where the label comes from.
        mask: The file, if its pixels are as loaders find them.
        found: Its values.
    """
    loader, position, identity = source
    if loader is None:
        return scan
    try:
        labels = None
        if mask and found:
            labels = loader.labels(mask, found.values, position, identity)
        if mask is None or found is None or labels is None:
            label = _as_map(loader.load(position), scan.size)
            counts = tally(label).as_dict()
            grid = _grid(label)
        else:
            counts = Tally(*_sum(labels, found.counts), b'').as_dict()
            values = _places(mask.pixels)
            if mask.pixels.ndim == 3:
                values = _keys(values.reshape(-1, 3)) & _COLOR
            grid = _as_bytes(labels[np.searchsorted(found.values, values)])
    # Anything may come out of a transform.
    except FAULTS as error:
        return replace(scan, loaded_fault=one_line(error))
    return replace(scan, loaded=counts, grid=grid)


def _as_map(label: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Check that a label is a map of integers.

    Raises:
        ValueError: It is not.
    """
    label = as_map(label, size)
    if label.dtype.kind not in 'biu':
        raise ValueError(f'a label of {label.dtype}: expected class indices')
    return label


def _grid(label: np.ndarray) -> bytes:
    """Return a label at some places, as bytes."""
    return _as_bytes(_places(label))


def _places(pixels: np.ndarray) -> np.ndarray:
    """Return pixels, (H, W) or (H, W, C), at some places all over them."""
    rows, columns = (
        (np.arange(GRID) * 2 + 1) * side // (2 * GRID)
        for side in pixels.shape[:2]
    )
    return pixels[rows[:, None], columns]


def _as_bytes(labels: np.ndarray) -> bytes:
    """Return labels as bytes, row after row."""
    labels = labels.astype(np.int64)
    outside = (labels < 0) | (labels > _OTHER)
    return np.where(outside, _OTHER, labels).astype(np.uint8).tobytes()
