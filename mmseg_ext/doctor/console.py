"""What a terminal shows of a visit to the doctor."""

import os
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmseg_ext.doctor.examine import Diagnosis
from mmseg_ext.doctor.findings import Finding, Level
from mmseg_ext.utils.text import listing, printable

__all__ = ['show']

#: So many files of a code are shown; ``doctor.json`` has all.
_SHOWN = 5

#: So many classes are named in a line.
_CLASSES = 8

#: Columns where the output is no terminal: what most editors show.
_WIDTH = 100

_STYLES = {
    Level.ERROR: 'bold red',
    Level.WARNING: 'bold yellow',
    Level.NOTE: 'bold cyan',
}


def show(diagnosis: Diagnosis, file: Any = None) -> None:
    """Print what was looked at and what was found, the worst first.

    Args:
        diagnosis: What was found.
        file: Where to; None for standard output.
    """
    console = Console(file=file, highlight=False)
    if console.is_terminal:
        _print(console, diagnosis)
        return
    text = StringIO()
    _print(Console(file=text, highlight=False, width=_WIDTH), diagnosis)
    # Cells are filled up with blanks.
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    print('\n'.join(lines), file=file)


def _print(console: Console, diagnosis: Diagnosis) -> None:
    console.print(_seen(diagnosis))
    for _, group in groupby(diagnosis.findings, lambda each: each.code):
        console.print()
        console.print(_of_a_code(list(group)))


def _seen(diagnosis: Diagnosis) -> RenderableType:
    """Return the table of what was looked at."""
    table = Table.grid(padding=(0, 2))
    case = diagnosis.case
    table.add_row(_bold('config'), _path(case.path))
    for name, split in case.splits.items():
        total = sum(part.total for part in split.parts)
        seen = sum(len(part.samples) for part in split.parts)
        images = f'{total} images' + f', {seen} examined' * (seen != total)
        classes = split.parts[0].classes if split.parts else ()
        names = listing([printable(each) for each in classes], _CLASSES)
        count = f'{len(classes)} classes ({names})' if classes else ''
        table.add_row(_bold(name), ', '.join(filter(None, (images, count))))
    return table


def _of_a_code(findings: Sequence[Finding]) -> RenderableType:
    """Return what is shown of the findings of one code."""
    first = findings[0]
    head = Text.assemble(
        (f'{first.level.word:8}', _STYLES[first.level]),
        (first.code, 'bold'),
    )
    if len(findings) > 1:
        head.append(f'  {len(findings)} times', 'dim')
    table = Table.grid(padding=(0, 2))
    for finding in findings[:_SHOWN]:
        table.add_row(Text(finding.split or ''), Group(*_lines(finding)))
    if len(findings) > _SHOWN:
        more = f'and {len(findings) - _SHOWN} more, in doctor.json'
        table.add_row('', Text(more, 'dim'))
    advice = Table.grid(padding=(0, 2))
    advice.add_row(Text('causes', 'dim'), Text(first.symptom))
    for mend in dict.fromkeys(each.mend for each in findings[:_SHOWN]):
        advice.add_row(Text('mend', 'green'), Text(printable(mend)))
    return Group(head, Padding(Group(table, advice), (0, 0, 0, 2)))


def _lines(finding: Finding) -> Iterator[RenderableType]:
    """Yield the files of a finding, and what was found there."""
    for file in filter(None, [finding.file, *finding.others[:1]]):
        yield _path(file)
    yield Text(printable(finding.text))


def _path(path: str) -> Text:
    """Return a path, relative where it is below the current folder."""
    absolute = os.path.abspath(path)
    here = Path.cwd()
    inside = Path(absolute).is_relative_to(here)
    return Text(printable(os.path.relpath(absolute) if inside else path))


def _bold(text: str) -> Text:
    return Text(text, 'bold')
