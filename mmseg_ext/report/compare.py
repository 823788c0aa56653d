"""Whether one run is better than another on the same images."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmseg_ext.formats.run_records import Meta, read_meta
from mmseg_ext.report.bootstrap import FEWEST, RESAMPLES
from mmseg_ext.report.compare_instances import compare_instances
from mmseg_ext.report.compare_semantic import compare_semantic
from mmseg_ext.report.comparison import Comparison, Draws, differ
from mmseg_ext.report.scores import included_classes

__all__ = ['compare']

#: What has to be the same in two runs, and what it is.
_SAME = {
    'classes': 'the number of classes',
    'ignore_index': 'the label that is ignored',
    'boundary_share': 'the width of boundaries',
    'images': 'the number of images',
}


def compare(
    run_a: str | os.PathLike[str],
    run_b: str | os.PathLike[str],
    cluster: str | None = None,
    bootstrap: int = RESAMPLES,
    seed: int = 0,
    exclude: Sequence[str] = (),
) -> Comparison:
    """Compare two runs.

    Args:
        run_a: Run directory of A.
        run_b: That of B, on the same images.
        cluster: How names tell sequences; see :func:`find_sequences`.
        bootstrap: How many resamples are drawn, 100 or more.
        seed: Of the draws, 0 or more.
        exclude: Classes that the means leave out.

    Raises:
        ValueError: The runs are not of the same images, labels or classes, a
            directory is none or broken, or an argument does not fit.
        OSError: A file cannot be read.
    """
    for name, value, least in (
        ('bootstrap', bootstrap, FEWEST),
        ('seed', seed, 0),
    ):
        if value < least:
            raise ValueError(f'{name}={value}: expected {least} or more')
    folders = Path(run_a), Path(run_b)
    metas = read_meta(folders[0]), read_meta(folders[1])
    _check_metas(folders, metas)
    included = included_classes(metas[0].classes, exclude)
    draws = Draws(cluster, bootstrap, seed)
    ways = {'semantic': compare_semantic, 'instance': compare_instances}
    return ways[metas[0].task](folders, metas, included, draws)


def _check_metas(folders: tuple[Path, Path], metas: tuple[Meta, Meta]) -> None:
    """Refuse runs that cannot be compared, as far as their metas tell."""
    one, other = metas
    if one.task != other.task:
        raise differ(folders, 'the task', (one.task, other.task))
    for index, (first, second) in enumerate(
        zip(one.classes, other.classes, strict=False)
    ):
        if first != second:
            raise differ(folders, f'class {index}', (first, second))
    for name, what in _SAME.items():
        values = getattr(one, name), getattr(other, name)
        if name == 'classes':
            values = len(values[0]), len(values[1])
        if values[0] != values[1]:
            raise differ(folders, what, values)
    if not one.images:
        raise ValueError(f'{folders[0]} has no images, so nothing to compare')
