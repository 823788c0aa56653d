"""Crops of nails, beside the detectors that find them, on a CPU.

A photograph of 1079x607 with ten nails, which the light detector looks at at
320 pixels and that of the tutorial's recipe at 1333; both have random weights
and are held to ten instances. Their time is that of MMDet's inferencer for
one image.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

import mmseg_ext  # noqa: F401  registers its classes
from common import CONFIGS
from mmseg_ext.inference.crops import crop_instances
from mmseg_ext.inference.detectors import detect
from mmseg_ext.utils.images import write_png
from timing import Row, interleaved

DETECTORS = {
    'the light detector': 'mask-rcnn_r18_fpn_1xb2-2k_nail-320.py',
    "the recipe's detector": 'mask-rcnn_r50-caffe_fpn_ms-poly-40e_nail.py',
}
SHAPE = (607, 1079)
NAILS = 10
#: Half axes of a nail in pixels.
AXES = (55, 38)


def run() -> list[Row]:
    """Time crops and detectors."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*SHAPE, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    sample = make_sample(rng)
    with tempfile.TemporaryDirectory() as folder:
        return [
            row
            for name, config in DETECTORS.items()
            for row in compare(name, config, image, sample, Path(folder))
        ]


def compare(
    name: str,
    config: str,
    image: np.ndarray,
    sample: DetDataSample,
    folder: Path,
) -> list[Row]:
    """Time the ways to crop beside one detector."""
    detector = make_detector(CONFIGS / 'mask_rcnn' / config, folder)
    found = detect(detector, [image])[0].pred_instances
    if len(found) != NAILS:
        raise RuntimeError(f'{name} found {len(found)} instances')

    def write() -> None:
        for number, crop in enumerate(crop_instances(image, sample)):
            write_png(folder / f'{number}.png', crop.image)

    ways = {
        'crops of ten nails': lambda: crop_instances(image, sample),
        'the same, upright, transparent': lambda: crop_instances(
            image, sample, background='transparent', upright=True
        ),
        'crops of ten nails, written': write,
    }
    seconds = interleaved(
        {name: lambda: detect(detector, [image]), **ways}, rounds=5
    )
    return [Row(way, name, seconds[way], seconds[name]) for way in ways]


def make_sample(rng: np.random.Generator) -> DetDataSample:
    """Make nails at random places, turned at random."""
    masks = np.zeros((NAILS, *SHAPE), np.uint8)
    for mask in masks:
        center = rng.uniform(60, np.subtract(SHAPE[::-1], 60)).astype(int)
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(mask, center.tolist(), AXES, angle, 0, 360, 1, -1)
    boxes = [cv2.boundingRect(mask) for mask in masks]
    found = InstanceData(
        bboxes=torch.tensor(
            [[x, y, x + w, y + h] for x, y, w, h in boxes]
        ).float(),
        scores=torch.linspace(0.9, 0.6, NAILS),
        labels=torch.zeros(NAILS, dtype=torch.long),
        masks=torch.from_numpy(masks).bool(),
    )
    return DetDataSample(pred_instances=found)


def make_detector(path: Path, folder: Path) -> DetInferencer:
    """Make the detector of a config, with random weights."""
    config = Config.fromfile(path)
    config.model.backbone.init_cfg = None  # nothing to download
    config.model.test_cfg.rcnn.update(score_thr=0, max_per_img=NAILS)
    config.visualizer = {'type': 'DetLocalVisualizer'}
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
        model.init_weights()
        checkpoint = folder / 'random.pth'
        meta = {'dataset_meta': {'classes': ('nail',)}}
        torch.save(
            {'state_dict': model.state_dict(), 'meta': meta}, checkpoint
        )
        return DetInferencer(
            config, str(checkpoint), device='cpu', show_progress=False
        )
