"""IDD's polygon files to label maps, whole runs.

1920x1080, 60 polygons an image. The baseline is what the data set's own tools
do on one process: load the JSON, draw with Pillow, save with its defaults. It
draws only; ours also checks sizes and values, links the images, counts pixels
and writes splits and report.

Milliseconds are per image. Run by itself it prints the peak memory of a
worker for sets of several sizes.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from common import in_own_process
from mmseg_ext.converters.idd import convert
from mmseg_ext.labels.idd import IDD_LABELS
from timing import Row, timed, whole_runs

SIZE = (1920, 1080)
POLYGONS = 60
LEVEL3 = {label.name: label.level3 for label in IDD_LABELS}

#: Images that ours converts, the baseline converts, and different ones.
IMAGES, BASELINE_IMAGES, DIFFERENT = 2000, 25, 25
ROUNDS = 3

#: Numbers of images for which memory is measured.
MEMORY_IMAGES = (500, 2000, 8000)


def run() -> list[Row]:
    """Time the converter."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_set(root, IMAGES)
        check_equal(root)
        ways = {
            'ours': lambda out: timed(convert, [root], out) / IMAGES,
            'two': lambda out: timed(convert, [root], out, nproc=2) / IMAGES,
            'baseline': lambda out: (
                timed(draw_some, root, out) / BASELINE_IMAGES
            ),
        }
        seconds = whole_runs(ways, root, ROUNDS)
    return [
        Row(
            'IDD converter, one process',
            'Pillow, default settings',
            seconds['ours'],
            seconds['baseline'],
        ),
        Row(
            'IDD converter, two processes',
            'one process',
            seconds['two'],
            seconds['ours'],
        ),
    ]


# The baseline.


def draw_some(root: Path, out: Path) -> None:
    """Draw the first polygon files, one after the other."""
    out.mkdir()
    for path in polygon_files(root)[:BASELINE_IMAGES]:
        content = json.loads(path.read_text())
        size = content['imgWidth'], content['imgHeight']
        image = Image.new('L', size, 255)
        draw = ImageDraw.Draw(image)
        for item in content['objects']:
            points = [(x, y) for x, y in item['polygon']]
            draw.polygon(points, fill=LEVEL3[item['label']])
        image.save(out / f'{path.parent.name}_{path.name[:6]}.png')


def check_equal(root: Path) -> None:
    """Check that both ways give the same labels."""
    ours, other = root / 'ours', root / 'other'
    timed(convert, [root], ours)
    draw_some(root, other)
    for path in other.glob('*.png'):
        one = Image.open(ours / 'train_label' / path.name)
        if not np.array_equal(one, Image.open(path)):
            raise RuntimeError(f'the labels of {path.name} differ')


# The set.


def polygon_files(root: Path) -> list[Path]:
    """List the polygon files."""
    return sorted(root.glob('gtFine/train/*/*_polygons.json'))


def write_set(root: Path, images: int) -> None:
    """Write a made-up set; all but the first polygon files are links."""
    rng = np.random.default_rng(0)
    photograph = root / 'photograph.jpg'
    Image.new('RGB', SIZE).save(photograph)
    files = []
    for number in range(images):
        image, polygons = (
            root / folder / 'train' / '0' / f'{number:06}_{ending}'
            for folder, ending in (
                ('leftImg8bit', 'leftImg8bit.jpg'),
                ('gtFine', 'gtFine_polygons.json'),
            )
        )
        for path in (image, polygons):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photograph, image)
        if number < DIFFERENT:
            polygons.write_text(json.dumps(polygon_file(rng)))
            files.append(polygons)
        else:
            os.link(files[number % DIFFERENT], polygons)


def polygon_file(rng: np.random.Generator) -> dict:
    """Draw polygons of all sizes, the large ones first."""
    radii = np.sort(rng.lognormal(4.2, 1.0, POLYGONS))[::-1]
    objects = []
    for number, radius in enumerate(radii):
        points = int(rng.integers(4, 40))
        angles = np.sort(rng.uniform(0, 2 * np.pi, points))
        circle = np.stack([np.cos(angles), np.sin(angles)], 1)
        ragged = radius * rng.uniform(0.7, 1, (points, 1)) * circle
        objects.append(
            {
                'date': '15-Mar-2018 13:03:55',
                'deleted': 0,
                'draw': True,
                'id': number,
                'label': IDD_LABELS[int(rng.integers(len(IDD_LABELS)))].name,
                'polygon': (rng.uniform((0, 0), SIZE) + ragged).tolist(),
                'user': 'anue',
                'verified': 0,
            }
        )
    return {'imgHeight': SIZE[1], 'imgWidth': SIZE[0], 'objects': objects}


# Memory.


def convert_set(images: int) -> None:
    """Write a set and convert it with two workers."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_set(root, images)
        timed(convert, [root], root / 'out', nproc=2)


def main() -> None:
    """Print the peak memory of a worker."""
    for images in MEMORY_IMAGES:
        peak = in_own_process(convert_set, images, children=True)
        print(f'{images} images: at most {peak:.0f} MiB a worker')


if __name__ == '__main__':
    main()
