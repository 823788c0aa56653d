"""``doctor.json``: all findings, for programs."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmseg_ext.doctor.examine import Diagnosis
from mmseg_ext.doctor.findings import Finding, Level
from mmseg_ext.utils.files import write_bytes
from mmseg_ext.utils.text import printable

__all__ = ['encode_result', 'write_result']

#: Spaces of an indent.
_INDENT = 2


def write_result(diagnosis: Diagnosis, path: Path) -> None:
    """Write what :func:`encode_result` returns, whole or not at all.

    Args:
        diagnosis: What was found.
        path: The file.

    Raises:
        OSError: It cannot be written.
    """
    write_bytes(path, encode_result(diagnosis))


def encode_result(diagnosis: Diagnosis) -> bytes:
    """Return all findings as JSON, the same for the same findings.

    Args:
        diagnosis: What was found.

    Returns:
        ``config``; ``splits`` with the numbers of images, those looked at,
        and classes; ``counts`` of each level; ``findings``, the worst first,
        with the attributes of :class:`~mmseg_ext.doctor.findings.Finding`;
        ``ignored``, how many findings of a code were left out.
    """
    data = {
        'config': printable(diagnosis.case.path),
        'splits': {
            name: {
                'images': sum(part.total for part in split.parts),
                'examined': sum(len(part.samples) for part in split.parts),
                'classes': split.parts[0].classes if split.parts else (),
            }
            for name, split in diagnosis.case.splits.items()
        },
        'counts': {
            level.word: diagnosis.number_of(level)
            for level in sorted(Level, reverse=True)
        },
        'findings': [_entry(finding) for finding in diagnosis.findings],
        'ignored': diagnosis.ignored,
    }
    plain = msgspec.json.encode(_plain(data))
    return msgspec.json.format(plain, indent=_INDENT) + b'\n'


def _entry(finding: Finding) -> dict[str, Any]:
    return {**finding._asdict(), 'level': finding.level.word}


def _plain(value: Any) -> Any:
    """Return what JSON has words for."""
    match value:
        case dict():
            return {_text(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case np.ndarray() | np.generic():
            return _plain(value.tolist())
        case None | bool() | int():
            return value
        case float():
            # JSON has no infinity.
            return value if np.isfinite(value) else str(value)
    return _text(value)


def _text(value: Any) -> str:
    """Return a text that can be written as UTF-8."""
    return str(value).encode('utf-8', 'backslashreplace').decode()
