"""The survey of a folder by which a config is planned, whole runs.

Photographs of 1280x720 as JPEG with masks as PNG, cut out of scenes at random.
The baseline reads the masks as they are and the photographs in full with
OpenCV, and does nothing with them. Ours checks each file, counts classes,
measures colors and hashes for near-duplicates. Milliseconds are per pair.

Run by itself it prints how long `mmseg-ext init` takes for 5,000 pairs, and
its peak memory for these and for fewer.
"""

import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

import mmseg_ext  # noqa: F401  registers its classes
from common import in_own_process
from mmseg_ext.formats.exports.export import Folder
from mmseg_ext.planning.detect import detect
from mmseg_ext.planning.init import init
from mmseg_ext.planning.survey import survey
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS
from timing import Row, interleaved, quietly, timed

SIZE, SCENE = (1280, 720), (1600, 900)
QUALITY = 90

#: Scenes that are drawn, from which the pairs are cut.
SCENES = 40

PAIRS = 100
ROUNDS = 5

#: Pairs for which the whole way is timed, and the memory measured.
ALL, FEWER = 5000, 1000
PROCESSES = 2


def run() -> list[Row]:
    """Time the survey."""
    rows = []
    for kind in ('index', 'color'):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_pairs(root, PAIRS, kind)
            ours, theirs = interleaved(
                {'ours': partial(look, root), 'reading': partial(read, root)},
                ROUNDS,
            ).values()
        rows.append(
            Row(
                f'init, survey, {kind} masks',
                '`cv2.imread` of both',
                ours / PAIRS,
                theirs / PAIRS,
            )
        )
    return rows


def look(root: Path) -> None:
    """Survey a folder."""
    export = detect(Folder.listed(root), None)
    found = survey(export, 1, progress=False)
    if len(found.images) != PAIRS:
        raise AssertionError(f'{len(found.images)} of {PAIRS} pairs')


def read(root: Path) -> None:
    """Read files with OpenCV."""
    for path in (root / 'images').iterdir():
        cv2.imread(str(path))
    for path in (root / 'masks').iterdir():
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def write_pairs(root: Path, count: int, kind: str = 'index') -> None:
    """Cut images and masks out of scenes, no two alike."""
    rng = np.random.default_rng(0)
    indices = {name: number for number, name in enumerate(KINDS)}
    colors = rng.integers(1, 255, (256, 3), np.uint8)
    scenes = []
    for number in range(min(SCENES, count)):
        scene = render_scene(SCENE, 4, number)
        label = scene.label_map(indices, fill=255).astype(np.uint8)
        scenes.append((scene.image, label))
    for name in ('images', 'masks'):
        (root / name).mkdir(parents=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    for number in tqdm(range(count), desc='pairs', leave=False):
        image, label = scenes[number % len(scenes)]
        x, y = rng.integers(0, np.subtract(SCENE, SIZE))
        part = np.s_[y : y + SIZE[1], x : x + SIZE[0]]
        image, label = image[part], label[part]
        if rng.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        if kind == 'color':
            label = colors[label]
        name = f'{rng.integers(1 << 40):012}'
        cv2.imwrite(f'{root}/images/{name}.jpg', image, quality)
        cv2.imwrite(f'{root}/masks/{name}.png', label)


def write_config(root: Path | None, out: str) -> None:
    """Do the whole way; without a folder, only import what it needs."""
    if root:
        quietly(
            init,
            root,
            Path(out),
            model='fast',
            nproc=PROCESSES,
            tell=str,
            progress=False,
        )


def main() -> None:
    """Print the time for many pairs, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        for count in (FEWER, ALL):
            root = Path(folder, str(count))
            write_pairs(root, count)
            peak = in_own_process(write_config, root, f'{folder}/m{count}.py')
            print(f'{count} pairs: {peak:.0f} MiB at most')
        seconds = timed(write_config, root, f'{folder}/whole.py')
        print(f'{ALL} pairs, {PROCESSES} processes: {seconds:.0f} s')


if __name__ == '__main__':
    main()
