"""Run directories of detectors, made of boxes and masks."""

from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.coco import MaskCode
from mmseg_ext.formats.instance_records import (
    Detection,
    Instances,
    Label,
    RecordedImage,
    write_instances,
)
from mmseg_ext.formats.run_records import Meta, write_meta

#: Height and width of all images.
SIZE = 240, 320


def ellipse(box):
    """Return a mask that fills a box."""
    left, top, width, height = box
    mask = np.zeros(SIZE, np.uint8)
    center = round(left + width / 2), round(top + height / 2)
    axes = max(round(width / 2), 1), max(round(height / 2), 1)
    cv2.ellipse(mask, center, axes, 0, 0, 360, 1, -1)
    code = coco_mask.encode(np.asfortranarray(mask))
    return MaskCode(SIZE, code['counts'].decode())


def label(image, category, box, masks=False, crowd=0):
    """Return a label."""
    return Label(
        image_id=image,
        category_id=category,
        bbox=[float(side) for side in box],
        iscrowd=crowd,
        segmentation=ellipse(box) if masks else None,
    )


def detection(image, category, box, score=0.9, masks=False):
    """Return a detection."""
    return Detection(
        image_id=image,
        category_id=category,
        bbox=[float(side) for side in box],
        score=score,
        segmentation=ellipse(box) if masks else None,
    )


def instances(labels, detections, images=2, names=None, **known):
    """Return labels and detections of some images."""
    names = names or [f'{number}.png' for number in range(images)]
    recorded = [
        RecordedImage(number, name, SIZE[1], SIZE[0], **known)
        for number, name in enumerate(names)
    ]
    return Instances(recorded, labels, detections)


def random_instances(seed=0, images=12, classes=3, masks=False):
    """Return what has hits, misses, doubles, other classes and crowds.

    The last class has no label, and the last image has nothing.
    """
    rng = np.random.default_rng(seed)
    labels, detections = [], []
    for image in range(images - 1):
        for _ in range(rng.integers(1, 7)):
            category = int(rng.integers(classes - 1))
            box = [*rng.integers(0, 200, 2), *rng.integers(12, 120, 2)]
            crowd = int(rng.random() < 0.1)
            labels.append(label(image, category, box, masks, crowd))
            for _ in range(rng.integers(0, 3)):
                near = np.array(box) + rng.normal(0, 4, 4)
                other = int(rng.integers(classes))
                given = category if rng.random() < 0.8 else other
                # Of few digits, so that some are alike.
                score = round(float(rng.random()), 1)
                detections.append(detection(image, given, near, score, masks))
    return instances(labels, detections, images)


def write_instance_run(
    folder, content, classes=('nail', 'thumb'), pictures=True, **known
):
    """Write a run directory, and its images beside it."""
    folder, root = Path(folder), Path(folder).parent / 'data'
    write_instances(folder, classes, content)
    for number, image in enumerate(content.images):
        if pictures:
            path = root / image.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((*SIZE, 3), 40 * number % 256, np.uint8)
            path.write_bytes(cv2.imencode('.png', pixels)[1].tobytes())
    meta = Meta(
        **{
            'task': 'instance',
            'classes': tuple(classes),
            'palette': tuple((0, 0, k % 256) for k in range(len(classes))),
            'images': len(content.images),
            'dataset': 'SomeDataset',
            'data_root': str(root),
            'config': 'configs/some_rcnn.py',
            **known,
        }
    )
    write_meta(folder, meta)
    return meta
