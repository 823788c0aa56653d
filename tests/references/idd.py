"""IDD's label maps drawn one polygon after the other, each on its own."""

import json
from hashlib import sha256

import numpy as np
from PIL import Image, ImageDraw

#: Level-3 ids of some labels.
LEVEL3 = {
    'road': 0,
    'parking': 1,
    'drivable fallback': 1,
    'sidewalk': 2,
    'rail track': 3,
    'non-drivable fallback': 3,
    'person': 4,
    'animal': 4,
    'rider': 5,
    'autorickshaw': 8,
    'car': 9,
    'caravan': 12,
    'train': 12,
    'vehicle fallback': 12,
    'curb': 13,
    'traffic sign': 18,
    'traffic light': 19,
    'pole': 20,
    'polegroup': 20,
    'obs-str-bar-fallback': 21,
    'building': 22,
    'bridge': 23,
    'tunnel': 23,
    'vegetation': 24,
    'sky': 25,
    'fallback background': 25,
    'unlabeled': 255,
    'ego vehicle': 255,
    'rectification border': 255,
    'out of roi': 255,
    'license plate': 255,
}


def label_map(path):
    """Return uint8 (H, W) from a polygon file.

    The tools of the data set pass over what is deleted or has no points to
    draw, and over labels that they do not know, with a warning.
    """
    with open(path) as file:
        content = json.load(file)
    size = int(content['imgWidth']), int(content['imgHeight'])
    labels = np.full(size[::-1], 255, np.uint8)
    for item in content['objects']:
        if item.get('deleted', 0) or len(item['polygon']) < 3:
            continue
        if any(np.size(point) != 2 for point in item['polygon']):
            continue
        label = item['label']
        if label not in LEVEL3 and label[-5:] == 'group':
            label = label[:-5]
        if label not in LEVEL3:
            continue
        mask = Image.new('1', size)
        points = [(x, y) for x, y in item['polygon']]
        ImageDraw.Draw(mask).polygon(points, fill=1)
        labels[np.array(mask)] = LEVEL3[label]
    return labels


def split_order(stems, seed):
    """Return stems in the order of the split file."""
    keyed = [(sha256(f'{seed}:{s}'.encode()).digest(), s) for s in stems]
    return [stem for _, stem in sorted(keyed)]
