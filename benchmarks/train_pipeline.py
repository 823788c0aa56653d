"""The pipeline that nuImages is trained with, on 1600x900 images.

From files to packed samples, against the same pipeline of MMSeg's own
transforms on the same files, from the same random states. The large, sparse
areas of nuImages' label maps cost other steps than dense ones of 12 classes,
so there is a row for each.

Milliseconds are per sample, the mean over the same draws.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS

import mmseg_ext  # noqa: F401, registers the transforms
from mmseg_ext.sample_data.nuimages import nuimages_label_map
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS, Scene
from mmseg_ext.utils.images import encode_labels
from timing import Row, interleaved

SIZE = (1600, 900)
SCENES = 5
JPEG_QUALITY = 85  # files of about 170 KB

#: Random states; what a sample costs depends on the scale that it draws.
SEEDS = range(20)
ROUNDS = 7


def build(prefix: str) -> Compose:
    """Build the pipeline.

    Args:
        prefix: Of the names of the transforms that there are two of.
    """
    steps = [
        {'type': 'LoadImageFromFile'},
        {'type': f'{prefix}LoadAnnotations'},
        {
            'type': 'RandomResize',
            'scale': (2048, 1024),
            'ratio_range': (0.5, 2.0),
            'keep_ratio': True,
        },
        {
            'type': f'{prefix}RandomCrop',
            'crop_size': (512, 1024),
            'cat_max_ratio': 0.75,
        },
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': f'{prefix}PhotoMetricDistortion'},
        {'type': 'PackSegInputs'},
    ]
    return Compose([TRANSFORMS.build(step) for step in steps])


def dense_label_map(scene: Scene, seed: int, index: int) -> np.ndarray:
    """Return a map of 12 classes; same arguments as for nuImages."""
    return scene.label_map({kind: i % 12 for i, kind in enumerate(KINDS)})


def write_samples(
    folder: Path, label_map: Callable[[Scene, int, int], np.ndarray]
) -> list[dict]:
    """Write scenes as JPEG and PNG files and say where they are."""
    samples = []
    for index in range(SCENES):
        scene = render_scene(SIZE, 0, index)
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


def _check_equal(ours: dict, theirs: dict) -> None:
    """Check that both pipelines give the same."""
    samples = ours['data_samples'], theirs['data_samples']
    labels = [sample.gt_sem_seg.data for sample in samples]
    if (
        not torch.equal(ours['inputs'], theirs['inputs'])
        or not torch.equal(*labels)
        or samples[0].metainfo != samples[1].metainfo
    ):
        raise RuntimeError('the two pipelines do not agree')


def run() -> list[Row]:
    """Time the pipeline on both kinds of label maps."""
    return [
        _run_case('nuImages', nuimages_label_map),
        _run_case('12 dense classes', dense_label_map),
    ]


def _run_case(
    name: str, label_map: Callable[[Scene, int, int], np.ndarray]
) -> Row:
    """Time the pipeline on one kind of label maps."""
    ours, theirs = build('Fast'), build('')

    def load_all(pipeline: Compose) -> None:
        for seed in SEEDS:
            load(pipeline, samples, seed)

    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), label_map)
        for seed in SEEDS:
            _check_equal(*(load(p, samples, seed) for p in (ours, theirs)))
        times = interleaved(
            {
                'ours': lambda: load_all(ours),
                'theirs': lambda: load_all(theirs),
            },
            ROUNDS,
        )
    return Row(
        f'training pipeline, {name}',
        "MMSeg's transforms",
        times['ours'] / len(SEEDS),
        times['theirs'] / len(SEEDS),
    )
