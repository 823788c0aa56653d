"""nuImages converted table by table and pixel by pixel, from its schema."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

#: The class index is the position: objects from A to Z, then the surfaces.
CLASSES = [
    'animal',
    'human.pedestrian.adult',
    'human.pedestrian.child',
    'human.pedestrian.construction_worker',
    'human.pedestrian.personal_mobility',
    'human.pedestrian.police_officer',
    'human.pedestrian.stroller',
    'human.pedestrian.wheelchair',
    'movable_object.barrier',
    'movable_object.debris',
    'movable_object.pushable_pullable',
    'movable_object.trafficcone',
    'static_object.bicycle_rack',
    'vehicle.bicycle',
    'vehicle.bus.bendy',
    'vehicle.bus.rigid',
    'vehicle.car',
    'vehicle.construction',
    'vehicle.emergency.ambulance',
    'vehicle.emergency.police',
    'vehicle.motorcycle',
    'vehicle.trailer',
    'vehicle.truck',
    'flat.driveable_surface',
    'vehicle.ego',
]

#: Thing classes in the order of their ids, and what belongs to each.
THINGS = {
    'car': ['vehicle.car'],
    'truck': ['vehicle.truck'],
    'trailer': ['vehicle.trailer'],
    'bus': ['vehicle.bus.bendy', 'vehicle.bus.rigid'],
    'construction_vehicle': ['vehicle.construction'],
    'bicycle': ['vehicle.bicycle'],
    'motorcycle': ['vehicle.motorcycle'],
    'pedestrian': [
        'human.pedestrian.adult',
        'human.pedestrian.child',
        'human.pedestrian.construction_worker',
        'human.pedestrian.police_officer',
    ],
    'traffic_cone': ['movable_object.trafficcone'],
    'barrier': ['movable_object.barrier'],
}


def load(root, version, table):
    """Read a whole table."""
    path = Path(root, version, f'{table}.json')
    return json.loads(path.read_text(encoding='utf-8'))


def key_frames(root, version):
    """List the rows of the annotated images."""
    rows = load(root, version, 'sample_data')
    return [row for row in rows if row['is_key_frame']]


def decode(mask):
    """Return the pixels of a mask, bool (H, W)."""
    counts = base64.b64decode(mask['counts'])
    return coco_mask.decode({'size': mask['size'], 'counts': counts}) == 1


def label_maps(root, version):
    """Return ``{file name: uint8 label map}``; nothing for the test split."""
    if version == 'v1.0-test':
        return {}
    names = category_names(root, version)
    surfaces = load(root, version, 'surface_ann')
    objects = load(root, version, 'object_ann')
    objects.sort(key=lambda row: row['token'])
    maps = {}
    for image in key_frames(root, version):
        labels = np.full((image['height'], image['width']), 255, np.uint8)
        for row in surfaces + objects:
            mine = row['sample_data_token'] == image['token']
            if mine and row['mask'] is not None:
                name = names[row['category_token']]
                labels[decode(row['mask'])] = CLASSES.index(name)
        maps[image['filename']] = labels
    return maps


def coco(root, version):
    """Return the COCO file of a version."""
    names = category_names(root, version)
    objects = load(root, version, 'object_ann')
    objects.sort(key=lambda row: row['token'])
    images, annotations = [], []
    for image_id, image in enumerate(key_frames(root, version), start=1):
        images.append(
            {
                'id': image_id,
                'token': image['token'],
                'file_name': image['filename'],
                'width': image['width'],
                'height': image['height'],
            }
        )
        for row in objects:
            if row['sample_data_token'] == image['token']:
                for thing, members in enumerate(THINGS.values()):
                    if names[row['category_token']] in members:
                        instance = describe(row, image)
                        instance['id'] = len(annotations) + 1
                        instance['image_id'] = image_id
                        instance['category_id'] = thing
                        annotations.append(instance)
    return {
        'info': {'version': version},
        'categories': [
            {'id': index, 'name': name} for index, name in enumerate(THINGS)
        ],
        'images': images,
        'annotations': annotations,
    }


def describe(row, image):
    """Describe an object by its pixels, or as a region to ignore."""
    xmin, ymin, xmax, ymax = row['bbox']
    shape = (image['height'], image['width'])
    pixels = np.zeros(shape, bool) if not row['mask'] else decode(row['mask'])
    crowd = not pixels.any()
    if crowd:
        pixels = np.zeros(shape, bool)
        pixels[max(0, ymin) : max(0, ymax), max(0, xmin) : max(0, xmax)] = True
    rle = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
    ys, xs = np.nonzero(pixels)
    left, top = int(xs.min()), int(ys.min())
    return {
        'token': row['token'],
        'iscrowd': int(crowd),
        'bbox': [left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top],
        'area': int(pixels.sum()),
        'segmentation': {
            'size': list(shape),
            'counts': rle['counts'].decode(),
        },
        'amodal_bbox': [xmin, ymin, xmax - xmin, ymax - ymin],
    }


def subset(full, size):
    """Keep the ``size`` images with the smallest digests."""

    def digest(image):
        return hashlib.sha256(f'0:{image["token"]}'.encode()).hexdigest()

    chosen = sorted(full['images'], key=digest)[:size]
    ids = [image['id'] for image in chosen]
    images = [image for image in full['images'] if image['id'] in ids]
    annotations = [
        row for row in full['annotations'] if row['image_id'] in ids
    ]
    return {**full, 'images': images, 'annotations': annotations}


def category_names(root, version):
    """Return ``{category token: name}``."""
    rows = load(root, version, 'category')
    return {row['token']: row['name'] for row in rows}
