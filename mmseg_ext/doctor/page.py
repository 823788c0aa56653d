"""The page of a diagnosis: one HTML file, to be opened and sent on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.examine import Diagnosis
from mmseg_ext.doctor.findings import Finding, Level
from mmseg_ext.doctor.page_numbers import (
    absent_classes,
    box_chart,
    class_chart,
    class_colors,
    class_table,
    color_table,
    count_splits,
    occurrence_matrix,
    size_chart,
    size_table,
    where_maps,
)
from mmseg_ext.doctor.page_pictures import Album
from mmseg_ext.utils.text import listing
from mmseg_ext.visualization import web_page
from mmseg_ext.visualization.web_page import Cell, Picture, Table, number_cell

__all__ = ['write_page']

_TEMPLATE = Path(__file__).with_name('templates') / 'doctor.html'

#: Rows of a code; ``doctor.json`` has all.
_ROWS = 500

#: Files that a row names.
_FILES = 4

#: Images that are shown with their labels whether or not something is wrong.
_SAMPLES = 4


class _Group(NamedTuple):
    """The findings of a code.

    Attributes:
        code: Its name.
        level: The worst of theirs, as a word.
        number: How many there are.
        symptom: What they will cause.
        mend: What mends all; empty where the table says it of each.
        table: One row each.
        pictures: Of some of their files.
        open: Whether they are shown at once.
    """

    code: str
    level: str
    number: int
    symptom: str
    mend: str
    table: Table
    pictures: Sequence[Picture]
    open: bool


def write_page(diagnosis: Diagnosis, path: str | os.PathLike[str]) -> None:
    """Write what was found as a web page, whole or not at all.

    The page is one file that needs no network: findings by code with pictures
    of some of their files, and the classes, sizes and colors of the data.
    What cannot be read is named in the place of its picture.

    Args:
        diagnosis: What the doctor says.
        path: The file to write. Missing parent folders are made.

    Raises:
        OSError: It cannot be written.
    """
    web_page.write_page(path, _TEMPLATE, **_values(diagnosis))


def _values(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return what the template names."""
    case, findings = diagnosis.case, diagnosis.findings
    names, splits = count_splits(case)
    colors = class_colors(case, names)
    album = Album(case, findings, dict(zip(names, colors, strict=True)))
    groups = _groups(findings, album)
    return {
        'name': os.path.basename(case.path),
        'config': case.path,
        'counts': [
            (level.word, diagnosis.number_of(level))
            for level in sorted(Level, reverse=True)
        ],
        'ignored': sorted(diagnosis.ignored.items()),
        'data': _data_sets(case),
        'overview': _overview(groups, findings),
        'groups': groups,
        'chart': class_chart(names, colors, splits),
        'classes': class_table(names, colors, splits),
        'matrix': occurrence_matrix(names, colors, splits),
        'maps': where_maps(names, splits),
        'absent': absent_classes(names, splits),
        'boxes': box_chart(splits),
        'measured': color_table(splits),
        'dots': size_chart(splits),
        'sizes': size_table(splits),
        'samples': album.some(case, _SAMPLES),
    }


def _data_sets(case: Case) -> Table:
    """Return what was looked at."""
    rows = [
        [
            Cell(part.split),
            Cell(str(part.cfg.get('type', '')), kind='wide'),
            number_cell(part.total),
            number_cell(len(part.samples)),
            number_cell(len(part.classes)),
            Cell(part.fault or '', kind='wide'),
        ]
        for part in case.parts
    ]
    heads = ['split', 'data set', 'images', 'looked at', 'classes', 'fault']
    if not any(part.fault for part in case.parts):
        heads.pop()
        rows = [row[:-1] for row in rows]
    return Table('The data sets of the config', heads, rows)


def _groups(findings: Sequence[Finding], album: Album) -> list[_Group]:
    """Return the findings by code, the worst first."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    groups = []
    for code, found in by_code.items():
        level = max(finding.level for finding in found)
        mends = {finding.mend for finding in found}
        groups.append(
            _Group(
                code,
                level.word,
                len(found),
                found[0].symptom,
                found[0].mend if len(mends) == 1 else '',
                _table(found, len(mends) > 1),
                album.of(found),
                level > Level.NOTE,
            )
        )
    return groups


def _table(found: Sequence[Finding], mends: bool) -> Table:
    """Return the findings of a code, one row each."""
    levels = len({finding.level for finding in found}) > 1
    files = any(finding.file or finding.others for finding in found)
    heads = [
        *(['level'] if levels else []),
        'split',
        *(['file'] if files else []),
        'what was found',
        *(['what mends it'] if mends else []),
    ]
    rows = []
    for finding in found[:_ROWS]:
        row = [Cell(finding.split or 'all')]
        if levels:
            row.insert(0, _level(finding.level))
        if files:
            named = [*filter(None, [finding.file, *finding.others])]
            row.append(Cell(listing(named, _FILES), kind='path'))
        row.append(Cell(finding.text, kind='wide'))
        if mends:
            row.append(Cell(finding.mend, kind='wide'))
        rows.append(row)
    left = len(found) - len(rows)
    return Table('All findings of this code', heads, rows, left)


def _level(level: Level) -> Cell:
    return Cell(level.word, level, level.word)


def _overview(groups: Sequence[_Group], findings: Sequence[Finding]) -> Table:
    """Return one row for each code."""
    rows = []
    for group in groups:
        splits = [
            f.split for f in findings if f.code == group.code and f.split
        ]
        rows.append(
            [
                _level(Level[group.level.upper()]),
                Cell(group.code, kind='code', link=f'code-{group.code}'),
                number_cell(group.number),
                Cell(', '.join(dict.fromkeys(splits)) or 'all'),
                Cell(group.symptom, kind='wide'),
            ]
        )
    heads = ['level', 'code', 'findings', 'splits', 'what it will cause']
    return Table('What was found, by code', heads, rows)
