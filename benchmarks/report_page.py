"""The page of a run of 500 images and 25 classes.

The baseline is the drawing of its pictures, which are decoded, resized and
encoded; all else is scores, intervals, tables and the page itself.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from common import ROOT  # noqa: F401  lets tests be imported
from helpers.run_folders import write_semantic_run
from mmseg_ext.report.pictures import Album
from mmseg_ext.report.semantic import write_page
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS
from timing import Row

IMAGES, CLASSES, SCENES = 500, 25, 10
SIZE = (960, 540)

#: Megabytes that a page may have.
MOST = 6


def run() -> list[Row]:
    """Time the page."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        page, drawn, size = make(Path(folder))
    if size >= MOST * 1e6:
        raise AssertionError(f'the page has {size / 1e6:.1f} MB')
    return [
        Row(
            'report page, 500 images, beside pictures',
            'its pictures',
            page - drawn,
            drawn,
        )
    ]


def make(folder: Path) -> tuple[float, float, int]:
    """Write the page; return its seconds, those of pictures, and its bytes."""
    drawn = 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal drawn
            start = time.perf_counter()
            result = method(*args)
            drawn += time.perf_counter() - start
            return result

        return call

    names = ('whole', 'part', 'largest')
    patches = {name: timed(getattr(Album, name)) for name in names}
    with mock.patch.multiple(Album, **patches):
        start = time.perf_counter()
        write_page(folder / 'run', folder / 'page.html')
        seconds = time.perf_counter() - start
    return seconds, drawn, (folder / 'page.html').stat().st_size


def write(root: Path) -> None:
    """Write a run directory of scenes, whose predictions are worse ones."""
    rng = np.random.default_rng(0)
    indices = {kind: number for number, kind in enumerate(KINDS)}
    pairs, images = [], []
    for seed in range(SCENES):
        scene = render_scene(SIZE, 4, seed)
        label = scene.label_map(indices, fill=255).astype(np.uint8)
        known = np.where(label == 255, 0, label)
        prediction = np.roll(known, (seed % 4, 3), (0, 1))
        for _ in range(4):
            top, left = rng.integers(SIZE[1] - 60), rng.integers(SIZE[0] - 90)
            block = prediction[top : top + 60, left : left + 90]
            block[:] = rng.integers(CLASSES)
        pairs.append((label, prediction))
        noise = rng.integers(0, 20, scene.image.shape, np.uint8)
        images.append(cv2.add(scene.image, noise))
    classes = [*KINDS, *(f'more {k}' for k in range(CLASSES - len(KINDS)))]
    suspects = [[k, 200, 150, 90, 60, 1, 2, 5400, 950] for k in range(IMAGES)]
    names = [f'drive{k // 20:02}/{k:04}.jpg' for k in range(IMAGES)]
    write_semantic_run(
        root / 'run',
        [pairs[k % SCENES] for k in range(IMAGES)],
        classes,
        names,
        images=False,
        suspects=suspects,
    )
    for k, name in enumerate(names):
        path = root / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), images[k % SCENES])


def main() -> None:
    """Print seconds and size of the page."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        page, drawn, size = make(Path(folder))
    print(
        f'{IMAGES} images: {page:.1f} s, {drawn:.1f} s of it for pictures, '
        f'{size / 1e6:.1f} MB'
    )


if __name__ == '__main__':
    main()
