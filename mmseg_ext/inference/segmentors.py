"""Segmentors of MMSeg, loaded from a config and a checkpoint, made lean."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import LoadAnnotations, Resize
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.datasets.transforms import (
    PackSegInputs,
    ResizeShortestEdge,
    ResizeToMultiple,
)
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import DATASETS, MODELS, TRANSFORMS
from mmseg.utils import stack_batch
from torch import Tensor

from mmseg_ext.checkpoint import check_checkpoint, weights_only
from mmseg_ext.formats.tiff import check_tiff
from mmseg_ext.inference.devices import check_device
from mmseg_ext.launch.configs import data_sets, load_config, scope_of
from mmseg_ext.launch.errors import MISFITS, why_not_built
from mmseg_ext.models.lean_inference import LeanInference, make_lean
from mmseg_ext.models.sliding import Window, check_windows, count_windows
from mmseg_ext.utils.arguments import is_integer, require
from mmseg_ext.utils.files import open_file

__all__ = ['Segmentor', 'load_segmentor']

#: Transforms that only change the size of an image.
_RESIZING = (Resize, ResizeShortestEdge, ResizeToMultiple)

#: Part of a window that the next one is further by default: windows overlap
#: by a third, as in most of MMSeg's configs.
_STRIDE = 2 / 3

#: Rows of logits at a time.
_STRIP = 64

#: Number of labels that 8 bits hold.
_EIGHT_BITS = 256


@dataclass(frozen=True)
class Segmentor:
    """A model of MMSeg with lean inference, and how it gets images.

    Attributes:
        model: The model, in evaluation mode on its device.
        steps: The transforms of the config's test pipeline but for those that
            load labels: the first reads the image.
        classes: Names of the classes as in the checkpoint, or else in the
            config; None where neither has them.
        palette: Their colors, RGB, likewise.
    """

    model: LeanInference
    steps: Sequence[Callable[[dict], Any]]
    classes: Sequence[str] | None
    palette: Sequence[Sequence[int]] | None

    @property
    def slides(self) -> bool:
        """Whether windows slide over images."""
        return self.model.test_cfg.get('mode') == 'slide'

    def read(self, path: str) -> dict[str, Any]:
        """Read an image as the config's loader does.

        Args:
            path: The file.

        Returns:
            What the loader gives, with the image as ``img``: uint8 BGR
            (H, W, 3), if the config says nothing else.

        Raises:
            OSError: It cannot be opened.
            ValueError: It is no whole image, too large for OpenCV, or a TIFF
                with channels or bits that the loader would leave out.
            MemoryError: There is no memory for it.
        """
        loader = self.steps[0]
        open_file(path).close()
        if _reads_colors(loader):
            check_tiff(path)
        try:
            return dict(loader({'img_path': path}))
        except MemoryError:
            raise
        # A loader may be anything.
        except Exception as error:
            raise _why_not_read(path, error) from error

    def segment(
        self,
        image: Mapping[str, Any],
        on_windows: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return the class of each pixel of an image.

        In slide mode the image stays as it was read, and each window is
        normalized by itself.

        Args:
            image: What :meth:`read` gives.
            on_windows: Called in slide mode with the numbers of windows that
                are done, and in all.

        Returns:
            uint8 (H, W), int64 for more than 255 classes.
        """
        results, pack = self._transformed(image)
        with torch.no_grad():
            if self.slides and _takes_windows(self.model, pack):
                [labels] = self._label_windows(results, pack, on_windows)
            else:
                labels = self._tested(results, pack).pred_sem_seg.data
        found: np.ndarray = labels[0].cpu().numpy()
        return found

    def segment_with_margin(
        self, image: Mapping[str, Any]
    ) -> tuple[np.ndarray, float]:
        """Return the class of each pixel, and how sure the model is of them.

        It takes the memory of all logits in the size of the image, as MMSeg's
        own inference does.

        Args:
            image: What :meth:`read` gives.

        Returns:
            What :meth:`segment` gives; and the mean over the pixels of the
            probability of the likeliest class less that of the next, 0 to 1.
        """
        results, pack = self._transformed(image)
        before, self.model.keep_logits = self.model.keep_logits, True
        try:
            with torch.no_grad():
                sample = self._tested(results, pack)
                margin = _margin(sample.seg_logits.data)
        finally:
            self.model.keep_logits = before
        labels: np.ndarray = sample.pred_sem_seg.data[0].cpu().numpy()
        if labels.max(initial=0) < _EIGHT_BITS:
            labels = labels.astype(np.uint8)
        return labels, margin

    def _transformed(
        self, image: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Callable[[dict], Any]]:
        """Return what the steps make of an image, and the one that packs."""
        results = dict(image)
        *steps, pack = self.steps[1:]
        for step in steps:
            results = step(results)
        return results, pack

    def _tested(
        self, results: dict[str, Any], pack: Callable[[dict], Any]
    ) -> Any:
        """Return the sample of an image with what the model predicts."""
        batch = {key: [value] for key, value in pack(results).items()}
        [sample] = self.model.test_step(batch)
        return sample

    def _label_windows(
        self,
        results: dict[str, Any],
        pack: Callable[[dict], Any],
        on_windows: Callable[[int, int], None] | None,
    ) -> Iterator[Tensor]:
        """Segment an image of which windows are normalized one by one."""
        pixels = np.atleast_3d(results.pop('img'))
        sample = pack(results)['data_samples']
        size, padding = _padded(pixels, self.model.data_preprocessor)
        cfg = self.model.test_cfg
        total = count_windows(size, cfg.crop_size, cfg.stride)
        numbers = count(1)

        def read(window: Window) -> Tensor:
            found = _read_window(pixels, window, self.model.data_preprocessor)
            if on_windows:
                on_windows(next(numbers), total)
            return found

        metas = [{**sample.metainfo, **padding}]
        return self.model.label_windows(read, size, metas)


def _margin(logits: Tensor) -> float:
    """Return by how much the likeliest class leads, as a mean over pixels.

    Args:
        logits: (C, H, W). With one channel it is the probability of the
            foreground, as upstream has it.
    """
    if len(logits) == 1:
        return float((2 * logits - 1).abs().mean())
    total = 0.0
    # All rows at once would take the memory of the logits twice again.
    for strip in logits.split(_STRIP, dim=1):
        first, second = strip.softmax(0).topk(2, dim=0).values
        total += float((first - second).sum(dtype=torch.float64))
    return total / logits[0].numel()


def _padded(
    pixels: np.ndarray, preprocessor: SegDataPreProcessor
) -> tuple[Sequence[int], dict[str, Any]]:
    """Return the size of an image that a preprocessor pads, and how it does.

    Args:
        pixels: (H, W, C).
        preprocessor: That of the model.

    Returns:
        Height and width, and what the preprocessor tells samples.
    """
    cfg = preprocessor.test_cfg
    if not cfg:
        return pixels.shape[:2], {}
    # Without content: only the shape counts.
    image = torch.empty(pixels.transpose(2, 0, 1).shape, device='meta')
    padded, [known] = stack_batch(
        [image], size=cfg.get('size'), size_divisor=cfg.get('size_divisor')
    )
    return padded.shape[2:], known


def _read_window(
    pixels: np.ndarray, window: Window, preprocessor: SegDataPreProcessor
) -> Tensor:
    """Return a window of what a preprocessor makes of an image.

    Args:
        pixels: (H, W, C).
        window: It may lie in the padding at the right and below.
        preprocessor: That of the model.

    Returns:
        (1, C, h, w).
    """
    top, bottom, left, right = window
    part = pixels[top:bottom, left:right].transpose(2, 0, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(part))
    normalize = copy.copy(preprocessor)
    normalize.test_cfg = None  # no padding
    batch = {'inputs': [tensor], 'data_samples': None}
    found: Tensor = normalize(batch)['inputs']
    below = bottom - top - found.shape[2]
    beside = right - left - found.shape[3]
    if below or beside:
        found = F.pad(found, (0, beside, 0, below), value=preprocessor.pad_val)
    return found


def _why_not_read(path: str, error: Exception) -> Exception:
    """Return what is said of an image that a loader could not read."""
    if getattr(error, 'code', None) == cv2.Error.StsNoMem:
        return MemoryError(str(error))
    if 'CV_IO_MAX_IMAGE' in str(error):
        return ValueError(
            f'{path} is too large; OpenCV reads images of at most 2^30 pixels '
            'with sides of at most 2^20: divide it'
        )
    if not os.path.getsize(path):
        return ValueError(f'{path} is empty; copy or download it again')
    return ValueError(
        f'{path} cannot be read as an image ({os.path.getsize(path)} bytes): '
        'it is truncated or of another format; copy or download it again'
    )


def _takes_windows(model: LeanInference, pack: Callable[[dict], Any]) -> bool:
    """Return whether what normalizes an image is known to go by pixels."""
    return (
        type(model.data_preprocessor) is SegDataPreProcessor
        and type(pack) is PackSegInputs
    )


def _reads_colors(loader: object) -> bool:
    """Return whether a loader makes three channels of 8 bits of any image."""
    return getattr(loader, 'color_type', 'unchanged') != 'unchanged' and (
        getattr(loader, 'imdecode_backend', None) != 'tifffile'
    )


def load_segmentor(
    config: str,
    checkpoint: str,
    device: str | None = None,
    *,
    crop_size: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    window_batch: int | None = None,
    cfg_options: dict[str, Any] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Segmentor:
    """Load a segmentor, whatever ``EncoderDecoder`` its config builds.

    Args:
        config: Path of an MMSeg config, or the name of one of this package.
        checkpoint: Path of a checkpoint; loaded with ``weights_only``.
        device: Such as ``'cuda:0'``; by default a GPU if there is one.
        crop_size: Height and width of windows, or one number for both, that
            slide over images in their own size: transforms of the config that
            resize are left out. By default as the config says.
        stride: By how many pixels windows are apart; by default two thirds of
            ``crop_size``, else as the config says.
        window_batch: How many windows go through the network at once; by
            default as the config says, or 1.
        cfg_options: Entries to change in the config.
        on_note: Called with a line for each of these that the config does not
            have yet, and for weights that are NaN.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: There is no such config, it is not one of MMSeg, it
            cannot be built, its model is no ``EncoderDecoder``, the
            checkpoint is refused or does not fit, the windows do not fit, or
            the device is not there.
    """
    cfg = load_config(config, None, cfg_options, on_note, on_note)
    parts = (cfg.get(key) for key in ('model', 'test_dataloader'))
    whole = all(isinstance(part, dict) for part in parts)
    if scope_of(cfg) != 'mmseg' or not whole:
        raise ValueError(
            f'{config} is not the config of a segmentor: expected one with '
            'default_scope mmseg, a model and a test_dataloader'
        )
    _set_windows(cfg.model, crop_size, stride)
    device = get_device() if device is None else device
    check_device(device)
    with DefaultScope.overwrite_default_scope('mmseg'), weights_only():
        try:
            model = MODELS.build(cfg.model)
            steps = _build_steps(cfg, own_size=crop_size is not None)
        except MISFITS as error:
            reason = why_not_built(cfg, error)
            if reason is None:
                raise
            raise ValueError(reason) from error
        model = _make_lean(config, model, window_batch)
        content = check_checkpoint(model, checkpoint)
        nan = [k for k, v in model.state_dict().items() if v.isnan().any()]
        if nan and on_note:
            on_note(
                f'{checkpoint} has weights that are NaN, such as {nan[0]}: '
                'label maps may mean nothing'
            )
        classes, palette = _names(cfg, content.get('meta', {}))
    if torch.device(device).type == 'cpu':
        model = revert_sync_batchnorm(model)
    return Segmentor(model.to(device).eval(), steps, classes, palette)


def _set_windows(
    model: ConfigDict,
    crop_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None,
) -> None:
    """Let windows slide where that is asked for.

    Raises:
        ValueError: There is a stride and no window, or they do not fit.
    """
    given = model.get('test_cfg') or {}
    require('model.test_cfg', given, isinstance(given, dict), 'a dict')
    test_cfg = {**given}
    if crop_size is not None:
        crop = _pair('crop_size', crop_size)
        step = [max(int(side * _STRIDE), 1) for side in crop]
        test_cfg |= {'mode': 'slide', 'crop_size': crop, 'stride': step}
    elif stride is not None and test_cfg.get('mode') != 'slide':
        raise ValueError(
            f'stride={stride!r}: the config has no windows; give crop_size, '
            'too'
        )
    if stride is not None:
        test_cfg['stride'] = _pair('stride', stride)
    if test_cfg.get('mode') == 'slide':
        names = [
            name if option is not None else f'test_cfg.{name}'
            for name, option in (('crop_size', crop_size), ('stride', stride))
        ]
        check_windows(test_cfg.get('crop_size'), test_cfg.get('stride'), names)
    if test_cfg:
        model.test_cfg = test_cfg


def _pair(name: str, value: int | Sequence[int]) -> list[int]:
    """Return height and width that are given as one number or as both."""
    sides = [value] if isinstance(value, int) else value
    fits = isinstance(sides, Sequence) and len(sides) in (1, 2)
    fits = fits and all(is_integer(side, 1) for side in sides)
    expected = 'height and width, or one number for both, each 1 or more'
    require(name, value, fits, expected)
    return [*sides] * (3 - len(sides))


def _build_steps(cfg: Config, own_size: bool) -> list[Callable[[dict], Any]]:
    """Build the transforms of a test pipeline, without those of labels.

    Args:
        cfg: The config.
        own_size: Leave out those that resize, too.
    """
    pipeline = data_sets(cfg.test_dataloader)[0].get('pipeline') or []
    name = 'test_dataloader.dataset.pipeline'
    fits = isinstance(pipeline, Sequence) and not isinstance(pipeline, str)
    require(name, pipeline, fits, 'a list of transforms')
    left_out = (LoadAnnotations, *(_RESIZING if own_size else ()))
    steps = [
        step
        for step in map(TRANSFORMS.build, pipeline)
        if not isinstance(step, left_out)
    ]
    if len(steps) < 2:
        raise ValueError(
            f'{name} of {cfg.filename} has no transform that reads an image '
            'and one that packs it'
        )
    return steps


def _make_lean(
    config: str, model: Any, window_batch: int | None
) -> LeanInference:
    """Make a model lean, with the windows at once that it has by default."""
    if window_batch is None:
        window_batch = getattr(model, 'window_batch', 1)
    try:
        return make_lean(model, window_batch)
    except TypeError as error:
        raise ValueError(
            f'{config}: {error}: mmseg-ext test takes it so'
        ) from error


def _names(
    cfg: Config, meta: Mapping[str, Any]
) -> tuple[Sequence[str] | None, Sequence[Sequence[int]] | None]:
    """Return classes and palette of a checkpoint, or else of the config."""
    known = meta.get('dataset_meta') or {}
    if known.get('classes') and known.get('palette'):
        return known['classes'], known['palette']
    dataset = {**data_sets(cfg.test_dataloader)[0], 'lazy_init': True}
    try:
        info = DATASETS.build(dataset).metainfo
    except Exception:  # it may need its files, which need not be here
        info = {}
    return (
        known.get('classes') or info.get('classes'),
        known.get('palette') or info.get('palette'),
    )
