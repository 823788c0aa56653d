"""What files hold, by Pillow and loops: beside the doctor's own pass."""

import zlib
from collections import Counter

import numpy as np
from PIL import ExifTags, Image, ImageOps

from mmseg_ext.doctor.parts import GRID, ImageScan, LabelScan, Place, Sample
from mmseg_ext.engine.label_checks import LabelPlace, read_label
from mmseg_ext.formats.masks import read_mask


def naive_scan(parts, nproc=1, sample=None, cache=None):
    """Set the samples of data sets, as ``scan_parts`` does."""
    for part in parts:
        if part.dataset is None:
            continue
        part.samples = [
            _sample(part.dataset, index)
            for index in range(len(part.dataset))[:sample]
        ]


def _sample(dataset, index):
    info = dataset.get_data_info(index)
    label = info.get('seg_map_path')
    return Sample(
        Place(index, info['img_path'], label),
        _image(info['img_path']),
        None if label is None else _label(label, dataset, index),
    )


def _image(path):
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1)
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(upright.convert('RGB'))
            small = pixels[::8, ::8].reshape(-1, 3).astype(float)
            return ImageScan(
                size=upright.size,
                form=f'{image.format} {image.mode}',
                turned=turned,
                gray=bool((np.ptp(pixels, axis=2) == 0).all()),
                mean=tuple(small.mean(axis=0).tolist()),
                deviation=tuple(small.std(axis=0).tolist()),
                digest=zlib.crc32(pixels.tobytes()).to_bytes(4, 'big'),
            )
    except OSError as error:
        return ImageScan(fault=str(error))


def _label(path, dataset, index):
    try:
        with open(path, 'rb') as file:
            mask = read_mask(file.read(), path, photographic=True)
    except (OSError, ValueError) as error:
        return LabelScan(fault=str(error))
    gray = mask.gray()
    found = dict(
        size=mask.pixels.shape[1::-1],
        form=mask.form,
        lossy=mask.lossy,
        values={} if gray is None else dict(Counter(gray.ravel().tolist())),
        colors=0
        if mask.pixels.ndim == 2
        else len(np.unique(mask.pixels.reshape(-1, 3), axis=0)),
        digest=zlib.crc32(mask.pixels.tobytes()).to_bytes(4, 'big'),
    )
    try:
        loaded = read_label(LabelPlace(dataset, index, whole=False)).label
        if loaded.ndim != 2:
            raise ValueError(f'an array of shape {loaded.shape}')
    except (OSError, ValueError) as error:
        return LabelScan(loaded_fault=str(error), **found)
    rows, columns = (
        np.linspace(0, size - 1, GRID).astype(int) for size in loaded.shape
    )
    return LabelScan(
        loaded=dict(Counter(loaded.ravel().tolist())),
        grid=loaded[np.ix_(rows, columns)].astype(np.uint8).tobytes(),
        **found,
    )
