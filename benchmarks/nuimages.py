"""nuImages' tables to label maps and COCO files, whole runs.

1600x900, 8 masks and about 3,300 runs an image, 13 rows of ``sample_data`` a
key frame, rows in no order. The baseline is how tutorials do it: load the
tables, search them for the rows of each image, decode each mask and paint it
with a boolean index. Its search makes it quadratic, so it converts only some
images, evenly spaced, but searches all rows for each.

Milliseconds are per image.
"""

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.converters.nuimages import convert
from mmseg_ext.labels.nuimages import NUIMAGES, SURFACES, THING_OF, THINGS
from timing import Row, timed, whole_runs

VERSION = 'v1.0-train'
SHAPE = (900, 1600)
FRAMES = 13
OBJECTS = 7

#: Images that the baseline converts, and runs of everything.
BASELINE_IMAGES = 100
ROUNDS = 3

ROAD = 'flat.driveable_surface'


def run() -> list[Row]:
    """Time the converter."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, 'small'), Path(folder, 'large')
        write_tables(small, 1000, OBJECTS * 1000)
        write_tables(large, 4000, OBJECTS * 4000)
        check_equal(small, Path(folder))
        ways = {
            'small': lambda out: time_ours(small, out) / 1000,
            'small baseline': lambda out: time_baseline(small, out, 1000),
            'large': lambda out: time_ours(large, out) / 4000,
            'large, two': lambda out: time_ours(large, out, 2) / 4000,
            'large baseline': lambda out: time_baseline(large, out, 4000),
        }
        seconds = whole_runs(ways, Path(folder), ROUNDS)
    return [
        Row(f'nuImages converter, {what}', baseline, seconds[a], seconds[b])
        for what, baseline, a, b in (
            (
                '1,000 images',
                'search all rows for each',
                'small',
                'small baseline',
            ),
            (
                '4,000 images',
                'search all rows for each',
                'large',
                'large baseline',
            ),
            ('per image at 4,000', 'at 1,000', 'large', 'small'),
            ('two processes', 'one process', 'large, two', 'large'),
        )
    ]


def time_ours(root: Path, out: Path, nproc: int = 1) -> float:
    """Return the seconds of a whole run."""
    return timed(convert, root, out, versions=[VERSION], nproc=nproc)


def time_baseline(root: Path, out: Path, images: int) -> float:
    """Return the seconds per image, as if all were converted."""
    tables: dict[str, list] = {}
    loading = timed(lambda: tables.update(load_tables(root)))
    step = images // BASELINE_IMAGES
    converting = timed(convert_some, tables, out, step)
    return loading / images + converting / BASELINE_IMAGES


def check_equal(root: Path, folder: Path) -> None:
    """Check that both ways give the same masks, for ten images."""
    ours, other = folder / 'ours', folder / 'other'
    time_ours(root, ours)
    tables = load_tables(root)
    convert_some(tables, other, len(tables['sample']) // 10)
    for path in sorted(other.rglob('*.png')):
        twin = ours / path.relative_to(other)
        if (cv2.imread(str(path), 0) != cv2.imread(str(twin), 0)).any():
            raise RuntimeError(f'the two ways do not agree on {path.name}')


# The baseline.


def load_tables(root: Path) -> dict[str, list[dict]]:
    """Load whole tables."""
    return {
        path.stem: json.loads(path.read_text())
        for path in Path(root, VERSION).iterdir()
    }


def convert_some(tables: dict[str, list], out: Path, step: int) -> None:
    """Convert each ``step``-th image."""
    frames = [row for row in tables['sample_data'] if row['is_key_frame']]
    names = {row['token']: row['name'] for row in tables['category']}
    images, instances = [], []
    for index in range(0, len(frames), step):
        frame = frames[index]
        images.append(
            {
                'id': index,
                'token': frame['token'],
                'file_name': frame['filename'],
                'width': frame['width'],
                'height': frame['height'],
            }
        )
        instances += convert_image(tables, names, frame, index, out)
    categories = [{'id': i, 'name': name} for i, name in enumerate(THINGS)]
    text = json.dumps(
        {
            'images': images,
            'annotations': instances,
            'categories': categories,
        }
    )
    (out / 'coco.json').write_text(text)


def convert_image(
    tables: dict[str, list],
    names: dict[str, str],
    frame: dict,
    image_id: int,
    out: Path,
) -> list[dict]:
    """Write the mask of an image and return its instances."""
    token = frame['token']
    surfaces = [
        row
        for row in tables['surface_ann']
        if row['sample_data_token'] == token
    ]
    objects = [
        row
        for row in tables['object_ann']
        if row['sample_data_token'] == token
    ]
    objects.sort(key=lambda row: row['token'])
    labels = np.full((frame['height'], frame['width']), 255, np.uint8)
    classes = list(NUIMAGES)
    instances = []
    for row in surfaces + objects:
        rle = dict(row['mask'])
        rle['counts'] = base64.b64decode(rle['counts'])
        name = names[row['category_token']]
        labels[coco_mask.decode(rle) == 1] = classes.index(name)
        if name in THING_OF:
            left, top, right, bottom = row['bbox']
            width, height = right - left, bottom - top
            rle['counts'] = rle['counts'].decode()
            instances.append(
                {
                    'id': row['token'],
                    'image_id': image_id,
                    'category_id': THINGS.index(THING_OF[name]),
                    'bbox': [left, top, width, height],
                    'area': width * height,
                    'iscrowd': 0,
                    'segmentation': rle,
                }
            )
    path = out / 'semantic_masks' / frame['filename']
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path.with_suffix('.png')), labels)
    return instances


# The tables.


def write_tables(root: Path, images: int, objects: int) -> None:
    """Write made-up tables of a size, about 15 KB an image.

    Args:
        root: Gets the folder ``v1.0-train``.
        images: Number of key frames, with a surface each.
        objects: Rows of ``object_ann``, of random images.
    """
    rng = np.random.default_rng(0)
    samples, frames = tokens(rng, images), tokens(rng, images)
    names = dict(zip(NUIMAGES, tokens(rng, len(NUIMAGES)), strict=True))
    write_table(
        root,
        'category',
        (json.dumps({'token': t, 'name': n}) for n, t in names.items()),
    )
    write_table(
        root, 'sample', (f'{{"token": "{token}"}}' for token in samples)
    )
    write_table(root, 'sample_data', frame_rows(rng, samples, frames))
    roads = [mask_fields(rng, (500, 800)) for _ in range(100)]
    write_table(
        root,
        'surface_ann',
        annotation_rows(
            rng, images, frames, [(names[ROAD], mask) for mask in roads]
        ),
    )
    blobs = [mask_fields(rng, (20, 266)) for _ in range(300)]
    things = [token for name, token in names.items() if name not in SURFACES]
    write_table(
        root,
        'object_ann',
        annotation_rows(
            rng, objects, frames, [(rng.choice(things), b) for b in blobs]
        ),
    )


def write_table(root: Path, name: str, rows: Iterator[str]) -> None:
    """Write rows, which are JSON, without holding them."""
    path = root / VERSION / f'{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w') as file:
        file.write('[\n' + next(rows))
        file.writelines(f',\n{row}' for row in rows)
        file.write('\n]\n')


def tokens(rng: np.random.Generator, number: int) -> list[str]:
    """Draw tokens of 32 hexadecimal digits."""
    digits = rng.bytes(16 * number).hex()
    return [digits[32 * i : 32 * i + 32] for i in range(number)]


def frame_rows(
    rng: np.random.Generator, samples: list[str], frames: list[str]
) -> Iterator[str]:
    """Yield the rows of ``sample_data``."""
    pose, sensor = tokens(rng, 2)
    for number in range(FRAMES * len(samples)):
        image, frame = divmod(number, FRAMES)
        key = frame == FRAMES // 2
        folder = 'samples' if key else 'sweeps'
        yield json.dumps(
            {
                'token': frames[image] if key else f'{number:032x}',
                'sample_token': samples[image],
                'ego_pose_token': pose,
                'calibrated_sensor_token': sensor,
                'filename': f'{folder}/CAM_FRONT/n013-2018-08-01-16-03-27+0800'
                f'__CAM_FRONT__{1533110000000000 + number}.jpg',
                'fileformat': 'jpg',
                'width': SHAPE[1],
                'height': SHAPE[0],
                'timestamp': 1533110000000000 + number,
                'is_key_frame': key,
                'prev': f'{number - 1:032x}',
                'next': f'{number + 1:032x}',
            }
        )


def annotation_rows(
    rng: np.random.Generator,
    number: int,
    frames: list[str],
    annotations: list[tuple[str, str]],
) -> Iterator[str]:
    """Yield rows of images in random order, as many of each image.

    ``annotations`` are pairs of category token and the fields of a mask.
    """
    own = tokens(rng, number)
    images = rng.permutation(number) % len(frames)
    choices = rng.integers(len(annotations), size=number)
    for token, image, choice in zip(own, images, choices, strict=True):
        category, fields = annotations[choice]
        yield (
            f'{{"token": "{token}", "sample_data_token": "{frames[image]}", '
            f'"category_token": "{category}", "attribute_tokens": [], '
            f'{fields}}}'
        )


def mask_fields(rng: np.random.Generator, widths: tuple[int, int]) -> str:
    """Draw a blob with ragged edges; return JSON of its mask and box.

    Args:
        rng: Where randomness comes from.
        widths: Bounds of its width; it has two runs a column.
    """
    height, width = SHAPE
    columns = int(rng.integers(*widths))
    rows = int(rng.integers(30, min(height - 200, columns + 60)))
    left = int(rng.integers(width - columns))
    middle = int(rng.integers(rows // 2 + 50, height - rows // 2 - 50))
    arch = np.sqrt(1 - np.linspace(-0.99, 0.99, columns) ** 2) * rows / 2
    ragged = rng.integers(1, 42, (2, columns))
    tops = (middle - arch).astype(int) - ragged[0]
    bottoms = (middle + arch).astype(int) + ragged[1]
    bounds = (left + np.arange(columns)) * height + np.stack([tops, bottoms])
    runs = np.diff(bounds.T.ravel(), prepend=0, append=height * width)
    rle = coco_mask.frPyObjects(
        {'size': list(SHAPE), 'counts': runs.tolist()}, *SHAPE
    )
    counts = base64.b64encode(rle['counts']).decode()
    box = [left, int(tops.min()), left + columns, int(bottoms.max())]
    return (
        f'"bbox": {box}, "mask": {{"size": {list(SHAPE)}, '
        f'"counts": "{counts}"}}'
    )
