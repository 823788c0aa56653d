"""What a terminal shows of a visit to the doctor."""

import os
from collections.abc import Sequence
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
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

#: Columns of the first word of a line: ``classes``, ``warning``.
_MARGIN = 9

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
        _show(_Page(console), diagnosis)
        return
    text = StringIO()
    plain = Console(file=text, highlight=False, width=_WIDTH)
    _show(_Page(plain), diagnosis)
    # Rich fills lines up with blanks.
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    print('\n'.join(lines), file=file)


class _Page:
    """Lines with a word in the margin."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, word: str, text: str | Text, style: str = '') -> None:
        """Print a text, wrapped within the margin."""
        width = self._console.width - _MARGIN
        body = Text(text) if isinstance(text, str) else text
        for number, part in enumerate(body.wrap(self._console, width)):
            first = Text(f'{"" if number else word:{_MARGIN}}', style)
            self._console.print(first + part)

    def path(self, word: str, path: str) -> None:
        """Print a path, which is never wrapped: it is to be copied.

        It is relative where it is below the current folder.
        """
        absolute = os.path.abspath(path)
        inside = Path(absolute).is_relative_to(Path.cwd())
        shown = printable(os.path.relpath(absolute) if inside else path)
        line = Text(f'{word:{_MARGIN}}{shown}')
        self._console.print(line, soft_wrap=True)

    def gap(self) -> None:
        """Print an empty line."""
        self._console.print()


def _show(page: _Page, diagnosis: Diagnosis) -> None:
    """Print all."""
    _show_seen(page, diagnosis)
    for _, group in groupby(diagnosis.findings, lambda each: each.code):
        page.gap()
        _show_code(page, list(group))


def _show_seen(page: _Page, diagnosis: Diagnosis) -> None:
    """Print what was looked at."""
    case = diagnosis.case
    page.path('config', case.path)
    names = {
        split.name: split.parts[0].classes if split.parts else ()
        for split in case.splits.values()
    }
    same = len(set(names.values())) == 1
    for name, split in case.splits.items():
        total = sum(part.total for part in split.parts)
        seen = sum(len(part.samples) for part in split.parts)
        images = f'{total} images' + f', {seen} examined' * (seen != total)
        classes = '' if same else f'classes: {_classes(names[name])}'
        page.line(name, ', '.join(filter(None, (images, classes))))
    if same:
        page.line('classes', _classes(*set(names.values())))


def _classes(names: Sequence[str]) -> str:
    """Return how many classes there are, and the first of them."""
    first = listing([printable(name) for name in names], _CLASSES)
    return f'{len(names)} ({first})' if names else 'unknown'


def _show_code(page: _Page, findings: Sequence[Finding]) -> None:
    """Print the findings of one code."""
    first = findings[0]
    head = Text(first.code, 'bold')
    if len(findings) > 1:
        head.append(f'  {len(findings)} times', 'dim')
    page.line(first.level.word, head, _STYLES[first.level])
    for finding in findings[:_SHOWN]:
        word = f'  {finding.split or ""}'
        for file in filter(None, [finding.file, *finding.others[:1]]):
            page.path(word, file)
            word = ''
        if (more := len(finding.others) - 1) > 0:
            page.line('', Text(f'and {more} more', 'dim'))
        page.line(word, printable(finding.text))
    if len(findings) > _SHOWN:
        more = len(findings) - _SHOWN
        page.line('', Text(f'and {more} more, in doctor.json', 'dim'))
    page.line('  causes', first.symptom, 'dim')
    for mend in dict.fromkeys(each.mend for each in findings[:_SHOWN]):
        page.line('  mend', printable(mend), 'green')
