"""Tiny nuImages tables, for tests to break one thing in."""

import base64
import json

import numpy as np
from pycocotools import mask as coco_mask

from references.nuimages import CLASSES

SHAPE = (30, 40)


def new_tables():
    """Return tables without images; the categories are all there."""
    tables = {
        name: []
        for name in ('sample', 'sample_data', 'object_ann', 'surface_ann')
    }
    tables['category'] = [
        {'token': f'category {name}', 'name': name, 'description': 'Übung'}
        for name in CLASSES
    ]
    return tables


def add_image(tables, name, shape=SHAPE, sweeps=1):
    """Add a key frame, with other frames before it; return its token."""
    height, width = shape
    tables['sample'].append({'token': f'sample {name}', 'timestamp': 1})
    for index in range(sweeps + 1):
        key = index == sweeps
        tables['sample_data'].append(
            {
                'token': f'image {name}' if key else f'sweep {name} {index}',
                'sample_token': f'sample {name}',
                'filename': f'samples/CAM_FRONT/{name}.jpg'
                if key
                else f'sweeps/CAM_FRONT/{name}_{index}.jpg',
                'fileformat': 'jpg',
                'width': width,
                'height': height,
                'is_key_frame': key,
            }
        )
    return f'image {name}'


def add_object(tables, image, token, category, mask, bbox=(5, 6, 25, 20)):
    """Add an object; ``mask`` is bool (H, W) or None."""
    row = {
        'token': token,
        'sample_data_token': image,
        'category_token': f'category {category}',
        'attribute_tokens': [],
        'bbox': list(bbox),
        'mask': encode(mask),
    }
    tables['object_ann'].append(row)
    return row


def add_surface(tables, image, token, category, mask):
    """Add a surface."""
    row = {
        'token': token,
        'sample_data_token': image,
        'category_token': f'category {category}',
        'mask': encode(mask),
    }
    tables['surface_ann'].append(row)
    return row


def encode(mask):
    """Encode bool (H, W) as the release does; None stays None."""
    if mask is None:
        return None
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {
        'size': list(mask.shape),
        'counts': base64.b64encode(rle['counts']).decode(),
    }


def box(top, left, bottom, right, shape=SHAPE):
    """Return a mask that is a rectangle."""
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def tiny_tables(images=4):
    """Return tables with what is easy to get wrong.

    Every image has two overlapping surfaces and three overlapping objects,
    with rows of all images mixed and tokens in no order. The last image has
    no annotations, the one before also has null and empty masks.
    """
    tables = new_tables()
    tokens = [
        add_image(tables, f'{index}', sweeps=index % 3)
        for index in range(images)
    ]
    road, ego = 'flat.driveable_surface', 'vehicle.ego'
    for image in tokens[:-1]:
        add_surface(tables, image, f'b {image}', ego, box(18, 0, 30, 40))
    for image in tokens[:-1]:
        add_surface(tables, image, f'a {image}', road, box(10, 2, 24, 38))
    for token, category, mask in (
        ('2', 'vehicle.car', box(8, 4, 20, 22)),
        ('3', 'human.pedestrian.adult', np.tri(*SHAPE, -3) > 0),
        ('1', 'movable_object.debris', box(12, 10, 28, 30)),
    ):
        for number, image in enumerate(tokens[:-1]):
            moved = np.roll(mask, number, axis=1)
            add_object(tables, image, f'{token} {image}', category, moved)
    last = tokens[-2]
    empty = np.zeros(SHAPE, bool)
    barrier, animal = 'movable_object.barrier', 'animal'
    add_object(tables, last, '0', barrier, None, (-3, 8, 12, 35))
    add_object(tables, last, '9', 'vehicle.truck', empty, (30, 2, 44, 9))
    add_object(tables, last, '8', animal, None)
    add_surface(tables, last, '7', road, None)
    return tables


def write_tables(root, tables, version='v1.0-mini', indent=None):
    """Write tables where the release has them."""
    folder = root / version
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        text = json.dumps(rows, indent=indent, ensure_ascii=False)
        (folder / f'{name}.json').write_text(text, encoding='utf-8')
