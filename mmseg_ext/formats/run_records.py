"""Run directories: what a model made of each image, for reports to read.

A directory holds

- ``meta.json``: whose they are, :class:`Meta`. It is written last, so a
  directory without it is unfinished;
- ``per_image.npz``: the counts of semantic segmentation, :class:`Counts`, and
  ``maps/00000.png``: of each image its label map, and below it that of the
  prediction, of 8 bits, or of 16 where there are more than 255 classes;
- or ``detections.json`` and ``annotations.json``: what a detector found, and
  its labels, in COCO's format. Images have the ids 1, 2, ... in the order of
  the data set, and categories those in the order of the classes. An image has
  its ``path`` beside its ``file_name``, which are those of :class:`Counts`,
  and its ``brightness`` where that is known.
"""

import io
import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from mmseg_ext.formats.json_files import decode_json
from mmseg_ext.utils.files import read_file, write_bytes
from mmseg_ext.utils.images import decode_image, encode_labels, encode_png

__all__ = [
    'ANNOTATIONS',
    'BINS',
    'COUNTS',
    'DETECTIONS',
    'KINDS',
    'META',
    'Counts',
    'Meta',
    'map_path',
    'read_counts',
    'read_maps',
    'read_meta',
    'write_counts',
    'write_maps',
    'write_meta',
]

#: Files of a directory.
META, COUNTS = 'meta.json', 'per_image.npz'
#: Files of a detector's.
DETECTIONS, ANNOTATIONS = 'detections.json', 'annotations.json'

#: Kinds of wrong pixels, in the order in which they are counted.
KINDS = ('boundary', 'extent', 'segment')

#: Ranges of confidence, from 0 to 1.
BINS = 20

#: int64 and the like; its shape stands beside it.
Array: TypeAlias = np.ndarray


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """Whose counts they are.

    Attributes:
        task: ``'semantic'`` or ``'instance'``.
        classes: Their names.
        palette: Red, green and blue of each, 0 to 255.
        images: How many there are.
        dataset: Type of the data set, as ``'CamVid'``.
        data_root: Its folder, as its images are named in it; may be empty.
        split: ``'val'`` or ``'test'``.
        iteration: That of a validation; None for a test.
        config: Path of the config; may be empty.
        config_hash: SHA-256 of its entries, with what it inherits, but for
            those that say where a run works; may be empty.
        checkpoint: Path of the checkpoint; may be empty.
        checkpoint_hash: SHA-256 of the file; empty for a validation while
            a model is trained.
        ignore_index: The label that does not count.
        boundary_share: Width of a boundary, as a share of an image's diagonal.
        probs: Whether confidence was counted.
        work_dir: Where the training or test has its log; may be empty.
    """

    task: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    images: int
    dataset: str = ''
    data_root: str = ''
    split: str = 'test'
    iteration: int | None = None
    config: str = ''
    config_hash: str = ''
    checkpoint: str = ''
    checkpoint_hash: str = ''
    ignore_index: int = 255
    boundary_share: float = 0.02
    probs: bool = False
    work_dir: str = ''


@dataclass(frozen=True)
class Counts:
    """Counts of N images of C classes; what is rare is stored sparse.

    Image k has the rows ``ptr[k]`` to ``ptr[k + 1]`` of what follows a
    ``ptr``.

    Attributes:
        names: str (N,), paths of the images, relative to the data root where
            they lie in it, with ``/``. No two are alike.
        paths: str (N,), paths of the images where the run read them, from the
            root of the file system on.
        sizes: int64 (N, 2), height and width of the labels.
        brightness: float64 (N,), mean of the images' values, 0 to 255; NaN
            where it is not known.
        pair_ptr: int64 (N + 1,).
        pairs: int64 (P, 3): label class, predicted class, pixels: the entries
            of an image's confusion matrix that are not 0.
        class_ptr: int64 (N + 1,).
        class_index: int64 (M,): classes that an image has in its label or
            prediction, pixels with an ignored label left out.
        boundary: int64 (M, 3): pixels of the class that are near its boundary
            in the label and in the prediction, in both being of the class;
            in the label; in the prediction.
        errors: int64 (M, 2, 3): wrong pixels of the class, missed and
            invented, by :data:`KINDS`.
        confidence: float64 (BINS, 3), of all images: pixels by the confidence
            of their prediction, the sum of it, and how many are right; zeros
            where it was not counted.
        suspects: int64 (S, 9): image, left, top, width, height, class of the
            label, predicted class, pixels, and confidence in thousandths or -1
            where it was not counted.
    """

    names: Array
    paths: Array
    sizes: Array
    brightness: Array
    pair_ptr: Array
    pairs: Array
    class_ptr: Array
    class_index: Array
    boundary: Array
    errors: Array
    confidence: Array
    suspects: Array

    def matrix(self, classes: int) -> Array:
        """Return the confusion matrix of all images.

        Args:
            classes: C.

        Returns:
            int64 (C, C), row label, column prediction.
        """
        matrix = np.zeros((classes, classes), np.int64)
        np.add.at(matrix, tuple(self.pairs[:, :2].T), self.pairs[:, 2])
        return matrix


def write_meta(folder: str | os.PathLike[str], meta: Meta) -> None:
    """Write ``meta.json``, after all other files."""
    text = msgspec.json.format(msgspec.json.encode(meta), indent=2)
    write_bytes(Path(folder, META), text + b'\n')


def read_meta(folder: str | os.PathLike[str]) -> Meta:
    """Read ``meta.json``.

    Raises:
        ValueError: It is cut off, or no such file.
        OSError: It is not there, or cannot be read.
    """
    path = Path(folder, META)
    if not path.is_file():
        inside = f'records/*/{META}'
        within = [
            *Path(folder).glob(inside),
            *Path(folder).glob(f'*/{inside}'),
        ]
        newest = max(within, key=os.path.getmtime, default=None)
        where = f'; there is {newest.parent}' if newest else ''
        raise FileNotFoundError(
            f'{folder}: no {META}, so it is no run directory, or its run was '
            'stopped; expected what `mmseg-ext report` or EvaluationRecord '
            f'has written{where}'
        )
    try:
        meta = decode_json(read_file(path), Meta)
    except ValueError as error:
        raise ValueError(
            f'{path} cannot be read ({error}): it is cut off or was changed; '
            'evaluate again'
        ) from None
    if meta.task not in ('semantic', 'instance'):
        raise ValueError(
            f"{path}: task {meta.task!r}; expected 'semantic' or 'instance'"
        )
    if not meta.classes or len(meta.classes) != len(meta.palette):
        raise ValueError(
            f'{path}: {len(meta.classes)} classes and {len(meta.palette)} '
            'colors; expected a color for each class, and at least one class'
        )
    return meta


def write_counts(folder: str | os.PathLike[str], counts: Counts) -> None:
    """Write ``per_image.npz``."""
    file = io.BytesIO()
    arrays = {each.name: getattr(counts, each.name) for each in fields(counts)}
    np.savez_compressed(file, **arrays)
    write_bytes(Path(folder, COUNTS), file.getvalue())


def read_counts(folder: str | os.PathLike[str], meta: Meta) -> Counts:
    """Read ``per_image.npz``.

    Args:
        folder: A run directory.
        meta: Its :class:`Meta`, which the counts have to fit.

    Raises:
        ValueError: It is cut off, has other entries, or does not fit.
        OSError: It is not there, or cannot be read.
    """
    path = Path(folder, COUNTS)
    data = read_file(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            counts = Counts(**{e.name: file[e.name] for e in fields(Counts)})
    except KeyError as error:
        raise ValueError(f'{path}: no entry {error}') from None
    # zipfile and NumPy have many words for a file that is cut off.
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f'{path} cannot be read ({error}): it is cut off or was changed; '
            'evaluate again'
        ) from None
    if wrong := _misfit(counts, meta):
        raise ValueError(
            f'{path}: {wrong}; it was changed, or belongs to another '
            f'{META}: evaluate again'
        )
    return counts


def _misfit(counts: Counts, meta: Meta) -> str | None:
    """Return what does not fit."""
    number = meta.images
    pairs, classes = len(counts.pairs), len(counts.class_index)
    shapes: dict[str, tuple[int, ...]] = {
        'names': (number,),
        'paths': (number,),
        'sizes': (number, 2),
        'brightness': (number,),
        'pair_ptr': (number + 1,),
        'pairs': (pairs, 3),
        'class_ptr': (number + 1,),
        'class_index': (classes,),
        'boundary': (classes, 3),
        'errors': (classes, 2, len(KINDS)),
        'confidence': (BINS, 3),
        'suspects': (len(counts.suspects), 9),
    }
    types = dict(names='U', paths='U', brightness='f', confidence='f')
    for name, shape in shapes.items():
        array = getattr(counts, name)
        kind = types.get(name, 'i')
        if array.shape != shape or array.dtype.kind != kind:
            return (
                f'{name} is {array.dtype} of shape {array.shape}; expected '
                f'{kind!r} of shape {shape}'
            )
    for name, ends in (('pair_ptr', pairs), ('class_ptr', classes)):
        ptr = getattr(counts, name)
        if ptr[0] != 0 or ptr[-1] != ends or (np.diff(ptr) < 0).any():
            return f'{name} does not go from 0 to {ends}'
    suspects = counts.suspects
    for name, values, end in (
        ('pairs', counts.pairs[:, :2], len(meta.classes)),
        ('class_index', counts.class_index, len(meta.classes)),
        ('suspects', suspects[:, 5:7], len(meta.classes)),
        ('suspects', suspects[:, 0], number),
    ):
        if values.size and not 0 <= values.min() <= values.max() < end:
            return f'{name} has a number outside 0 to {end - 1}'
    if len(set(counts.names.tolist())) < number:
        return 'two images have one name'
    return None


def map_path(folder: str | os.PathLike[str], index: int) -> Path:
    """Return where the label maps of an image are."""
    return Path(folder, 'maps', f'{index:05}.png')


def write_maps(
    folder: str | os.PathLike[str],
    index: int,
    label: np.ndarray,
    prediction: np.ndarray,
) -> None:
    """Write the label maps of an image.

    Args:
        folder: A run directory.
        index: Number of the image.
        label: (H, W), uint8 or uint16.
        prediction: The same of the prediction.
    """
    both = np.vstack([label, prediction])
    encode = encode_labels if both.dtype == np.uint8 else encode_png
    write_bytes(map_path(folder, index), encode(both))


def read_maps(
    folder: str | os.PathLike[str], index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the label map of an image, and that of its prediction.

    Raises:
        ValueError: The file is no such pair.
        OSError: It is not there, or cannot be read.
    """
    path = map_path(folder, index)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is not there; of validations the newest alone keeps its '
            'label maps'
        )
    both: Any = decode_image(read_file(path), os.fspath(path), -1)
    if both.ndim != 2 or len(both) % 2:
        raise ValueError(
            f'{path}: an image of shape {both.shape}; expected a label map '
            'above one of as many rows'
        )
    half = len(both) // 2
    return both[:half], both[half:]
