"""Segment an image of 10,000x8,000 pixels with 19 classes; run by hand.

Prints the peak memory and the time of ``segment_files`` in a process of its
own, less those of one that only imports and loads, beside what the logits of
the whole image alone would take. The network is the light Semantic FPN with
random weights, on the CPU; the image is a TIFF. It takes minutes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

import mmseg_ext  # noqa: F401  registers its classes
from common import CONFIGS, in_own_process
from mmseg_ext.inference.segment_files import segment_files
from mmseg_ext.inference.segmentors import load_segmentor

CONFIG = CONFIGS / 'fpn/fpn_lite0_1xb2-1500_camvid11-360x480.py'
CLASSES = 19
MIB = 1 << 20


def write_inputs(folder: Path, size: tuple[int, int]) -> None:
    """Write an image, a config of so many classes, and random weights."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (80, 100, 3), np.uint8)
    image = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / 'image.tif'), image)
    config = Config.fromfile(CONFIG)
    config.model.decode_head.num_classes = CLASSES
    # Weights of classes need a training set.
    config.model.decode_head.loss_decode = dict(type='CrossEntropyLoss')
    config.dump(folder / 'config.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        state = MODELS.build(config.model).state_dict()
    names = {
        'classes': [f'class {number}' for number in range(CLASSES)],
        'palette': rng.integers(0, 256, (CLASSES, 3)).tolist(),
    }
    meta = {'dataset_meta': names}
    torch.save({'state_dict': state, 'meta': meta}, folder / 'weights.pth')


def load(folder: Path, threads: int) -> None:
    """Import and load all that is needed, and no image."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    load_segmentor(
        str(folder / 'config.py'), str(folder / 'weights.pth'), 'cpu'
    )


def segment(folder: Path, threads: int, crop_size: int, stride: int) -> None:
    """Segment the image."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    report = segment_files(
        str(folder / 'config.py'),
        str(folder / 'weights.pth'),
        [folder / 'image.tif'],
        folder / 'out',
        crop_size=crop_size,
        stride=stride,
        device='cpu',
    )
    if report.unreadable:
        raise RuntimeError(report.unreadable)


def cost(function: Callable[..., object], *args: object) -> np.ndarray:
    """Return the peak memory in MiB and the seconds of a process."""
    start = time.perf_counter()
    peak = in_own_process(function, *args)
    return np.array([peak, time.perf_counter() - start])


def main(argv: list[str] | None = None) -> None:
    """Segment the image and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    for flag, default in (
        ('--width', 10_000),
        ('--height', 8_000),
        ('--crop-size', 512),
        ('--stride', 341),
        ('--threads', 1),
    ):
        parser.add_argument(
            flag, type=int, default=default, help='default: %(default)s'
        )
    args = parser.parse_args(argv)
    pixels = args.width * args.height
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, (args.width, args.height))
        idle = cost(load, folder, args.threads)
        windows = (args.crop_size, args.stride)
        whole = cost(segment, folder, args.threads, *windows)
    memory, seconds = whole - idle
    strip = CLASSES * args.crop_size * args.width * 4
    print(
        f'{args.width}x{args.height}, {CLASSES} classes, crop {windows[0]}, '
        f'stride {windows[1]}, {args.threads} threads:\n'
        f'  {memory:.0f} MiB more than {idle[0]:.0f} of imports and model, '
        f'of these\n'
        f'    image {3 * pixels / MIB:.0f}, labels {pixels / MIB:.0f}, '
        f'logits of a row of windows {strip / MIB:.0f}\n'
        f'  {seconds:.0f} seconds more than {idle[1]:.0f}\n'
        f'  logits of the whole image would take '
        f'{CLASSES * pixels * 4 / MIB:.0f} MiB'
    )


if __name__ == '__main__':
    main()
