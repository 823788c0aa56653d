"""What records of segmentors and of detectors have in common."""

import colorsys
import logging
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmseg_ext.evaluation.samples import class_names
from mmseg_ext.formats.run_records import META, Meta, write_meta
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.text import printable

__all__ = ['RunRecord', 'image_names']

Kept = TypeVar('Kept')

#: Every so many rows and columns of an image count for its brightness.
_STEP = 4


class RunRecord(BaseMetric):
    """A metric without scores, that leaves a run directory behind.

    Its form is that of :mod:`mmseg_ext.formats.run_records`. In distributed
    evaluation each process counts its images and the first one writes.

    Args:
        out_dir: The run directory; what an evaluation before left there is
            replaced.
        data_root: Folder of the data set: images in it are named relative to
            it. By default, and where images lie elsewhere, their common
            folder takes its place.
        strict: Whether what cannot be recorded is an error. By default it is,
            else it is a warning in the log, and the run goes on.

    Attributes:
        out_dir: The run directory.

    Raises:
        ValueError: An argument is of another type.
    """

    # Not None, which mmengine takes for forgotten and warns of.
    default_prefix = ''

    #: Of :class:`Meta`.
    task = ''

    def __init__(
        self,
        out_dir: str | os.PathLike[str],
        data_root: str = '',
        strict: bool = True,
    ) -> None:
        super().__init__()
        require(
            'out_dir',
            out_dir,
            bool(out_dir) and isinstance(out_dir, str | os.PathLike),
            'a folder',
        )
        require('data_root', data_root, isinstance(data_root, str), 'a folder')
        require('strict', strict, isinstance(strict, bool), 'True or False')
        self.out_dir = Path(os.path.abspath(os.path.expanduser(out_dir)))
        self.strict = strict
        self._known: dict[str, Any] = {'data_root': data_root}
        self._failed = False

    def begin_record(
        self, out_dir: str | os.PathLike[str] | None = None, **known: Any
    ) -> None:
        """Say where the next evaluation goes, and whose it is.

        Args:
            out_dir: The run directory; by default it stays.
            **known: Fields of :class:`Meta`, such as ``split``.
        """
        if out_dir is not None:
            self.out_dir = Path(os.path.abspath(out_dir))
        self._known.update(known)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the images of a batch.

        Args:
            data_batch: Its ``inputs`` tell how bright the images are.
            data_samples: One dict for each image.

        Raises:
            ValueError: With ``strict``, a sample is not what is expected.
            OSError: With ``strict``, a file cannot be written.
        """
        for place, sample in enumerate(data_samples):
            # Samplers hand sample k to process k mod world size.
            index = len(self.results) * get_world_size() + get_rank()
            first = not self.results
            self.results.append(
                self._tried(self._process, data_batch, place, sample, index)
                if not first or self._tried(self._clear, default=False)
                else None
            )

    def _clear(self) -> bool:
        """Take away what makes the directory look finished."""
        if is_main_process():
            (self.out_dir / META).unlink(missing_ok=True)
        return True

    def _process(
        self, data_batch: Any, place: int, sample: dict, index: int
    ) -> Any:
        if not isinstance(sample.get('img_path'), str):
            raise ValueError(
                'a sample has no img_path, by which its image is found; add '
                'it to the meta_keys of the transform that packs the inputs'
            )
        return self._count(sample, index, _brightness(data_batch, place))

    @abstractmethod
    def _count(self, sample: dict, index: int, brightness: float) -> Any:
        """Return what is kept of an image, no named tuple.

        Args:
            sample: Its label and prediction.
            index: Its place in the order of the data set; beyond the end for
                images that a sampler repeats.
            brightness: 0 to 255, or NaN.
        """

    @abstractmethod
    def _write(self, results: list[Any]) -> dict[str, Any]:
        """Write all files but ``meta.json``.

        Args:
            results: What is kept of each image, in the order of the data set.

        Returns:
            Further fields of :class:`Meta`.
        """

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect what the processes counted, and write it.

        Args:
            size: Number of samples in the data set.

        Returns:
            Nothing: there are no scores.
        """
        try:
            if not self.results and get_world_size() == 1:
                self._tried(self._clear)
                self._tried(self._refuse_nothing)
                return {}
            return super().evaluate(size)
        finally:
            self.results.clear()
            self._failed = False

    def _refuse_nothing(self) -> None:
        raise ValueError('no image was processed; is the data set empty?')

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Write the directory; there are no scores.

        Args:
            results: What is kept of each image, None where that failed.
        """
        if all(result is not None for result in results):
            self._tried(self._finish, results)
        return {}

    def _finish(self, results: list[Any]) -> None:
        """Write all files."""
        names = self._classes()
        palette = _palette(len(names), self.dataset_meta)
        colors = dict(zip(names, palette, strict=True))
        known = {**self._known, **self._write(results)}
        ordered = tuple(known.pop('classes', names))
        meta = Meta(
            task=self.task,
            classes=ordered,
            palette=tuple(colors[name] for name in ordered),
            images=len(results),
            **known,
        )
        write_meta(self.out_dir, meta)
        print_log(f'the record of this run is in {self.out_dir}', 'current')

    def _classes(self) -> list[str]:
        """Return the names of the classes."""
        return class_names(type(self).__name__, self.dataset_meta)

    def _tried(
        self,
        step: Callable[..., Kept],
        *args: Any,
        default: Kept | None = None,
    ) -> Kept | None:
        """Return what a step does; where it fails, warn once or raise."""
        if self._failed:
            return default
        try:
            return step(*args)
        except Exception as error:  # a run of days matters more
            if self.strict:
                raise
            self._failed = True
            fault = ' '.join(str(error).split())
            text = (
                f'EvaluationRecord: {self.out_dir} stays unfinished: '
                f'{type(error).__name__}: {fault}. The run goes on.'
            )
            # mmengine hides warnings of the other processes.
            level = logging.ERROR if get_rank() else logging.WARNING
            print_log(printable(text), 'current', level)
            return default


def image_names(
    paths: Sequence[str], data_root: str = ''
) -> tuple[str, list[str], list[str]]:
    """Name images by their place in a data set.

    Args:
        paths: Their paths, or addresses with ``://``.
        data_root: A folder; may be empty.

    Returns:
        The data root, or the common folder of the images where one is not in
        it, or nothing where they have none; the paths from the root of the
        file system on; and a name for each image, relative to the data root
        with ``/``. No two are alike.
    """
    files = [
        path if '://' in path else os.path.abspath(path) for path in paths
    ]
    root = os.path.abspath(os.path.expanduser(data_root)) if data_root else ''
    if not root or not all(Path(file).is_relative_to(root) for file in files):
        root = _common_folder(files)
    names = [
        Path(os.path.relpath(file, root)).as_posix() if root else file
        for file in files
    ]
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:  # a data set may repeat its images
            names[place] = f'{name} ({seen[name]})'
    return root, files, names


def _common_folder(files: Sequence[str]) -> str:
    """Return the folder that all files lie in; nothing for addresses."""
    if any('://' in file for file in files):
        return ''
    return os.path.commonpath([os.path.dirname(file) for file in files])


def _brightness(data_batch: Any, place: int) -> float:
    """Return the mean value of an image, 0 to 255; NaN if it is not known.

    Args:
        data_batch: With ``inputs``, uint8 (3, H, W) for each image.
        place: Which of them.
    """
    try:
        image = data_batch['inputs'][place]
    except (KeyError, IndexError, TypeError):
        return float('nan')
    if not isinstance(image, torch.Tensor) or (
        image.dtype != torch.uint8 or image.ndim != 3 or not image.numel()
    ):
        return float('nan')
    return float(image[:, ::_STEP, ::_STEP].float().mean())


def _palette(
    count: int, dataset_meta: dict[str, Any] | None
) -> tuple[tuple[int, int, int], ...]:
    """Return a color for each class: the data set's, or one of its own.

    Args:
        count: Number of classes.
        dataset_meta: Its ``palette`` may be missing, too short or a word.
    """
    given = (dataset_meta or {}).get('palette')
    colors = list(given) if isinstance(given, list | tuple) else []
    for index in range(len(colors), count):
        shade = colorsys.hsv_to_rgb(index / count, 0.7, 0.9)
        colors.append([round(255 * part) for part in shade])
    return tuple((int(r), int(g), int(b)) for r, g, b in colors[:count])
