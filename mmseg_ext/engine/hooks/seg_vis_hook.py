"""Pictures of image, label and prediction during validation and test."""

import re
from collections import Counter
from collections.abc import Sequence, Sized
from pathlib import Path

import numpy as np
from mmengine import fileio
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from mmseg_ext.utils.images import decode_image, write_png
from mmseg_ext.visualization.panel import (
    class_map,
    draw_panel,
    read_style,
    write_indexed_png,
)

__all__ = ['SegVisHook']

#: Bytes of an image's name that stand in those of folders and panels: file
#: systems take 255, and mode, number and iteration stand there as well.
_STEM = 200


@HOOKS.register_module()
class SegVisHook(Hook):
    """Hook that writes image, label and prediction of the first batches.

    Each sample gets a folder of its own below the runner's log folder::

        seg_vis/val_iter_000500/00003_<name of the image>/
            image.png       the image as it was before resizing and cropping
            label.png       only where the data set gives labels
            prediction.png
            panel.png       all of them side by side, with a legend

    The leading number is the position of the sample in the data set for
    MMSeg's usual samplers, over all processes. A test writes to
    ``seg_vis/test``. Where an iteration is validated again, ``_2`` and so on
    is added.

    ``label.png`` and ``prediction.png`` are indexed PNG files: a viewer, or
    OpenCV, shows the colors of the data set's palette, and Pillow reads the
    class indices, with 255 for pixels of no class. In pictures those pixels
    are black, or white or a gray where a class is black.

    The panel also goes to the backends of the runner's visualizer, such as
    TensorBoard, under a name that stays the same from one validation to the
    next. With several processes only the first one sends its panels there.

    Nothing happens in training, nor after the first batches. Works with every
    model that predicts ``pred_sem_seg`` at the size of the original image, as
    all of MMSeg do.

    Args:
        vis_num: Number of batches to write at each validation or test, 0 or
            above.
        backend_args: How mmengine reads images that are not local files.

    Raises:
        ValueError: ``vis_num`` is not an integer of 0 or above.
    """

    def __init__(
        self, vis_num: int = 1, backend_args: dict | None = None
    ) -> None:
        if type(vis_num) is not int or vis_num < 0:
            raise ValueError(
                'vis_num must be a number of batches, an integer of 0 or '
                f'above, got {vis_num!r}'
            )
        self.vis_num = vis_num
        self.backend_args = backend_args
        self._stages: Counter[str] = Counter()
        self._trains = False

    def before_run(self, runner: Runner) -> None:
        """Fix the folder that everything goes to."""
        self._root = Path(runner.log_dir, 'seg_vis')

    def before_train(self, runner: Runner) -> None:
        """Note that there are iterations to count."""
        self._trains = True

    def _iteration(self, runner: Runner) -> int:
        """Return the number of training iterations so far.

        Where nothing is trained, ``runner.iter`` would build the training
        data set, which need not be there.
        """
        return runner.iter if self._trains else 0

    def before_val(self, runner: Runner) -> None:
        """Choose the folder of this validation."""
        iteration = self._iteration(runner)
        self._begin(
            'val', f'val_iter_{iteration:06d}', runner.val_dataloader.dataset
        )

    def before_test(self, runner: Runner) -> None:
        """Choose the folder of this test."""
        self._begin('test', 'test', runner.test_dataloader.dataset)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] = (),
        mode: str = 'train',
    ) -> None:
        """Write the samples of a batch, if it is one of the first.

        mmengine calls it after each iteration of every mode.
        """
        if mode != 'train' and batch_idx < self.vis_num:
            self._write_batch(runner, outputs)

    def _begin(self, mode: str, stage: str, dataset: Sized) -> None:
        """Start a validation or test.

        Args:
            mode: ``'val'`` or ``'test'``.
            stage: Name of its folder.
            dataset: Its data set, for classes, palette and length.
        """
        if self.vis_num == 0:
            return
        self._stages[stage] += 1
        if self._stages[stage] > 1:
            stage = f'{stage}_{self._stages[stage]}'
        self._mode = mode
        self._folder = self._root / stage
        self._style = read_style(dataset)
        self._length = len(dataset)
        self._seen = 0

    def _write_batch(
        self, runner: Runner, outputs: Sequence[SegDataSample]
    ) -> None:
        """Write the samples of a batch and send their panels."""
        for sample in outputs:
            number = self._seen * get_world_size() + get_rank()
            self._seen += 1
            # Samplers repeat some, so that all processes have as many.
            if number >= self._length:
                continue
            path = sample.metainfo.get('img_path')
            if path is None:
                raise ValueError(
                    'SegVisHook reads the image from img_path, which the '
                    "sample lacks: add it to PackSegInputs' meta_keys"
                )
            stem = re.sub(r'[^\w.-]', '_', Path(path).stem).encode()
            # Half of a letter at its end is left out.
            name = f'{number:05d}_{stem[:_STEM].decode(errors="ignore")}'
            panel = self._write_sample(sample, path, self._folder / name)
            runner.visualizer.add_image(
                f'seg_vis_{self._mode}_{name}',
                panel,
                step=self._iteration(runner),
            )

    def _write_sample(
        self, sample: SegDataSample, path: str, folder: Path
    ) -> np.ndarray:
        """Write the files of one sample and return its panel, RGB."""
        image = self._read_image(path)
        count = len(self._style.names)
        maps = {}
        if 'gt_sem_seg' in sample:
            maps['label'] = class_map(sample.gt_sem_seg.data, count)
        maps['prediction'] = class_map(sample.pred_sem_seg.data, count)
        for key, indices in maps.items():
            if indices.shape != image.shape[:2]:
                raise ValueError(
                    f'{path}: the {key} is {_size(indices)} and the image '
                    f'{_size(image)}; SegVisHook needs both at the original '
                    'size, so load labels after Resize in the pipeline'
                )
        panel = draw_panel(Path(path).name, image, maps, self._style)
        write_png(folder / 'image.png', image[..., ::-1])
        for key, indices in maps.items():
            write_indexed_png(folder / f'{key}.png', indices, self._style)
        write_png(folder / 'panel.png', panel[..., ::-1])
        return panel

    def _read_image(self, path: str) -> np.ndarray:
        """Read the original image, RGB."""
        data = fileio.get(path, self.backend_args)
        image = decode_image(data, path)
        return np.ascontiguousarray(image[..., ::-1])


def _size(array: np.ndarray) -> str:
    """Return width and height in words."""
    return f'{array.shape[1]}x{array.shape[0]}'
