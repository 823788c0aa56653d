"""Light nets in inference: those of the lite0 recipes against the R18 ones.

Nets are compared at the same size, and not recipes: segmentors of 11 classes
label an image of 480x360, detectors look for nails in one of 320x320, as the
R18 recipes test. The lite0 recipes test on larger images, 720x540 and 512x512,
and take longer there. From pixels to results, one image at a time, on one
thread. Weights are random, and detectors are held to ten instances.

Run by itself it prints images per second.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmseg.structures import SegDataSample
from prettytable import PrettyTable

import mmseg_ext  # noqa: F401  registers its classes
from common import CONFIGS
from timing import Row, interleaved

ROUNDS = 15


class Task(NamedTuple):
    """Nets that do the same, the baseline last.

    Attributes:
        scope: Whose registry they are built from.
        size: Height and width of the image.
        sample: Class of what is predicted.
        nets: Their configs below ``configs/``, by name.
        changes: Entries to change in all configs.
    """

    scope: str
    size: tuple[int, int]
    sample: type
    nets: dict[str, str]
    changes: dict[str, Any]


TASKS = (
    Task(
        'mmseg',
        (360, 480),
        SegDataSample,
        {
            'FPN, lite0': 'fpn/fpn_lite0_1xb2-1500_camvid11-360x480.py',
            'BiSeNet V1, R18': (
                'bisenetv1/bisenetv1_r18-d32_1xb4-1k_camvid11-240x320.py'
            ),
        },
        {},
    ),
    Task(
        'mmdet',
        (320, 320),
        DetDataSample,
        {
            'Mask R-CNN, lite0': (
                'mask_rcnn/mask-rcnn_lite0_fpn_1xb2-800_nail-320.py'
            ),
            'Mask R-CNN, R18': (
                'mask_rcnn/mask-rcnn_r18_fpn_1xb2-2k_nail-320.py'
            ),
        },
        {
            'model.test_cfg.rcnn.score_thr': 0,
            'model.test_cfg.rcnn.max_per_img': 10,
        },
    ),
)


def run() -> list[Row]:
    """Time the nets of each task in turn."""
    rows = []
    for task in TASKS:
        seconds = time_nets(task)
        *ours, baseline = seconds
        rows += [
            Row(
                f'{name}, {size_of(task)}',
                baseline,
                seconds[name],
                seconds[baseline],
            )
            for name in ours
        ]
    return rows


def time_nets(task: Task) -> dict[str, float]:
    """Return the median seconds for an image of each net."""
    return interleaved(
        {name: predicting(task, path) for name, path in task.nets.items()},
        ROUNDS,
    )


def predicting(task: Task, path: str) -> Callable[[], object]:
    """Return a function that predicts what an image shows."""
    model = build(task, path)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(
        256, (3, *task.size), dtype=torch.uint8, generator=generator
    )
    sample = task.sample(
        metainfo={
            'img_shape': task.size,
            'ori_shape': task.size,
            'scale_factor': (1.0, 1.0),
        }
    )

    def predict() -> object:
        # The results are written into it.
        data = {'inputs': [image], 'data_samples': [sample.clone()]}
        with torch.no_grad():
            return model.test_step(data)

    return predict


def build(task: Task, path: str) -> torch.nn.Module:
    """Build a net with random weights."""
    config = Config.fromfile(CONFIGS / path)
    config.merge_from_dict(task.changes)
    config.model.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(task.scope):
        model = MODELS.build(config.model)
    # It logs how each parameter starts.
    MMLogger.get_current_instance().setLevel('WARNING')
    model.init_weights()
    return model.eval()


def size_of(task: Task) -> str:
    """Return width and height in pixels."""
    height, width = task.size
    return f'{width}x{height}'


def main() -> None:
    """Print images per second of each net, on one thread."""
    torch.set_num_threads(1)
    table = PrettyTable(['net', 'size', 'images per second'], align='l')
    table.align['images per second'] = 'r'
    for task in TASKS:
        for name, seconds in time_nets(task).items():
            table.add_row([name, size_of(task), f'{1 / seconds:.1f}'])
    print(table)


if __name__ == '__main__':
    main()
