"""What mmengine leaves behind of trainings and tests, read for pictures."""

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mmseg_ext.utils.files import read_file
from mmseg_ext.visualization.class_iou import ClassIoU
from mmseg_ext.visualization.confusion import (
    CONFUSION_FILE,
    ConfusionMatrix,
    class_iou_of,
    read_confusion,
)

__all__ = [
    'Curve',
    'History',
    'RunLog',
    'read_history',
    'read_scalars',
    'read_work_dir',
]

#: The scores drawn over time: mIoU, seg/mIoU, coco/bbox_mAP, pascal_voc/mAP.
_HEADLINE = re.compile(r'(^|[/_])m(IoU|AP)$')

#: Learning rates: lr, base_lr, generator.lr.
_RATE = re.compile(r'(^|\.)(base_)?lr$')

#: What ``IoU(classwise=True)`` gives, with or without a prefix.
_CLASS_IOU = re.compile(r'(?P<prefix>(?:[^.]*/)?)IoU\.(?P<name>.+)', re.DOTALL)

#: Written by mmengine into the copy of the config of a resumed training.
_RESUMED = re.compile(r'^resume\s*=\s*True\b', re.MULTILINE)

#: Losses and scores are 32-bit numbers; what is larger is infinite for them,
#: and diagrams of 64-bit numbers have room around it.
_LARGEST = 3.5e38


class Curve(NamedTuple):
    """One line of a diagram.

    Attributes:
        steps: Iterations or epochs, ascending.
        values: As many values, NaN where undefined.
    """

    steps: list[float]
    values: list[float]


class History(NamedTuple):
    """What a training logged.

    Attributes:
        losses: Name to curve over iterations.
        scores: Name of a headline score of validation to its curve.
        scores_over: Unit of the steps of ``scores``, iteration or epoch.
        rates: Name of a learning rate to its curve over iterations.
    """

    losses: dict[str, Curve]
    scores: dict[str, Curve]
    scores_over: str
    rates: dict[str, Curve]


class _Scores(NamedTuple):
    """Scores of a validation or test, and where they are from."""

    folder: Path
    path: Path
    source: str
    record: dict[str, Any]


class RunLog(NamedTuple):
    """What is to be drawn of a work dir.

    Attributes:
        files: The files of scalars of the newest training and of those that
            it continues, oldest first.
        tests: Scores of tests by their files, oldest first.
        history: What the trainings logged.
        class_iou: The newest IoU per class, or None.
        confusion: The newest confusion matrix, or None.
        notes: What was left out, and why; a sentence each.
    """

    files: list[Path]
    tests: dict[Path, dict[str, Any]]
    history: History
    class_iou: ClassIoU | None
    confusion: ConfusionMatrix | None
    notes: list[str]


def read_work_dir(work_dir: str | os.PathLike) -> RunLog:
    """Read what the newest training, and tests, left in a work dir.

    If the training was resumed, the trainings that it continues are put
    before it. IoU per class and confusion matrix are those of the last
    validation, or of a test into the same work dir if that is newer. Where no
    IoU per class was logged it is that of the confusion matrix.

    What a killed run left half-written is left out, and noted.

    Args:
        work_dir: Holds ``TIME/vis_data/scalars.json`` of trainings,
            ``TIME/TIME.json`` of tests, and of both
            ``TIME/vis_data/confusion.json``.

    Raises:
        FileNotFoundError: There is no ``work_dir``, or no scalars in it.
        ValueError: A file is broken.
    """
    work_dir = Path(work_dir)
    notes: list[str] = []
    runs = _training_runs(work_dir, notes)
    tests = _test_results(work_dir, notes)
    if not runs and not tests and notes:
        raise ValueError('\n'.join(notes))
    if not runs and not tests:
        raise FileNotFoundError(
            f'{work_dir}: no */vis_data/scalars.json of a training and no '
            'result of a test; expected the work dir of a run, after its '
            'first lines were logged'
        )
    records = _join(runs)
    history = read_history(records)
    found = _evaluations(runs, records, tests, history.scores_over)
    at, confusion = _confusion(found, notes)
    class_iou = _class_iou(found, at, confusion)
    return RunLog(list(runs), tests, history, class_iou, confusion, notes)


def _training_runs(
    work_dir: Path, notes: list[str]
) -> dict[Path, list[dict[str, Any]]]:
    """Read the newest training and those that it continues.

    Args:
        work_dir: The work dir.
        notes: Gets what was left out.

    Returns:
        Records by their file of scalars, oldest first.
    """
    if not work_dir.is_dir():
        raise FileNotFoundError(f'there is no folder {work_dir}')
    runs = {}
    for path in _scalar_files(work_dir):
        records = _read_records(path, notes)
        if not records:
            notes.append(_empty(path))
            continue
        runs[path] = records
        config = path.with_name('config.py')
        if not config.is_file() or not _RESUMED.search(
            config.read_text(encoding='utf-8', errors='replace')
        ):
            break
    return dict(reversed(runs.items()))


def _scalar_files(work_dir: Path) -> list[Path]:
    """List the files of scalars, newest first.

    mmengine names the folders by the time. A link to one of them, such as
    ``latest``, is not another one.
    """
    paths = work_dir.glob('*/vis_data/scalars.json')
    own_names_last = sorted(paths, key=lambda p: not p.parents[1].is_symlink())
    unique = {os.path.realpath(path): path for path in own_names_last}
    return sorted(unique.values(), reverse=True)


def read_scalars(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read the file of scalars of one training.

    Args:
        path: Text with one JSON object a line; each has a number ``step``. A
            last line that is no JSON, as a killed training leaves it, is left
            out.

    Returns:
        The objects in order. Values to be drawn that are no 32-bit numbers are
        infinite.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is empty, a line is no such object, or a value
            to be drawn is no number.
    """
    records = _read_records(path, [])
    if not records:
        raise ValueError(_empty(path))
    return records


def _empty(path: str | os.PathLike) -> str:
    return (
        f'{path}: empty; expected one JSON object a line. Was the training '
        'stopped before it logged anything?'
    )


def _read_records(
    path: str | os.PathLike, notes: list[str]
) -> list[dict[str, Any]]:
    """Read a file of scalars; note what was left out of it."""
    records = []
    lines = read_file(path, None).splitlines()
    last = max(
        (n for n, line in enumerate(lines, 1) if line.strip()), default=0
    )
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f'{path}, line {number}'
        try:
            record = _parse(line, where)
        except _BrokenError as error:
            if number != last:
                raise
            notes.append(f'{error}; left out as the last line, cut off')
            continue
        for key in {'step': None, **record}:
            if key in ('step', 'epoch'):
                _check_step(record, key, where)
            elif _is_drawn(key):
                record[key] = _number(record, key, where)
        records.append(record)
    return records


class _BrokenError(ValueError):
    """A text that is no JSON."""


def _parse(text: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _BrokenError(
            f'{where}: broken, {error}; expected a JSON object'
        ) from None
    if not isinstance(record, dict):
        raise ValueError(f'{where}: expected a JSON object, got {record!r}')
    return record


def _number(record: dict[str, Any], key: str, where: str) -> float:
    """Return a value of a record, which has to be a number."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'{where}: {key} is {value!r}; expected a number')
    if abs(value) > _LARGEST:
        return math.inf if value > 0 else -math.inf
    return float(value)


def _check_step(record: dict[str, Any], key: str, where: str) -> None:
    """Check a value that says where in the training a record belongs."""
    value = _number(record, key, where)
    if not math.isfinite(value):
        raise ValueError(f'{where}: {key} is {value}; expected a finite one')


def _is_drawn(key: str) -> bool:
    """Return whether values of this name become a curve."""
    return 'loss' in key or any(
        name.search(key) for name in (_HEADLINE, _RATE)
    )


def _is_training(record: dict[str, Any]) -> bool:
    """Return whether a record is one of training, not of validation."""
    return 'iter' in record


def _join(runs: dict[Path, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the records of runs, one after the other.

    A run goes on for a while after the checkpoint that the next one starts
    from; what it logged there is replaced by the next one's records.
    """
    joined: list[dict[str, Any]] = []
    for records in runs.values():
        start = next((r['step'] for r in records if _is_training(r)), math.inf)
        for index, record in enumerate(joined):
            if _is_training(record) and record['step'] >= start:
                del joined[index:]
                break
        joined += records
    return joined


def read_history(records: list[dict[str, Any]]) -> History:
    """Sort records into curves.

    Losses are all values with ``loss`` in their name. A validation has a step
    but no iteration. The step is an epoch if the training counts epochs and
    ``LoggerHook`` has ``log_metric_by_epoch=True``, otherwise an iteration.

    Args:
        records: Records of a training, in order.

    Returns:
        The curves; of two values for one step the later one counts.
    """
    losses: dict[str, dict[float, float]] = {}
    scores: dict[str, dict[float, float]] = {}
    rates: dict[str, dict[float, float]] = {}
    by_epoch = _validates_by_epoch(records)
    iteration = 0
    for record in records:
        step = record['step']
        if _is_training(record):
            iteration = step
            _collect(losses, record, step, lambda name: 'loss' in name)
            _collect(rates, record, step, _RATE.search)
        else:
            # A training by iterations may count validations by epoch; the
            # iteration is then the last that was logged.
            step = step if by_epoch else max(step, iteration)
            _collect(scores, record, step, _HEADLINE.search)
    return History(
        _curves(losses),
        _curves(scores),
        'epoch' if by_epoch else 'iteration',
        _curves(rates),
    )


def _collect(
    points: dict[str, dict[float, float]],
    record: dict[str, Any],
    step: float,
    belongs: Callable[[str], object],
) -> None:
    """Add the values of a record whose names belong to the points."""
    for name in filter(belongs, record):
        points.setdefault(name, {})[step] = record[name]


def _validates_by_epoch(records: list[dict[str, Any]]) -> bool:
    """Return whether the steps of validations are epochs."""
    epochs = [r['epoch'] for r in records if 'epoch' in r]
    steps = [r['step'] for r in records if not _is_training(r)]
    return bool(epochs and steps) and max(steps) <= max(epochs)


def _curves(named: dict[str, dict[float, float]]) -> dict[str, Curve]:
    """Return points as curves, sorted by step."""
    return {
        name: Curve(sorted(points), [points[step] for step in sorted(points)])
        for name, points in named.items()
    }


def _test_results(
    work_dir: Path, notes: list[str]
) -> dict[Path, dict[str, Any]]:
    """Read the scores of tests by their files, oldest first.

    Args:
        work_dir: The work dir.
        notes: Gets what was left out.
    """
    results = {}
    for path in sorted(work_dir.glob('*/*.json')):
        if path.stem != path.parent.name:
            continue
        try:
            results[path] = _parse(read_file(path), str(path))
        except _BrokenError as error:
            notes.append(f'{error}; left out')
    return results


def _evaluations(
    runs: dict[Path, list[dict[str, Any]]],
    records: list[dict[str, Any]],
    tests: dict[Path, dict[str, Any]],
    unit: str,
) -> list[_Scores]:
    """Return the validations of the training and the tests, newest first."""
    found = [
        _Scores(path.parent, path, f'test of {path.stem}', record)
        for path, record in tests.items()
    ]
    if runs:
        path = max(runs)
        found += [
            _Scores(
                path.parents[1], path, f'validation at {unit} {r["step"]}', r
            )
            for r in records
            if not _is_training(r)
        ]
    # The sort is stable: of one run the last validation counts.
    return sorted(found, key=lambda scores: scores.folder.name)[::-1]


def _confusion(
    found: list[_Scores], notes: list[str]
) -> tuple[_Scores | None, ConfusionMatrix | None]:
    """Return the newest confusion matrix, and what it was counted with.

    Args:
        found: Evaluations, newest first.
        notes: Gets what was left out.
    """
    # A run keeps one, of its newest evaluation.
    newest = {scores.folder: scores for scores in reversed(found)}
    for folder, scores in sorted(newest.items(), reverse=True):
        path = folder / CONFUSION_FILE
        if path.is_file():
            try:
                return scores, read_confusion(path)
            except ValueError as error:
                notes.append(f'{error}; left out')
    return None, None


def _class_iou(
    found: list[_Scores],
    at: _Scores | None,
    confusion: ConfusionMatrix | None,
) -> ClassIoU | None:
    """Return the newest IoU per class, or None if there is none.

    Args:
        found: Evaluations, newest first.
        at: The one with the confusion matrix.
        confusion: The matrix.
    """
    for scores in found:
        record, where = scores.record, str(scores.path)
        matches = list(filter(None, map(_CLASS_IOU.fullmatch, record)))
        if matches:
            # Several evaluators have several prefixes.
            prefix = matches[0]['prefix']
            mean = f'{prefix}mIoU'
            return ClassIoU(
                {
                    match['name']: _number(record, match[0], where)
                    for match in matches
                    if match['prefix'] == prefix
                },
                _number(record, mean, where) if mean in record else None,
                scores.source,
            )
        if confusion and scores is at:
            means = [
                _number(record, key, where)
                for key in record
                if key.endswith('mIoU')
            ]
            return class_iou_of(
                confusion, means[0] if means else None, scores.source
            )
    return None
