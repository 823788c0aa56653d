"""AugFPN: its neck against FPN, and what its parts cost a detector.

The necks take maps of a ResNet-50 for an image of 1344x800 and give back
gradients of parameters and maps.

The detectors are Faster R-CNN with ResNet-50 and 80 classes on two threads, at
a size that allows some rounds: 672x400, one image with eight objects, 512
RoIs in training and 1000 in inference. A training step is forward, backward
and SGD. The parts are added one by one.

A ratio above 1 means that the new part is faster.
"""

from collections.abc import Callable

import torch
from mmdet.models.necks.fpn import FPN
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

import mmseg_ext.models.roi_extractors
import mmseg_ext.models.roi_heads  # noqa: F401, registers the classes
from common import CONFIGS, pyramid
from mmseg_ext.models.necks.aug_fpn import AugFPN
from timing import Row, interleaved

CONFIG = CONFIGS / 'augfpn/faster-rcnn_r50_augfpn-none_1x_coco.py'
CHANNELS = [256, 512, 1024, 2048]
STRIDES = [4, 8, 16, 32]
NECK_SIZE = (800, 1344)
NECK_ROUNDS = 5

#: Height and width.
SIZE = (400, 672)
OBJECTS = 8
ROUNDS = 3

#: What each detector changes in the config of the one before.
PARTS = {
    'FPN': {},
    'RFA': {'model.neck.type': 'AugFPN'},
    'RFA + CS': {'model.roi_head.type': 'ConsistentStandardRoIHead'},
    'RFA + CS + SRS': {
        'model.roi_head.bbox_roi_extractor.type': 'SoftRoIExtractor'
    },
}


def run() -> list[Row]:
    """Time necks and detectors; the number of threads is set back."""
    threads = torch.get_num_threads()
    try:
        rows = [time_necks(1), time_necks(2)]
        rows += time_detectors()
    finally:
        torch.set_num_threads(threads)
    return rows


# The necks.


def time_necks(threads: int) -> Row:
    """Time forward and backward pass of both necks."""
    torch.set_num_threads(threads)
    maps = pyramid(NECK_SIZE, STRIDES, CHANNELS)
    times = interleaved(
        {
            kind.__name__: both_ways(kind(CHANNELS, 256, 5), maps)
            for kind in (AugFPN, FPN)
        },
        NECK_ROUNDS,
    )
    named = 'one thread' if threads == 1 else f'{threads} threads'
    return Row(
        f'AugFPN, forward and backward, {named}',
        "MMDet's FPN",
        times['AugFPN'],
        times['FPN'],
    )


def both_ways(neck: nn.Module, maps: list[Tensor]) -> Callable[[], None]:
    """Return a function that passes a neck forward and backward."""

    def call() -> None:
        outputs = list(neck(maps))
        torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])

    return call


# The detectors.


def time_detectors() -> list[Row]:
    """Time a training step and inference of all detectors."""
    torch.set_num_threads(2)
    detectors = build_detectors()
    rows = []
    for what, kind in (
        ('training step', training_step),
        ('inference', inference),
    ):
        times = interleaved(
            {name: kind(model) for name, model in detectors.items()}, ROUNDS
        )
        names = list(PARTS)
        pairs = [(name, 'FPN') for name in names[1:]]
        if kind is inference:
            pairs.append(('RFA + CS', 'RFA'))
        rows += [
            Row(f'{what}, {name}', other, times[name], times[other])
            for name, other in pairs
        ]
    return rows


def build_detectors() -> dict[str, nn.Module]:
    """Build one detector more for each part."""
    config = Config.fromfile(CONFIG)
    config.model.backbone.init_cfg = None
    detectors = {}
    for name, part in PARTS.items():
        config.merge_from_dict(part)
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            # Building writes into the config.
            detectors[name] = MODELS.build(config.copy().model)
    return detectors


def make_batch() -> dict[str, list]:
    """Make an image with objects of all sizes."""
    generator = torch.Generator().manual_seed(0)
    height, width = SIZE
    image = torch.randint(
        0, 256, (3, *SIZE), dtype=torch.uint8, generator=generator
    )
    size = torch.tensor([width, height])
    corners = torch.rand(OBJECTS, 2, generator=generator) * size * 0.5
    sides = torch.rand(OBJECTS, 2, generator=generator) * size * 0.4 + 16
    sample = DetDataSample(
        metainfo={
            'img_shape': SIZE,
            'ori_shape': SIZE,
            'scale_factor': (1.0, 1.0),
        }
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.cat([corners, corners + sides], 1),
        labels=torch.arange(OBJECTS),
    )
    return {'inputs': [image], 'data_samples': [sample]}


def training_step(detector: nn.Module) -> Callable[[], None]:
    """Return a function that trains a detector."""
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-6, momentum=0.9)

    def call() -> None:
        detector.train()
        torch.manual_seed(0)
        data = detector.data_preprocessor(make_batch(), training=True)
        total, _ = detector.parse_losses(detector(**data, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return call


def inference(detector: nn.Module) -> Callable[[], None]:
    """Return a function that detects objects."""

    def call() -> None:
        detector.eval()
        data = detector.data_preprocessor(make_batch())
        with torch.no_grad():
            detector(**data, mode='predict')

    return call
