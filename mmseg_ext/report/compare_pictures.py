"""Pictures of images that two runs see differently."""

from collections.abc import Sequence

import cv2
import numpy as np

from mmseg_ext.formats.run_records import Meta, read_counts, read_maps
from mmseg_ext.report.comparison import Comparison
from mmseg_ext.report.instance_pictures import InstanceAlbum
from mmseg_ext.report.pictures import class_colors, open_image
from mmseg_ext.visualization.web_page import Picture, hex_color, webp_uri

__all__ = ['draw_changes', 'draw_detections']

#: Length of the longer side of a picture, in pixels.
_SIDE = 480

#: What the map of changes says of a pixel, and its color.
_CHANGES = (
    ('right in both', (232, 232, 232)),
    ('wrong in both', (120, 120, 120)),
    ('wrong in A, right in B', (38, 110, 200)),
    ('right in A, wrong in B', (214, 96, 20)),
    ('ignored', (255, 255, 255)),
)

#: The color of what is ignored in a label.
_IGNORED = (255, 255, 255)


def draw_changes(
    comparison: Comparison, images: Sequence[int], notes: list[str]
) -> list[Picture]:
    """Draw images with their label, both predictions, and what changed.

    Args:
        comparison: Of two runs of semantic segmentation.
        images: Numbers of images, in the order of run A.
        notes: Gets a note about each image that has no label maps, or whose
            photograph cannot be read, but all of a kind at once.

    Returns:
        Those of images whose label maps both runs have.
    """
    meta = comparison.runs[0].meta
    paths = read_counts(*comparison.runs[0][:2]).paths.tolist()
    pictures, unread, mapless = [], [], []
    for number in images:
        name = comparison.names[number]
        try:
            maps = _maps(comparison, number)
        except (OSError, ValueError) as error:
            mapless.append(str(error))
            continue
        try:
            photo = open_image(paths[number], name, meta.data_root)
        except (OSError, ValueError) as error:
            unread.append(str(error))
            photo = None
        pictures.append(_picture(comparison, number, name, photo, maps))
    for errors, what in (
        (mapless, 'images are not shown for want of their label maps'),
        (unread, 'images are shown without the photograph'),
    ):
        if errors:
            notes.append(f'{len(errors)} {what}: {errors[0]}')
    return pictures


def _maps(
    comparison: Comparison, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the label and both predictions of an image."""
    found = [
        read_maps(run.folder, int(run.order[number]))
        for run in comparison.runs
    ]
    (label, first), (_, second) = found
    if first.shape != second.shape:
        raise ValueError(
            f'{comparison.names[number]}: label maps of different sizes'
        )
    return label, first, second


def _picture(
    comparison: Comparison,
    number: int,
    name: str,
    photo: np.ndarray | None,
    maps: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Picture:
    """Return an image, its maps, and what changed."""
    meta = comparison.runs[0].meta
    label, first, second = (_shrink(each, cv2.INTER_NEAREST) for each in maps)
    drawn: list[str | None] = [
        None if photo is None else webp_uri(_shrink(photo, cv2.INTER_AREA))
    ]
    drawn += [
        webp_uri(_paint(each, meta), exact=True)
        for each in (label, first, second)
    ]
    drawn.append(webp_uri(_changes(label, first, second, meta), exact=True))
    heads = ('image', 'label', 'A', 'B', 'what changed')
    texts = (
        'image' if photo is not None else 'the image cannot be read',
        'label',
        'prediction of A',
        'prediction of B',
        'what is right and wrong in A and B',
    )
    return Picture(
        drawn,
        [f'{text}, {name}' if photo is not None else text for text in texts],
        name,
        _scores(comparison, number),
        legend=[
            *((hex_color(color), text) for text, color in _CHANGES),
            *_named(np.concatenate([label, first, second]), meta),
        ],
        heads=heads,
    )


def _scores(comparison: Comparison, number: int) -> str:
    """Return in words what an image scores in both runs."""
    before, after = comparison.image_scores[:, number] * 100
    return (
        f'{comparison.image_score} of the image {before:.1f} in A, '
        f'{after:.1f} in B ({after - before:+.1f})'
    )


def draw_detections(
    comparison: Comparison, images: Sequence[int], notes: list[str]
) -> list[Picture]:
    """Draw images with their labels, and what both runs found and missed.

    Args:
        comparison: Of two runs of a detector.
        images: Numbers of images, in the order of run A.
        notes: Gets a note about images that cannot be read.
    """
    assert comparison.detected is not None
    first, second = (
        InstanceAlbum(run.meta, each.instances, each.shown, 0)
        for run, each in zip(comparison.runs, comparison.detected, strict=True)
    )
    order = comparison.runs[1].order
    pictures = [
        first.compared(
            number, second, int(order[number]), _scores(comparison, number)
        )
        for number in images
    ]
    notes += first.notes()
    return pictures


def _named(values: np.ndarray, meta: Meta) -> list[tuple[str, str]]:
    """Return the colors and names of the classes in maps."""
    present = np.unique(values)
    colors = class_colors(meta)
    return [
        (hex_color(colors[index]), meta.classes[index])
        for index in present.tolist()
        if index < len(meta.classes) and index != meta.ignore_index
    ]


def _shrink(image: np.ndarray, method: int) -> np.ndarray:
    """Return an image whose longer side is not too long."""
    height, width = image.shape[:2]
    scale = min(1, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=method)


def _paint(indices: np.ndarray, meta: Meta) -> np.ndarray:
    """Return a label map in colors; white where it has no class."""
    colors = np.full((len(meta.classes) + 1, 3), _IGNORED, np.uint8)
    colors[:-1] = class_colors(meta)
    known = np.minimum(indices.astype(np.intp), len(meta.classes))
    known[indices == meta.ignore_index] = len(meta.classes)
    return colors[known]


def _changes(
    label: np.ndarray, first: np.ndarray, second: np.ndarray, meta: Meta
) -> np.ndarray:
    """Return what changed, in the colors of ``_CHANGES``."""
    before, after = first == label, second == label
    kind = np.select(
        [label == meta.ignore_index, before & after, after, before],
        [4, 0, 2, 3],
        1,
    )
    colors = np.array([color for _, color in _CHANGES], np.uint8)
    return colors[kind]
