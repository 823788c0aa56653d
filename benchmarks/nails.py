"""Masks of nails to COCO files, whole runs on real masks.

The baseline does what tutorials do, on one process: a pass over the masks for
their sizes, and one for contours and boxes. Ours reads each mask once, and the
header of each image besides; it checks both. Milliseconds are per mask.

Run by itself it lists what the baseline gets wrong, and how many nails that
were pushed together ``--split-touching`` cuts apart.
"""

import csv
import itertools
import json
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
from prettytable import PrettyTable
from pycocotools import mask as coco_mask

from common import NAILS, photographs
from mmseg_ext.converters.nail_masks import Region, find_nails
from mmseg_ext.converters.nails import convert
from timing import Row, interleaved, quietly

#: How often the timed set has each photograph.
COPIES = 5

#: By how many pixels nails that are pushed together overlap.
OVERLAPS = (0, 2, 4)

#: A cut is right if both nails have at least this IoU.
GOOD_IOU = 0.9


def run() -> list[Row]:
    """Time the converter."""
    with photographs() as source, tempfile.TemporaryDirectory() as out:
        root = Path(out, 'set')
        for copy in range(COPIES):
            shutil.copytree(source, root / str(copy))
        masks = mask_files(root)
        times = interleaved(
            {
                'ours': lambda: quietly(convert, root, out),
                'tutorial': lambda: two_passes(masks, Path(out, 'other')),
                'floor': lambda: read_and_trace(masks),
            },
            rounds=5,
        )
    seconds = {name: time / len(masks) for name, time in times.items()}
    return [
        Row(
            'nails converter, one process',
            'contours, two passes',
            seconds['ours'],
            seconds['tutorial'],
        ),
        Row(
            'nails converter, one process',
            'imread and findContours alone',
            seconds['ours'],
            seconds['floor'],
        ),
    ]


def mask_files(root: Path) -> list[Path]:
    """List the masks."""
    return sorted([*root.rglob('labels/*'), *root.rglob('Masks/*/*')])


# The baseline.


def two_passes(masks: list[Path], out: Path) -> dict:
    """List sizes, then trace contours and write boxes."""
    out.mkdir(exist_ok=True)
    rows = []
    for path in masks:
        height, width = cv2.imread(str(path)).shape[:2]
        rows.append([path.name, path.name, width, height])
    with open(out / 'info.csv', 'w', newline='') as file:
        csv.writer(file).writerows(rows)
    images, annotations = [], []
    for number, (path, row) in enumerate(zip(masks, rows, strict=True)):
        images.append(
            {
                'id': number,
                'file_name': row[0],
                'width': row[2],
                'height': row[3],
            }
        )
        for contour in trace(path):
            x, y = contour[:, 0].min(axis=0).tolist()
            right, bottom = contour[:, 0].max(axis=0).tolist()
            width, height = right - x, bottom - y
            if width * height < 20:
                continue
            annotations.append(
                {
                    'id': len(annotations),
                    'image_id': number,
                    'category_id': 0,
                    'bbox': [x, y, width, height],
                    'area': width * height,
                    'iscrowd': 0,
                    'segmentation': [(contour + 0.5).ravel().tolist()],
                }
            )
    coco = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 0, 'name': 'nail'}],
    }
    (out / 'train.json').write_text(json.dumps(coco))
    return coco


def read_and_trace(masks: list[Path]) -> None:
    """Do what cannot be saved."""
    for path in masks:
        trace(path)


def trace(path: Path) -> list[np.ndarray]:
    """Read a mask and return its contours."""
    gray = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)
    binary = cv2.threshold(gray, 127, 255, cv2.THRESH_BINARY)[1]
    return cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]


# What the baseline gets wrong.


def differences(root: Path) -> PrettyTable:
    """Compare the baseline with the components of the masks."""
    masks = mask_files(root)
    with tempfile.TemporaryDirectory() as out:
        coco = two_passes(masks, Path(out))
    boxes, areas, overlaps, found = 0, [], [], 0
    theirs = {n: [] for n in range(len(masks))}
    for annotation in coco['annotations']:
        theirs[annotation['image_id']].append(annotation)
    for number, path in enumerate(masks):
        mask = cv2.imread(str(path))
        size = mask.shape[:2]
        for nail in find_nails(mask).regions:
            found += 1
            code = coco_mask.encode(np.asfortranarray(whole(nail, size)))
            other, overlap = best(code, theirs[number], size)
            if other is not None:
                height, width = nail.mask.shape
                ours = [nail.left, nail.top, width, height]
                boxes += other['bbox'] != ours
                areas.append(other['area'] / nail.mask.sum())
                overlaps.append(overlap)
    table = PrettyTable(['baseline, on the same masks', 'value'], align='l')
    table.add_rows(
        [
            ['nails (ours)', f'{len(coco["annotations"])} ({found})'],
            ['found again', len(areas)],
            ['boxes that differ', boxes],
            [
                'its area / pixels of the mask, median and largest',
                f'{np.median(areas):.2f}, {max(areas):.2f}',
            ],
            [
                'IoU of its polygon and the mask, mean and lowest',
                f'{np.mean(overlaps):.3f}, {min(overlaps):.3f}',
            ],
            [
                'annotations with id 0, never matched by COCOeval',
                sum(a['id'] == 0 for a in coco['annotations']),
            ],
        ]
    )
    return table


def best(
    code: dict, annotations: list[dict], size: tuple[int, int]
) -> tuple[dict | None, float]:
    """Return the annotation that overlaps a mask most."""
    overlaps = [
        coco_mask.iou(
            [code],
            [
                coco_mask.merge(
                    coco_mask.frPyObjects(annotation['segmentation'], *size)
                )
            ],
            [0],
        ).item()
        for annotation in annotations
        if len(annotation['segmentation'][0]) >= 6
    ]
    index = int(np.argmax(overlaps)) if any(overlaps) else None
    if index is None:
        return None, 0.0
    return annotations[index], overlaps[index]


def whole(region: Region, size: tuple[int, int]) -> np.ndarray:
    """Put a region into a mask of the image; uint8 (H, W)."""
    mask = np.zeros(size, np.uint8)
    height, width = region.mask.shape
    mask[
        region.top : region.top + height, region.left : region.left + width
    ] = region.mask
    return mask


# Nails pushed together.


def splits(root: Path) -> PrettyTable:
    """Count pairs of nails that are cut apart, and nails that are cut."""
    nails = [find_nails(cv2.imread(str(p))).regions for p in mask_files(root)]
    table = PrettyTable(['--split-touching', 'of', 'right'], align='l')
    single = [nail for regions in nails for nail in regions]
    kept = sum(
        find_nails(as_file(nail.mask), split_touching=True).cut == 0
        for nail in single
    )
    table.add_row(['single nails left whole', len(single), kept])
    for overlap in OVERLAPS:
        pairs = [
            push(one, other, overlap)
            for regions in nails
            for one, other in itertools.pairwise(regions)
        ]
        right = sum(is_cut_right(*pair) for pair in pairs)
        what = f'pairs with an overlap of {overlap} pixels'
        table.add_row([what, len(pairs), right])
    return table


def push(
    one: Region, other: Region, overlap: int
) -> tuple[np.ndarray, np.ndarray]:
    """Move a nail straight toward another until they touch, and further.

    Returns:
        Both masks, uint8 (S, S); pixels of both belong to the first.
    """
    centers = [
        np.array([nail.left, nail.top]) + np.array(nail.mask.shape[::-1]) / 2
        for nail in (one, other)
    ]
    direction = centers[1] - centers[0]
    direction /= np.linalg.norm(direction)
    reach = max(one.mask.shape) + max(other.mask.shape)
    middle = np.array([reach + max(other.mask.shape)] * 2)
    fixed = centered(one.mask, middle, middle)
    near = cv2.dilate(fixed, np.ones((3, 3), np.uint8))
    for distance in np.arange(reach, 0, -0.5):
        place = middle + distance * direction
        if (near & centered(other.mask, place, middle)).any():
            break
    moved = centered(other.mask, place - overlap * direction, middle)
    return fixed, moved & ~fixed


def centered(
    mask: np.ndarray, center: np.ndarray, middle: np.ndarray
) -> np.ndarray:
    """Put a mask around a point of a canvas, whose middle is given."""
    height, width = mask.shape
    canvas = np.zeros(2 * middle, np.uint8)
    left, top = np.round(center - np.array([width, height]) / 2).astype(int)
    canvas[top : top + height, left : left + width] = mask
    return canvas


def is_cut_right(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two nails in one blob are found again."""
    found = find_nails(as_file(one | other), split_touching=True).regions
    masks = [whole(region, one.shape) for region in found]
    return len(masks) == 2 and all(
        max(np.sum(mask & nail) / np.sum(mask | nail) for mask in masks)
        >= GOOD_IOU
        for nail in (one, other)
    )


def as_file(mask: np.ndarray) -> np.ndarray:
    """Make the picture of a mask, uint8 (H, W, 3)."""
    return cv2.merge([mask * 255] * 3)


def main() -> None:
    """Print what differs and what is cut."""
    if not NAILS.is_dir():
        raise SystemExit(f'{NAILS} is missing: see docs/benchmarks.md')
    cv2.setNumThreads(0)
    print(differences(NAILS))
    print(splits(NAILS))


if __name__ == '__main__':
    main()
