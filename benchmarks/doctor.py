"""The doctor's pass over the files of a data set, whole runs.

Photographs of 1600x900 as JPEG with index masks as PNG, and CamVid's real
images and color masks where they are. The baseline reads the labels as they
are and the images at an eighth with OpenCV, and does nothing with them. Ours
finds headers, broken files, values as stored and as loaded, means, deviations
and hashes besides. Milliseconds are per image with its label.

Run by itself it prints the peak memory for sets of several sizes, and the time
that 10,000 pairs take, which are links to a few.
"""

import os
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

import mmseg_ext  # noqa: F401  registers its classes
from common import CAMVID, CONFIGS, in_own_process
from mmseg_ext.doctor.parts import Part
from mmseg_ext.doctor.scan import scan_parts
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS
from timing import Row, interleaved, quietly, timed

SIZE, SMALL = (1600, 900), (160, 90)
QUALITY = 90

#: Scenes that are drawn, and links to them.
SCENES, PAIRS = 8, 40
ROUNDS = 7

#: Pairs for two processes, which take some time to start, and for the cache.
MANY = 400

#: Pairs for which memory is measured, and how long it takes by itself.
MEMORY_PAIRS = (1000, 8000)
ALL = 10_000

#: A config with color masks, which CamVid has.
COLORS = 'fpn/fpn_lite0_1xb2-1500_camvid11-360x480.py'


def run() -> list[Row]:
    """Time the pass."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        few, many = (write_set(root / str(n), n) for n in (PAIRS, MANY))
        rows = [against_reading(few, '1600x900')]
        if CAMVID.is_dir():
            rows.append(against_reading(camvid(), 'CamVid, 480x360'))
        cache = root / 'cache'
        scan(many, cache=cache)
        seconds = interleaved(
            {
                'one': partial(scan, many),
                'two': partial(scan, many, nproc=2),
                'again': partial(scan, many, cache=cache),
            },
            rounds=3,
        )
    one, two, again = (value / MANY for value in seconds.values())
    return [
        *rows,
        Row('doctor, files, two processes', 'one process', two, one),
        Row('doctor, files, from the cache', 'without', again, one),
    ]


def against_reading(part: Part, what: str) -> Row:
    """Time the pass against reading alone."""
    scan(part)
    pairs = [(s.place.image, s.place.label) for s in part.samples]
    ours, theirs = interleaved(
        {'ours': partial(scan, part), 'reading': partial(read, pairs)},
        ROUNDS,
    ).values()
    return Row(
        f'doctor, files, {what}',
        '`cv2.imread`, images at 1/8',
        ours / len(pairs),
        theirs / len(pairs),
    )


def scan(part: Part, nproc: int = 1, cache: Path | None = None) -> None:
    """Look at all files of a data set."""
    quietly(scan_parts, [part], nproc, None, cache)
    faults = [s for s in part.samples if s.image.fault or not s.label.loaded]
    if faults or len(part.samples) != part.total:
        raise AssertionError(f'not read: {faults[:1]}')


def read(pairs: list[tuple[str, str]]) -> None:
    """Read files with OpenCV."""
    for image, label in pairs:
        cv2.imread(image, cv2.IMREAD_REDUCED_COLOR_8)
        cv2.imread(label, cv2.IMREAD_UNCHANGED)


# Data sets.


def write_set(root: Path, count: int, size: tuple[int, int] = SIZE) -> Part:
    """Draw some scenes, make links to them, and build a data set."""
    indices = {kind: number for number, kind in enumerate(KINDS)}
    for name in ('images', 'labels'):
        (root / name).mkdir(parents=True)
    for number in range(SCENES):
        scene = render_scene(size, 4, number)
        label = scene.label_map(indices, fill=255).astype(np.uint8)
        quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        name = f'{number:05}'
        cv2.imwrite(f'{root}/images/{name}.jpg', scene.image, quality)
        cv2.imwrite(f'{root}/labels/{name}.png', label)
    for number in range(SCENES, count):
        for name, end in (('images', 'jpg'), ('labels', 'png')):
            first = root / name / f'{number % SCENES:05}.{end}'
            os.link(first, root / name / f'{number:05}.{end}')
    return data_set(root)


def data_set(root: Path) -> Part:
    """Build a data set of what `write_set` wrote."""
    return build(
        ConfigDict(
            type='BaseSegDataset',
            data_root=str(root),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=dict(classes=list(KINDS)),
            pipeline=[dict(type='LoadAnnotations')],
        )
    )


def camvid() -> Part:
    """Build the real data set."""
    config = Config.fromfile(CONFIGS / COLORS).train_dataloader.dataset
    return build(ConfigDict(config, data_root=str(CAMVID)))


def build(config: ConfigDict) -> Part:
    """Build a data set."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(config)
    return Part('train', '', config, dataset, total=len(dataset))


# Memory, and many pairs.


def scan_folder(root: Path | None) -> None:
    """Look at a folder; without one, only at what both need."""
    if root:
        scan(data_set(root))


def main() -> None:
    """Print peak memory, and the time for many pairs."""
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for count in MEMORY_PAIRS:
            write_set(root / str(count), count, SMALL)
            peak = in_own_process(scan_folder, root / str(count))
            print(f'{count} pairs: {peak:.0f} MiB at most')
        part = write_set(root / 'all', ALL)
        for nproc in (1, 2):
            seconds = timed(scan, part, nproc)
            print(f'{ALL} pairs, {nproc} process(es): {seconds:.0f} s')


if __name__ == '__main__':
    main()
