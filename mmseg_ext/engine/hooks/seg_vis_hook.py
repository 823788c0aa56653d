"""Pictures of image, label and prediction during validation and test."""

import logging
import re
import shutil
from collections import Counter
from collections.abc import Sequence, Sized
from pathlib import Path

import cv2
import numpy as np
from mmengine import fileio
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from mmseg_ext.utils.images import decode_image, write_png
from mmseg_ext.utils.text import printable
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

#: Modes of OpenCV: turned as EXIF says, and as it is stored.
_TURNED = cv2.IMREAD_COLOR
_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

#: With these a loader turns an image as EXIF says.
_TURNING_TYPES = ('color', 'grayscale')
_TURNING_BACKENDS = ('cv2', 'pillow')

#: What to do about a picture that could not be read and so on.
_MENDS = {
    'read': 'It is left out. The hook reads what OpenCV reads as a color '
    'image: look at the file, or turn the hook off with vis_num=0',
    'drawn': 'It is left out. The hook needs label and prediction as class '
    'indices at the size of the original image, so load labels after Resize '
    'in the pipeline, or turn the hook off with vis_num=0',
    'written': 'It is left out. Look at the room and the rights of the disk',
    'sent to the visualizer': 'Its files are written. Look at vis_backends '
    'of the visualizer',
}


@HOOKS.register_module()
class SegVisHook(Hook):
    """Hook that writes image, label and prediction of the first batches.

    Each sample gets a folder of its own below the runner's log folder::

        seg_vis/val_iter_000500/00003_<name of the image>/
            image.png       the image as it was before resizing and cropping
            label.png       only where the data set gives labels
            prediction.png
            panel.png       all of them, with an overlay, errors and a legend

    The panel has a title with the image's name, the iteration where there is
    one and, with a label, the mean IoU of this image over the classes that
    occur in its label or prediction. Beside image, label and prediction it
    shows the prediction laid over the image and a map of the errors: a quiet
    image where the prediction is right, red where it is wrong. In a panel,
    pixels of no class show squares of two grays, which no class does.

    The leading number is the position of the sample in the data set for
    MMSeg's usual samplers, over all processes. A test writes to
    ``seg_vis/test``. Where an iteration is validated again, ``_2`` and so on
    is added.

    ``label.png`` and ``prediction.png`` are indexed PNG files: a viewer, or
    OpenCV, shows the colors of the data set's palette, and Pillow reads the
    class indices, with 255 for pixels of no class. In these files such pixels
    are black, or white or a gray where a class is black.

    The panel also goes to the backends of the runner's visualizer, such as
    TensorBoard, under a name that stays the same from one validation to the
    next. With several processes only the first one sends its panels there.

    Nothing happens in training, nor after the first batches. Works with every
    model that predicts ``pred_sem_seg`` at the size of the original image, as
    all of MMSeg do.

    A picture that cannot be read, drawn or written does not end the run: its
    folder is left out whole, the others are written, and the first fault of
    each of these kinds is a warning in the log that names the picture. The
    same holds where the visualizer fails; then the files are there. A data
    set without a palette is an error before anything is trained or tested.

    An image that EXIF turns is shown as ``LoadImageFromFile`` read it: by its
    ``color_type`` and ``imdecode_backend`` and, where they do not tell, by
    the size of the prediction.

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
        self._warned: set[str] = set()

    def before_run(self, runner: Runner) -> None:
        """Fix the folder that everything goes to."""
        self._root = Path(runner.log_dir, 'seg_vis')

    def before_train(self, runner: Runner) -> None:
        """Note that there are iterations to count, and check the classes.

        Before the first validation much may have been trained.
        """
        self._trains = True
        if runner.val_loop is not None:
            self.check_classes(runner.val_dataloader.dataset)

    def check_classes(self, dataset: object) -> None:
        """Check that the classes of a data set can be drawn.

        Args:
            dataset: Its ``metainfo`` holds ``classes`` and ``palette``.

        Raises:
            ValueError: They do not match, or are too many.
        """
        if self.vis_num:
            read_style(dataset)

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
        self._turned = _loader_turns(dataset)
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
            self._show(runner, sample, number)

    def _show(
        self, runner: Runner, sample: SegDataSample, number: int
    ) -> None:
        """Write a sample and send its panel; warn where that fails."""
        step = 'drawn'
        try:
            maps = self._class_maps(sample)
            step = 'read'
            path = _image_path(sample)
            image = self._read_image(path, maps['prediction'].shape)
            step = 'drawn'
            _check_sizes(image, maps)
            note = f'iteration {runner.iter}' if self._trains else ''
            panel = draw_panel(Path(path).name, image, maps, self._style, note)
            name = _folder_name(path, number)
            step = 'written'
            self._write_folder(self._folder / name, image, maps, panel)
            step = 'sent to the visualizer'
            runner.visualizer.add_image(
                f'seg_vis_{self._mode}_{name}',
                panel,
                step=self._iteration(runner),
            )
        except Exception as error:  # a run of days matters more
            self._warn(step, sample, error)

    def _warn(
        self, step: str, sample: SegDataSample, error: Exception
    ) -> None:
        """Say once a run what could not be read, drawn and so on."""
        if step in self._warned:
            return
        self._warned.add(step)
        fault = ' '.join(str(error).split())  # OpenCV's has several lines
        name = sample.metainfo.get('img_path') or 'a sample without img_path'
        text = (
            f'SegVisHook: {name} could not be '
            f'{step}: {type(error).__name__}: {fault}. {_MENDS[step]}. The '
            'run goes on, and names no others of this kind.'
        )
        # mmengine hides warnings of the other processes.
        level = logging.ERROR if get_rank() else logging.WARNING
        print_log(printable(text), logger='current', level=level)

    def _class_maps(self, sample: SegDataSample) -> dict[str, np.ndarray]:
        """Return the label, where there is one, and the prediction."""
        count = len(self._style.names)
        maps = {}
        if 'gt_sem_seg' in sample:
            maps['label'] = class_map(sample.gt_sem_seg.data, count)
        maps['prediction'] = class_map(sample.pred_sem_seg.data, count)
        return maps

    def _write_folder(
        self,
        folder: Path,
        image: np.ndarray,
        maps: dict[str, np.ndarray],
        panel: np.ndarray,
    ) -> None:
        """Write the files of one sample, all or none."""
        try:
            write_png(folder / 'image.png', image[..., ::-1])
            for key, indices in maps.items():
                write_indexed_png(folder / f'{key}.png', indices, self._style)
            write_png(folder / 'panel.png', panel[..., ::-1])
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _read_image(self, path: str, size: tuple[int, ...]) -> np.ndarray:
        """Read the original image, RGB, turned or not as the loader did.

        Args:
            path: The image.
            size: Height and width of its prediction.
        """
        data = fileio.get(path, self.backend_args)
        modes = (_TURNED, _STORED) if self._turned else (_STORED, _TURNED)
        image = decode_image(data, path, modes[0])
        if image.shape[:2] != size:
            other = decode_image(data, path, modes[1])
            image = other if other.shape[:2] == size else image
        return np.ascontiguousarray(image[..., ::-1])


def _image_path(sample: SegDataSample) -> str:
    """Return the file of the image."""
    path = sample.metainfo.get('img_path')
    if path is None:
        raise ValueError(
            'SegVisHook reads the image from img_path, which the sample '
            "lacks: add it to PackSegInputs' meta_keys"
        )
    return path


def _check_sizes(image: np.ndarray, maps: dict[str, np.ndarray]) -> None:
    """Refuse maps of another size than the image."""
    for key, indices in maps.items():
        if indices.shape != image.shape[:2]:
            raise ValueError(
                f'the {key} is {_size(indices)} and the image {_size(image)}'
            )


def _folder_name(path: str, number: int) -> str:
    """Return the name of a sample's folder."""
    stem = re.sub(r'[^\w.-]', '_', Path(path).stem).encode()
    # Half of a letter at its end is left out.
    return f'{number:05d}_{stem[:_STEM].decode(errors="ignore")}'


def _loader_turns(dataset: object) -> bool:
    """Return whether the pipeline's loader turns images as EXIF says."""
    pipeline = getattr(dataset, 'pipeline', None)
    for transform in getattr(pipeline, 'transforms', ()):
        if hasattr(transform, 'color_type'):
            backend = getattr(transform, 'imdecode_backend', None) or 'cv2'
            return (
                transform.color_type in _TURNING_TYPES
                and backend in _TURNING_BACKENDS
            )
    return True


def _size(array: np.ndarray) -> str:
    """Return width and height in words."""
    return f'{array.shape[1]}x{array.shape[0]}'
