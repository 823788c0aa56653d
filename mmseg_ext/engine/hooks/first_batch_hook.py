"""A picture of the first training batch, as the model gets it."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils.hooks import RemovableHandle

from mmseg_ext.utils.images import write_png
from mmseg_ext.utils.text import printable
from mmseg_ext.visualization.first_batch import (
    BatchImage,
    Instance,
    draw_instances,
    draw_labels,
)
from mmseg_ext.visualization.panel import class_map, read_style

__all__ = ['FirstBatchHook']

#: The file in the run's log folder.
_NAME = 'first_batch.png'


@HOOKS.register_module()
class FirstBatchHook(Hook):
    """Hook that draws the first training batch, once a run.

    The file is ``first_batch.png`` in the runner's log folder, there before
    the first loss is computed. It shows the images as the data preprocessor
    hands them to the model, with all augmentations and its padding; only mean,
    standard deviation and the order of channels are undone. Over them are
    their labels: for MMSeg the classes, with squares of two grays where a
    pixel is ignored; for MMDet boxes, masks and names. A legend counts the
    classes. White lines separate an image from its padding.

    Nothing of the batch changes, no random number is drawn, and later
    iterations are as before. With several processes the first one draws its
    own batch. What cannot be drawn or written is a warning, and the run goes
    on.

    Args:
        max_images: At most so many images of the batch; 0 turns the hook off.

    Raises:
        ValueError: ``max_images`` is not an integer of 0 or above.
    """

    def __init__(self, max_images: int = 16) -> None:
        if type(max_images) is not int or max_images < 0:
            raise ValueError(
                'max_images must be a number of images, an integer of 0 or '
                f'above, got {max_images!r}'
            )
        self.max_images = max_images
        self._due = False
        self._handle: RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Wait for the first iteration, whichever that is."""
        self._due = self.max_images > 0 and is_main_process()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Have the batch drawn when it comes out of the preprocessor."""
        if not self._due:
            return
        self._due = False
        model: Any = runner.model
        while is_model_wrapper(model):
            model = model.module
        preprocessor = getattr(model, 'data_preprocessor', None)
        if isinstance(preprocessor, nn.Module):
            draw = functools.partial(self._draw, runner)
            self._handle = preprocessor.register_forward_hook(draw)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Do no more, even if nothing was drawn."""
        self._stop()

    def _stop(self) -> None:
        """Look at no other batch."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _draw(
        self, runner: Runner, preprocessor: nn.Module, _: Any, batch: Any
    ) -> None:
        """Draw what came out of the preprocessor, and write the picture."""
        self._stop()
        path = Path(runner.log_dir, _NAME)
        try:
            sheet = _draw_batch(runner, preprocessor, batch, self.max_images)
            write_png(path, sheet[..., ::-1])
        except Exception as error:  # the run matters more
            fault = ' '.join(str(error).split())
            text = (
                'FirstBatchHook: the first batch could not be drawn: '
                f'{type(error).__name__}: {fault:.300}. The run goes on; '
                'max_images=0 turns the hook off.'
            )
            runner.logger.warning(printable(text))
        else:
            runner.logger.info(f'the first batch is drawn in {path}')


def _draw_batch(
    runner: Runner, preprocessor: nn.Module, batch: Any, most: int
) -> np.ndarray:
    """Return a picture of a batch, uint8 RGB."""
    inputs = _flat(batch['inputs'])
    samples = _flat(batch['data_samples'])
    images = []
    for tensor, sample in list(zip(inputs, samples, strict=True))[:most]:
        pixels = _restore(tensor, preprocessor)
        height, width = pixels.shape[:2]
        size = sample.metainfo.get('img_shape', (height, width))
        name = Path(sample.metainfo.get('img_path') or '').name
        images.append(BatchImage(name, pixels, (size[0], size[1])))
    shown = samples[: len(images)]
    titles = [
        f'first training batch, iteration {runner.iter + 1}: '
        f'{len(images)} of {len(samples)} images of {width}x{height}',
        'after augmentation, as the model gets them, in the colors of files',
    ]
    dataset = runner.train_dataloader.dataset
    if any('gt_instances' in sample for sample in shown):
        metainfo = getattr(dataset, 'metainfo', {})
        names = metainfo.get('classes') or ()
        names = (names,) if isinstance(names, str) else names
        found = [list(_instances(sample)) for sample in shown]
        palette = metainfo.get('palette')
        return draw_instances(titles, images, found, names, palette)
    style = read_style(dataset)
    labels = [
        class_map(sample.gt_sem_seg.data, len(style.names))
        if 'gt_sem_seg' in sample
        else None
        for sample in shown
    ]
    return draw_labels(titles, images, labels, style)


def _flat(items: Any) -> Sequence[Any]:
    """Return the items of a batch; those of all branches, if it has some."""
    if isinstance(items, dict):
        return [item for branch in items.values() for item in branch]
    return items


def _restore(inputs: torch.Tensor, preprocessor: Any) -> np.ndarray:
    """Return the image of an input (C, H, W), uint8 RGB, (H, W, 3)."""
    # MMDet's for several branches has one for each of them within itself.
    preprocessor = getattr(preprocessor, 'data_preprocessor', preprocessor)
    values = inputs.detach().float().cpu()
    if len(values) not in (1, 3):
        raise ValueError(
            f'an input of {len(values)} channels; expected 1 or 3 for a '
            'picture'
        )
    if getattr(preprocessor, '_enable_normalize', False):
        std, mean = preprocessor.std.cpu(), preprocessor.mean.cpu()
        values = values * std + mean
    pixels = values.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    # MMSeg's and MMEngine's names for it. Images are loaded as BGR.
    turned = any(
        getattr(preprocessor, name, False)
        for name in ('channel_conversion', '_channel_conversion')
    )
    return np.ascontiguousarray(pixels if turned else pixels[..., ::-1])


def _instances(sample: Any) -> Iterator[Instance]:
    """Yield the instances of a sample, those to be ignored at the end."""
    for key in ('gt_instances', 'ignored_instances'):
        if key not in sample:
            continue
        found = getattr(sample, key)
        boxes = found.get('bboxes')
        boxes = getattr(boxes, 'tensor', boxes)
        masks = found.get('masks')
        if masks is not None:
            masks = masks.to_ndarray()
        plain = boxes is not None and boxes.shape[-1] == 4
        for number in range(len(found)):
            yield Instance(
                int(found.labels[number]) if key == 'gt_instances' else None,
                boxes[number].tolist() if plain else None,
                None if masks is None else masks[number],
            )
