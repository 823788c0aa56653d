"""All checks, in the order in which their findings are shown."""

from collections.abc import Iterable

from mmseg_ext.doctor.checks import data_sets, duplicates
from mmseg_ext.doctor.findings import Check, Code, Level, codes_of

__all__ = ['CHECKS', 'FAILED', 'all_codes']

#: Each takes what was gathered. A plug-in appends its own to the list, or a
#: config names them: ``doctor_checks = ['package.module:function']``.
CHECKS: list[Check] = [
    data_sets.data_sets_are_built,
    data_sets.splits_hold_images,
    duplicates.images_are_there_once,
    duplicates.images_are_in_one_split,
    duplicates.splits_have_no_copies,
    duplicates.labels_are_there_once,
]

#: Of a check itself.
FAILED = Code(
    'check-failed',
    Level.WARNING,
    'what this check looks for stays unknown',
    'report it with the text, or leave it out by --ignore check-failed',
)


def all_codes(checks: Iterable[Check] = CHECKS) -> dict[str, Code]:
    """Return all codes by name, in the order of the checks.

    Args:
        checks: The checks.
    """
    codes = [code for function in checks for code in codes_of(function)]
    return {code.name: code for code in [*codes, FAILED]}
