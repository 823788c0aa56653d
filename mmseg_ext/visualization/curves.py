"""Curves, bars and tables from the scalars that mmengine leaves behind."""

import html
import io
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmseg_ext.utils.files import read_file, write_bytes, write_text
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import (
    csv_text,
    is_unicode,
    normal_form,
    printable,
)
from mmseg_ext.visualization.fonts import font_families

__all__ = [
    'ClassIoU',
    'Curve',
    'History',
    'PlotReport',
    'csv_table',
    'draw_class_iou',
    'draw_curves',
    'markdown_table',
    'plot_work_dir',
    'read_history',
    'read_scalars',
]

if TYPE_CHECKING:
    # Imported in the functions that draw, as it is needed nowhere else.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The scores drawn over time: mIoU, seg/mIoU, coco/bbox_mAP, pascal_voc/mAP.
_HEADLINE = re.compile(r'(^|[/_])m(IoU|AP)$')

#: What ``IoU(classwise=True)`` gives, with or without a prefix.
_CLASS_IOU = re.compile(r'(?P<prefix>(?:[^.]*/)?)IoU\.(?P<name>.+)', re.DOTALL)

#: Written by mmengine into the copy of the config of a resumed training.
_RESUMED = re.compile(r'^resume\s*=\s*True\b', re.MULTILINE)


#: Losses and scores are 32-bit numbers; what is larger is infinite for them,
#: and diagrams of 64-bit numbers have room around it.
_LARGEST = 3.5e38

#: What Markdown takes for its own, an underscore only where it is not between
#: letters, and what links without brackets are known by.
_MARKDOWN = re.compile(r'[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])')
_LINK_SIGNS = re.compile(r':(?=//)|(?<=www)\.|@', re.IGNORECASE)


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
    """

    losses: dict[str, Curve]
    scores: dict[str, Curve]
    scores_over: str


class ClassIoU(NamedTuple):
    """IoU of each class, in percent.

    Attributes:
        values: Class name to IoU in the order of the classes, NaN for a class
            that is neither labeled nor predicted.
        mean: The mIoU that came with it, or None.
        source: Where it is from, in words.
    """

    values: dict[str, float]
    mean: float | None
    source: str


class _Scores(NamedTuple):
    """Scores of a validation or test, and where they are from."""

    time: str
    path: Path
    source: str
    record: dict[str, Any]


class PlotReport(NamedTuple):
    """Result of :func:`plot_work_dir`.

    Attributes:
        files: The files written.
        notes: What is missing, and why; a sentence each.
    """

    files: list[Path]
    notes: list[str]


def plot_work_dir(
    work_dir: str | os.PathLike, out_dir: str | os.PathLike
) -> PlotReport:
    """Draw what a training or test of MMSeg or MMDet logged.

    Writes ``curves.png`` (losses, mIoU or mAP), ``class_iou.png``,
    ``class_iou.md`` and ``class_iou.csv``, each if there is something to put
    in. The newest training counts; if it was resumed, the trainings that it
    continues are put before it. IoU per class is that of the last validation,
    or of a test into the same work dir if that is newer.

    A run may have been killed: a last line that was cut off, an empty file
    and a result of a test that is no JSON are left out, and noted.

    Args:
        work_dir: Holds ``TIME/vis_data/scalars.json`` of trainings and
            ``TIME/TIME.json`` of tests.
        out_dir: Folder for the files; made if missing.

    Returns:
        The files, and what is missing.

    Raises:
        FileNotFoundError: There is no ``work_dir``, or no scalars in it.
        ValueError: A file is broken, or there is nothing to draw.
    """
    work_dir, out_dir = Path(work_dir), Path(out_dir)
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
    class_iou = _class_iou(runs, records, tests, history.scores_over)
    files = []
    with working_in(out_dir):
        if history.losses or history.scores:
            path = out_dir / 'curves.png'
            _save(draw_curves(history), path)
            files.append(path)
        if class_iou:
            path = out_dir / 'class_iou.png'
            _save(draw_class_iou(class_iou), path)
            write_text(path.with_suffix('.md'), markdown_table(class_iou))
            write_text(path.with_suffix('.csv'), csv_table(class_iou))
            files += [path, path.with_suffix('.md'), path.with_suffix('.csv')]
    if runs and not history.scores:
        notes.append(f'no mIoU or mAP of a validation yet in {max(runs)}')
    segmentation = [*history.scores, *(k for t in tests.values() for k in t)]
    if not class_iou and any(key.endswith('mIoU') for key in segmentation):
        notes.append(_how_to_get_class_iou(work_dir))
    if not files:
        raise ValueError(
            f'{work_dir}: nothing to draw; expected a loss, mIoU, mAP or IoU '
            'per class in '
            + '\n'.join([', '.join(map(str, [*runs, *tests])), *notes])
        )
    return PlotReport(files, notes)


def _how_to_get_class_iou(work_dir: Path) -> str:
    """Return why there is no IoU per class, and how to get it."""
    return (
        'no IoU per class was logged: the metric IoU does so with '
        'classwise=True. After a training, test with\n'
        f'  tools/test.py CONFIG CHECKPOINT --work-dir {work_dir} '
        '--cfg-options test_evaluator.type=IoU test_evaluator.classwise=True'
    )


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
    return 'loss' in key or bool(_HEADLINE.search(key))


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
    by_epoch = _validates_by_epoch(records)
    iteration = 0
    for record in records:
        step = record['step']
        if _is_training(record):
            iteration = step
            curves, names = losses, [key for key in record if 'loss' in key]
        else:
            curves, names = scores, list(filter(_HEADLINE.search, record))
            # A training by iterations may count validations by epoch; the
            # iteration is then the last that was logged.
            step = step if by_epoch else max(step, iteration)
        for name in names:
            curves.setdefault(name, {})[step] = record[name]
    return History(
        {name: _curve(points) for name, points in losses.items()},
        {name: _curve(points) for name, points in scores.items()},
        'epoch' if by_epoch else 'iteration',
    )


def _validates_by_epoch(records: list[dict[str, Any]]) -> bool:
    """Return whether the steps of validations are epochs."""
    epochs = [r['epoch'] for r in records if 'epoch' in r]
    steps = [r['step'] for r in records if not _is_training(r)]
    return bool(epochs and steps) and max(steps) <= max(epochs)


def _curve(points: dict[float, float]) -> Curve:
    """Return points as a curve, sorted by step."""
    steps = sorted(points)
    return Curve(steps, [points[step] for step in steps])


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


def _class_iou(
    runs: dict[Path, list[dict[str, Any]]],
    records: list[dict[str, Any]],
    tests: dict[Path, dict[str, Any]],
    unit: str,
) -> ClassIoU | None:
    """Return the newest IoU per class, or None if there is none."""
    found = [
        _Scores(path.parent.name, path, f'test of {path.stem}', record)
        for path, record in tests.items()
    ]
    if runs:
        path = max(runs)
        time = path.parents[1].name
        found += [
            _Scores(time, path, f'validation at {unit} {r["step"]}', r)
            for r in records
            if not _is_training(r)
        ]
    # The sort is stable: of one run the last validation counts.
    for scores in sorted(found, key=lambda scores: scores.time)[::-1]:
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
    return None


def draw_curves(history: History) -> 'Figure':
    """Draw losses, and scores of validation below them.

    Args:
        history: At least one curve.
    """
    # Not pyplot, which keeps figures and looks for a display.
    from matplotlib.figure import Figure

    rows = bool(history.losses) + bool(history.scores)
    figure = Figure(figsize=(9, 4 * rows), layout='constrained')
    one_unit = history.scores_over == 'iteration'
    grid = figure.subplots(rows, 1, sharex=one_unit, squeeze=False)
    all_axes = list(grid[:, 0])
    if history.losses:
        axes = all_axes.pop(0)
        axes.set(title='Training', ylabel='loss')
        _draw(axes, history.losses, 'iteration')
    if history.scores:
        axes = all_axes.pop(0)
        percent = any(name.endswith('mIoU') for name in history.scores)
        axes.set(title='Validation', ylabel='percent' if percent else 'mAP')
        _draw(axes, history.scores, history.scores_over, marker='o')
    return figure


def _draw(
    axes: 'Axes', curves: dict[str, Curve], unit: str, marker: str = ''
) -> None:
    """Draw curves into one diagram."""
    for name, (steps, values) in curves.items():
        # A line through one point is invisible.
        shape = marker or ('o' if len(steps) == 1 else '')
        width = 2 if name == 'loss' else 1
        axes.plot(steps, values, label=name, marker=shape, linewidth=width)
    axes.set_xlabel(unit)
    axes.grid(alpha=0.3)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)


def draw_class_iou(class_iou: ClassIoU) -> 'Figure':
    """Draw one bar for each class, the first on top; a line is the mean.

    Args:
        class_iou: At least one class.
    """
    from matplotlib.figure import Figure

    names = [_shown(name) for name in class_iou.values]
    values = list(class_iou.values.values())
    figure = Figure(figsize=(9, 1.5 + 0.3 * len(names)), layout='constrained')
    axes = figure.subplots()
    # By number: names that look alike must not share a bar.
    places = range(len(names))
    bars = axes.barh(places, [v if math.isfinite(v) else 0 for v in values])
    axes.bar_label(bars, [f'{value:.2f}' for value in values], padding=3)
    family = font_families(names)
    axes.set_yticks(places, names, parse_math=False, fontfamily=family)
    axes.invert_yaxis()
    axes.set(
        title=f'IoU per class, {class_iou.source}', xlabel='IoU in percent'
    )
    # Room for the numbers beside full bars.
    axes.set_xlim(0, 110)
    axes.set_xticks(range(0, 101, 20))
    mean = class_iou.mean
    if mean is not None and math.isfinite(mean):
        axes.axvline(
            mean, color='black', linestyle='--', label=f'mIoU {mean:.2f}'
        )
        figure.legend(loc='outside lower right')
    return figure


def markdown_table(class_iou: ClassIoU) -> str:
    """Return IoU per class as Markdown, rounded, with mIoU as last row.

    Names are shown as they are: nothing in them is Markdown or HTML.
    """
    rows = [
        (_markdown(name), value) for name, value in class_iou.values.items()
    ]
    if class_iou.mean is not None:
        rows.append(('**mIoU**', class_iou.mean))
    lines = ['| Class | IoU |', '| --- | ---: |']
    lines += [f'| {name} | {value:.2f} |' for name, value in rows]
    return '\n'.join(lines) + '\n'


def _markdown(name: str) -> str:
    """Write a name so that Markdown shows it as it is, in one line."""
    text = _MARKDOWN.sub(r'\\\g<0>', _shown(name))
    text = html.escape(text, quote=False)
    return _LINK_SIGNS.sub(lambda sign: f'&#{ord(sign[0])};', text)


def _shown(name: str) -> str:
    """Return a name in one line, accents and letters in one."""
    return printable(normal_form(name))


def csv_table(class_iou: ClassIoU) -> str:
    """Return IoU per class as CSV: a header, a row a class, not rounded.

    See :func:`~mmseg_ext.utils.text.csv_text` about names that are formulas.
    """
    rows = (
        (name if is_unicode(name) else printable(name), value)
        for name, value in class_iou.values.items()
    )
    return csv_text([('class', 'IoU'), *rows])


def _save(figure: 'Figure', path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120)
    write_bytes(path, buffer.getvalue())
