"""What ``tools/report.py`` does: a test if need be, and the page of it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.registry import HOOKS

from mmseg_ext.formats.run_records import read_meta
from mmseg_ext.launch.configs import check_output
from mmseg_ext.launch.runs import LaunchError, run_test
from mmseg_ext.report import instances, semantic
from mmseg_ext.report.frame import IMAGES
from mmseg_ext.report.sequences import find_sequences
from mmseg_ext.utils.arguments import require
from mmseg_ext.visualization.logs import read_work_dir

__all__ = ['Written', 'write_report']

#: What makes the page of a run, by its task.
_PAGES = {
    'semantic': semantic.write_page,
    'instance': instances.write_page,
}


class Written(NamedTuple):
    """Result of :func:`write_report`.

    Attributes:
        folder: The run directory that the page is of.
        images: How many there are in it.
        notes: What the page goes without, a sentence each.
    """

    folder: Path
    images: int
    notes: list[str]


def write_report(
    out: str | os.PathLike[str],
    config: str | None = None,
    checkpoint: str | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    images: int = IMAGES,
    probs: bool = False,
    cluster: str | None = None,
    curves: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Written:
    """Write the page of a run directory, or of a test that is done for it.

    Args:
        out: The file to write.
        config: Path or name of a config to test with; None for ``run_dir``.
        checkpoint: Path of the checkpoint to test.
        run_dir: A run directory that is there already.
        images: So many of the worst images are shown.
        probs: Whether the test also counts confidence.
        cluster: How names of images tell sequences; see
            :func:`~mmseg_ext.report.sequences.find_sequences`.
        curves: Work dir of the training, whose curves are shown; by default
            that of the run or of its checkpoint, if it has any.
        **options: Of the test, see :func:`~mmseg_ext.launch.runs.run_test`.

    Raises:
        ValueError: An argument or file does not fit.
        OSError: A file cannot be read or written.
    """
    require('images', images, images >= 0, '0 or more')
    check_output('out', os.fspath(out), folder=False)
    # A test may take an hour: what can be checked is checked before.
    find_sequences([], pattern=cluster)
    if curves:
        read_work_dir(curves)
    tested = run_dir is None
    if run_dir is None:
        run_dir = _test(config, checkpoint, probs, options)
    elif config or checkpoint or probs:
        raise ValueError(
            f'run_dir={os.fspath(run_dir)!r} is a test that was done; '
            'expected no config, checkpoint or probs beside it'
        )
    meta = read_meta(run_dir)
    if not meta.images:
        raise ValueError(f'{os.fspath(run_dir)}: it has no images to report')
    try:
        notes = _PAGES[meta.task](run_dir, out, images, cluster, curves)
    except (OSError, ValueError) as error:
        if not tested:
            raise
        raise ValueError(
            f'{error}; the test is done, and taken up by '
            f'run_dir={os.fspath(run_dir)!r}'
        ) from error
    return Written(Path(run_dir), meta.images, notes)


def _test(
    config: str | None,
    checkpoint: str | None,
    probs: bool,
    options: dict[str, Any],
) -> Path:
    """Test a checkpoint and return the run directory."""
    if not config or not checkpoint:
        raise ValueError(
            f'config={config!r}, checkpoint={checkpoint!r}: expected both, or '
            'run_dir for a test that was done'
        )
    record: Any = HOOKS.build(
        {'type': 'EvaluationRecord', 'probs': probs, 'strict': True}
    )
    try:
        run_test(config, checkpoint, record=record, **options)
    except LaunchError as error:
        raise ValueError(str(error)) from error
    if record.folder is None:
        raise ValueError(
            f'{config}: its test_evaluator has a metric EvaluationRecord of '
            'its own; take it out, or report from its out_dir, as run_dir'
        )
    return Path(record.folder)
