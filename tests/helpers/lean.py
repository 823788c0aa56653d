"""Models whose lean inference is compared with that of MMSeg."""

import copy
import weakref
from contextlib import nullcontext

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmseg_ext.models import make_lean
from mmseg_ext.models.lean_inference import LeanInference

_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason='needs a CUDA device'
)

#: A device, and the type of automatic mixed precision on it.
PLACES = [
    pytest.param(('cpu', None), id='cpu'),
    pytest.param(('cpu', torch.bfloat16), id='cpu-amp'),
    pytest.param(('cuda', None), id='cuda', marks=_GPU),
    pytest.param(('cuda', torch.float16), id='cuda-amp', marks=_GPU),
]

#: Keys of a sample: what the pipeline and the preprocessor say of its image,
#: for inputs of 32x40.
WAYS = {
    'same size': {},
    'larger': {'ori_shape': (61, 73)},
    'smaller': {'ori_shape': (9, 7)},
    'one pixel': {'ori_shape': (1, 1)},
    'flipped': {'flip': True, 'flip_direction': 'horizontal'},
    'turned over': {
        'flip': True,
        'flip_direction': 'vertical',
        'ori_shape': (40, 33),
    },
    'not flipped': {'flip': False, 'flip_direction': None},
    'padded': {'padding_size': [0, 8, 0, 2], 'ori_shape': (30, 32)},
    'padded, resized, flipped': {
        'padding_size': [1, 3, 2, 4],
        'ori_shape': (50, 60),
        'flip': True,
        'flip_direction': 'horizontal',
    },
    # This one counts where both are there.
    'padded by the preprocessor': {
        'img_padding_size': (0, 5, 0, 6),
        'padding_size': [9, 9, 9, 9],
        'ori_shape': (26, 35),
        'flip': True,
        'flip_direction': 'vertical',
    },
    'padded in the pipeline': {'pad_shape': (32, 40, 3)},
    # A step after `Pad` that changes the size leaves this as it was.
    'of another padded size': {
        'pad_shape': (24, 44),
        'padding_size': [0, 4, 0, 2],
        'ori_shape': (22, 40),
    },
}


class Strided(nn.Module):
    """A backbone of one convolution; weights and results are integers.

    Sums of small integers are exact in any order and precision, so batches of
    any size give the same bits, and many ties.
    """

    def __init__(self, stride=4, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride, padding=1)

    def forward(self, inputs):
        return (self.conv(inputs),)


def model_config(
    classes=4, mode='whole', align_corners=False, stride=4, **head
):
    """Return the config of a small ``EncoderDecoder``."""
    windows = {'crop_size': (16, 24), 'stride': (10, 13)}
    test_cfg = {'mode': mode, **(windows if mode == 'slide' else {})}
    head = {
        'type': 'FCNHead',
        'in_channels': 4,
        'channels': 4,
        'num_convs': 0,
        'concat_input': False,
        'dropout_ratio': 0,
        'norm_cfg': None,
        'num_classes': classes,
        'align_corners': align_corners,
        **head,
    }
    return ConfigDict(
        type='EncoderDecoder',
        data_preprocessor={'type': 'mmseg.SegDataPreProcessor'},
        backbone={'type': Strided, 'stride': stride},
        decode_head=head,
        test_cfg=test_cfg,
    )


def binary(threshold):
    """Return what a head of one channel for two classes needs."""
    return {
        'classes': 2,
        'out_channels': 1,
        'threshold': threshold,
        'loss_decode': {'type': 'CrossEntropyLoss', 'use_sigmoid': True},
    }


def build(config, whole_numbers=True):
    """Build a model in evaluation mode, with weights of some size."""
    model = MODELS.build(config).eval()
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if whole_numbers:
            values = torch.randint(-2, 3, weight.shape, generator=generator)
        else:
            values = torch.randn(weight.shape, generator=generator)
        weight.data.copy_(values)
    return model


def make_inputs(count=1, size=(32, 40), whole_numbers=True):
    """Return images (count, 3, H, W) of normalized pixels, one as the next."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 3, *size, generator=generator)
    return inputs.mul(2).round().clamp(-3, 3) if whole_numbers else inputs


def make_samples(count, size=(32, 40), **known):
    """Return samples of images, with what is known of each."""
    meta = {'img_shape': size, 'ori_shape': size, **known}
    return [SegDataSample(metainfo=meta) for _ in range(count)]


def upstream_of(model):
    """Return a model with the same weights, of the class of MMSeg."""
    twin = copy.copy(model)
    if isinstance(model, LeanInference):
        twin.__class__ = type(model).__bases__[1]
    return twin


def lean_of(model, **options):
    """Return a lean model with the same weights."""
    return make_lean(upstream_of(model), **options)


def run(model, inputs, samples=None, place=('cpu', None)):
    """Predict on a device; samples stay as they are."""
    device, dtype = place
    model.to(device)
    samples = samples and [sample.clone() for sample in samples]
    precision = torch.autocast(device, dtype) if dtype else nullcontext()
    with torch.no_grad(), precision:
        return model.predict(inputs.to(device), samples)


def check_labels(model, inputs, samples=None, place=('cpu', None), **options):
    """Compare a lean model with what MMSeg predicts.

    Returns:
        The label maps of all images, one after the other, (K,).
    """
    theirs = run(upstream_of(model), inputs, samples, place)
    ours = run(lean_of(model, **options), inputs, samples, place)
    classes = len(theirs[0].seg_logits.data)
    for mine, other in zip(ours, theirs, strict=True):
        found, wanted = mine.pred_sem_seg.data, other.pred_sem_seg.data
        assert found.device == wanted.device
        assert found.dtype == (torch.uint8 if classes <= 255 else torch.int64)
        assert torch.equal(found.long(), wanted.long())
        assert 'seg_logits' not in mine
        assert mine.metainfo == other.metainfo
    return torch.cat([mine.pred_sem_seg.data.flatten() for mine in ours]).cpu()


def upstream_slide(model, inputs, metas=None):
    """Return the logits of MMSeg's slide inference."""
    metas = metas or [{} for _ in inputs]
    with torch.no_grad():
        return EncoderDecoder.slide_inference(model, inputs, metas)


class PeakMemory(TorchDispatchMode):
    """Count the bytes of tensors that live at once.

    Args:
        before: Tensors that are not counted.

    Attributes:
        peak: The largest number since ``with`` began.
    """

    def __init__(self, *before):
        super().__init__()
        self._before = {storage._cdata for storage in _storages(before)}
        self._alive = {}
        self.peak = self._now = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # Arguments, too: memory of NumPy's comes from no function of torch.
        for storage in _storages((args, kwargs, result)):
            if storage._cdata not in self._before | self._alive.keys():
                self._add(storage)
        return result

    def _add(self, storage):
        key, size = storage._cdata, storage.nbytes()

        def drop(_):
            del self._alive[key]
            self._now -= size

        self._alive[key] = weakref.ref(storage, drop)
        self._now += size
        self.peak = max(self.peak, self._now)


def _storages(tree):
    return [
        leaf.untyped_storage()
        for leaf in tree_leaves(tree)
        if isinstance(leaf, torch.Tensor)
    ]


def peak_of(model, inputs, samples=None):
    """Return the bytes that a prediction takes at most, with its labels."""
    before = [inputs, *model.parameters(), *model.buffers()]
    with torch.no_grad(), PeakMemory(*before) as memory:
        model.predict(inputs, samples)
    return memory.peak
