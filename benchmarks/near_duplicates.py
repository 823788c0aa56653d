"""Hashes of 10,000 images compared with one another, for near-duplicates.

The baseline is a product of two matrices that hold the bits as numbers.

Run by itself it prints how many planted copies are found, and how many images
are taken for copies that are none: among street scenes, drawn hands, and the
photographs of CamVid and of nails where they are. Then time and memory.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from prettytable import PrettyTable

from common import CAMVID, NAILS, extra_memory
from mmseg_ext.doctor.checks.duplicates import NEAR
from mmseg_ext.doctor.examine import examine
from mmseg_ext.doctor.findings import Finding
from mmseg_ext.doctor.near_duplicates import ALIKE, find_neighbors
from mmseg_ext.sample_data import write_camvid, write_nails
from timing import Row, interleaved

IMAGES = 10_000
WORDS = 16
ROUNDS = 3

#: Drawn images of each kind.
DRAWN = 500

QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 60]


def run() -> list[Row]:
    """Time both, after a check that they find the same pairs."""
    words = make_words(IMAGES)
    ways: dict[str, Callable[[], object]] = {
        'ours': lambda: find_neighbors(words, ALIKE),
        'product': lambda: by_product(words),
    }
    neighbors = find_neighbors(words, ALIKE)
    pairs = set(zip(*(x.tolist() for x in neighbors[:2]), strict=True))
    if pairs != by_product(words) or not pairs:
        raise AssertionError('ours and the product find other pairs')
    ours, product = interleaved(ways, ROUNDS).values()
    return [Row(f'hashes of {IMAGES:,}', 'product of bits', ours, product)]


def make_words(number: int) -> np.ndarray:
    """Make random hashes, a quarter of the bits set, and some that are near.

    Returns:
        uint64 (N, 16).
    """
    rng = np.random.default_rng(0)
    bits = rng.random((number, 64 * WORDS)) < 0.25
    bits[: number // 50] = bits[-(number // 50) :]
    bits[: number // 50, :64] = False
    return np.packbits(bits, 1).view('>u8').astype(np.uint64)


def by_product(words: np.ndarray) -> set[tuple[int, int]]:
    """Return the pairs that are alike, each in both orders."""
    data = words.astype('>u8').view(np.uint8)
    bits = np.unpackbits(data, 1).astype(np.float32)
    ones = bits.sum(1)
    pairs = set()
    for start in range(0, len(bits), 512):
        rows = slice(start, start + 512)
        total = ones[rows, None] + ones
        near = total - 2 * bits[rows] @ bits.T <= ALIKE * total
        first, second = np.nonzero(near)
        pairs |= set(zip(first + start, second, strict=True))
    return {(first, second) for first, second in pairs if first != second}


# What is found.


def darker(image: np.ndarray) -> np.ndarray:
    """Return an image with gamma 1.3."""
    levels = 255 * (np.arange(256) / 255) ** 1.3
    return cv2.LUT(image, np.rint(levels).astype(np.uint8))


def halved(image: np.ndarray) -> np.ndarray:
    """Return an image of half the width and height."""
    return cv2.resize(image, None, fx=0.5, fy=0.5)


def cropped(image: np.ndarray) -> np.ndarray:
    """Return an image without 2 % at each side."""
    height, width = (round(side * 0.02) for side in image.shape[:2])
    return image[height:-height, width:-width]


def png(image: np.ndarray) -> bytes:
    """Return an image as PNG."""
    return cv2.imencode('.png', image)[1].tobytes()


def jpeg(image: np.ndarray) -> bytes:
    """Return an image as JPEG of quality 60."""
    return cv2.imencode('.jpg', image, QUALITY)[1].tobytes()


#: Kinds of copies.
KINDS: dict[str, Callable[[np.ndarray], bytes] | None] = {
    'none': None,
    'quality 60': jpeg,
    'halved': lambda image: png(halved(image)),
    'gamma 1.3': lambda image: png(darker(image)),
    'cropped': lambda image: png(cropped(image)),
    'all of these': lambda image: jpeg(darker(halved(cropped(image)))),
}


def sources(folder: Path) -> dict[str, list[Path]]:
    """Draw images; return the files of each kind."""
    write_camvid(folder / 'scenes', num=DRAWN, progress=False)
    write_nails(folder / 'hands', num=DRAWN, progress=False)
    found = {
        'scenes': [
            path
            for split in ('train', 'val', 'test')
            for path in folder.glob(f'scenes/{split}/*')
        ],
        'hands': folder.glob('hands/Images/*/*'),
        'CamVid': [*CAMVID.glob('train/*'), *CAMVID.glob('val/*')],
        'nails': NAILS.glob('images/*'),
    }
    return {name: sorted(files) for name, files in found.items()}


class Found(NamedTuple):
    """What is found among images.

    Attributes:
        planted: How many copies there are.
        found: How many of them are taken for copies of their images.
        wrong: How many images are taken for copies of others.
    """

    planted: int
    found: int
    wrong: int


def look_for(files: list[Path], kind: str) -> Found:
    """Look for copies of images; for 'none', those images among themselves."""
    change = KINDS[kind]
    with tempfile.TemporaryDirectory() as name:
        val = Path(name)
        for path in files if change else files[1::2]:
            target = val / path.with_suffix('.png').name
            if change:
                target.write_bytes(change(cv2.imread(str(path))))
            else:
                os.symlink(path, target)
        pairs = [
            (Path(str(finding.file)).stem, Path(other).stem)
            for finding in findings(files if change else files[::2], val)
            for other in finding.others
        ]
    return Found(
        len(files) if change else 0,
        sum(one == other for one, other in pairs),
        len({one for one, other in pairs if one != other}),
    )


def findings(train: list[Path], val: Path) -> list[Finding]:
    """Return which images of a folder are taken for copies."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.symlink(val, folder / 'val')
        (folder / 'train').mkdir()
        for path in train:
            os.symlink(path, folder / 'train' / path.with_suffix('.png').name)
        (folder / 'config.py').write_text(
            "default_scope = 'mmseg'\n"
            + ''.join(
                f'{split}_dataloader = dict(dataset=dict('
                "type='BaseSegDataset', test_mode=True, img_suffix='.png', "
                "metainfo=dict(classes=('any',)), pipeline=[], "
                f"data_prefix=dict(img_path='{folder / split}')))\n"
                for split in ('train', 'val')
            )
        )
        diagnosis = examine(str(folder / 'config.py'))
        seen = sum(len(part.samples) for part in diagnosis.case.parts)
        if seen != len(train) + len(list(val.iterdir())):
            raise AssertionError(f'{seen} images were looked at')
        return [f for f in diagnosis.findings if f.code == NEAR.name]


def main() -> None:
    """Print what is found, and what it costs."""
    table = PrettyTable(['images', 'copies', *Found._fields], align='r')
    table.align['images'] = table.align['copies'] = 'l'
    with tempfile.TemporaryDirectory() as folder:
        for source, files in sources(Path(folder)).items():
            for kind in KINDS if files else ():
                found = look_for(files, kind)
                table.add_row([f'{len(files)} {source}', kind, *found])
    print(table)
    words = make_words(IMAGES)
    start = time.perf_counter()
    find_neighbors(words)
    print(f'{IMAGES:,} hashes: {time.perf_counter() - start:.1f} s')
    for number in (IMAGES // 8, IMAGES):
        memory = extra_memory(prepare, number)
        print(f'{number:,} hashes: {memory:.0f} MiB')


def prepare(number: int) -> Callable[[], object]:
    """Return what compares hashes."""
    words = make_words(number)
    return lambda: find_neighbors(words)


if __name__ == '__main__':
    main()
