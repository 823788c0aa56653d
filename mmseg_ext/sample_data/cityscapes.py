"""Sample scenes in the raw format of Cityscapes.

Source of the format: the fine annotations of the release (Cordts et al.,
arXiv:1604.01685) and the data set's own tools, which draw images of label and
instance ids from its polygon files.

A set has ``leftImg8bit`` and, except for the test split, ``gtFine`` with
polygons, 16-bit instance ids, label ids and colors. As in the release, some
objects are groups that carry the id of their label, and some are of labels
that the benchmarks leave out. :func:`cityscapes_instance_ids` returns the
exact truth. Images of the release are of 2048x1024 pixels.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmseg_ext.labels.cityscapes import CITYSCAPES_LABELS, Label
from mmseg_ext.sample_data.output import Drawn, SetWriter, Slot, choose
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import Scene
from mmseg_ext.utils.images import encode_labels, encode_png

__all__ = [
    'CITYSCAPES_SHARES',
    'cityscapes_instance_ids',
    'cityscapes_name',
    'write_cityscapes',
]

#: Kind of object in a scene -> labels that it can get, each with its share.
#: With ``group`` after it, a label is that of objects not told apart.
CITYSCAPES_SHARES = {
    'sky': {'sky': 1.0},
    'building': {'building': 0.94, 'bridge': 0.03, 'tunnel': 0.03},
    'wall': {'wall': 1.0},
    'fence': {'fence': 0.6, 'guard rail': 0.4},
    'vegetation': {'vegetation': 1.0},
    'terrain': {'terrain': 0.8, 'ground': 0.1, 'rail track': 0.1},
    'road': {'road': 0.95, 'parking': 0.05},
    'lane_marking': {'road': 1.0},
    'sidewalk': {'sidewalk': 1.0},
    'pole': {'pole': 0.85, 'polegroup': 0.15},
    'traffic_sign': {'traffic sign': 1.0},
    'traffic_light': {'traffic light': 1.0},
    'traffic_cone': {'static': 0.5, 'dynamic': 0.5},
    'car': {'car': 0.92, 'cargroup': 0.05, 'caravan': 0.03},
    'truck': {'truck': 0.8, 'trailer': 0.15, 'truckgroup': 0.05},
    'bus': {'bus': 0.8, 'train': 0.2},
    'motorcycle': {'motorcycle': 0.92, 'motorcyclegroup': 0.08},
    'bicycle': {'bicycle': 0.9, 'bicyclegroup': 0.1},
    'rider': {'rider': 0.95, 'ridergroup': 0.05},
    'person': {'person': 0.92, 'persongroup': 0.08},
    'ego': {'ego vehicle': 0.8, 'rectification border': 0.2},
    'unlabeled': {'unlabeled': 0.3, 'out of roi': 0.3, 'static': 0.4},
}

#: Cities of the release, each of which is in one split only.
_CITIES = {
    'train': ('aachen', 'bremen', 'hamburg', 'jena', 'strasbourg', 'zurich'),
    'val': ('frankfurt', 'lindau', 'munster'),
    'test': ('berlin', 'bielefeld', 'mainz'),
}

#: The frame of each sequence that is annotated.
_FRAME = 19

_LABELS = {label.name: label for label in CITYSCAPES_LABELS}


def cityscapes_name(split: str, place: int) -> str:
    """Return city and stem of an image.

    Args:
        split: ``train``, ``val`` or ``test``.
        place: Number of the image in the split.

    Returns:
        As in ``lindau/lindau_000000_000019``.
    """
    cities = _CITIES[split]
    sequence, number = divmod(place, len(cities))
    city = cities[number]
    return f'{city}/{city}_{sequence:06}_{_FRAME:06}'


def cityscapes_instance_ids(scene: Scene, seed: int, index: int) -> np.ndarray:
    """Return the image of instance ids that follows from the polygons.

    Args:
        scene: Result of ``render_scene(size, seed, index)``.
        seed: Seed of the set.
        index: Number of the image in the set.

    Returns:
        uint16 (H, W): label id, or 1000 times that and the number of the
        object among those of its label.
    """
    seen: Counter[str] = Counter()
    values = []
    for name in _names(scene, seed, index):
        label = _label(name)
        value = label.id
        # Groups keep the id of their label.
        if label.has_instances and label.name == name:
            value = 1000 * value + seen[name]
            seen[name] += 1
        values.append(value)
    return np.array(values, np.uint16)[scene.object_map]


def _names(scene: Scene, seed: int, index: int) -> list[str]:
    """Draw the label of each object of a scene."""
    # The renderer draws from (seed, index, 0) and (seed, index, 1).
    rng = np.random.default_rng((seed, index, 2))
    return [choose(rng, CITYSCAPES_SHARES[o.kind]) for o in scene.objects]


def _label(name: str) -> Label:
    """Return the row of a label, also with ``group`` after its name."""
    return _LABELS.get(name) or _LABELS[name.removesuffix('group')]


def _draw(slot: Slot, size: tuple[int, int], seed: int) -> Drawn:
    scene = render_scene(size, seed, slot.number)
    return Drawn(_contents(scene, seed, slot.number))


def _contents(scene: Scene, seed: int, index: int) -> Iterator[bytes]:
    """Yield the files of an image; the test split takes the first only."""
    yield encode_png(scene.image)
    names = _names(scene, seed, index)
    yield json.dumps(_polygon_file(scene, names)).encode()
    yield encode_png(cityscapes_instance_ids(scene, seed, index))
    labels = [_label(name) for name in names]
    ids = np.array([label.id for label in labels], np.uint8)
    yield encode_labels(ids[scene.object_map])
    colors = np.array([label.color[::-1] for label in labels], np.uint8)
    yield encode_png(colors[scene.object_map])


def _polygon_file(scene: Scene, names: list[str]) -> dict[str, Any]:
    width, height = scene.size
    objects = [
        {'label': name, 'polygon': item.polygon.astype(int).tolist()}
        for name, item in zip(names, scene.objects, strict=True)
    ]
    return {'imgHeight': height, 'imgWidth': width, 'objects': objects}


def _paths(slot: Slot) -> list[str]:
    """List the files of an image, in the order of their contents."""
    split, name = slot.split, cityscapes_name(slot.split, slot.place)
    image = f'leftImg8bit/{split}/{name}_leftImg8bit.png'
    if split == 'test':
        return [image]
    ends = ('polygons.json', 'instanceIds.png', 'labelIds.png', 'color.png')
    return [image, *(f'gtFine/{split}/{name}_gtFine_{end}' for end in ends)]


#: Write street scenes in Cityscapes' raw format; see ``SetWriter``.
write_cityscapes = SetWriter('Cityscapes scenes', (1024, 512), _paths, _draw)
