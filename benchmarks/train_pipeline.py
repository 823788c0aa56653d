"""The pipeline that nuImages is trained with, on 1600x900 images.

From files to packed samples, against the same pipeline of MMSeg's own
transforms on the same files, from the same random states: the exact one, and
the fast one with FusedResizeCropFlip. The large, sparse areas of nuImages'
label maps cost other steps than dense ones of 12 classes, so each has rows of
its own. Decoding all of the image, alone, is the last one.

Milliseconds are per sample, the mean over the same draws. Run by itself, it
prints samples a second of loaders with several workers, and how far images
are that were decoded at a part of their size.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS
from prettytable import PrettyTable
from torch.utils.data import DataLoader, Dataset

import mmseg_ext  # noqa: F401, registers the transforms
from mmseg_ext.datasets.transforms.jpeg_rows import simplejpeg
from mmseg_ext.sample_data.nuimages import nuimages_label_map
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS, Scene
from mmseg_ext.utils.images import encode_labels
from timing import Row, interleaved

SIZE, SMALL = (1600, 900), (480, 360)
SCENES = 5
JPEG_QUALITY = 85  # files of about 170 KB

#: Random states; what a sample costs depends on the scale that it draws.
SEEDS = range(20)
ROUNDS = 7

#: For the table of loaders: samples of each, and how often.
LOADED, LOADER_ROUNDS, WORKERS = 80, 5, (1, 2, 4)


class Sizes(NamedTuple):
    """What depends on the size of the images, as in the configs."""

    scale: tuple[int, int] = (2048, 1024)
    ratio_range: tuple[float, float] = (0.5, 2.0)
    crop_size: tuple[int, int] = (512, 1024)


#: Those of CamVid's 11 classes.
SMALL_SIZES = Sizes((480, 360), (0.75, 1.5), (240, 320))


def build(prefix: str, sizes: Sizes = Sizes()) -> Compose:  # noqa: B008
    """Build the exact pipeline.

    Args:
        prefix: Of the names of the transforms that there are two of.
        sizes: Of image and crop.
    """
    return _compose(
        {'type': 'LoadImageFromFile'},
        {'type': f'{prefix}LoadAnnotations'},
        {
            'type': 'RandomResize',
            'scale': sizes.scale,
            'ratio_range': sizes.ratio_range,
            'keep_ratio': True,
        },
        {
            'type': f'{prefix}RandomCrop',
            'crop_size': sizes.crop_size,
            'cat_max_ratio': 0.75,
        },
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': f'{prefix}PhotoMetricDistortion'},
        {'type': 'PackSegInputs'},
    )


def build_fused(sizes: Sizes = Sizes()) -> Compose:  # noqa: B008
    """Build the fast pipeline.

    Args:
        sizes: Of image and crop.
    """
    return _compose(
        {'type': 'FastLoadAnnotations'},
        {
            'type': 'FusedResizeCropFlip',
            **sizes._asdict(),
            'keep_ratio': True,
            'cat_max_ratio': 0.75,
            'prob': 0.5,
        },
        {'type': 'FastPhotoMetricDistortion'},
        {'type': 'FastPackSegInputs'},
    )


def _compose(*steps: dict) -> Compose:
    return Compose([TRANSFORMS.build(step) for step in steps])


def dense_label_map(scene: Scene, seed: int, index: int) -> np.ndarray:
    """Return a map of 12 classes; same arguments as for nuImages."""
    return scene.label_map({kind: i % 12 for i, kind in enumerate(KINDS)})


def write_samples(
    folder: Path,
    label_map: Callable[[Scene, int, int], np.ndarray],
    size: tuple[int, int] = SIZE,
) -> list[dict]:
    """Write scenes as JPEG and PNG files and say where they are."""
    samples = []
    for index in range(SCENES):
        scene = render_scene(size, 0, index)
        image = folder / f'{index}.jpg'
        cv2.imwrite(
            str(image), scene.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        )
        label = folder / f'{index}.png'
        label.write_bytes(encode_labels(label_map(scene, 0, index)))
        samples.append({'img_path': str(image), 'seg_map_path': str(label)})
    return samples


def load(pipeline: Compose, samples: list[dict], seed: int) -> dict:
    """Run the pipeline on a sample, from a random state of its own."""
    np.random.seed(seed)
    return pipeline(
        {
            **samples[seed % len(samples)],
            'seg_fields': [],
            'label_map': None,
            'reduce_zero_label': False,
        }
    )


def decode(samples: list[dict], seed: int) -> None:
    """Read and decode the image of a sample, and do no more."""
    data = np.fromfile(samples[seed % len(samples)]['img_path'], np.uint8)
    cv2.imdecode(data, cv2.IMREAD_COLOR)


def _check_equal(ours: dict, theirs: dict, exact: bool) -> None:
    """Check that both pipelines give the same.

    Args:
        ours: A sample.
        theirs: The same of MMSeg's.
        exact: Whether images are equal: tests compare those of the fused
            step before their colors are distorted.
    """
    samples = ours['data_samples'], theirs['data_samples']
    labels = [sample.gt_sem_seg.data for sample in samples]
    if (
        (exact and not torch.equal(ours['inputs'], theirs['inputs']))
        or not torch.equal(*labels)
        or samples[0].metainfo != samples[1].metainfo
    ):
        raise RuntimeError('the two pipelines do not agree')


def run() -> list[Row]:
    """Time the pipelines on both kinds of label maps, and small images."""
    return [
        *_run_case('nuImages', nuimages_label_map),
        *_run_case('12 dense classes', dense_label_map),
        _run_small(),
    ]


def _run_case(
    name: str, label_map: Callable[[Scene, int, int], np.ndarray]
) -> list[Row]:
    """Time the pipelines on one kind of label maps."""
    theirs = build('')
    ours = {'exact': build('Fast'), 'fused': build_fused()}
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), label_map)
        for seed in SEEDS:
            expected = load(theirs, samples, seed)
            for way, pipeline in ours.items():
                found = load(pipeline, samples, seed)
                _check_equal(found, expected, way == 'exact')
        times = _time(
            {**ours, 'theirs': theirs},
            samples,
            {'decode': lambda seed: decode(samples, seed)},
        )
    what = f'training pipeline, {name}'
    return [
        Row(what, "MMSeg's transforms", times['exact'], times['theirs']),
        Row(f'fused {what}', "MMSeg's", times['fused'], times['theirs']),
        Row(f'fused {what}', 'JPEG alone', times['fused'], times['decode']),
    ]


def _run_small() -> Row:
    """Time the two pipelines of ours on images as small as crops."""
    ways = {'exact': build('Fast', SMALL_SIZES)}
    ways['fused'] = build_fused(SMALL_SIZES)
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), dense_label_map, SMALL)
        times = _time(ways, samples, {})
    return Row(
        'fused training pipeline, 480x360',
        'our exact one',
        times['fused'],
        times['exact'],
    )


def _time(
    pipelines: Mapping[str, Compose],
    samples: list[dict],
    others: Mapping[str, Callable[[int], None]],
) -> dict[str, float]:
    """Return the seconds per sample of each."""

    def over_seeds(call: Callable[[int], object]) -> Callable[[], None]:
        def run_all() -> None:
            for seed in SEEDS:
                call(seed)

        return run_all

    def loading(pipeline: Compose) -> Callable[[int], object]:
        return lambda seed: load(pipeline, samples, seed)

    calls = {name: loading(p) for name, p in pipelines.items()}
    times = interleaved(
        {name: over_seeds(call) for name, call in (calls | others).items()},
        ROUNDS,
    )
    return {name: seconds / len(SEEDS) for name, seconds in times.items()}


class _Samples(Dataset):
    """Samples of a pipeline, as a data set for PyTorch's loader."""

    def __init__(self, pipeline: Compose, samples: list[dict]) -> None:
        self._pipeline = pipeline
        self._samples = samples

    def __len__(self) -> int:
        return LOADED

    def __getitem__(self, index: int) -> dict:
        return load(self._pipeline, self._samples, index)


def _one_thread(worker: int) -> None:
    """Let workers be what they are in a training."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def loaders() -> PrettyTable:
    """Return the samples a second of loaders with several workers."""
    table = PrettyTable(['workers', "MMSeg's", 'exact', 'fused'], align='r')
    pipelines = {'': build(''), 'exact': build('Fast'), 'fused': build_fused()}
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), nuimages_label_map)
        for workers in WORKERS:
            rates: dict[str, list[float]] = {name: [] for name in pipelines}
            loading = {
                name: DataLoader(
                    _Samples(pipeline, samples),
                    batch_size=2,
                    num_workers=workers,
                    collate_fn=list,
                    persistent_workers=True,
                    worker_init_fn=_one_thread,
                )
                for name, pipeline in pipelines.items()
            }
            for _ in range(LOADER_ROUNDS):
                for name, loader in loading.items():
                    rates[name].append(_rate(loader))
            table.add_row(
                [workers, *(f'{median(rates[n]):.0f}' for n in pipelines)]
            )
    return table


def _rate(loader: DataLoader) -> float:
    """Return the samples a second, from the second batch on."""
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    return count / (time.perf_counter() - start)


def distances(size: tuple[int, int]) -> PrettyTable:
    """Return how far images are that were decoded at a part of their size."""
    table = PrettyTable(
        ['decoded at', 'resized to', 'mean', '99 %', 'max'], align='r'
    )
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), dense_label_map, size)
        for part in (2, 4, 8):
            for share in (1 / part, 0.75 / part):
                scale = tuple(int(side * share) for side in size)
                options = {'crop_size': scale[::-1], 'prob': 0.0}
                fused = {'scale': [scale, scale], **options}
                steps = [{'type': 'FastLoadAnnotations'}]
                ways = [
                    _compose(
                        *steps,
                        {'type': 'FusedResizeCropFlip', **fused, **decoding},
                    )
                    for decoding in ({}, {'scaled_decode': False})
                ]
                images = [
                    [
                        load(way, samples, seed)['img'].astype(int)
                        for seed in range(SCENES)
                    ]
                    for way in ways
                ]
                levels = np.abs(np.subtract(*images))
                table.add_row(
                    [
                        f'1/{part}',
                        'x'.join(map(str, scale)),
                        f'{levels.mean():.1f}',
                        f'{np.percentile(levels, 99):.0f}',
                        levels.max(),
                    ]
                )
    return table


def main() -> None:
    """Print what does not go into the table of all benchmarks."""
    found = 'with' if simplejpeg else 'without'
    print(f'Samples a second, 1600x900, nuImages label maps, {found}')
    print('simplejpeg:')
    print(loaders())
    for size in (SIZE, SMALL):
        print('Gray levels between scaled and whole decoding of images of')
        print(f'{size[0]}x{size[1]}:')
        print(distances(size))


if __name__ == '__main__':
    main()
