"""Sample scenes in the raw format of CamVid's 32-class release.

A set has ``train``, ``val`` and ``test`` with images ``X.png``,
``train_labels`` and so on with color masks ``X_L.png``, and
``class_dict.csv``.
"""

import numpy as np

from mmseg_ext.labels.camvid import CAMVID32, VOID
from mmseg_ext.sample_data.output import Drawn, SetWriter, Slot, Splits
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import Scene
from mmseg_ext.utils.images import encode_png

__all__ = ['CAMVID_CLASSES', 'color_mask', 'write_camvid']

#: Kind of object in a scene -> name of the class in the release.
CAMVID_CLASSES = {
    'sky': 'Sky',
    'building': 'Building',
    'wall': 'Wall',
    'fence': 'Fence',
    'vegetation': 'Tree',
    'terrain': 'VegetationMisc',
    'road': 'Road',
    'lane_marking': 'LaneMkgsDriv',
    'sidewalk': 'Sidewalk',
    'pole': 'Column_Pole',
    'traffic_sign': 'SignSymbol',
    'traffic_light': 'TrafficLight',
    'traffic_cone': 'TrafficCone',
    'car': 'Car',
    'truck': 'Truck_Bus',
    'bus': 'Truck_Bus',
    'motorcycle': 'MotorcycleScooter',
    'bicycle': 'Bicyclist',
    'rider': 'Bicyclist',
    'person': 'Pedestrian',
    'ego': VOID,
    'unlabeled': VOID,
}


def color_mask(scene: Scene) -> np.ndarray:
    """Paint a scene in the class colors of the release.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    names = list(CAMVID32)
    indices = {
        kind: names.index(name) for kind, name in CAMVID_CLASSES.items()
    }
    colors = np.array(list(CAMVID32.values()), np.uint8)[:, ::-1]
    return colors[scene.label_map(indices, fill=names.index(VOID))]


def _paths(slot: Slot) -> list[str]:
    """List image and mask; the release labels one frame a second, of 30."""
    stem = f'0001TP_{30 * (slot.number + 1):06d}'
    return [f'{slot.split}/{stem}.png', f'{slot.split}_labels/{stem}_L.png']


def _draw(slot: Slot, size: tuple[int, int], seed: int) -> Drawn:
    scene = render_scene(size, seed, slot.number)
    return Drawn(map(encode_png, (scene.image, color_mask(scene))))


def _class_dict(
    splits: Splits, size: tuple[int, int], seed: int
) -> dict[str, bytes]:
    """Make the table of classes."""
    rows = [f'{name},{r},{g},{b}\n' for name, (r, g, b) in CAMVID32.items()]
    return {'class_dict.csv': ''.join(['name,r,g,b\n', *rows]).encode()}


#: Write street scenes in CamVid's raw format; see ``SetWriter``.
write_camvid = SetWriter(
    'CamVid scenes', (480, 360), _paths, _draw, first=_class_dict
)
