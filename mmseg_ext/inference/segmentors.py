"""Segmentors of MMSeg, loaded from a config and a checkpoint, made lean."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import DATASETS, MODELS, TRANSFORMS
from mmseg.utils import stack_batch
from torch import Tensor

from mmseg_ext.checkpoint import check_checkpoint, weights_only
from mmseg_ext.formats.tiff import check_tiff
from mmseg_ext.inference.devices import check_device
from mmseg_ext.launch.configs import data_sets, load_config, scope_of
from mmseg_ext.launch.errors import MISFITS, why_not_built
from mmseg_ext.models.lean_inference import make_lean
from mmseg_ext.models.sliding import count_windows
from mmseg_ext.utils.arguments import is_integer
from mmseg_ext.utils.files import open_file

__all__ = ['Segmentor', 'load_segmentor']

#: Transforms that only change the size of an image.
_RESIZING = (Resize, ResizeShortestEdge, ResizeToMultiple)

#: Part of a window that the next one is further by default: windows overlap
#: by a third, as in most of MMSeg's configs.
_STRIDE = 2 / 3


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

    model: EncoderDecoder
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
        results = dict(image)
        *steps, pack = self.steps[1:]
        for step in steps:
            results = step(results)
        with torch.no_grad():
            if self.slides and _takes_windows(self.model, pack):
                [sample] = self._predict_windows(results, pack, on_windows)
            else:
                packed = pack(results)
                batch = {key: [value] for key, value in packed.items()}
                [sample] = self.model.test_step(batch)
        labels: np.ndarray = sample.pred_sem_seg.data[0].cpu().numpy()
        return labels

    def _predict_windows(
        self,
        results: dict[str, Any],
        pack: Callable[[dict], Any],
        on_windows: Callable[[int, int], None] | None,
    ) -> Any:
        """Predict from an image that is not normalized as a whole."""
        pixels = results.pop('img')
        sample = pack(results)['data_samples']
        inputs = _WindowedImage(pixels, self.model.data_preprocessor)
        sample.set_metainfo(inputs.padding)
        if on_windows:
            cfg = self.model.test_cfg
            size = inputs.shape[2:]
            total = count_windows(size, cfg.crop_size, cfg.stride)
            inputs.on_window = lambda done: on_windows(done, total)
        return self.model.predict(inputs, [sample])


class _WindowedImage:
    """An image that gives normalized windows, in place of a batch of it.

    Windows are those of the tensor (1, C, H, W) that the data preprocessor
    would make of the whole image, padded as it says.

    Args:
        image: (H, W) or (H, W, C), as transforms leave it.
        preprocessor: That of the model.

    Attributes:
        shape: Of that tensor.
        dtype: Likewise.
        padding: What the preprocessor tells samples of it.
        on_window: Called with the number of windows so far.
    """

    dtype = torch.float32

    def __init__(
        self, image: np.ndarray, preprocessor: SegDataPreProcessor
    ) -> None:
        self._image = image if image.ndim == 3 else image[..., None]
        self._pad_val = preprocessor.pad_val
        self._normalize = copy.copy(preprocessor)
        self._normalize.test_cfg = None  # no padding
        self.padding: dict[str, Any] = {}
        height, width, channels = self._image.shape
        # Without content: only the shape counts.
        whole = torch.empty(1, channels, height, width, device='meta')
        if cfg := preprocessor.test_cfg:
            whole, [self.padding] = stack_batch(
                list(whole),
                size=cfg.get('size'),
                size_divisor=cfg.get('size_divisor'),
            )
        self.shape = whole.shape
        self.on_window: Callable[[int], None] | None = None
        self._done = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: tuple[slice, slice, slice, slice]) -> Tensor:
        """Return the window ``[:, :, top:bottom, left:right]``."""
        *_, rows, columns = key
        pixels = self._image[rows, columns].transpose(2, 0, 1)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))
        batch = {'inputs': [tensor], 'data_samples': None}
        window: Tensor = self._normalize(batch)['inputs']
        below = rows.stop - rows.start - window.shape[2]
        right = columns.stop - columns.start - window.shape[3]
        if below or right:
            window = F.pad(window, (0, right, 0, below), value=self._pad_val)
        self._done += 1
        if self.on_window:
            self.on_window(self._done)
        return window


def _why_not_read(path: str, error: Exception) -> Exception:
    """Return what is said of an image that a loader could not read."""
    if getattr(error, 'code', None) == cv2.Error.StsNoMem:
        return MemoryError(str(error))
    if 'CV_IO_MAX_IMAGE' in str(error):
        return ValueError(
            f'{path} is too large; OpenCV reads images of at most 2^30 pixels '
            'with sides of at most 2^20: divide it'
        )
    return ValueError(
        f'{path} cannot be read as an image ({os.path.getsize(path)} bytes): '
        'it is truncated or of another format; copy or download it again'
    )


def _takes_windows(model: EncoderDecoder, pack: Callable[[dict], Any]) -> bool:
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


def _pair(value: int | Sequence[int] | None) -> Any:
    """Return height and width of a window, or of a step, where one is given.

    Args:
        value: One number for both, or both.

    Returns:
        A tuple of two; what is neither, as it is.
    """
    if is_integer(value):
        return (value, value)
    if isinstance(value, Sequence) and 1 <= len(value) <= 2:
        return tuple(value) * (3 - len(value))
    return value


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
            have yet.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: There is no such config, it is not one of MMSeg, it
            cannot be built, its model is no ``EncoderDecoder``, the
            checkpoint is refused or does not fit, the windows do not fit, or
            the device is not there.
    """
    cfg = load_config(config, None, cfg_options, on_note, on_note)
    absent = [k for k in ('model', 'test_dataloader') if k not in cfg]
    if scope_of(cfg) != 'mmseg' or absent:
        raise ValueError(
            f'{config} is not the config of a segmentor: expected one with '
            'default_scope mmseg, a model and a test_dataloader'
        )
    _set_windows(cfg.model, crop_size, stride)
    device = device or get_device()
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
        ValueError: There is a stride and no window.
    """
    test_cfg = {**(model.get('test_cfg') or {})}
    if crop_size is not None:
        crop = _pair(crop_size)
        test_cfg |= {'mode': 'slide', 'crop_size': crop}
        if stride is None:
            numbers = isinstance(crop, tuple) and all(map(is_integer, crop))
            test_cfg['stride'] = (
                crop
                if not numbers
                else tuple(max(int(side * _STRIDE), 1) for side in crop)
            )
    elif stride is not None and test_cfg.get('mode') != 'slide':
        raise ValueError(
            f'stride={stride!r}: the config has no windows; give crop_size, '
            'too'
        )
    if stride is not None:
        test_cfg['stride'] = _pair(stride)
    if test_cfg:
        model.test_cfg = test_cfg


def _build_steps(cfg: Config, own_size: bool) -> list[Callable[[dict], Any]]:
    """Build the transforms of a test pipeline, without those of labels.

    Args:
        cfg: The config.
        own_size: Leave out those that resize, too.
    """
    pipeline = data_sets(cfg.test_dataloader)[0].get('pipeline') or ()
    left_out = (LoadAnnotations, *(_RESIZING if own_size else ()))
    steps = [
        step
        for step in map(TRANSFORMS.build, pipeline)
        if not isinstance(step, left_out)
    ]
    if len(steps) < 2:
        raise ValueError(
            f'test_dataloader.dataset.pipeline of {cfg.filename} has no '
            'transform that reads an image and one that packs it'
        )
    return steps


def _make_lean(
    config: str, model: Any, window_batch: int | None
) -> EncoderDecoder:
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
