"""Slide mode: what is done beside the network, on an image of 2048x1024.

A stub in place of the network returns ready logits of 19 classes for each
window, so that only adding up and averaging is timed, or that and taking the
labels, by ``LeanEncoderDecoder`` against the methods of MMSeg's
``EncoderDecoder``. Logits are the same in each bit.

Run by itself it prints the peak memory of each.
"""

from collections.abc import Callable

import torch
from mmengine.config import ConfigDict
from mmseg.models.segmentors import BaseSegmentor, EncoderDecoder
from mmseg.structures import SegDataSample
from prettytable import PrettyTable
from torch import Tensor

from common import extra_memory
from mmseg_ext.models.lean_inference import make_lean
from timing import Row, interleaved

SIZE = (1024, 2048)
CLASSES = 19

#: Side and stride of windows.
CASES = ((512, 341), (256, 170))
ROUNDS = 3

#: Maps of logits, so that a window seldom finds its own in a cache.
READY = 5


class Stub(EncoderDecoder):
    """A segmentor whose network takes no time.

    Args:
        crop: Side of a window, in pixels.
        stride: By how many pixels windows are apart.
    """

    def __init__(self, crop: int, stride: int) -> None:
        BaseSegmentor.__init__(self)
        self.test_cfg = ConfigDict(
            mode='slide', crop_size=(crop, crop), stride=(stride, stride)
        )
        self.out_channels = self.num_classes = CLASSES
        self.align_corners = False
        generator = torch.Generator().manual_seed(0)
        self.ready = [
            torch.randn(1, CLASSES, crop, crop, generator=generator)
            for _ in range(READY)
        ]

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: list[dict]
    ) -> Tensor:
        """Return logits that the first pixel of a window chooses."""
        return self.ready[int(inputs[0, 0, 0, 0])]


def image() -> Tensor:
    """Make an image (1, 3, H, W) whose windows have different logits."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(READY, (1, 3, *SIZE), generator=generator).float()


def slide(model: EncoderDecoder, inputs: Tensor) -> Tensor:
    """Return the logits of the image."""
    with torch.no_grad():
        return model.slide_inference(inputs, [{}])


def predict(model: EncoderDecoder, inputs: Tensor) -> Tensor:
    """Return the labels of the image, (1, H, W)."""
    with torch.no_grad():
        (result,) = model.predict(inputs, [make_sample()])
    return result.pred_sem_seg.data


def postprocess(model: EncoderDecoder, logits: Tensor) -> Tensor:
    """Return the labels of logits, (1, H, W)."""
    (result,) = model.postprocess_result(logits, [make_sample()])
    return result.pred_sem_seg.data


def make_sample() -> SegDataSample:
    """Make a sample of an image that was not resized."""
    return SegDataSample(metainfo={'img_shape': SIZE, 'ori_shape': SIZE})


def run() -> list[Row]:
    """Time logits and labels with each kind of windows."""
    return [row for case in CASES for row in _run_case(*case)]


def _run_case(crop: int, stride: int) -> list[Row]:
    """Time one kind of windows."""
    ours, theirs = make_lean(Stub(crop, stride)), Stub(crop, stride)
    inputs = image()
    logits = slide(theirs, inputs)
    _check_equal(slide(ours, inputs), logits)
    _check_equal(predict(ours, inputs), postprocess(theirs, logits))
    times = interleaved(
        {
            'logits': lambda: slide(ours, inputs),
            'their logits': lambda: slide(theirs, inputs),
            'labels': lambda: predict(ours, inputs),
            'from their logits': lambda: postprocess(theirs, logits),
        },
        ROUNDS,
    )
    what = f'slide mode, crop {crop}, stride {stride}'
    return [
        Row(
            f'{what}, logits',
            "MMSeg's slide_inference",
            times['logits'],
            times['their logits'],
        ),
        Row(
            f'{what}, labels',
            'the same and postprocess_result',
            times['labels'],
            times['their logits'] + times['from their logits'],
        ),
    ]


def _check_equal(ours: Tensor, theirs: Tensor) -> None:
    """Check that all bits of logits are the same, or all labels."""
    if ours.is_floating_point():
        ours, theirs = ours.view(torch.int32), theirs.view(torch.int32)
    if not torch.equal(ours.long(), theirs.long()):
        raise RuntimeError('the two ways do not agree')


# Memory.

WAYS = {'logits': slide, 'labels': predict}


def prepare(
    name: str, is_lean: bool, crop: int, stride: int
) -> Callable[[], object]:
    """Return a function that calls one way once."""
    torch.set_num_threads(1)
    model: EncoderDecoder = Stub(crop, stride)
    if is_lean:
        model = make_lean(model)
    inputs = image()
    return lambda: WAYS[name](model, inputs)


def main() -> None:
    """Print the peak memory of each way, in a process of its own."""
    table = PrettyTable(['result', 'windows', 'ours', "MMSeg's"], align='r')
    table.title = 'MiB at most, beside the ready logits and the image'
    table.align['result'] = table.align['windows'] = 'l'
    for crop, stride in CASES:
        for name in WAYS:
            peaks = [
                extra_memory(prepare, name, is_lean, crop, stride)
                for is_lean in (True, False)
            ]
            table.add_row(
                [name, f'crop {crop}, stride {stride}']
                + [f'{peak:.0f}' for peak in peaks]
            )
    print(table)


if __name__ == '__main__':
    main()
