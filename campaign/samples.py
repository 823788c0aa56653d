"""Small samples of all that the project reads."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from PIL import Image

from common import ROOT
from mmseg_ext import sample_data
from mmseg_ext.converters import nails

__all__ = ['DETECTOR', 'make_samples']

#: The config of the detector that crops.
DETECTOR = ROOT / 'configs/mask_rcnn/mask-rcnn_r18_fpn_1xb2-2k_nail-320.py'

_SIZE = 128, 96


def make_samples(root: Path, num: int) -> None:
    """Write a sample of each kind.

    Args:
        root: Gets a folder for each.
        num: Number of images in most.
    """
    cv2.setNumThreads(0)
    options = {'num': num, 'size': _SIZE, 'progress': False}
    for name in ('camvid', 'cityscapes', 'idd', 'nails', 'nuimages'):
        getattr(sample_data, f'write_{name}')(root / name, **options)
    nails.convert(root / 'nails', root / 'coco', progress=False)
    _write_labelme(root / 'labelme', num)
    _write_logs(root / 'logs')
    _write_detector(root / 'detector.pth')
    _write_checkpoint(root / 'checkpoint.pth')


def _write_labelme(root: Path, num: int) -> None:
    """Write photographs with shapes, as labelme does."""
    rng = np.random.default_rng(0)
    width, height = _SIZE
    for number in range(num):
        path = root / f'{number % 3}' / f'{number:03}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(path.with_suffix('.jpg'))
        shapes = [
            {
                'label': label,
                'points': (rng.random((points, 2)) * _SIZE).tolist(),
                'group_id': None,
                'shape_type': kind,
                'flags': {},
            }
            for label, kind, points in (
                ('road', 'polygon', 5),
                ('car', 'rectangle', 2),
                ('sun', 'circle', 2),
            )
        ]
        content = {
            'version': '5.4.1',
            'flags': {},
            'shapes': shapes,
            'imagePath': path.with_suffix('.jpg').name,
            'imageData': None,
            'imageHeight': height,
            'imageWidth': width,
        }
        path.write_text(json.dumps(content))


def _write_logs(root: Path) -> None:
    """Write what a training and a test leave behind."""
    folder = root / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    records = [
        {'lr': 0.1, 'loss': 1 / step, 'iter': step, 'step': step}
        for step in range(1, 6)
    ]
    scores = {'mIoU': 41.5, 'IoU.road': 83.0, 'IoU.car': 0.0, 'step': 5}
    lines = (json.dumps(record) + '\n' for record in [*records, scores])
    (folder / 'scalars.json').write_text(''.join(lines))
    (folder / 'config.py').write_text('resume = False\n')
    test = root / '20260102_000000' / '20260102_000000.json'
    test.parent.mkdir()
    test.write_text(json.dumps(scores))


def _write_detector(path: Path) -> None:
    """Save a detector as it is before training."""
    from mmdet.registry import MODELS

    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(DETECTOR).model)
    model.init_weights()
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)


def _write_checkpoint(path: Path) -> None:
    """Save a small model as mmengine does."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {
        'meta': {'iter': 3, 'epoch': 0, 'seed': 0, 'cfg': 'a = 1'},
        'state_dict': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'message_hub': MessageHub('campaign').state_dict(),
    }
    torch.save(content, path)
