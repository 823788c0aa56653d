"""Sample scenes in the raw format of the India Driving Dataset (IDD 20K).

Source of the format: parts I and II of the release (Varma et al.,
arXiv:1811.10200) and the data set's own tools, which make label images of its
polygon files.

A set has the folders ``IDD_Segmentation`` with PNG and ``idd20kII`` with JPEG
images, and in each of them ``leftImg8bit`` and ``gtFine``. As in the release,
ids repeat from sequence to sequence, images are of two sizes, polygons have
fractions and leave the image, some are deleted or too short to be drawn, and
the test split has none. Beside a few polygon files lies the label image that
the official tool makes of them. :func:`idd_label_map` returns the exact truth.

Every other image is of part I; with eight or more each part has all splits.
The size of a set is that of the larger images.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from mmseg_ext.labels.idd import IDD_LABELS
from mmseg_ext.sample_data.output import Drawn, SetWriter, Slot, choose
from mmseg_ext.sample_data.scenes.render import check_arguments, render_scene
from mmseg_ext.sample_data.scenes.scene import Scene, SceneObject
from mmseg_ext.utils.images import encode_labels, encode_png

__all__ = ['IDD_SHARES', 'idd_label_map', 'idd_scene', 'idd_stem', 'write_idd']

#: What stands for an object that is left out of the file.
_NOTHING = ''

#: Kind of object in a scene -> labels that it can get, each with its share.
IDD_SHARES = {
    'sky': {'sky': 0.8, 'fallback background': 0.1, _NOTHING: 0.1},
    'building': {'building': 0.94, 'bridge': 0.03, 'tunnel': 0.03},
    'wall': {'wall': 1.0},
    'fence': {'fence': 0.6, 'guard rail': 0.4},
    'vegetation': {'vegetation': 1.0},
    'terrain': {'non-drivable fallback': 0.8, 'rail track': 0.2},
    'road': {'road': 0.93, 'drivable fallback': 0.04, 'parking': 0.03},
    'lane_marking': {'road': 1.0},
    'sidewalk': {'sidewalk': 0.85, 'curb': 0.15},
    'pole': {'pole': 0.85, 'polegroup': 0.15},
    'traffic_sign': {'traffic sign': 0.8, 'billboard': 0.2},
    'traffic_light': {'traffic light': 1.0},
    'traffic_cone': {'obs-str-bar-fallback': 1.0},
    'car': {
        'car': 0.78,
        'autorickshaw': 0.14,
        'cargroup': 0.04,
        'vehicle fallback': 0.04,
    },
    'truck': {
        'truck': 0.64,
        'trailer': 0.12,
        'caravan': 0.12,
        'vehicle fallback': 0.12,
    },
    'bus': {'bus': 0.85, 'train': 0.15},
    'motorcycle': {'motorcycle': 0.9, 'motorcyclegroup': 0.1},
    'bicycle': {'bicycle': 0.9, 'bicyclegroup': 0.1},
    'rider': {'rider': 0.95, 'ridergroup': 0.05},
    'person': {'person': 0.86, 'persongroup': 0.05, 'animal': 0.09},
    'ego': {'ego vehicle': 0.7, 'rectification border': 0.3},
    'unlabeled': {
        'unlabeled': 0.4,
        'out of roi': 0.3,
        'obs-str-bar-fallback': 0.3,
    },
}

#: Share of the cars whose license plate is annotated.
_PLATE_SHARE = 0.3

#: Deleted polygons, and short ones, are each fewer than this in an image.
_EXTRA_STOP = 4

#: The coordinates in the files have so many decimals.
_DECIMALS = 4

#: Beside one in so many polygon files of part I lies its label image.
_LABELED_PERIOD, _LABELED_FIRST = 8, 2


class _Part(NamedTuple):
    """One of the two archives.

    Attributes:
        folder: What it unpacks to.
        suffix: Of the images.
        ids: Of the images of each sequence.
    """

    folder: str
    suffix: str
    ids: tuple[str, ...]


_PARTS = (
    _Part('IDD_Segmentation', '.png', ('024541', '024781')),
    _Part('idd20kII', '.jpg', ('frame0029', 'frame0299')),
)

#: Images of a sequence, in both parts together.
_SEQUENCE = sum(len(part.ids) for part in _PARTS)

#: One in so many sequences, starting with that one, is of the smaller size.
_SMALL_PERIOD, _SMALL_FIRST = 3, 1

#: No side is made smaller than the least that a scene can have.
_LEAST_SIDE = 32


def idd_stem(index: int) -> str:
    """Return sequence and id of image ``index``, as in ``0_024541``."""
    return '_'.join(_sequence_and_id(index))


def idd_scene(size: tuple[int, int], seed: int, index: int) -> Scene:
    """Draw the scene of an image.

    Args:
        size: Width and height of the larger images of the set, in pixels. A
            third of the sequences has sides of two thirds, but at least 32.
        seed: Seed of the set.
        index: Number of the image.

    Returns:
        As for :func:`~mmseg_ext.sample_data.scenes.render.render_scene`.

    Raises:
        ValueError: An argument is not a whole number or out of range.
    """
    check_arguments(size, seed)
    if index // _SEQUENCE % _SMALL_PERIOD == _SMALL_FIRST:
        width, height = (max(side * 2 // 3, _LEAST_SIDE) for side in size)
        size = width, height
    return render_scene(size, seed, index)


def idd_label_map(scene: Scene, seed: int, index: int) -> np.ndarray:
    """Return the label image that follows from the polygons of an image.

    The official tool has Pillow draw the polygons, and Pillow cuts off the
    fractions of the coordinates: what is drawn are the whole-pixel polygons
    of the scene.

    Args:
        scene: Result of ``idd_scene(size, seed, index)``.
        seed: Seed of the set.
        index: Number of the image.

    Returns:
        uint8 (H, W): level-3 id, 0 to 25, and 255 where there is none.
    """
    drawn = [
        SceneObject(annotation.label, annotation.polygon)
        for annotation in _annotations(scene, seed, index)
        if not annotation.deleted and len(annotation.polygon) >= 3
    ]
    indices = {item.kind: _level3(item.kind) for item in drawn}
    return Scene(scene.image, drawn).label_map(indices)


@dataclass(frozen=True, eq=False)
class _Annotation:
    """An entry of a polygon file.

    Attributes:
        label: A name of the official table, or one with ``group`` after it.
        polygon: float64 (N, 2), N >= 1, whole-pixel xy.
        deleted: Whether the annotators took it back.
    """

    label: str
    polygon: np.ndarray
    deleted: bool = False


def _level3(name: str) -> int:
    """Return the level-3 id of a label, also with ``group`` after it."""
    known = {label.name: label.level3 for label in IDD_LABELS}
    return known[name if name in known else name.removesuffix('group')]


def _annotations(scene: Scene, seed: int, index: int) -> list[_Annotation]:
    """Return the entries of the polygon file, in its order."""
    # The renderer draws from (seed, index, 0) and (seed, index, 1).
    rng = np.random.default_rng((seed, index, 2))
    annotations = []
    for item in scene.objects:
        label = choose(rng, IDD_SHARES[item.kind])
        if label != _NOTHING:
            annotations.append(_Annotation(label, item.polygon))
        if item.kind == 'car' and rng.random() < _PLATE_SHARE:
            plate = _license_plate(item.polygon)
            annotations.append(_Annotation('license plate', plate))
    for extra in _not_drawn(scene.size, rng):
        place = rng.integers(len(annotations) // 2, len(annotations) + 1)
        annotations.insert(int(place), extra)
    return annotations


def _license_plate(car: np.ndarray) -> np.ndarray:
    """Return a small rectangle in the lower middle of a polygon."""
    low, high = car.min(0), car.max(0)
    corners = np.array([(0.4, 0.7), (0.6, 0.7), (0.6, 0.8), (0.4, 0.8)])
    return np.rint(low + corners * (high - low))


def _not_drawn(size: tuple[int, int], rng: Generator) -> Iterator[_Annotation]:
    """Yield what a label maker must skip: deleted polygons, then short ones.

    They are large enough to be seen if they were drawn.
    """
    names = [label.name for label in IDD_LABELS]
    for deleted in (True, False):
        for _ in range(rng.integers(_EXTRA_STOP)):
            number = rng.integers(3, 6) if deleted else rng.integers(1, 3)
            points = np.rint(rng.uniform(-0.1, 1.1, (number, 2)) * size)
            yield _Annotation(str(rng.choice(names)), points, deleted)


def _draw(slot: Slot, size: tuple[int, int], seed: int) -> Drawn:
    scene = idd_scene(size, seed, slot.number)
    return Drawn(_contents(scene, seed, slot.number))


def _contents(scene: Scene, seed: int, index: int) -> Iterator[bytes]:
    """Yield image, polygon file and label image."""
    part = _part(index)
    if part.suffix == '.png':
        yield encode_png(scene.image)
    else:
        yield cv2.imencode(part.suffix, scene.image)[1].tobytes()
    yield json.dumps(_polygon_file(scene, seed, index)).encode()
    yield encode_labels(idd_label_map(scene, seed, index))


def _polygon_file(scene: Scene, seed: int, index: int) -> dict[str, Any]:
    """Make a polygon file; those of part II have only the fields they need."""
    rng = np.random.default_rng((seed, index, 3))
    complete = _part(index) is _PARTS[0]
    objects = []
    for number, annotation in enumerate(_annotations(scene, seed, index)):
        row: dict[str, Any] = {
            'label': annotation.label,
            'polygon': _with_fractions(annotation.polygon, rng),
        }
        if complete or annotation.deleted:
            row['deleted'] = int(annotation.deleted)
        if complete:
            row |= {
                'verified': 0,
                'user': 'sample',
                'date': '02-Jul-2018 10:24:05',
                'id': number,
                'draw': True,
            }
        objects.append(row)
    width, height = map(int if complete else float, scene.size)
    return {'imgHeight': height, 'imgWidth': width, 'objects': objects}


def _with_fractions(polygon: np.ndarray, rng: Generator) -> list[list[float]]:
    """Move whole-pixel points away from zero, by less than a pixel.

    Pillow cuts the fractions off again. Around zero both sides give zero.
    """
    steps = 10**_DECIMALS
    fractions = rng.integers(steps, size=polygon.shape) / steps
    either = rng.choice((-1.0, 1.0), polygon.shape)
    signs = np.where(polygon == 0, either, np.sign(polygon))
    return np.round(polygon + signs * fractions, _DECIMALS).tolist()


def _part(index: int) -> _Part:
    return _PARTS[index % len(_PARTS)]


def _sequence_and_id(index: int) -> tuple[str, str]:
    sequence, place = divmod(index, _SEQUENCE)
    return str(sequence), _part(index).ids[place // len(_PARTS)]


def _paths(slot: Slot) -> list[str]:
    """List image, polygon file and label image, as far as there are any."""
    index, split = slot.number, slot.split
    part = _part(index)
    sequence, name = _sequence_and_id(index)
    folder = f'{part.folder}/leftImg8bit/{split}/{sequence}'
    paths = [f'{folder}/{name}_leftImg8bit{part.suffix}']
    if split != 'test':
        stem = f'{part.folder}/gtFine/{split}/{sequence}/{name}_gtFine'
        paths.append(f'{stem}_polygons.json')
        if index % _LABELED_PERIOD == _LABELED_FIRST:
            paths.append(f'{stem}_labellevel3Ids.png')
    return paths


#: Write street scenes in IDD's raw format, both parts; see ``SetWriter``.
write_idd = SetWriter('IDD scenes', (480, 360), _paths, _draw)
