"""What a data set of a config reads: in place where it can, else drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmseg_ext.planning.splits import Splits
from mmseg_ext.planning.survey import Survey

__all__ = ['Prepared', 'prepare']


@dataclass(frozen=True)
class Prepared:
    """What a config says of its data.

    Paths are relative to ``data_root``, or begin with the folder of the files
    that were written, as :func:`prepare` was given it.

    Attributes:
        dataset: Arguments of the data set that all splits have: ``type``,
            ``metainfo`` with ``classes`` and ``palette``, suffixes, but
            neither ``data_root`` nor a pipeline.
        splits: Further arguments by ``'train'``, ``'val'`` and, where there is
            one, ``'test'``: ``data_prefix`` and, where a folder has images of
            other splits, ``ann_file``.
        loader: Type of the step that loads the labels: ``'LoadAnnotations'``
            or ``'LoadColorMasks'``.
        written: How many files were drawn or written.
        kept: How many were there from a run that was stopped.
        objects: For instances, those of each class in the training split, and
            the square roots of their areas, as ``{name: [side, ...]}``; at
            most 10,000 a class. None for label maps.
        counts: For instances, the number of those of each class in the
            training split, all of them. None for label maps.
        most: The most instances in an image of the training split.
    """

    dataset: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]
    loader: str
    written: int = 0
    kept: int = 0
    objects: Mapping[str, list[float]] | None = None
    counts: Mapping[str, int] | None = None
    most: int = 0


def prepare(
    found: Survey,
    splits: Splits,
    task: str,
    out_dir: Path,
    in_config: str,
    nproc: int = 1,
    progress: bool = True,
) -> Prepared:
    """Write what the data set of a config reads beside the user's files.

    These stay as they are. Semantic: lists of images, unless the folders are
    those of the splits; and label maps, ``labels/<picture>.png``, where the
    files of the export are no masks that a data set reads. Instance:
    ``annotations/<split>.json``, COCO files with the names of the pictures,
    also where the export is one, since its ids, paths and classes are checked
    and completed. A run that was stopped goes on where it was.

    Args:
        found: The survey.
        splits: The split of each picture.
        task: ``'semantic'`` or ``'instance'``.
        out_dir: Where to write.
        in_config: How the config names this folder, such as
            ``'{{ fileDirname }}/mine'``.
        nproc: Number of processes.
        progress: Show a progress bar.

    Raises:
        InvalidExportError: A file of the export is not right.
        OSError: A file cannot be written.
        ValueError: There are no objects, or no split has some.
    """
    raise NotImplementedError
