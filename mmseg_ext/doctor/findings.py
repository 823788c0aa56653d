"""What checks yield: findings, each of a code.

A check is a function that takes a :class:`~mmseg_ext.doctor.case.Case` and
yields findings. :func:`check` says which codes it can yield; the list of all
checks is :data:`mmseg_ext.doctor.checks.CHECKS`.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

__all__ = ['Check', 'Code', 'Finding', 'Level', 'check', 'codes_of']

#: What codes look like, so that they can be typed.
_NAME = re.compile('[a-z0-9]+(-[a-z0-9]+)*')


class Level(IntEnum):
    """How bad a finding is."""

    #: Worth to know.
    NOTE = 0
    #: It costs accuracy.
    WARNING = 1
    #: Training or evaluation will fail, or a class cannot be learned.
    ERROR = 2

    @property
    def word(self) -> str:
        """The level as it is written."""
        return self.name.lower()


class Finding(NamedTuple):
    """One thing that is wrong or worth to know.

    Attributes:
        code: Name of its code.
        level: How bad it is.
        text: What was found, in one line, without the names of split and
            file, which are shown beside it.
        symptom: What it will cause, in one line.
        mend: The line of config or the command that mends it.
        split: ``'train'``, ``'val'`` or ``'test'``; None where it belongs to
            none or all.
        file: The file that it is about; None without one.
        others: More files of the same thing, such as the other image of a
            pair.
        value: What was found, as JSON takes it.
        change: Entries of the config that mend it, by dotted keys as
            ``--cfg-options`` has them, with whole values; empty where the
            config cannot mend it.
    """

    code: str
    level: Level
    text: str
    symptom: str
    mend: str
    split: str | None = None
    file: str | None = None
    others: tuple[str, ...] = ()
    value: Any = None
    change: Mapping[str, Any] = {}


class Code(NamedTuple):
    """A kind of finding.

    Attributes:
        name: Lower case, with hyphens.
        level: How bad it is, where a finding does not say otherwise.
        symptom: What it will cause, in one line.
        mend: What mends it, in one line, where a finding knows no better.
    """

    name: str
    level: Level
    symptom: str
    mend: str

    def found(
        self,
        text: str,
        split: str | None = None,
        file: str | os.PathLike[str] | None = None,
        value: Any = None,
        mend: str | None = None,
        change: Mapping[str, Any] | None = None,
        others: Iterable[str | os.PathLike[str]] = (),
        level: Level | None = None,
    ) -> Finding:
        """Return a finding of this code.

        Args:
            text: What was found, in one line.
            split: Where, as in :class:`Finding`.
            file: Where.
            value: What, as JSON takes it.
            mend: What mends this one; None for that of the code.
            change: Entries of the config that mend it.
            others: More files.
            level: How bad this one is; None for that of the code.

        Raises:
            TypeError: A file is no path.
        """
        return Finding(
            self.name,
            self.level if level is None else level,
            str(text),
            self.symptom,
            mend or self.mend,
            split,
            None if file is None else os.fspath(file),
            tuple(os.fspath(path) for path in others),
            value,
            change or {},
        )


#: Takes a :class:`~mmseg_ext.doctor.case.Case`.
Check: TypeAlias = Callable[[Any], Iterable[Finding]]


def check(*codes: Code) -> Callable[[Check], Check]:
    """Say which codes a check can yield.

    Args:
        *codes: The codes.

    Raises:
        ValueError: The name of one is not lower case with hyphens.
    """
    for code in codes:
        if not _NAME.fullmatch(code.name):
            raise ValueError(
                f'code {code.name!r}: expected lower case letters and digits '
                'with hyphens between, such as label-missing'
            )

    def mark(function: Check) -> Check:
        function.codes = codes  # type: ignore[attr-defined]
        return function

    return mark


def codes_of(function: Check) -> tuple[Code, ...]:
    """Return the codes that a check can yield.

    Args:
        function: A check.

    Raises:
        TypeError: It was not marked by :func:`check`.
    """
    codes: tuple[Code, ...] | None = getattr(function, 'codes', None)
    if codes is None:
        raise TypeError(
            f'{function} is no check: expected a function that '
            'mmseg_ext.doctor.findings.check has marked'
        )
    return codes
