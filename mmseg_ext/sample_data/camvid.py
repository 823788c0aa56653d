"""Sample scenes in the raw format of CamVid's 32-class release."""

import os
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from mmseg_ext.labels.camvid import CAMVID32, VOID
from mmseg_ext.sample_data.output import (
    check_folders,
    checked_root,
    split_scenes,
    write_same,
)
from mmseg_ext.sample_data.scenes.render import check_arguments, render_scene
from mmseg_ext.sample_data.scenes.scene import Scene
from mmseg_ext.utils.images import encode_png

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


def write_camvid(
    root: str | os.PathLike,
    num: int = 40,
    size: tuple[int, int] = (480, 360),
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, int]:
    """Write a sample set that looks on disk like CamVid.

    ``root`` gets ``train``, ``val`` and ``test`` with images ``X.png``,
    ``train_labels`` and so on with color masks ``X_L.png``, and
    ``class_dict.csv``. The same arguments give the same bytes, so a run that
    was stopped is continued by starting it again.

    Args:
        root: Folder to write, new or empty or of an earlier run.
        num: Number of scenes in all splits together, at least 3.
        size: Width and height in pixels.
        seed: Other seeds give other scenes.
        overwrite: Replace files of the same names and other content.
        progress: Show a progress bar.

    Returns:
        Number of images in each split.

    Raises:
        ValueError: ``num``, ``size`` or ``seed`` is out of range.
        FileExistsError: ``root`` holds other data.
        NotADirectoryError: ``root`` is a file.
    """
    splits = split_scenes(num)
    check_arguments(size, seed)
    root = checked_root(root)
    numbers = [(i, split) for split, part in splits.items() for i in part]
    check_folders(
        root, (path for i, split in numbers for path in _paths(i, split))
    )
    write_same(root / 'class_dict.csv', _class_dict(), overwrite)
    for index, split in tqdm(
        numbers, desc='CamVid scenes', unit='scene', disable=not progress
    ):
        scene = render_scene(size, seed, index)
        pictures = (scene.image, color_mask(scene))
        for path, picture in zip(_paths(index, split), pictures, strict=True):
            write_same(root / path, encode_png(picture), overwrite)
    return {split: len(part) for split, part in splits.items()}


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


def _paths(index: int, split: str) -> Iterator[str]:
    """Image and mask; the release labels one frame a second, of 30."""
    stem = f'0001TP_{30 * (index + 1):06d}'
    yield f'{split}/{stem}.png'
    yield f'{split}_labels/{stem}_L.png'


def _class_dict() -> bytes:
    rows = [f'{name},{r},{g},{b}\n' for name, (r, g, b) in CAMVID32.items()]
    return ''.join(['name,r,g,b\n', *rows]).encode()
