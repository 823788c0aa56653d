"""What is in a label file, and what a data set's loader makes of it."""

from typing import NamedTuple

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
from mmseg_ext.formats.mask_values import (
    COLOR_BITS,
    ValueCounts,
    color_keys,
    sum_counts,
    tally,
)
from mmseg_ext.formats.masks import Mask, read_mask
from mmseg_ext.launch.errors import one_line

__all__ = ['Source', 'scan_label']

#: Stands in a grid for what has no place in 8 bits, and for ignored pixels.
_OTHER = 255


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
        digest=found.digest[:DIGEST_SIZE],
        blended=found.blended,
    )
    if not strict:
        return _with_loaded(scan, source)
    return _with_loaded(scan, source, mask, found)


def _as_gray(colors: ValueCounts) -> ValueCounts | None:
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
    found: ValueCounts | None = None,
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
            counts = ValueCounts(
                *sum_counts(labels, found.counts), b''
            ).as_dict()
            values = _places(mask.pixels)
            if mask.pixels.ndim == 3:
                values = color_keys(values.reshape(-1, 3)) & COLOR_BITS
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
