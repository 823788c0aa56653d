"""From a folder of annotated images to a config that trains: the whole way."""

import hashlib
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from mmseg_ext.converters.core import check_share, require_folder
from mmseg_ext.doctor.examine import Diagnosis
from mmseg_ext.doctor.findings import Level
from mmseg_ext.doctor.visit import visit
from mmseg_ext.formats.exports.export import (
    Folder,
    InvalidExportError,
)
from mmseg_ext.launch.configs import check_output
from mmseg_ext.planning.config_text import config_text
from mmseg_ext.planning.detect import detect
from mmseg_ext.planning.fingerprint import Fingerprint, encode, fingerprint_of
from mmseg_ext.planning.label_sheet import draw_labels
from mmseg_ext.planning.learned_classes import leave_out_unlearned
from mmseg_ext.planning.machine import Machine, this_machine
from mmseg_ext.planning.plan import Plan, fit, make_plan
from mmseg_ext.planning.prepare import prepare
from mmseg_ext.planning.splits import Splits, divide, pattern_of
from mmseg_ext.planning.step_memory import StepMemory
from mmseg_ext.planning.survey import Survey, survey
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.files import HIDDEN, write_bytes, write_text
from mmseg_ext.utils.scratch import alone_in, working_in
from mmseg_ext.utils.text import listing

__all__ = ['TASKS', 'Inited', 'init']

#: What a config can be for.
TASKS = ('semantic', 'instance')

#: What stands behind the name of a config in that of its folder, which
#: people may have called as their data.
_FILES = '_files'

#: In the folder of a run that has not ended: what it was asked for.
_UNFINISHED = '.unfinished'

#: What classes are called where nothing names them.
_UNNAMED = re.compile(r'class_\d+')

#: Images of each split that the doctor reads: :func:`survey` has read all.
_EXAMINED = 200


class Inited(NamedTuple):
    """What was written.

    Attributes:
        config: The config.
        files: The folder beside it.
        sheets: Pictures of images with their labels.
        plan: The choices.
        fingerprint: The data in numbers.
        diagnosis: What the doctor says; it has no error.
    """

    config: Path
    files: Path
    sheets: list[Path]
    plan: Plan
    fingerprint: Fingerprint
    diagnosis: Diagnosis


def init(
    data: Path,
    out: Path,
    task: str | None = None,
    model: str | None = None,
    classes: Path | None = None,
    format: str | None = None,
    val: float = 0.2,
    group: str | None = None,
    memory: float | None = None,
    seed: int = 0,
    nproc: int | None = None,
    progress: bool = True,
    tell: Callable[[str], None] = print,
    may_write: Callable[[str], bool] | None = None,
) -> Inited | None:
    """Write a config for a folder of annotated images, and what it reads.

    The folder stays as it is. ``OUT.py`` is written and, in a folder
    ``OUT_files`` beside it, the lists of the splits, label maps or COCO files
    where the config cannot read the user's files, ``fingerprint.json``,
    ``labels_001.jpg`` and the report of the doctor. After an error nothing of
    that is there; a run that was stopped goes on where it was.

    Args:
        data: The folder.
        out: The config to write.
        task: One of :data:`TASKS`; None for that which the format is for.
        model: ``'fast'``, ``'accurate'``, the name or path of a config; None
            for what the machine can train.
        classes: A list of classes; None for that of the folder.
        format: Name of a format; None for the one that fits.
        val: Share of the images for validation, where the folder has no
            splits.
        group: Regular expression on names of images: those with equal matches
            stay in one split.
        memory: What a training may take, in 2**30 bytes; None for what is
            free.
        seed: What the splits depend on, besides the names.
        nproc: Number of processes; None for one a core.
        progress: Show progress bars.
        tell: Called with each line about what was found and chosen.
        may_write: Called with a question once all was read and before
            anything is written; None writes.

    Returns:
        What was written; None if it may not.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: An argument is out of range, the folder is of no known
            format or of several, something in it is not right, or the doctor
            finds an error.
    """
    require('task', task, task in (None, *TASKS), ' or '.join(TASKS))
    check_share('val', val)
    if group is not None:
        pattern_of(group)
    machine = this_machine(memory)
    nproc = machine.cores if nproc is None else nproc
    require_folder(data, 'a folder of images with labels')
    files = _check_out(out, data)
    export = detect(Folder.listed(data, classes), format)
    tell(f'{data}: {export.TITLE}')
    for line in (*export.evidence, *export.ignored):
        tell(f'  {line}')
    task = task or export.TASK
    found = survey(export, nproc, progress)
    _check_survey(found, task)
    splits = divide(found, val, group, seed)
    for line in _about(found, splits, task, export.evidence):
        tell(line)
    found, unlearned = leave_out_unlearned(found, splits, task)
    if unlearned:
        names = listing(unlearned, 8)
        tell(f'left out, as no training image has them: {names}')
    if may_write and not may_write(f'write {out} and {files}?'):
        return None
    # A training may begin in any folder.
    root = Path(os.path.abspath(data)).as_posix()
    named = root, files.name, f'{export.TITLE}, for {task} segmentation.'
    with _whole(out, files, _stamp(found, splits, task)):
        prepared = prepare(found, splits, task, files, nproc, progress)
        objects = prepared.objects
        if objects and objects.dropped:
            tell(f'left out, without a pixel: {objects.dropped} objects')
        fingerprint = fingerprint_of(found, splits, prepared, task)
        wanted = make_plan(fingerprint, machine, model)
        draft = config_text(wanted, prepared, *named)
        plan = _fit(
            wanted, draft, out, files, machine, objects.most if objects else 0
        )
        tell('plan:')
        for line in plan.lines():
            tell(f'  {line}')
        write_bytes(files / 'fingerprint.json', encode(fingerprint))
        coco = prepared.splits['train']['ann_file'] if objects else None
        sheets = draw_labels(
            found, splits, coco and files / coco, files, progress
        )
        write_text(out, config_text(plan, prepared, *named))
        diagnosis = visit(
            str(out),
            nproc=nproc,
            sample=_EXAMINED,
            out=files / 'doctor',
            progress=progress,
        ).diagnosis
        _check_healthy(diagnosis)
    return Inited(out, files, sheets, plan, fingerprint, diagnosis)


def _check_out(out: Path, data: Path) -> Path:
    """Check where the config goes; return the folder beside it."""
    files = out.with_name(f'{out.stem}{_FILES}')
    if out.suffix != '.py' or not out.stem:
        raise ValueError(
            f'out={str(out)!r}: expected the name of a config, such as '
            'my_config.py'
        )
    if '{{' in str(out.absolute()) or '\\' in str(out.absolute()):
        raise ValueError(
            f'out={str(out)!r}: MMEngine cannot read a config at such a path; '
            'expected one without {{ and \\'
        )
    check_output('out', str(out), folder=False)
    check_output('out', str(files))
    if files.resolve().is_relative_to(data.resolve()):
        raise ValueError(
            f'out={str(out)!r} lies in {data}, which stays as it is; choose '
            'another place'
        )
    _check_free(out, files)
    return files


def _check_free(out: Path, files: Path) -> None:
    """Check that nothing is there but what a stopped run left."""
    if (files / _UNFINISHED).exists():
        return
    for path in (out, files):
        if os.path.lexists(path) and not _is_bare(path):
            raise ValueError(
                f'out={str(out)!r}: {path} is there already; choose another '
                'name, or remove it'
            )


def _is_bare(path: Path) -> bool:
    """Tell whether a folder holds no more than a run that was just begun."""
    return path.is_dir() and all(
        name.startswith(HIDDEN) for name in os.listdir(path)
    )


@contextmanager
def _whole(out: Path, files: Path, asked: bytes) -> Iterator[None]:
    """Let nothing stay of what fails, and go on with what was stopped.

    Raises:
        ValueError: Another run is at work there, or was meanwhile.
    """
    mark = files / _UNFINISHED
    made = [each for each in (files, *files.parents) if not each.exists()]
    with alone_in(files) as alone:
        if not alone:
            raise ValueError(
                f'out={str(out)!r}: another run writes {files}; wait for its '
                'end, or choose another name'
            )
        _check_free(out, files)
        if mark.exists() and mark.read_bytes() != asked:
            _remove(out, files)
        try:
            write_bytes(mark, asked)
            with working_in(files):
                yield
            mark.unlink()
        # A config is code, and may exit.
        except (Exception, SystemExit):
            _remove(out, files)
            for folder in made or (files,):
                with suppress(OSError):
                    folder.rmdir()
            raise


def _remove(out: Path, files: Path) -> None:
    """Remove what a run wrote, but for the folder, which is locked."""
    out.unlink(missing_ok=True)
    for entry in os.scandir(files):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(entry)


def _stamp(found: Survey, splits: Splits, task: str) -> bytes:
    """Return what tells a run from those of other data, or other options."""
    told = [
        found.export.NAME,
        [picture[:2] for picture in found.export.pictures],
        [image.digest for image in found.images],
        found.pixels.tolist(),
        splits.members,
        task,
    ]
    digest = hashlib.blake2b(msgspec.json.encode(told), digest_size=16)
    return digest.hexdigest().encode()


def _check_survey(found: Survey, task: str) -> None:
    """Check that there is something to learn, and that a config can say it.

    Raises:
        InvalidExportError: There is not, or it cannot.
    """
    folder, classes = found.export.folder, found.export.classes
    assert classes is not None
    files = {name for p in found.export.pictures for name in p[:2] if name}
    folders = {os.path.abspath(folder), *map(posixpath.dirname, files)}
    for kind, names in (('class', classes.names), ('folder', sorted(folders))):
        for name in names:
            if '{{' in name:
                raise InvalidExportError(
                    folder,
                    f'the {kind} {name!r} has {{{{, which MMEngine replaces '
                    'when it reads a config; rename it',
                )
    if task == 'semantic' and not found.pixels.any():
        raise InvalidExportError(
            folder,
            f'no pixel of {len(found.pixels)} label files has a class, all '
            'are ignored; check the list of classes',
        )
    if task == 'semantic' and len(classes.names) == 1:
        raise InvalidExportError(
            folder,
            f'all pixels that have a class are {classes.names[0]}, so that '
            'there is nothing to tell it from; expected two classes or more: '
            'label the rest as one, too',
        )


def _about(
    found: Survey, splits: Splits, task: str, told: Sequence[str]
) -> Iterator[str]:
    """Yield lines on classes, with evidence not told yet, and splits."""
    for line in found.export.evidence:
        if line not in told:
            yield f'  {line}'
    classes = found.export.classes
    assert classes is not None
    shown = dict(enumerate(classes.names))
    if task == 'instance' and classes.background is not None:
        del shown[classes.background]
    total = max(1, int(found.pixels.sum()))
    yield f'{len(shown)} {"class" if len(shown) == 1 else "classes"}'
    unnamed = any(map(_UNNAMED.fullmatch, shown.values()))
    there = found.pixels.sum(axis=0).tolist()
    absent = [shown.pop(k) for k in [*shown] if not there[k]]
    wide = max(map(len, shown.values()), default=0)
    for index, name in shown.items():
        pixels = found.pixels[:, index]
        yield (
            f'  {name:{wide}}  {pixels.sum() / total:6.2%} of the pixels, in '
            f'{(pixels > 0).sum()} of {len(pixels)} images'
        )
    if absent:
        yield f'  no pixel is {listing(absent, 8)}'
    if unnamed:
        masks = found.export.masks
        row = 'name,r,g,b' if masks and masks.colors else 'a name'
        yield (
            f'  to name them, give --classes FILE with {row} a line; what is '
            'named void is ignored'
        )
    sizes = ', '.join(
        f'{len(numbers)} {name}' for name, numbers in splits.members.items()
    )
    yield f'splits: {sizes}, {splits.reason}'


def _fit(
    wanted: Plan,
    draft: str,
    out: Path,
    files: Path,
    machine: Machine,
    objects: int,
) -> Plan:
    """Fit a plan to the memory, by steps of the config as it would be."""
    # What a killed run leaves here, the next one removes.
    with tempfile.TemporaryDirectory(prefix=HIDDEN, dir=files) as scratch:
        config = Path(scratch, out.name)
        place = out.absolute().parent.as_posix()
        write_text(config, draft.replace('{{ fileDirname }}', place))
        try:
            with StepMemory(config, machine, objects) as measure:
                return fit(wanted, measure, machine.memory)
        except ValueError as error:
            # What users can look at is what it inherits.
            text = str(error).replace(str(config), wanted.base.value)
            raise ValueError(text) from error


def _check_healthy(diagnosis: Diagnosis) -> None:
    """Check that the doctor finds no error.

    Raises:
        ValueError: It does.
    """
    errors = [f for f in diagnosis.findings if f.level == Level.ERROR]
    if errors:
        first, more = errors[0], len(errors) - 1
        file = f'{first.file}: ' if first.file else ''
        rest = f'; and {more} more' if more else ''
        raise ValueError(
            f'{file}{first.text} ({first.code}); this causes: '
            f'{first.symptom}; to mend it: {first.mend}{rest}'
        )
