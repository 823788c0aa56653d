"""A whole visit: look, and write down what was found."""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmseg_ext.doctor.examine import Diagnosis, examine
from mmseg_ext.doctor.page import write_page
from mmseg_ext.doctor.result_file import write_result
from mmseg_ext.doctor.suggest import (
    Suggestion,
    check_suggest,
    write_suggestion,
)
from mmseg_ext.launch.configs import check_output, load_config
from mmseg_ext.launch.data_sets import SPLITS

__all__ = ['CACHE', 'PAGE', 'RESULT', 'Visit', 'visit']

#: Names of the files in the folder of a visit.
RESULT, PAGE, CACHE = 'doctor.json', 'report.html', 'cache.msgpack'

#: The folder in the work dir of a config.
_FOLDER = 'doctor'


class Visit(NamedTuple):
    """What a visit brought.

    Attributes:
        diagnosis: What was found.
        out: The folder with the files, as it was given.
        seconds: How long it took to look.
        suggestion: The child config; None if none was asked for.
    """

    diagnosis: Diagnosis
    out: Path
    seconds: float
    suggestion: Suggestion | None = None


def visit(
    config: str,
    cfg_options: dict[str, Any] | None = None,
    split: Sequence[str] | None = None,
    nproc: int = 1,
    sample: int | None = None,
    out: Path | None = None,
    ignore: Collection[str] | None = None,
    suggest: Path | None = None,
    on_note: Callable[[str], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    progress: bool = True,
) -> Visit:
    """Let the doctor look at a config and its data, and write all down.

    Args:
        config: Path or name of a config of MMSeg or MMDet.
        cfg_options: Entries to change in it.
        split: Those to look at; None for all.
        nproc: Number of processes that read files.
        sample: At most so many images of each data set are read; None for
            all.
        out: Folder for ``doctor.json``, ``report.html`` and the cache; None
            for ``doctor`` in the config's work dir.
        ignore: Codes whose findings are left out.
        suggest: File for a child config that mends what config can mend;
            None writes none.
        on_note: Called with each line about ``cfg_options``.
        on_stage: Called with the name of each stage as it begins.
        progress: Show progress bars for what takes long.

    Raises:
        OSError: A file cannot be written.
        ValueError: The config cannot be read, or an argument is wrong.
    """
    start = time.perf_counter()
    cfg = load_config(config, None, cfg_options, on_note, on_note)
    if not isinstance(cfg.work_dir, str):
        raise ValueError(
            f'work_dir={cfg.work_dir!r} in {cfg.filename}: expected a path'
        )
    folder = Path(cfg.work_dir) / _FOLDER if out is None else out
    check_output('out', str(folder))
    # The code of users may go elsewhere.
    shown, folder = folder, folder.absolute()
    for name in (RESULT, PAGE, CACHE):
        check_output('out', str(folder / name), folder=False)
    if suggest is not None:
        check_suggest(suggest, cfg)
    options: dict[str, Any] = {
        'splits': split or SPLITS,
        'nproc': nproc,
        'sample': sample,
        'cache': folder / CACHE,
        'ignore': ignore or (),
        'progress': progress,
    }
    diagnosis = examine(cfg, **options, on_stage=on_stage)
    seconds = time.perf_counter() - start
    write_result(diagnosis, folder / RESULT)
    write_page(diagnosis, folder / PAGE)
    suggestion = None
    if suggest is not None:
        suggestion = write_suggestion(
            diagnosis, suggest, cfg_options or {}, **options
        )
    return Visit(diagnosis, shown, seconds, suggestion)
