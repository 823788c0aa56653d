"""The doctor's way: read, gather, check."""

import importlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.checks import CHECKS, FAILED, all_codes
from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.findings import Check, Finding, Level, codes_of
from mmseg_ext.doctor.gather import gather
from mmseg_ext.launch.configs import load_config
from mmseg_ext.launch.custom_modules import import_custom_modules
from mmseg_ext.launch.data_sets import SPLITS
from mmseg_ext.launch.errors import closest, one_line
from mmseg_ext.utils.processes import check_nproc

__all__ = ['Diagnosis', 'diagnose', 'examine']

#: The key of a config with checks of its own.
OWN_CHECKS = 'doctor_checks'

#: Stands for the file of a config that has none.
_NONE = 'config.py'


class Diagnosis(NamedTuple):
    """What the doctor says.

    Attributes:
        case: What was gathered.
        findings: The worst first; of a level in the order of the checks.
        ignored: How many findings of a code were left out.
    """

    case: Case
    findings: list[Finding]
    ignored: Counter[str]

    @property
    def worst(self) -> Level | None:
        """The level of the worst finding; None without any."""
        return max((f.level for f in self.findings), default=None)

    def number_of(self, level: Level) -> int:
        """Return how many findings are of a level."""
        return sum(finding.level == level for finding in self.findings)


def examine(
    config: str | Config,
    cfg_options: dict[str, Any] | None = None,
    splits: Sequence[str] = SPLITS,
    nproc: int = 1,
    sample: int | None = None,
    cache: Path | None = None,
    ignore: Collection[str] = (),
    on_note: Callable[[str], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Look for what is wrong with a config and its data.

    Args:
        config: Path or name of a config of MMSeg or MMDet, or it, read.
        cfg_options: Entries to change in a config that is to be read.
        splits: Those to look at, of
            :data:`~mmseg_ext.launch.data_sets.SPLITS`; those that the config
            lacks are left out.
        nproc: Number of processes that read files.
        sample: At most so many images of each data set are read, spread over
            it; None reads all.
        cache: File that keeps what was read, for the next time; None for
            none.
        ignore: Codes whose findings are left out.
        on_note: Called with each line about ``cfg_options``.
        on_stage: Called with the name of each stage as it begins.
        progress: Show a progress bar if it takes long.

    Returns:
        The findings. What is broken in data, config or model is a finding.

    Raises:
        OSError: The cache cannot be written.
        ValueError: The config cannot be read, there is no such code, or an
            argument is out of range.
    """
    check_nproc(nproc)
    if sample is not None and sample < 1:
        raise ValueError(f'sample={sample}: expected 1 or more images')
    cfg = (
        config
        if isinstance(config, Config)
        else load_config(config, None, cfg_options, on_note, on_note)
    )
    checks = [*CHECKS, *_own_checks(cfg)]
    codes = all_codes(checks)
    for name in ignore:
        if name not in codes:
            raise ValueError(
                f'ignore={name!r}: there is no such code{closest(name, codes)}'
            )
    with _in_order():
        case = gather(cfg, splits, nproc, sample, cache, on_stage, progress)
        return diagnose(case, checks, ignore)


@contextmanager
def _in_order() -> Iterator[None]:
    """Keep what users' code prints, and where it goes, from the caller."""
    before = Path.cwd()
    try:
        # JSON or text on standard output is that of the tool alone.
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.chdir(before)


def diagnose(
    case: Case,
    checks: Sequence[Check] = CHECKS,
    ignore: Collection[str] = (),
) -> Diagnosis:
    """Let checks look at what was gathered.

    Args:
        case: What was gathered.
        checks: The checks.
        ignore: Codes whose findings are left out.
    """
    found = [finding for each in checks for finding in _run(each, case)]
    kept = [finding for finding in found if finding.code not in ignore]
    return Diagnosis(
        case,
        sorted(kept, key=lambda finding: -finding.level),
        Counter(f.code for f in found if f.code in ignore),
    )


def _run(function: Check, case: Case) -> Iterator[Finding]:
    """Yield what a check finds; that it fails is a finding, too."""
    try:
        for finding in function(case):
            if not isinstance(finding, Finding):
                raise TypeError(f'it yields {finding!r}: expected a Finding')
            yield finding
    # One check that fails takes no other with it.
    except FAULTS as error:
        name = f'{function.__module__}.{function.__qualname__}'
        yield FAILED.found(f'{name}: {one_line(error)}')


def _own_checks(cfg: Config) -> Iterator[Check]:
    """Yield the checks that a config names.

    Raises:
        ValueError: It names one that there is not.
    """
    names = cfg.get(OWN_CHECKS) or ()
    if not isinstance(names, list | tuple):
        raise ValueError(
            f'{OWN_CHECKS}={names!r}: expected a list of '
            "'package.module:function'"
        )
    # Found as those in custom_imports are, beside the config as well.
    wanted = cfg.copy()
    wanted.custom_imports = [str(name).partition(':')[0] for name in names]
    import_custom_modules(wanted, Path(cfg.filename or Path.cwd() / _NONE))
    for name in names:
        module, _, function = str(name).partition(':')
        try:
            own = getattr(importlib.import_module(module), function)
            codes_of(own)
        except (AttributeError, TypeError) as error:
            raise ValueError(
                f'{OWN_CHECKS} names {name!r}, which cannot be used '
                f"({one_line(error)}): expected 'package.module:function', a "
                'function that mmseg_ext.doctor.findings.check has marked'
            ) from error
        yield own
