"""Labels from a network's logits, a class at a time, against MMSeg's way.

Logits of 128x256, with 19 and with 150 classes, for an image of 1024x2048:
resized once, or first to the network's input of 512x1024, as where that is
smaller than the image. MMSeg resizes all classes and takes argmax.
"""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from mmseg.models.segmentors import BaseSegmentor
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor

from common import in_own_process
from mmseg_ext.models.label_maps import label_map
from timing import Row, interleaved

#: Heights and widths.
LOGITS = (128, 256)
INPUT = (512, 1024)
IMAGE = (1024, 2048)

#: The sizes on the way, in words.
WAYS = {'resized once': (), 'resized twice': (INPUT,)}
CLASSES = (19, 150)
ROUNDS = {19: 7, 150: 3}


def run() -> list[Row]:
    """Time each way, after a check that both give the same labels."""
    return [time_labels(classes, way) for classes in CLASSES for way in WAYS]


def time_labels(classes: int, way: str) -> Row:
    """Time both for a number of classes and a way of `WAYS`."""
    ways = make_ways(classes, way)
    found, expected = (function() for function in ways.values())
    if not torch.equal(found.long(), expected):
        raise AssertionError(f'{classes} classes, {way}: other labels')
    ours, theirs = interleaved(ways, ROUNDS[classes]).values()
    what = f'labels of 1024x2048, {classes} classes, {way}'
    return Row(what, 'MMSeg: resize and argmax', ours, theirs)


def make_ways(classes: int, way: str) -> dict[str, Callable[[], Tensor]]:
    """Make logits and return ours and MMSeg's way to labels (1, H, W)."""
    torch.manual_seed(0)
    logits = torch.randn(1, classes, *LOGITS)
    sizes = WAYS[way]
    return {
        'ours': lambda: label_map(
            logits, lambda block: enlarge(block, (*sizes, IMAGE))
        ),
        'MMSeg': lambda: labels_of_mmseg(enlarge(logits, sizes)),
    }


def enlarge(maps: Tensor, sizes: tuple[tuple[int, int], ...]) -> Tensor:
    """Resize maps to one size after the other, as MMSeg's heads do."""
    for size in sizes:
        maps = resize(maps, size=size, mode='bilinear', align_corners=False)
    return maps


def labels_of_mmseg(logits: Tensor) -> Tensor:
    """Return the labels (1, H, W) that a model of MMSeg makes of logits."""
    sample = SegDataSample(metainfo={'ori_shape': IMAGE})
    model = SimpleNamespace(align_corners=False)
    BaseSegmentor.postprocess_result(model, logits, [sample])
    return sample.pred_sem_seg.data


# Memory.


def label_once(name: str | None, classes: int, way: str) -> None:
    """Make labels in one way, or only make what both need."""
    torch.set_num_threads(1)
    ways = make_ways(classes, way)
    # Memory that is only taken once, whatever is computed.
    torch.rand(1, 4, 8, 8).argmax(1)
    if name:
        ways[name]()


def main() -> None:
    """Print the peak memory of both ways, beside the logits."""
    for classes in CLASSES:
        for way in WAYS:
            args = (classes, way)
            logits = in_own_process(label_once, None, *args)
            peaks = {
                name: in_own_process(label_once, name, *args) - logits
                for name in ('ours', 'MMSeg')
            }
            text = ', '.join(f'{k} {v:.0f} MiB' for k, v in peaks.items())
            print(f'{classes} classes, {way}: {text}')


if __name__ == '__main__':
    main()
