"""Inference of MMSeg's ``EncoderDecoder`` without full-size logits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from functools import cache, partial, wraps
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import numpy as np
import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.evaluation import CityscapesMetric
from mmseg.models.decode_heads.cascade_decode_head import (
    BaseCascadeDecodeHead,
)
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor, nn

from mmseg_ext.models.label_maps import label_map
from mmseg_ext.models.sliding import (
    Window,
    check_windows,
    slide_strips,
    slide_whole,
)
from mmseg_ext.utils.arguments import is_integer, require

__all__ = ['LeanInference', 'check_options', 'make_lean']

T = TypeVar('T')

#: The methods that lean inference stands for; a class with its own would
#: lose them.
_REPLACED = (
    *('predict', 'inference', 'slide_inference', 'whole_inference'),
    'postprocess_result',
)

#: What ``test_cfg`` of MMSeg's models has; heads may read more from it.
_TEST_KEYS = ('mode', 'crop_size', 'stride')

#: How like one of these, of 1, another name is taken for a slip.
_TYPO = 0.8

#: How segmentors get to logits, with a resize at the end and without it.
_PLAIN_WAYS = [
    (kind.encode_decode, kind._forward)
    for kind in (EncoderDecoder, CascadeEncoderDecoder)
]

#: What heads do for a prediction, if it is no more than that.
_PLAIN_PREDICTIONS = (BaseDecodeHead.predict, BaseCascadeDecodeHead.predict)

#: Whether what calls a model reads the logits of its samples.
_logits_are_read = ContextVar('logits_are_read', default=False)


def _same(block: Tensor) -> Tensor:
    return block


def _crop(inputs: Tensor, window: Window) -> Tensor:
    top, bottom, left, right = window
    return inputs[:, :, top:bottom, left:right]


class LeanInference(EncoderDecoder):
    """What :func:`make_lean` puts before the class of a model.

    Labels are those of MMSeg: ``predict`` gives ``pred_sem_seg`` as (1, H, W)
    uint8 (int64 for more than 255 classes), with 0 and 1 for a model of one
    channel. They stay on the device, where a metric counts them faster than
    on the CPU. ``seg_logits`` are there as upstream has them with
    ``keep_logits``, and where a ``BaseTTAModel`` of mmengine calls.

    Attributes:
        window_batch: How many windows go through the network at once.
        keep_logits: Whether samples keep their logits.
    """

    window_batch = 1
    keep_logits = False

    def slide_inference(
        self, inputs: Tensor, batch_img_metas: list[dict]
    ) -> Tensor:
        """Average the logits of windows, bit for bit as upstream does.

        Args:
            inputs: (N, 3, H, W).
            batch_img_metas: What is known of each image.

        Returns:
            (N, C, H, W).
        """
        read, size = partial(_crop, inputs), inputs.shape[2:]
        return self._slide(
            slide_whole, read, size, batch_img_metas, inputs.dtype
        )

    def predict(
        self, inputs: Tensor, data_samples: OptSampleList = None
    ) -> SampleList:
        """Predict the label maps of a batch.

        Args:
            inputs: (N, 3, H, W).
            data_samples: Samples to add the label maps to, and what is known
                of their images; new ones by default.

        Returns:
            The samples.
        """
        if self.keep_logits or _logits_are_read.get():
            return super().predict(inputs, data_samples)
        size = inputs.shape[2:]
        if data_samples is None:
            data_samples = [SegDataSample() for _ in inputs]
            known: dict[str, Any] = dict(
                ori_shape=size, img_shape=size, pad_shape=size
            )
            metas = [known] * len(inputs)
            ways = [_Way((0, 0, 0, 0), None, None)] * len(inputs)
        else:
            metas = [sample.metainfo for sample in data_samples]
            ways = [_way(meta) for meta in metas]
        if self.test_cfg.get('mode') == 'slide':
            read = partial(_crop, inputs)
            labels = self.label_windows(read, size, metas, inputs.dtype)
        else:
            labels = self._label_whole(inputs, metas, ways)
        for sample, found in zip(data_samples, labels, strict=True):
            sample.pred_sem_seg = PixelData(data=found)
        return data_samples

    def label_windows(
        self,
        read: Callable[[Window], Tensor],
        size: Sequence[int],
        metas: list[dict],
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[Tensor]:
        """Yield label maps (1, H, W) of images that are read in windows.

        An infinite logit of an image that keeps its size is no NaN, as it is
        in upstream's resize.

        Args:
            read: Gets a window, and returns what the network gets of it: (N,
                3, h, w), for N images.
            size: Height and width of the images as the network gets them.
            metas: What is known of each image.
            dtype: Of what ``read`` returns.
        """
        ways = [_way(meta) for meta in metas]
        if not all(way.keeps_size(*size) for way in ways):
            logits = self._slide(slide_whole, read, size, metas, dtype)
            yield from self._labels_of(logits, ways)
            return
        strips = [
            [
                label_map(one, _same, self._threshold())
                for one in strip.split(1)
            ]
            for _, strip in self._slide(slide_strips, read, size, metas, dtype)
        ]
        for parts, way in zip(zip(*strips, strict=True), ways, strict=True):
            yield way.cut(torch.cat(parts, 1)[None])[0]

    def _label_whole(
        self, inputs: Tensor, metas: list[dict], ways: Sequence['_Way']
    ) -> Iterator[Tensor]:
        """Yield the label map of each image that is taken as a whole."""
        head = _plain_head(self)
        if head is None:
            return self._labels_of(self.inference(inputs, metas), ways)
        # What `encode_decode` does, but for the resize at its end.
        resize_to_input = partial(head.predict_by_feat, batch_img_metas=metas)
        return self._labels_of(self._forward(inputs), ways, resize_to_input)

    def _labels_of(
        self,
        logits: Tensor,
        ways: Sequence['_Way'],
        resize_to_input: Callable[[Tensor], Tensor] = _same,
    ) -> Iterator[Tensor]:
        """Yield the label map of each image of a batch of logits."""
        for part, way in zip(logits.split(1), ways, strict=True):
            # A resize to the same size changes nothing, but that infinity
            # becomes NaN, which argmax prefers.
            finite = bool(torch.stack(part.aminmax()).isfinite().all())
            finish = partial(self._finish, resize_to_input, way, finite)
            yield label_map(part, finish, self._threshold())

    def _finish(
        self,
        resize_to_input: Callable[[Tensor], Tensor],
        way: '_Way',
        finite: bool,
        block: Tensor,
    ) -> Tensor:
        """Return logits of the network in the size of the image."""
        block = way.cut(resize_to_input(block))
        if way.size is None or (finite and block.shape[2:] == way.size):
            return block
        return resize(
            block,
            size=way.size,
            mode='bilinear',
            align_corners=self.align_corners,
            warning=False,
        )

    def _slide(
        self,
        slide: Callable[..., T],
        read: Callable[[Window], Tensor],
        size: Sequence[int],
        metas: list[dict],
        dtype: torch.dtype,
    ) -> T:
        """Call a function of :mod:`sliding` for a batch of images."""

        def decode(windows: Sequence[Window]) -> Tensor:
            crops = list(map(read, windows))
            batch = crops[0] if len(crops) == 1 else torch.cat(crops)
            return self.decode_windows(batch, metas)

        return slide(
            decode,
            size,
            self.test_cfg.crop_size,
            self.test_cfg.stride,
            self.window_batch,
            dtype,
        )

    def decode_windows(self, windows: Tensor, metas: list[dict]) -> Tensor:
        """Return the logits of windows, in their own size.

        Args:
            windows: (K * N, 3, h, w): the first window of all images, then
                the second, and so on.
            metas: What is known of each of the N images.

        Returns:
            (K * N, C, h, w).
        """
        # A torch.Size is how heads know a window.
        size = windows.shape[2:]
        metas = [dict(meta, img_shape=size) for meta in metas]
        return self.encode_decode(
            windows, metas * (len(windows) // len(metas))
        )

    # No property: nn.Module would hide what is wrong in one.
    def _threshold(self) -> float | None:
        """The least probability of a model with one channel."""
        return self.decode_head.threshold if self.out_channels == 1 else None


class _Way(NamedTuple):
    """From logits of an image in the network's size to those in its own.

    Attributes:
        padding: Columns at the left and right, rows at the top and bottom.
        flip: The axis, of four, along which the image was flipped.
        size: Height and width of the image; None for those of the input.
    """

    padding: tuple[int, int, int, int]
    flip: int | None
    size: torch.Size | None

    def cut(self, block: Tensor) -> Tensor:
        """Take padding and flip off logits or labels (1, k, H, W)."""
        left, right, top, bottom = self.padding
        height, width = block.shape[2:]
        block = block[:, :, top : height - bottom, left : width - right]
        return block if self.flip is None else block.flip(dims=(self.flip,))

    def keeps_size(self, height: int, width: int) -> bool:
        """Return whether an input without padding is as large as its image.

        Args:
            height: That of the input.
            width: Likewise.
        """
        left, right, top, bottom = self.padding
        inner = height - top - bottom, width - left - right
        return self.size in (None, inner)


def _way(meta: Mapping[str, Any]) -> _Way:
    """Return what upstream's ``postprocess_result`` does with an image."""
    padding = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
    flip = None
    if meta.get('flip'):
        flip = {'horizontal': 3, 'vertical': 2}[meta['flip_direction']]
    return _Way(tuple(padding), flip, torch.Size(meta['ori_shape']))


def _plain_head(model: EncoderDecoder) -> BaseDecodeHead | None:
    """Return the last head, if its logits only have to be resized."""
    head = getattr(model, 'decode_head', None)
    if isinstance(head, nn.ModuleList):
        head = head[-1]
    kind = type(model)
    plain = (
        (kind.encode_decode, kind._forward) in _PLAIN_WAYS
        and isinstance(head, BaseDecodeHead)
        and type(head).predict in _PLAIN_PREDICTIONS
        and type(head).predict_by_feat is BaseDecodeHead.predict_by_feat
    )
    return head if plain else None


def make_lean(
    model: EncoderDecoder, window_batch: int = 1, keep_logits: bool = False
) -> LeanInference:
    """Turn the inference of a model into a lean one with the same labels.

    In slide mode each window's logits are added where they belong, and a
    strip of them is held where images keep their size. In whole mode a few
    classes at a time are resized to the image's size. See
    :class:`LeanInference` for what samples get. Training, weights and their
    names stay as they are.

    Args:
        model: An ``EncoderDecoder`` of MMSeg, or of a class below it; it is
            changed.
        window_batch: How many windows of slide mode go through the network at
            once. Above 1, logits may differ in their last bits, as they do
            with the batch size of any network.
        keep_logits: Whether samples keep the logits of the whole image as
            upstream has them, for metrics that read them.

    Returns:
        The model, whose class is now below :class:`LeanInference`.

    Raises:
        TypeError: It is no ``EncoderDecoder``.
        ValueError: An argument is out of its range, the class has an
            inference of its own, or ``test_cfg`` does not fit.
    """
    kind: Any = type(model)
    if not isinstance(model, EncoderDecoder):
        raise TypeError(
            f'lean inference is for EncoderDecoder of MMSeg and classes below '
            f'it; got {kind.__name__}, which has to stay as it is'
        )
    check_options(window_batch, keep_logits)
    _check_test_cfg(model.test_cfg or {})
    if not isinstance(model, LeanInference):
        own = [
            name
            for name in _REPLACED
            if getattr(kind, name) is not getattr(EncoderDecoder, name)
        ]
        if own:
            raise ValueError(
                f'{kind.__name__} has its own {own[0]}(), which lean '
                'inference would replace; it has to stay as it is'
            )
        model.__class__ = _lean_class(kind)
    model.window_batch, model.keep_logits = window_batch, keep_logits
    return model


def check_options(
    window_batch: Any, keep_logits: Any, where: str = ''
) -> None:
    """Check the options of lean inference.

    Args:
        window_batch: See :func:`make_lean`.
        keep_logits: See :func:`make_lean`.
        where: What stands before their names, such as ``'model.'``.

    Raises:
        ValueError: One is out of its range.
    """
    require(
        f'{where}window_batch',
        window_batch,
        is_integer(window_batch, 1),
        'a number of windows, 1 or more',
    )
    require(
        f'{where}keep_logits',
        keep_logits,
        isinstance(keep_logits, bool),
        'True or False',
    )


@cache
def _lean_class(kind: Any) -> Any:
    """Return a class with lean inference before the methods of another."""

    def reduce(model: Any, protocol: SupportsIndex) -> Any:
        """Return what pickle keeps of a model; its class is in no module."""
        kept = super(lean, model).__reduce_ex__(protocol)
        return (_empty, (kind,), *kept[2:]) if type(model) is lean else kept

    names = {
        '__doc__': kind.__doc__,
        '__module__': kind.__module__,
        '__reduce_ex__': reduce,
    }
    _keep_logits_for_tta()
    _widen_labels_for_cityscapes()
    lean: Any = type(f'Lean{kind.__name__}', (LeanInference, kind), names)
    return lean


def _empty(kind: type) -> Any:
    """Return a model without its parts, which pickle puts in."""
    lean = _lean_class(kind)
    return lean.__new__(lean)


def _check_test_cfg(test_cfg: Mapping[str, Any]) -> None:
    """Check what says how a model predicts.

    Raises:
        ValueError: It has a misspelt key, another mode, or windows that do
            not fit.
    """
    for key in test_cfg:
        close = get_close_matches(key, _TEST_KEYS, cutoff=_TYPO)
        if close and key not in _TEST_KEYS:
            raise ValueError(
                f'test_cfg has no option {key!r}; close: {close[0]!r}; '
                'an entry of your own needs a name that is less like it'
            )
    mode = test_cfg.get('mode', 'whole')
    require(
        'test_cfg.mode', mode, mode in ('whole', 'slide'), 'whole or slide'
    )
    if mode == 'slide':
        check_windows(
            test_cfg.get('crop_size'),
            test_cfg.get('stride'),
            ('test_cfg.crop_size', 'test_cfg.stride'),
        )


def _keep_logits_for_tta() -> None:
    """Let models know when test-time augmentation calls them.

    It merges the logits of their samples, and hands them no sign of it.
    """
    upstream = BaseTTAModel.test_step
    if hasattr(upstream, 'keeps_logits'):
        return

    @wraps(upstream)
    def test_step(model: BaseTTAModel, data: Any) -> Any:
        token = _logits_are_read.set(True)
        try:
            return upstream(model, data)
        finally:
            _logits_are_read.reset(token)

    test_step.keeps_logits = True  # type: ignore[attr-defined]
    BaseTTAModel.test_step = test_step


def _widen_labels_for_cityscapes() -> None:
    """Let ``CityscapesMetric`` take labels of a byte.

    It writes -1 into a copy of them, for which NumPy 2 has no room there.
    """
    upstream = CityscapesMetric._convert_to_label_id
    if hasattr(upstream, 'takes_bytes'):
        return

    @wraps(upstream)
    def convert(result: Any) -> Any:
        if isinstance(result, np.ndarray):
            result = result.astype(np.int64)
        return upstream(result)

    convert.takes_bytes = True  # type: ignore[attr-defined]
    CityscapesMetric._convert_to_label_id = staticmethod(convert)
